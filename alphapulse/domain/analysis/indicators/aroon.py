"""Chande's Aroon: how long ago the highest high and the lowest low were."""

from alphapulse.domain.analysis.compiled import View, copy
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
    highest, lowest = carry[0, view.lo : view.hi], carry[1, view.lo : view.hi]
    for row in range(view.first, view.last):
        at = row - view.first
        up, down = out[0, at, view.lo : view.hi], out[1, at, view.lo : view.hi]
        oscillator = out[2, at, view.lo : view.hi]
        copy(view.bars[HIGH, (row - count) & view.mask, view.lo : view.hi], highest)
        copy(view.bars[LOW, (row - count) & view.mask, view.lo : view.hi], lowest)
        up[:] = 0.0
        down[:] = 0.0
        for back in range(count - 1, -1, -1):
            high = view.bars[HIGH, (row - back) & view.mask, view.lo : view.hi]
            low = view.bars[LOW, (row - back) & view.mask, view.lo : view.hi]
            since = 100.0 * (count - back) / count
            for i in range(up.shape[0]):
                up[i] = since if high[i] >= highest[i] else up[i]
                highest[i] = high[i] if high[i] >= highest[i] else highest[i]
            for i in range(down.shape[0]):
                down[i] = since if low[i] <= lowest[i] else down[i]
                lowest[i] = low[i] if low[i] <= lowest[i] else lowest[i]
        for i in range(up.shape[0]):
            oscillator[i] = up[i] - down[i]
