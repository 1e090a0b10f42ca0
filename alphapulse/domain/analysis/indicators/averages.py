"""Moving averages of the close, and what is measured from them."""

from alphapulse.domain.analysis.compiled import View, blend, exponential, piece, window_sum
from alphapulse.domain.analysis.fields import CLOSE, VOLUME, Field, Floats
from alphapulse.domain.analysis.registry import Output, Params, indicator, period, smoothing_forgets


def chain_forgets(params: Params, links: int) -> int:
    """Of ``links`` exponential averages, each of the one before: half as long again for each but the first.

    n bars after its start an average of averages still holds n * (1 - alpha)**n of it, and so on.
    """
    once = int(params[0]) - 1 + smoothing_forgets(2 / (params[0] + 1))
    return 1 + once + (links - 1) * (once // 2 + int(params[0]))


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
    name="volume_sma",
    title="Simple moving average of the volume",
    kind="volume",
    inputs=(Field.VOLUME,),
    parameters=(period(20),),
    outputs=(Output("volume_sma", "base", volumes=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="mean of the last volumes",
)
def volume_sma(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        window_sum(view.bars[VOLUME], row, count, view.lo, view.hi, into)
        for i in range(into.shape[0]):
            into[i] /= count


@indicator(
    name="wma",
    title="Weighted moving average",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("wma", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="mean of the last closes, weighted 1, 2 … period from the oldest to the newest",
)
def wma(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    weights = count * (count + 1) / 2.0
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        weighted_sum(view, row, count, into)
        for i in range(into.shape[0]):
            into[i] /= weights


@piece
def weighted_sum(view: View, row: int, count: int, into: Floats) -> None:
    """``into[i]``: sum of the last ``count`` closes times 1, 2 … from the oldest; four rows a pass."""
    mask, lo, hi, ring = view.mask, view.lo, view.hi, view.bars[CLOSE]
    for i in range(into.shape[0]):
        into[i] = 0.0
    back = count - 1
    while back >= 3:
        a, b = ring[(row - back) & mask, lo:hi], ring[(row - back + 1) & mask, lo:hi]
        c, d = ring[(row - back + 2) & mask, lo:hi], ring[(row - back + 3) & mask, lo:hi]
        w = float(count - back)
        for i in range(into.shape[0]):
            into[i] = into[i] + w * a[i] + (w + 1.0) * b[i] + (w + 2.0) * c[i] + (w + 3.0) * d[i]
        back -= 4
    while back >= 0:
        x, w = ring[(row - back) & mask, lo:hi], float(count - back)
        for i in range(into.shape[0]):
            into[i] += w * x[i]
        back -= 1


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


@indicator(
    name="dema",
    title="Double exponential moving average",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("dema", "price", prices=1),),
    lookback=lambda p: 2 * (int(p[0]) - 1),
    forgets=lambda p: chain_forgets(p, 2),
    carries=lambda _: 2,
    source="2 e1 - e2, e2 the exponential average of e1, that of the close: P. Mulloy, 1994",
)
def dema(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    alpha = 2.0 / (count + 1)
    first, second = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    seen, warm = view.seen[view.lo : view.hi], view.warm
    for row in range(view.first, view.last):
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        into = out[0, row - view.first, view.lo : view.hi]
        for i in range(into.shape[0]):
            nth = seen[i] + (row - view.first)
            e1 = blend(first[i], close[i], alpha, count, nth, warm)
            e2 = blend(second[i], e1, alpha, count, nth - (count - 1), warm)
            first[i], second[i] = e1, e2
            into[i] = 2.0 * e1 - e2


@indicator(
    name="tema",
    title="Triple exponential moving average",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("tema", "price", prices=1),),
    lookback=lambda p: 3 * (int(p[0]) - 1),
    forgets=lambda p: chain_forgets(p, 3),
    carries=lambda _: 3,
    source="3 e1 - 3 e2 + e3, each the exponential average of the one before: P. Mulloy, 1994",
)
def tema(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
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
            first[i], second[i], third[i] = e1, e2, e3
            into[i] = 3.0 * e1 - 3.0 * e2 + e3
