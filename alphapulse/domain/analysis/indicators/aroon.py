"""Chande's Aroon: how long ago the highest high and the lowest low were."""

from alphapulse.domain.analysis.compiled import NEAR, View, piece, window_max, window_min
from alphapulse.domain.analysis.fields import HIGH, LOW, Field, Floats
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
    carries=lambda _: 2,  # room for the extremes
    source="T. Chande, 1995: 100 * (period - bars since the extreme) / period, of equal ones the latest",
)
def aroon(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    for row in range(view.first, view.last):
        at = row - view.first
        for lo in range(view.lo, view.hi, NEAR):
            hi = min(lo + NEAR, view.hi)
            up, down, oscillator = out[0, at, lo:hi], out[1, at, lo:hi], out[2, at, lo:hi]
            highest, lowest = carry[0, lo:hi], carry[1, lo:hi]
            window_max(view.bars[HIGH], row, count + 1, lo, hi, highest)
            window_min(view.bars[LOW], row, count + 1, lo, hi, lowest)
            since_last(view.bars[HIGH], row, count, lo, hi, highest, up)
            since_last(view.bars[LOW], row, count, lo, hi, lowest, down)
            for i in range(up.shape[0]):
                oscillator[i] = up[i] - down[i]


@piece
def since_last(ring: Floats, row: int, count: int, lo: int, hi: int, extreme: Floats, into: Floats) -> None:
    """``into[i]``: 100 where the newest row is ``extreme``, less the longer ago it was; four rows a pass."""
    mask = ring.shape[0] - 1
    for i in range(into.shape[0]):
        into[i] = 0.0
    back = count - 1
    while back >= 3:
        a, b = ring[(row - back) & mask, lo:hi], ring[(row - back + 1) & mask, lo:hi]
        c, d = ring[(row - back + 2) & mask, lo:hi], ring[(row - back + 3) & mask, lo:hi]
        p, q = _at(back, count), _at(back - 1, count)
        r, s = _at(back - 2, count), _at(back - 3, count)
        for i in range(into.shape[0]):
            older = q if b[i] == extreme[i] else (p if a[i] == extreme[i] else into[i])
            into[i] = s if d[i] == extreme[i] else (r if c[i] == extreme[i] else older)
        back -= 4
    while back >= 0:
        x, p = ring[(row - back) & mask, lo:hi], _at(back, count)
        for i in range(into.shape[0]):
            into[i] = p if x[i] == extreme[i] else into[i]
        back -= 1


@piece
def _at(back: int, count: int) -> float:
    return 100.0 * (count - back) / count
