"""A sealed log in which a strategy has decided: what evidence, track records and withholding are tested on.

world = await decided_world(edge=3e-4)
await sign(world, anchored_at)          # what an anchor said of the newest checkpoint
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.memory_seals import MemorySeals
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy import stream_of as strategy_stream
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.ports import EventStore, Recorded
from alphapulse.domain.provenance.merkle import Frontier
from alphapulse.domain.provenance.sealing import Tree
from alphapulse.domain.signals.signal import SignalIssued
from alphapulse.processes.decide import contexts_of, recorder
from alphapulse.processes.deciding import Seat, source_of
from alphapulse.processes.desks import jobs_of
from alphapulse.projections.log_source import StoreSource
from tests.decided_log import recorded
from tests.domain.signals.engine_world import START, strategy, world
from tests.provenance.given import World

ORIGIN = "example.org/decided"
PLAIN = strategy()


class MarketClock:
    """The store's clock: ``lag_s`` behind the newest market event that was recorded."""

    def __init__(self, lag_s: float = 0.05) -> None:
        self.time, self._lag = START, lag_s

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.time / 1e9 + self._lag, UTC)


def empty_world(clock: MarketClock | None = None) -> World:
    store = MemoryEventStore(clock or MarketClock())
    signer = KeySigner(ORIGIN, sha256(b"decided").digest())
    seals = MemorySeals(store.leases)
    return World(store, seals, signer, Tree(Frontier(), 0, {}), random.Random(3), 500)


async def decided_world(
    events: Sequence[Any] | None = None, *, each: int = 24, defined: StrategyDefined = PLAIN
) -> World:
    """A strategy is defined, the market comes in, and after ``each`` events it decides; all sealed."""
    clock = MarketClock()
    made = empty_world(clock)
    told = [e for _, _, e in world(markets=2, bars=1_200, edge=3e-4, size=50)] if events is None else events
    decider = await Decider.of(made.store, defined)
    for at in range(0, len(told), each):
        for event in told[at : at + each]:
            clock.time = max(clock.time, end_of(event))
            await put(made.store, event)
        await decider.decide()
        await made.seal()
    return made


@dataclass(slots=True)
class Decider:
    """One strategy at work on a log, as far as it has come in."""

    store: EventStore
    seat: Seat
    source: StoreSource

    @classmethod
    async def of(cls, store: EventStore, defined: StrategyDefined) -> "Decider":
        await put(store, defined)
        job = next(job for job in await jobs_of(store) if job.strategy == defined)
        seat = await Seat.taken(store, job, contexts_of(defined))
        return cls(store, seat, source_of(store, job))

    async def decide(self) -> None:
        """Record all that follows from the log so far."""
        write = recorder(self.store, self.seat)
        head = await self.store.head()
        while self.seat.desk.position < head:
            page = await self.source.next(self.seat.desk.position, limit=500, timeout_s=1.0)
            await write(await self.seat.take(page, is_told=True))


async def put(store: EventStore, event: Any) -> None:
    match event:
        case StrategyDefined():
            stream = strategy_stream(event.name)
        case BarsObserved():
            stream = f"{event.instrument.stream('bars')}-{event.timeframe_minutes}m"
        case TradesObserved():
            stream = event.instrument.stream("trades")
        case _:
            stream = f"feed-{event.venue}-{event.symbol}"
    await store.append([codec.new_event(stream, await store.version(stream) + 1, event, actor="feeder")])


def end_of(event: Any) -> int:
    """When the last of it was over, by the market's clock."""
    match event:
        case BarsObserved(columns=columns, timeframe_minutes=minutes):
            return int(columns.start[-1]) + minutes * 60_000_000_000
        case TradesObserved(columns=columns):
            return int(columns.time.max())
        case other:
            return int(getattr(other, "end", None) or other.time)


async def signals_of(store: EventStore) -> list[Recorded]:
    """All that were issued."""
    found = await recorded(store, "signal.issued.v1")
    assert all(isinstance(each.event, SignalIssued) for each in found)
    return found
