"""Votes with a trend that larger timeframes agree on, seen from the row's own."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, share, side, voter
from alphapulse.domain.decision.voters.trend import ADX, DIRECTIONAL, MINUS, PLUS
from alphapulse.domain.decision.votes import BadVoter, View
from alphapulse.domain.market.timeframes import LABELS

_MOST = max(LABELS)
NAMES = {"+DI": PLUS, "-DI": MINUS, "ADX": ADX}


@voter(
    "technical.alignment",
    "With the trend, where larger timeframes have it too",
    first=Number(60, 1, _MOST, whole=True),
    second=Number(240, 0, _MOST, whole=True),
    third=Number(0, 0, _MOST, whole=True),
    least=Number(20, 0, 100),
)
class Alignment(Rule):
    """Where the directional movement of the row's bars and of all named timeframes has one side.

    ``first``, ``second`` and ``third`` are minutes, 0 for none, none smaller than the rows' own; each needs
    an ADX of ``least``. Score: the mean ADX of the larger ones, all of it at 50. Of each the latest bar that
    has closed is seen.
    """

    def prepare(self) -> None:
        frames = [int(self.numbers[n]) for n in ("first", "second", "third") if self.numbers[n]]
        unknown = [frame for frame in frames if frame not in LABELS]
        if unknown or sorted(set(frames)) != frames:
            known = ", ".join(map(str, LABELS))
            raise BadVoter(f"{self.name}: timeframes {frames} need to ascend and be of {known} minutes")
        self.frames = frames
        outputs = ("adx(14).adx", "adx(14).plus_di", "adx(14).minus_di")
        larger = (seen(output, timeframe=frame) for frame in frames for output in outputs)
        self.inputs = (*DIRECTIONAL, *larger)

    def signed(self, view: View) -> Floats:
        way = side(view[PLUS] - view[MINUS])
        agreed, total = way != 0, np.zeros(len(view))
        for frame in self.frames:
            adx = view[f"{ADX}.{frame}m"]
            agreed = agreed & (side(view[f"{PLUS}.{frame}m"] - view[f"{MINUS}.{frame}m"]) == way)
            agreed = agreed & (adx >= self.numbers["least"])
            total = total + share(adx, 50.0)
        return np.where(agreed, way * total / len(self.frames), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        suffixes = {"own bars": "", **{LABELS[frame]: f".{frame}m" for frame in self.frames}}
        return [
            f"{label}: {' '.join(f'{name} {view[column + s][row]:.1f}' for name, column in NAMES.items())}"
            for label, s in suffixes.items()
        ]
