"""Votes at prices where a market turned before: a bar that reached a level and was turned away from it."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, voter
from alphapulse.domain.decision.votes import View

ATR, STEP = "atr_14", "breakout_round.step"
SWING_HIGH, SWING_LOW = "last_swings_5_200.high", "last_swings_5_200.low"


def turned_away(view: View, below: Floats, above: Floats, near: float) -> Floats:
    """Above 0 where a bar came within ``near`` ATR of ``below``, closed above it and far from its low.

    Below 0 likewise from ``above``; up to 1 in size: how much nearer to one end of its range the bar closed.
    Where it came near both of them, nothing.
    """
    high, low, close = view.bars[:, 1], view.bars[:, 2], view.bars[:, 3]
    reach = near * view[ATR]
    held = (np.abs(low - below) <= reach) & (close > below)
    stopped = (np.abs(high - above) <= reach) & (close < above)
    where = ((close - low) - (high - close)) / (high - low)
    from_below = np.where(held & (where > 0), where, 0.0)
    return np.where(held & stopped, 0.0, from_below + np.where(stopped & (where < 0), where, 0.0))


def words_of(view: View, row: int, level: float, what: str) -> list[str]:
    _, high, low, close, _ = view.bars[row]
    return [
        f"reached the {what} {level:.6g} and closed at {close:.6g}, in a bar from {low:.6g} to {high:.6g}",
        f"ATR {view[ATR][row]:.6g}",
    ]


@voter(
    "technical.levels",
    "Away from the last swing high or low, where a bar was turned back from it",
    near=Number(0.25, 0.01, 5),
)
class Levels(Rule):
    """Score: how near to the other end of its range the bar closed."""

    inputs = (seen("last_swings(5,200).high"), seen("last_swings(5,200).low"), seen("atr(14)"))

    def signed(self, view: View) -> Floats:
        above, below = view[SWING_HIGH], view[SWING_LOW]
        there = np.where(above > 0, above, np.inf), np.where(below > 0, below, -np.inf)
        known = np.isfinite(above) & np.isfinite(below)
        return np.where(known, turned_away(view, there[1], there[0], self.numbers["near"]), np.nan)

    def words(self, view: View, row: int) -> Sequence[str]:
        _, high, low, close, _ = view.bars[row]
        if close - low > high - close:
            return words_of(view, row, float(view[SWING_LOW][row]), "last swing low")
        return words_of(view, row, float(view[SWING_HIGH][row]), "last swing high")


@voter(
    "technical.round_number",
    "Away from a round number, where a bar was turned back from it",
    near=Number(0.1, 0.01, 5),
    roundness=Number(0.75, 0, 1),
)
class RoundNumber(Rule):
    """Score: as of a level, times how round the number is: 1, 0.75 or 0.5, at least ``roundness``.

    Round numbers are multiples of a tenth of the price's power of ten, as in round_numbers.py.
    """

    inputs = (seen("breakout_round.step"), seen("atr(14)"))

    def signed(self, view: View) -> Floats:
        step, low, high = view[STEP], view.bars[:, 2], view.bars[:, 1]
        below, above = np.round(low / step), np.round(high / step)
        away = turned_away(view, below * step, above * step, self.numbers["near"])
        weight = np.where(away > 0, roundness(below), roundness(above))
        return np.where(weight >= self.numbers["roundness"], away * weight, 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        _, high, low, close, _ = view.bars[row]
        step = view[STEP][row]
        reached = low if close - low > high - close else high
        return words_of(view, row, float(np.round(reached / step) * step), "round number")


def roundness(steps: Floats) -> Floats:
    """1 for a multiple of ten steps, 0.75 of five, 0.5 else; the remainder would take five times as long."""
    ten, five = steps / 10, steps / 5
    return np.where(ten == np.floor(ten), 1.0, np.where(five == np.floor(five), 0.75, 0.5))
