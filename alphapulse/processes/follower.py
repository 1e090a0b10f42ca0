"""A tail of the log from the bus, with the store behind it.

A message counts only where its previous position is the very position asked for; everything else (a gap,
a repeat, a step back, silence, a bus that is away) is answered by the store. So nothing is missed or
repeated, whatever the bus does, and with a healthy bus the store is hardly asked.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.adapters.bus.envelope import ForeignMessage, from_message, place_of
from alphapulse.adapters.bus.jetstream import JetStreamBus
from alphapulse.adapters.bus.shared import Listens, SharedListening
from alphapulse.domain.ports import BusUnavailable, EventStore, LogSource, Message, Page, StoredRecord
from alphapulse.processes.once import Once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerLimits:
    buffer_messages: int = 10_000  # taken from the bus and not yet asked for; then the oldest go
    buffer_bytes: int = 32_000_000
    idle_s: float = 0.5  # silence of the bus before the store is asked
    backoff_s: tuple[float, float] = (0.1, 5.0)  # first and longest wait before the bus is tried again


DEFAULT_LIMITS = FollowerLimits()


class Follower:
    """LogSource on bus and store; listens while its context is open. For one reader at a time."""

    def __init__(
        self,
        store: EventStore,
        bus: Listens,
        limits: FollowerLimits = DEFAULT_LIMITS,
        read: Callable[[Message], StoredRecord | None] | None = None,
    ) -> None:
        """``read`` gives the event in a message, if it has one; by default it looks for itself."""
        self._store = store
        self._bus = bus
        self._limits = limits
        self._read = read or _record
        self._buffer: deque[tuple[int, int, Message]] = deque()  # position, previous position
        self._bytes = 0
        self._last = 0  # position of the bus's last message; 0: none since we began to listen
        self._live = False
        self._stalled_at: int | None = None  # what the store had when the bus failed to bring it
        self._arrived = asyncio.Event()
        self._ask_store_at = 0.0  # when the bus has been silent for too long
        self._listener: asyncio.Task[None] | None = None
        self.from_bus = self.from_store = 0  # events handed out, by where they came from

    async def __aenter__(self) -> Self:
        self._listener = asyncio.create_task(self._listen(), name="follower")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._listener is not None and not self._listener.done():
            self._listener.cancel()  # again when nats-py swallowed it, as it does here and there
            await asyncio.wait([self._listener], timeout=1)

    async def next(self, after: int, *, limit: int, timeout_s: float) -> Page:
        if self._listener is not None and self._listener.done():
            self._listener.result()  # it only ends by a bug of ours, which must not pass for a quiet bus
        deadline = _now() + timeout_s
        while True:
            if records := self._take(after, limit):
                self.from_bus += len(records)
                self._ask_store_at = _now() + self._limits.idle_s
                return Page(records, records[-1].position)
            silent = _now() >= self._ask_store_at
            if silent or not self._bus_will_bring(after):
                page = await self._store.read(after, limit=limit)
                self._ask_store_at = _now() + self._limits.idle_s
                if page.records:
                    self._note_silence(page.records[-1].position)
                    self.from_store += len(page.records)
                    return page
            wait_s = deadline - _now()
            if wait_s <= 0:
                return Page([], after)
            await self._wait(after, wait_s)

    async def _wait(self, after: int, timeout_s: float) -> None:
        """Until something may have come: from the bus, or while that is of no use from the store."""
        if not self._bus_will_bring(after):
            await self._store.changed(after, timeout_s)
            return
        self._arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, max(0.0, self._ask_store_at - _now()))):
                await self._arrived.wait()

    # -- what the bus brings ------------------------------------------------------------------------

    def _bus_will_bring(self, after: int) -> bool:
        """Whether what follows ``after`` may be expected from the bus: the store need not be asked."""
        return self._live and self._stalled_at is None and 0 < self._last <= after

    def _note_silence(self, position: int) -> None:
        """The store had what a bus that seemed well did not bring: until it does, the store is asked."""
        if self._live and 0 < self._last < position:
            self._stalled_at = position

    def _take(self, after: int, limit: int) -> Sequence[StoredRecord]:
        """At most ``limit`` buffered events that follow ``after`` without a gap."""
        taken: list[StoredRecord] = []
        while self._buffer and len(taken) < limit:
            position, previous, message = self._buffer[0]
            if position > after:
                record = self._read(message) if previous == after else None
                if record is None:  # a gap, or a message without the event
                    break
                taken.append(record)
                after = position
            self._drop_oldest()
        return taken

    def _put(self, message: Message) -> None:
        try:
            position, previous = place_of(message)
        except ForeignMessage as error:
            log.debug("follower: %s", error)
            return
        if position <= self._last:  # a step back: a new epoch, or what came before was nonsense
            self._buffer.clear()
            self._bytes = 0
        self._last = position
        self._buffer.append((position, previous, message))
        self._bytes += len(message.data)
        while len(self._buffer) > self._limits.buffer_messages or self._bytes > self._limits.buffer_bytes:
            self._drop_oldest()
        if self._stalled_at is not None and position >= self._stalled_at:
            self._stalled_at = None

    def _drop_oldest(self) -> None:
        self._bytes -= len(self._buffer.popleft()[2].data)

    async def _listen(self) -> None:
        """Keep listening, over as many connections as it takes."""
        pause = first = self._limits.backoff_s[0]
        while True:
            try:
                async with self._bus.listen() as live:
                    self._last, self._live, self._stalled_at = 0, True, None
                    pause = first
                    while True:
                        for message in await live.take():
                            self._put(message)
                        self._arrived.set()
            except BusUnavailable as error:
                log.info("follower: %s; the store takes over", error)
            finally:
                self._live = False
                self._arrived.set()  # whoever waits for the bus must know
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads the load, no secret
            pause = min(2 * pause, self._limits.backoff_s[1])


def from_bus(
    nats: NatsOptions,
) -> Callable[[EventStore, str], AbstractAsyncContextManager[LogSource]]:
    """Opens a follower over NATS for each reader; they share one connection."""
    bus, read = SharedListening(JetStreamBus(nats)), Once(_record)

    @asynccontextmanager
    async def open_source(store: EventStore, _: str) -> AsyncIterator[LogSource]:
        async with Follower(store, bus, read=read) as follower:
            yield follower

    return open_source


def _record(message: Message) -> StoredRecord | None:
    with suppress(ForeignMessage):
        return from_message(message).record
    return None


def _now() -> float:
    return asyncio.get_running_loop().time()
