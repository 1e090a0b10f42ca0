"""Volume with a direction: money flow, accumulation, taker imbalance.

Where a venue does not say a volume it is NaN, and so is what depends on it: a windowed value until the bar
has left the window, a running total from then on.
"""

from typing import Any

from alphapulse.domain.analysis.compiled import View, inner_piece, over_slots, piece, window_sum
from alphapulse.domain.analysis.fields import (
    CLOSE,
    HIGH,
    LOW,
    TAKER_BUY,
    TYPICAL,
    VOLUME,
    Field,
    Floats,
)
from alphapulse.domain.analysis.lanes import size, take, where_above, where_equal
from alphapulse.domain.analysis.registry import (
    Output,
    indicator,
    period,
    smoothing_forgets,
)

BAR = (Field.HIGH, Field.LOW, Field.CLOSE, Field.VOLUME)


@indicator(
    name="obv",
    title="On-balance volume",
    kind="volume",
    inputs=(Field.CLOSE, Field.VOLUME),
    outputs=(Output("obv", "base", volumes=1),),
    lookback=lambda _: 0,
    window=lambda _: 1,
    forgets=lambda _: None,
    carries=lambda _: 1,
    source="Granville (1963): the volume is added when the close rises, taken off when it falls; begins with "
    "the first bar's volume, as TA-Lib does",
)
def obv(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    lo, hi = view.lo, view.hi
    total = carry[0, lo:hi]
    for row in range(view.first, view.last):
        into = out[0, row - view.first, lo:hi]
        close, last = view.bars[CLOSE, row & view.mask, lo:hi], view.bars[CLOSE, (row - 1) & view.mask, lo:hi]
        volume = view.bars[VOLUME, row & view.mask, lo:hi]
        for i in range(total.shape[0]):
            # The first bar has no last close: NaN compares as false, and its volume counts.
            signed = -volume[i] if close[i] < last[i] else volume[i]
            total[i] += 0.0 * volume[i] if close[i] == last[i] else signed
        for i in range(total.shape[0]):
            into[i] = total[i]


@piece
def money_flow(view: View, row: int, into: Floats) -> None:
    """Volume times where the close lies between low (-1) and high (1); 0 for a bar without a range."""
    at = row & view.mask
    high, low = view.bars[HIGH, at, view.lo : view.hi], view.bars[LOW, at, view.lo : view.hi]
    close, volume = view.bars[CLOSE, at, view.lo : view.hi], view.bars[VOLUME, at, view.lo : view.hi]
    for i in range(into.shape[0]):
        span = high[i] - low[i]
        place = ((close[i] - low[i]) - (high[i] - close[i])) / span
        into[i] = (place if span > 0.0 else 0.0) * volume[i]


@indicator(
    name="ad",
    title="Accumulation/distribution line",
    kind="volume",
    inputs=BAR,
    outputs=(Output("ad", "base", volumes=1),),
    lookback=lambda _: 0,
    forgets=lambda _: None,
    carries=lambda _: 1,
    source="Chaikin: running total of volume * ((close - low) - (high - close)) / (high - low)",
)
def ad(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    total = carry[0, view.lo : view.hi]
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        money_flow(view, row, into)
        for i in range(into.shape[0]):
            total[i] += into[i]
            into[i] = total[i]


@indicator(
    name="adosc",
    title="Chaikin oscillator",
    kind="volume",
    inputs=BAR,
    parameters=(period(3, name="fast"), period(10, name="slow")),
    outputs=(Output("adosc", "base", volumes=1),),
    lookback=lambda p: int(max(p[0], p[1])) - 1,
    forgets=lambda p: int(max(p[0], p[1])) + smoothing_forgets(2 / (max(p[0], p[1]) + 1)),
    carries=lambda _: 2,
    source="Chaikin: fast less slow exponential average of the accumulation/distribution line, both begun at "
    "its first value, as TA-Lib does",
)
def adosc(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Carries how far each average lies above the line.

    The line itself grows without end, and so would the rounding of a difference of its averages. An
    average e of a line that moves by x: e - line becomes (1 - alpha) * (e - line - x).
    """
    keep_fast, keep_slow = 1.0 - 2.0 / (params[0] + 1.0), 1.0 - 2.0 / (params[1] + 1.0)
    fast, slow = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        money_flow(view, row, into)
        if not view.warm:
            for i in range(into.shape[0]):
                if view.seen[view.lo + i] + (row - view.first) == 0:
                    into[i] *= 0.0
        for i in range(into.shape[0]):
            fast[i] = keep_fast * (fast[i] - into[i])
            slow[i] = keep_slow * (slow[i] - into[i])
            into[i] = fast[i] - slow[i]


@indicator(
    name="cmf",
    title="Chaikin money flow",
    kind="volume",
    inputs=BAR,
    parameters=(period(20),),
    outputs=(Output("cmf", "ratio", low=-1, high=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    lines=lambda _: 1,
    carries=lambda _: 1,
    source="Chaikin: volumes weighted by where their bars closed, over the volumes; 0 where nothing traded",
)
def cmf(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        money_flow(view, row, lines[0, row & view.mask, lo:hi])
        share(view, lines[0], row, count, carry[0, lo:hi], out[0, row - view.first, lo:hi])


@piece
def share(view: View, ring: Floats, row: int, count: int, volume: Floats, into: Floats) -> None:
    """``into[i]``: sum of ``ring`` over that of the volume in the window, 0 where nothing traded."""
    window_sum(ring, row, count, view.lo, view.hi, into)
    window_sum(view.bars[VOLUME], row, count, view.lo, view.hi, volume)
    for i in range(into.shape[0]):
        into[i] = 0.0 if volume[i] == 0.0 else into[i] / volume[i]


# A typical price that moves by less than this share of itself has not moved: what is left is the rounding of
# (high + low + close) / 3, which would give the bar's volume a direction by chance.
STILL = 1e-14


@indicator(
    name="mfi",
    title="Money flow index",
    kind="volume",
    inputs=BAR,
    parameters=(period(14),),
    outputs=(Output("mfi", "percent", low=0, high=100),),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    lines=lambda _: 1,
    source="Quong and Soudack (1989): 100 * volume * typical price of the bars that rose, over that of those "
    "that rose or fell; 0 where there are none",
)
def mfi(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        at = row & view.mask
        flow, into = lines[0, at, lo:hi], out[0, row - view.first, lo:hi]
        price, last = view.bars[TYPICAL, at, lo:hi], view.bars[TYPICAL, (row - 1) & view.mask, lo:hi]
        volume = view.bars[VOLUME, at, lo:hi]
        for i in range(flow.shape[0]):
            move, limit = price[i] - last[i], STILL * (price[i] + last[i])
            direction = 1.0 if move > limit else (-1.0 if move < -limit else 0.0)
            flow[i] = direction * (price[i] * volume[i])
        shares_of_rises(lines[0], row, count, lo, hi, into)


@inner_piece
def share_of_rises(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """100 * sum of what is positive in the window over that of all without their signs; 0 where that is 0."""
    mask, rises, moves = ring.shape[0] - 1, kind, kind
    for back in range(count - 1, -1, -1):
        x = take(ring, (row - back) & mask, slot, kind)
        moves = moves + size(x)
        rises = rises + where_above(x, 0.0, x, kind)
    return where_equal(moves, 0.0, kind, 100.0 * (rises / moves))


shares_of_rises = over_slots(share_of_rises)


@indicator(
    name="taker_imbalance",
    title="Taker imbalance",
    kind="volume",
    inputs=(Field.VOLUME, Field.TAKER_BUY),
    parameters=(period(20, low=1),),
    outputs=(Output("taker_imbalance", "ratio", low=-1, high=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    lines=lambda _: 1,
    carries=lambda _: 1,
    source="what takers bought less what they sold, over the volume: (2 * taker buy - volume) / volume, each "
    "summed over the window; 0 where nothing traded",
)
def taker_imbalance(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        at = row & view.mask
        net, volume, buy = lines[0, at, lo:hi], view.bars[VOLUME, at, lo:hi], view.bars[TAKER_BUY, at, lo:hi]
        for i in range(net.shape[0]):
            net[i] = 2.0 * buy[i] - volume[i]
        share(view, lines[0], row, count, carry[0, lo:hi], out[0, row - view.first, lo:hi])


@indicator(
    name="volume_ratio",
    title="Volume over its average",
    kind="volume",
    inputs=(Field.VOLUME,),
    parameters=(period(20, low=1),),
    outputs=(Output("volume_ratio", "ratio", low=0),),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    source="volume over the mean of the period volumes before it; where those are all 0, over the mean that "
    "includes it: period + 1, or 0 if there is none now either",
)
def volume_ratio(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        volume, into = view.bars[VOLUME, row & view.mask, lo:hi], out[0, row - view.first, lo:hi]
        window_sum(view.bars[VOLUME], row - 1, count, lo, hi, into)
        for i in range(into.shape[0]):
            after_silence = (count + 1.0) if volume[i] > 0.0 else 0.0 * volume[i]
            into[i] = after_silence if into[i] == 0.0 else volume[i] / (into[i] / count)
