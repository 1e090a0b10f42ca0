"""What the last return says about the next: how big it will be (GARCH), and on which side of 0 (AR).

Both are estimated bar by bar from what came before, so the value of a bar is a forecast that could have
been made then. The coefficient of the returns is the ratio of two exponential averages; the constant of
the variance is targeted: it makes the recursion return to the exponential average of the squared errors
(Engle and Mezrich 1996), so only its two weights are left to choose.
"""

import math

from alphapulse.domain.analysis.compiled import View, blend, inner_piece
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.logarithm import log
from alphapulse.domain.analysis.registry import (
    Output,
    Parameter,
    Params,
    indicator,
    period,
    smoothing_forgets,
)

LIMIT = 1_000.0  # standard deviations: what is beyond is cut off
STEEPEST = 0.99  # of the coefficient: a series whose returns do not die down has no forecast

# Carried: the last return; averages of its square, of its product with the next; of squared errors; variance.
_LAST, _SQUARE, _PRODUCT, _ERROR, _VARIANCE = range(5)


def _forgets(p: Params) -> int:
    of_variance = smoothing_forgets(1 - p[2]) if p[2] else 1
    return int(p[0]) + 2 * smoothing_forgets(2 / (p[0] + 1)) + of_variance


@indicator(
    name="ar_garch",
    title="Forecast of the next return and its size, AR(1) with GARCH(1,1)",
    kind="volatility",
    parameters=(
        period(200, low=20),
        Parameter("alpha", 0.05, 0, 0.5, whole=False, doc="weight of the last squared error"),
        Parameter("beta", 0.9, 0, 0.99, whole=False, doc="weight of the last variance"),
    ),
    outputs=(
        Output("phi", "ratio", low=-STEEPEST, high=STEEPEST),
        Output("deviation", "log_return", low=0),
        Output("surprise", "score", low=-LIMIT, high=LIMIT),
        Output("forecast", "score", low=-LIMIT, high=LIMIT),
    ),
    lookback=lambda p: int(p[0]) + 1,
    window=lambda _: 1,
    forgets=_forgets,
    carries=lambda _: 5,
    relation=lambda p: None if p[1] + p[2] < 1 else f"alpha {p[1]:g} and beta {p[2]:g} need a sum below 1",
    source="Bollerslev (1986) with the variance targeted. phi: mean of r[t] r[t-1] / mean of r[t-1]**2, "
    "exponential, alpha 2 / (period + 1); surprise: (r[t] - phi r[t-1]) / its deviation forecast a bar ago; "
    "deviation, the next bar's: root of (1 - alpha - beta) * mean squared error + alpha * error**2 + beta * "
    "last variance; forecast: phi r[t] / deviation",
)
def ar_garch(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        t = row - view.first
        for n in range(view.lo, view.hi):
            nth = view.seen[n] + t - 1  # returns before this one
            if nth < 0:
                continue
            last = view.bars[CLOSE, (row - 1) & view.mask, n]
            change = log(view.bars[CLOSE, row & view.mask, n] / last)
            known = change if abs(change) < math.inf else 0.0
            _step(known, nth, params, carry[:, n], out[:, t, n])


@inner_piece
def _step(change: float, nth: int, params: Floats, kept: Floats, out: Floats) -> None:
    """Judge the return by what was expected of it, then learn from it."""
    count = int(params[0])
    rate = 2.0 / (count + 1.0)
    error = change - (coefficient(kept) * kept[_LAST] if nth > count else 0.0)
    out[2] = in_deviations(error, kept[_VARIANCE])
    kept[_PRODUCT] = blend(kept[_PRODUCT], change * kept[_LAST], rate, count, nth - 1, False)
    kept[_SQUARE] = blend(kept[_SQUARE], kept[_LAST] * kept[_LAST], rate, count, nth - 1, False)
    kept[_ERROR] = blend(kept[_ERROR], error * error, rate, count, nth, False)
    if nth < count:
        kept[_VARIANCE] = kept[_ERROR] if nth == count - 1 else 0.0
    if nth >= count:
        pull = (1.0 - params[1] - params[2]) * kept[_ERROR]
        kept[_VARIANCE] = pull + params[1] * error * error + params[2] * kept[_VARIANCE]
    kept[_LAST] = change
    out[0] = coefficient(kept)
    out[1] = math.sqrt(kept[_VARIANCE])
    out[3] = in_deviations(out[0] * change, kept[_VARIANCE])


@inner_piece
def coefficient(kept: Floats) -> float:
    """How much of a return comes again; 0 where nothing has moved."""
    if not kept[_SQUARE] > 0.0:
        return 0.0
    return float(min(max(kept[_PRODUCT] / kept[_SQUARE], -STEEPEST), STEEPEST))


@inner_piece
def in_deviations(value: float, variance: float) -> float:
    """``value`` by the root of ``variance``; where nothing moved before, any move is at the limit."""
    if value == 0.0:
        return 0.0
    size = LIMIT if not variance > 0.0 else min(abs(value) / math.sqrt(variance), LIMIT)
    return size if value > 0.0 else -size
