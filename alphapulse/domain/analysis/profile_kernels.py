"""Exact sums by bin of prices, compiled. A sum is high * 2**32 + low: neither half overflows."""

import numpy as np

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.market.columns import Int8s

_LOW = np.int64((1 << 32) - 1)


@piece
def _put(limbs: Int64s, row: int, at: int, value: int) -> None:
    limbs[row, 0, at] += value >> 32
    limbs[row, 1, at] += value & _LOW


@piece
def fold_trades(bins: Int64s, size: Int64s, side: Int8s, first: int, limbs: Int64s) -> None:
    """Add trades to ``limbs`` (volume, taker buy, taker sell, trades; half; bin - first)."""
    for i in range(bins.shape[0]):
        at = bins[i] - first
        _put(limbs, 0, at, size[i])
        if side[i] > 0:
            _put(limbs, 1, at, size[i])
        elif side[i] < 0:
            _put(limbs, 2, at, size[i])
        limbs[3, 1, at] += 1


@piece
def fold_bars(low: Int64s, high: Int64s, amounts: Int64s, per_bin: int, first: int, limbs: Int64s) -> None:
    """Spread ``amounts`` (row, bar) over the ticks from ``low`` to ``high``, both included.

    What the first c of n ticks hold is floor(amount * c / n): so the shares add up to the amount. With n at
    most 2**31 no product overflows.
    """
    for i in range(low.shape[0]):
        ticks = high[i] - low[i] + 1
        begin, end = low[i] // per_bin, high[i] // per_bin
        for row in range(amounts.shape[0]):
            whole, rest, before = amounts[row, i] // ticks, amounts[row, i] % ticks, 0
            for bin_ in range(begin, end + 1):
                covered = min((bin_ + 1) * per_bin - low[i], ticks)
                upto = whole * covered + rest * covered // ticks
                _put(limbs, row, bin_ - first, upto - before)
                before = upto
