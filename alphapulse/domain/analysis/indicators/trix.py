"""Rate of change of a triple exponential average."""

from alphapulse.domain.analysis.compiled import View, blend
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.indicators.averages import chain_forgets
from alphapulse.domain.analysis.registry import Output, indicator, period


@indicator(
    name="trix",
    title="Rate of change of a triple exponential average",
    kind="momentum",
    parameters=(period(30),),
    outputs=(Output("trix", "percent"),),
    lookback=lambda p: 3 * (int(p[0]) - 1) + 1,
    forgets=lambda p: chain_forgets(p, 3),
    carries=lambda _: 3,
    source="J. Hutson, Technical Analysis of Stocks & Commodities (1983)",
)
def trix(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    alpha = 2.0 / (count + 1)
    first = carry[0, view.lo : view.hi]
    second = carry[1, view.lo : view.hi]
    third = carry[2, view.lo : view.hi]
    seen, warm = view.seen[view.lo : view.hi], view.warm
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            nth = seen[i] + (row - view.first)
            e1 = blend(first[i], close[i], alpha, count, nth, warm)
            e2 = blend(second[i], e1, alpha, count, nth - (count - 1), warm)
            e3 = blend(third[i], e2, alpha, count, nth - 2 * (count - 1), warm)
            into[i] = (e3 / third[i] - 1.0) * 100.0
            first[i], second[i], third[i] = e1, e2, e3
