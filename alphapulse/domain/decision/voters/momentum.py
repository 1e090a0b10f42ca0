"""Votes against an extreme of momentum: what is oversold rises, unless a strong trend presses it down.

Whether an oscillator is at an extreme is for the signal of analysis to say: where nothing has moved it stands
at an end of its scale, and that is no extreme.
"""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.features import Feature
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Bools, Number, Rule, seen, voter
from alphapulse.domain.decision.voters.trend import ADX, DIRECTIONAL, MINUS, PLUS
from alphapulse.domain.decision.votes import View

STOCHASTIC = "stoch_14_3_3.k"


def extreme_of(oscillator: str, low: float) -> tuple[Feature, Feature]:
    """The oscillator over 14 bars, and the signal of analysis that it is beyond ``low`` or ``100 - low``."""
    rule = f"{oscillator}_extreme(14,{low!r},{100 - low!r})"
    return seen(f"{rule}.{oscillator}"), seen(f"{rule}.signal")


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

    def prepare(self) -> None:
        extreme = extreme_of("rsi", self.numbers["low"])
        self.inputs = (*extreme, seen("stoch(14,3,3).k"), *DIRECTIONAL)
        self.rsi, self.signal = (feature.name for feature in extreme)

    def signed(self, view: View) -> Floats:
        rsi = np.abs(view[self.signal]) * beyond(view[self.rsi], self.numbers["low"])
        both = (rsi + beyond(view[STOCHASTIC], self.numbers["low_stochastic"])) / 2
        agreed = (rsi * both > 0) & allowed(both, view, self.numbers["strong"])
        return np.where(agreed, both, 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        low, stochastic = self.numbers["low"], self.numbers["low_stochastic"]
        return [
            f"RSI {view[self.rsi][row]:.1f} is outside {low:g} to {100 - low:g}",
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

    def prepare(self) -> None:
        extreme = extreme_of("mfi", self.numbers["low"])
        self.inputs = (*extreme, *DIRECTIONAL)
        self.flow, self.signal = (feature.name for feature in extreme)

    def signed(self, view: View) -> Floats:
        flow = np.abs(view[self.signal]) * beyond(view[self.flow], self.numbers["low"])
        return np.where(allowed(flow, view, self.numbers["strong"]), flow, 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        low = self.numbers["low"]
        return [
            f"money flow index {view[self.flow][row]:.1f} is outside {low:g} to {100 - low:g}",
            trend_words(view, row, self.numbers["strong"]),
        ]
