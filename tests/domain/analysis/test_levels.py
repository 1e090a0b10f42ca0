"""Levels on series made by hand, and what was known of them when."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.levels import Level, LevelRules, clusters, levels
from alphapulse.domain.analysis.prior import DAY, WEEK, prior
from alphapulse.domain.analysis.round_numbers import MAX_ROUND, round_numbers
from alphapulse.domain.analysis.swings import MAX_WING, swings
from tests.domain.analysis.series import walk

MONDAY = 19_723 * DAY + 0  # 2024-01-01 00:00 UTC, a Monday


def bars_of(values: np.ndarray, timeframe: int = 60, start: int = MONDAY) -> Bars:
    """``values`` from ``walk``, each known 7 ns after its end, at positions 100, 110, 120 …"""
    count = values.shape[1]
    values = values.copy()
    values[0] = start + timeframe * np.arange(count)
    known = ((values[0] + timeframe) * 60e9).astype(np.int64) + 7
    position = 100 + 10 * np.arange(count)
    zeros = np.zeros(count, dtype=np.int64)
    return Bars(
        instrument="v:BTC-USD",
        timeframe=timeframe,
        values=values,
        known_time=known,
        position=position,
        input_position=position,
        flags=zeros,
    )


def line(highs: list[float]) -> Bars:
    """Bars whose high is given, with the low 1 and the close 0.5 below it."""
    high = np.array(highs, dtype=np.float64)
    fields = [high * 0, high - 0.5, high, high - 1, high - 0.5, high * 0 + 1, high * 0, high * 0]
    return bars_of(np.stack(fields))


def of_kind(found: list[Level], kind: str) -> list[Level]:
    return [level for level in found if level.kind == kind]


def test_a_swing_high_stands_above_the_bars_before_and_not_below_those_after():
    highs = np.array([1, 2, 5, 3, 2, 4, 4, 3, 2], dtype=float)
    found = swings(highs, highs - 1, 2).of(1)
    # Of the equal highs at 5 and 6 the first one counts.
    assert found.bars.tolist() == [2, 5]
    assert found.known.tolist() == [4, 7]
    assert found.prices.tolist() == [5, 4]


def test_a_bar_one_short_of_its_wing_is_no_swing_yet():
    highs = np.array([1, 2, 5, 3, 2], dtype=float)
    assert len(swings(highs[:4], highs[:4] * 0, 2)) == 0
    assert len(swings(highs, highs * 0, 2)) == 1
    assert len(swings(highs, highs * 0, 3)) == 0


def test_a_flat_market_has_no_swings():
    assert len(swings(np.full(50, 3.0), np.full(50, 2.0), 2)) == 0


def test_wings_and_arrays_that_make_no_sense_are_refused():
    for wing in (0, MAX_WING + 1):
        with pytest.raises(ValueError, match=f"wing {wing}"):
            swings(np.ones(5), np.ones(5), wing)
    with pytest.raises(ValueError, match=r"\(4,\) lows"):
        swings(np.ones(5), np.ones(4), 1)


def test_a_cluster_is_no_wider_than_its_tolerance():
    prices = np.array([10.0, 12.0, 10.4, 10.5, 10.9, 30.0])
    found = clusters(prices, 0.5)
    assert [(c.rows.tolist(), c.price) for c in found] == [([0, 2, 3], pytest.approx(10.3))]
    assert clusters(np.empty(0), 1.0) == []


@given(st.lists(st.floats(1, 1e6), max_size=40), st.floats(1e-3, 1e5))
def test_clusters_keep_their_width_and_share_no_price(prices, width):
    array = np.array(prices)
    found = clusters(array, width)
    rows = [row for c in found for row in c.rows.tolist()]
    assert len(rows) == len(set(rows))
    assert all(len(c.rows) > 1 and array[c.rows].max() <= array[c.rows].min() + width for c in found)


def test_the_day_before_is_the_last_whole_one_and_known_with_the_next_bar():
    start = MONDAY - 2 * 60 + 60 * np.arange(60)  # from 22:00 on Sunday
    x = np.arange(60, dtype=float)
    before = prior(start, x + 1, x - 1, x, DAY)
    # Sunday may have begun before the first bar; Monday, bars 2 to 25, is the first whole day.
    assert np.isnan(before.high[:26]).all()
    assert (before.since[:26] == -1).all()
    assert {tuple(row) for row in np.stack([before.high, before.low, before.close]).T[26:50]} == {(26, 1, 25)}
    assert set(before.since[26:50].tolist()) == {26}
    assert before.close[50] == 49


def test_a_week_begins_on_monday():
    start = MONDAY - 9 * DAY + DAY * np.arange(20)  # from a Saturday
    x = np.arange(20, dtype=float)
    before = prior(start, x, x, x, WEEK)
    assert np.isnan(before.high[:9]).all()
    assert (before.high[9], before.low[9], before.close[9]) == (8, 2, 8)
    assert before.since[15] == 9
    assert before.high[16] == 15


def test_a_day_without_bars_is_skipped():
    start = np.array([0, DAY, DAY + 1, 5 * DAY])
    x = np.array([1.0, 7, 5, 2])
    assert prior(start, x, x, x, DAY).high[3] == 7


def test_no_bars_have_no_day_before():
    empty = np.empty(0)
    assert len(prior(empty.astype(np.int64), empty, empty, empty, DAY).high) == 0
    with pytest.raises(ValueError, match="60 minutes"):
        prior(empty.astype(np.int64), empty, empty, empty, 60)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (6543, [(6000, 1), (6500, 0.75), (6600, 0.5), (7000, 1)]),
        (10_000, [(10_000, 1), (11_000, 0.5), (20_000, 1)]),
        (9_999.99, [(9_000, 1), (9_900, 0.5), (10_000, 1)]),
        (0.29, [(0.2, 1), (0.29, 0.5), (0.3, 1)]),
        (3e-6, [(3e-6, 1), (3.1e-6, 0.5), (4e-6, 1)]),
    ],
)
def test_round_numbers_go_with_the_price(price, expected):
    assert [(level, weight) for level, weight, _ in round_numbers(price, 1)] == expected


@given(st.floats(1e-9, 1e9))
def test_round_numbers_embrace_the_price(price):
    around = [level for level, _, _ in round_numbers(price, 1)]
    assert min(around) <= price < max(around)


def test_round_numbers_of_nothing_are_refused():
    for price, count in ((0.0, 1), (-1.0, 1), (float("nan"), 1), (1.0, MAX_ROUND + 1), (1.0, -1)):
        with pytest.raises(ValueError, match="needs more than 0"):
            round_numbers(price, count)


def test_levels_say_what_they_are_and_since_when_that_was_known():
    bars = line([10, 11, 14, 11, 10, 11, 14.2, 11, 10, 11])
    rules = LevelRules(wing=2, half_life=10, tolerance=0.5, round_numbers=0)
    found = levels(bars, np.full(10, 1.0), rules=rules)
    first, second = sorted(of_kind(found, "swing_high"), key=lambda level: level.bar)
    assert (first.price, first.bar, first.known_bar, first.touches) == (14, 2, 4, 1)
    assert (second.price, second.bar, second.known_bar) == (14.2, 6, 8)
    assert (second.known_time, second.position) == (bars.known_time[8], 180)
    assert second.distance == pytest.approx(14.2 - 10.5)
    assert second.side == "resistance"
    assert second.reasons == ("high of the 5 bars around it, 3 bars ago",)
    assert second.strength == pytest.approx(0.5 * 0.5 ** (3 / 10))
    (cluster,) = of_kind(found, "cluster")
    assert (cluster.price, cluster.touches, cluster.known_bar) == (pytest.approx(14.1), 2, 8)
    assert cluster.strength == pytest.approx(0.75 * 0.5 ** (3 / 10))
    assert cluster.reasons == ("2 swings within 0.5 ATR", "the last 3 bars ago, the first 7")
    (low,) = of_kind(found, "swing_low")
    assert (low.price, low.side) == (9, "support")


def test_swings_too_far_apart_are_no_cluster():
    bars = line([10, 11, 14, 11, 10, 11, 14.6, 11, 10, 11])
    assert not of_kind(levels(bars, np.full(10, 1.0), rules=LevelRules(wing=2)), "cluster")
    assert of_kind(levels(bars, np.full(10, 1.3), rules=LevelRules(wing=2)), "cluster")


def test_without_an_atr_there_are_levels_but_no_distances_and_no_clusters():
    bars = line([10, 11, 14, 11, 10, 11, 14.2, 11, 10, 11])
    found = levels(bars, np.full(10, np.nan), rules=LevelRules(wing=2))
    assert {level.kind for level in found} == {"swing_high", "swing_low", "round"}
    assert all(np.isnan(level.distance) for level in found)


def test_swings_older_than_the_reach_are_forgotten():
    bars = line([10, 11, 14, 11, 10, 9, 8, 7, 6, 5])
    for reach, count in ((7, 1), (6, 0)):
        found = levels(bars, np.ones(10), rules=LevelRules(wing=2, reach=reach))
        assert len(of_kind(found, "swing_high")) == count


def test_the_day_and_the_week_before_stand_among_the_levels():
    bars = bars_of(walk(24 * 17))
    found = {level.kind: level for level in levels(bars, np.ones(len(bars)))}
    day, week = slice(24 * 15, 24 * 16), slice(24 * 7, 24 * 14)
    assert found["prior_day_high"].price == bars.values[2, day].max()
    assert found["prior_day_close"].price == bars.values[4, 24 * 16 - 1]
    assert found["prior_day_low"].known_bar == 24 * 16
    assert found["prior_week_low"].price == bars.values[3, week].min()
    assert found["prior_week_low"].known_bar == 24 * 14
    assert found["prior_week_high"].strength > found["prior_day_high"].strength


def test_arguments_that_make_no_sense_are_refused():
    bars = line([1, 2, 3])
    for as_of in (3, -4):
        with pytest.raises(ValueError, match=f"as of bar {as_of} of 3"):
            levels(bars, np.ones(3), as_of=as_of)
    with pytest.raises(ValueError, match=r"\(2,\) atr"):
        levels(bars, np.ones(2))
    for wrong in ({"reach": 0}, {"reach": 20_001}, {"half_life": 0}, {"tolerance": 0.0}):
        with pytest.raises(ValueError, match="needs"):
            LevelRules(**wrong)


@given(st.integers(0, 999), st.integers(5, 598))
def test_levels_as_of_a_bar_depend_on_no_later_one(seed, now):
    bars = bars_of(walk(600, seed), timeframe=240)
    atr = np.full(600, 0.4)
    before = levels(bars, atr, as_of=now)
    assert all(level.known_bar <= now for level in before)
    values, rng = bars.values.copy(), np.random.default_rng(seed)
    values[1:, now + 1 :] = rng.normal(0, 1e9, (7, 599 - now))
    atr[now + 1 :] = 77
    assert levels(replace(bars, values=values), atr, as_of=now) == before
    assert levels(bars.take(slice(0, now + 1)), atr[: now + 1]) == before
