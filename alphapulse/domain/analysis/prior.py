"""High, low and close of the day and the week before, by UTC; weeks begin on Monday, 00:00.

Times are bars' open times in minutes since 1970 UTC. A period's figures are known with the first bar that
opens after it. The first period of a series may have begun before it, so it is nobody's period before.
"""

from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats, Int64s

DAY = 1_440  # minutes
WEEK = 10_080
PRIOR_STRENGTH = {DAY: 0.6, WEEK: 0.8}  # of the high and the low; closes matter half as much

_MONDAY = 3 * DAY  # 1970 began on a Thursday


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """(T,) each, of the period before the one in which a bar opens; NaN until there was a whole one."""

    high: Floats
    low: Floats
    close: Floats
    since: Int64s  # bar with which they became known; -1: not yet


@piece
def period_of(start: float, length: float) -> float:
    """A number for the day (``length`` DAY) or week (WEEK) in which a bar opens."""
    return np.floor((start + (_MONDAY if length == WEEK else 0)) / length)  # type: ignore[no-any-return]


def prior(start: Int64s, highs: Floats, lows: Floats, closes: Floats, length: int) -> Prior:
    """What the day (``length`` DAY) or week (WEEK) before was, for each of (T,) bars."""
    if length not in PRIOR_STRENGTH:
        raise ValueError(f"a period of {length} minutes is neither a day nor a week")
    shift = _MONDAY if length == WEEK else 0
    period = (start + shift) // length
    begins = np.flatnonzero(np.concatenate([[True], period[1:] != period[:-1]])) if len(start) else start
    which = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(start))))
    whole = which >= 2
    last = np.maximum(which - 1, 0)
    ends = np.append(begins[1:], len(start)) - 1

    def of(values: Floats) -> Floats:
        return np.where(whole, values[last], np.nan) if len(start) else np.empty(0)

    return Prior(
        high=of(np.maximum.reduceat(highs, begins)) if len(start) else of(highs),
        low=of(np.minimum.reduceat(lows, begins)) if len(start) else of(lows),
        close=of(closes[ends]) if len(start) else of(closes),
        since=np.where(whole, begins[which], -1).astype(np.int64),
    )
