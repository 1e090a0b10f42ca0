"""Where the close stands within the range of the last bars: Lane's stochastic and Williams's %R."""

from alphapulse.domain.analysis.compiled import View, copy, piece, window_max, window_min
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.indicators.averages import window_mean
from alphapulse.domain.analysis.registry import Output, indicator, period

_RANGE = (Field.HIGH, Field.LOW, Field.CLOSE)


@piece
def place(close: Floats, highest: Floats, lowest: Floats, into: Floats) -> None:
    """100 * (close - lowest) / (highest - lowest); 0 where there is no range, as in TA-Lib.

    What is below 1e-14 of its ends is no range either: it is rounding, where the place is in a range of
    computed values (an index that comes ever closer to 100, say).
    """
    for i in range(into.shape[0]):
        span = highest[i] - lowest[i]
        real = span > 1e-14 * (highest[i] + lowest[i])
        into[i] = 100.0 * ((close[i] - lowest[i]) / span) if real else 0.0


@indicator(
    name="stochf",
    title="Fast stochastic",
    kind="momentum",
    inputs=_RANGE,
    parameters=(period(14), period(3, name="d", low=1)),
    outputs=(Output("k", "percent", low=0, high=100), Output("d", "percent", low=0, high=100)),
    lookback=lambda p: int(p[0]) - 1 + int(p[1]) - 1,
    window=lambda p: max(int(p[0]), int(p[1])) - 1,
    lines=lambda _: 1,
    source="G. Lane; d is the mean of the last k",
)
def stochf(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, d = int(params[0]), int(params[1])
    for row in range(view.first, view.last):
        highest = out[0, row - view.first, view.lo : view.hi]
        lowest = out[1, row - view.first, view.lo : view.hi]
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        fast = lines[0, row & view.mask, view.lo : view.hi]
        window_max(view.bars[HIGH], row, count, view.lo, view.hi, highest)
        window_min(view.bars[LOW], row, count, view.lo, view.hi, lowest)
        place(close, highest, lowest, fast)
        copy(fast, highest)
        window_mean(lines[0], row, d, view.lo, view.hi, lowest)


@indicator(
    name="stoch",
    title="Slow stochastic",
    kind="momentum",
    inputs=_RANGE,
    parameters=(period(14), period(3, name="k", low=1), period(3, name="d", low=1)),
    outputs=(Output("k", "percent", low=0, high=100), Output("d", "percent", low=0, high=100)),
    lookback=lambda p: int(p[0]) - 1 + int(p[1]) - 1 + int(p[2]) - 1,
    window=lambda p: max(int(p[0]), int(p[1]), int(p[2])) - 1,
    lines=lambda _: 2,
    source="G. Lane; k is the mean of the last places in the range, d the mean of the last k",
)
def stoch(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, k, d = int(params[0]), int(params[1]), int(params[2])
    for row in range(view.first, view.last):
        highest = out[0, row - view.first, view.lo : view.hi]
        lowest = out[1, row - view.first, view.lo : view.hi]
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        fast = lines[0, row & view.mask, view.lo : view.hi]
        slow = lines[1, row & view.mask, view.lo : view.hi]
        window_max(view.bars[HIGH], row, count, view.lo, view.hi, highest)
        window_min(view.bars[LOW], row, count, view.lo, view.hi, lowest)
        place(close, highest, lowest, fast)
        window_mean(lines[0], row, k, view.lo, view.hi, slow)
        copy(slow, highest)
        window_mean(lines[1], row, d, view.lo, view.hi, lowest)


@indicator(
    name="willr",
    title="Williams %R",
    kind="momentum",
    inputs=_RANGE,
    parameters=(period(14),),
    outputs=(Output("willr", "percent", low=-100, high=0),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    carries=lambda _: 1,  # room for the lowest
    source="L. Williams: -100 * (highest - close) / (highest - lowest); 0 where there is no range",
)
def willr(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    lowest = carry[0, view.lo : view.hi]
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        window_max(view.bars[HIGH], row, count, view.lo, view.hi, into)
        window_min(view.bars[LOW], row, count, view.lo, view.hi, lowest)
        for i in range(into.shape[0]):
            span = into[i] - lowest[i]
            into[i] = -100.0 * ((into[i] - close[i]) / span) if span > 0 else 0.0
