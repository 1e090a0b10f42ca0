"""SuperTrend: a band of average true ranges that follows the price and turns when a close crosses it."""

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.indicators.volatility import wilder_range
from alphapulse.domain.analysis.registry import Output, Parameter, indicator, period

RANGE, UPPER, LOWER, TREND = range(4)  # carried; the trend is 1 or -1


@indicator(
    name="supertrend",
    title="SuperTrend",
    kind="trend",
    inputs=(Field.HIGH, Field.LOW, Field.CLOSE),
    parameters=(period(10), Parameter("multiplier", 3, 0, 100, whole=False, doc="of the average true range")),
    outputs=(Output("supertrend", "price", prices=1), Output("trend", "flag", low=-1, high=1)),
    lookback=lambda p: int(p[0]),
    window=lambda _: 1,
    forgets=lambda _: None,  # a trend lasts as long as it lasts
    carries=lambda _: 4,
    source="Seban: middle of the bar less (while rising) or plus (while falling) multiplier average true "
    "ranges; a band only moves towards the price, until a close lies beyond it; begins rising, as TA-Lib's",
)
def supertrend(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, multiplier, lo, hi = int(params[0]), params[1], view.lo, view.hi
    upper, lower, going = carry[UPPER, lo:hi], carry[LOWER, lo:hi], carry[TREND, lo:hi]
    for row in range(view.first, view.last):
        at, before = row & view.mask, (row - 1) & view.mask
        high, low = view.bars[HIGH, at, lo:hi], view.bars[LOW, at, lo:hi]
        close, last = view.bars[CLOSE, at, lo:hi], view.bars[CLOSE, before, lo:hi]
        line, trend = out[0, row - view.first, lo:hi], out[1, row - view.first, lo:hi]
        wilder_range(view, row, count, 0, carry[RANGE, lo:hi], line)
        for i in range(line.shape[0]):
            middle, away = (high[i] + low[i]) / 2.0, multiplier * line[i]
            line[i] = middle + away
            trend[i] = middle - away
        if not view.warm:
            begin(view, row, count, carry, line, trend)
        tighten(last, upper, lower, line, trend)
        for i in range(line.shape[0]):
            # A trend of 2 has begun with this bar, and is not asked yet whether it goes on.
            holds = close[i] >= lower[i] or going[i] > 1.0
            rising = holds if going[i] > 0.0 else close[i] > upper[i]
            trend[i] = 1.0 if rising else -1.0
        for i in range(line.shape[0]):
            line[i] = lower[i] if trend[i] > 0.0 else upper[i]
            going[i] = trend[i]


@piece
def begin(view: View, row: int, count: int, carry: Floats, upper: Floats, lower: Floats) -> None:
    """The first bands stand where they are, under a trend that is taken to rise."""
    for i in range(upper.shape[0]):
        if view.seen[view.lo + i] + (row - view.first) <= count:
            carry[UPPER, view.lo + i] = upper[i]
            carry[LOWER, view.lo + i] = lower[i]
            carry[TREND, view.lo + i] = 2.0


@piece
def tighten(last: Floats, upper: Floats, lower: Floats, new_upper: Floats, new_lower: Floats) -> None:
    """Move each band towards the price, or anywhere once the last close lies beyond it."""
    for i in range(last.shape[0]):
        free = new_upper[i] < upper[i] or last[i] > upper[i]
        upper[i] = new_upper[i] if free else upper[i]
    for i in range(last.shape[0]):
        free = new_lower[i] > lower[i] or last[i] < lower[i]
        lower[i] = new_lower[i] if free else lower[i]
