"""Where stop and target of a candidate lie. Prices in quote currency; ``side`` is 1 (long) or -1 (short).

Everything is a distance from the entry, so that a short is a long in a mirror.
"""

import math

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import Floats

NEAR_ATR = 0.5  # a swing point within this of a level draws it
BEYOND_ATR = 0.1  # a stop lies so far behind the swing point that drew it, a target so far before
LEAST_ATR = 0.1  # no target nearer to the entry; as for the factors of a geometry


@inner_piece
def drawn(distance: float, swing: float, shift: float, atr: float) -> float:
    """``distance`` from the entry, or that of the ``swing`` point and ``shift``, where that is near enough.

    A swing point on the wrong side has a distance under 0 and draws nothing; nor has NaN.
    """
    if swing > 0.0 and abs(swing - distance) <= NEAR_ATR * atr and swing + shift >= LEAST_ATR * atr:
        return swing + shift
    return distance


@inner_piece
def placed(
    side: int,
    entry: float,
    atr: float,
    stop_factor: float,
    target_factor: float,
    swing_low: float,
    swing_high: float,
    to_levels: bool,
) -> tuple[float, float]:
    """Prices of (stop, target): factors times ``atr``, the average true range in price, from ``entry``.

    ``swing_low`` and ``swing_high`` are the last swing points known, NaN where there is none. With
    ``to_levels`` a stop moves to just beyond the one against ``side``, a target to just before the other.
    Whether the prices make sense is for ``is_ordered`` to say: a long's stop may fall under 0.
    """
    stop, target = stop_factor * atr, target_factor * atr
    if to_levels:
        against, ahead = (swing_low, swing_high) if side > 0 else (swing_high, swing_low)
        stop = drawn(stop, side * (entry - against), BEYOND_ATR * atr, atr)
        target = drawn(target, side * (ahead - entry), -BEYOND_ATR * atr, atr)
    return entry - side * stop, entry + side * target


@inner_piece
def is_ordered(side: int, entry: float, stop: float, target: float) -> bool:
    """Whether all are prices (finite, over 0), the stop behind the entry and the target before it."""
    if not (stop > 0.0 and target > 0.0 and entry > 0.0 and math.isfinite(stop + entry + target)):
        return False
    return side * (entry - stop) > 0.0 and side * (target - entry) > 0.0


def to_levels(
    side: int, entry: Floats, atr: Floats, factors: tuple[float, float], swing_low: Floats, swing_high: Floats
) -> tuple[Floats, Floats]:
    """(stops, targets) of rows (n,) each, drawn to levels: the same bytes as ``placed`` row by row."""

    def distances(distance: Floats, swing: Floats, shift: Floats) -> Floats:
        draws = (swing > 0) & (np.abs(swing - distance) <= NEAR_ATR * atr)
        return np.where(draws & (swing + shift >= LEAST_ATR * atr), swing + shift, distance)

    against, ahead = (swing_low, swing_high) if side > 0 else (swing_high, swing_low)
    stop = distances(factors[0] * atr, side * (entry - against), BEYOND_ATR * atr)
    target = distances(factors[1] * atr, side * (ahead - entry), -BEYOND_ATR * atr)
    return entry - side * stop, entry + side * target
