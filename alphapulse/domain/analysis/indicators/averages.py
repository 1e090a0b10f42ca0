"""Moving averages of the close."""

from alphapulse.domain.analysis.compiled import View, exponential, window_sum
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.registry import Output, indicator, period, smoothing_forgets


@indicator(
    name="sma",
    title="Simple moving average",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("sma", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="mean of the last closes",
)
def sma(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        window_sum(view.bars[CLOSE], row, count, view.lo, view.hi, into)
        for i in range(into.shape[0]):
            into[i] /= count


@indicator(
    name="ema",
    title="Exponential moving average",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("ema", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    forgets=lambda p: int(p[0]) + smoothing_forgets(2 / (p[0] + 1)),
    carries=lambda _: 1,
    source="alpha = 2 / (period + 1), seeded with the mean of the first period closes, as TA-Lib does",
)
def ema(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        exponential(close, 2.0 / (count + 1), count, 0, view, row, carry[0, view.lo : view.hi], into)
