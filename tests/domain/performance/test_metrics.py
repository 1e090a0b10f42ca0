"""Figures of daily returns: as empyrical-reloaded has them, but for signs and what nothing can be said of.

Where ours differ: value at risk and expected shortfall are losses (its sign turned), drawdowns are positive,
and beta's interval and the additive figures it does not have. What it calls NaN or infinite has no value in
a report. Its correlation and moments do not exist: those are compared with numpy and scipy.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.performance import metrics
from alphapulse.domain.performance.metrics import Returns

empyrical = pytest.importorskip("empyrical")
YEAR = 365


def normal(days: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_t(4, size=days) * 0.01 + 0.0005


THEIRS: dict[str, tuple[Callable[[Returns], Floats], Callable[[Floats], float]]] = {
    "total return": (metrics.total_return, lambda r: empyrical.cum_returns_final(r)),
    "annual return": (metrics.annual_return, lambda r: empyrical.annual_return(r, annualization=YEAR)),
    "volatility": (metrics.volatility, lambda r: empyrical.annual_volatility(r, annualization=YEAR)),
    "sharpe": (metrics.sharpe, lambda r: empyrical.sharpe_ratio(r, annualization=YEAR)),
    "sortino": (metrics.sortino, lambda r: empyrical.sortino_ratio(r, annualization=YEAR)),
    "calmar": (metrics.calmar, lambda r: empyrical.calmar_ratio(r, annualization=YEAR)),
    "max drawdown": (metrics.max_drawdown, lambda r: -empyrical.max_drawdown(r)),
    "VaR 95": (metrics.value_at_risk(0.05), lambda r: -empyrical.value_at_risk(r, 0.05)),
    "VaR 99": (metrics.value_at_risk(0.01), lambda r: -empyrical.value_at_risk(r, 0.01)),
    "ES 95": (metrics.expected_shortfall(0.05), lambda r: -empyrical.conditional_value_at_risk(r, 0.05)),
    "ES 99": (metrics.expected_shortfall(0.01), lambda r: -empyrical.conditional_value_at_risk(r, 0.01)),
    "tail ratio": (metrics.tail_ratio, lambda r: empyrical.tail_ratio(r)),
}


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("days", [2, 3, 21, 100, 101, 1_000])
def test_a_figure_is_that_of_empyrical(name: str, days: int) -> None:
    ours, theirs = THEIRS[name]
    for seed in range(5):
        returns = normal(days, seed)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(ours(Returns(returns[None], compounds=True, year_days=YEAR))[0])
        expected = theirs(returns)
        if np.isnan(expected):  # of a Calmar ratio without a drawdown: ours says that there is no bound
            assert not np.isfinite(value)
        else:
            assert value == pytest.approx(expected, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("days", [2, 50, 400])
def test_beta_is_that_of_empyrical_and_correlation_that_of_numpy(days: int) -> None:
    own, market = normal(days, 1), normal(days, 2)
    found = float(metrics.beta(own[None], market[None])[0])
    assert found == pytest.approx(empyrical.beta(own, market), rel=1e-10)
    expected = np.corrcoef(own, market)[0, 1]
    assert float(metrics.correlation(own[None], market[None])[0]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("days", [3, 50, 400])
def test_skew_and_kurtosis_are_those_of_scipy(days: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    returns = normal(days)
    given = Returns(returns[None], compounds=True, year_days=YEAR)
    assert float(metrics.skew(given)[0]) == pytest.approx(stats.skew(returns))
    assert float(metrics.kurtosis(given)[0]) == pytest.approx(stats.kurtosis(returns, fisher=False))


ALL = {name: ours for name, (ours, _) in THEIRS.items()} | {
    "days below the peak": metrics.days_below,
    "skew": metrics.skew,
    "kurtosis": metrics.kurtosis,
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("compounds", [True, False])
def test_many_series_at_once_are_each_as_if_alone(name: str, compounds: bool) -> None:
    rows = np.stack([normal(60, seed) for seed in range(7)])
    together = ALL[name](Returns(rows, compounds, YEAR))
    alone = [float(ALL[name](Returns(row[None], compounds, YEAR))[0]) for row in rows]
    assert together.tolist() == pytest.approx(alone, rel=1e-12)


@given(st.floats(-0.5, 0.5), st.integers(2, 50))
def test_returns_that_do_not_vary_have_no_spread_whatever_rounding_does(value: float, days: int) -> None:
    rows = np.full((1, days), value)
    given = Returns(rows, compounds=True, year_days=YEAR)
    assert given.spread[0] == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        assert not np.isfinite(metrics.sharpe(given)[0])
        assert np.isnan(metrics.skew(given)[0])
        assert np.isnan(metrics.correlation(rows, np.arange(float(days))[None])[0])


def test_where_returns_add_up_so_do_years_and_drawdowns_are_shares_of_the_beginning() -> None:
    given = Returns(np.array([[0.5, -0.3, -0.4, 0.1]]), compounds=False, year_days=YEAR)
    assert metrics.total_return(given).tolist() == pytest.approx([-0.1])
    assert metrics.annual_return(given).tolist() == pytest.approx([-0.1 / 4 * YEAR])
    assert metrics.max_drawdown(given).tolist() == pytest.approx([0.7])
    assert metrics.calmar(given).tolist() == pytest.approx([-0.1 / 4 * YEAR / 0.7])


@given(st.lists(st.sampled_from([-0.125, 0.0, 0.0625, 0.25]), min_size=1, max_size=30))
def test_the_longest_run_below_the_peak_is_what_counting_finds(returns: list[float]) -> None:
    top, worth, run, longest = 1.0, 1.0, 0, 0
    for each in returns:
        worth += each
        run = run + 1 if worth < top else 0
        top, longest = max(top, worth), max(longest, run)
    given = Returns(np.array([returns]), compounds=False, year_days=YEAR)
    assert metrics.days_below(given).tolist() == [longest]


def test_a_loss_on_the_first_day_is_a_drawdown() -> None:
    given = Returns(np.array([[-0.1, 0.05]]), compounds=True, year_days=YEAR)
    assert metrics.max_drawdown(given).tolist() == pytest.approx([0.1])
