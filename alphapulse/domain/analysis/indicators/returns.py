"""How far the close went in so many bars: momentum, rate of change, returns."""

from alphapulse.domain.analysis.compiled import View, window_sum
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.logarithm import log
from alphapulse.domain.analysis.registry import Output, indicator, period


@indicator(
    name="mom",
    title="Momentum",
    kind="momentum",
    parameters=(period(10, low=1),),
    outputs=(Output("mom", "price", prices=1),),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    source="close less the close period bars ago",
)
def mom(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        before = view.bars[CLOSE, (row - count) & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            into[i] = close[i] - before[i]


@indicator(
    name="roc",
    title="Rate of change",
    kind="momentum",
    parameters=(period(10, low=1),),
    outputs=(Output("roc", "percent", low=-100),),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    source="100 * (close / close period bars ago - 1)",
)
def roc(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        before = view.bars[CLOSE, (row - count) & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            into[i] = (close[i] / before[i] - 1.0) * 100.0


@indicator(
    name="return",
    title="Simple return",
    kind="momentum",
    parameters=(period(1, low=1),),
    outputs=(Output("return", "ratio", low=-1),),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    source="close / close period bars ago - 1",
)
def simple_return(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        before = view.bars[CLOSE, (row - count) & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            into[i] = close[i] / before[i] - 1.0


@indicator(
    name="log_return",
    title="Logarithmic return",
    kind="momentum",
    parameters=(period(1, low=1),),
    outputs=(Output("log_return", "log_return"),),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    source="ln(close / close period bars ago)",
)
def log_return(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        before = view.bars[CLOSE, (row - count) & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            into[i] = log(close[i] / before[i])


@indicator(
    name="price_to_sma",
    title="Distance of the close from its average",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("price_to_sma", "ratio", low=-1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="close / mean of the last closes - 1",
)
def price_to_sma(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        window_sum(view.bars[CLOSE], row, count, view.lo, view.hi, into)
        for i in range(into.shape[0]):
            into[i] = close[i] / (into[i] / count) - 1.0
