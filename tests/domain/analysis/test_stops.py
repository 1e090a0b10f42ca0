"""Parabolic stop, SuperTrend and Ichimoku: against TA-Lib where it has them, and against their rules."""

import numpy as np
import pytest
import talib
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.klines import KLINES, klines
from tests.domain.analysis.series import ADVERSARIAL, walk
from tests.domain.analysis.talib_oracle import Call, Oracle, assert_agrees


def one(spec: str, bars: Floats) -> Floats:
    values: Floats = compute([Spec.parse(spec)], bars)
    return values


def psar(bars: Floats, acceleration: float, maximum: float) -> tuple[Floats, Floats]:
    """TA-Lib's line, and its side: a stop at a bar's high or above it is that of a short trade."""
    line = talib.SAR(bars[HIGH], bars[LOW], acceleration, maximum)
    return line, np.where(np.isnan(line), np.nan, np.where(line >= bars[HIGH], -1.0, 1.0))


def supertrend(bars: Floats, count: int, multiplier: float) -> tuple[Floats, Floats]:
    line, trend = talib.SUPERTREND(bars[HIGH], bars[LOW], bars[CLOSE], count, multiplier)
    return line, np.where(np.isnan(line), np.nan, trend)


def meets_a_still_bar(bars: Floats, ours: Floats) -> NDArray[np.bool_]:
    """The line alone cannot tell the side where it meets a bar without a range."""
    return np.asarray((ours[0] == bars[HIGH]) & (ours[0] == bars[LOW]))


STOPS = ((0.02, 0.2), (0.1, 0.1), (0.3, 0.2))
ORACLES: dict[str, Oracle | Call] = {
    **{
        f"psar({a},{m})": Oracle(lambda b, a=a, m=m: psar(b, a, m), unlike=meets_a_still_bar)
        for a, m in STOPS
    },
    "supertrend": lambda b: supertrend(b, 10, 3.0),
    "supertrend(3,0.5)": lambda b: supertrend(b, 3, 0.5),
    "supertrend(20,0)": lambda b: supertrend(b, 20, 0.0),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_stops_agree_with_talib_where_series_are_nasty(name: str) -> None:
    assert_agrees(ORACLES, ADVERSARIAL[name](3_000))


@pytest.mark.parametrize("name", KLINES)
def test_stops_agree_with_talib_on_real_klines(name: str) -> None:
    assert_agrees(ORACLES, klines(name, 3_000))


def test_a_long_stop_lies_below_the_bar_and_a_short_one_above() -> None:
    bars = walk(2_000)
    line, side = one("psar", bars)[:, 1:]
    assert set(side.tolist()) == {-1.0, 1.0}
    assert np.all(np.where(side > 0, line <= bars[LOW, 1:], line >= bars[HIGH, 1:]))


def test_a_market_upside_down_has_its_stops_upside_down() -> None:
    bars = walk(500)
    mirrored = bars.copy()
    mirrored[1:5] = -bars[1:5]
    mirrored[[HIGH, LOW]] = mirrored[[LOW, HIGH]]
    line, side = one("psar", bars)
    other, turned = one("psar", mirrored)
    assert np.array_equal(other, -line, equal_nan=True)
    assert np.array_equal(turned, -side, equal_nan=True)


def middle(bars: Floats, row: int, count: int) -> float:
    window = slice(row - count + 1, row + 1)
    return float(bars[HIGH, window].max() + bars[LOW, window].min()) / 2


@pytest.mark.parametrize("series", ADVERSARIAL)
def test_ichimoku_is_the_middle_of_its_windows(series: str) -> None:
    bars = ADVERSARIAL[series](300)
    conversion, base, lead_a, lead_b, span_a, span_b, lagging = one("ichimoku", bars)
    for row in range(77, 300):
        assert conversion[row] == middle(bars, row, 9)
        assert base[row] == middle(bars, row, 26)
        assert lead_a[row] == (middle(bars, row, 9) + middle(bars, row, 26)) / 2
        assert lead_b[row] == middle(bars, row, 52)
        assert (span_a[row], span_b[row]) == (lead_a[row - 26], lead_b[row - 26])
        assert lagging[row] == bars[CLOSE, row] - bars[CLOSE, row - 26]


def test_each_line_of_ichimoku_begins_when_its_own_window_is_full() -> None:
    found = one("ichimoku(9,26,52,30)", walk(120))
    assert [int(np.argmax(~np.isnan(line))) for line in found] == [8, 25, 25, 51, 55, 81, 30]
