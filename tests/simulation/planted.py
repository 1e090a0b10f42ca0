"""Bugs of kinds that bit others, planted one at a time into the code that runs in the simulator.

Each replaces a few lines of the real thing while its context is open; what it stands for is its docstring.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

from alphapulse.adapters.bus.memory import MemoryBus
from alphapulse.adapters.store import memory
from alphapulse.adapters.store.appender import Appender
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.statements import stored
from alphapulse.domain.ports import (
    Fence,
    Message,
    NewEvent,
    Page,
    Recorded,
    StoredRecord,
    StreamEnd,
    WrongSequence,
)
from alphapulse.processes import relay
from alphapulse.processes.follower import Follower
from alphapulse.processes.relay import Relay, Tail
from alphapulse.projections import memory_reads
from alphapulse.projections.checkpoint import Checkpoint
from alphapulse.projections.memory_reads import MemoryReads
from alphapulse.projections.parked import Unfoldable
from alphapulse.projections.runner import Poison, Session
from tests.simulation import actors, shop

Planted = Callable[[], AbstractContextManager[Any]]
PLANTED: dict[str, Planted] = {}


def plants(bug: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    PLANTED[bug.__name__.replace("_", " ")] = contextmanager(bug)
    return bug


@plants
def checkpoint_before_effect() -> Iterator[None]:
    """The position moves in a commit of its own, the rows follow in the next one."""

    async def advance(self: MemoryReads, checkpoint: Checkpoint, to: int) -> Checkpoint:
        moved = await real(self, checkpoint, to)
        self._move(self._server.contents[checkpoint.name], checkpoint, to)
        return moved

    real = MemoryReads.advance
    with patch.object(MemoryReads, "advance", advance), no_shortcut():
        yield


@plants
def no_deduplication() -> Iterator[None]:
    """The stream takes any message: the sequence that is expected goes unchecked."""

    async def publish(self: MemoryBus, window: Sequence[Message], *, after: int) -> int:
        return await real(self, window, after=self._sequence)

    real = MemoryBus.publish
    with patch.object(MemoryBus, "publish", publish):
        yield


@plants
def no_gap_fill() -> Iterator[None]:
    """A follower takes what the bus brings, whether it follows or not."""

    def take(self: Follower, after: int, limit: int) -> Sequence[StoredRecord]:
        taken: list[StoredRecord] = []
        while self._buffer and len(taken) < limit:
            position, _, message = self._buffer[0]
            self._drop_oldest()
            if position > after and (record := self._read(message)):
                taken.append(record)
                after = position
        return taken

    with patch.object(Follower, "_take", take):
        yield


@plants
def read_model_outside_the_transaction() -> Iterator[None]:
    """Rows are written first, over a connection that commits at once; then the position moves."""

    async def write(self: MemoryReads, model: Any, changes: Any) -> None:
        await self._speak()
        await model.write(self._server.contents[model.name].rows, changes)
        contents = self._contents(model.name)
        contents.rows = self._server.contents[model.name].rows

    with patch.object(MemoryReads, "write", write), no_shortcut():
        yield


@plants
def unlocked_positions() -> Iterator[None]:
    """Two commits at once: the one with the later position is seen first, as with a plain sequence."""

    def read(self: MemoryEventStore, after: int, **options: Any) -> Any:
        return hidden(self, after, **options)

    async def hidden(self: MemoryEventStore, after: int, **options: Any) -> Page:
        page = await real(self, after, **options)
        # The last but one is still uncommitted for a moment, with chance as the clock has it.
        late = [r for r in page.records if self._clock() < due(r) and r.position < len(self._log)]
        return Page([r for r in page.records if r not in late], page.scanned_to)

    def due(record: StoredRecord) -> Any:
        lag_ms = 30 if record.envelope.event_id.int % 4 == 0 else 0
        return record.recorded_at + timedelta(milliseconds=lag_ms)

    real = MemoryEventStore.read
    with patch.object(MemoryEventStore, "read", read):
        yield


@plants
def ack_before_commit() -> Iterator[None]:
    """A caller is told that its events are stored as soon as they are in the queue."""

    async def append(self: Appender, events: Sequence[NewEvent], fence: Fence | None = None) -> Any:
        records = asyncio.ensure_future(real(self, events, fence))
        records.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([records], timeout=0.02)
        if records.done():
            return records.result()
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return [stored(event, 1, at) for event in events]

    real = Appender.append
    with patch.object(Appender, "append", append):
        yield


@plants
def lease_without_fencing() -> Iterator[None]:
    """Whoever held the lease once goes on: the epoch is not checked where the effect commits."""

    def outcomes(self: MemoryEventStore, events: Sequence[NewEvent], fence: Fence | None) -> Any:
        return real(self, events, None)

    real = MemoryEventStore._outcomes
    with patch.object(MemoryEventStore, "_outcomes", outcomes):
        yield


@plants
def retry_without_idempotency() -> Iterator[None]:
    """A command that is sent again is a new one."""

    def command_id(command: shop.Place) -> UUID:
        return drawn_id()

    with patch.object(actors, "command_id", command_id):
        yield


@plants
def upcaster_forgotten() -> Iterator[None]:
    """An old version is read as if it were the new one: units pass for cents."""
    as_it_is = {"shop.ordered.v1": ("shop.ordered.v2", lambda raw: {**raw, "amount": raw["units"]})}
    with patch.object(shop.codec, "_upcasters", as_it_is):
        yield


@plants
def poison_skipped_in_silence() -> Iterator[None]:
    """What does not fold is passed over, and nobody hears of it."""

    async def park(self: MemoryReads, at: Any, events: Sequence[Unfoldable]) -> None:
        await self._speak()

    with patch.object(MemoryReads, "park", park):
        yield


@plants
def paging_ceiling() -> Iterator[None]:
    """A page that was cut says that it looked through the whole log."""

    async def read(self: MemoryEventStore, after: int, **options: Any) -> Page:
        page = await real(self, after, **options)
        return Page(page.records, max(page.scanned_to, min(len(self._log), options.get("until") or 1 << 62)))

    real = MemoryEventStore.read
    with patch.object(MemoryEventStore, "read", read):
        yield


@plants
def claim_without_epoch() -> Iterator[None]:
    """Two runners at one read model: the position is checked when it moves, who moves it is not."""

    def move(self: MemoryReads, live: Any, checkpoint: Any, to: int) -> None:
        live.position, live.updated_at = to, self._server.clock()

    with patch.object(MemoryReads, "_move", move):
        yield


@plants
def state_survives_the_failure() -> Iterator[None]:
    """What the fold carries along is kept when its batch fails, and not read anew."""

    async def folded_aside(self: Session, events: Sequence[Recorded], *, weight: int) -> Any:
        folded = await real(self, events, weight=weight)
        self.state = folded.state
        return folded

    real = Session._folded_aside
    with patch.object(Session, "_folded_aside", folded_aside):
        yield


@plants
def relay_trusts_its_memory() -> Iterator[None]:
    """The relay takes the stream's sequence for the position that it has reached."""

    async def resync(store: Any, bus: Any, limits: Any = relay.DEFAULT_LIMITS) -> Tail:
        end: StreamEnd = await bus.end()
        found = await real(store, bus, limits)
        return replace(found, position=max(found.position, end.sequence if found.epoch else 0))

    real = relay.resync
    with patch.object(relay, "resync", resync):
        yield


@plants
def stream_end_never_looked_at() -> Iterator[None]:
    """A stream that shrank while the log is quiet stays so: a bug that was found by this simulator."""

    async def check_end(self: Relay, tail: Tail) -> None:
        return None

    with patch.object(Relay, "_check_end", check_end):
        yield


@plants
def refused_window_is_dropped() -> Iterator[None]:
    """A window that the bus refused is taken for published."""

    async def publish(self: Relay, window: Sequence[StoredRecord], tail: Tail) -> Tail:
        try:
            return await real(self, window, tail)
        except WrongSequence:
            end = await self.bus.end()
            return replace(tail, position=window[-1].position, sequence=end.sequence)

    real = Relay._publish
    with patch.object(Relay, "_publish", publish):
        yield


@plants
def confirmed_by_chance() -> Iterator[None]:
    """Ids of derived events are drawn, not derived: who derives them again says it twice."""
    with patch.object(shop, "confirmation_id", lambda order: drawn_id()):
        yield


@plants
def half_a_batch_committed() -> Iterator[None]:
    """A batch that fails on the way leaves what it had written by then."""

    @asynccontextmanager
    async def transaction(self: MemoryReads) -> AsyncGenerator[None, None]:
        await self._speak()
        self._open = opened = memory_reads._Open()
        try:
            yield
        finally:
            if not self._ended:
                self._commit(opened)
            self._open = None
            self._server.unlock(self)

    with patch.object(MemoryReads, "transaction", transaction), no_shortcut():
        yield


@plants
def no_catching_up_when_idle() -> Iterator[None]:
    """A follower that has nothing to do waits for the bus, however long that says nothing."""
    with patch.object(actors, "FOLLOWER", replace(actors.FOLLOWER, idle_s=1e6)):
        yield


@plants
def recorded_at_the_clock_as_it_is() -> Iterator[None]:
    """A server's clock that is set back takes the log's time with it."""

    def first(*values: Any) -> Any:
        return values[0] if isinstance(values[0], datetime) else max(*values)

    with patch.object(memory, "max", first, create=True):
        yield


@plants
def poison_takes_its_batch_along() -> Iterator[None]:
    """One event of a batch does not fold, and all of it is parked."""

    async def settle(self: Session, items: Sequence[Recorded | Unfoldable], upto: int) -> None:
        try:
            await self._commit(items, upto)
        except Poison:
            reason = "one of these"
            all_of_them = [i if isinstance(i, Unfoldable) else Unfoldable(i, reason, 1) for i in items]
            await self._commit(all_of_them, upto)

    with patch.object(Session, "_settle", settle):
        yield


def drawn_id() -> UUID:
    return UUID(int=random.getrandbits(128), version=4)


def no_shortcut() -> AbstractContextManager[Any]:
    """Every batch goes step by step."""

    async def not_at_once(self: Session, folded: Any, upto: int, has_changes: bool) -> bool:
        return False

    return patch.object(Session, "_committed_at_once", not_at_once)
