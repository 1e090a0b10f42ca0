"""Closed bars of one instrument and timeframe as an analysis sees them: as they were when they ended.

A bar is known when the venue's clock has passed its end, by an event of the log. What is recorded about
it later (a late trade, a venue's correction) does not reach back: an analysis of the past gives what it
gave then.
"""

from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import TIME, Floats, Int64s

# Flags of a bar, as known when it ended.
SUPPLIED = 1  # the venue supplied it, or the bars it is made of
BACK_FILLED = 2  # some of its trades were fetched after a gap
RECEIVE_TIME = 4  # some of its trades carry the time they were received
AFTER_GAP = 8  # at least one bar between the last one and this one is missing
FEED_DOWN = 16  # the feed was lost for some of it, or nobody can tell


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Bars:
    """T bars, oldest first. ``values[field, t]``: the fields of fields.Field that are handed in."""

    instrument: str  # venue:symbol
    timeframe: int  # minutes
    values: Floats  # (INPUTS, T)
    known_time: (
        Int64s  # (T,) ns, the venue's clock when the bar was known to have ended; never before its end
    )
    position: Int64s  # (T,) of the event that ended it: a log cut before does not know the bar
    input_position: Int64s  # (T,) of the last event with a trade (or venue bar) in it
    flags: Int64s  # (T,)

    def __len__(self) -> int:
        return len(self.known_time)

    @property
    def start(self) -> Int64s:
        """Open times in minutes since 1970 UTC."""
        minutes: Int64s = self.values[TIME].astype(np.int64)
        return minutes

    def take(self, rows: slice) -> "Bars":
        """The same bars, only ``rows``."""
        return Bars(
            instrument=self.instrument,
            timeframe=self.timeframe,
            values=self.values[:, rows],
            known_time=self.known_time[rows],
            position=self.position[rows],
            input_position=self.input_position[rows],
            flags=self.flags[rows],
        )
