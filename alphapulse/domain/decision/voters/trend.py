"""Votes with a trend that several measures agree on, and on the bar where two lines cross.

A trend is what has lasted: the voter speaks on every bar of it. A crossing is news: it speaks once.
"""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Bools, Number, Rule, seen, share, side, voter
from alphapulse.domain.decision.votes import View

ADX, PLUS, MINUS = "adx_14.adx", "adx_14.plus_di", "adx_14.minus_di"
FAST, SLOW = "ema_20", "ema_50"
HISTOGRAM, ATR, SUPERTREND = "macd_12_26_9.histogram", "atr_14", "supertrend_10_3.trend"

DIRECTIONAL = (seen("adx(14).adx"), seen("adx(14).plus_di"), seen("adx(14).minus_di"))


@voter(
    "technical.trend",
    "With the trend, where directional movement, MACD and supertrend agree",
    least=Number(20, 0, 100),
    full=Number(50, 1, 100),
)
class Trend(Rule):
    """Score: the ADX, all of it at ``full``. Silent below an ADX of ``least`` (Wilder's own 20 to 25)."""

    inputs = (*DIRECTIONAL, seen("macd(12,26,9).histogram"), seen("supertrend(10,3).trend"))

    def signed(self, view: View) -> Floats:
        adx = view[ADX]
        way = side(view[PLUS] - view[MINUS])
        agreed = (way == side(view[HISTOGRAM])) & (way == view[SUPERTREND]) & (adx >= self.numbers["least"])
        return np.where(agreed, way * share(adx, self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        plus, minus = view[PLUS][row], view[MINUS][row]
        return [
            f"+DI {plus:.1f} {'over' if plus > minus else 'under'} -DI {minus:.1f}, ADX {view[ADX][row]:.1f}",
            f"MACD histogram {view[HISTOGRAM][row]:.6g} agrees",
            f"supertrend {view[SUPERTREND][row]:+.0f} agrees",
        ]


@voter(
    "technical.crossing",
    "Where moving averages, or the lines of directional movement or of the MACD, have just crossed",
    full=Number(0.1, 0.001, 10),
)
class Crossing(Rule):
    """Each of the three that crossed in this bar speaks for its new side; they weigh a third each.

    The MACD's histogram and the distance of the averages count in average true ranges, in full at ``full``,
    the DIs by the ADX, in full at 50.
    """

    inputs = (
        *(seen(line, lag=lag) for line in ("ema(20)", "ema(50)") for lag in (0, 1)),
        *(seen("macd(12,26,9).histogram", lag=lag) for lag in (0, 1)),
        *(seen(f"adx(14).{line}", lag=lag) for line in ("plus_di", "minus_di") for lag in (0, 1)),
        seen("adx(14).adx"),
        seen("atr(14)"),
    )

    def signed(self, view: View) -> Floats:
        far = self.numbers["full"] * view[ATR]
        averages, macd, directions = self.lines(view)
        sizes = (np.abs(averages[0]) / far, np.abs(macd[0]) / far, view[ADX] / 50.0)
        total = np.zeros(len(view))
        for (now, before), size in zip((averages, macd, directions), sizes, strict=True):
            total = total + np.where(crossed(now, before), side(now) * np.minimum(size, 1.0), 0.0)
        return total / 3

    def lines(self, view: View) -> tuple[tuple[Floats, Floats], ...]:
        """What changes its sign at a crossing: now, and a bar ago. Averages, MACD, directional movement."""
        return (
            (view[FAST] - view[SLOW], view[f"{FAST}.lag1"] - view[f"{SLOW}.lag1"]),
            (view[HISTOGRAM], view[f"{HISTOGRAM}.lag1"]),
            (view[PLUS] - view[MINUS], view[f"{PLUS}.lag1"] - view[f"{MINUS}.lag1"]),
        )

    def words(self, view: View, row: int) -> Sequence[str]:
        names = ("EMA of 20 less that of 50", "MACD histogram", "+DI less -DI")
        found = []
        for name, (now, before) in zip(names, self.lines(view.take(slice(row, row + 1))), strict=True):
            if crossed(now, before)[0]:
                found.append(f"{name} from {before[0]:.6g} to {now[0]:.6g}")
        return [*found, f"ATR {view[ATR][row]:.6g}, ADX {view[ADX][row]:.1f}"]


def crossed(now: Floats, before: Floats) -> Bools:
    """Whether a line is on another side of 0 than it was a bar ago; it may have touched it then."""
    turned: Bools = (now * before <= 0) & (now != 0)
    return turned
