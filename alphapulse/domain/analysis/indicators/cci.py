"""Lambert's commodity channel index."""

from alphapulse.domain.analysis.compiled import View, window_sum
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
    count = int(params[0])
    mean = carry[0, view.lo : view.hi]
    # A deviation that the rounding of the sums alone could make is none: a flat market stands at its mean.
    noise = max(1e-14, count * 2.0**-52)
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        window_sum(view.bars[TYPICAL], row, count, view.lo, view.hi, mean)
        for i in range(into.shape[0]):
            mean[i] /= count
            into[i] = 0.0
        for back in range(count - 1, -1, -1):
            typical = view.bars[TYPICAL, (row - back) & view.mask, view.lo : view.hi]
            for i in range(into.shape[0]):
                into[i] += abs(typical[i] - mean[i])
        typical = view.bars[TYPICAL, row & view.mask, view.lo : view.hi]
        for i in range(into.shape[0]):
            distance, deviation = typical[i] - mean[i], into[i] / count
            into[i] = distance / (0.015 * deviation) if deviation > noise * mean[i] else 0.0
