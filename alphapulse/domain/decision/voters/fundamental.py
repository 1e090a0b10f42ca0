"""Votes by funding rates and headlines, where they are: what is absent is no vote, never a zero."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, share, side, voter
from alphapulse.domain.decision.votes import View

# Many venues pay the same rate for days: its deviation is 0 then, and any other rate not yet a crowd.
LEAST_DEVIATION = 1e-6


def deviations(view: View) -> Floats:
    """How far the last funding rate is from its mean, in its deviations; NaN where nobody knows."""
    return (view["funding_rate"] - view["funding_mean"]) / np.maximum(
        view["funding_deviation"], LEAST_DEVIATION
    )


@voter(
    "fundamental.funding",
    "Against the side that pays unusually much to hold its position",
    least=Number(2, 0.1, 100),
    full=Number(4, 0.1, 1000),
)
class Funding(Rule):
    """Where the rate is ``least`` deviations off its mean and has that side's sign, full at ``full``.

    Longs that pay far more than usual are crowded, and shorts alike: it speaks against them.
    """

    def signed(self, view: View) -> Floats:
        off = deviations(view)
        counts = (np.abs(off) >= self.numbers["least"]) & (off * view["funding_rate"] > 0)
        return np.where(counts, -side(off) * share(np.abs(off), self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        rate, mean = view["funding_rate"][row], view["funding_mean"][row]
        payer = "longs pay shorts" if rate > 0 else "shorts pay longs"
        return [
            f"{payer} {abs(rate):.6%} for 8 hours, {deviations(view)[row]:+.2f} deviations from {mean:+.6%}"
        ]


@voter(
    "fundamental.sentiment",
    "With the headlines of the day, where there are some and they agree",
    least=Number(0.2, 0, 1),
    headlines=Number(3, 1, 10_000),
)
class Sentiment(Rule):
    """Score: the mean sentiment, where it is ``least`` or more of at least so many ``headlines``."""

    def signed(self, view: View) -> Floats:
        mean = view["sentiment"]
        counts = (np.abs(mean) >= self.numbers["least"]) & (view["headlines"] >= self.numbers["headlines"])
        return np.where(counts, mean, 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        return [
            f"sentiment {view['sentiment'][row]:+.2f} of {view['headlines'][row]:.0f} headlines in 24 hours"
        ]
