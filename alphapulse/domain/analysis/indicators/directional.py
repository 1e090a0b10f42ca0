"""Wilder's directional movement: +DI, -DI, and how directed the market is."""

from alphapulse.domain.analysis.compiled import View, blend, piece
from alphapulse.domain.analysis.fields import HIGH, LOW, TRUE_RANGE, Field, Floats
from alphapulse.domain.analysis.registry import Output, Params, indicator, period, smoothing_forgets

_INPUTS = (Field.HIGH, Field.LOW, Field.TRUE_RANGE)


def _forgets(params: Params) -> int:
    once = int(params[0]) + smoothing_forgets(1 / params[0])
    return once + once // 2 + int(params[0])


@piece
def _decayed(total: float, x: float, alpha: float, count: int, nth: int, warm: bool) -> float:
    """``total`` after ``x``, the ``nth`` from 0: decays by ``alpha`` a bar from the ``count``-th on."""
    if warm or nth >= count - 1:
        return total - total * alpha + x
    return total + x if nth >= 0 else total


@piece
def _directions(view: View, row: int, count: int, carry: Floats, plus: Floats, minus: Floats) -> None:
    """+DI and -DI of ``row``; ``carry`` holds the decayed sums of both movements and of the true range."""
    alpha = 1.0 / count
    seen, warm = view.seen[view.lo : view.hi], view.warm
    high = view.bars[HIGH, row & view.mask, view.lo : view.hi]
    low = view.bars[LOW, row & view.mask, view.lo : view.hi]
    top = view.bars[HIGH, (row - 1) & view.mask, view.lo : view.hi]
    bottom = view.bars[LOW, (row - 1) & view.mask, view.lo : view.hi]
    span = view.bars[TRUE_RANGE, row & view.mask, view.lo : view.hi]
    ups, downs = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    spans = carry[2, view.lo : view.hi]
    for i in range(plus.shape[0]):
        nth = seen[i] + (row - view.first) - 1
        up, down = high[i] - top[i], bottom[i] - low[i]
        ups[i] = _decayed(ups[i], up if up > 0 and up > down else 0.0, alpha, count, nth, warm)
        downs[i] = _decayed(downs[i], down if down > 0 and down > up else 0.0, alpha, count, nth, warm)
        spans[i] = _decayed(spans[i], span[i], alpha, count, nth, warm)
    for i in range(plus.shape[0]):
        plus[i] = 100.0 * (ups[i] / spans[i]) if spans[i] > 0 else 0.0
        minus[i] = 100.0 * (downs[i] / spans[i]) if spans[i] > 0 else 0.0


@indicator(
    name="adx",
    title="Average directional movement index",
    kind="trend",
    inputs=_INPUTS,
    parameters=(period(14),),
    outputs=(
        Output("adx", "percent", low=0, high=100),
        Output("plus_di", "percent", low=0, high=100),
        Output("minus_di", "percent", low=0, high=100),
    ),
    lookback=lambda p: (2 * int(p[0]) - 1, int(p[0]), int(p[0])),
    window=lambda _: 1,
    forgets=_forgets,
    carries=lambda _: 4,
    source="J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
)
def adx(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    alpha = 1.0 / count
    seen, warm, mean = view.seen[view.lo : view.hi], view.warm, carry[3, view.lo : view.hi]
    for row in range(view.first, view.last):
        at = row - view.first
        into = out[0, at, view.lo : view.hi]
        plus, minus = out[1, at, view.lo : view.hi], out[2, at, view.lo : view.hi]
        _directions(view, row, count, carry, plus, minus)
        for i in range(into.shape[0]):
            both = plus[i] + minus[i]
            directed = 100.0 * (abs(plus[i] - minus[i]) / both) if both > 0 else 0.0
            nth = seen[i] + at - count
            # A bar without any movement says nothing: the mean stays, once there is one.
            held = both <= 0 and (warm or nth >= count)
            mean[i] = mean[i] if held else blend(mean[i], directed, alpha, count, nth, warm)
            into[i] = mean[i]


@indicator(
    name="dx",
    title="Directional movement index",
    kind="trend",
    inputs=_INPUTS,
    parameters=(period(14),),
    outputs=(Output("dx", "percent", low=0, high=100),),
    lookback=lambda p: int(p[0]),
    window=lambda _: 1,
    forgets=_forgets,
    carries=lambda _: 5,  # the last two: room for the minus direction, and the last value
    source="J. W. Wilder, New Concepts in Technical Trading Systems (1978); holds where nothing moves",
)
def dx(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    minus, last = carry[3, view.lo : view.hi], carry[4, view.lo : view.hi]
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        _directions(view, row, int(params[0]), carry, into, minus)
        for i in range(into.shape[0]):
            both = into[i] + minus[i]
            last[i] = 100.0 * (abs(into[i] - minus[i]) / both) if both > 0 else last[i]
            into[i] = last[i]
