"""Sharpe ratios after a search: the example of the paper, skfolio, and what N worthless trials show."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.performance.chance_figures import record_of
from alphapulse.domain.performance.deflation import (
    SharpeRecord,
    TrialCount,
    deflated_sharpe,
    expected_max_sharpe,
    least_days,
    probabilistic_sharpe,
)

# Bailey and Lopez de Prado (2014), "A numerical example": an annual Sharpe ratio of 2.5 over 1,250 of 250
# days a year, skew -3, kurtosis 10, and trials whose annual ratios vary by 1/2.
PAPER = SharpeRecord(sharpe=2.5 / math.sqrt(250), days=1_250, skew=-3.0, kurtosis=10.0)


def of_trials(trials: float) -> TrialCount:
    return TrialCount(trials=trials, sharpe_variance=0.5 / 250)


def test_the_example_of_the_paper_is_met() -> None:
    assert expected_max_sharpe(of_trials(100)) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(PAPER, of_trials(100)) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(PAPER, of_trials(46)) == pytest.approx(0.9505, abs=5e-5)
    as_normal = SharpeRecord(sharpe=PAPER.sharpe, days=1_250)
    assert deflated_sharpe(as_normal, of_trials(88)) == pytest.approx(0.9505, abs=5e-5)


def returns(days: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(5, size=days) * 0.01 + 0.0004


@pytest.mark.parametrize("days", [3, 30, 1_000])
def test_probabilistic_and_deflated_ratios_are_those_of_skfolio(days: int) -> None:
    theirs = pytest.importorskip("skfolio.measures")
    for seed in range(10):
        own, record = returns(days, seed), record_of(returns(days, seed))
        assert record is not None
        tried = np.random.default_rng(seed).normal(0, 0.05, 40)
        trials = TrialCount(trials=40, sharpe_variance=float(np.var(tried, ddof=1)))
        assert probabilistic_sharpe(record) == pytest.approx(theirs.probabilistic_sharpe_ratio(own), rel=1e-9)
        expected = theirs.deflated_sharpe_ratio(own, tried)
        assert deflated_sharpe(record, trials) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("trials", [1, 2, 7.5, 1_000, 10**6])
def test_the_expected_maximum_is_that_of_skfolio(trials: float) -> None:
    theirs = pytest.importorskip("skfolio.measures")
    found = expected_max_sharpe(TrialCount(trials=trials, sharpe_variance=0.04))
    assert found == pytest.approx(theirs.expected_max_sharpe_ratio(trials, 0.2), rel=1e-9)


@pytest.mark.parametrize("trials", [10, 100, 1_000])
def test_the_expected_maximum_is_what_worthless_trials_show_on_average(trials: int) -> None:
    best = np.random.default_rng(3).normal(0, 0.1, (2_000, trials)).max(axis=1).mean()
    found = expected_max_sharpe(TrialCount(trials=trials, sharpe_variance=0.01))
    assert found == pytest.approx(best, rel=0.03)


def test_the_best_of_many_random_strategies_is_not_above_what_chance_shows() -> None:
    """Without the trials most of the best look certain; with them few do."""
    naive, deflated = 0, 0
    for seed in range(60):
        tried = np.random.default_rng(seed).normal(0, 0.01, (250, 100))
        sharpes = tried.mean(axis=0) / tried.std(axis=0, ddof=1)
        record = record_of(tried[:, sharpes.argmax()])
        assert record is not None
        trials = TrialCount(trials=100, sharpe_variance=float(np.var(sharpes, ddof=1)))
        naive += (probabilistic_sharpe(record) or 0) > 0.95
        deflated += (deflated_sharpe(record, trials) or 0) > 0.95
    assert naive >= 55
    assert deflated <= 6


def test_a_single_trial_deflates_nothing() -> None:
    one = TrialCount(trials=1, sharpe_variance=0.0)
    assert expected_max_sharpe(one) == 0
    assert deflated_sharpe(PAPER, one) == probabilistic_sharpe(PAPER)


@given(st.floats(0.01, 0.5), st.floats(0.5, 0.999), st.floats(-2, 1), st.floats(5, 20))
def test_a_record_of_the_least_length_has_just_the_probability_asked_for(
    sharpe: float, probability: float, skew: float, kurtosis: float
) -> None:
    record = SharpeRecord(sharpe=sharpe, days=3, skew=skew, kurtosis=kurtosis)
    needed = least_days(record, probability=probability)
    assert needed is not None
    days = max(math.ceil(needed), 3)
    enough = probabilistic_sharpe(SharpeRecord(sharpe=sharpe, days=days, skew=skew, kurtosis=kurtosis))
    assert enough is not None
    assert enough >= probability - 1e-9
    if needed > 5:
        less = SharpeRecord(sharpe=sharpe, days=math.floor(needed) - 1, skew=skew, kurtosis=kurtosis)
        assert (probabilistic_sharpe(less) or 0) < probability


def test_a_ratio_that_is_not_above_the_benchmark_never_has_enough_days() -> None:
    assert least_days(SharpeRecord(sharpe=0.0, days=100)) is None
    assert least_days(SharpeRecord(sharpe=0.1, days=100), benchmark=0.1) is None


def test_too_short_a_record_or_moments_without_a_variance_have_no_probability() -> None:
    assert probabilistic_sharpe(SharpeRecord(sharpe=1.0, days=2)) is None
    assert probabilistic_sharpe(SharpeRecord(sharpe=2.0, days=9, skew=3.0, kurtosis=1.0)) is None
    assert record_of(np.array([0.1])) is None
    assert record_of(np.full(10, 0.1)) is None
    assert record_of(np.array([0.1, np.nan])) is None


@pytest.mark.parametrize(
    ("trials", "variance"), [(0, 0.1), (math.nan, 0.1), (math.inf, 0.1), (2, -0.1), (2, math.nan)]
)
def test_a_count_of_trials_that_is_none_is_refused(trials: float, variance: float) -> None:
    with pytest.raises(BadSample, match="Sharpe ratios vary by"):
        TrialCount(trials=trials, sharpe_variance=variance)
