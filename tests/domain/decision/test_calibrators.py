"""Calibrators: what they learn, against scikit-learn and slow definitions, and what they refuse."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from alphapulse.domain.decision.calibrators import METHODS, Beta, Calibrator, Isotonic, Platt, VennAbers
from alphapulse.domain.decision.logistic import log_loss
from alphapulse.domain.decision.pooling import isotonic, venn_abers
from alphapulse.domain.decision.rows import MAX_LOG_ODDS, MIN_ROWS, BadRows, Rows, TooFewRows
from alphapulse.domain.decision.table import LOWEST, tabulate

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
SCORES = np.linspace(-8, 8, 501)


def market(seed: int, n: int = 400, slope: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Scores and outcomes that a sigmoid of them explains."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 1.5, n)
    return x, (rng.random(n) < 1 / (1 + np.exp(-(slope * x - 0.2)))).astype(float)


@st.composite
def any_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties or none, outcomes of any kind, whole weights."""
    n = draw(st.integers(MIN_ROWS, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.normal(0, draw(st.sampled_from([0.001, 1.0, 20.0])), n).clip(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    if draw(st.booleans()):
        x = np.round(x)
    y = (rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))).astype(float)
    if draw(st.booleans()):
        y = (x > np.median(x)).astype(float)  # a score that tells all
    return x, y, rng.integers(1, 4, n).astype(float)


def smoothed(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    wins, losses = weight[y == 1].sum(), weight[y == 0].sum()
    return np.where(y == 1, (wins + 1) / (wins + 2), 1 / (losses + 2))


def by_sklearn(columns: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Logistic regression without a penalty: each row twice, as a win and a loss by its smoothed target."""
    target = smoothed(y, weight)
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    oracle.fit(
        np.concatenate([columns, columns]),
        np.repeat([1, 0], len(y)),
        np.concatenate([weight * target, weight * (1 - target)]),
    )
    return np.append(oracle.coef_[0], oracle.intercept_[0])


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_logistic_regression_on_smoothed_targets(seed: int) -> None:
    x, y = market(seed)
    weight = np.random.default_rng(seed).uniform(0.1, 1, len(x))
    found = Platt.fit(x, y, weight)
    np.testing.assert_allclose([found.a, found.b], by_sklearn(x[:, None], y, weight), rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_beta_is_logistic_regression_on_the_logarithms_of_both_shares(seed: int) -> None:
    x, y = market(seed, n=2_000)
    share = 1 / (1 + np.exp(-x))
    columns = np.column_stack([np.log(share), -np.log(1 - share)])
    found, expected = Beta.fit(x, y), by_sklearn(columns, y, np.ones(len(x)))
    assert expected[:2].min() > 0, "else the bounds are what is tested"
    np.testing.assert_allclose([found.a, found.b, found.c], expected, rtol=1e-5)


@pytest.mark.parametrize("method", [Platt, Beta])
@pytest.mark.parametrize("slope", [-0.7, 0.0, 0.7])
def test_bounded_slopes_have_the_least_loss_of_all_allowed(
    method: type[Platt] | type[Beta], slope: float
) -> None:
    x, y = market(3, slope=slope)
    found, target = method.fit(x, y), smoothed(y, np.ones(len(y)))
    values = [found.a, found.b] if isinstance(found, Platt) else [found.a, found.b, found.c]

    def loss(at: list[float]) -> float:
        p = type(found)(*at, found.low, found.high).predict(x)
        return log_loss(np.log(p / (1 - p)), target, np.ones(len(x)))

    for k in range(len(values)):
        for off in (-1e-3, 1e-3):
            moved = [v + off * (i == k) for i, v in enumerate(values)]
            if min(moved[:-1]) >= 0:
                assert loss(moved) > loss(values)


def test_a_score_that_points_the_wrong_way_gets_no_slope() -> None:
    x, y = market(3, slope=-0.7)
    assert Platt.fit(x, y).a == 0
    np.testing.assert_allclose(
        Platt.fit(x, y).predict(SCORES), smoothed(y, np.ones(len(y))).mean(), rtol=1e-9
    )
    assert (Beta.fit(x, y).a, Beta.fit(x, y).b) == (0, 0)


@given(any_rows())
def test_isotonic_is_scikit_learns_with_a_win_below_and_a_loss_above(rows: Any) -> None:
    x, y, weight = rows
    oracle = IsotonicRegression(out_of_bounds="clip")
    oracle.fit(
        np.concatenate([x, [x.min(), x.max()]]),
        np.concatenate([y, [1.0, 0.0]]),
        np.concatenate([weight, [1.0, 1.0]]),
    )
    scores = np.concatenate([SCORES, x])
    np.testing.assert_allclose(Isotonic.fit(x, y, weight).predict(scores), oracle.predict(scores), atol=1e-6)


@given(any_rows())
def test_pooled_shares_are_scikit_learns(rows: Any) -> None:
    x, wins, weight = Rows.of(*rows).levels()
    oracle = IsotonicRegression().fit_transform(x, wins / weight, sample_weight=weight)
    np.testing.assert_allclose(isotonic(wins, weight), oracle, atol=1e-12)


def slow_venn_abers(x: np.ndarray, y: np.ndarray, weight: np.ndarray, at: float) -> list[float]:
    """By definition: isotonic regression with the new row labelled 0, then 1."""
    return [
        IsotonicRegression()
        .fit(np.append(x, at), np.append(y, label), np.append(weight, 1.0))
        .predict([at])[0]
        for label in (0.0, 1.0)
    ]


@given(any_rows(), st.integers(0, 2**32))
def test_venn_abers_is_two_isotonic_fits_with_the_new_row(rows: Any, seed: int) -> None:
    x, y, weight = rows
    near = np.unique(np.concatenate([x, (np.sort(x)[1:] + np.sort(x)[:-1]) / 2, [x.min() - 1, x.max() + 1]]))
    # scikit-learn takes scores that differ in the last digits only for one
    near = near[[np.all((abs(x - s) > 1e-6) | (x == s)) for s in near]]
    for score in np.random.default_rng(seed).permutation(near)[:5]:
        got = [float(p[0]) for p in VennAbers.fit(x, y, weight).interval(np.array([score]))]
        np.testing.assert_allclose(got, slow_venn_abers(x, y, weight, score), atol=1e-9)


def test_venn_abers_of_two_wins_above_two_losses() -> None:
    p0, p1 = venn_abers(np.array([0.0, 0, 1, 1]), np.ones(4))
    np.testing.assert_allclose(p0, [0, 0, 1 / 2, 2 / 3], atol=1e-15)
    np.testing.assert_allclose(p1, [1 / 3, 1 / 2, 1, 1], atol=1e-15)


def test_venn_abers_merges_its_interval_and_is_inside_it() -> None:
    fitted = VennAbers.fit(*market(4))
    p0, p1 = fitted.interval(SCORES)
    merged = fitted.predict(SCORES)
    np.testing.assert_allclose(merged, p1 / (1 - p0 + p1), rtol=1e-15)
    assert ((p0 <= merged) & (merged <= p1)).all()


@every_method
@given(rows=any_rows())
def test_no_calibrator_ever_falls_or_leaves_0_to_1(method: type[Calibrator], rows: Any) -> None:
    fitted = method.fit(*rows)
    scores = np.sort(np.concatenate([SCORES, rows[0]]))
    p = fitted.predict(scores)
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= -1e-12).all()
    curve_x, curve_p = fitted.curve()
    assert (np.diff(curve_x) > 0).all()
    assert (np.diff(curve_p) >= 0).all()
    tabulate(curve_x, curve_p)


@every_method
@given(rows=any_rows(), seed=st.integers(0, 2**32))
def test_the_order_of_the_rows_changes_no_bit(method: type[Calibrator], rows: Any, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows[0]))
    one, other = method.fit(*rows), method.fit(*(column[order] for column in rows))
    np.testing.assert_array_equal(one.predict(SCORES), other.predict(SCORES))


@every_method
@given(rows=any_rows())
def test_a_row_of_weight_two_is_the_row_twice(method: type[Calibrator], rows: Any) -> None:
    x, y, weight = rows
    times = weight.astype(int)
    once, often = method.fit(x, y, weight), method.fit(np.repeat(x, times), np.repeat(y, times))
    np.testing.assert_allclose(once.predict(SCORES), often.predict(SCORES), rtol=1e-6, atol=1e-9)


@every_method
@given(rows=any_rows())
def test_a_row_of_weight_zero_is_no_row(method: type[Calibrator], rows: Any) -> None:
    x, y, weight = rows
    with_more = method.fit(np.append(x, 99.0), np.append(y, 1.0), np.append(weight, 0.0))
    np.testing.assert_array_equal(with_more.predict(SCORES), method.fit(x, y, weight).predict(SCORES))


@every_method
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_rows_of_one_outcome_give_a_claim_short_of_certainty(method: type[Calibrator], label: float) -> None:
    x = np.linspace(-2, 2, 50)
    fitted = method.fit(x, np.full(50, label))
    p = fitted.predict(x)
    assert (np.abs(p - label) < 0.6).all()
    assert (np.abs(p - label) > 1e-4).any()


@every_method
def test_rows_of_one_score_give_one_claim_near_their_share_of_wins(method: type[Calibrator]) -> None:
    y = np.repeat([1.0, 0.0], [60, 40])
    fitted = method.fit(np.full(100, 0.3), y)
    assert fitted.predict(np.array([0.3]))[0] == pytest.approx(0.6, abs=0.01)
    (table,), _ = tabulate(*fitted.curve())
    assert table.x == (0.3,)


@every_method
def test_a_score_that_tells_all_gives_claims_that_grow_no_table_beyond_its_bounds(
    method: type[Calibrator],
) -> None:
    x = np.concatenate([np.linspace(-5, -1, 500), np.linspace(1, 5, 500)])
    (table,), _ = tabulate(*method.fit(x, (x > 0).astype(float)).curve())
    assert LOWEST <= table.p[0] < 0.01
    assert 0.99 < table.p[-1] <= 1 - LOWEST


X, Y = np.linspace(-1, 1, MIN_ROWS), np.arange(MIN_ROWS) % 2.0


@every_method
@pytest.mark.parametrize(
    ("x", "y", "weight", "message"),
    [
        (np.append(X[1:], np.nan), Y, None, "row 19 of 20: nan as score"),
        (np.append(X[1:], np.inf), Y, None, "inf as score"),
        (np.append(X[1:], 101.0), Y, None, "101.0 as score"),
        (X, np.append(Y[1:], 2.0), None, "2.0 as outcome"),
        (X, np.append(Y[1:], np.nan), None, "nan as outcome"),
        (X, Y, np.append(np.ones(19), -1.0), "-1.0 as weight"),
        (X, Y, np.append(np.ones(19), np.nan), "nan as weight"),
        (X, Y, np.append(np.ones(19), np.inf), "inf as weight"),
        (X, Y[1:], None, r"\(20,\), outcomes \(19,\)"),
        (X[:, None], Y[:, None], None, "one length"),
        ([], [], None, "0 rows"),
    ],
)
def test_rows_that_cannot_be_are_refused_with_the_value(
    method: type[Calibrator], x: Any, y: Any, weight: Any, message: str
) -> None:
    with pytest.raises(BadRows, match=message):
        method.fit(x, y, weight)


@every_method
def test_a_row_less_than_the_least_is_too_few(method: type[Calibrator]) -> None:
    method.fit(X, Y)
    with pytest.raises(TooFewRows, match="19 rows of positive weight, 20 are needed"):
        method.fit(X[1:], Y[1:])
    with pytest.raises(TooFewRows):
        method.fit(X, Y, np.append(np.ones(MIN_ROWS - 1), 0.0))


@every_method
@pytest.mark.parametrize("n", [MIN_ROWS, 60, 1_000])
def test_tables_stay_within_two_hundredths_of_what_was_fitted(method: type[Calibrator], n: int) -> None:
    x, y = market(5, n)
    fitted = method.fit(x, y)
    (table,), (error,) = tabulate(*fitted.curve())
    at_rows = np.abs(table(x) - fitted.predict(x)).max()
    assert at_rows <= error + 1e-3  # a smooth curve is tabulated from a grid
    assert error < 0.02
