"""Moving average convergence and divergence."""

from alphapulse.domain.analysis.compiled import View, blend
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.registry import (
    MAX_PERIOD,
    Output,
    Parameter,
    Params,
    indicator,
    period,
    smoothing_forgets,
)


def _forgets(params: Params) -> int:
    slow, signal = (n + smoothing_forgets(2 / (n + 1)) for n in params[1:])
    return int(slow + signal)


@indicator(
    name="macd",
    title="Moving average convergence divergence",
    kind="momentum",
    parameters=(
        Parameter("fast", 12, 2, MAX_PERIOD - 1),
        period(26, name="slow", low=3),
        period(9, name="signal", low=1),
    ),
    outputs=(
        Output("macd", "price", prices=1),
        Output("signal", "price", prices=1),
        Output("histogram", "price", prices=1),
    ),
    lookback=lambda p: int(p[1]) - 1 + int(p[2]) - 1,
    forgets=_forgets,
    carries=lambda _: 3,
    relation=lambda p: None if p[0] < p[1] else f"fast {p[0]:g} needs to be below slow {p[1]:g}",
    source="G. Appel; the fast average is seeded where the slow one is, and no line comes before the signal",
)
def macd(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    fast, slow, signal = int(params[0]), int(params[1]), int(params[2])
    alphas = (2.0 / (fast + 1), 2.0 / (slow + 1), 2.0 / (signal + 1))
    quick = carry[0, view.lo : view.hi]
    calm = carry[1, view.lo : view.hi]
    smooth = carry[2, view.lo : view.hi]
    seen, warm = view.seen[view.lo : view.hi], view.warm
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        line = out[0, row - view.first, view.lo : view.hi]
        trigger = out[1, row - view.first, view.lo : view.hi]
        histogram = out[2, row - view.first, view.lo : view.hi]
        for i in range(close.shape[0]):
            nth = seen[i] + (row - view.first)
            quick[i] = blend(quick[i], close[i], alphas[0], fast, nth - (slow - fast), warm)
            calm[i] = blend(calm[i], close[i], alphas[1], slow, nth, warm)
            line[i] = quick[i] - calm[i]
        for i in range(close.shape[0]):
            nth = seen[i] + (row - view.first) - (slow - 1)
            smooth[i] = blend(smooth[i], line[i], alphas[2], signal, nth, warm)
            trigger[i] = smooth[i]
            histogram[i] = line[i] - smooth[i]
