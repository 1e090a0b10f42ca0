"""Tables of calibrators: one look-up for arrays and kernels, and an error that is stated."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.calibrators import Platt
from alphapulse.domain.decision.table import (
    FINE,
    HIGHEST,
    LOWEST,
    MAX_KNOTS,
    BadTable,
    Table,
    lookup,
    lookup_at,
    tabulate,
)

RISING = Table((-2.0, -0.5, 0.1, 3.0), (0.1, 0.2, 0.7, 0.9))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    x = draw(st.lists(st.floats(-50, 50), min_size=1, max_size=MAX_KNOTS, unique=True))
    p = draw(st.lists(st.floats(LOWEST, HIGHEST), min_size=len(x), max_size=len(x)))
    return Table(tuple(sorted(x)), tuple(sorted(p)))


def one_by_one(table: Table, scores: np.ndarray) -> np.ndarray:
    x, p = table.padded()
    return np.array([lookup_at(x, p, score) for score in scores])


@given(tables(), st.lists(st.floats(-60, 60) | st.sampled_from([math.inf, -math.inf, math.nan]), max_size=50))
def test_arrays_and_kernels_get_the_same_bytes(table: Table, more: list[float]) -> None:
    scores = np.array([*more, *table.x])
    np.testing.assert_array_equal(table(scores), one_by_one(table, scores))
    np.testing.assert_array_equal(table(scores), lookup(*table.padded(), scores))


@given(tables(), st.lists(st.floats(-60, 60), min_size=2, max_size=50))
def test_a_higher_score_never_gets_less(table: Table, scores: list[float]) -> None:
    p = table(np.sort(np.array([*scores, *table.x])))
    assert (np.diff(p) >= 0).all()
    assert p.min() >= table.p[0]
    assert p.max() <= table.p[-1]


def test_a_table_gives_its_knots_lines_between_and_the_end_value_beyond() -> None:
    scores = np.array([-9.0, -2.0, -1.25, 0.1, 3.0, 9.0, math.inf, -math.inf])
    np.testing.assert_allclose(RISING(scores), [0.1, 0.1, 0.15, 0.7, 0.9, 0.9, 0.9, 0.1], rtol=1e-15)
    assert math.isnan(RISING(np.array([math.nan]))[0])


@pytest.mark.parametrize(
    ("x", "p"),
    [
        ((), ()),
        ((1.0,), (0.5, 0.6)),
        ((1.0, 1.0), (0.5, 0.6)),
        ((2.0, 1.0), (0.5, 0.6)),
        ((math.nan,), (0.5,)),
        ((0.0, math.inf), (0.5, 0.6)),
        ((1.0, 2.0), (0.6, 0.5)),
        ((1.0,), (0.0,)),
        ((1.0,), (1.0,)),
        ((1.0,), (math.nan,)),
        (tuple(range(MAX_KNOTS + 1)), (0.5,) * (MAX_KNOTS + 1)),
    ],
)
def test_what_is_no_rising_curve_of_probabilities_is_no_table(
    x: tuple[float, ...], p: tuple[float, ...]
) -> None:
    with pytest.raises(BadTable):
        Table(x, p)


def test_a_curve_of_few_points_is_kept_as_it_is() -> None:
    x = np.linspace(-3, 3, MAX_KNOTS)
    p = np.sort(np.random.default_rng(1).uniform(0.01, 0.99, MAX_KNOTS))
    (table,), (error,) = tabulate(x, p)
    assert (table.x, table.p, error) == (tuple(x), tuple(p), 0.0)


@given(st.integers(0, 2**32), st.integers(1, 300))
def test_the_error_of_tabulation_is_the_largest_at_the_points_of_the_curve(seed: int, points: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.unique(rng.normal(0, 2, points))
    p = np.sort(rng.uniform(0.001, 0.999, len(x)))
    low = p * rng.uniform(0.3, 0.9)
    (table, lower), errors = tabulate(x, p, low)
    assert table.x == lower.x
    assert len(table.x) <= MAX_KNOTS
    assert errors == [np.abs(table(x) - p).max(), np.abs(lower(x) - low).max()]
    assert max(errors) < 1e-15 if len(x) <= MAX_KNOTS else max(errors) > 0


def test_a_second_curve_gets_only_the_knots_that_the_first_one_spares() -> None:
    x = np.linspace(-5, 5, 2_001)
    smooth, steps = 1 / (1 + np.exp(-x)), np.floor(np.linspace(2, 98, 2_001)) / 100
    _, (alone,) = tabulate(x, smooth)
    _, (error, of_steps) = tabulate(x, smooth, steps)
    assert alone < error < FINE
    assert of_steps > 2e-3


def test_each_knot_goes_where_the_curve_is_farthest_from_the_lines_so_far() -> None:
    x = np.arange(MAX_KNOTS + 200.0)
    p = np.where(x < 100, 0.2, 0.7)
    (table,), (error,) = tabulate(x, p)
    assert error < 1e-15
    assert table.x == (0.0, 99.0, 100.0, x[-1])


def test_a_sigmoid_over_all_odds_is_tabulated_within_a_thousandth() -> None:
    platt = Platt(a=1.0, b=0.0, low=-20.0, high=20.0)
    (table,), (error,) = tabulate(*platt.curve())
    scores = np.linspace(-20, 20, 100_001)
    assert error < 5e-4
    assert np.abs(table(scores) - platt.predict(scores)).max() < 1e-3


def test_sure_claims_are_cut_to_what_a_table_may_say() -> None:
    (table,), (error,) = tabulate(np.array([-30.0, 30.0]), np.array([0.0, 1.0]))
    assert table.p == (LOWEST, HIGHEST)
    assert error == 0.0


@pytest.mark.parametrize("p", [[], [0.1], [0.6, 0.5]])
def test_what_is_no_rising_curve_is_not_tabulated(p: list[float]) -> None:
    with pytest.raises(BadTable):
        tabulate(np.arange(2.0) if p else np.empty(0), np.array(p))


def test_a_knot_gets_exactly_its_own_probability_and_no_score_before_it_more() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        table = Table(
            tuple(np.sort(rng.normal(0, 1, MAX_KNOTS))), tuple(np.sort(rng.uniform(0.01, 0.99, MAX_KNOTS)))
        )
        just_before = np.nextafter(table.x, -np.inf)
        assert (
            one_by_one(table, np.array(table.x)).tolist()
            == table(np.array(table.x)).tolist()
            == list(table.p)
        )
        assert (one_by_one(table, just_before) <= table.p).all()
        assert (table(just_before) <= table.p).all()


def test_rounding_carries_no_line_past_its_right_end() -> None:
    low, high = 0.13709662643687998, 0.780193074843193
    assert low + (high - low) > high
    table = Table((-1.0, 1e-20), (low, high))
    assert table(np.zeros(1)).tolist() == one_by_one(table, np.zeros(1)).tolist() == [high]
