"""Votes with a close beyond a level that was known before: a channel, a swing, the day or week before."""

from collections.abc import Mapping, Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, voter
from alphapulse.domain.decision.votes import View

VOLUME = "volume_ratio_20"

LEVELS: Mapping[str, tuple[str, str]] = {
    "breakout_donchian_20_14": ("highest high of 20 bars", "lowest low of 20 bars"),
    "breakout_swing_5_200_14": ("last swing high", "last swing low"),
    "breakout_day_14": ("high of the day before", "low of the day before"),
    "breakout_week_14": ("high of the week before", "low of the week before"),
}
RULES = ("breakout_donchian(20,14)", "breakout_swing(5,200,14)", "breakout_day(14)", "breakout_week(14)")


@voter(
    "technical.breakout",
    "With a breakout of a channel, a swing, or the high or low of the day or week before, on high volume",
    volume=Number(1.2, 0, 100),
    levels=Number(1, 1, 4, whole=True),
)
class Breakout(Rule):
    """Where ``levels`` of the four or more broke, on ``volume`` times the usual or more.

    Score: half for the share of levels that broke, half for how far beyond the farthest one the close is, in
    average true ranges up to 1. Where a close is above one level and below another the sides are weighed
    against each other.
    """

    inputs = (
        *(seen(f"{rule}.{output}") for rule in RULES for output in ("signal", "strength", "level")),
        seen("volume_ratio(20)"),
    )

    def signed(self, view: View) -> Floats:
        signals = [view[f"{name}.signal"] for name in LEVELS]
        broken = sum(signals[1:], signals[0])
        farthest = np.maximum.reduce([view[f"{name}.strength"] for name in LEVELS])
        counts = (np.abs(broken) >= self.numbers["levels"]) & (view[VOLUME] >= self.numbers["volume"])
        return np.where(counts, broken / 8 + np.sign(broken) * farthest / 2, 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        close, found = view.bars[row, 3], []
        for name, (high, low) in LEVELS.items():
            signal, level = view[f"{name}.signal"][row], view[f"{name}.level"][row]
            if signal:
                end = f"above the {high}" if signal > 0 else f"below the {low}"
                found.append(f"close {close:.6g} {end}, {level:.6g}")
        return [*found, f"volume {view[VOLUME][row]:.2f} times the mean of 20 bars"]
