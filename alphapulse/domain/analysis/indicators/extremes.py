"""The highest and lowest of the last bars."""

from alphapulse.domain.analysis.compiled import View, window_max, window_min
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.registry import Output, indicator, period


@indicator(
    name="highest",
    title="Highest high",
    kind="trend",
    inputs=(Field.HIGH,),
    parameters=(period(20),),
    outputs=(Output("highest", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="of the last bars, this one included",
)
def highest(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        window_max(view.bars[HIGH], row, int(params[0]), view.lo, view.hi, into)


@indicator(
    name="lowest",
    title="Lowest low",
    kind="trend",
    inputs=(Field.LOW,),
    parameters=(period(20),),
    outputs=(Output("lowest", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="of the last bars, this one included",
)
def lowest(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        window_min(view.bars[LOW], row, int(params[0]), view.lo, view.hi, into)


@indicator(
    name="highest_close",
    title="Highest close",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("highest_close", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="of the last bars, this one included",
)
def highest_close(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        window_max(view.bars[CLOSE], row, int(params[0]), view.lo, view.hi, into)


@indicator(
    name="lowest_close",
    title="Lowest close",
    kind="trend",
    parameters=(period(20),),
    outputs=(Output("lowest_close", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    source="of the last bars, this one included",
)
def lowest_close(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        window_min(view.bars[CLOSE], row, int(params[0]), view.lo, view.hi, into)
