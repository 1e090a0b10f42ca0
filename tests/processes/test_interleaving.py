"""Histories that were imported one after the other become one log in which nothing teaches the past."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.market.events import BarsObserved, WatermarkPassed
from alphapulse.domain.ports import Recorded
from alphapulse.processes.interleaving import interleaved
from tests.candle_oracle import MINUTE
from tests.projections.market_log import BTC, ETH, T0, bars, trades


def flat(first: int, count: int, *, timeframe: int = 1, **more: Any) -> BarsObserved:
    """So many bars from that minute on, one after the other."""
    rows = [(first + i * timeframe, 100 + i, 101 + i, 99 + i, 100 + i, 1) for i in range(count)]
    return bars(rows, timeframe=timeframe, **more)


async def log_of(*events: tuple[str, Any]) -> MemoryEventStore:
    store, versions = MemoryEventStore(), defaultdict[str, int](int)
    for stream, event in events:
        versions[stream] += 1
        await store.append([codec.new_event(stream, versions[stream], event)])
    return store


async def in_order(minutes: int, *events: tuple[str, Any]) -> Sequence[Recorded]:
    into = MemoryEventStore()
    await interleaved(await log_of(*events), into, minutes)
    return [codec.decode(record) for record in (await into.read(0, limit=10_000)).records]


def starts(recorded: Sequence[Recorded], stream: str) -> Sequence[int]:
    found = [each.event.columns.start for each in recorded if each.stream == stream]
    return ((np.concatenate(found) - T0) // MINUTE).tolist()


async def test_no_bar_stands_before_one_of_another_market_that_ended_a_cut_before_it() -> None:
    made = await in_order(15, ("a", flat(0, 100)), ("b", flat(7, 100, instrument=ETH)))
    ends = [int(each.event.columns.start[-1]) + MINUTE for each in made]
    assert all(int(each.event.columns.start[0]) >= max(ends[:i], default=0) - 15 * MINUTE
               for i, each in enumerate(made))  # fmt: skip
    cuts = [-(-end // (15 * MINUTE)) for end in ends]
    assert cuts == sorted(cuts)
    assert starts(made, "a") == list(range(100))
    assert starts(made, "b") == list(range(7, 107))


async def test_a_bar_stands_in_the_cut_in_which_it_ends() -> None:
    made = await in_order(15, ("a", flat(0, 40)), ("b", flat(0, 2, timeframe=15, instrument=ETH)))
    where = [(each.stream, int(each.event.columns.start[0] - T0) // MINUTE) for each in made]
    assert where == [("a", 0), ("b", 0), ("a", 15), ("b", 15), ("a", 30)]


async def test_bars_longer_than_a_cut_stand_where_they_end() -> None:
    made = await in_order(5, ("a", flat(0, 61)), ("b", flat(0, 1, timeframe=60, instrument=ETH)))
    place = next(i for i, each in enumerate(made) if each.stream == "b")
    assert starts(made[:place], "a") == list(range(60))


async def test_streams_keep_their_versions_and_every_value() -> None:
    given = flat(3, 50)
    made = await in_order(10, ("a", given), ("b", flat(0, 50, instrument=ETH)))
    own = [each for each in made if each.stream == "a"]
    assert [each.version for each in own] == list(range(1, len(own) + 1))
    assert [each.position for each in made] == list(range(1, len(made) + 1))
    for name in ("start", "open", "high", "low", "close", "volume", "trade_count"):
        joined = np.concatenate([getattr(each.event.columns, name) for each in own])
        np.testing.assert_array_equal(joined, getattr(given.columns, name))
    assert {each.event.instrument for each in own} == {BTC}


async def test_a_trade_that_came_late_stays_where_it_came() -> None:
    late = trades([(1, 100, 1), (31, 101, 1), (2, 99, 1), (32, 102, 1)])
    later = trades([(3, 98, 1)], first_id=5)
    made = await in_order(15, ("a", late), ("a", later), ("b", flat(0, 40, instrument=ETH)))
    own = [each.event.columns.id.tolist() for each in made if each.stream == "a"]
    assert [id_ for ids in own for id_ in ids] == [1, 2, 3, 4, 5]
    assert own[0] == [1]


async def test_it_is_the_same_whatever_order_the_files_were_read_in() -> None:
    one, other = ("a", flat(0, 70)), ("b", flat(5, 90, instrument=ETH))
    first, second = await in_order(15, one, other), await in_order(15, other, one)
    assert [(r.position, r.stream, r.version) for r in first] == [
        (r.position, r.stream, r.version) for r in second
    ]
    assert [r.envelope.event_id for r in first] == [r.envelope.event_id for r in second]


async def test_what_is_no_bar_or_trade_is_left_out() -> None:
    passed = WatermarkPassed(venue="test", symbol="BTC_USD", time=T0)
    made = await in_order(15, ("feed-test-BTC_USD", passed), ("a", flat(0, 15)))
    assert [each.stream for each in made] == ["a"]


async def test_more_than_a_commit_holds_is_appended_in_several() -> None:
    made = await in_order(1, ("a", flat(0, 1_500)), ("b", flat(0, 1_000, instrument=ETH)))
    assert len(made) == 2_500


async def test_nothing_becomes_nothing() -> None:
    assert await in_order(15) == []


async def test_cuts_of_no_minutes_are_refused() -> None:
    with pytest.raises(ValueError, match="cuts of 0 minutes"):
        await in_order(0)
