"""The fast stochastic of the relative strength index."""

from alphapulse.domain.analysis.compiled import View, blend, copy, piece, window_max, window_min
from alphapulse.domain.analysis.fields import CLOSE, Floats, Int64s
from alphapulse.domain.analysis.indicators.averages import window_mean
from alphapulse.domain.analysis.indicators.stochastic import place
from alphapulse.domain.analysis.registry import Output, indicator, period, smoothing_forgets


@indicator(
    name="stochrsi",
    title="Stochastic of the relative strength index",
    kind="momentum",
    parameters=(period(14), period(14, name="k"), period(3, name="d", low=1)),
    outputs=(Output("k", "percent", low=0, high=100), Output("d", "percent", low=0, high=100)),
    lookback=lambda p: int(p[0]) + int(p[1]) - 1 + int(p[2]) - 1,
    window=lambda p: max(int(p[1]), int(p[2])),
    forgets=lambda p: int(sum(p)) + smoothing_forgets(1 / p[0]),
    carries=lambda _: 2,
    lines=lambda _: 2,  # the index, and its place in its range
    source="T. Chande and S. Kroll, The New Technical Trader (1994)",
)
def stochrsi(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, k, d = int(params[0]), int(params[1]), int(params[2])
    gains, losses = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    seen = view.seen[view.lo : view.hi]
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        last = view.bars[CLOSE, (row - 1) & view.mask, view.lo : view.hi]
        index = lines[0, row & view.mask, view.lo : view.hi]
        before = lines[0, (row - 1) & view.mask, view.lo : view.hi]
        nth = row - view.first - 1
        strength(close, last, gains, losses, before, index, seen, count, nth, view.warm)
        highest = out[0, row - view.first, view.lo : view.hi]
        lowest = out[1, row - view.first, view.lo : view.hi]
        fast = lines[1, row & view.mask, view.lo : view.hi]
        window_max(lines[0], row, k, view.lo, view.hi, highest)
        window_min(lines[0], row, k, view.lo, view.hi, lowest)
        place(index, highest, lowest, fast)
        copy(fast, highest)
        window_mean(lines[1], row, d, view.lo, view.hi, lowest)


@piece
def strength(
    close: Floats,
    last: Floats,
    gains: Floats,
    losses: Floats,
    before: Floats,
    into: Floats,
    seen: Int64s,
    count: int,
    nth: int,
    warm: bool,
) -> None:
    """The relative strength index, except that it stands still where the price does.

    Both averages then shrink alike and their ratio is the same but for rounding: without this, a flat market
    would have us measure where the index stands in a range of 1e-14.
    """
    alpha = 1.0 / count
    for i in range(into.shape[0]):
        change = close[i] - last[i]
        this = seen[i] + nth
        gain = blend(gains[i], change if change > 0 else 0.0, alpha, count, this, warm)
        loss = blend(losses[i], -change if change < 0 else 0.0, alpha, count, this, warm)
        gains[i], losses[i] = gain, loss
        both = gain + loss
        index = 100.0 * (gain / both) if both > 0 else 0.0
        into[i] = before[i] if change == 0 and (warm or this >= count) else index
