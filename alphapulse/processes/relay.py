"""Publishes the log to the bus: every event once, in order, whoever else tries the same.

The stream's own last message is the checkpoint: on start, after a refusal and after every fault the relay
asks where the stream ends and goes on from there. A lease keeps one relay at work; were two at it, both
would publish the same event under the same sequence, and one of them is refused.

An epoch is one filling of the stream. It is the sequence of that filling's first message, and within it the
event behind a sequence never changes. A stream that lost its tail or was restored from an older copy is
merely behind; one that is empty begins a new epoch.
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.adapters.bus.envelope import Delivery, ForeignMessage, from_message, to_message
from alphapulse.adapters.bus.jetstream import JetStreamBus, StreamOptions
from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import (
    Bus,
    BusUnavailable,
    EventStore,
    FencedOut,
    Leases,
    Message,
    Page,
    StoredRecord,
    StoreUnavailable,
    StreamEnd,
    WrongSequence,
)
from alphapulse.processes.leasing import Holding, stoppable
from alphapulse.projections import relay_status

log = logging.getLogger(__name__)

LEASE = "relay"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    window_messages: int = 500  # published for one acknowledgement
    window_bytes: int = 4_000_000
    history_positions: int = 1_000_000  # a new epoch begins so far behind the head, at most
    foreign_messages: int = 1_000  # at the end of the stream, skipped in search of one of ours
    lease_s: float = 5.0  # after a kill the next one waits so long; followers read the store meanwhile
    poll_s: float = 1.0  # longest wait for the store before the lease is renewed and the state reported
    backoff_s: tuple[float, float] = (0.05, 5.0)  # first and longest wait after a fault
    refusals: int = 20  # in a row, without a message published, before they count as a fault


DEFAULT_LIMITS = RelayLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """How far the stream has come: its last message holds the event at ``position``."""

    position: int
    recorded_at: datetime | None
    sequence: int
    epoch: int  # 0: the next message begins a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReport:
    """``tail`` is None while the end of the stream is not known; ``problem`` says what keeps us from work."""

    tail: Tail | None
    problem: str | None = None


class LogMismatch(Exception):
    """The stream holds an event that this log does not: another database, or one restored to an older point.

    Nothing is published until the stream is removed or the right database is back.
    """


Report = Callable[[RelayReport], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Relay:
    store: EventStore
    bus: Bus
    leases: Leases
    report: Report  # about once a poll_s; may raise StoreUnavailable
    holder: str  # unique to this process
    limits: RelayLimits = DEFAULT_LIMITS
    _window_messages: int = 1  # grows with every success; a lone message shows why it is refused
    _lease: Holding = field(init=False)
    _reported_at: float = 0.0
    _problem: str = ""

    def __post_init__(self) -> None:
        self._lease = Holding(
            leases=self.leases, name=LEASE, holder=self.holder, duration_s=self.limits.lease_s
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until ``stop`` is set. Faults of store and bus are waited out, for as long as it takes."""
        pause = self.limits.backoff_s[0]
        while not stop.is_set():
            started = _now()
            try:
                await self._work(stop)
            except (BusUnavailable, StoreUnavailable, LogMismatch, FencedOut) as error:
                await self._report_problem(error)
                if _now() - started > self.limits.backoff_s[1]:
                    pause = self.limits.backoff_s[0]
                await stoppable(stop, asyncio.sleep(pause * random.uniform(0.5, 1.0)))  # noqa: S311
                pause = min(2 * pause, self.limits.backoff_s[1])

    async def _work(self, stop: asyncio.Event) -> None:
        async with self._lease.held(stop):
            refusals = 0
            while self._lease.fence and not stop.is_set():
                tail = await resync(self.store, self.bus, self.limits)
                await self._report(tail, at_once=True)
                try:
                    await self._publish_from(tail, stop)
                except WrongSequence as refusal:
                    # A rival, or a stream that was changed under us: look again, more carefully.
                    refusals = 0 if self._window_messages > 1 else refusals + 1
                    if refusals > self.limits.refusals:
                        raise BusUnavailable(f"refused {refusals} times in a row: {refusal}") from refusal
                    self._window_messages = 1
                    log.info("relay: %s", refusal)

    async def _publish_from(self, tail: Tail, stop: asyncio.Event) -> None:
        """Publish what follows ``tail``, for as long as it goes well."""
        async with aclosing(self._pages(tail.position, stop)) as pages:
            async for records in pages:
                await self._lease.renewed()
                if not records:
                    await self._check_end(tail)
                for window in self._windows(records):
                    tail = await self._publish(window, tail)
                    await self._lease.renewed()
                await self._report(tail)

    async def _check_end(self, tail: Tail) -> None:
        """A quiet log publishes nothing that a stream which shrank meanwhile would refuse: look there.

        Raises:
            WrongSequence: the stream does not end at ``tail``.
        """
        end = await self.bus.end()
        if end.sequence != tail.sequence or (tail.epoch and end.message is None):
            raise WrongSequence(f"the stream ends at {end.sequence}, where message {tail.sequence} was last")

    def _windows(self, records: Sequence[StoredRecord]) -> Iterator[Sequence[StoredRecord]]:
        """``records`` in windows of bounded size; it may change while they are published."""
        start = 0
        while start < len(records):
            most = self._window_messages
            end, size = start + 1, len(records[start].state)
            while end < min(start + most, len(records)):
                size += len(records[end].state)
                if size > self.limits.window_bytes:
                    break
                end += 1
            yield records[start:end]
            start = end

    async def _publish(self, window: Sequence[StoredRecord], tail: Tail) -> Tail:
        epoch = tail.epoch or tail.sequence + 1
        if not tail.epoch:
            log.warning("relay: epoch %d begins with position %d", epoch, window[0].position)
        max_bytes, previous, messages = self.bus.max_message_bytes, tail.position, list[Message]()
        for record in window:
            messages.append(to_message(record, previous=previous, epoch=epoch, max_bytes=max_bytes))
            previous = record.position
        sequence = await self.bus.publish(messages, after=tail.sequence)
        self._window_messages = min(2 * self._window_messages, self.limits.window_messages)
        last = window[-1]
        return Tail(position=last.position, recorded_at=last.recorded_at, sequence=sequence, epoch=epoch)

    async def _pages(self, after: int, stop: asyncio.Event) -> AsyncGenerator[Sequence[StoredRecord]]:
        """The log after ``after``, the next page being read while one is published; empty when quiet."""
        ahead: asyncio.Task[Page] | None = None
        limit = self.limits.window_messages
        try:
            while not stop.is_set():
                page = await (ahead or self.store.read(after, limit=limit))
                ahead = None
                if page.records:
                    after = page.records[-1].position
                    if len(page.records) == limit:
                        ahead = asyncio.create_task(self.store.read(after, limit=limit))
                yield page.records
                if not page.records:
                    await stoppable(stop, self.store.changed(after, self.limits.poll_s))
        finally:
            if ahead is not None:
                ahead.cancel()
                with suppress(asyncio.CancelledError, StoreUnavailable):
                    await ahead

    async def _report(self, tail: Tail, *, at_once: bool = False) -> None:
        if at_once or _now() - self._reported_at >= self.limits.poll_s:
            self._reported_at = _now()
            if self._problem:
                log.warning("relay: at work again, behind position %d", tail.position)
                self._problem = ""
            await self.report(RelayReport(tail=tail))

    async def _report_problem(self, error: Exception) -> None:
        problem = f"{type(error).__name__}: {error}"
        if problem != self._problem:  # said once, however often it is met again
            log.log(
                logging.ERROR if isinstance(error, LogMismatch) else logging.WARNING, "relay: %s", problem
            )
        self._problem = problem
        with suppress(StoreUnavailable):
            await self.report(RelayReport(tail=None, problem=problem))


async def resync(store: EventStore, bus: Bus, limits: RelayLimits = DEFAULT_LIMITS) -> Tail:
    """Where to go on: behind the stream's last message, or at the beginning of a new epoch.

    Raises:
        LogMismatch: the stream is not of this log.
    """
    end = await bus.end()
    last = await _last_delivery(bus, end, limits.foreign_messages)
    if last is None:
        first = await _predecessor(store, await store.head() - limits.history_positions)
        return Tail(position=first, recorded_at=None, sequence=end.sequence, epoch=0)
    page = await store.read(last.position - 1, until=last.position, limit=1)
    held = page.records[0] if page.records else None
    if held is None or held.envelope.event_id != last.event_id:
        found = f"event {held.envelope.event_id}" if held else f"nothing (its head is {await store.head()})"
        raise LogMismatch(
            f"the stream ends with event {last.event_id} at position {last.position}, where this log has "
            f"{found}: it was published from another database, or this one was restored to an older point. "
            "Bring back the right database, or remove the stream to publish this log anew"
        )
    return Tail(position=held.position, recorded_at=held.recorded_at, sequence=end.sequence, epoch=last.epoch)


async def _last_delivery(bus: Bus, end: StreamEnd, most: int) -> Delivery | None:
    """The last message that a relay published; others may have published on our subjects by mistake."""
    if end.message is None:
        return None
    message, sequence = end.message, end.sequence
    for _ in range(most):
        with suppress(ForeignMessage):
            return from_message(message)
        log.warning("relay: message %d on %s is not ours", message.sequence, message.subject)
        sequence -= 1
        found = await bus.read(sequence, limit=1)
        message = found[0] if found else message
    raise LogMismatch(
        f"the last {most} messages of the stream are not ours: somebody else publishes on "
        f"{end.message.subject!r}. Keep them from it and remove the stream"
    )


async def _predecessor(store: EventStore, position: int) -> int:
    """The last position at or before ``position`` + 1 that an event has; 0 before the first."""
    if position <= 0:
        return 0
    page = await store.read(position, limit=1)
    return page.records[0].position if page.records else 0


async def run_relay(
    database_url: str, nats: NatsOptions, stop: asyncio.Event, stream: StreamOptions | None = None
) -> None:
    """The role: a relay between this log and this NATS, until ``stop`` is set."""
    bus = JetStreamBus(replace(nats, name=f"{nats.name} relay"), stream)
    holder = f"{socket.gethostname()} {os.getpid()} {uuid4()}"
    async with PostgresEventStore(database_url) as store, status_writer(database_url) as report:
        try:
            await Relay(store=store, bus=bus, leases=store.leases, report=report, holder=holder).run(stop)
        finally:
            await bus.close()


@asynccontextmanager
async def status_writer(database_url: str) -> AsyncIterator[Report]:
    """Keeps ``relay_status`` over a connection of its own, opened anew after a fault."""
    info = connection_info(database_url, role=None, statement_timeout_s=5.0)
    open_now: list[AsyncConnection[Any]] = []

    async def report(state: RelayReport) -> None:
        try:
            if not open_now:
                open_now.append(await AsyncConnection.connect(info, autocommit=True))
            await relay_status.write(
                open_now[0],
                position=state.tail.position if state.tail else None,
                sequence=state.tail.sequence if state.tail else None,
                epoch=state.tail.epoch if state.tail else None,
                problem=state.problem,
            )
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
            await forget()
            raise StoreUnavailable(f"relay_status: {type(error).__name__}: {error}") from error

    async def forget() -> None:
        while open_now:
            await open_now.pop().close()

    try:
        yield report
    finally:
        await forget()


def _now() -> float:
    return asyncio.get_running_loop().time()
