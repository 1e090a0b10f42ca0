"""Swing points: bars whose high (low) stands out from the bars around it, and when that was known.

A bar is a swing high of ``wing`` bars when its high is above the highs of the ``wing`` bars before it and
not below those of the ``wing`` bars after it: of equal highs next to each other the first one counts. Lows
alike. It is known only ``wing`` bars later. Source: B. Williams, Trading Chaos (1995), the fractal, there
with two bars to each side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats, Int64s

MAX_WING = 500  # bars


@dataclass(frozen=True, slots=True, eq=False)
class Swings:
    """(S,) each, in the order in which they became known; a high and a low of one bar both stand here."""

    bars: Int64s
    known: Int64s  # bar at whose end it was known
    prices: Floats
    sides: Int64s  # 1: high, -1: low

    def __len__(self) -> int:
        return len(self.bars)

    def of(self, side: int) -> "Swings":
        """Only the highs (1) or the lows (-1)."""
        return self._where(self.sides == side)

    def until(self, bar: int, since: int = 0) -> "Swings":
        """Those known at ``bar`` whose own bar is ``since`` or later."""
        return self._where((self.known <= bar) & (self.bars >= since))

    def _where(self, rows: NDArray[np.bool_]) -> "Swings":
        return Swings(self.bars[rows], self.known[rows], self.prices[rows], self.sides[rows])


def swings(highs: Floats, lows: Floats, wing: int) -> Swings:
    """All swing points of (T,) highs and lows in quote currency.

    Raises:
        ValueError: ``wing`` outside 1 to MAX_WING, or arrays of two lengths.
    """
    if not 1 <= wing <= MAX_WING or highs.shape != lows.shape:
        raise ValueError(f"wing {wing} needs 1 to {MAX_WING}; {highs.shape} highs, {lows.shape} lows")
    top, bottom = _peaks(highs, wing), _peaks(-lows, wing)
    bars = np.concatenate([top, bottom])
    prices = np.concatenate([highs[top], lows[bottom]])
    sides = np.repeat(np.array([1, -1], dtype=np.int64), [len(top), len(bottom)])
    order = np.lexsort((-sides, bars))
    return Swings(bars[order], bars[order] + wing, prices[order], sides[order])


def _peaks(x: Floats, wing: int) -> Int64s:
    if len(x) < 2 * wing + 1:
        return np.empty(0, dtype=np.int64)
    around = sliding_window_view(x, 2 * wing + 1)
    middle = around[:, wing]
    peak = (middle > around[:, :wing].max(axis=1)) & (middle >= around[:, wing + 1 :].max(axis=1))
    return (np.flatnonzero(peak) + wing).astype(np.int64)


@piece
def is_swing(ring: Floats, slot: int, row: int, wing: int, side: float) -> bool:
    """Whether the bar ``wing`` rows before ``row`` is a swing high (side 1) or low (-1) of ``ring``."""
    mask = ring.shape[0] - 1
    middle = side * ring[(row - wing) & mask, slot]
    for away in range(1, wing + 1):
        before = side * ring[(row - wing - away) & mask, slot]
        after = side * ring[(row - wing + away) & mask, slot]
        if not (middle > before and middle >= after):
            return False
    return True
