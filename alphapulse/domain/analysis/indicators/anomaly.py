"""Bars that stand out from those before them: in return, range, volume, number of trades.

Each gives a score (robust z, see robust.py) against the ``period`` bars just before, the bar itself not
counted, and a flag: 1 or -1 where the score is at least ``threshold`` above or below. Volumes and ranges are
skewed: with the same threshold they are flagged more often than returns.
"""

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, TRADES, VOLUME, Field, Floats
from alphapulse.domain.analysis.logarithm import log
from alphapulse.domain.analysis.registry import Output, Parameter, Params, indicator
from alphapulse.domain.analysis.robust import LIMIT, WORKING, judge

MAX_WINDOW = 1_000  # bars: a slot keeps them twice, as they came and in order

WINDOW = Parameter("period", 100, 8, MAX_WINDOW)
THRESHOLD = Parameter(
    "threshold", 10, 0.5, LIMIT, whole=False, doc="robust standard deviations from which it is flagged"
)
_SCORE = Output("score", "score", low=-LIMIT, high=LIMIT)
_FLAG = Output("flag", "flag", low=-1, high=1)
_SOURCE = "(x - median) / (1.4826 * MAD) over the bars before: Hampel (1974), Iglewicz and Hoaglin (1993)"


def kept(params: Params) -> int:
    """Floats a slot: the window in order, and where to work."""
    return int(params[0]) + WORKING


@piece
def flagged(view: View, row: int, lines: Floats, carry: Floats, out: Floats, threshold: float) -> None:
    """Score and flag of the values in the ring ``lines[0]``."""
    t = row - view.first
    into, flag = out[0, t, view.lo : view.hi], out[1, t, view.lo : view.hi]
    judge(view, row, lines[0], carry, flag, into)  # the flag's place holds the median meanwhile
    for i in range(into.shape[0]):
        over, under = into[i] >= threshold, into[i] <= -threshold
        flag[i] = 1.0 if over else -1.0 if under else 0.0 if into[i] == into[i] else float("nan")


@piece
def finite(value: float) -> float:
    """``value``, or NaN for what is infinite; -0.0 becomes 0.0, so that order says it all."""
    return value + 0.0 if value - value == 0 else float("nan")


@indicator(
    name="price_anomaly",
    title="Unusual return",
    kind="anomaly",
    parameters=(WINDOW, THRESHOLD),
    outputs=(_SCORE, _FLAG),
    lookback=lambda p: int(p[0]) + 1,
    window=lambda p: int(p[0]),
    carries=kept,
    lines=lambda _: 1,
    source=f"x = log(close / last close); {_SOURCE}",
)
def price_anomaly(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        last = view.bars[CLOSE, (row - 1) & view.mask, view.lo : view.hi]
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        x = lines[0, row & view.mask, view.lo : view.hi]
        for i in range(x.shape[0]):
            x[i] = log(close[i] / last[i])
        flagged(view, row, lines, carry, out, params[1])


@indicator(
    name="range_anomaly",
    title="Unusual range",
    kind="anomaly",
    inputs=(Field.HIGH, Field.LOW),
    parameters=(WINDOW, THRESHOLD),
    outputs=(_SCORE, _FLAG),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    carries=kept,
    lines=lambda _: 1,
    source=f"x = log(high / low); {_SOURCE}",
)
def range_anomaly(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        high = view.bars[HIGH, row & view.mask, view.lo : view.hi]
        low = view.bars[LOW, row & view.mask, view.lo : view.hi]
        x = lines[0, row & view.mask, view.lo : view.hi]
        for i in range(x.shape[0]):
            x[i] = log(high[i] / low[i])
        flagged(view, row, lines, carry, out, params[1])


@indicator(
    name="volume_anomaly",
    title="Unusual volume",
    kind="anomaly",
    inputs=(Field.VOLUME,),
    parameters=(WINDOW, THRESHOLD),
    outputs=(_SCORE, _FLAG),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    carries=kept,
    lines=lambda _: 1,
    source=f"x = volume; {_SOURCE}",
)
def volume_anomaly(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        volume = view.bars[VOLUME, row & view.mask, view.lo : view.hi]
        x = lines[0, row & view.mask, view.lo : view.hi]
        for i in range(x.shape[0]):
            x[i] = finite(volume[i])
        flagged(view, row, lines, carry, out, params[1])


@indicator(
    name="trade_rate_anomaly",
    title="Unusual number of trades",
    kind="anomaly",
    inputs=(Field.TRADES,),
    parameters=(WINDOW, THRESHOLD),
    outputs=(_SCORE, _FLAG),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    carries=kept,
    lines=lambda _: 1,
    source=f"x = trades of the bar; {_SOURCE}",
)
def trade_rate_anomaly(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        trades = view.bars[TRADES, row & view.mask, view.lo : view.hi]
        x = lines[0, row & view.mask, view.lo : view.hi]
        for i in range(x.shape[0]):
            x[i] = finite(trades[i])
        flagged(view, row, lines, carry, out, params[1])
