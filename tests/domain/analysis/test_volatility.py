"""Ranges, deviations and bands: against TA-Lib, and where it has none, against the plain formula."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import fmean, stdev

import numpy as np
import pytest
import talib

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.klines import KLINES, klines
from tests.domain.analysis.series import ADVERSARIAL, from_ohlcv, walk
from tests.domain.analysis.talib_oracle import Call, Oracle, assert_agrees


def hlc(bars: Floats) -> tuple[Floats, Floats, Floats]:
    return bars[HIGH], bars[LOW], bars[CLOSE]


def bands(count: int, width: float, bars: Floats) -> tuple[Floats, ...]:
    """TA-Lib's three, and the two that it does not have: in long doubles, as its bands are too coarse."""
    padded = np.concatenate([np.zeros(count), bars[CLOSE]]).astype(np.longdouble)
    windows = np.lib.stride_tricks.sliding_window_view(padded, count)[1:]
    mean, reach = windows.mean(axis=1), width * windows.std(axis=1)
    flat = (windows == windows[:, :1]).all(axis=1)
    away = windows[:, -1] - mean
    inside = (0.5 + np.divide(away, 2 * reach, out=np.zeros_like(away), where=~flat)).astype(np.float64)
    span = np.where(flat, 0, 2 * reach / mean).astype(np.float64)
    inside[: count - 1] = span[: count - 1] = np.nan
    return *talib.BBANDS(bars[CLOSE], count, width, width), inside, span


ORACLES: dict[str, Oracle | Call] = {
    "true_range": lambda b: talib.TRANGE(*hlc(b)),
    **{f"atr({n})": lambda b, n=n: talib.ATR(*hlc(b), n) for n in (1, 2, 14, 100)},
    # TA-Lib's NATR of one bar is the true range itself, not a share of the close.
    **{f"natr({n})": lambda b, n=n: talib.NATR(*hlc(b), n) for n in (2, 14)},
    **{f"donchian({n})": lambda b, n=n: talib.DONCHIAN(b[HIGH], b[LOW], n) for n in (2, 20, 55)},
    "keltner(20,10,2,typical=1)": lambda b: talib.KC(*hlc(b), 20, 10, 2.0),
    "keltner(5,30,1.5,typical=1)": lambda b: talib.KC(*hlc(b), 5, 30, 1.5),
    **{f"stddev({n})": lambda b, n=n: talib.STDDEV(b[CLOSE], n, 1.0) for n in (2, 5, 20, 200)},
    **{f"bbands({n},{w})": partial(bands, n, w) for n, w in ((20, 2.0), (5, 1.5), (2, 3.0))},
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_volatility_agrees_with_talib_where_series_are_nasty(name: str) -> None:
    assert_agrees(ORACLES, ADVERSARIAL[name](3_000))


@pytest.mark.parametrize("name", KLINES)
def test_volatility_agrees_with_talib_on_real_klines(name: str) -> None:
    assert_agrees(ORACLES, klines(name, 3_000))


def one(spec: str, bars: Floats) -> Floats:
    values: Floats = compute([Spec.parse(spec)], bars)
    return values


def test_a_flat_window_has_no_deviation_and_bands_that_coincide() -> None:
    price = np.full(60, 0.1)  # twenty times 0.1 is not 2 in binary
    bars = from_ohlcv(price, price, price, price, price)
    assert np.all(one("stddev(20)", bars)[0, 19:] == 0)
    upper, middle, lower, inside, span = one("bbands(20)", bars)[:, 19:]
    assert np.all(upper == middle)
    assert np.all(middle == lower)
    assert np.all(inside == 0.5)
    assert np.all(span == 0)
    assert np.all(one("realized_volatility(20)", bars)[0, 20:] == 0)


def test_a_deviation_keeps_its_digits_beside_a_large_price_and_after_a_spike() -> None:
    """Sums of squares carried along lose them: the mean square is 1e22 here, the variance 1/4."""
    close = 1e11 + np.arange(400) % 2
    close[100] = 1e13
    bars = from_ohlcv(close, close, close, close, close)
    assert np.all(one("stddev(20)", bars)[0, 121:] == 0.5)


def test_keltner_stands_around_the_average_close_unless_asked_for_the_typical_price() -> None:
    bars = walk(500)
    upper, middle, lower = one("keltner(20,10,2)", bars)
    assert np.allclose(middle[19:], talib.EMA(bars[CLOSE], 20)[19:], rtol=1e-12)
    range_ = talib.KC(*hlc(bars), 20, 10, 2.0)
    assert np.allclose((upper - lower)[19:], (range_[0] - range_[2])[19:], rtol=1e-9)
    assert not np.allclose(middle[19:], range_[1][19:], rtol=1e-12)


def root_mean(values: list[float]) -> float:
    return math.sqrt(fmean(values))


def close_to_close(o: list[float], h: list[float], low: list[float], c: list[float]) -> float:
    return stdev(math.log(b / a) for a, b in pairwise(c))


def parkinson(o: list[float], h: list[float], low: list[float], c: list[float]) -> float:
    return root_mean([math.log(a / b) ** 2 / (4 * math.log(2)) for a, b in zip(h, low, strict=True)])


def garman_klass(o: list[float], h: list[float], low: list[float], c: list[float]) -> float:
    parts = zip(o, h, low, c, strict=True)
    weight = 2 * math.log(2) - 1
    return root_mean([math.log(b / d) ** 2 / 2 - weight * math.log(e / a) ** 2 for a, b, d, e in parts])


def yang_zhang(o: list[float], h: list[float], low: list[float], c: list[float]) -> float:
    """The first row only lends its close."""
    n = len(o) - 1
    overnight = stdev(math.log(a / b) for a, b in zip(o[1:], c[:-1], strict=True)) ** 2
    inside = stdev(math.log(b / a) for a, b in zip(o[1:], c[1:], strict=True)) ** 2
    bars = list(zip(o[1:], h[1:], low[1:], c[1:], strict=True))
    drift_free = fmean(
        math.log(b / e) * math.log(b / a) + math.log(d / e) * math.log(d / a) for a, b, d, e in bars
    )
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    return math.sqrt(overnight + k * inside + (1 - k) * drift_free)


FORMULAS: dict[str, tuple[Callable[..., float], int]] = {
    "realized_volatility": (close_to_close, 1),
    "parkinson": (parkinson, 0),
    "garman_klass": (garman_klass, 0),
    "yang_zhang": (yang_zhang, 1),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("series", ADVERSARIAL)
@pytest.mark.parametrize("count", [2, 20])
def test_realized_volatility_is_its_formula(name: str, series: str, count: int) -> None:
    formula, more = FORMULAS[name]
    bars = ADVERSARIAL[series](400)
    ours = one(f"{name}({count})", bars)[0]
    first = count - 1 + more
    assert np.all(np.isnan(ours[:first]))
    for row in range(first, 400, 7):
        window = bars[OPEN : CLOSE + 1, row - first : row + 1].tolist()
        assert ours[row] == pytest.approx(formula(*window), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_year_of_bars_moves_by_the_root_of_their_number(name: str) -> None:
    bars = walk(200)
    plain, yearly = one(f"{name}(20)", bars), one(f"{name}(20,bars_per_year=525600)", bars)
    assert np.allclose(yearly, plain * math.sqrt(525_600), rtol=1e-12, equal_nan=True)


def test_all_estimators_find_the_volatility_of_a_random_walk() -> None:
    """A driftless walk of 0.001 a step, 400 steps a bar: close to close has 0.02 a bar, gaps none."""
    rng = np.random.default_rng(11)
    path = np.exp(np.cumsum(rng.normal(0, 0.001, (4_000, 400)).ravel())).reshape(4_000, 400)
    close = path[:, -1]
    open_ = np.concatenate([[1.0], close[:-1]])
    high, low = np.maximum(path.max(axis=1), open_), np.minimum(path.min(axis=1), open_)
    bars = from_ohlcv(open_, high, low, close, close)
    for name in FORMULAS:
        # Steps are discrete: highs and lows miss what lies between them, some 6 % at 400 steps.
        assert one(f"{name}(2000)", bars)[0, -1] == pytest.approx(0.02, rel=0.08), name
