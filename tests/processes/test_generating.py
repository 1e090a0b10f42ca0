"""A generated feed in the log: trades once and in order, holes where the feed was down, live by the clock."""

import asyncio
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.store import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.market.events import (
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.generate import TapeSpec
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import EventStore, VersionConflict
from alphapulse.processes.generating import generate_fast, generate_live
from alphapulse.processes.wiring import SystemClock

BTC = Instrument("sim", "BTC_USD")


async def log_of(store: EventStore) -> list[Any]:
    return [codec.decode(r).event for r in (await store.read(0, limit=10_000)).records]


async def test_a_fast_feed_says_when_it_began_what_it_saw_and_when_it_ended() -> None:
    store = MemoryEventStore()
    done = await generate_fast(store, BTC, TapeSpec(), np.random.default_rng(1), rows=60_000)
    events = await log_of(store)
    trades = [e for e in events if isinstance(e, TradesObserved)]
    assert [len(e.columns) for e in trades] == [10_000] * 6
    assert isinstance(events[0], FeedConnected)
    assert isinstance(events[-2], WatermarkPassed)
    assert isinstance(events[-1], FeedLost)
    assert (done.trades, done.events) == (60_000, len(events))
    assert events[0].time <= trades[0].columns.time[0]
    assert events[-1].time == events[-2].time > trades[-1].columns.time[-1]


async def test_a_hole_lies_between_the_trades_around_it_and_is_closed_unfilled() -> None:
    store = MemoryEventStore()
    spec = TapeSpec(gaps_per_day=100)
    await generate_fast(store, BTC, spec, np.random.default_rng(1), rows=40_000)
    events = await log_of(store)
    lost = [i for i, e in enumerate(events[:-1]) if isinstance(e, FeedLost)]
    assert lost
    for i in lost:
        gap, connected, closed = events[i : i + 3]
        assert isinstance(connected, FeedConnected)
        assert isinstance(closed, GapClosed)
        assert (closed.start, closed.end, closed.back_filled) == (gap.time, connected.time, False)
        before = [e.columns.time[-1] for e in events[:i] if isinstance(e, TradesObserved)]
        after = [e.columns.time[0] for e in events[i:] if isinstance(e, TradesObserved)]
        assert all(t <= gap.time for t in before)
        assert all(t >= connected.time - spec.time_step for t in after)


async def test_a_second_run_goes_on_after_the_first_and_closes_the_gap_between() -> None:
    store = MemoryEventStore()
    for _ in range(2):
        await generate_fast(store, BTC, TapeSpec(), np.random.default_rng(1), rows=1_000)
    events = await log_of(store)
    first, second = [e.columns for e in events if isinstance(e, TradesObserved)]
    assert second.id[0] > first.id[-1]
    assert second.time[0] > first.time[-1]
    (closed,) = [e for e in events if isinstance(e, GapClosed)]
    losses = [e.time for e in events if isinstance(e, FeedLost)]
    assert closed.start == losses[0]
    assert closed.end <= second.time[0]


async def test_a_second_writer_of_the_same_market_is_refused() -> None:
    store = MemoryEventStore()
    with pytest.raises(VersionConflict):
        await asyncio.gather(
            *(generate_fast(store, BTC, TapeSpec(), np.random.default_rng(s), rows=100_000) for s in (1, 2))
        )


async def test_a_live_feed_trades_by_the_clock_and_passes_watermarks_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alphapulse.processes.generating.WATERMARK_EVERY_S", 0.05)
    store, clock, stop = MemoryEventStore(), SystemClock(), asyncio.Event()
    began = clock.now_ns()
    done = await generate_live(
        store, BTC, TapeSpec(rate_per_s=20), np.random.default_rng(4), clock, stop, rows=15
    )
    took_s = (clock.now_ns() - began) / 1e9
    events = await log_of(store)
    records = (await store.read(0, limit=10_000)).records
    assert done.trades == 15
    for event, record in zip(events, records, strict=True):
        if isinstance(event, TradesObserved):  # never before it happened
            assert event.columns.time.max() <= record.recorded_at.timestamp() * 1e9 + 1e6
    assert sum(isinstance(e, WatermarkPassed) for e in events) > 1
    assert 0.1 < took_s < 20
    times = [t for e in events if isinstance(e, TradesObserved) for t in e.columns.time.tolist()]
    assert times == sorted(times)
    assert times[0] >= began - 1_000_000


async def test_a_live_feed_without_end_stops_when_asked_and_says_so() -> None:
    store, stop = MemoryEventStore(), asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, stop.set)
    await generate_live(store, BTC, TapeSpec(rate_per_s=1_000), np.random.default_rng(4), SystemClock(), stop)
    events = await log_of(store)
    assert isinstance(events[-1], FeedLost)
    assert any(isinstance(e, TradesObserved) for e in events)
