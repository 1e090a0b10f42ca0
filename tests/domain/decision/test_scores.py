"""Scores of claims, against scikit-learn and by hand."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.decision.scores import (
    MAX_BINS,
    brier,
    brier_skill,
    calibration_error,
    log_losses,
    reliability_bins,
)


def claims(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = np.round(rng.uniform(0.01, 0.99, n), 2)
    return p, (rng.random(n) < p).astype(float), rng.uniform(0.1, 2, n)


@given(st.integers(0, 2**32))
def test_losses_are_scikit_learns(seed: int) -> None:
    p, y, weight = claims(seed)
    assert brier(p, y, weight) == pytest.approx(brier_score_loss(y, p, sample_weight=weight))
    expected = sklearn_log_loss(y, p, sample_weight=weight, labels=[0, 1])
    assert np.average(log_losses(p, y), weights=weight) == pytest.approx(expected)


def test_skill_is_1_for_perfect_0_for_the_base_and_below_for_worse() -> None:
    y = np.array([0.0, 1, 1, 1])
    assert brier_skill(y, y) == 1
    assert brier_skill(np.full(4, 0.75), y) == 0
    assert brier_skill(np.full(4, 0.5), y) < 0
    assert brier_skill(np.full(4, 0.75), y, base=np.full(4, 0.5)) == pytest.approx(0.25)
    assert brier_skill(np.full(2, 0.9), np.ones(2)) == 0  # a base in hindsight that makes no error


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 300))
def test_bins_hold_every_claim_once_ascending_and_keep_equal_ones_together(
    seed: int, bins: int, n: int
) -> None:
    p, y, weight = claims(seed, n)
    found = reliability_bins(p, y, weight, bins=bins)
    assert 1 <= len(found) <= bins
    assert sum(b.count for b in found) == pytest.approx(weight.sum())
    assert sum(b.count * b.won for b in found) == pytest.approx((weight * y).sum())
    assert all(a.high < b.low for a, b in pairwise(found))
    assert all(b.low <= b.claimed + 1e-12 and b.claimed <= b.high + 1e-12 for b in found)
    assert all(b.won_low <= b.won + 1e-12 and b.won <= b.won_high + 1e-12 for b in found)


def test_bins_of_different_claims_are_of_equal_mass() -> None:
    p = np.random.default_rng(1).uniform(0.1, 0.9, 1_000)
    assert [b.count for b in reliability_bins(p, np.ones(1_000))] == [100.0] * 10


def test_the_calibration_error_by_hand() -> None:
    p = np.array([0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0.8])
    y = np.array([0.0, 0, 0, 1, 1, 1, 0, 0])
    assert calibration_error(p, y, bins=2) == pytest.approx((0.05 + 0.3) / 2)


def test_one_claim_for_all_is_one_bin_whatever_the_order_of_the_outcomes() -> None:
    y = np.repeat([0.0, 1.0], 50)
    assert calibration_error(np.full(100, 0.5), y) == 0
    assert calibration_error(np.full(100, 0.7), y[::-1]) == pytest.approx(0.2)


def test_honest_claims_have_a_small_error_and_boasts_a_large_one() -> None:
    p, y, _ = claims(4, 20_000)
    assert calibration_error(p, y) < 0.015
    boast = 1 / (1 + (1 / p - 1) ** 3)
    assert calibration_error(boast, y) > 0.1


@pytest.mark.parametrize(
    ("p", "y", "weight"),
    [
        ([], [], None),
        ([0.5], [1.0, 0.0], None),
        ([1.5], [1.0], None),
        ([math.nan], [1.0], None),
        ([0.5], [0.5], None),
        ([0.5], [1.0], [0.0]),
        ([0.5], [1.0], [math.nan]),
        ([0.5], [1.0], [1.0, 1.0]),
    ],
)
def test_what_is_no_claim_or_outcome_is_refused(p: Any, y: Any, weight: Any) -> None:
    given_weight = None if weight is None else np.array(weight)
    for score in (brier, brier_skill, calibration_error):
        with pytest.raises(BadSample):
            score(np.array(p), np.array(y), weight=given_weight)


@pytest.mark.parametrize("bins", [0, MAX_BINS + 1])
def test_the_number_of_bins_has_a_limit(bins: int) -> None:
    with pytest.raises(BadSample, match="bins"):
        reliability_bins(np.array([0.5]), np.array([1.0]), bins=bins)
