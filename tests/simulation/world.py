"""The servers of a simulated world, the faults that are on, and what a process reaches them through."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from errno import ENOSPC
from typing import Any, TypeVar

from alphapulse.adapters.bus.envelope import ForeignMessage, from_message
from alphapulse.adapters.bus.memory import MemoryBus, MemoryLive
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.statements import Group, Outcome
from alphapulse.domain.ports import (
    BusUnavailable,
    Fence,
    LogSource,
    Message,
    NewEvent,
    Page,
    StoredRecord,
    StoreUnavailable,
    StreamEnd,
    WrongSequence,
)
from alphapulse.projections.checkpoint import Checkpoint
from alphapulse.projections.memory_reads import Contents, MemoryReads, MemoryReadServer
from alphapulse.projections.parked import Unfoldable
from alphapulse.projections.read_database import ReadDatabase
from alphapulse.projections.read_model import AnyReadModel, Scope
from tests.simulation.loop import STARTS_AT, Process, SimulatedLoop

T = TypeVar("T")

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """Servers, and the witness: it outlives every process, and what is acknowledged is noted here."""

    def __init__(self, loop: SimulatedLoop, rng: random.Random, *, tracing: bool = True) -> None:
        self.loop = loop
        self.rng = rng
        self.store = MemoryEventStore(self.clock)
        self.bus = MemoryBus()
        self.reads = MemoryReadServer(self.clock)
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.until: dict[str, float] = {}  # kind of fault: when it ends
        self.next: Counter[str] = Counter()  # kind of fault: how many more times
        self.slow: dict[str, float] = {}  # process: until when
        self.clock_jumped_s = 0.0
        self.bus_copies: deque[tuple[float, Sequence[Message]]] = deque(maxlen=64)
        self.read_copies: deque[tuple[float, Mapping[str, Contents]]] = deque(maxlen=64)
        self.published: dict[tuple[int, int], int] = {}  # epoch, sequence: position
        self._tracing = tracing

    # -- time and order -----------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.loop.time() - STARTS_AT

    def clock(self) -> datetime:
        """The servers' clock."""
        return BEGAN + timedelta(seconds=self.now + self.clock_jumped_s)

    def say(self, who: str, what: str) -> None:
        if self._tracing:
            self.trace.append(f"{self.now:.4f} {who}: {what}")

    def violate(self, what: str) -> None:
        self.say("VIOLATED", what)
        self.violations.append(what)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Something that no process does."""
        return self.loop.world.spawn(self.loop, work)

    # -- faults -------------------------------------------------------------------------------------

    def on(self, kind: str) -> bool:
        return kind in self.until and self.until[kind] > self.now

    def takes(self, kind: str) -> bool:
        """Whether the next one of its kind meets the fault."""
        if self.next[kind] <= 0:
            return False
        self.next[kind] -= 1
        return True

    def calm(self) -> None:
        """No more faults."""
        self.until.clear()
        self.next.clear()
        self.slow.clear()

    # -- what the stream has shown ------------------------------------------------------------------

    async def look_at_stream(self) -> list[Message]:
        """The whole stream; within an epoch the event behind a sequence must never change."""
        messages = list(await self.bus.read(0, limit=10_000))
        for message in messages:
            with suppress(ForeignMessage):
                delivery = from_message(message)
                place = (delivery.epoch, message.sequence)
                held = self.published.setdefault(place, delivery.position)
                if held != delivery.position:
                    self.violate(f"epoch, sequence {place} held position {held}, now {delivery.position}")
        return messages


@dataclass(slots=True)
class Gate:
    """How one process reaches the servers: every call takes its time, may fail, and ends with the process."""

    world: World
    process: Process
    _reads: list[MemoryReads] = field(default_factory=list)

    async def hop(self) -> None:
        """On the way there or back: long enough for others to act, or not."""
        world = self.world
        if world.slow and world.slow.get(self.process.name.partition("#")[0], 0.0) > world.now:
            await asyncio.sleep(world.rng.uniform(0.05, 0.6))
        elif (chance := world.rng.random()) < 0.15:
            await asyncio.sleep(world.rng.expovariate(50.0))
        elif chance < 0.35:
            await asyncio.sleep(0)
        if self.process.dead:
            raise asyncio.CancelledError

    def check(self) -> None:
        if self.process.dead:
            raise asyncio.CancelledError

    def say(self, what: str) -> None:
        self.world.say(self.process.name, what)

    def die(self) -> None:
        """The operating system closes what a killed process held."""
        for reads in self._reads:
            reads.end()

    def connect_reads(self) -> MemoryReads:
        reads = self.world.reads.connect()
        self._reads.append(reads)
        return reads


# -- the log --------------------------------------------------------------------------------------------


class GatedCommitting:
    """Committing over a gate: the appender's way to the log."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.closed = False

    async def commit(self, groups: Sequence[Group]) -> Sequence[Outcome]:
        gate, world = self._gate, self._gate.world
        try:
            await gate.hop()
        except asyncio.CancelledError:
            if gate.process.dead and world.rng.random() < 0.5:  # it was on its way already
                world.spawn(self._commit_later(groups, world.rng.expovariate(1.0)))
            raise
        self._check()
        if world.takes("commits late"):
            world.spawn(self._commit_later(groups, world.rng.expovariate(1.0)))
            self._fail("late")
        if world.takes("commits refused"):
            self._fail("refused")
        if world.takes("commits stalled"):
            gate.say("commit stalls")
            outcomes = await asyncio.shield(world.spawn(self._commit_later(groups, world.rng.uniform(1, 5))))
        else:
            outcomes = self._commit(groups)
        await gate.hop()
        if world.takes("replies lost"):
            self._fail("reply lost")
        return outcomes

    async def held(self, event: NewEvent) -> StoredRecord | None:
        await self._gate.hop()
        self._check()
        return self._gate.world.store.held(event)

    async def close(self) -> None:
        self.closed = True

    def _commit(self, groups: Sequence[Group]) -> Sequence[Outcome]:
        outcomes = self._gate.world.store.commit(groups)
        said = ", ".join(
            f"{event.stream} {event.version} {outcome.outcome} {outcome.position}"
            for event, outcome in zip((e for events, _ in groups for e in events), outcomes, strict=True)
        )
        self._gate.say(f"commit {said}")
        return outcomes

    async def _commit_later(self, groups: Sequence[Group], after_s: float) -> Sequence[Outcome]:
        """By the server, whoever still waits for it."""
        await asyncio.sleep(after_s)
        return self._commit(groups)

    def _check(self) -> None:
        if self.closed:
            raise ConnectionResetError("the connection is closed")
        if self._gate.world.on("store down"):
            self._fail("down")
        if self._gate.world.on("disk full"):
            raise OSError(ENOSPC, "no space left on device")

    def _fail(self, why: str) -> None:
        self.closed = True
        self._gate.say(f"commit fails: {why}")
        raise ConnectionResetError(why)


class GatedStore:
    """EventStore over a gate: appends by a production appender, reads straight from the twin."""

    def __init__(self, gate: Gate, appender: Any) -> None:
        self._gate, self._appender = gate, appender

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        self._gate.check()
        records = await self._appender.append(events, fence)
        self._gate.check()
        return records  # type: ignore[no-any-return]

    async def read(self, after: int, **options: Any) -> Page:
        await self._reach()
        page = await self._gate.world.store.read(after, **options)
        await self._gate.hop()
        return page

    async def read_stream(self, stream: str, *, after: int = 0, limit: int = 500) -> Sequence[StoredRecord]:
        await self._reach()
        records = await self._gate.world.store.read_stream(stream, after=after, limit=limit)
        await self._gate.hop()
        return records

    async def overlapping(self, stream: str, id_lo: int, id_hi: int) -> Sequence[StoredRecord]:
        await self._reach()
        return await self._gate.world.store.overlapping(stream, id_lo, id_hi)

    async def streams(self, prefix: str) -> Sequence[str]:
        await self._reach()
        return await self._gate.world.store.streams(prefix)

    async def version(self, stream: str) -> int:
        await self._reach()
        version = await self._gate.world.store.version(stream)
        await self._gate.hop()
        return version

    async def head(self) -> int:
        await self._reach()
        return await self._gate.world.store.head()

    async def position_at(self, recorded_at: datetime) -> int:
        await self._reach()
        return await self._gate.world.store.position_at(recorded_at)

    async def changed(self, after: int, timeout_s: float) -> None:
        if self._gate.world.on("log notices lost"):
            await asyncio.sleep(min(timeout_s, 1.0))
        else:
            await self._gate.world.store.changed(after, timeout_s)
        await self._gate.hop()

    async def _reach(self) -> None:
        await self._gate.hop()
        if self._gate.world.on("store down"):
            await asyncio.sleep(0.05)
            raise StoreUnavailable("down")


class GatedLeases:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def acquire(self, lease: str, holder: str, duration_s: float) -> Fence | None:
        await self._reach()
        fence = await self._gate.world.store.leases.acquire(lease, holder, duration_s)
        self._gate.say(f"lease {lease}: {fence.epoch if fence else 'taken'}")
        await self._gate.hop()
        return fence

    async def renew(self, fence: Fence, duration_s: float) -> bool:
        await self._reach()
        held = await self._gate.world.store.leases.renew(fence, duration_s)
        await self._gate.hop()
        return held

    async def release(self, fence: Fence) -> None:
        await self._reach()
        await self._gate.world.store.leases.release(fence)
        self._gate.say(f"lease {fence.lease}: {fence.epoch} released")

    async def _reach(self) -> None:
        await self._gate.hop()
        if self._gate.world.on("store down"):
            raise StoreUnavailable("down")


# -- the bus --------------------------------------------------------------------------------------------


class GatedBus:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    @property
    def max_message_bytes(self) -> int:
        return self._gate.world.bus.max_message_bytes

    async def end(self) -> StreamEnd:
        await self._reach()
        end = await self._gate.world.bus.end()
        await self._gate.hop()
        return end

    async def publish(self, window: Sequence[Message], *, after: int) -> int:
        await self._reach()
        gate, world = self._gate, self._gate.world
        if world.takes("publish refused"):
            raise BusUnavailable("refused")
        if world.takes("publish late"):
            world.spawn(self._publish_late(list(window), after))
            raise BusUnavailable("late")
        sequence = await world.bus.publish(window, after=after)
        gate.say(f"published {len(window)} after {after}")
        await gate.hop()
        if world.takes("acks lost"):
            raise BusUnavailable("no acknowledgement")
        return sequence

    async def _publish_late(self, window: Sequence[Message], after: int) -> None:
        await asyncio.sleep(self._gate.world.rng.expovariate(2.0))
        with suppress(WrongSequence, BusUnavailable):
            await self._gate.world.bus.publish(window, after=after)
            self._gate.say(f"published {len(window)} after {after}, late")

    async def read(self, sequence: int, *, limit: int) -> Sequence[Message]:
        await self._reach()
        messages = await self._gate.world.bus.read(sequence, limit=limit)
        await self._gate.hop()
        return messages

    @asynccontextmanager
    async def listen(self) -> AsyncIterator["GatedLive"]:
        await self._reach()
        async with self._gate.world.bus.listen() as live:
            yield GatedLive(self._gate, live)

    async def _reach(self) -> None:
        await self._gate.hop()
        if self._gate.world.on("bus down"):
            raise BusUnavailable("down")


class GatedLive:
    def __init__(self, gate: Gate, live: MemoryLive) -> None:
        self._gate, self._live = gate, live

    async def take(self) -> Sequence[Message]:
        world, rng = self._gate.world, self._gate.world.rng
        taken: list[Message] = []
        while not taken:
            for message in await self._live.take():
                if world.on("messages dropped") and rng.random() < 0.4:
                    continue
                taken += [message] * (1 + (world.on("messages doubled") and rng.random() < 0.5))
            if world.on("messages delayed"):
                await asyncio.sleep(rng.expovariate(2.0))
            else:
                await self._gate.hop()
        if world.on("messages reordered"):
            rng.shuffle(taken)
        return taken


# -- the read models ------------------------------------------------------------------------------------


class GatedReads:
    """ReadDatabase over a gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._inner = gate.connect_reads()

    async def live_generation(self, name: str, code_version: int) -> int:
        await self._reach()
        return await self._inner.live_generation(name, code_version)

    async def is_free(self, name: str, generation: int, takeover_s: float) -> bool:
        await self._reach()
        return await self._inner.is_free(name, generation, takeover_s)

    async def claim(self, name: str, generation: int) -> Checkpoint:
        await self._reach()
        checkpoint = await self._inner.claim(name, generation)
        self._gate.say(f"claims {name} at {checkpoint.position}, epoch {checkpoint.epoch}")
        return checkpoint

    async def limit_silence(self, limit_s: float) -> None:
        await self._reach()
        await self._inner.limit_silence(limit_s)

    async def load(self, model: AnyReadModel, scope: Scope) -> Any:
        await self._reach()
        return await self._inner.load(model, scope)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self._reach()
        async with self._inner.transaction():
            yield
            await self._before_commit()
        self._gate.say("committed rows")
        await self._after_commit()

    async def advance(self, checkpoint: Checkpoint, to: int) -> Checkpoint:
        await self._reach()
        return await self._inner.advance(checkpoint, to)

    async def write(self, model: AnyReadModel, changes: Any) -> None:
        await self._reach()
        await self._inner.write(model, changes)

    async def park(self, at: Checkpoint, events: Sequence[Unfoldable]) -> None:
        await self._reach()
        await self._inner.park(at, events)
        self._gate.say(f"parks {[event.position for event in events]}")

    async def notify(self, payload: str) -> None:
        await self._inner.notify(payload)

    async def commit_at_once(
        self, checkpoint: Checkpoint, to: int, parts: Sequence[Any], payload: str | None
    ) -> bool:
        await self._before_commit()
        done = await self._inner.commit_at_once(checkpoint, to, parts, payload)
        self._gate.say(f"committed at once to {to}: {done}")
        await self._after_commit()
        return done

    def close(self) -> None:
        self._inner.end()

    async def _before_commit(self) -> None:
        await self._reach()
        if self._gate.world.takes("reads refused"):
            self._lose("refused")

    async def _after_commit(self) -> None:
        await self._gate.hop()
        if self._gate.world.takes("reads lost"):
            self._lose("reply lost")

    async def _reach(self) -> None:
        await self._gate.hop()
        if self._gate.world.on("reads down"):
            self._lose("down")

    def _lose(self, why: str) -> None:
        self._inner.end()
        self._gate.say(f"reads: {why}")
        raise ConnectionResetError(why)


@asynccontextmanager
async def opened_reads(gate: Gate) -> AsyncIterator[ReadDatabase]:
    await gate.hop()
    if gate.world.on("reads down"):
        raise ConnectionRefusedError("down")
    reads = GatedReads(gate)
    try:
        yield reads
    finally:
        reads.close()


# -- the witness of a source ----------------------------------------------------------------------------


class Watched:
    """A LogSource that may give nothing but the log, without a gap."""

    def __init__(self, gate: Gate, source: LogSource) -> None:
        self._gate, self._source = gate, source

    async def next(self, after: int, *, limit: int, timeout_s: float) -> Page:
        page = await self._source.next(after, limit=limit, timeout_s=timeout_s)
        held = self._gate.world.store._log[after : page.scanned_to]
        if list(page.records) != held or len(page.records) > limit:
            given = [record.position for record in page.records]
            self._gate.world.violate(
                f"{self._gate.process.name} asked after {after} and got {given} up to {page.scanned_to}, "
                f"where the log has {[record.position for record in held]}"
            )
        self._gate.say(f"reads to {page.scanned_to}")
        return page
