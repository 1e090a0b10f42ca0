"""Lambert's commodity channel index."""

from typing import Any

from alphapulse.domain.analysis.compiled import View, inner_piece, over_slots, summed
from alphapulse.domain.analysis.fields import TYPICAL, Field, Floats
from alphapulse.domain.analysis.lanes import size, take, where_above
from alphapulse.domain.analysis.registry import Output, indicator, period


@indicator(
    name="cci",
    title="Commodity channel index",
    kind="momentum",
    inputs=(Field.TYPICAL,),
    parameters=(period(20),),
    outputs=(Output("cci", "score"),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="D. Lambert, Commodities (1980): distance from the mean by 0.015 mean deviations; 0 without any",
)
def cci(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        indices(view.bars[TYPICAL], row, int(params[0]), view.lo, view.hi, into)


@inner_piece
def index(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    # A deviation that the rounding of the sums alone could make is none: a flat market stands at its mean.
    noise = max(1e-14, count * 2.0**-52)
    mean = summed(ring, row, count, slot, kind) / float(count)
    mask, total = ring.shape[0] - 1, kind
    for back in range(count - 1, -1, -1):
        total = total + size(take(ring, (row - back) & mask, slot, kind) - mean)
    distance, deviation = take(ring, row & mask, slot, kind) - mean, total / float(count)
    return where_above(deviation, noise * mean, distance / (0.015 * deviation), kind)


indices = over_slots(index)
