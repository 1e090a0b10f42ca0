"""Drift figures against scipy and against counting by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats

from alphapulse.domain.analysis.drift import EPSILON, kolmogorov, ks, psi

VALUES = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
SAMPLE = st.integers(4, 60).flatmap(lambda n: arrays(np.float64, n, elements=VALUES))


@given(SAMPLE, SAMPLE)
def test_the_effect_is_scipys_statistic(reference, sample):
    assert ks(reference, sample).effect == pytest.approx(
        stats.ks_2samp(reference, sample, method="asymp").statistic, abs=1e-12
    )


@given(st.floats(0, 6))
def test_the_limit_distribution_is_scipys(x):
    assert kolmogorov(x) == pytest.approx(special.kolmogorov(x), abs=1e-11)


@pytest.mark.parametrize(("n", "m"), [(300, 300), (1_000, 400), (5_000, 5_000)])
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_the_p_value_is_near_the_exact_one(n, m, shift):
    rng = np.random.default_rng(n + m)
    reference, sample = rng.normal(size=n), rng.normal(shift, size=m)
    exact = stats.ks_2samp(reference, sample, method="exact").pvalue
    assert ks(reference, sample).p_value == pytest.approx(exact, rel=0.12, abs=1e-6)


def psi_by_hand(reference, sample):
    edges = sorted(set(np.quantile(reference, np.arange(1, 10) / 10).tolist()))
    bounds = list(zip([-math.inf, *edges], [*edges, math.inf], strict=True))
    total = 0.0
    for low, high in bounds:
        r = max(sum(low < v <= high for v in reference) / len(reference), EPSILON)
        s = max(sum(low < v <= high for v in sample) / len(sample), EPSILON)
        total += (s - r) * math.log(s / r)
    return total


@given(SAMPLE, SAMPLE)
def test_the_stability_index_is_what_counting_gives(reference, sample):
    assert psi(reference, sample) == pytest.approx(psi_by_hand(reference, sample), abs=1e-9)


@given(SAMPLE)
def test_nothing_drifts_from_itself_in_any_order_and_with_holes(sample):
    with_holes = np.concatenate((sample[::-1], [np.nan, np.inf]))
    assert psi(sample, with_holes) == pytest.approx(0, abs=1e-12)
    assert ks(sample, with_holes).effect == 0
    assert ks(sample, with_holes).p_value == 1


def test_a_bin_that_became_empty_counts_as_epsilon():
    reference = np.arange(100.0)
    moved = psi(reference, np.full(50, 1_000.0))
    expected = 9 * (EPSILON - 0.1) * math.log(EPSILON / 0.1) + 0.9 * math.log(10)
    assert moved == pytest.approx(expected)


def test_samples_of_nothing_give_nothing():
    nothing = np.array([np.nan])
    assert math.isnan(psi(nothing, np.ones(3)))
    assert math.isnan(ks(np.ones(3), nothing).effect)


@given(st.integers(0, 2**32 - 1))
def test_a_constant_that_changed_drifts_as_far_as_can_be(seed):
    rng = np.random.default_rng(seed)
    was, now = rng.uniform(-1, 1, 2)
    assert ks(np.full(500, was), np.full(500, now)).effect == 1
