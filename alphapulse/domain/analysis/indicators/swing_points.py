"""The last swing high and low that are known, as in swings.py: where a market turned before."""

from alphapulse.domain.analysis.compiled import View
from alphapulse.domain.analysis.fields import HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.indicators.signals_breakouts import MAX_AGE, renew
from alphapulse.domain.analysis.registry import Output, Parameter, indicator
from alphapulse.domain.analysis.swings import MAX_WING


@indicator(
    name="last_swings",
    title="Last swing high and low",
    kind="trend",
    inputs=(Field.HIGH, Field.LOW),
    parameters=(
        Parameter("wing", 5, 1, MAX_WING, doc="bars to either side of a swing"),
        Parameter("reach", 200, 1, MAX_AGE, doc="bars after which a swing is forgotten"),
    ),
    outputs=(
        Output("high", "price", prices=1, low=0),
        Output("low", "price", prices=1, low=0),
        Output("high_bars", "bars", low=0),
        Output("low_bars", "bars", low=0),
    ),
    lookback=lambda p: 2 * int(p[0]),
    window=lambda p: 2 * int(p[0]),
    forgets=lambda p: int(p[1]) + 3 * int(p[0]) + 2,
    carries=lambda _: 4,
    source="price of the last swing known and bars since it, 0 without one in the last reach bars; swings.py",
)
def last_swings(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    wing, reach = int(params[0]), params[1]
    for row in range(view.first, view.last):
        t = row - view.first
        for slot in range(view.lo, view.hi):
            for k in range(2):
                kept = carry[2 * k : 2 * k + 2, slot]  # price, bars since it (0: there is none)
                renew(view, row, slot, wing, HIGH if k == 0 else LOW, 1.0 if k == 0 else -1.0, kept)
                there = 0.0 < kept[1] <= reach
                out[k, t, slot] = kept[0] if there else 0.0
                out[2 + k, t, slot] = kept[1] if there else 0.0
