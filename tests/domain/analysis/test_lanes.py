"""Slots side by side get the bits that each of them gets alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alphapulse.domain.analysis.compiled import (
    inner_piece,
    largest,
    over_slots,
    smallest,
    summed,
    window_max,
    window_min,
    window_sum,
)
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.indicators.averages import average, weighted, weighted_mean, window_mean
from alphapulse.domain.analysis.indicators.volatility import deviated, deviation
from alphapulse.domain.analysis.lanes import (
    LANES,
    ONE,
    root,
    size,
    take,
    where_above,
    where_at_least,
    where_equal,
)


@inner_piece
def everything(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """Each operation, of lanes with lanes, and of lanes with a number on either side."""
    mask = ring.shape[0] - 1
    x, y = take(ring, row & mask, slot, kind), take(ring, (row - 1) & mask, slot, kind)
    one = 2.0 * x + y * 3.0 - (x - y) / (1.0 + y) + (1.0 - x) / 7.0
    other = size(x) - root(size(y)) + where_above(x, y, y, x) + where_equal(x, y, 5.0, kind)
    return (
        one
        + other
        + where_at_least(x, y, kind, 2.5)
        + where_above(x, 0.5, kind, y)
        + where_above(0.5, y, x, 1.0)
    )


OF_ONE_AND_OF_MANY = (
    (summed, window_sum),
    (largest, window_max),
    (smallest, window_min),
    (average, window_mean),
    (weighted, weighted_mean),
    (deviated, deviation),
    (everything, over_slots(everything)),
)


def ring(slots: int) -> Floats:
    """Sixteen rows with what is special about floats in it: ties, both zeros, NaN and infinity."""
    rng = np.random.default_rng(slots)
    found: Floats = np.round(rng.normal(0, 3, (16, slots)), 1)
    found[rng.random(found.shape) < 0.02] = np.nan
    found[rng.random(found.shape) < 0.02] = -0.0
    found[rng.random(found.shape) < 0.01] = np.inf
    return found


def bits(values: Floats) -> list[int]:
    """Every NaN is as good as another."""
    found: list[int] = np.where(np.isnan(values), np.nan, values).view(np.int64).tolist()
    return found


@pytest.mark.parametrize(("one", "many"), OF_ONE_AND_OF_MANY, ids=lambda f: getattr(f, "__name__", ""))
@pytest.mark.parametrize("slots", [1, LANES - 1, LANES, LANES + 1, 3 * LANES + 7])
def test_many_slots_are_the_same_bits_as_each_alone(
    one: Callable[..., float], many: Callable[..., None], slots: int
) -> None:
    lo, rows = 3, ring(slots + 5)
    for row, count in ((20, 1), (20, 2), (33, 7), (40, 15)):
        into: Floats = np.zeros(slots)
        many(rows, row, count, lo, lo + slots, into)
        assert bits(into) == bits(np.array([one(rows, row, count, lo + i, ONE) for i in range(slots)]))


def test_sums_run_from_the_oldest_row_to_the_newest() -> None:
    rows = ring(3 * LANES)
    into: Floats = np.zeros(3 * LANES)
    window_sum(rows, 21, 7, 0, 3 * LANES, into)
    total = rows[15].copy()
    for row in (0, 1, 2, 3, 4, 5):
        total += rows[row]
    assert bits(into) == bits(total)


@pytest.mark.parametrize("slots", [5, LANES, LANES + 3])
def test_nothing_is_written_beside_the_slots(slots: int) -> None:
    into: Floats = np.full(slots + 2, 77.0)
    window_sum(ring(slots), 20, 3, 0, slots, into[1:-1])
    assert into[0] == into[-1] == 77.0
    assert (into[1:-1] != 77.0).all()


def test_functions_over_slots_have_names_of_their_own() -> None:
    """Machine code is linked by name: one that a cache holds would be taken for another of the same name."""
    made: list[Any] = [many for _, many in OF_ONE_AND_OF_MANY]
    assert len({each.py_func.__qualname__ for each in made}) == len(made)
