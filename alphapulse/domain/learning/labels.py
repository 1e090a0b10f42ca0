"""What came first after a bar: a rise or a fall of so many average true ranges, within so many bars.

Both barriers lie at the same distance of the close. A label is known only when the market has shown it:
``known_time`` says when, and no model may be fitted on it before. Prices alone decide, no fees: a label
says which way, not whether it pays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.bars import FEED_DOWN, Bars
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, Floats, Int64s
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec

RANGE = "atr(14)"
RANGE_FORGETS = 326  # bars until it shows its start below 1e-9
MAX_HORIZON = 500  # bars

# How a label came about.
UNKNOWN, UP, DOWN, EXPIRED, AMBIGUOUS, UNSEEN = range(6)
NEVER = (1 << 63) - 1


class BadBarriers(ValueError):
    """A distance or a horizon out of range: the message holds the values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Barriers:
    """``atr``: distance of both barriers in average true ranges. ``bars``: for how many they count."""

    atr: float = 2.0
    bars: int = 16

    def __post_init__(self) -> None:
        if not 0.1 <= self.atr <= 20 or not 1 <= self.bars <= MAX_HORIZON:
            raise BadBarriers(
                f"barriers of {self.atr:g} average true ranges (0.1 to 20) for {self.bars} bars "
                f"(1 to {MAX_HORIZON})"
            )

    def as_data(self) -> dict[str, Any]:
        return {"range": RANGE, "atr": self.atr, "bars": self.bars}


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """For T bars: ``rises`` 1 or 0, NaN where neither is said; ``how`` as above; when it was known (ns)."""

    rises: Floats
    how: NDArray[np.int8]
    known_time: Int64s  # NEVER where it is not known yet


def first_touch(bars: Bars, barriers: Barriers) -> Labels:
    """Labels of ``bars``, (T,), by the bars after each.

    The time counts, not the number of bars: a market may be quiet. A bar that opens beyond a barrier touched
    that one first. Both inside one bar is ambiguous and no label; so is what may have happened while the feed
    was down. Where neither is touched in time the label is the way that the last close within it lies.
    """
    open_, high, low, close = (bars.values[i] for i in (OPEN, HIGH, LOW, CLOSE))
    distance = barriers.atr * compute([Spec.parse(RANGE)], bars.values)[0]
    top, bottom = close + distance, close - distance
    over = bars.start + bars.timeframe * (1 + barriers.bars)  # minutes: the horizon's end
    is_down, count = (bars.flags & FEED_DOWN) != 0, len(bars)
    how = np.zeros(count, dtype=np.int8)
    known, last = np.full(count, NEVER), close.copy()
    waits = np.isfinite(distance) & (distance > 0)
    for ahead in range(1, barriers.bars + 2):
        rows = np.flatnonzero(waits[: max(0, count - ahead)])
        if not len(rows):
            break
        at = rows + ahead
        inside = bars.start[at] < over[rows]
        up = inside & (high[at] >= top[rows])
        down = inside & (low[at] <= bottom[rows])
        gap_up, gap_down = open_[at] >= top[rows], open_[at] <= bottom[rows]
        found = np.select(
            [is_down[at], up & gap_up, down & gap_down, up & down, up, down],
            [UNSEEN, UP, DOWN, AMBIGUOUS, UP, DOWN],
            np.where(inside, UNKNOWN, EXPIRED),
        )
        last[rows[inside]] = close[at[inside]]
        ends = inside & (bars.start[at] + bars.timeframe >= over[rows])
        found = np.where((found == UNKNOWN) & ends, EXPIRED, found)
        done = found != UNKNOWN
        how[rows[done]], known[rows[done]] = found[done], bars.known_time[at[done]]
        waits[rows[done]] = False
    moved = np.sign(last - close)
    drift = np.where(moved == 0, np.nan, moved > 0)
    rises = np.select([how == UP, how == DOWN, how == EXPIRED], [1.0, 0.0, drift], np.nan)
    # What it takes to know a label is never less than what came before: a late bar makes later ones late.
    return Labels(rises, how, np.where(how == UNKNOWN, NEVER, np.maximum(known, bars.known_time)))
