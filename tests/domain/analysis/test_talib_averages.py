"""Moving averages, extremes and returns against TA-Lib."""

import numpy as np
import pytest
import talib

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, VOLUME, Floats
from tests.domain.analysis.klines import KLINES, klines
from tests.domain.analysis.series import ADVERSARIAL
from tests.domain.analysis.talib_oracle import Call, Oracle, assert_agrees


def log_return(bars: Floats, count: int) -> Floats:
    """TA-Lib's logarithm of its ratio of two closes."""
    return talib.LN(talib.ROCR(bars[CLOSE], count))


def with_period(n: int) -> dict[str, Oracle | Call]:
    return {
        f"sma({n})": lambda b: talib.SMA(b[CLOSE], n),
        f"volume_sma({n})": lambda b: talib.SMA(b[VOLUME], n),
        f"wma({n})": lambda b: talib.WMA(b[CLOSE], n),
        f"ema({n})": lambda b: talib.EMA(b[CLOSE], n),
        f"dema({n})": lambda b: talib.DEMA(b[CLOSE], n),
        f"tema({n})": lambda b: talib.TEMA(b[CLOSE], n),
        f"kama({n})": lambda b: talib.KAMA(b[CLOSE], n),
        f"price_to_sma({n})": lambda b: b[CLOSE] / talib.SMA(b[CLOSE], n) - 1,
        f"highest({n})": lambda b: talib.MAX(b[HIGH], n),
        f"lowest({n})": lambda b: talib.MIN(b[LOW], n),
        f"highest_close({n})": lambda b: talib.MAX(b[CLOSE], n),
        f"lowest_close({n})": lambda b: talib.MIN(b[CLOSE], n),
        f"mom({n})": lambda b: talib.MOM(b[CLOSE], n),
        f"roc({n})": lambda b: talib.ROC(b[CLOSE], n),
        f"return({n})": lambda b: talib.ROCP(b[CLOSE], n),
        f"log_return({n})": lambda b: log_return(b, n),
    }


ORACLES = with_period(2) | with_period(20) | with_period(111)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_averages_agree_with_talib_where_series_are_nasty(name: str) -> None:
    assert_agrees(ORACLES, ADVERSARIAL[name](3_000))


@pytest.mark.parametrize("name", KLINES)
def test_averages_agree_with_talib_on_real_klines(name: str) -> None:
    assert_agrees(ORACLES, klines(name, 3_000))


@pytest.mark.long
@pytest.mark.parametrize("name", KLINES)
def test_averages_agree_with_talib_on_whole_files(name: str) -> None:
    assert_agrees(ORACLES, klines(name))


def test_the_oracle_notices_what_differs() -> None:
    bars = ADVERSARIAL["walk"](300)
    off_by_one = {"sma(20)": lambda b: talib.SMA(b[CLOSE], 21)}
    with pytest.raises(AssertionError, match="NaN in other places: first value at 19, the oracle's at 20"):
        assert_agrees(off_by_one, bars)
    slightly_off = {"sma(20)": lambda b: talib.SMA(b[CLOSE], 20) * (1 + np.where(b[0] == b[0, 50], 2e-9, 0))}
    with pytest.raises(AssertionError, match="1 of 300 rows differ; first and worst row 50"):
        assert_agrees(slightly_off, bars)
