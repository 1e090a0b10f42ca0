"""Bars as they end: against an oracle of plain Python, in any cuts, with what was watched."""

from fractions import Fraction
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from alphapulse.domain.analysis.bars import AFTER_GAP, BACK_FILLED, FEED_DOWN, RECEIVE_TIME, SUPPLIED
from alphapulse.domain.analysis.closing import FRAMES, Closed, Closing, close_bars
from alphapulse.domain.analysis.watching import MAX_INTERVALS, Watched
from alphapulse.domain.market import columns
from alphapulse.domain.market.candles import SumTooLarge
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import MINUTE_NS, bar_start

BTC = Instrument("test", "BTC_USD")
MONDAY = 4 + 7 * 2000  # days since 1970
T0 = MONDAY * 1440  # minutes

Trade = tuple[float, int, int, int]  # minute after T0, price and size as mantissas, side


def trades(
    *rows: Trade, first_id: int = 1, price_exponent: int = 2, size_exponent: int = 3, flag: int = 0
) -> TradesObserved:
    n = len(rows)
    return TradesObserved(
        instrument=BTC,
        columns=TradeColumns(
            time=np.array([round((T0 + r[0]) * MINUTE_NS) for r in rows], dtype=np.int64),
            price=np.array([r[1] for r in rows], dtype=np.int64),
            size=np.array([r[2] for r in rows], dtype=np.int64),
            side=np.array([r[3] for r in rows], dtype=np.int8),
            id=np.arange(first_id, first_id + n, dtype=np.int64),
            flags=np.full(n, flag, dtype=np.uint8),
            price_exponent=price_exponent,
            size_exponent=size_exponent,
        ),
    )


def supplied(
    *rows: tuple[int, int], timeframe: int = 1, unit: str = "base", count: int = -1, volume: int = 1000
) -> BarsObserved:
    """(minute after T0, price) of flat bars."""
    price = np.array([r[1] for r in rows], dtype=np.int64)
    return BarsObserved(
        instrument=BTC,
        timeframe_minutes=timeframe,
        volume_unit=unit,
        columns=BarColumns(
            start=np.array([(T0 + r[0]) * MINUTE_NS for r in rows], dtype=np.int64),
            open=price,
            high=price + 1,
            low=price - 1,
            close=price,
            volume=np.full(len(rows), volume, dtype=np.int64),
            trade_count=np.full(len(rows), count, dtype=np.int64),
            price_exponent=2,
            volume_exponent=3,
        ),
    )


def passed(minute: float) -> WatermarkPassed:
    return WatermarkPassed(venue="test", symbol="BTC_USD", time=round((T0 + minute) * MINUTE_NS))


def connected(minute: float) -> FeedConnected:
    return FeedConnected(venue="test", symbol="BTC_USD", time=round((T0 + minute) * MINUTE_NS))


def lost(minute: float) -> FeedLost:
    return FeedLost(venue="test", symbol="BTC_USD", time=round((T0 + minute) * MINUTE_NS), reason="test")


def gap(first: float, end: float, *, filled: bool) -> GapClosed:
    start, stop = (round((T0 + m) * MINUTE_NS) for m in (first, end))
    return GapClosed(venue="test", symbol="BTC_USD", start=start, end=stop, back_filled=filled)


Row = tuple[Any, ...]


def rows_of(closed: Closed) -> list[Row]:
    """(start, values, known_time, position, first_position, input_position, flags); NaN as None."""
    bars = closed.bars
    found = []
    for i in range(len(bars)):
        values = [None if np.isnan(v) else v for v in bars.values[1:, i].tolist()]
        numbers = [
            int(c[i])
            for c in (bars.known_time, bars.position, closed.first_position, bars.input_position, bars.flags)
        ]
        found.append((int(bars.start[i]) - T0, *values, *numbers))
    return found


def play(log: list[Any], cuts: list[int] | None = None) -> tuple[Closing, dict[int, list[Row]]]:
    """Close the bars of ``log`` at positions 10, 20, …; ``cuts``: where to stop and go on."""
    events = [(10 * (i + 1), event) for i, event in enumerate(log)]
    state, rows = Closing(), dict[int, list[Row]]()
    edges = [0, *sorted(cuts or []), len(events)]
    for begin, end in pairwise(edges):
        state, closed = close_bars("test:BTC_USD", state, events[begin:end])
        for timeframe, each in closed.items():
            rows.setdefault(timeframe, []).extend(rows_of(each))
    return state, rows


# Of a trade, and of the bar that it is in.
BAR_FLAGS = {0: 0, columns.RECEIVE_TIME: RECEIVE_TIME, columns.BACK_FILLED: BACK_FILLED}


class Oracle:
    """The rules, one trade at a time."""

    def __init__(self) -> None:
        self.high_water, self.late = 0, 0
        self.last = dict.fromkeys(FRAMES, -(1 << 62))
        self.open: dict[int, tuple[int, list[Any]]] = {}
        self.moments: list[tuple[int, int]] = []  # of the event: time of a trade, clock after it
        self.known = dict.fromkeys(FRAMES, 0)  # of the last bar of the event
        self.minutes: dict[int, list[Any]] = {}
        self.rows: dict[int, list[Row]] = {}

    def take(self, position: int, event: Any) -> None:
        self.moments, self.known = [], dict.fromkeys(FRAMES, 0)
        clock = self.high_water
        if isinstance(event, WatermarkPassed):
            self.high_water = max(self.high_water, event.time)
        else:
            c = event.columns
            last = self.last[1]
            for i in range(len(c)):
                clock = max(clock, int(c.time[i]))
                minute = int(c.time[i]) // MINUTE_NS
                if minute <= last:
                    self.late += 1
                    continue
                self.moments.append((int(c.time[i]), clock))
                price = Fraction(int(c.price[i]), 10**c.price_exponent)
                size = Fraction(int(c.size[i]), 10**c.size_exponent)
                flag = BAR_FLAGS[int(c.flags[i])]
                trade = (int(c.time[i]), int(c.id[i]), price, size, int(c.side[i]), position, flag)
                self.minutes.setdefault(minute, []).append(trade)
            self.high_water = max(self.high_water, int(c.time.max()))
        for minute in sorted(self.minutes):
            if (minute + 1) * MINUTE_NS <= self.high_water:
                inside = self.minutes.pop(minute)
                self.emit(1, minute, inside, position)
                for timeframe in FRAMES[1:]:
                    self.feed(timeframe, minute, inside, position)
        for timeframe, (start, inside) in list(self.open.items()):
            if (start + timeframe) * MINUTE_NS <= self.high_water:
                del self.open[timeframe]
                self.emit(timeframe, start, inside, position)

    def feed(self, timeframe: int, minute: int, inside: list[Any], position: int) -> None:
        start = int(bar_start(minute, timeframe))
        if start <= self.last[timeframe]:
            return
        if timeframe in self.open and self.open[timeframe][0] < start:
            self.emit(timeframe, *self.open.pop(timeframe), position)
        held = self.open.setdefault(timeframe, (start, []))
        if held[0] == start:
            held[1].extend(inside)

    def emit(self, timeframe: int, start: int, inside: list[Any], position: int) -> None:
        prices, end = [t[2] for t in inside], (start + timeframe) * MINUTE_NS
        passed = [clock for _, clock in self.moments if clock >= end]
        within = [clock for time, clock in self.moments if start * MINUTE_NS <= time < end]
        known = max(end, passed[0] if passed else self.high_water, *within, self.known[timeframe])
        self.known[timeframe] = known
        sided = any(t[4] for t in inside)
        before = self.last[timeframe]
        after_gap = AFTER_GAP if before > 0 and start > before + timeframe else 0
        self.last[timeframe] = start
        self.rows.setdefault(timeframe, []).append(
            (
                start - T0,
                float(min(inside)[2]),
                float(max(prices)),
                float(min(prices)),
                float(max(inside)[2]),
                float(sum(t[3] for t in inside)),
                float(sum(t[3] for t in inside if t[4] == 1)) if sided else None,
                float(len(inside)),
                known,
                position,
                min(t[5] for t in inside),
                max(t[5] for t in inside),
                reduce(or_, (t[6] for t in inside), after_gap),
            )
        )


@st.composite
def logs(draw: st.DrawFn) -> list[Any]:
    """Batches whose times wander forward, sometimes back, with exponents and sizes of all kinds."""
    log, minute, ident = list[Any](), 0.0, 1
    for _ in range(draw(st.integers(1, 12))):
        minute += draw(st.sampled_from([0, 0.3, 1, 1, 2, 4, 17, 70, 1500, 12_000]))
        if draw(st.integers(0, 5)) == 0:
            log.append(passed(minute + draw(st.sampled_from([0, 1, 3]))))
            continue
        large = draw(st.sampled_from([1, 1, 1, 10**6, 10**11]))
        batch = [
            (
                max(0.0, minute + draw(st.sampled_from([0, 0, 0.4, 1, 2.5, 6, -1, -3, -20]))),
                draw(st.integers(1, 99)) * large,
                draw(st.integers(1, 99)) * large,
                draw(st.sampled_from([1, -1, 0])),
            )
            for _ in range(draw(st.integers(1, 4)))
        ]
        exponents = draw(st.sampled_from([(2, 3), (2, 3), (0, 8), (18, 0), (6, 18)]))
        units = {"price_exponent": exponents[0], "size_exponent": exponents[1]}
        log.append(trades(*batch, first_id=ident, flag=draw(st.sampled_from([0, 0, *BAR_FLAGS])), **units))
        ident += len(batch)
    return log


@given(logs())
def test_bars_are_those_of_the_rules_said_trade_by_trade(log: list[Any]) -> None:
    oracle = Oracle()
    for i, event in enumerate(log):
        oracle.take(10 * (i + 1), event)
    state, rows = play(log)
    assert rows == oracle.rows
    assert (state.high_water, state.late) == (oracle.high_water, oracle.late)


@given(logs())
def test_an_event_with_few_trades_ends_the_same_bars_as_in_a_crowd(log: list[Any]) -> None:
    """Few trades are looked at one by one, many in tables."""
    n = 200
    crowd = trades(*[(-9.0, 100, 1, 1)] * n, first_id=10**6)
    tables, one_by_one = play([crowd, *log]), play([crowd, *log], list(range(len(log) + 2)))
    assert tables == one_by_one


@given(logs(), st.data())
def test_where_the_events_are_cut_changes_nothing(log: list[Any], data: st.DataObject) -> None:
    kinds = [
        supplied((3, 100), (9, 101)),
        supplied((0, 50), timeframe=5),
        connected(2),
        lost(5),
        connected(9),
    ]
    log = list(log)
    for event in data.draw(st.lists(st.sampled_from(kinds), max_size=5)):
        log.insert(data.draw(st.integers(0, len(log))), event)
    cuts = data.draw(st.lists(st.integers(0, len(log)), max_size=8))
    assert play(log, cuts) == play(log) == play(log, list(range(len(log))))


def test_a_bar_ends_by_the_event_that_passes_its_end() -> None:
    """Not by the trades inside it, nor by the end of the batch."""
    _, rows = play([trades((0.5, 100, 1, 1)), trades((0.9, 120, 2, -1)), trades((2.5, 90, 1, 1), first_id=3)])
    known = round((T0 + 2.5) * MINUTE_NS)
    assert rows[1] == [(0, 1.0, 1.2, 1.0, 1.2, 0.003, 0.001, 2.0, known, 30, 10, 20, 0)]


def test_a_bar_is_known_from_the_trade_on_that_passed_its_end_though_the_event_goes_on() -> None:
    _, rows = play([trades((0.5, 100, 1, 1), (1.25, 101, 1, 1), (7.5, 102, 1, 1))])
    assert [r[8] for r in rows[1]] == [round((T0 + m) * MINUTE_NS) for m in (1.25, 7.5)]
    assert [r[9] for r in rows[1]] == [10, 10]


def test_a_bar_is_not_known_before_its_last_trade_came() -> None:
    _, rows = play([trades((0.5, 100, 1, 1), (2.25, 101, 1, 1), (0.75, 102, 1, 1), (3.5, 103, 1, 1))])
    assert [(r[0], r[8]) for r in rows[1]] == [
        (0, round((T0 + 2.25) * MINUTE_NS)),
        (2, round((T0 + 3.5) * MINUTE_NS)),
    ]
    _, rows = play([trades((0.5, 100, 1, 1), (2.25, 101, 1, 1), (5.5, 9, 1, 1), (0.75, 102, 1, 1))])
    assert [(r[0], r[8]) for r in rows[1]] == [(m, round((T0 + 5.5) * MINUTE_NS)) for m in (0, 2)]


def test_a_watermark_ends_a_bar_without_a_trade() -> None:
    _, rows = play([trades((0.5, 100, 1, 1)), passed(1)])
    assert [(r[0], r[8], r[9]) for r in rows[1]] == [(0, (T0 + 1) * MINUTE_NS, 20)]


def test_a_late_trade_changes_no_bar_and_is_counted() -> None:
    log = [trades((0.5, 100, 1, 1), (1.5, 100, 1, 1)), trades((0.7, 999, 1, 1), (1.7, 101, 1, 1), first_id=3)]
    state, rows = play([*log, passed(2)])
    assert state.late == 1
    assert [r[2] for r in rows[1]] == [1.0, 1.01]


def test_unknown_sides_make_no_taker_volume_of_zero() -> None:
    _, rows = play([trades((0.5, 100, 1, 0)), trades((1.5, 100, 1, -1), first_id=2), passed(2)])
    assert [r[6] for r in rows[1]] == [None, 0.0]


def test_bars_of_a_venue_are_known_at_their_end_and_roll_up() -> None:
    _, rows = play([supplied(*((m, 100 + m) for m in range(60)))])
    assert [r[8] for r in rows[1]] == [(T0 + m + 1) * MINUTE_NS for m in range(60)]
    assert [r[8] for r in rows[5]] == [(T0 + 5 * m + 5) * MINUTE_NS for m in range(12)]
    assert [(r[0], r[1], r[4], r[5], r[6], r[7], r[12]) for r in rows[60]] == [
        (0, 1.0, 1.59, 60.0, None, None, SUPPLIED)
    ]


def test_a_venues_volume_in_another_unit_is_unknown() -> None:
    _, rows = play([supplied((0, 100), unit="contracts", count=7)])
    assert rows[1][0][5:8] == (None, None, 7.0)


def test_bars_supplied_again_are_not_taken() -> None:
    state, rows = play([supplied((0, 100), (1, 101)), supplied((1, 999), (2, 102))])
    assert [r[1] for r in rows[1]] == [1.0, 1.01, 1.02]
    assert state.late == 1


def test_hours_of_a_venue_roll_up_to_days_only() -> None:
    _, rows = play([supplied(*((60 * h, 100) for h in range(25)), timeframe=60)])
    assert sorted(rows) == [60, 240, 1440]
    assert len(rows[60]) == 25


def test_a_supplied_minute_takes_the_place_of_the_open_one() -> None:
    state, rows = play(
        [trades((0.5, 100, 1, 1)), supplied((0, 500), (1, 501)), trades((2.5, 9, 1, 1)), passed(3)]
    )
    assert [(r[0], r[1]) for r in rows[1]] == [(0, 5.0), (1, 5.01), (2, 0.09)]
    assert state.late == 1


def test_a_supplied_minute_further_on_ends_the_open_one() -> None:
    _, rows = play([trades((1.5, 100, 1, 1)), supplied((0, 499), (3, 501)), supplied((4, 502))])
    assert [(r[0], r[1], r[12]) for r in rows[1]] == [
        (0, 4.99, SUPPLIED),
        (1, 1.0, 0),
        (3, 5.01, SUPPLIED | AFTER_GAP),
        (4, 5.02, SUPPLIED),
    ]
    assert [(r[0], r[1], r[2], r[3], r[4]) for r in rows[5]] == [(0, 4.99, 5.03, 1.0, 5.02)]


def test_minutes_and_hours_of_a_venue_do_not_add_up() -> None:
    """A bar has one base: an hour that is supplied beside its minutes would count them twice."""
    _, rows = play([supplied((0, 100)), supplied((0, 100), (60, 100), timeframe=60), supplied((240, 100))])
    assert [(r[0], r[5]) for r in rows[60]] == [(0, 1.0), (60, 1.0)]
    assert [(r[0], r[5]) for r in rows[240]] == [(0, 1.0)]


def test_bars_on_odd_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="no bar of 5 minutes begins"):
        play([supplied((3, 100), timeframe=5)])


def flags_of(*log: Any) -> list[tuple[int, int]]:
    return [(r[0], r[12] & (FEED_DOWN | BACK_FILLED)) for r in play(list(log))[1][1]]


def test_a_market_that_nobody_speaks_of_is_not_down() -> None:
    assert flags_of(trades((0.5, 1, 1, 1)), passed(2)) == [(0, 0)]


def test_the_first_minute_of_a_feed_is_not_whole() -> None:
    log = [connected(0.5), trades((0.6, 1, 1, 1), (1.2, 1, 1, 1)), passed(2)]
    assert flags_of(*log) == [(0, FEED_DOWN), (1, 0)]


def test_a_bar_in_which_the_feed_was_lost_is_down_until_it_is_filled() -> None:
    feed = [connected(0), trades((0.5, 1, 1, 1)), lost(0.7)]
    assert flags_of(*feed, connected(1.5), passed(2)) == [(0, FEED_DOWN)]
    assert flags_of(*feed, gap(0.7, 1.5, filled=True), connected(1.5), passed(2)) == [(0, BACK_FILLED)]
    assert flags_of(*feed, gap(0.7, 1.5, filled=False), connected(1.5), passed(2)) == [(0, FEED_DOWN)]


def test_a_gap_filled_after_the_bar_ended_does_not_reach_back() -> None:
    log = [connected(0), trades((0.5, 1, 1, 1)), lost(0.7), connected(1.5), passed(2)]
    assert flags_of(*log, gap(0.7, 1.5, filled=True), passed(3)) == [(0, FEED_DOWN)]


def test_a_process_that_died_unheard_leaves_the_time_since_unknown() -> None:
    log = [
        connected(0),
        trades((0.5, 1, 1, 1)),
        trades((1.1, 1, 1, 1), first_id=2),
        connected(1.9),
        passed(3),
    ]
    assert flags_of(*log) == [(0, 0), (1, FEED_DOWN)]


def test_what_was_watched_is_forgotten_on_the_careful_side() -> None:
    seen = Watched()
    for n in range(MAX_INTERVALS + 10):
        seen = seen.after(connected(10 * n), 0, 0).after(lost(10 * n + 5), 0, 0)
    assert len(seen.known) == MAX_INTERVALS
    starts = np.array([T0, T0 + 10 * (MAX_INTERVALS + 9)]) * MINUTE_NS
    assert seen.flags(starts, starts + 5 * MINUTE_NS).tolist() == [FEED_DOWN, 0]


def test_sums_beyond_64_bits_are_rounded_once() -> None:
    size = 9_007_199_254_740_993  # 2**53 + 1, no float64
    _, rows = play([trades(*[(0.1, 1, size, 1)] * 2000, size_exponent=0), passed(1)])
    assert rows[1][0][5] == float(2000 * size)


@pytest.mark.parametrize("n", [2, 2000])
def test_trades_of_one_event_that_are_too_large_for_exact_sums_are_refused(n: int) -> None:
    huge = (1 << 62) + 1
    with pytest.raises(SumTooLarge, match=f"event at 20: {n} trades of up to {huge} x {huge}"):
        play([trades((0.1, 1, 1, 1)), trades(*[(0.2, huge, huge, 1)] * n)])


MOMENTS = st.integers(0, 12)


@given(
    st.lists(st.tuples(st.sampled_from(["connected", "lost", "filled", "gap"]), MOMENTS, MOMENTS), max_size=8)
)
def test_what_was_watched_of_one_bar_is_what_was_watched_of_many(facts: list[tuple[str, int, int]]) -> None:
    seen = Watched()
    for kind, a, b in facts:
        made: Any = {"connected": connected, "lost": lost}.get(kind)
        fact = made(a) if made else gap(a, b, filled=kind == "filled")
        seen = seen.after(fact, round((T0 + b) * MINUTE_NS), 0)
    starts = (T0 + np.repeat(np.arange(13), 4)) * MINUTE_NS
    ends = starts + np.tile(np.array([1, 2, 5, 20]), 13) * MINUTE_NS
    one_by_one = [seen.flag(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    assert seen.flags(starts, ends).tolist() == one_by_one
