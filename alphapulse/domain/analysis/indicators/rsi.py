"""Wilder's relative strength index."""

from alphapulse.domain.analysis.compiled import View, blend
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.registry import Output, indicator, period, smoothing_forgets


@indicator(
    name="rsi",
    title="Relative strength index",
    kind="momentum",
    parameters=(period(14),),
    outputs=(Output("rsi", "percent", low=0, high=100),),
    lookback=lambda p: int(p[0]),
    window=lambda _: 1,
    forgets=lambda p: int(p[0]) + 1 + smoothing_forgets(1 / p[0]),
    carries=lambda _: 2,
    source="J. W. Wilder, New Concepts in Technical Trading Systems (1978); 0 as long as nothing has moved",
)
def rsi(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    alpha = 1.0 / count
    gains, losses = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    seen, warm = view.seen[view.lo : view.hi], view.warm
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        last = view.bars[CLOSE, (row - 1) & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            change = close[i] - last[i]
            nth = seen[i] + (row - view.first) - 1
            gain = blend(gains[i], change if change > 0 else 0.0, alpha, count, nth, warm)
            loss = blend(losses[i], -change if change < 0 else 0.0, alpha, count, nth, warm)
            gains[i], losses[i] = gain, loss
            both = gain + loss
            into[i] = 100.0 * (gain / both) if both > 0 else 0.0
