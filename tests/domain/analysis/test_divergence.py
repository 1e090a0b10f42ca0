"""Divergences on series made by hand, and their moments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.divergence import Divergences, divergences


def valleys(first: float, second: float, apart: int = 6) -> np.ndarray:
    """Prices with two lows, at bars 4 and 4 + apart, and nothing else that stands out."""
    bars = np.arange(apart + 9)
    price = 20 + np.minimum(np.abs(bars - 4), np.abs(bars - 4 - apart)).astype(float)
    price[4], price[4 + apart] = first, second
    return price


def at(lows: np.ndarray, first: float, second: float, apart: int = 6) -> np.ndarray:
    """An indicator that stands at 50, but for the two lows."""
    values = np.full(len(lows), 50.0)
    values[4], values[4 + apart] = first, second
    return values


def of_lows(prices: tuple[float, float], values: tuple[float, float], **rules: int) -> Divergences:
    apart = rules.pop("apart", 6)
    lows = valleys(*prices, apart)
    return divergences(lows + 1, lows, at(lows, *values, apart), **rules)


def of_highs(prices: tuple[float, float], values: tuple[float, float]) -> Divergences:
    lows = valleys(40 - prices[0], 40 - prices[1])
    return divergences(40 - lows, 39 - lows, at(lows, *values), wing=3)


@pytest.mark.parametrize(
    ("prices", "values", "hidden"), [((18, 17), (20, 30), False), ((17, 18), (30, 20), True)]
)
def test_two_lows_that_disagree_with_the_indicator_say_up(prices, values, hidden):
    found = of_lows(prices, values)
    assert len(found) == 1
    assert (found.direction[0], found.hidden[0]) == (1, hidden)
    assert (found.first[0], found.second[0], found.known[0]) == (4, 10, 13)
    assert (found.first_price[0], found.second_price[0]) == prices
    assert (found.first_value[0], found.second_value[0]) == values


@pytest.mark.parametrize(
    ("prices", "values", "hidden"), [((22, 23), (80, 70), False), ((23, 22), (70, 80), True)]
)
def test_two_highs_that_disagree_with_the_indicator_say_down(prices, values, hidden):
    found = of_highs(prices, values)
    assert len(found) == 1
    assert (found.direction[0], found.hidden[0], found.known[0]) == (-1, hidden, 13)


@pytest.mark.parametrize(
    ("prices", "values"),
    [((18, 17), (30, 20)), ((17, 18), (20, 30)), ((18, 18), (20, 30)), ((18, 17), (30, 30))],
)
def test_agreement_and_equality_are_no_divergence(prices, values):
    assert len(of_lows(prices, values)) == 0


def test_swings_further_apart_than_the_reach_are_not_compared():
    assert len(of_lows((18, 17), (20, 30), apart=8, reach=8)) == 1
    assert len(of_lows((18, 17), (20, 30), apart=8, reach=7)) == 0


def test_an_indicator_without_a_value_at_a_swing_says_nothing():
    assert len(of_lows((18, 17), (float("nan"), 30))) == 0


def test_the_strength_is_the_smaller_share_of_the_range_in_between():
    found = of_lows((18, 17), (20, 30))
    # The price ranges from the low 17 to the high 24 (20 + 3 bars away, + 1), the indicator from 20 to 50.
    assert found.strength[0] == pytest.approx(min(1 / 7, 10 / 30))


def test_it_is_not_known_before_the_second_swing_is_confirmed():
    lows = valleys(18, 17)
    values = at(lows, 20, 30)
    for bars in range(len(lows) + 1):
        found = divergences(lows[:bars] + 1, lows[:bars], values[:bars], wing=3)
        assert len(found) == (bars > 13)


def test_bad_arguments_are_refused():
    three, four = np.ones(3), np.ones(4)
    with pytest.raises(ValueError, match=r"\(4,\) values"):
        divergences(three, three, four)
    with pytest.raises(ValueError, match="reach 0"):
        divergences(three, three, three, reach=0)
    with pytest.raises(ValueError, match="wing 0"):
        divergences(three, three, three, wing=0)


@given(st.integers(0, 9999), st.integers(20, 180))
def test_nothing_known_at_a_bar_depends_on_later_ones(seed, now):
    rng = np.random.default_rng(seed)
    lows = np.cumsum(rng.integers(-2, 3, 200)).astype(float)
    highs, values = lows + rng.integers(1, 4, 200), np.cumsum(rng.normal(size=200))
    before = divergences(highs, lows, values)
    assert len(before) > 0
    for x in (highs, lows, values):
        x[now + 1 :] = rng.normal(0, 1e6, 199 - now)
    after = divergences(highs, lows, values)
    for name in Divergences.__slots__:
        kept = [getattr(d, name)[d.known <= now] for d in (before, after)]
        assert np.array_equal(*kept), name
