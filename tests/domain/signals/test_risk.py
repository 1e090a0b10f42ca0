"""What may be lost: by counting, against normal tails, and the limits of what can be told."""

from math import exp, log, pi, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.signals.book import Book
from alphapulse.domain.signals.issue import Issue
from alphapulse.domain.signals.risk import (
    LEAST_WINDOWS,
    MAX_SAMPLES,
    BadSample,
    Exposure,
    bootstrap,
    expected_shortfall,
    exposure_of,
    historical,
    value_at_risk,
)
from tests.domain.signals.decided import BTC, ETH, SHORT, decision, issued

LOSSES = st.lists(st.floats(-1, 1), min_size=1, max_size=60).map(lambda x: np.sort(np.array(x)))
LEVELS = st.sampled_from([0.5, 0.75, 0.9, 0.95, 0.975, 0.99])


def normal(rows: int, markets: int = 1, *, sigma: float = 0.01, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, (rows, markets))


def test_counting_a_hundred_losses() -> None:
    losses = np.arange(1.0, 101.0)
    assert value_at_risk(losses, 0.95) == 95
    assert expected_shortfall(losses, 0.95) == pytest.approx(98)  # of 96 to 100
    assert value_at_risk(losses, 0.955) == 96
    assert expected_shortfall(losses, 0.955) == pytest.approx((97 + 98 + 99 + 100 + 0.5 * 96) / 4.5)


@given(LOSSES, LEVELS)
def test_the_shortfall_is_no_less_than_the_value_at_risk_and_no_more_than_the_worst(
    losses: np.ndarray, level: float
) -> None:
    var, es = value_at_risk(losses, level), expected_shortfall(losses, level)
    assert var - 1e-12 <= es <= losses[-1] + 1e-12
    assert np.mean(losses <= var) >= level - 1e-9


@given(LOSSES, LEVELS, st.floats(0.1, 10), st.floats(-1, 1))
def test_risk_scales_and_shifts_with_the_losses(
    losses: np.ndarray, level: float, scale: float, shift: float
) -> None:
    for measure in (value_at_risk, expected_shortfall):
        moved = measure(scale * losses + shift, level)
        assert moved == pytest.approx(scale * measure(losses, level) + shift, abs=1e-9)


@given(st.integers(0, 2**32), LEVELS)
def test_two_books_together_fall_no_shorter_than_both_alone(seed: int, level: float) -> None:
    """Expected shortfall is subadditive, which value at risk is not."""
    a, b = np.random.default_rng(seed).standard_t(2, (2, 97))
    together = expected_shortfall(np.sort(a + b), level)
    apart = expected_shortfall(np.sort(a), level) + expected_shortfall(np.sort(b), level)
    assert together <= apart + 1e-9


def test_normal_returns_have_normal_tails() -> None:
    returns, held = normal(40_000), np.array([0.5])
    z = NormalDist().inv_cdf(0.95)
    var, es = 0.005 * z, 0.005 * exp(-z * z / 2) / sqrt(2 * pi) / 0.05
    for (tail,) in (
        historical(returns, held, confidences=[0.95]),
        bootstrap(returns, held, confidences=[0.95], samples=40_000, seed=7),
    ):
        assert tail.value_at_risk == pytest.approx(var, rel=0.03)
        assert tail.expected_shortfall == pytest.approx(es, rel=0.03)
        assert (tail.losses, tail.rows) == (len(returns), 40_000)


def test_a_horizon_of_independent_bars_grows_with_its_square_root() -> None:
    returns, held = normal(40_000, sigma=0.001), np.array([1.0])
    (one,) = historical(returns, held, confidences=[0.95])
    for method in (
        historical(returns, held, confidences=[0.95], horizon_bars=16),
        bootstrap(returns, held, confidences=[0.95], horizon_bars=16, samples=40_000, seed=7),
    ):
        assert method[0].value_at_risk == pytest.approx(4 * one.value_at_risk, rel=0.06)


def test_blocks_keep_what_neighbouring_bars_have_to_do_with_each_other() -> None:
    """Falls come in pairs: two bars lose more than independent ones would."""
    shocks = normal(10_000, sigma=0.001)
    returns = np.repeat(shocks, 2, axis=0)
    held = np.array([1.0])

    def over_two_bars(block: int) -> float:
        (tail,) = bootstrap(
            returns, held, confidences=[0.95], horizon_bars=20, samples=20_000, block_bars=block, seed=3
        )
        return tail.value_at_risk

    assert over_two_bars(20) > 1.2 * over_two_bars(1)


def test_the_loss_is_that_of_prices_not_of_logarithms() -> None:
    """A market that doubles costs a short its whole notional, one that halves costs a long half of it."""
    returns = np.full((100, 1), log(2))
    (tail,) = historical(returns, np.array([-0.25]), confidences=[0.95])
    assert tail.value_at_risk == pytest.approx(0.25)
    (tail,) = historical(-returns, np.array([0.25]), confidences=[0.95])
    assert tail.expected_shortfall == pytest.approx(0.125)


def test_markets_are_drawn_together() -> None:
    """Long one, short its twin: nothing can be lost, whatever the blocks."""
    one = normal(500)
    both, held = np.hstack([one, one]), np.array([0.5, -0.5])
    for (tail,) in (
        historical(both, held, confidences=[0.99], horizon_bars=5),
        bootstrap(both, held, confidences=[0.99], horizon_bars=5, seed=1),
    ):
        assert tail.expected_shortfall == pytest.approx(0, abs=1e-12)


def test_the_same_seed_gives_the_same_risk() -> None:
    returns, held = normal(300, 2), np.array([0.5, 0.1])
    first, again, other = (
        bootstrap(returns, held, confidences=[0.9, 0.95], horizon_bars=3, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other
    assert [tail.confidence for tail in first] == [0.9, 0.95]


def test_samples_in_portions_are_as_many_as_asked_for() -> None:
    returns, held = normal(200, 50), np.full(50, 0.01)
    (tail,) = bootstrap(
        returns, held, confidences=[0.95], horizon_bars=6, samples=20_001, block_bars=2, seed=1
    )
    assert tail.losses == 20_001


@pytest.mark.parametrize(("confidence", "horizon", "needed"), [(0.9, 1, 30), (0.99, 1, 100), (0.95, 10, 300)])
def test_too_few_rows_are_refused_with_their_number(confidence: float, horizon: int, needed: int) -> None:
    def at(rows: int) -> object:
        return historical(normal(rows), np.array([1.0]), confidences=[confidence], horizon_bars=horizon)

    assert at(needed)
    with pytest.raises(BadSample, match=f"{needed - 1} rows: .* over {horizon} bars needs {needed}"):
        at(needed - 1)
    with pytest.raises(BadSample, match="0 rows"):
        at(0)
    assert LEAST_WINDOWS == 30


def test_what_is_no_sample_is_refused() -> None:
    good, held = normal(200, 2), np.array([0.1, 0.2])
    hole = good.copy()
    hole[3, 1] = np.nan
    for returns, exposures, words in (
        (hole, held, "1 of 200 rows"),
        (good, np.array([0.1, np.inf]), "hold what is no number"),
        (good, held[:1], "do not go with"),
    ):
        with pytest.raises(BadSample, match=words):
            historical(returns, exposures, confidences=[0.95])
    for confidences in ([], [1.0], [0.4], [float("nan")]):
        with pytest.raises(BadSample, match="confidences"):
            historical(good, held, confidences=confidences)
    for horizon in (0, 5_001):
        with pytest.raises(BadSample, match=f"horizon of {horizon} bars"):
            historical(good, held, confidences=[0.95], horizon_bars=horizon)
    for samples, block in ((0, 1), (MAX_SAMPLES + 1, 1), (10, 0)):
        with pytest.raises(BadSample, match=f"{samples} samples"):
            bootstrap(good, held, confidences=[0.95], samples=samples, block_bars=block, seed=1)


# -- exposure ------------------------------------------------------------------------------------


def test_the_exposure_of_an_open_set() -> None:
    risk = Risk(risk_ratio=0.01, max_correlation=1.0)
    book, _ = issued(Book(), Issue(decision=decision(), risk=risk))
    book, _ = issued(book, Issue(decision=decision(ETH, side=SHORT, stop=104.0), risk=risk))
    assert exposure_of(book) == Exposure(
        open=2,
        gross=0.75,
        net=0.25,
        long=0.5,
        short=0.25,
        at_stops=0.02,
        by_instrument={BTC: 0.5, ETH: -0.25},
    )
    assert exposure_of(Book()).gross == 0


def test_shares_of_what_is_gone_are_refused() -> None:
    with pytest.raises(BadSample, match=r"equity 0\.0"):
        exposure_of(Book(equity=0.0))
