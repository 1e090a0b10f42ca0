"""Votes back to the reference market: what a market did beyond its beta to it tends to be undone."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, share, side, voter
from alphapulse.domain.decision.votes import View

RESIDUAL, BETA = "reference_residual", "reference_beta"


@voter(
    "statistical.pair",
    "Against a return that the reference market does not explain",
    least=Number(2, 0.1, 100),
    full=Number(5, 0.1, 1000),
    beta=Number(0.2, 0, 10),
)
class Pair(Rule):
    """Where the residual is ``least`` of its own deviations or more, full at ``full``.

    Silent where the beta is below ``beta``: such a market has nothing to come back to. No cointegration is
    assumed: it is a bet on one residual, not on a spread.
    """

    def signed(self, view: View) -> Floats:
        residual = view[RESIDUAL]
        counts = (np.abs(residual) >= self.numbers["least"]) & (view[BETA] >= self.numbers["beta"])
        return np.where(counts, -side(residual) * share(np.abs(residual), self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        residual, beta = view[RESIDUAL][row], view[BETA][row]
        return [f"the last return was {residual:+.2f} deviations off {beta:.2f} times the reference's"]
