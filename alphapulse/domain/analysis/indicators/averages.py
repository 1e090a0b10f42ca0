"""Moving averages of the close, and what is measured from them."""

from typing import Any

from alphapulse.domain.analysis.compiled import (
    View,
    blend,
    exponential,
    inner_piece,
    over_slots,
    summed,
)
from alphapulse.domain.analysis.fields import CLOSE, VOLUME, Field, Floats
from alphapulse.domain.analysis.lanes import take
from alphapulse.domain.analysis.registry import Output, Params, indicator, period, smoothing_forgets


def chain_forgets(params: Params, links: int) -> int:
    """Of ``links`` exponential averages, each of the one before: half as long again for each but the first.

    n bars after its start an average of averages still holds n * (1 - alpha)**n of it, and so on.
    """
    once = int(params[0]) - 1 + smoothing_forgets(2 / (params[0] + 1))
    return 1 + once + (links - 1) * (once // 2 + int(params[0]))


@inner_piece
def average(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """Mean of the last ``count`` rows."""
    return summed(ring, row, count, slot, kind) / float(count)


window_mean = over_slots(average)


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
        window_mean(view.bars[CLOSE], row, count, view.lo, view.hi, into)


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
        window_mean(view.bars[VOLUME], row, count, view.lo, view.hi, into)


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
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        weighted_mean(view.bars[CLOSE], row, count, view.lo, view.hi, into)


@inner_piece
def weighted(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """Mean of the last ``count`` rows, times 1, 2 … from the oldest."""
    mask, total = ring.shape[0] - 1, kind
    for back in range(count - 1, -1, -1):
        total = total + float(count - back) * take(ring, (row - back) & mask, slot, kind)
    return total / (count * (count + 1) / 2.0)


weighted_mean = over_slots(weighted)


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
