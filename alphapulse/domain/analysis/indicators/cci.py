"""Lambert's commodity channel index."""

from alphapulse.domain.analysis.compiled import NEAR, View, piece, window_sum
from alphapulse.domain.analysis.fields import TYPICAL, Field, Floats
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
    carries=lambda _: 1,  # room for the mean
    source="D. Lambert, Commodities (1980): distance from the mean by 0.015 mean deviations; 0 without any",
)
def cci(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        for lo in range(view.lo, view.hi, NEAR):
            hi = min(lo + NEAR, view.hi)
            _index(view, row, int(params[0]), lo, hi, carry[0, lo:hi], out[0, row - view.first, lo:hi])


@piece
def _index(view: View, row: int, count: int, lo: int, hi: int, mean: Floats, into: Floats) -> None:
    # A deviation that the rounding of the sums alone could make is none: a flat market stands at its mean.
    noise = max(1e-14, count * 2.0**-52)
    window_sum(view.bars[TYPICAL], row, count, lo, hi, mean)
    for i in range(into.shape[0]):
        mean[i] /= count
    sum_of_distances(view.bars[TYPICAL], row, count, lo, hi, mean, into)
    typical = view.bars[TYPICAL, row & view.mask, lo:hi]
    for i in range(into.shape[0]):
        distance, deviation = typical[i] - mean[i], into[i] / count
        into[i] = distance / (0.015 * deviation) if deviation > noise * mean[i] else 0.0


@piece
def sum_of_distances(
    ring: Floats, row: int, count: int, lo: int, hi: int, mean: Floats, into: Floats
) -> None:
    """``into[i]``: sum of how far the last ``count`` rows lie from ``mean``; four rows a pass."""
    mask = ring.shape[0] - 1
    for i in range(into.shape[0]):
        into[i] = 0.0
    back = count - 1
    while back >= 3:
        a, b = ring[(row - back) & mask, lo:hi], ring[(row - back + 1) & mask, lo:hi]
        c, d = ring[(row - back + 2) & mask, lo:hi], ring[(row - back + 3) & mask, lo:hi]
        for i in range(into.shape[0]):
            near = into[i] + abs(a[i] - mean[i]) + abs(b[i] - mean[i])
            into[i] = near + abs(c[i] - mean[i]) + abs(d[i] - mean[i])
        back -= 4
    while back >= 0:
        x = ring[(row - back) & mask, lo:hi]
        for i in range(into.shape[0]):
            into[i] += abs(x[i] - mean[i])
        back -= 1
