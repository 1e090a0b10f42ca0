"""Intervals by the block bootstrap: what they cover, that they repeat, and where they end."""

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.intervals import MAX_DRAWS, BadSample, block_length, block_means
from alphapulse.domain.performance import metrics, resampling
from alphapulse.domain.performance.metrics import Returns
from alphapulse.domain.performance.resampling import draws_of, effective_days, interval_of, sums_of_draws


def drawn(count: int, **how: int) -> Floats:
    return np.concatenate(list(draws_of(count, **how)))


@pytest.mark.parametrize(("count", "block"), [(2, 1), (10, 3), (10, 5), (101, 7)])
def test_a_draw_is_made_of_blocks_of_neighbours_as_long_as_the_series(count: int, block: int) -> None:
    places = drawn(count, block=block, seed=3, draws=200)
    assert places.shape == (200, count)
    assert places.min() == 0
    assert places.max() == count - 1
    steps = np.diff(places, axis=1)
    inside = np.arange(1, count) % block != 0
    assert (steps[:, inside] == 1).all()


def test_the_same_seed_gives_the_same_draws_whatever_fits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(50, block=4, seed=9, draws=100)
    monkeypatch.setattr(resampling, "_AT_ONCE", 120)
    assert (drawn(50, block=4, seed=9, draws=100) == whole).all()
    assert max(len(some) for some in draws_of(50, block=4, seed=9, draws=100)) == 2
    assert (drawn(50, block=4, seed=10, draws=100) != whole).any()


@pytest.mark.parametrize("count", [2, 9, 64, 1_000])
def test_sums_of_draws_are_those_of_the_decisions_bootstrap(count: int) -> None:
    columns = np.random.default_rng(1).normal(size=(3, count))
    found = sums_of_draws(columns, overlapping=2.0, seed=5, draws=50)
    block = block_length(count, 2.0)
    expected = [block_means(column, block=block, seed=5, draws=50) * count for column in columns]
    assert found == pytest.approx(np.stack(expected), rel=1e-9, abs=1e-9)


def test_a_draw_of_many_outcomes_has_a_bounded_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "MAX_BLOCKS", 10)
    values = np.arange(1_000.0)
    sums = sums_of_draws(np.stack([values, np.ones(1_000)]), overlapping=1.0, seed=1, draws=20)
    assert sums[1].tolist() == pytest.approx([1_000] * 20)
    # Ten blocks of 100 neighbours each: the sum of each is 100 times its first, plus 4950.
    assert ((np.round(sums[0]) - 10 * 4_950) % 100 == 0).all()


@pytest.mark.parametrize(
    ("count", "block", "draws"), [(1, 1, 1), (10, 6, 1), (10, 0, 1), (10, 2, 0), (10, 2, MAX_DRAWS + 1)]
)
def test_a_block_that_does_not_fit_twice_or_too_many_draws_are_refused(
    count: int, block: int, draws: int
) -> None:
    with pytest.raises(BadSample, match=f"blocks of {block} from {count} values, {draws} draws"):
        list(draws_of(count, block=block, seed=1, draws=draws))


def test_the_interval_is_the_middle_of_the_draws() -> None:
    assert interval_of(np.arange(1_001.0)[::-1]) == (25, 975, "", True)


def test_a_side_without_a_bound_is_open_and_says_so() -> None:
    found = interval_of(np.concatenate([np.arange(90.0), np.full(10, np.inf)]))
    assert (found.low, found.high) == (2, None)
    assert "open to one side" in found.note


def test_what_is_undefined_in_more_than_one_draw_of_twenty_has_no_interval() -> None:
    nothing = np.full(6, np.nan)
    found = interval_of(np.concatenate([np.arange(94.0), nothing]))
    assert found == (None, None, "no interval: undefined in 6 of 100 draws", True)
    assert interval_of(np.concatenate([np.arange(95.0), nothing[:5]])).low == 2


def persistent(days: int, worlds: int, memory: float) -> Floats:
    """Returns (worlds, days) of mean 0.1, each day with ``memory`` of the one before, of variance 1."""
    noise = np.random.default_rng(7).normal(size=(worlds, days))
    out = noise.copy()
    for day in range(1, days):
        out[:, day] = memory * out[:, day - 1] + np.sqrt(1 - memory**2) * noise[:, day]
    return out + 0.1


@pytest.mark.parametrize("memory", [0.0, 0.4])
def test_the_interval_of_a_sharpe_ratio_covers_it_in_about_95_of_100_worlds(memory: float) -> None:
    """The true one is 0.1 a day; blocks allow for days that follow one another, up to a few percent."""
    worlds, days, hits = persistent(400, 200, memory), 400, 0
    for seed, returns in enumerate(worlds):
        places = drawn(days, block=block_length(days), seed=seed, draws=200)
        low, high, *_ = interval_of(metrics.daily_sharpe(Returns(returns[places], True, 365)))
        assert low is not None
        assert high is not None
        hits += low <= 0.1 <= high
    assert 0.88 <= hits / len(worlds) <= 0.99


def test_days_that_follow_one_another_are_worth_fewer_and_days_without_a_return_none() -> None:
    random, follow = persistent(2_000, 1, 0.0)[0], persistent(2_000, 1, 0.6)[0]
    assert effective_days(random, seed=1) > 1_500
    assert 300 < effective_days(follow, seed=1) < 900  # in theory (1 - .6) / (1 + .6) of them: 500
    few = np.zeros(100)
    few[[10, 70]] = 0.01, -0.02
    assert effective_days(few, seed=1) <= 2
