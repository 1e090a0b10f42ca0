"""What is said to lie around a detection, and that none of it was known only later."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.alignment import known_rows, seen
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.confirmation import confirm
from alphapulse.domain.analysis.context import (
    Around,
    Context,
    ContextRules,
    before,
    context,
    trend,
    volume_ratio,
)
from alphapulse.domain.analysis.levels import LevelRules, levels
from alphapulse.domain.analysis.nearby import nearest_levels
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.series import walk

NAN = math.nan


def bars_of(values: np.ndarray, timeframe: int = 1, position: np.ndarray | None = None) -> Bars:
    """Bars without holes from 1970 on; each is ended by an event of its own unless positions are given."""
    count = values.shape[1]
    values = values.copy()
    values[0] = timeframe * np.arange(count)
    ends = (values[0] + timeframe).astype(np.int64)
    position = ends if position is None else position
    zeros = np.zeros(count, dtype=np.int64)
    return Bars(
        instrument="v:BTC-USD",
        timeframe=timeframe,
        values=values,
        known_time=ends * 60_000_000_000,
        position=position,
        input_position=position,
        flags=zeros,
    )


def empty_bars(count: int, timeframe: int, positions: list[int]) -> Bars:
    return bars_of(np.ones((8, count)), timeframe, np.array(positions, dtype=np.int64))


def rolled_up(bars: Bars, times: int) -> Bars:
    """Each ``times`` bars as one, known with the last of them."""
    count = len(bars) // times
    parts = bars.values[:, : count * times].reshape(8, count, times)
    values = parts.sum(axis=2)
    values[1], values[2], values[3], values[4] = (
        parts[1, :, 0],
        parts[2].max(1),
        parts[3].min(1),
        parts[4, :, -1],
    )
    return bars_of(values, bars.timeframe * times, bars.position[times - 1 :: times][:count])


def atr_of(bars: Bars) -> np.ndarray:
    return compute([Spec.parse("atr")], bars.values)[0]


def test_a_trend_is_the_rise_of_the_line_in_atr():
    closes = 100 + 2.0 * np.arange(10)
    assert trend(closes, np.full(10, 4.0), 5)[4:] == pytest.approx(2 * 4 / 4)
    assert np.isnan(trend(closes, np.full(10, 4.0), 5)[:4]).all()
    assert trend(closes[::-1], np.full(10, 4.0), 5)[-1] == pytest.approx(-2)


def test_a_trend_is_that_of_a_fitted_line():
    closes = walk(80)[4]
    ours = trend(closes, np.ones(80), 20)
    for t in range(19, 80):
        assert ours[t] == pytest.approx(
            np.polyfit(np.arange(20), closes[t - 19 : t + 1], 1)[0] * 19, abs=1e-9
        )


def test_without_an_atr_or_enough_bars_there_is_no_trend():
    assert np.isnan(trend(np.arange(4.0), np.ones(4), 5)).all()
    assert np.isnan(trend(np.arange(9.0), np.zeros(9), 5)).all()
    assert len(trend(np.empty(0), np.empty(0), 5)) == 0


def test_the_trend_before_a_bar_leaves_the_bar_out():
    bars = bars_of(walk(100))
    atr = atr_of(bars)
    whole = context(bars, atr).trend
    assert np.isnan(whole[:20]).all()  # the first trend is that of bars 0 to 19
    assert not np.isnan(whole[20:]).any()
    assert whole[20:] == pytest.approx(before(trend(bars.values[4], atr, 20))[20:], nan_ok=True)
    values = bars.values.copy()
    values[4, 50] *= 1.5
    assert context(replace(bars, values=values), atr).trend[50] == whole[50]


def test_the_volume_is_measured_against_the_bars_before_it():
    ratio = volume_ratio(np.array([1.0, 3, 4, 2, NAN, 5, 5, 0]), 2)
    assert ratio == pytest.approx([NAN, NAN, 2, 2 / 3.5, NAN, NAN, NAN, 0], nan_ok=True)


def test_volumes_of_nothing_have_no_ratio():
    assert np.isnan(volume_ratio(np.array([0.0, 0, 5]), 2)).all()
    assert np.isnan(volume_ratio(np.array([1.0]), 2)).all()


def test_a_minute_that_ends_with_the_hour_sees_it_and_the_hour_does_not_see_the_minute():
    minutes, fives = empty_bars(11, 1, list(range(1, 12))), empty_bars(2, 5, [5, 10])
    assert known_rows(minutes, fives).tolist() == [-1] * 4 + [0] * 5 + [1] * 2
    assert known_rows(fives, minutes).tolist() == [3, 8]


def test_bars_that_one_event_ended_became_known_in_the_order_of_their_ends():
    # After a quiet spell one trade, at position 9, ends minutes 3 to 6 and both fives.
    minutes, fives = empty_bars(7, 1, [1, 2, 9, 9, 9, 9, 10]), empty_bars(1, 5, [9])
    assert known_rows(minutes, fives).tolist() == [-1, -1, -1, -1, 0, 0, 0]


def test_a_bar_that_became_known_late_is_not_seen_before():
    minutes, fives = empty_bars(8, 1, list(range(1, 9))), empty_bars(1, 5, [7])
    assert known_rows(minutes, fives).tolist() == [-1] * 6 + [0, 0]


@given(st.integers(0, 9999), st.sampled_from([(1, 5), (5, 1), (3, 3)]))
def test_what_is_seen_is_what_walking_through_the_log_would_see(seed, timeframes):
    rng = np.random.default_rng(seed)
    mine, other = (
        empty_bars(int(n), tf, sorted(rng.integers(1, 30, int(n)).tolist()))
        for n, tf in zip(rng.integers(0, 30, 2), timeframes, strict=True)
    )
    moments = sorted(
        (int(b.position[i]), int(b.start[i]) + b.timeframe, -b.timeframe, b is mine, i)
        for b in (mine, other)
        for i in range(len(b))
    )
    expected, last = [-1] * len(mine), -1
    for *_, ours, i in moments:
        if ours:
            expected[i] = last
        else:
            last = i
    if timeframes[0] != timeframes[1]:
        assert known_rows(mine, other).tolist() == expected


def test_what_was_not_known_is_seen_as_missing():
    assert seen(np.array([5.0, 6]), np.array([-1, 0, 1])) == pytest.approx([NAN, 5, 6], nan_ok=True)
    assert seen(np.empty(0), np.array([-1, -1])) == pytest.approx([NAN, NAN], nan_ok=True)


@pytest.mark.parametrize("timeframe", [15, 240])
def test_the_nearest_levels_are_the_nearest_of_all_levels(timeframe):
    bars = bars_of(walk(900), timeframe)
    atr = atr_of(bars)
    support, resistance = nearest_levels(bars, atr, wing=3, reach=100)
    rules = LevelRules(wing=3, reach=100, round_numbers=1)
    for t in range(20, 900, 37):
        apart = [v.distance for v in levels(bars, atr, as_of=t, rules=rules) if v.kind != "cluster"]
        assert support[t] == pytest.approx(-max(d for d in apart if d <= 0), abs=1e-9)
        assert resistance[t] == pytest.approx(min(d for d in apart if d > 0), abs=1e-9)


def test_other_timeframes_are_seen_as_they_were():
    bars = bars_of(walk(400), 5)
    hours = rolled_up(bars, 12)
    atr, hourly = atr_of(bars), np.ones(len(hours))
    rules = ContextRules(trend_bars=3)
    around = context(bars, atr, [(hours, hourly)], rules).row(100)
    # Bar 100 ends at 505 minutes: eight hours were known.
    assert around.others == {60: pytest.approx(trend(hours.values[4], hourly, 3)[7])}


@given(st.integers(0, 999), st.integers(1, 298))
def test_no_context_depends_on_later_bars(seed, now):
    bars = bars_of(walk(300, seed), 60)
    days, atr = rolled_up(bars, 24), np.full(300, 0.3)
    known = int(np.searchsorted(days.position, bars.position[now], side="right"))
    daily = np.full(len(days), 1.0)
    rules = ContextRules(trend_bars=2)
    whole = context(bars, atr, [(days, daily)], rules)
    rng = np.random.default_rng(seed)
    for b, since in ((bars, now + 1), (days, known)):
        b.values[1:, since:] = np.abs(rng.normal(0, 1e9, b.values[1:, since:].shape))
    atr[now + 1 :], daily[known:] = 55, 66
    poisoned = context(bars, atr, [(days, daily)], rules)
    for name in Context.__slots__:
        if name != "others":
            kept = [getattr(c, name)[: now + 1] for c in (whole, poisoned)]
            assert np.array_equal(*kept, equal_nan=True), name
    assert np.array_equal(whole.others[1440][: now + 1], poisoned.others[1440][: now + 1], equal_nan=True)


def around(volume: float = 1.0, **others: float) -> Around:
    """Trends of 1h, 1d, … by the names h, d."""
    minutes = {"m": 15, "h": 60, "d": 1440, "w": 10080}
    trends = {minutes[name]: value for name, value in others.items()}
    return Around(trend=-5, volume_ratio=volume, support=1, resistance=1, others=trends)


@pytest.mark.parametrize(
    ("given_around", "verdict", "counts"),
    [
        (around(h=2, d=1.5), "confirmed", (2, 0)),
        (around(h=2, d=-2, volume=1.5), "confirmed", (2, 1)),
        (around(h=-2, d=-1.49), "contradicted", (0, 1)),
        (around(h=-2, volume=1.5), "divided", (1, 1)),
        (around(h=1.49, d=NAN, volume=1.49), "alone", (0, 0)),
        (around(volume=NAN), "alone", (0, 0)),
        (around(volume=0.7), "contradicted", (0, 1)),
        (around(volume=0.71), "alone", (0, 0)),
    ],
)
def test_each_strong_voice_counts_once(given_around, verdict, counts):
    found = confirm(1, given_around)
    assert (found.verdict, (found.supporting, found.opposing)) == (verdict, counts)
    assert len(found.reasons) == sum(counts)


def test_a_fall_is_confirmed_by_what_contradicts_a_rise():
    given_around = around(h=-2, d=-2)
    assert confirm(-1, given_around).verdict == "confirmed"
    assert confirm(1, given_around).verdict == "contradicted"


def test_the_reasons_name_timeframe_way_and_size():
    found = confirm(1, around(m=-1.6, h=2, w=3.25, volume=2.04))
    assert found.reasons == (
        "against: the 15m trend is down, 1.6 ATR",
        "for: the 1h trend is up, 2.0 ATR",
        "for: the 1w trend is up, 3.2 ATR",
        "for: volume 2.0 times the usual",
    )
    assert confirm(1, around(volume=0.5)).reasons == ("against: volume only 0.5 times the usual",)


def test_rules_that_make_no_sense_are_refused():
    for wrong in ({"trend_bars": 1}, {"volume_bars": 2001}, {"reach": 1}, {"quiet": 0.0}, {"quiet": 2.0}):
        with pytest.raises(ValueError, match="need 2 to 2000 bars"):
            ContextRules(**wrong)
