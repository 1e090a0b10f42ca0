"""Reliability on a year of real bars, against pandas; and on random walks, where nothing may be reliable."""

import functools
import math

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest
import talib

from alphapulse.domain.analysis.detections import Detections
from alphapulse.domain.analysis.panel import Plan, compute
from alphapulse.domain.analysis.proportions import Z95
from alphapulse.domain.analysis.registry import Spec, everything
from alphapulse.domain.analysis.reliability import reliability, reliability_table
from alphapulse.domain.analysis.track_record import track_record
from tests.domain.analysis.series import from_ohlcv
from tests.market_data import data_file

CHECKED = ("CDLENGULFING", "CDLDOJI", "CDLHAMMER", "CDLHARAMI", "CDLMORNINGSTAR", "CDLBELTHOLD")


@functools.cache
def bars_2018(coin: str, timeframe: str) -> pd.DataFrame:
    path = data_file(f"klines/bitfinex_1m/{coin}USD-1m-2018.parquet")
    frame = parquet.read_table(path).to_pandas()
    frame.index = pd.to_datetime(frame.pop("ts_ms"), unit="ms", utc=True)
    how = {"open": "first", "high": "max", "low": "min", "close": "last"}
    bars = frame.resample(timeframe).agg(how).dropna()
    # Trend up or down, and none where the average is not there yet: known at the bar's end.
    average = bars["close"].rolling(50).mean()
    bars["regime"] = (bars["close"] > average).astype(int).where(average.notna(), -1)
    return bars


def detected(bars: pd.DataFrame, pattern: str) -> pd.Series:
    columns = (bars[c].to_numpy() for c in ("open", "high", "low", "close"))
    return pd.Series(np.sign(getattr(talib, pattern)(*columns)), bars.index)


def of(bars: pd.DataFrame, direction: pd.Series) -> tuple[Detections, np.ndarray, np.ndarray]:
    detections = Detections.of(direction.to_numpy().astype(float))
    return detections, bars["close"].to_numpy(), bars["regime"].to_numpy(dtype=np.int64)


def pandas_figures(bars: pd.DataFrame, direction: pd.Series, horizon: int, regime: int) -> dict[str, float]:
    """The same figures in pandas' words: shift, groupby, rolling."""
    frame = pd.DataFrame({"move": np.sign(bars["close"].shift(-horizon) - bars["close"])})
    frame["direction"] = direction.where(bars["regime"] == regime, 0).where(frame["move"].notna(), 0)
    running = (
        direction.where(bars["regime"] == regime, 0).abs().shift(1).rolling(horizon, min_periods=1).sum()
    )
    frame["weight"] = (1 / running.clip(lower=1)).rolling(horizon).mean().shift(-horizon)
    hits = frame[frame["direction"] != 0].eval("hit = move == direction")
    base = frame.loc[(bars["regime"] == regime) & frame["move"].notna(), "move"]
    shares = base.value_counts(normalize=True)
    expected = hits["direction"].map(shares).mean()
    n, p = hits["weight"].sum(), hits["hit"].mean()
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    return {
        "detections": len(hits),
        "hits": int(hits["hit"].sum()),
        "effective": n,
        "hit_rate": p,
        "hit_low": centre - half,
        "hit_high": centre + half,
        "base_bars": len(base),
        "base_rate": expected,
        "lift": p - expected,
    }


@pytest.mark.parametrize(
    ("coin", "timeframe"), [("BTC", "1min"), ("BTC", "15min"), ("BTC", "1h"), ("ETH", "1h"), ("XRP", "1h")]
)
def test_the_figures_of_2018_equal_those_of_pandas(coin, timeframe):
    bars = bars_2018(coin, timeframe)
    for pattern in CHECKED[: 2 if timeframe == "1min" else None]:
        direction = detected(bars, pattern)
        detections, closes, regimes = of(bars, direction)
        for horizon, regime in ((1, 0), (5, 1), (20, 0)):
            ours = reliability(pattern, detections, closes, horizon, regimes=regimes, regime=regime)
            for name, value in pandas_figures(bars, direction, horizon, regime).items():
                assert getattr(ours, name) == pytest.approx(value, rel=1e-9), (pattern, horizon, name)
            assert ours.hits > 0


def test_the_record_at_each_detection_of_2018_equals_pandas_expanding_sums():
    bars, horizon = bars_2018("BTC", "1h"), 5
    direction = detected(bars, "CDLENGULFING")
    detections, closes, regimes = of(bars, direction)
    track = track_record(detections, closes, horizon, regimes=regimes)
    move = np.sign(bars["close"].shift(-horizon) - bars["close"])
    for up in (1, -1):
        for regime in (0, 1):
            here = bars["regime"] == regime
            same = here & (direction == up)
            # A row shifted by the horizon is a bar whose outcome is known at this one.
            known = {
                "detections": same.astype(int),
                "hits": (same & (move == up)).astype(int),
                "base_bars": here.astype(int),
            }
            theirs = pd.DataFrame(known).shift(horizon, fill_value=0).expanding().sum()[same]
            rows = same.to_numpy()[detections.bars]
            for name in known:
                assert np.array_equal(getattr(track, name)[rows], theirs[name].to_numpy(dtype=int)), name
            base = (here & (move == up)).shift(horizon, fill_value=False).expanding().sum()[same]
            with_base = theirs["base_bars"].to_numpy() > 0
            expected = (base / theirs["base_bars"]).to_numpy()
            np.testing.assert_allclose(track.base_rate[rows][with_base], expected[with_base], rtol=1e-12)


def random_walk(seed: int, bars: int = 2000, steps: int = 12) -> np.ndarray:
    """Open, high, low, close of a walk of independent steps with a jump between bars: nothing to know."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.001, (bars, steps)) * rng.lognormal(0, 0.5, (bars, 1))
    moves[:, 0] *= 3  # between the last close and the open
    path = 100 * np.exp(np.cumsum(moves)).reshape(bars, steps)
    return np.stack([path[:, 0], path.max(axis=1), path.min(axis=1), path[:, -1]])


def found_in(candles: np.ndarray) -> dict[str, Detections]:
    """By all patterns that there are, TA-Lib's among them."""
    bars = from_ohlcv(*candles, np.ones(candles.shape[1]))
    patterns = [Spec.of(name) for name, known in everything().items() if known.kind == "pattern"]
    plan = Plan(patterns)
    signals = dict(zip(plan.columns, compute(patterns, bars, chunk=4096), strict=True))
    return {spec.indicator: Detections.of(signals[spec.columns[0]]) for spec in patterns}


def regimes_of(closes: np.ndarray) -> np.ndarray:
    """Above or below the close of 20 bars ago."""
    rise = closes[20:] > closes[:-20]
    return np.concatenate([np.full(20, -1), rise.astype(np.int64)])


def test_no_pattern_is_reliable_on_random_walks_beyond_its_nominal_error():
    """24 worlds without anything to know, all patterns, 2 horizons, two regimes and both."""
    worlds_with_a_claim = tests = claims = bold = outside = 0
    for seed in range(24):
        candles = random_walk(seed)
        closes = candles[3]
        table = reliability_table(
            found_in(candles), closes, horizons=(1, 10), regimes=regimes_of(closes), by_regime=True
        )
        table = [row for row in table if row.detections]
        rejected = sum(row.adjusted <= 0.05 for row in table)
        worlds_with_a_claim += rejected > 0
        claims += rejected
        tests += len(table)
        bold += sum(row.p_value <= 0.05 for row in table)
        outside += sum(not row.lift_low <= 0 <= row.lift_high for row in table)
    assert tests > 8_000
    # Holm: a world has any claim with a chance of 5 % at most; more than 4 of 24 has one of 0.6 %.
    assert worlds_with_a_claim <= 4
    assert claims / tests <= 0.05
    # Without an adjustment 5 % look significant, and each interval leaves out the truth in 5 %: no more.
    assert bold / tests <= 0.05
    assert outside / tests <= 0.055


def test_a_pattern_that_knows_is_found_among_all_that_do_not():
    candles = random_walk(99)
    closes = candles[3]
    patterns = found_in(candles)
    rng = np.random.default_rng(1)
    bars = np.sort(rng.choice(len(closes) - 5, 150, replace=False))
    right = np.sign(closes[bars + 5] - closes[bars])
    told = np.where(rng.random(150) < 0.75, right, -right).astype(np.int64)
    patterns["oracle"] = Detections(bars.astype(np.int64), told)
    table = reliability_table(patterns, closes)
    claims = {(row.name, row.horizon) for row in table if row.adjusted <= 0.05}
    assert ("oracle", 5) in claims
    assert {name for name, _ in claims} == {"oracle"}
