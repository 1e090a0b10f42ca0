"""Votes with a trend that several measures agree on, and on the bar where two lines cross.

A trend is what has lasted: the voter speaks on every bar of it. A crossing is news: it speaks once.
"""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Bools, Number, Rule, seen, share, side, voter
from alphapulse.domain.decision.votes import View

ADX, PLUS, MINUS = "adx_14.adx", "adx_14.plus_di", "adx_14.minus_di"
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
    "Where the lines of directional movement or of the MACD have just crossed",
    full=Number(0.1, 0.001, 10),
)
class Crossing(Rule):
    """The histogram's new side, and the DIs' where these have crossed; nothing where both cross apart.

    Score: half for each, the MACD's by the histogram in average true ranges, all of it at ``full``, the DIs'
    by the ADX, all of it at 50.
    """

    inputs = (
        *DIRECTIONAL,
        seen("adx(14).plus_di", lag=1),
        seen("adx(14).minus_di", lag=1),
        seen("macd(12,26,9).histogram"),
        seen("macd(12,26,9).histogram", lag=1),
        seen("atr(14)"),
    )

    def signed(self, view: View) -> Floats:
        macd, atr = view[HISTOGRAM], view[ATR]
        lines = np.where(
            crossed(macd, view[f"{HISTOGRAM}.lag1"]), share(abs(macd) / atr, self.numbers["full"]), 0.0
        )
        apart = view[PLUS] - view[MINUS]
        before = view[f"{PLUS}.lag1"] - view[f"{MINUS}.lag1"]
        moved = np.where(crossed(apart, before), share(view[ADX], 50.0), 0.0)
        return (side(macd) * lines + side(apart) * moved) / 2

    def words(self, view: View, row: int) -> Sequence[str]:
        macd, last = view[HISTOGRAM][row], view[f"{HISTOGRAM}.lag1"][row]
        plus, minus = view[PLUS][row], view[MINUS][row]
        was = view[f"{PLUS}.lag1"][row] - view[f"{MINUS}.lag1"][row]
        found = []
        if macd * last <= 0 and macd != 0:
            found.append(f"MACD histogram from {last:.6g} to {macd:.6g}, ATR {view[ATR][row]:.6g}")
        if (plus - minus) * was <= 0 and plus != minus:
            found.append(f"+DI less -DI from {was:.2f} to {plus - minus:.2f}, ADX {view[ADX][row]:.1f}")
        return found


def crossed(now: Floats, before: Floats) -> Bools:
    """Whether a line is on another side of 0 than it was a bar ago; it may have touched it then."""
    turned: Bools = (now * before <= 0) & (now != 0)
    return turned
