"""What bars of one timeframe could see of another one when they became known themselves.

Stricter than a join by known time: one event may end bars of several timeframes, and those have an order.
It is the one in which they are worked on live.
"""

import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import Floats, Int64s


def known_rows(bars: Bars, other: Bars) -> Int64s:
    """For each of ``bars`` the row of ``other`` that was known last when it became known itself; -1: none.

    Bars become known in the order of the events that ended them; of those that one event ended, by their
    ends; of those with one end, the larger timeframe first. So a minute that ends at 10:00 sees the hour that
    does, and the hour does not see that minute.
    """
    first = other.timeframe > bars.timeframe
    moments = [(b.position, b.start + b.timeframe) for b in (bars, other)]
    position, end = (np.concatenate(pair) for pair in zip(*moments, strict=True))
    theirs = np.repeat([0, 1], [len(bars), len(other)])
    order = np.lexsort((-theirs if first else theirs, end, position))
    counted = np.cumsum(theirs[order])
    rows = np.empty(len(order), dtype=np.int64)
    rows[order] = counted - 1
    return rows[: len(bars)]


def seen(values: Floats, rows: Int64s) -> Floats:
    """``values`` of another timeframe as seen from ours, by ``known_rows``; NaN where none was known."""
    if not len(values):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)
