"""Votes with divergences: price makes a new swing, and an indicator does not follow (or the reverse)."""

from collections.abc import Mapping, Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, voter
from alphapulse.domain.decision.votes import View

RULES: Mapping[str, str] = {
    "divergence_rsi_14_3_60": "divergence_rsi(14,3,60)",
    "divergence_macd_12_26_9_3_60": "divergence_macd(12,26,9,3,60)",
    "divergence_obv_3_60": "divergence_obv(3,60)",
}
TITLES = dict(zip(RULES, ("RSI", "MACD", "on-balance volume"), strict=True))
VALUES = ("first_price", "second_price", "first_value", "second_value")
OUTPUTS = ("signal", "strength", "hidden", *VALUES)


@voter(
    "technical.divergence",
    "With divergences of price from RSI, MACD and on-balance volume",
    least=Number(0.1, 0, 1),
    hidden=Number(0.5, 0, 1),
)
class Divergence(Rule):
    """The mean strength of the three, each at least ``least``; hidden ones count ``hidden`` of it."""

    inputs = tuple(seen(f"{rule}.{output}") for rule in RULES.values() for output in OUTPUTS)

    def signed(self, view: View) -> Floats:
        return sum((self._one(view, name) for name in RULES), np.zeros(len(view))) / len(RULES)

    def _one(self, view: View, name: str) -> Floats:
        strength = view[f"{name}.strength"]
        weight = np.where(view[f"{name}.hidden"] > 0, self.numbers["hidden"], 1.0)
        return view[f"{name}.signal"] * np.where(strength < self.numbers["least"], 0.0, strength * weight)

    def words(self, view: View, row: int) -> Sequence[str]:
        found = []
        for name, title in TITLES.items():
            signal, strength, hidden, *rest = (float(view[f"{name}.{output}"][row]) for output in OUTPUTS)
            if signal and strength >= self.numbers["least"]:
                kind = f"{'hidden' if hidden else 'regular'} {'bullish' if signal > 0 else 'bearish'}"
                prices = f"{'lows' if signal > 0 else 'highs'} {rest[0]:.6g}, then {rest[1]:.6g}"
                values = f"{title} {rest[2]:.6g}, then {rest[3]:.6g}"
                found.append(f"{kind} divergence of strength {strength:.2f}: {prices}, {values}")
        return found
