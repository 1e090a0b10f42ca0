"""Votes with candlestick patterns, each for what its own resolved record is worth: pattern_records.py."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.indicators.pattern_records import FAMILIES
from alphapulse.domain.decision.rules import Number, Rule, seen, voter
from alphapulse.domain.decision.votes import View


class Patterns(Rule):
    """Score: that of the family, where at least ``least`` of the noted pattern's outcomes are known."""

    family: ClassVar[str]

    def signed(self, view: View) -> Floats:
        known = view[self._called("outcomes")] >= self.numbers["least"]
        return np.where(known, view[self._called("score")], 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        pattern, rate, base, outcomes = (
            float(view[self._called(o)][row]) for o in ("pattern", "hit_rate", "base_rate", "outcomes")
        )
        name = FAMILIES[self.family][int(pattern) - 1].replace("_", " ")
        return [
            f"{name}: right {rate:.3f} of the time within 5 bars, where closes go that way {base:.3f} of it",
            f"by the record of its last {outcomes:.1f} outcomes, the older the less",
        ]

    def _called(self, output: str) -> str:
        return f"patterns_{self.family}_5_200_30.{output}"


def of(family: str, title: str) -> type[Rule]:
    rule = f"patterns_{family}(5,200,30)"
    outputs = ("score", "pattern", "hit_rate", "base_rate", "outcomes")
    made = type(
        f"{family.title()}Patterns",
        (Patterns,),
        {
            "__module__": __name__,
            "__doc__": Patterns.__doc__,
            "family": family,
            "inputs": tuple(seen(f"{rule}.{output}") for output in outputs),
        },
    )
    return voter(f"technical.patterns_{family}", title, least=Number(20, 0, 10_000))(made)


SinglePatterns = of("single", "With patterns of one candle, as far as their record bears them out")
DoublePatterns = of("double", "With patterns of two candles, as far as their record bears them out")
StarPatterns = of("star", "With patterns of three candles that turn, as far as their record bears them out")
ContinuationPatterns = of("continuation", "With patterns that go on, as far as their record bears them out")
