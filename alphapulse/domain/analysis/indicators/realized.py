"""Realised volatility of returns in logarithms: four estimators, from closes alone to whole bars.

All are per bar. ``bars_per_year`` annualises: the result is multiplied by its square root, so 525600 makes a
yearly figure of 1m bars, 365 one of daily bars of a market that never closes; 1 leaves it per bar.
"""

import math

from alphapulse.domain.analysis.compiled import View, piece, window_sum
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, Field, Floats
from alphapulse.domain.analysis.indicators.volatility import deviation
from alphapulse.domain.analysis.logarithm import log
from alphapulse.domain.analysis.registry import Output, Parameter, indicator, period

BARS_PER_YEAR = Parameter("bars_per_year", 1, 1, 525_600, whole=False, doc="1: per bar")
OUTPUT = (Output("volatility", "log_return", low=0),)
WHOLE_BAR = (Field.OPEN, Field.HIGH, Field.LOW, Field.CLOSE)
LN_2 = 0.6931471805599453


@piece
def log_ratio(over: Floats, under: Floats, into: Floats) -> None:
    """``into[i]`` = ln(over[i] / under[i])."""
    for i in range(into.shape[0]):
        into[i] = log(over[i] / under[i])


@indicator(
    name="realized_volatility",
    title="Realised volatility, close to close",
    kind="volatility",
    parameters=(period(20), BARS_PER_YEAR),
    outputs=OUTPUT,
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    lines=lambda _: 1,
    source="sample standard deviation (the squares divided by period - 1) of the last period log returns",
)
def realized_volatility(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    scale = math.sqrt(params[1] * count / (count - 1))
    for row in range(view.first, view.last):
        into = out[0, row - view.first, lo:hi]
        close, last = view.bars[CLOSE, row & view.mask, lo:hi], view.bars[CLOSE, (row - 1) & view.mask, lo:hi]
        log_ratio(close, last, lines[0, row & view.mask, lo:hi])
        deviation(lines[0], row, count, lo, hi, into)
        for i in range(into.shape[0]):
            into[i] *= scale


@indicator(
    name="parkinson",
    title="Parkinson volatility",
    kind="volatility",
    inputs=(Field.HIGH, Field.LOW),
    parameters=(period(20), BARS_PER_YEAR),
    outputs=OUTPUT,
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    lines=lambda _: 1,
    source="Parkinson (1980): root of the mean of ln(high / low)**2 / (4 ln 2)",
)
def parkinson(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    scale = params[1] / (count * 4.0 * LN_2)
    for row in range(view.first, view.last):
        into, squares = out[0, row - view.first, lo:hi], lines[0, row & view.mask, lo:hi]
        high, low = view.bars[HIGH, row & view.mask, lo:hi], view.bars[LOW, row & view.mask, lo:hi]
        log_ratio(high, low, squares)
        for i in range(squares.shape[0]):
            squares[i] *= squares[i]
        window_sum(lines[0], row, count, lo, hi, into)
        for i in range(into.shape[0]):
            into[i] = math.sqrt(into[i] * scale)


@indicator(
    name="garman_klass",
    title="Garman-Klass volatility",
    kind="volatility",
    inputs=WHOLE_BAR,
    parameters=(period(20), BARS_PER_YEAR),
    outputs=OUTPUT,
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    lines=lambda _: 1,
    source="Garman and Klass (1980): root of the mean of "
    "ln(high / low)**2 / 2 - (2 ln 2 - 1) ln(close / open)**2",
)
def garman_klass(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    scale = params[1] / count
    for row in range(view.first, view.last):
        into, part = out[0, row - view.first, lo:hi], lines[0, row & view.mask, lo:hi]
        opened, close = view.bars[OPEN, row & view.mask, lo:hi], view.bars[CLOSE, row & view.mask, lo:hi]
        high, low = view.bars[HIGH, row & view.mask, lo:hi], view.bars[LOW, row & view.mask, lo:hi]
        log_ratio(high, low, part)
        log_ratio(close, opened, into)
        for i in range(part.shape[0]):
            part[i] = 0.5 * part[i] * part[i] - (2.0 * LN_2 - 1.0) * into[i] * into[i]
        window_sum(lines[0], row, count, lo, hi, into)
        for i in range(into.shape[0]):
            into[i] = math.sqrt(into[i] * scale)


@indicator(
    name="yang_zhang",
    title="Yang-Zhang volatility",
    kind="volatility",
    inputs=WHOLE_BAR,
    parameters=(period(20), BARS_PER_YEAR),
    outputs=OUTPUT,
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    lines=lambda _: 3,
    carries=lambda _: 1,
    source="Yang and Zhang (2000): sample variance of ln(open / last close), plus k times that of ln(close / "
    "open), plus 1 - k times Rogers and Satchell's mean; k = 0.34 / (1.34 + (period + 1) / (period - 1))",
)
def yang_zhang(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    k = 0.34 / (1.34 + (count + 1.0) / (count - 1.0))
    sample = params[1] * count / (count - 1.0)
    variance = carry[0, lo:hi]
    for row in range(view.first, view.last):
        into = out[0, row - view.first, lo:hi]
        opened, close = view.bars[OPEN, row & view.mask, lo:hi], view.bars[CLOSE, row & view.mask, lo:hi]
        rogers_satchell(view, row, lines[2, row & view.mask, lo:hi])
        log_ratio(opened, view.bars[CLOSE, (row - 1) & view.mask, lo:hi], lines[0, row & view.mask, lo:hi])
        log_ratio(close, opened, lines[1, row & view.mask, lo:hi])
        window_sum(lines[2], row, count, lo, hi, variance)
        for i in range(variance.shape[0]):
            variance[i] *= (1.0 - k) * params[1] / count
        deviation(lines[1], row, count, lo, hi, into)
        for i in range(variance.shape[0]):
            variance[i] += k * sample * into[i] * into[i]
        deviation(lines[0], row, count, lo, hi, into)
        for i in range(variance.shape[0]):
            into[i] = math.sqrt(variance[i] + sample * into[i] * into[i])


@piece
def rogers_satchell(view: View, row: int, into: Floats) -> None:
    """ln(high / close) ln(high / open) + ln(low / close) ln(low / open): 0 or more."""
    lo, hi, at = view.lo, view.hi, row & view.mask
    o, c = view.bars[OPEN, at, lo:hi], view.bars[CLOSE, at, lo:hi]
    h, low = view.bars[HIGH, at, lo:hi], view.bars[LOW, at, lo:hi]
    for i in range(into.shape[0]):
        into[i] = log(h[i] / c[i]) * log(h[i] / o[i])
    for i in range(into.shape[0]):
        into[i] += log(low[i] / c[i]) * log(low[i] / o[i])
