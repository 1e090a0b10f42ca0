"""Moving averages against TA-Lib."""

import pytest
import talib

from alphapulse.domain.analysis.fields import CLOSE
from tests.domain.analysis.klines import KLINES, klines
from tests.domain.analysis.series import ADVERSARIAL
from tests.domain.analysis.talib_oracle import Call, Oracle, assert_agrees

ORACLES: dict[str, Oracle | Call] = {
    **{f"sma({n})": lambda b, n=n: talib.SMA(b[CLOSE], n) for n in (2, 20, 200)},
    **{f"ema({n})": lambda b, n=n: talib.EMA(b[CLOSE], n) for n in (2, 20, 200)},
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_averages_agree_with_talib_where_series_are_nasty(name: str) -> None:
    assert_agrees(ORACLES, ADVERSARIAL[name](3_000))


@pytest.mark.parametrize("name", KLINES)
def test_averages_agree_with_talib_on_real_klines(name: str) -> None:
    assert_agrees(ORACLES, klines(name, 3_000))
