"""Sealed logs and bundles of them, in memory: what proofs, exports and verifiers are tested on.

world = await sealed_log(events=300, seed=7)
await bundle_of(world, Selection(streams=("signals-trial",)), tmp_path / "x.tar.gz")
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.memory_seals import MemorySeals
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import BarsObserved, FeedConnected, TradesObserved
from alphapulse.domain.market.fundamentals import FundingColumns, FundingObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import EventStore, NewEvent
from alphapulse.domain.provenance.merkle import Frontier
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.domain.provenance.sealing import MAX_LEAVES_A_SEAL, Tree, grown, seal
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes.auditing import Exported, export
from tests import decision_events

ORIGIN = "example.org/log"
MARKET = Instrument(venue="test", symbol="BTC_USD")
START = 1_700_006_400_000_000_000  # ns, the venue's clock
STRATEGY = "trial"


@dataclass(slots=True)
class World:
    """A log and what is sealed of it; ``append`` and ``seal`` make both longer."""

    store: MemoryEventStore
    seals: MemorySeals
    signer: KeySigner
    tree: Tree
    random: random.Random
    each: int

    @property
    def key(self) -> NoteKey:
        return self.signer.key

    async def append(self, events: Sequence[Any], *, actor: str = "system") -> None:
        """Record domain events, each in its stream."""
        await append(self.store, events, actor=actor)

    async def seal(self) -> None:
        """Seal all that is not yet, ``each`` events at a time."""
        fence = await self.store.leases.acquire("seal", "test", 60)
        assert fence is not None
        while records := (await self.store.read(self.tree.position, limit=self.each)).records:
            done = seal(
                self.tree, records, self.random.randbytes(16 * len(records)), self.key.name, self.signer
            )
            await self.seals.append(done, fence=fence)
            self.tree = grown(self.tree, done)


async def sealed_log(
    *, events: int = 200, seed: int = 1, each: int = 50, origin: str = ORIGIN, rows: int = 20
) -> World:
    """A log of about ``events`` generated events of every kind, sealed ``each`` at a time.

    The same arguments give the same log, key, salts and tree, byte for byte.
    """
    assert each <= MAX_LEAVES_A_SEAL
    clock = _Clock()
    store = MemoryEventStore(clock)
    signer = KeySigner(origin, sha256(f"key {seed}".encode()).digest())
    world = World(
        store, MemorySeals(store.leases), signer, Tree(Frontier(), 0, {}), random.Random(seed), each
    )
    await tell_story(store, events=events, seed=seed, rows=rows)
    await world.seal()
    return world


async def bundle_of(world: World, asked: Selection, out: Path, **options: Any) -> Exported:
    """An export of what is ``asked`` for, at ``out``."""
    return await export(world.store, world.seals, asked, out, key=world.key, **options)


def stream_of(event: Any) -> str:
    match event:
        case TradesObserved(instrument=instrument):
            return instrument.stream("trades")
        case BarsObserved(instrument=instrument):
            return f"{instrument.stream('bars')}-1m"
        case FundingObserved(instrument=instrument):
            return instrument.stream("funding")
        case FeedConnected(venue=venue, symbol=symbol):
            return f"feed-{venue}-{symbol}"
        case _:
            return decision_events.stream_of(event)


async def append(store: EventStore, events: Sequence[Any], *, actor: str = "system") -> None:
    """Record domain events, each in its stream."""
    versions: dict[str, int] = {}
    new: list[NewEvent] = []
    for event in events:
        stream = stream_of(event)
        versions[stream] = versions.get(stream, await store.version(stream)) + 1
        new.append(codec.new_event(stream, versions[stream], event, actor=actor))
    for at in range(0, len(new), 100):
        await store.append(new[at : at + 100])


async def tell_story(store: EventStore, *, events: int = 200, seed: int = 1, rows: int = 20) -> None:
    """A strategy is defined; then trades, bars, funding, and at times a decision, signal, outcome."""
    rng = np.random.default_rng(seed)
    await append(store, [FeedConnected(venue="test", symbol="BTC_USD", time=START)], actor="feeder")
    await append(store, [decision_events.like_sample("strategy.defined.v1", name=STRATEGY)], actor="alice")
    number = minute = issued = 0
    while await store.head() < events:
        minute += 1
        await append(store, [trades(rng, minute, rows), bars(rng, minute, 5)], actor="feeder")
        if minute % 20 == 0:
            await append(store, [funding(rng, minute)], actor="feeder")
        if minute % 3 == 0:
            number += 1
            issued += number % 2
            await _decide(store, number, issued if number % 2 else 0)


async def _decide(store: EventStore, number: int, signal: int) -> None:
    """A decision, and its signal and outcome where ``signal`` numbers one, caused by one another."""
    made = decision_events.decision(number, strategy=STRATEGY, verdict="issued" if signal else "refused")
    first = (await store.read(await store.head() - 1)).records[0].envelope.event_id
    cause = await _put(store, made, first, first)
    if signal:
        cause = await _put(store, decision_events.issued(made, signal), cause, first)
    told = decision_events.outcome(made, won=number % 4 == 1, number=signal)
    cause = await _put(store, told, cause, first)
    if signal:
        await _put(store, decision_events.closed(told), cause, first)


async def _put(store: EventStore, event: Any, cause: UUID, correlation: UUID) -> UUID:
    stream = stream_of(event)
    version = await store.version(stream) + 1
    new = codec.new_event(stream, version, event, cause_id=cause, correlation_id=correlation, actor="decider")
    await store.append([new])
    return new.envelope.event_id


def trades(rng: np.random.Generator, minute: int, rows: int) -> TradesObserved:
    ids = minute * 1_000 + np.arange(rows, dtype=np.int64)
    columns = TradeColumns(
        time=START + minute * 60_000_000_000 + np.sort(rng.integers(0, 60_000, rows)) * 1_000_000,
        price=rng.integers(4_000_000, 4_100_000, rows),
        size=rng.integers(1, 90_000, rows),
        side=rng.choice(np.array([-1, 0, 1], np.int8), rows),
        id=ids,
        flags=rng.choice(np.array([0, 1], np.uint8), rows),
        price_exponent=2,
        size_exponent=8,
    )
    return TradesObserved(instrument=MARKET, columns=columns)


def bars(rng: np.random.Generator, minute: int, rows: int) -> BarsObserved:
    opened, closed = rng.integers(4_000_000, 4_100_000, (2, rows))
    columns = BarColumns(
        start=START + (minute * rows + np.arange(rows, dtype=np.int64)) * 60_000_000_000,
        open=opened,
        high=np.maximum(opened, closed) + 10,
        low=np.minimum(opened, closed) - 10,
        close=closed,
        volume=rng.integers(0, 1_000_000, rows),
        trade_count=rng.integers(-1, 50, rows),
        price_exponent=2,
        volume_exponent=4,
    )
    return BarsObserved(instrument=MARKET, timeframe_minutes=1, volume_unit="base", columns=columns)


def funding(rng: np.random.Generator, minute: int) -> FundingObserved:
    columns = FundingColumns(
        time=START + np.array([minute * 60_000_000_000], np.int64),
        rate=rng.integers(-100, 100, 1),
        interval_hours=np.array([8], np.int64),
        rate_exponent=6,
    )
    return FundingObserved(instrument=MARKET, columns=columns)


class _Clock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self._now = datetime(2024, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now
