"""Stops and targets: distances in average true ranges, drawn to swing points that are near."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.geometry import is_ordered, placed, to_levels

LONG, SHORT = 1, -1
PRICE = st.floats(50, 150)
SWING = PRICE | st.just(nan)
FACTOR = st.floats(0.1, 20)
ATR = st.floats(0.01, 5)


def test_levels_lie_so_many_average_true_ranges_away() -> None:
    assert placed(LONG, 100.0, 2.0, 1.5, 3.0, 96.9, 106.1, False) == (97.0, 106.0)
    assert placed(SHORT, 100.0, 2.0, 1.5, 3.0, 96.9, 106.1, False) == (103.0, 94.0)


def test_a_stop_moves_behind_a_swing_point_and_a_target_before_one() -> None:
    stop, target = placed(LONG, 100.0, 2.0, 1.5, 3.0, 96.5, 105.5, True)
    assert (stop, target) == pytest.approx((96.5 - 0.2, 105.5 - 0.2))
    stop, target = placed(SHORT, 100.0, 2.0, 1.5, 3.0, 94.5, 103.5, True)
    assert (stop, target) == pytest.approx((103.5 + 0.2, 94.5 + 0.2))


def test_a_swing_point_draws_from_half_an_average_true_range_and_no_farther() -> None:
    assert placed(LONG, 100.0, 2.0, 2.0, 3.0, 97.0, nan, True)[0] == pytest.approx(96.8)
    assert placed(LONG, 100.0, 2.0, 2.0, 3.0, np.nextafter(97.0, 98.0), nan, True)[0] == 96.0


def test_a_swing_point_on_the_wrong_side_draws_nothing() -> None:
    assert placed(LONG, 100.0, 10.0, 0.2, 0.2, 101.0, 99.0, True) == (98.0, 102.0)


def test_a_target_is_never_drawn_to_less_than_a_tenth_of_a_range() -> None:
    assert placed(LONG, 100.0, 10.0, 1.0, 0.2, nan, 101.9, True)[1] == 102.0
    assert placed(LONG, 100.0, 10.0, 1.0, 0.2, nan, 102.0, True)[1] == 101.0


@given(PRICE, ATR, FACTOR, FACTOR, SWING, SWING, st.booleans())
def test_a_short_is_a_long_in_a_mirror(
    entry: float, atr: float, stop: float, target: float, low: float, high: float, draws: bool
) -> None:
    """Reflected at the entry; distances of swing points as floats, so that both see the same ones."""
    below, above = entry - low, high - entry
    long = placed(LONG, 0.0, atr, stop, target, -below, above, draws)
    short = placed(SHORT, 0.0, atr, stop, target, -above, below, draws)
    assert short == (-long[0], -long[1])


@given(PRICE, ATR, FACTOR, FACTOR, SWING, SWING, st.booleans(), st.sampled_from([LONG, SHORT]))
def test_levels_are_ordered_wherever_they_are_prices(
    entry: float, atr: float, stop: float, target: float, low: float, high: float, draws: bool, side: int
) -> None:
    found = placed(side, entry, atr, stop, target, low, high, draws)
    assert is_ordered(side, entry, *found) == (min(found) > 0)


@given(st.lists(st.tuples(PRICE, ATR, SWING, SWING), min_size=1, max_size=20), FACTOR, FACTOR)
def test_rows_at_once_are_rows_one_by_one(
    rows: list[tuple[float, float, float, float]], stop: float, target: float
) -> None:
    entry, atr, low, high = (np.array(column) for column in zip(*rows, strict=True))
    for side in (LONG, SHORT):
        stops, targets = to_levels(side, entry, atr, (stop, target), low, high)
        alone = [placed(side, e, a, stop, target, lo, hi, True) for e, a, lo, hi in rows]
        assert list(zip(stops.tolist(), targets.tolist(), strict=True)) == alone


@pytest.mark.parametrize(
    ("side", "stop", "target"),
    [
        (LONG, 101.0, 110.0),
        (LONG, 100.0, 110.0),
        (LONG, 99.0, 100.0),
        (LONG, -1.0, 110.0),
        (LONG, 0.0, 110.0),
        (SHORT, 99.0, 90.0),
        (SHORT, 101.0, -1.0),
        (LONG, nan, 110.0),
        (SHORT, inf, 90.0),
    ],
)
def test_what_is_no_price_or_on_the_wrong_side_is_not_ordered(side: int, stop: float, target: float) -> None:
    assert not is_ordered(side, 100.0, stop, target)
