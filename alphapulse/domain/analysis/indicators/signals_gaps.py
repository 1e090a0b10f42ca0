"""Bars that open beyond the last bar's range, and when the price came back. Sizes in average true ranges."""

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import HIGH, LOW, OPEN, Field, Floats
from alphapulse.domain.analysis.indicators.volatility import wilder_forgets, wilder_range
from alphapulse.domain.analysis.registry import Output, Parameter, indicator, period
from alphapulse.domain.analysis.signals import SIGNAL, STRENGTH, Named, explains

BAR = (Field.OPEN, Field.HIGH, Field.LOW, Field.CLOSE)
LEAST = Parameter("least", 0.1, 0, 100, whole=False, doc="average true ranges that a gap is wide, at least")


@piece
def gap_of(view: View, row: int, slot: int, usual: float, least: float) -> tuple[float, float, float]:
    """(side, edge, size): 1 or -1 for a gap up or down, the price it left, its size in ``usual`` ranges.

    All 0 without a gap of at least ``least``; where nothing has moved yet any gap is 1 wide.
    """
    before = (row - 1) & view.mask
    open_ = view.bars[OPEN, row & view.mask, slot]
    high, low = view.bars[HIGH, before, slot], view.bars[LOW, before, slot]
    up = open_ > high
    if not (up or open_ < low):
        return 0.0, 0.0, 0.0
    edge = high if up else low
    size = abs(open_ - edge) / usual if usual > 0 else 1.0
    if size < least:
        return 0.0, 0.0, 0.0
    return 1.0 if up else -1.0, edge, size


@indicator(
    name="gap",
    title="Gap",
    kind="signal",
    inputs=BAR,
    parameters=(period(14, name="atr", low=1), LEAST),
    outputs=(SIGNAL, STRENGTH, Output("size", "ratio", low=0), Output("edge", "price", prices=1, low=0)),
    lookback=lambda p: int(p[0]) + 1,
    window=lambda _: 1,
    forgets=lambda p: wilder_forgets(p[0]) + 1,
    carries=lambda _: 2,
    source="open above the last high (1) or below the last low (-1) by least average true ranges of the bar "
    "before; strength: its size in them, up to 1",
)
def gap(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """A gap up says that buyers were in a hurry. ``edge`` is the price that was left, 0 without a gap."""
    count = int(params[0])
    mean, usual = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    for row in range(view.first, view.last):
        t = row - view.first
        for i in range(mean.shape[0]):
            side, edge, size = gap_of(view, row, view.lo + i, usual[i], params[1])
            out[0, t, view.lo + i], out[1, t, view.lo + i] = side, min(size, 1.0)
            out[2, t, view.lo + i], out[3, t, view.lo + i] = size, edge
        wilder_range(view, row, count, 0, mean, usual)


@indicator(
    name="gap_fill",
    title="Gap filled",
    kind="signal",
    inputs=BAR,
    parameters=(
        period(14, name="atr", low=1),
        LEAST,
        Parameter("reach", 100, 1, 2_000, doc="bars after which a gap is forgotten"),
    ),
    outputs=(
        SIGNAL,
        STRENGTH,
        Output("size", "ratio", low=0),
        Output("edge", "price", prices=1, low=0),
        Output("bars", "bars", low=0),
    ),
    lookback=lambda p: int(p[0]) + 1,
    window=lambda _: 1,
    forgets=lambda p: wilder_forgets(p[0]) + 2 + int(p[2]),
    carries=lambda _: 6,
    source="the first low at or below the edge of the last gap up (-1), the first high at or above that of "
    "the last gap down (1); strength: how wide the gap was, up to 1 average true range",
)
def gap_fill(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Only the latest gap is watched. A gap may be filled by the bar that made it: ``bars`` is 0 then."""
    count, reach = int(params[0]), params[2]
    mean, usual = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    for row in range(view.first, view.last):
        t, at = row - view.first, row & view.mask
        for i in range(mean.shape[0]):
            slot = view.lo + i
            open_gap = carry[2:, slot]  # side (0: none), edge, size, bars ago
            open_gap[3] += 1.0
            side, edge, size = gap_of(view, row, slot, usual[i], params[1])
            if view.seen[slot] + t <= count:
                side = 0.0  # the usual range is not known yet
            if side != 0.0:
                open_gap[0], open_gap[1], open_gap[2], open_gap[3] = side, edge, size, 0.0
            elif open_gap[3] > reach:
                open_gap[0] = 0.0
            up = open_gap[0] > 0.0 and view.bars[LOW, at, slot] <= open_gap[1]
            down = open_gap[0] < 0.0 and view.bars[HIGH, at, slot] >= open_gap[1]
            filled = up or down
            out[0, t, slot] = -open_gap[0] if filled else 0.0
            out[1, t, slot] = min(open_gap[2], 1.0) if filled else 0.0
            out[2, t, slot] = open_gap[2] if filled else 0.0
            out[3, t, slot] = open_gap[1] if filled else 0.0
            out[4, t, slot] = open_gap[3] if filled else 0.0
            if filled:
                open_gap[0] = 0.0
        wilder_range(view, row, count, 0, mean, usual)


@explains("gap")
def _gap(o: Named, p: Named) -> list[str]:
    way, bound = ("above the last high", "high") if o["signal"] > 0 else ("below the last low", "low")
    return [f"opened {way} {o['edge']:.6g}", f"{o['size']:.2f} average true ranges beyond that {bound}"]


@explains("gap_fill")
def _gap_fill(o: Named, p: Named) -> list[str]:
    way = "down" if o["signal"] < 0 else "up"
    return [
        f"came back {way} to {o['edge']:.6g}, which a gap had left {o['bars']:.0f} bars before",
        f"the gap was {o['size']:.2f} average true ranges wide",
    ]
