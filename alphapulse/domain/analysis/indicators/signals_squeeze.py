"""Squeeze: the Bollinger bands lie inside the Keltner channel, and their release."""

from alphapulse.domain.analysis.compiled import View, exponential, piece, window_sum
from alphapulse.domain.analysis.fields import CLOSE, Field, Floats
from alphapulse.domain.analysis.indicators.volatility import deviation, wilder_forgets, wilder_range
from alphapulse.domain.analysis.registry import Output, Parameter, indicator, period, smoothing_forgets
from alphapulse.domain.analysis.signals import SIGNAL, STRENGTH, Named, explains, share

LONGEST = 250  # bars: a squeeze is not counted further


@piece
def inside(middle: float, half: float, other_middle: float, other_half: float) -> bool:
    """Whether a band of ``half`` to either side of ``middle`` lies inside another one."""
    return middle + half < other_middle + other_half and middle - half > other_middle - other_half


@indicator(
    name="squeeze",
    title="Squeeze and its release",
    kind="signal",
    inputs=(Field.HIGH, Field.LOW, Field.CLOSE),
    parameters=(
        period(20),
        Parameter("width", 2, 0.1, 100, whole=False, doc="deviations to either side: Bollinger"),
        Parameter("ranges", 1.5, 0.1, 100, whole=False, doc="average true ranges to either side: Keltner"),
    ),
    outputs=(
        SIGNAL,
        STRENGTH,
        Output("squeezed", "flag", low=0, high=1),
        Output("bars", "bars", low=0, high=LONGEST),
        Output("away", "price", prices=1),
        Output("bollinger", "price", prices=1, low=0),
        Output("keltner", "price", prices=1, low=0),
    ),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]) - 1,
    forgets=lambda p: max(int(p[0]) + smoothing_forgets(2 / (p[0] + 1)), wilder_forgets(p[0])) + LONGEST + 1,
    carries=lambda _: 5,
    source="J. Carter, Mastering the Trade (2005): Bollinger bands inside Keltner's; both of one period, "
    "Keltner's around the exponential average of the closes",
)
def squeeze(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """The first bar that is out of a squeeze points where the close is from the mean: ``signal``, 0 else.

    ``bars``: how long the squeeze is, or was when it is just over. Strength of the release: bars by period,
    up to 1. ``away``: close less mean. ``bollinger`` and ``keltner``: half the width of both bands.
    """
    count, lo, hi = int(params[0]), view.lo, view.hi
    centre, span = carry[0, lo:hi], carry[1, lo:hi]
    bars = carry[2, lo:hi]  # of the squeeze so far; 0: there is none
    average, mean = carry[3, lo:hi], carry[4, lo:hi]
    for row in range(view.first, view.last):
        t = row - view.first
        close = view.bars[CLOSE, row & view.mask, lo:hi]
        away, half, other = out[4, t, lo:hi], out[5, t, lo:hi], out[6, t, lo:hi]
        exponential(close, 2.0 / (count + 1), count, 1, view, row, centre, average)
        wilder_range(view, row, count, 0, span, other)
        deviation(view.bars[CLOSE], row, count, lo, hi, half)
        window_sum(view.bars[CLOSE], row, count, lo, hi, mean)
        for i in range(close.shape[0]):
            slot, middle = lo + i, mean[i] / count
            away[i] = close[i] - middle
            half[i] *= params[1]
            other[i] *= params[2]
            known = view.seen[slot] + t >= count
            now = known and inside(middle, half[i], average[i], other[i])
            released = bars[i] > 0.0 and not now
            lasted = min(bars[i] + 1.0, LONGEST) if now else bars[i]
            out[0, t, slot] = 0.0 if not released or away[i] == 0.0 else 1.0 if away[i] > 0.0 else -1.0
            out[1, t, slot] = share(lasted, count) if out[0, t, slot] != 0.0 else 0.0
            out[2, t, slot] = 1.0 if now else 0.0
            out[3, t, slot] = lasted
            bars[i] = lasted if now else 0.0


@explains("squeeze")
def _squeeze(o: Named, p: Named) -> list[str]:
    way = "above" if o["signal"] > 0 else "below"
    wide = f"{o['bollinger']:.6g} to either side against {o['keltner']:.6g}"
    return [
        f"Bollinger bands left the Keltner channel ({wide}) after {o['bars']:.0f} bars inside",
        f"the close is {abs(o['away']):.6g} {way} its mean of {p['period']:g} bars",
    ]
