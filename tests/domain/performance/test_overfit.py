"""The probability of backtest overfitting, by combinatorially symmetric cross-validation."""

from itertools import combinations

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.performance import overfit
from alphapulse.domain.performance.overfit import overfit_of


def noise(days: int, configurations: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.01, (days, configurations))


def plainly(returns: Floats, blocks: int) -> tuple[list[float], list[float], list[float]]:
    """The paper's steps, one by one: logits, and the Sharpe ratios of the chosen one in and out of sample."""
    parts = np.split(np.arange(len(returns)), [len(returns) * i // blocks for i in range(1, blocks)])
    logits, inside, outside = [], [], []
    for half in combinations(range(blocks), blocks // 2):
        seen = np.concatenate([parts[i] for i in half])
        unseen = np.setdiff1d(np.arange(len(returns)), seen)
        was, became = (
            returns[rows].mean(axis=0) / returns[rows].std(axis=0, ddof=1) for rows in (seen, unseen)
        )
        best = int(was.argmax())
        share = (1 + (became < became[best]).sum()) / (returns.shape[1] + 1)
        logits.append(float(np.log(share / (1 - share))))
        inside.append(float(was[best]))
        outside.append(float(became[best]))
    return logits, inside, outside


@pytest.mark.parametrize(("days", "blocks"), [(16, 2), (48, 6), (53, 6), (100, 8)])
def test_it_is_what_the_steps_of_the_paper_give_one_by_one(days: int, blocks: int) -> None:
    returns = noise(days, 9, seed=days)
    found = overfit_of(returns, blocks=blocks)
    logits, inside, outside = plainly(returns, blocks)
    assert found.logits.tolist() == pytest.approx(logits)
    assert found.in_sample.tolist() == pytest.approx(inside, rel=1e-9)
    assert found.out_of_sample.tolist() == pytest.approx(outside, rel=1e-9)
    assert found.probability == np.mean([each <= 0 for each in logits])
    assert found.loss == np.mean([each < 0 for each in outside])
    slope, intercept = np.polyfit(inside, outside, 1)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), rel=1e-6)


def test_the_best_of_random_strategies_is_as_often_in_the_worse_half_as_not() -> None:
    found = [overfit_of(noise(240, 40, seed), blocks=8).probability for seed in range(150)]
    assert 0.44 <= np.mean(found) <= 0.56


def test_one_that_is_truly_good_is_found_and_lasts() -> None:
    returns = noise(400, 50, seed=1)
    returns[:, 7] += 0.003
    found = overfit_of(returns, blocks=10)
    assert found.probability < 0.01
    assert found.loss < 0.01
    assert (found.chosen == 7).mean() > 0.95


def test_a_search_for_what_a_part_happened_to_have_is_overfitted() -> None:
    """Each configuration earns in blocks of its own, and loses it in all others."""
    rows = np.arange(320) // 20
    returns = noise(320, 16, seed=2) * 0.1
    returns += np.where(rows[:, None] == np.arange(16), 0.03, -0.002)
    assert overfit_of(returns, blocks=16).probability > 0.9


def test_the_result_does_not_depend_on_what_fits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = noise(100, 9, seed=4)
    whole = overfit_of(returns, blocks=8)
    monkeypatch.setattr(overfit, "_AT_ONCE", 30)
    parts = overfit_of(returns, blocks=8)
    assert (parts.logits == whole.logits).all()
    assert parts.probability == whole.probability


def test_the_scale_of_a_configuration_does_not_matter() -> None:
    returns = noise(100, 9, seed=5)
    scaled = returns * np.logspace(-120, 3, 9)
    assert (overfit_of(returns, blocks=6).logits == overfit_of(scaled, blocks=6).logits).all()


def test_configurations_that_never_traded_are_ranked_as_a_ratio_of_nothing() -> None:
    """All alike: each has the middle rank, which counts as overfitted, and there is no line."""
    found = overfit_of(np.zeros((40, 4)), blocks=4)
    assert found.logits.tolist() == [0.0] * 6
    assert (found.probability, found.slope, found.loss) == (1.0, None, 0.0)
    returns = np.concatenate([noise(40, 3, seed=1) - 0.05, np.zeros((40, 1))], axis=1)
    assert (overfit_of(returns, blocks=4).chosen == 3).all()


@pytest.mark.parametrize(
    ("shape", "blocks", "says"),
    [
        ((100, 1), 4, "two configurations"),
        ((100,), 4, "two configurations"),
        ((100, 5), 3, "3 blocks: an even number from 2 to 20"),
        ((100, 5), 22, "22 blocks: an even number from 2 to 20"),
        ((100, 5), 0, "0 blocks"),
        ((31, 5), 16, "31 days: 16 blocks need 32"),
    ],
)
def test_what_cannot_be_cut_or_compared_is_refused(shape: tuple[int, ...], blocks: int, says: str) -> None:
    with pytest.raises(BadSample, match=says):
        overfit_of(np.ones(shape), blocks=blocks)


def test_returns_that_are_not_finite_and_too_much_work_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = noise(40, 4, seed=1)
    returns[3, 2] = np.nan
    with pytest.raises(BadSample, match="1 returns are not finite"):
        overfit_of(returns, blocks=4)
    monkeypatch.setattr(overfit, "MAX_WORK", 6 * 4 - 1)
    with pytest.raises(BadSample, match="4 blocks of 4 configurations: 24 exceeds 23"):
        overfit_of(np.zeros((40, 4)), blocks=4)
