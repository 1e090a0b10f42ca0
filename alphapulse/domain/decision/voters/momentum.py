"""Votes against an extreme of momentum: what is oversold rises, unless a strong trend presses it down."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Bools, Number, Rule, seen, voter
from alphapulse.domain.decision.voters.trend import ADX, DIRECTIONAL, MINUS, PLUS
from alphapulse.domain.decision.votes import View

RSI, STOCHASTIC, MONEY_FLOW = "rsi_14", "stoch_14_3_3.k", "mfi_14"


def beyond(values: Floats, low: float) -> Floats:
    """How far an oscillator of 0 to 100 is below ``low`` (up to 1) or above ``100 - low`` (down to -1)."""
    return (np.maximum(low - values, 0.0) - np.maximum(values - (100.0 - low), 0.0)) / low


def allowed(way: Floats, view: View, strong: float) -> Bools:
    """Whether a vote for ``way`` does not stand against a trend whose ADX is ``strong`` or more."""
    adx, along = view[ADX], (view[PLUS] - view[MINUS]) * way
    fits: Bools = np.where(along < 0, adx < strong, (along >= 0) & (adx >= 0))
    return fits


def trend_words(view: View, row: int, strong: float) -> str:
    adx, plus, minus = view[ADX][row], view[PLUS][row], view[MINUS][row]
    return f"no strong trend against it: ADX {adx:.1f} (strong: {strong:g}), +DI {plus:.1f}, -DI {minus:.1f}"


@voter(
    "technical.momentum",
    "Against extremes of RSI and stochastic, unless a strong trend goes that way",
    low=Number(30, 1, 49),
    low_stochastic=Number(20, 1, 49),
    strong=Number(30, 0, 100),
)
class Momentum(Rule):
    """Score: how far both are beyond their limits, on average; one that is not beyond counts 0."""

    inputs = (seen("rsi(14)"), seen("stoch(14,3,3).k"), *DIRECTIONAL)

    def signed(self, view: View) -> Floats:
        rsi = beyond(view[RSI], self.numbers["low"])
        both = (rsi + beyond(view[STOCHASTIC], self.numbers["low_stochastic"])) / 2
        agreed = (rsi * both > 0) & allowed(both, view, self.numbers["strong"])
        return np.where(agreed, both, 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        low, stochastic = self.numbers["low"], self.numbers["low_stochastic"]
        return [
            f"RSI {view[RSI][row]:.1f} is outside {low:g} to {100 - low:g}",
            f"stochastic {view[STOCHASTIC][row]:.1f} (limits {stochastic:g} and {100 - stochastic:g})",
            trend_words(view, row, self.numbers["strong"]),
        ]


@voter(
    "technical.money_flow",
    "Against extremes of the money flow index, unless a strong trend goes that way",
    low=Number(20, 1, 49),
    strong=Number(30, 0, 100),
)
class MoneyFlow(Rule):
    """Score: how far the index is beyond its limit."""

    inputs = (seen("mfi(14)"), *DIRECTIONAL)

    def signed(self, view: View) -> Floats:
        flow = beyond(view[MONEY_FLOW], self.numbers["low"])
        return np.where(allowed(flow, view, self.numbers["strong"]), flow, 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        low = self.numbers["low"]
        return [
            f"money flow index {view[MONEY_FLOW][row]:.1f} is outside {low:g} to {100 - low:g}",
            trend_words(view, row, self.numbers["strong"]),
        ]
