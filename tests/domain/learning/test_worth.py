"""What forecasts are worth is measured against the base rate, and not claimed where chance would do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.learning.worth import auc, worth


def drawn(seed: int, count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.05, 0.95, count)
    return (rng.random(count) < p).astype(float), p


@given(st.integers(0, 10_000))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    rises, p = drawn(seed, 60)
    rises[:2] = 0, 1
    found = worth(rises, np.round(p, 1), np.full(60, 0.4), overlapping=1)
    assert found.log_loss == pytest.approx(log_loss(rises, np.round(p, 1)), rel=1e-12)
    assert found.brier == pytest.approx(brier_score_loss(rises, np.round(p, 1)), rel=1e-12)
    assert found.auc == pytest.approx(roc_auc_score(rises, np.round(p, 1)), rel=1e-12)
    assert found.base_log_loss == pytest.approx(log_loss(rises, np.full(60, 0.4)), rel=1e-12)


def test_who_knows_the_odds_has_skill_and_who_guesses_has_none() -> None:
    rises, p = drawn(1)
    knows = worth(rises, p, np.full(600, rises.mean()), overlapping=5)
    assert knows.skill_low > 0
    assert knows.has_skill
    guesses = worth(rises, np.random.default_rng(9).permutation(p), np.full(600, rises.mean()), overlapping=5)
    assert guesses.skill < 0
    assert not guesses.has_skill
    base = worth(rises, np.full(600, 0.5), np.full(600, 0.5), overlapping=5)
    assert (base.skill, base.skill_low, base.has_skill) == (0.0, 0.0, False)


def test_labels_that_saw_the_same_move_do_not_count_as_many() -> None:
    rng = np.random.default_rng(4)
    p = np.repeat(rng.uniform(0.3, 0.7, 60), 100)
    rises = np.repeat((rng.random(60) < p[::100]).astype(float), 100)
    apart = worth(rises, p, np.full(6_000, 0.5), overlapping=1)
    together = worth(rises, p, np.full(6_000, 0.5), overlapping=100)
    assert together.skill == apart.skill
    assert together.skill_high - together.skill_low > 1.3 * (apart.skill_high - apart.skill_low)


def test_one_side_alone_cannot_be_told_apart() -> None:
    assert auc(np.ones(5), np.arange(5.0)) == 0.5
    assert auc(np.array([0.0, 1.0]), np.array([0.3, 0.3])) == 0.5


def test_a_certainty_that_was_wrong_costs_much_and_not_everything() -> None:
    rises = np.array([1.0, 0.0] * 10)
    assert np.isfinite(worth(rises, 1 - rises, np.full(20, 0.5), overlapping=1).log_loss)


def test_too_few_rows_are_no_measurement() -> None:
    with pytest.raises(BadSample):
        worth(np.ones(1), np.ones(1), np.ones(1), overlapping=1)


def test_metrics_are_plain_numbers() -> None:
    rises, p = drawn(2)
    metrics = worth(rises, p, np.full(600, 0.5), overlapping=1).as_metrics()
    assert all(type(value) is float for value in metrics.values())
    assert {"out_of_fold_rows", "out_of_fold_skill_low", "has_skill"} <= metrics.keys()
