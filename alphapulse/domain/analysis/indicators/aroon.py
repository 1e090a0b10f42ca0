"""Chande's Aroon: how long ago the highest high and the lowest low were."""

from typing import Any

from alphapulse.domain.analysis.compiled import View, inner_piece, over_slots
from alphapulse.domain.analysis.fields import HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.lanes import take, where_above, where_at_least
from alphapulse.domain.analysis.registry import Output, indicator, period


@indicator(
    name="aroon",
    title="Aroon",
    kind="trend",
    inputs=(Field.HIGH, Field.LOW),
    parameters=(period(14),),
    outputs=(
        Output("up", "percent", low=0, high=100),
        Output("down", "percent", low=0, high=100),
        Output("oscillator", "percent", low=-100, high=100),
    ),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    source="T. Chande, 1995: 100 * (period - bars since the extreme) / period, of equal ones the latest",
)
def aroon(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        at = row - view.first
        up, down, oscillator = out[0, at, lo:hi], out[1, at, lo:hi], out[2, at, lo:hi]
        since_highs(view.bars[HIGH], row, count, lo, hi, up)
        since_lows(view.bars[LOW], row, count, lo, hi, down)
        for i in range(up.shape[0]):
            oscillator[i] = up[i] - down[i]


@inner_piece
def since_highest(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    return since_last(ring, row, count, slot, 1.0, kind)


since_highs = over_slots(since_highest)


@inner_piece
def since_lowest(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    return since_last(ring, row, count, slot, -1.0, kind)


since_lows = over_slots(since_lowest)


@inner_piece
def since_last(ring: Floats, row: int, count: int, slot: int, sign: float, kind: Any) -> Any:
    """100 where the newest row, times ``sign``, is the largest of all, less the longer ago that was."""
    mask, ago = ring.shape[0] - 1, kind + float(count)
    extreme = sign * take(ring, (row - count) & mask, slot, kind)
    for back in range(count - 1, -1, -1):
        x = sign * take(ring, (row - back) & mask, slot, kind)
        ago = where_at_least(x, extreme, float(back), ago)
        extreme = where_above(x, extreme, x, extreme)
    return 100.0 * (float(count) - ago) / float(count)
