"""Looks at the quality of live features: events only for what changed, fenced, folded into a read model."""

import asyncio
from typing import Any

import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.features import UnknownFeatureSet
from alphapulse.domain.analysis.quality import Thresholds
from alphapulse.domain.analysis.quality_record import QualityBreached, QualityRecovered
from alphapulse.domain.market.events import WatermarkPassed
from alphapulse.domain.ports import FencedOut
from alphapulse.processes.quality import LEASE, check, facts_of, run_quality
from alphapulse.projections.candle_view import NotYetFolded
from alphapulse.projections.digest import live_digest
from alphapulse.projections.feature_quality import FeatureQuality, verdicts
from tests.processes.feature_logs import DEFINED, MINUTE, T0
from tests.processes.feature_world import World

PATIENT = Thresholds(stale_bars=1e9, window=50, reference=100, min_rows=20)
STRICT = Thresholds(stale_bars=0.0, window=50, reference=100, min_rows=20)


async def looked(world: World, thresholds: Thresholds, **more: Any) -> tuple[list[Any], list[Any]]:
    """Findings and events of one look at everything."""
    findings: list[Any] = []
    events: list[Any] = []
    async with await world.connect() as db:
        async for look, recorded in check(world.store, db, thresholds, **more):
            findings += look.findings
            events += [r.event for r in recorded]
    return findings, events


async def later(world: World, minutes: int) -> None:
    """The clock of venue a goes on without a trade."""
    await world.writer.append([WatermarkPassed(venue="a", symbol="X_USD", time=T0 + minutes * MINUTE)])
    await world.fold()


def test_the_registry_says_what_moves_with_prices() -> None:
    facts = {fact.name: fact.is_free for fact in facts_of(DEFINED)}
    assert facts["sma_5"] is False
    assert facts["taker_imbalance_5"] is True


async def test_a_breach_is_an_event_once_and_so_is_its_end(world: World) -> None:
    await world.fold()
    findings, events = await looked(world, PATIENT)
    assert {f.instrument for f in findings} == {"a:X_USD", "a:Y_USD", "b:X_USD"}
    steady = {type(e) for e in events}
    assert steady <= {QualityBreached}
    await later(world, 100_000)
    _, events = await looked(world, STRICT)
    stale = [e for e in events if e.check == "stale"]
    assert {type(e) for e in stale} == {QualityBreached}
    assert {e.instrument for e in stale} == {"a:X_USD", "a:Y_USD"}  # the venue's clock, not the market's
    head = await world.store.head()
    assert (await looked(world, STRICT))[1] == []
    assert await world.store.head() == head
    _, events = await looked(world, PATIENT)
    assert {(type(e), e.check) for e in events} == {(QualityRecovered, "stale")}


async def test_verdicts_are_folded_as_of_any_position(world: World) -> None:
    await world.fold()
    await later(world, 100_000)
    before = await world.store.head()
    await looked(world, STRICT)
    between = await world.store.head()
    await looked(world, PATIENT)
    await world.fold(FeatureQuality())
    async with await world.connect() as db:
        now = await verdicts(db, set_name="s")
        then = await verdicts(db, set_name="s", as_of=between, breached_only=True)
        assert await verdicts(db, as_of=before) == []
        assert not any(v.is_breached for v in now if v.check_name == "stale")
        stale = [v for v in then if v.check_name == "stale"]
        assert {v.instrument for v in stale} == {"a:X_USD", "a:Y_USD"}
        assert all(v.feature == "" and v.value > v.threshold == 0 for v in stale)
        assert len(await verdicts(db, instrument="a:X_USD", limit=1)) == 1
        with pytest.raises(NotYetFolded):
            await verdicts(db, as_of=10**9)


async def test_folding_verdicts_again_changes_nothing(world: World) -> None:
    await world.fold()
    await later(world, 100_000)
    await looked(world, STRICT)
    await world.fold(FeatureQuality())
    async with await world.connect() as db:
        _, before = await live_digest(db, FeatureQuality())
    async with await world.connect() as db:
        page = await world.store.read(0, limit=5_000, names=sorted(FeatureQuality.names))
        events = [codec.decode(record) for record in page.records]
        assert events
        folded = FeatureQuality().fold(None, events)
        async with db.transaction():
            await FeatureQuality().write(db, folded.changes)
    async with await world.connect() as db:
        assert (await live_digest(db, FeatureQuality()))[1] == before


async def test_a_look_without_keeping_appends_nothing(world: World) -> None:
    await world.fold()
    await later(world, 100_000)
    head = await world.store.head()
    findings, events = await looked(world, STRICT, keep=False, instruments=["a:X_USD"], timeframes=[5])
    assert any(f.breached for f in findings)
    assert {(f.instrument, f.timeframe) for f in findings} == {("a:X_USD", 5)}
    assert (events, await world.store.head()) == ([], head)
    with pytest.raises(UnknownFeatureSet):
        await looked(world, STRICT, name="s", version=7)


async def test_who_lost_the_lease_records_nothing(world: World) -> None:
    await world.fold()
    await later(world, 100_000)
    fence = await world.store.leases.acquire(LEASE, "one", 0.05)
    assert fence is not None
    await asyncio.sleep(0.1)
    assert await world.store.leases.acquire(LEASE, "two", 60) is not None
    head = await world.store.head()
    with pytest.raises(FencedOut):
        await looked(world, STRICT, fence=fence)
    assert await world.store.head() == head


async def test_the_role_records_a_breach_and_stops_when_told(world: World) -> None:
    await world.fold()
    await later(world, 100_000)
    stop = asyncio.Event()
    role = asyncio.create_task(run_quality(world.url, STRICT, 1.0, stop))
    async with asyncio.timeout(30):
        while not await world.store.version("quality-s-v1"):
            await asyncio.sleep(0.05)
        stop.set()
        await role
    assert await world.store.leases.acquire(LEASE, "next", 1.0) is not None
