"""Against three bars in a row: what rose three times rests, unless the hour has a strong trend."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, share, voter
from alphapulse.domain.decision.votes import View


@voter(
    "example.streak",
    "Against three bars in a row, unless the hour has a strong trend",
    full=Number(3, 0.1, 100),
    strong=Number(30, 0, 100),
)
class Streak(Rule):
    """Score: how far the three bars went, in average true ranges; all of it at ``full``."""

    version = 1  # goes up when the same rows would give other votes
    inputs = (
        seen("mom(1)"),  # close less last close; called mom_1
        seen("mom(1)", lag=1),  # the same a bar ago; called mom_1.lag1
        seen("mom(1)", lag=2),
        seen("atr(14)"),
        seen("adx(14).adx", timeframe=60),  # of the last whole hour; called adx_14.adx.60m
    )

    def signed(self, view: View) -> Floats:
        """-1 is sure of a fall, 1 of a rise, 0 and NaN abstain: a row each, and no row knows of another."""
        moves = [view[name] for name in ("mom_1", "mom_1.lag1", "mom_1.lag2")]
        far = sum(moves, np.zeros(len(view))) / view["atr_14"]
        in_a_row = np.abs(sum(np.sign(move) for move in moves)) == len(moves)
        calm = view["adx_14.adx.60m"] < self.numbers["strong"]
        return np.where(in_a_row & calm, -np.sign(far) * share(np.abs(far), self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        """Why, with the values; asked only of rows that become decisions."""
        moves = [view[name][row] for name in ("mom_1.lag2", "mom_1.lag1", "mom_1")]
        return [
            f"three bars went {', '.join(f'{move:+.6g}' for move in moves)}, ATR {view['atr_14'][row]:.6g}",
            f"the hour's ADX {view['adx_14.adx.60m'][row]:.1f} is under {self.numbers['strong']:g}",
        ]
