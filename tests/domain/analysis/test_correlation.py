"""Correlations against pandas, and what takes part in them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis import correlation as module
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.correlation import (
    MAX_INSTRUMENTS,
    Correlations,
    NotComparable,
    Returns,
    aligned_returns,
    correlations,
    ranks,
    rolling_beta,
)
from alphapulse.domain.analysis.fields import CLOSE, INPUTS, TIME, Floats

MINUTE = 60_000_000_000


def bars_of(close: Floats, start: Any = None, *, timeframe: int = 1, late: int = 0) -> Bars:
    """Bars known ``late`` ns after their end."""
    start = np.arange(len(close)) * timeframe if start is None else np.asarray(start)
    values = np.tile(close, (INPUTS, 1)).astype(np.float64)
    values[TIME] = start
    counts = np.arange(1, len(close) + 1)
    return Bars(
        instrument="test:X",
        timeframe=timeframe,
        values=values,
        known_time=(start + timeframe) * MINUTE + late,
        position=counts,
        input_position=counts,
        flags=np.zeros(len(close), dtype=np.int64),
    )


def market(count: int = 400, seed: int = 1, holes: float = 0.15) -> dict[str, Bars]:
    """Four instruments that share a factor; each lacks some minutes of its own."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(0, 0.01, count)
    found = {}
    for i, weight in enumerate((1.0, 0.8, 0.0, -0.5)):
        close = 100 * np.exp(np.cumsum(weight * factor + rng.normal(0, 0.004, count)))
        there = rng.random(count) >= holes
        found[f"v:{'ABCD'[i]}"] = bars_of(close[there], np.flatnonzero(there))
    return found


def in_pandas(bars: dict[str, Bars]) -> pd.DataFrame:
    """Log returns over a full grid of minutes: the minute before must be there."""
    end = max(int(b.start.max()) for b in bars.values()) + 1
    closes = {n: pd.Series(b.values[CLOSE], index=b.start).reindex(range(end)) for n, b in bars.items()}
    return np.log(pd.DataFrame(closes)).diff()


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_correlations_equal_those_of_pandas(method: Any, seed: int) -> None:
    bars = market(seed=seed)
    found = correlations(aligned_returns(bars), method=method)
    frame = in_pandas(bars)
    expected = frame.corr(method=method, min_periods=30)
    assert found.instruments == tuple(frame.columns)
    assert np.allclose(found.values, expected, rtol=1e-12, atol=1e-12)
    known = frame.notna().to_numpy().astype(int)
    assert np.array_equal(found.count, known.T @ known)
    assert found.values[0, 1] > 0.7
    assert found.values[0, 3] < -0.4


@pytest.mark.parametrize("window", [2, 30, 100])
def test_rolling_beta_and_correlation_equal_those_of_pandas(window: int) -> None:
    bars = market()
    found = rolling_beta(aligned_returns(bars), "v:B", "v:A", window=window)
    both = in_pandas(bars)[["v:A", "v:B"]].dropna()
    base, other = both["v:A"].rolling(window), both["v:B"]
    assert np.array_equal(found.start, both.index)
    assert np.allclose(found.beta, base.cov(other) / base.var(), rtol=1e-7, atol=1e-9, equal_nan=True)
    assert np.allclose(found.correlation, base.corr(other), rtol=1e-7, atol=1e-7, equal_nan=True)


def test_a_rolling_value_depends_on_its_window_alone() -> None:
    bars = market()
    whole = rolling_beta(aligned_returns(bars), "v:B", "v:A", window=40)
    short = rolling_beta(aligned_returns(bars, last=120), "v:B", "v:A", window=40)
    there = ~np.isnan(short.beta)
    at = np.searchsorted(whole.start, short.start)
    assert there.sum() > 20
    assert np.array_equal(short.beta[there], whole.beta[at][there])
    assert np.array_equal(short.correlation[there], whole.correlation[at][there])


@given(seed=st.integers(0, 20), cut=st.integers(50, 380))
def test_nothing_known_after_the_cutoff_takes_part(seed: int, cut: int) -> None:
    bars = market(seed=seed)
    known_by = cut * MINUTE
    noise = {
        n: bars_of(np.where(b.known_time > known_by, 1e9, b.values[CLOSE]), b.start) for n, b in bars.items()
    }
    one = correlations(aligned_returns(bars, known_by=known_by))
    other = correlations(aligned_returns(noise, known_by=known_by))
    assert np.array_equal(one.values, other.values, equal_nan=True)
    assert np.array_equal(one.count, other.count)


def test_a_bar_counts_from_the_moment_it_is_known_not_from_its_end() -> None:
    bars = bars_of(np.arange(1.0, 11), late=5)
    assert np.isfinite(aligned_returns({"a": bars}, known_by=10 * MINUTE + 4).values).sum() == 8
    assert np.isfinite(aligned_returns({"a": bars}, known_by=10 * MINUTE + 5).values).sum() == 9


def test_a_return_over_a_hole_is_none() -> None:
    returns = aligned_returns({"a": bars_of(np.array([1.0, 2, 4, 8]), [0, 1, 5, 6])})
    assert returns.start.tolist() == [0, 1, 5, 6]
    assert np.array_equal(returns.values, [[np.nan, np.log(2), np.nan, np.log(2)]], equal_nan=True)


def test_bars_of_other_minutes_are_not_shifted_onto_each_other() -> None:
    rng = np.random.default_rng(1)
    close = np.exp(np.cumsum(rng.normal(0, 0.01, 200)))
    even = aligned_returns({"a": bars_of(close), "b": bars_of(close, np.arange(200) + 1)})
    found = correlations(even)
    assert found.count[0, 1] == 198
    assert abs(found.values[0, 1]) < 0.3


def test_too_small_a_sample_gives_no_number_and_says_how_small() -> None:
    bars = market(40, holes=0)
    for minimum, there in ((39, True), (40, False)):
        found = correlations(aligned_returns(bars), minimum=minimum)
        assert found.count[0, 1] == 39
        assert np.isfinite(found.values).all() == there
        assert np.isnan(found.values).all() != there


def test_what_never_moves_is_correlated_with_nothing() -> None:
    rng = np.random.default_rng(1)
    bars = {"still": bars_of(np.full(100, 0.1)), "moves": bars_of(np.exp(rng.normal(0, 0.01, 100)))}
    returns = aligned_returns(bars)
    for method in ("pearson", "spearman"):
        found = correlations(returns, method=method)
        assert np.array_equal(found.values, [[np.nan, np.nan], [np.nan, 1]], equal_nan=True)
    assert np.isnan(rolling_beta(returns, "moves", "still", window=20).beta).all()
    stays = rolling_beta(returns, "still", "moves", window=20)
    assert (stays.beta[19:] == 0).all()
    assert np.isnan(stays.correlation).all()


def test_an_instrument_moves_with_itself_one_to_one() -> None:
    bars = market()
    found = rolling_beta(aligned_returns({"a": bars["v:A"], "b": bars["v:A"]}), "a", "b", window=10)
    assert (found.beta[9:] == 1).all()
    assert found.correlation[9:] == pytest.approx(1)


def test_shrinkage_draws_towards_independence_and_mends_a_matrix() -> None:
    returns = aligned_returns(market())
    plain, half = correlations(returns), correlations(returns, shrinkage=0.5)
    off = ~np.eye(4, dtype=bool)
    assert np.allclose(half.values[off], plain.values[off] / 2)
    assert (np.diag(half.values) == 1).all()
    broken = pairwise_contradiction()
    assert np.linalg.eigvalsh(broken.values).min() < -0.1
    mended = pairwise_contradiction(shrinkage=0.6)
    assert np.linalg.eigvalsh(mended.values).min() > 0


def pairwise_contradiction(shrinkage: float = 0.0) -> Correlations:
    """A moves with B in one hour, B with C in another, A against C in a third."""
    x = np.random.default_rng(1).normal(0, 1, 60)
    none = np.full(60, np.nan)
    values = np.array(
        [np.concatenate([x, none, x]), np.concatenate([x, x, none]), np.concatenate([none, x, -x])]
    )
    return correlations(Returns(("a", "b", "c"), 1, np.arange(180), values), shrinkage=shrinkage)


@given(values=st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30))
def test_equal_values_share_their_mean_rank(values: list[float]) -> None:
    assert ranks(np.array(values)).tolist() == pd.Series(values).rank().tolist()


def test_other_timeframes_are_not_comparable() -> None:
    with pytest.raises(NotComparable, match="bars of 1, 5 minutes"):
        aligned_returns({"a": bars_of(np.ones(5)), "b": bars_of(np.ones(5), timeframe=5)})


def test_there_is_a_most_of_instruments_and_of_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    one = bars_of(np.ones(5))
    assert len(aligned_returns({str(i): one for i in range(MAX_INSTRUMENTS)}).instruments) == MAX_INSTRUMENTS
    with pytest.raises(NotComparable, match="201 instruments: 1 to 200"):
        aligned_returns({str(i): one for i in range(MAX_INSTRUMENTS + 1)})
    with pytest.raises(NotComparable, match="0 instruments"):
        aligned_returns({})
    monkeypatch.setattr(module, "MAX_CELLS", 9)
    with pytest.raises(NotComparable, match="5 bars of 2 instruments: at most 9 in all"):
        aligned_returns({"a": one, "b": one})
    assert aligned_returns({"a": one, "b": one}, last=4).start.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong", [{"method": "kendall"}, {"minimum": 1}, {"shrinkage": 1.1}, {"shrinkage": -0.1}]
)
def test_what_cannot_be_computed_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        correlations(aligned_returns(market()), **wrong)


def test_a_base_that_is_not_there_is_named() -> None:
    with pytest.raises(NotComparable, match="v:BTC is none of v:A, v:B, v:C, v:D"):
        rolling_beta(aligned_returns(market()), "v:A", "v:BTC", window=10)
    with pytest.raises(ValueError, match="a window of 1 returns"):
        rolling_beta(aligned_returns(market()), "v:A", "v:B", window=1)


def test_without_bars_there_is_nothing_to_compare() -> None:
    found = correlations(aligned_returns({"a": bars_of(np.ones(0)), "b": bars_of(np.ones(1))}))
    assert np.isnan(found.values).all()
    assert (found.count == 0).all()
