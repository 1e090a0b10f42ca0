"""How far it is from every close to the next level, for whole series at once.

The same levels as in levels.py but for clusters, which lie among the swing points that they are made of.
"""

import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Floats, Int64s
from alphapulse.domain.analysis.prior import PRIOR_STRENGTH, prior
from alphapulse.domain.analysis.round_numbers import at_or_below, grid
from alphapulse.domain.analysis.swings import swings


def nearest_levels(bars: Bars, atr: Floats, *, wing: int, reach: int) -> tuple[Floats, Floats]:
    """ATR from each close down to the next level at or below it, and up to the next above it.

    Levels are the swing points of the last ``reach`` bars, high, low and close of the day and week before,
    and round numbers, all as known at the bar.
    """
    closes = bars.values[CLOSE]
    found = swings(bars.values[HIGH], bars.values[LOW], wing)
    lower, upper = _next_swings(found.prices, found.bars, found.known, closes, reach)
    for length in PRIOR_STRENGTH:
        past = prior(bars.start, bars.values[HIGH], bars.values[LOW], closes, length)
        for price in (past.high, past.low, past.close):
            lower = np.fmax(lower, np.where(price <= closes, price, np.nan))
            upper = np.fmin(upper, np.where(price > closes, price, np.nan))
    below, above = _round_around(closes)
    down, up = closes - np.fmax(lower, below), np.fmin(upper, above) - closes
    with np.errstate(divide="ignore", invalid="ignore"):
        return finite(down / atr), finite(up / atr)


@piece
def _next_swings(
    prices: Floats, bars: Int64s, known: Int64s, closes: Floats, reach: int
) -> tuple[Floats, Floats]:
    """The highest swing point at or below each close, and the lowest above it; NaN where there is none."""
    lower, upper = np.full(len(closes), np.nan), np.full(len(closes), np.nan)
    begin, end = 0, 0
    for t in range(len(closes)):
        while end < len(prices) and known[end] <= t:
            end += 1
        while begin < end and bars[begin] < t - reach:
            begin += 1
        for price in prices[begin:end]:
            if price <= closes[t]:
                lower[t] = price if not lower[t] >= price else lower[t]
            else:
                upper[t] = price if not upper[t] <= price else upper[t]
    return lower, upper


@piece
def _round_around(closes: Floats) -> tuple[Floats, Floats]:
    """The round number at or below each close, and the one above it."""
    below, above = np.empty(len(closes)), np.empty(len(closes))
    for t in range(len(closes)):
        times, over = grid(closes[t])
        steps = at_or_below(closes[t], times, over)
        below[t], above[t] = steps * times / over, (steps + 1) * times / over
    return below, above


def finite(values: Floats) -> Floats:
    """NaN where a value is infinite."""
    return np.where(np.isfinite(values), values, np.nan)
