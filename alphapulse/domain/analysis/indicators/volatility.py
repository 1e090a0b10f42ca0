"""How far prices move: true range, deviation, and the bands that are built on them.

Deviations are taken in two passes over the window, from its oldest row: sums of squares carried along
would drift, and a flat window has a deviation of exactly 0.
"""

from typing import Any

from alphapulse.domain.analysis.compiled import (
    View,
    exponential,
    inner_piece,
    over_slots,
    piece,
    summed,
    window_max,
    window_min,
)
from alphapulse.domain.analysis.fields import (
    CLOSE,
    HIGH,
    LOW,
    TRUE_RANGE,
    TYPICAL,
    Field,
    Floats,
)
from alphapulse.domain.analysis.lanes import LANES, ONE, many, put, root, take, where_above
from alphapulse.domain.analysis.registry import (
    Output,
    Parameter,
    indicator,
    period,
    smoothing_forgets,
)

RANGE = (Field.HIGH, Field.LOW, Field.CLOSE)
WIDTH = Parameter("width", 2, 0, 100, whole=False, doc="how many of them the bands lie away")


def wilder_forgets(count: float) -> int:
    """Bars until an average true range of ``count`` has forgotten its start."""
    return int(count) + 1 + smoothing_forgets(1 / count)


@inner_piece
def mean_above(ring: Floats, row: int, count: int, slot: int, base: Any, kind: Any) -> Any:
    """How far the mean of the last ``count`` rows lies above ``base``."""
    mask, total = ring.shape[0] - 1, kind
    for back in range(count - 1, -1, -1):
        total = total + (take(ring, (row - back) & mask, slot, kind) - base)
    return total / float(count)


@inner_piece
def deviation_from(ring: Floats, row: int, count: int, slot: int, base: Any, mean: Any, kind: Any) -> Any:
    """Root of the mean squared distance of the last ``count`` rows from ``base + mean``."""
    mask, total = ring.shape[0] - 1, kind
    for back in range(count - 1, -1, -1):
        away = take(ring, (row - back) & mask, slot, kind) - base - mean
        total = total + away * away
    return root(total / float(count))


@inner_piece
def deviated(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """Population standard deviation of the last ``count`` rows."""
    base = take(ring, (row - count + 1) & (ring.shape[0] - 1), slot, kind)
    mean = mean_above(ring, row, count, slot, base, kind)
    return deviation_from(ring, row, count, slot, base, mean, kind)


deviation = over_slots(deviated)


@indicator(
    name="true_range",
    title="True range",
    kind="volatility",
    inputs=RANGE,
    outputs=(Output("true_range", "price", prices=1, low=0),),
    lookback=lambda _: 1,
    window=lambda _: 1,
    source="Wilder (1978): the larger of high and last close, less the smaller of low and last close",
)
def true_range(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        span = view.bars[TRUE_RANGE, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            into[i] = span[i]


@piece
def wilder_range(view: View, row: int, count: int, skip: int, mean: Floats, into: Floats) -> None:
    """The average true range; its first value comes ``count + skip`` bars after a slot's first bar."""
    span = view.bars[TRUE_RANGE, row & view.mask, view.lo : view.hi]
    exponential(span, 1.0 / count, count, skip + 1, view, row, mean, into)


@indicator(
    name="atr",
    title="Average true range",
    kind="volatility",
    inputs=RANGE,
    parameters=(period(14, low=1),),
    outputs=(Output("atr", "price", prices=1, low=0),),
    lookback=lambda p: int(p[0]),
    window=lambda _: 1,
    forgets=lambda p: wilder_forgets(p[0]),
    carries=lambda _: 1,
    source="Wilder (1978): alpha = 1 / period, seeded with the mean of the first period true ranges",
)
def atr(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        wilder_range(view, row, count, 0, carry[0, view.lo : view.hi], into)


@indicator(
    name="natr",
    title="Average true range as a share of the close",
    kind="volatility",
    inputs=RANGE,
    parameters=(period(14, low=1),),
    outputs=(Output("natr", "percent", low=0),),
    lookback=lambda p: int(p[0]),
    window=lambda _: 1,
    forgets=lambda p: wilder_forgets(p[0]),
    carries=lambda _: 1,
    source="100 * average true range / close (Forman, Stocks & Commodities, May 2006)",
)
def natr(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        wilder_range(view, row, count, 0, carry[0, view.lo : view.hi], into)
        for i in range(into.shape[0]):
            into[i] = 100.0 * into[i] / close[i]


@indicator(
    name="stddev",
    title="Standard deviation of the close",
    kind="volatility",
    parameters=(period(20),),
    outputs=(Output("stddev", "price", prices=1, low=0),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="of the population: the squares are divided by period, as TA-Lib does",
)
def stddev(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        deviation(view.bars[CLOSE], row, count, view.lo, view.hi, into)


@indicator(
    name="bbands",
    title="Bollinger bands",
    kind="volatility",
    parameters=(period(20), WIDTH),
    outputs=(
        Output("upper", "price", prices=1),
        Output("middle", "price", prices=1),
        Output("lower", "price", prices=1),
        Output("percent_b", "ratio"),
        Output("bandwidth", "ratio", low=0),
    ),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="Bollinger (2001): mean of the closes, and width population deviations either side; percent_b is "
    "where the close lies between the bands (0 lower, 1 upper; 0.5 where they coincide), bandwidth "
    "their distance over the middle",
)
def bbands(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, width, lo, slots = int(params[0]), params[1], view.lo, view.hi - view.lo
    for row in range(view.first, view.last):
        if slots < LANES:
            for slot in range(lo, view.hi):
                _bands(view, row, count, width, slot, ONE, out)
        else:
            for begin in range(0, slots, LANES):
                _bands(view, row, count, width, lo + min(begin, slots - LANES), many(), out)


@inner_piece
def _bands(view: View, row: int, count: int, width: float, slot: int, kind: Any, out: Floats) -> None:
    ring, at = view.bars[CLOSE], row - view.first
    oldest = take(ring, (row - count + 1) & view.mask, slot, kind)
    middle = summed(ring, row, count, slot, kind) / float(count)
    above = mean_above(ring, row, count, slot, oldest, kind)
    deviation = deviation_from(ring, row, count, slot, oldest, above, kind)
    # Not from the bands: where they lie close together their difference has few digits.
    away = take(ring, row & view.mask, slot, kind) - oldest - above
    distance = 2.0 * width * deviation
    put(middle + width * deviation, out[0, at], slot)
    put(middle, out[1, at], slot)
    put(middle - width * deviation, out[2, at], slot)
    put(0.5 + where_above(distance, 0.0, away / distance, kind), out[3, at], slot)
    put(distance / middle, out[4, at], slot)


def keltner_lookback(p: list[float]) -> int:
    return max(int(p[0]) - 1, int(p[1]))


@indicator(
    name="keltner",
    title="Keltner channels",
    kind="volatility",
    inputs=RANGE,
    parameters=(
        period(20),
        period(10, name="atr_period", low=1),
        WIDTH,
        Parameter("typical", 0, 0, 1, doc="1: around the typical price, as TA-Lib does; 0: the close"),
    ),
    outputs=(
        Output("upper", "price", prices=1),
        Output("middle", "price", prices=1),
        Output("lower", "price", prices=1),
    ),
    lookback=lambda p: keltner_lookback(list(p)),
    window=lambda _: 1,
    forgets=lambda p: max(int(p[0]) + smoothing_forgets(2 / (p[0] + 1)), wilder_forgets(p[1])),
    carries=lambda _: 2,
    source="Raschke's form: exponential average of the close, and width average true ranges either side; "
    "both averages give their first value at the same bar",
)
def keltner(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, atr_count, width, lo, hi = int(params[0]), int(params[1]), params[2], view.lo, view.hi
    price = TYPICAL if params[3] == 1.0 else CLOSE
    late = max(count - 1, atr_count)
    for row in range(view.first, view.last):
        at = row - view.first
        upper, middle, lower = out[0, at, lo:hi], out[1, at, lo:hi], out[2, at, lo:hi]
        x = view.bars[price, row & view.mask, lo:hi]
        skip = late - (count - 1)
        exponential(x, 2.0 / (count + 1), count, skip, view, row, carry[0, lo:hi], middle)
        wilder_range(view, row, atr_count, late - atr_count, carry[1, lo:hi], lower)
        for i in range(x.shape[0]):
            away = width * lower[i]
            upper[i] = middle[i] + away
            lower[i] = middle[i] - away


@indicator(
    name="donchian",
    title="Donchian channel",
    kind="volatility",
    inputs=(Field.HIGH, Field.LOW),
    parameters=(period(20, low=1),),
    outputs=(
        Output("upper", "price", prices=1),
        Output("middle", "price", prices=1),
        Output("lower", "price", prices=1),
    ),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="highest high and lowest low of the last period bars, this one included, and their mean",
)
def donchian(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        at = row - view.first
        upper, middle, lower = out[0, at, lo:hi], out[1, at, lo:hi], out[2, at, lo:hi]
        window_max(view.bars[HIGH], row, count, lo, hi, upper)
        window_min(view.bars[LOW], row, count, lo, hi, lower)
        for i in range(upper.shape[0]):
            middle[i] = (upper[i] + lower[i]) / 2.0
