"""Votes with a bar of unusual volume, the way it went."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, share, voter
from alphapulse.domain.decision.votes import View

SCORE, RATIO = "volume_breakout_50_10.score", "volume_breakout_50_10.ratio"


@voter(
    "technical.volume",
    "With the direction of a bar whose volume stands out",
    least=Number(4, 0.5, 1000),
    full=Number(20, 1, 1000),
    body=Number(0.5, 0, 1),
)
class Volume(Rule):
    """Where the volume is ``least`` robust deviations over the median, and the body ``body`` of the range.

    Score: the deviations, all of it at ``full``, times the body's share of the range.
    """

    inputs = (seen("volume_breakout(50,10).score"), seen("volume_breakout(50,10).ratio"))

    def signed(self, view: View) -> Floats:
        opened, high, low, close = view.bars[:, :4].T
        way = (close - opened) / (high - low)
        score = view[SCORE]
        counts = (score >= self.numbers["least"]) & (np.abs(way) >= self.numbers["body"])
        return np.where(counts, np.clip(way, -1, 1) * share(score, self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        opened, high, low, close, volume = view.bars[row]
        return [
            f"volume {volume:.6g}, {view[RATIO][row]:.1f} times the median of 50 bars",
            f"{view[SCORE][row]:.1f} robust deviations over it",
            f"from {opened:.6g} to {close:.6g} in a bar from {low:.6g} to {high:.6g}",
        ]
