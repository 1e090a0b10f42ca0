"""The role ``decide``: a desk for each part of each strategy in use, each under a lease of its own.

Several processes share the desks: who holds the lease works, the others stand by and take over when it
runs out. The lease fences every append, so one that froze and wakes up can record nothing.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.strategy import StrategyDefined, StrategyRetired
from alphapulse.domain.ports import EventStore, Fence, FencedOut, Leases, StoreUnavailable
from alphapulse.domain.signals.engine import CannotRun
from alphapulse.domain.signals.entering import OutOfStep
from alphapulse.processes.deciding import (
    DEFAULT_LIMITS,
    Connect,
    Job,
    Limits,
    MakeContexts,
    Record,
    Seat,
    TooManySkipped,
    follow,
    source_of,
)
from alphapulse.processes.issuing import Diverged

log = logging.getLogger(__name__)

NAMES = ("strategy.defined.v1", "strategy.retired.v1")
LEASE_S = 15.0
MAX_JOBS = 64  # desks of one process
_PAGE = 500
_LOOK_S = 1.0  # between looks for new strategies
_RETRY_S = 5.0  # after a desk has failed


async def jobs_of(store: EventStore, *, until: int | None = None) -> Sequence[Job]:
    """Every part of every strategy version in the log, retired ones too, in the order of definition."""
    found: dict[tuple[str, int], tuple[StrategyDefined, int]] = {}
    retired: dict[tuple[str, int], int] = {}
    for stream in await store.streams("strategy-"):
        version = 0
        while records := await store.read_stream(stream, after=version, limit=_PAGE):
            version = records[-1].version
            for record in records:
                if until is not None and record.position > until:
                    break
                event = codec.decode(record).event
                if isinstance(event, StrategyDefined):
                    found[event.name, event.version] = event, record.position
                elif isinstance(event, StrategyRetired):
                    retired.setdefault((event.name, event.version), record.position)
    return [
        Job(strategy, position, part, retired.get(key))
        for key, (strategy, position) in sorted(found.items(), key=lambda item: item[1][1])
        for part in range(strategy.parts)
    ]


async def run_decide(
    database_url: str,
    contexts: MakeContexts,
    recorder: Callable[[EventStore, Seat, Fence | None], Record],
    stop: asyncio.Event,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """The role: until ``stop`` is set. A desk that fails is tried again; the others go on."""
    async with PostgresEventStore(database_url) as store:
        desks = _Desks(store, connector(database_url), contexts, recorder, limits)
        try:
            await desks.run(stop)
        finally:
            await desks.close()


def connector(database_url: str) -> Connect:
    info = connection_info(database_url, role=None)

    async def connect() -> AsyncConnection[Any]:
        return await AsyncConnection.connect(info, autocommit=True)

    return connect


class _Desks:
    def __init__(
        self,
        store: PostgresEventStore,
        connect: Connect,
        contexts: MakeContexts,
        recorder: Callable[[EventStore, Seat, Fence | None], Record],
        limits: Limits,
    ) -> None:
        self._store, self._connect, self._limits = store, connect, limits
        self._contexts, self._recorder = contexts, recorder
        self._running: dict[tuple[str, int, int], asyncio.Task[None]] = {}
        self._waiting: dict[tuple[str, int, int], Job] = {}  # until there is room
        self._seen = -1

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._look()
            except StoreUnavailable as error:
                log.warning("decide waits: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await stop.wait()

    async def _look(self) -> None:
        """Open a desk for what is new, or had to wait."""
        waiting, self._waiting = self._waiting, {}
        for job in waiting.values():
            self._open(job, is_new=False)
        head = await self._store.head()
        if head == self._seen:
            return
        page = await self._store.read(max(self._seen, 0), limit=1, names=NAMES)
        if page.records or self._seen < 0:
            for job in await jobs_of(self._store):
                self._open(job)
        self._seen = page.scanned_to

    def _open(self, job: Job, is_new: bool = True) -> None:
        key = (job.strategy.name, job.strategy.version, job.part)
        if key in self._running or key in self._waiting:
            return
        if sum(not task.done() for task in self._running.values()) >= MAX_JOBS:
            self._waiting[key] = job
            if is_new:
                log.error("decide: %s is not worked on: %d desks are the most of a process", job, MAX_JOBS)
            return
        self._running[key] = asyncio.create_task(self._work(job), name=f"desk {job}")

    async def _work(self, job: Job) -> None:
        while True:
            try:
                async with self._lease(job) as fence:
                    await follow(
                        self._store,
                        self._connect,
                        source_of(self._store, job),
                        job,
                        self._contexts,
                        lambda seat, fence=fence: self._recorder(self._store, seat, fence),  # type: ignore[misc]
                        limits=self._limits,
                    )
                return
            except CannotRun as error:
                log.error("decide: %s cannot be run by this code: %s", job, error)
                return
            except (TooManySkipped, Diverged, OutOfStep) as error:
                # Trying again would find the same: a person has to look at it.
                log.error("decide: %s stops: %s: %s", job, type(error).__name__, error)
                return
            except (FencedOut, StoreUnavailable) as error:
                log.warning("decide: %s: %s", job, error)
            except Exception:
                log.exception("decide: %s fails and is tried again", job)
                await asyncio.sleep(_RETRY_S)

    @asynccontextmanager
    async def _lease(self, job: Job) -> AsyncIterator[Fence]:
        """Held from entering on; whoever works inside is cancelled when it is lost."""
        leases, name = self._store.leases, f"decide {job.strategy.name}.{job.strategy.version} {job.part}"
        holder = f"{socket.gethostname()} {os.getpid()} {uuid4()}"
        while (fence := await leases.acquire(name, holder, LEASE_S)) is None:  # noqa: ASYNC110  others' clock
            await asyncio.sleep(LEASE_S / 4)
        task = asyncio.current_task()
        assert task is not None
        keeper = asyncio.create_task(_renew(leases, fence, task))
        try:
            yield fence
        except asyncio.CancelledError:
            if keeper.done() and not keeper.cancelled():
                task.uncancel()
                raise FencedOut(f"lease {name}, epoch {fence.epoch}: another has taken over") from None
            raise
        finally:
            keeper.cancel()
            with suppress(StoreUnavailable):
                await leases.release(fence)

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)


async def _renew(leases: Leases, fence: Fence, worker: asyncio.Task[Any]) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 3)
        try:
            is_held = await leases.renew(fence, LEASE_S)
        except StoreUnavailable:
            continue  # the fence is checked with every append
        if not is_held:
            worker.cancel()
            return
