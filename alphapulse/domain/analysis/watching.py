"""What was watched of one market, carried along event by event: which bars may lack trades.

The same rules as market/coverage.py, kept small: only what a bar that is still to come can need.
"""

from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.bars import BACK_FILLED, FEED_DOWN
from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.market.coverage import FOREVER, Intervals, subtract
from alphapulse.domain.market.events import FeedConnected, FeedLost, GapClosed

# Of the last ones. What is dropped was watched, so a bar in it counts as not watched: the careful side.
MAX_INTERVALS = 256

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """``known``: the feed was proven alive, or its gap filled. ``filled``: what was fetched after a gap."""

    first: int | None = None  # ns, since when anybody watches; None: nobody ever said so
    connected: int | None = None
    known: Pairs = ()
    filled: Pairs = ()

    def after(
        self, fact: FeedConnected | FeedLost | GapClosed, high_water: int, needed_from: int
    ) -> "Watched":
        """What ``fact`` makes of it. Bars that end by ``needed_from`` (ns) will not be asked for."""
        known, filled = list(self.known), list(self.filled)
        connected = self.connected
        time = fact.start if isinstance(fact, GapClosed) else fact.time
        if isinstance(fact, FeedConnected):
            if connected is not None:  # a process died unheard: nothing is known since its last sign of life
                known.append((connected, min(high_water, time)))
            connected = time
        elif isinstance(fact, FeedLost):
            if connected is not None:
                known.append((connected, time))
            known, connected = subtract(known, time, FOREVER), None
        elif fact.back_filled:
            known.append((fact.start, fact.end))
            filled.append((fact.start, fact.end))
        else:
            known = subtract(known, fact.start, fact.end)
            filled = subtract(filled, fact.start, fact.end)
        return Watched(
            first=time if self.first is None else min(self.first, time),
            connected=connected,
            known=_kept(known, needed_from),
            filled=_kept(filled, needed_from),
        )

    def flags(self, starts: Int64s, ends: Int64s) -> Int64s:
        """FEED_DOWN and BACK_FILLED of bars [start, end) in ns, all of which have ended."""
        if self.first is None:
            return np.zeros(len(starts), dtype=np.int64)
        known = list(self.known)
        if self.connected is not None:
            known.append((self.connected, FOREVER))
        unseen = (ends > self.first) & ~Intervals.of(known).hold(starts, ends)
        fetched = Intervals.of(self.filled).overlap(starts, ends)
        return np.asarray(unseen * FEED_DOWN | fetched * BACK_FILLED, dtype=np.int64)

    def flag(self, start: int, end: int) -> int:
        """The same of one bar."""
        if self.first is None:
            return 0
        # What lies past the connection is known: is the rest, in one interval? They neither meet nor touch.
        rest = end if self.connected is None else min(end, self.connected)
        seen = start >= rest or any(a <= start and rest <= b for a, b in self.known)
        fetched = any(a < end and start < b for a, b in self.filled)
        return (end > self.first and not seen) * FEED_DOWN | fetched * BACK_FILLED


def _kept(pairs: list[tuple[int, int]], needed_from: int) -> Pairs:
    merged = [pair for pair in Intervals.of(pairs).pairs() if pair[1] > needed_from]
    return tuple(merged[-MAX_INTERVALS:])
