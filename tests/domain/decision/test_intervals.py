"""Intervals of means that come in time and overlap: coverage, determinism, and slow definitions."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision import intervals
from alphapulse.domain.decision.intervals import (
    MAX_DRAWS,
    BadSample,
    block_length,
    block_means,
    effective_size,
    mean_error,
    mean_interval,
    uniqueness,
    win_rate_interval,
)


def autoregressive(seed: int, n: int, memory: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, n + 100)
    for i in range(1, len(values)):
        values[i] += memory * values[i - 1]
    return values[100:]


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.91), (0.5, 0.88)])
def test_nine_in_ten_intervals_or_more_hold_the_mean_of_values_that_remember(
    memory: float, least: float
) -> None:
    inside = 0
    for seed in range(400):
        values = autoregressive(seed, 500, memory)
        low, high = mean_interval(values, block=block_length(500), seed=seed, draws=400)
        inside += low <= 0 <= high
    assert least <= inside / 400 <= 0.98


def test_drawing_single_values_would_be_too_sure_where_they_remember() -> None:
    values = autoregressive(1, 2_000, 0.8)
    alone, together = (mean_error(values, block=block, seed=1) for block in (1, 60))
    assert alone == pytest.approx(values.std() / math.sqrt(2_000), rel=0.1)
    assert together > 2 * alone


@given(st.integers(2, 40), st.data())
def test_each_mean_is_of_whole_blocks_and_a_cut_one(n: int, data: st.DataObject) -> None:
    block, seed = data.draw(st.integers(1, n // 2)), data.draw(st.integers(0, 2**63))
    values = np.random.default_rng(seed).normal(0, 1, n)
    blocks = math.ceil(n / block)
    raw = np.random.PCG64(seed).random_raw(5 * blocks).reshape(5, blocks) % (n - block + 1)
    slow = [np.concatenate([values[int(b) : int(b) + block] for b in row])[:n].mean() for row in raw]
    np.testing.assert_allclose(block_means(values, block=block, seed=seed, draws=5), slow, atol=1e-12)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = autoregressive(2, 300, 0.5)
    one = mean_interval(values, block=14, seed=7)
    assert one == mean_interval(values, block=14, seed=7)
    assert one != mean_interval(values, block=14, seed=8)


def test_draws_in_many_rounds_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = autoregressive(3, 300, 0.5)
    at_once = block_means(values, block=14, seed=7)
    monkeypatch.setattr(intervals, "_AT_ONCE", 100)
    np.testing.assert_array_equal(block_means(values, block=14, seed=7), at_once)


def test_a_constant_is_sure() -> None:
    assert mean_interval(np.full(20, 0.25), block=3, seed=1) == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([], {}),
        ([1.0], {}),
        ([1.0, math.nan], {}),
        ([1.0, math.inf], {}),
        ([1.0, 2.0, 3.0], {"block": 2}),
        ([1.0, 2.0], {"block": 0}),
        ([[1.0, 2.0], [1.0, 2.0]], {}),
        ([1.0, 2.0], {"draws": 0}),
        ([1.0, 2.0], {"draws": MAX_DRAWS + 1}),
        ([1.0, 2.0], {"level": 1.0}),
        ([1.0, 2.0], {"level": math.nan}),
    ],
)
def test_samples_that_say_nothing_are_refused(values: list[float], options: Any) -> None:
    with pytest.raises(BadSample):
        mean_interval(np.array(values), **{"block": 1, "seed": 1, **options})


def test_blocks_grow_with_the_sample_and_with_overlap_but_leave_four() -> None:
    assert [block_length(n) for n in (1, 8, 64, 1_000)] == [1, 2, 8, 20]
    assert block_length(1_000, 30.0) == 60
    assert block_length(1_000, 900.0) == 250


def test_a_win_rate_has_wilsons_bounds_also_for_counts_that_are_not_whole() -> None:
    low, high = win_rate_interval(20, 30)
    assert (low, high) == pytest.approx((0.487801, 0.807695), abs=1e-6)
    low_of_half, high_of_half = win_rate_interval(10.0, 15.0)
    assert low_of_half < win_rate_interval(10.25, 15.375)[0] < low < high < high_of_half
    assert all(map(math.isnan, win_rate_interval(0, 0)))


@pytest.mark.parametrize(("wins", "outcomes"), [(2, 1), (-1, 3), (math.nan, 3), (1, math.inf), (1, math.nan)])
def test_a_win_rate_of_what_cannot_be_is_refused(wins: float, outcomes: float) -> None:
    with pytest.raises(BadSample, match="wins of"):
        win_rate_interval(wins, outcomes)


LIVES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 25)), min_size=1, max_size=25)


@given(LIVES)
def test_uniqueness_is_the_mean_over_each_moment_of_a_life(lives: list[tuple[int, int]]) -> None:
    time = np.array([begin for begin, _ in lives])
    until = time + np.array([length for _, length in lives])
    end = np.maximum(until, time + 1)
    slow = [
        np.mean([1 / ((time <= t) & (t < end)).sum() for t in range(a, b)])
        for a, b in zip(time, end, strict=True)
    ]
    np.testing.assert_allclose(uniqueness(time, until), slow, rtol=1e-12)
    assert effective_size(time, until) == pytest.approx(sum(slow))


def test_outcomes_apart_count_one_each_and_ten_at_once_count_for_one() -> None:
    day = 86_400 * 10**9
    begins = 1_700_000_000 * 10**9 + np.arange(10) * day
    assert effective_size(begins, begins + day) == pytest.approx(10, rel=1e-9)
    assert effective_size(np.repeat(begins[:1], 10), np.repeat(begins[1:2], 10)) == pytest.approx(1)
    assert effective_size(np.empty(0, np.int64), np.empty(0, np.int64)) == 0


def test_an_outcome_before_its_decision_is_refused() -> None:
    with pytest.raises(BadSample, match="after its decision"):
        uniqueness(np.array([5]), np.array([4]))
