"""Oscillators and directional indicators against TA-Lib."""

import numpy as np
import pytest
import talib

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Floats
from tests.domain.analysis.klines import KLINES, klines
from tests.domain.analysis.series import ADVERSARIAL
from tests.domain.analysis.talib_oracle import Call, Oracle, assert_agrees


def ranges(bars: Floats) -> tuple[Floats, Floats, Floats]:
    return bars[HIGH], bars[LOW], bars[CLOSE]


def adx(bars: Floats, count: int) -> tuple[Floats, ...]:
    return tuple(call(*ranges(bars), count) for call in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI))


def aroon(bars: Floats, count: int) -> tuple[Floats, ...]:
    down, up = talib.AROON(bars[HIGH], bars[LOW], count)
    return up, down, talib.AROONOSC(bars[HIGH], bars[LOW], count)


def cci_rounding(bars: Floats, count: int) -> Floats:
    """What the last bits of two means of prices, taken in another order, make of their quotient."""
    typical = talib.TYPPRICE(*ranges(bars))
    deviation = talib.AVGDEV(typical, count)
    return 8 * 2.0**-52 * talib.MAX(typical, count) / (0.015 * np.where(deviation > 0, deviation, 1))


def stochrsi(bars: Floats, count: int) -> tuple[Floats, ...]:
    return talib.STOCHRSI(bars[CLOSE], count, 5, 3, 0)


def stochrsi_rounding(bars: Floats, count: int) -> Floats:
    """What 1e-12 in an index of 100 is of its range, where that is small, in any of the bars of a d."""
    index = talib.RSI(bars[CLOSE], count)
    span = talib.MAX(index, 5) - talib.MIN(index, 5)
    return 100 * 1e-12 / talib.MIN(np.where(span > 1e-12, span, 100), 3)


def with_period(n: int) -> dict[str, Oracle | Call]:
    return {
        f"rsi({n})": lambda b: talib.RSI(b[CLOSE], n),
        f"trix({n})": lambda b: talib.TRIX(b[CLOSE], n),
        f"willr({n})": lambda b: talib.WILLR(*ranges(b), n),
        f"cci({n})": Oracle(lambda b: talib.CCI(*ranges(b), n), lambda b: cci_rounding(b, n)),
        f"adx({n})": lambda b: adx(b, n),
        f"dx({n})": lambda b: talib.DX(*ranges(b), n),
        f"aroon({n})": lambda b: aroon(b, n),
        f"stochf({n},3)": lambda b: talib.STOCHF(*ranges(b), n, 3, 0),
        f"stoch({n},3,4)": lambda b: talib.STOCH(*ranges(b), n, 3, 0, 4, 0),
        f"stochrsi({n},5,3)": Oracle(lambda b: stochrsi(b, n), lambda b: stochrsi_rounding(b, n)),
        f"macd({n},{n + 11},9)": lambda b: talib.MACD(b[CLOSE], n, n + 11, 9),
    }


ORACLES = with_period(2) | with_period(14) | with_period(50)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_oscillators_agree_with_talib_where_series_are_nasty(name: str) -> None:
    assert_agrees(ORACLES, ADVERSARIAL[name](3_000))


@pytest.mark.parametrize("name", KLINES)
def test_oscillators_agree_with_talib_on_real_klines(name: str) -> None:
    assert_agrees(ORACLES, klines(name, 3_000))


@pytest.mark.long
@pytest.mark.parametrize("name", KLINES)
def test_oscillators_agree_with_talib_on_whole_files(name: str) -> None:
    assert_agrees(ORACLES, klines(name))
