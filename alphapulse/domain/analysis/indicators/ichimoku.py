"""Ichimoku: middles of three windows, and the cloud that two of them cast ahead."""

from alphapulse.domain.analysis.compiled import View, piece, window_max, window_min
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.registry import Output, Params, indicator, period


def lookbacks(p: Params) -> tuple[int, ...]:
    conversion, base, span, displacement = (int(x) for x in p)
    ahead = max(conversion, base) - 1, span - 1
    return conversion - 1, base - 1, *ahead, ahead[0] + displacement, ahead[1] + displacement, displacement


def window(p: Params) -> int:
    return max(int(max(p[:3])) - 1, int(p[3]))


@indicator(
    name="ichimoku",
    title="Ichimoku cloud",
    kind="trend",
    inputs=(Field.HIGH, Field.LOW, Field.CLOSE),
    parameters=(
        period(9, name="conversion", low=1),
        period(26, name="base", low=1),
        period(52, name="span", low=1),
        period(26, name="displacement", low=1),
    ),
    outputs=(
        Output("conversion", "price", prices=1),
        Output("base", "price", prices=1),
        Output("lead_a", "price", prices=1),
        Output("lead_b", "price", prices=1),
        Output("span_a", "price", prices=1),
        Output("span_b", "price", prices=1),
        Output("lagging", "price", prices=1),
    ),
    lookback=lookbacks,
    window=window,
    lines=lambda _: 2,
    source="Hosoda (1969): (highest + lowest) / 2 of three windows; lead_a and lead_b are to be drawn "
    "displacement bars ahead, span_a and span_b were drawn here displacement bars ago; lagging is the close "
    "less that of displacement bars ago: what the lagging span, drawn behind, would look into the future for",
)
def ichimoku(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    behind, lo, hi = int(params[3]), view.lo, view.hi
    for row in range(view.first, view.last):
        at, then, now = row & view.mask, (row - behind) & view.mask, row - view.first
        conversion, base, lead_a = out[0, now, lo:hi], out[1, now, lo:hi], out[2, now, lo:hi]
        scratch = out[6, now, lo:hi]
        middle(view, row, int(params[0]), scratch, conversion)
        middle(view, row, int(params[1]), scratch, base)
        for i in range(lead_a.shape[0]):
            lead_a[i] = (conversion[i] + base[i]) / 2.0
        middle(view, row, int(params[2]), scratch, out[3, now, lo:hi])
        for line in range(2):
            ring, lead, cloud = lines[line], out[2 + line, now, lo:hi], out[4 + line, now, lo:hi]
            for i in range(lead.shape[0]):
                ring[at, lo + i] = lead[i]
            for i in range(lead.shape[0]):
                cloud[i] = ring[then, lo + i]
        close, before = view.bars[CLOSE, at, lo:hi], view.bars[CLOSE, then, lo:hi]
        for i in range(scratch.shape[0]):
            scratch[i] = close[i] - before[i]


@piece
def middle(view: View, row: int, count: int, low: Floats, into: Floats) -> None:
    """``into[i]``: half way between the highest and the lowest price of the last ``count`` bars."""
    window_max(view.bars[HIGH], row, count, view.lo, view.hi, into)
    window_min(view.bars[LOW], row, count, view.lo, view.hi, low)
    for i in range(into.shape[0]):
        into[i] = (into[i] + low[i]) / 2.0
