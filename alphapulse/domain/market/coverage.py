"""What was watched: from facts about the feed to the state and the coverage of a bar.

Facts come from FeedConnected, FeedLost, GapClosed, in log order. Times are the venue's clock in
nanoseconds, intervals [start, end). A quiet market, a dead feed, a repaired gap and a market that nobody
watched are four different things.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.market.columns import BACK_FILLED as BACK_FILLED_FLAG
from alphapulse.domain.market.columns import Int64s
from alphapulse.domain.market.timeframes import MINUTE_NS

FOREVER = (1 << 63) - 1

Bools = NDArray[np.bool_]


class State(IntEnum):
    """What a bar is, or why there is none. See docs/candles.md."""

    TRADED = 0
    QUIET = 1
    FEED_DOWN = 2
    BACK_FILLED = 3
    REVISED = 4
    VENUE_SUPPLIED = 5
    UNKNOWN = 6


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of evidence; ``high_water`` is how far the market's clock had come before it (0: nowhere)."""

    kind: str  # connected, lost, back_filled, abandoned
    start: int
    end: int | None
    high_water: int


@dataclass(frozen=True, slots=True)
class Intervals:
    """Disjoint, sorted, not touching; [start, end) each."""

    starts: Int64s
    ends: Int64s

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> "Intervals":
        """The union of ``pairs``; empty ones fall out."""
        merged: list[list[int]] = []
        for start, end in sorted(p for p in pairs if p[0] < p[1]):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        table = np.array(merged, dtype=np.int64).reshape(-1, 2)
        return cls(table[:, 0].copy(), table[:, 1].copy())

    def pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def overlap(self, starts: Int64s, ends: Int64s) -> Bools:
        """Which of the spans [start, end) share a moment with any interval."""
        at = np.searchsorted(self.ends, starts, side="right")
        return _at(self.starts, at, FOREVER) < ends

    def hold(self, starts: Int64s, ends: Int64s) -> Bools:
        """Which of the spans lie wholly inside one interval."""
        at = np.searchsorted(self.ends, starts, side="right")
        return (_at(self.starts, at, FOREVER) <= starts) & (_at(self.ends, at, -1) >= ends)

    def whole_minutes(self) -> "Intervals":
        """The minutes (since 1970) that lie wholly inside."""
        starts, ends = -(-self.starts // MINUTE_NS), self.ends // MINUTE_NS
        return Intervals.of(zip(starts.tolist(), ends.tolist(), strict=True))

    def measure(self, starts: Int64s, ends: Int64s) -> Int64s:
        """How much of each span lies inside."""
        return self._below(ends) - self._below(starts)

    def _below(self, points: Int64s) -> Int64s:
        """The length of everything below each point."""
        full = np.concatenate(([0], np.cumsum(self.ends - self.starts)))
        at = np.searchsorted(self.starts, points, side="right")  # intervals that begin at or below
        if not len(self.starts):
            return np.zeros(len(points), dtype=np.int64)
        over = np.maximum(0, self.ends[at - 1] - points) * (at > 0)
        return np.asarray(full[at] - over, dtype=np.int64)


def subtract(pairs: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """``pairs`` without [start, end)."""
    left = [(a, min(b, start)) for a, b in pairs]
    right = [(max(a, end), b) for a, b in pairs]
    return [p for p in left + right if p[0] < p[1]]


@dataclass(frozen=True, slots=True)
class Watch:
    """``watched``: the feed was proven alive. ``down``: it was lost. ``filled``: lost, and fetched later."""

    watched: Intervals
    down: Intervals
    filled: Intervals

    @property
    def covered_minutes(self) -> Intervals:
        """Minutes of which all trades are known, traded or not."""
        known = Intervals.of(self.watched.pairs() + self.filled.pairs()).pairs()
        for start, end in self.down.pairs():
            known = subtract(known, start, end)
        return Intervals.of(known).whole_minutes()


def watch(facts: Sequence[Fact], high_water: int) -> Watch:
    """What ``facts``, in log order, say of a market whose clock has come to ``high_water``.

    A connection proves nothing beyond the high water. A second FeedConnected without a FeedLost means
    that a process died unheard: what came between the last sign of life and the new connection is unknown.
    """
    watched: list[tuple[int, int]] = []
    down: list[tuple[int, int]] = []
    filled: list[tuple[int, int]] = []
    connected: int | None = None
    lost: int | None = None
    for fact in facts:
        if fact.kind == "connected":
            if connected is not None:
                watched.append((connected, min(fact.high_water, fact.start)))
            if lost is not None:
                down.append((lost, fact.start))
            connected, lost = fact.start, None
        elif fact.kind == "lost":
            if connected is not None:
                watched.append((connected, fact.start))
            connected, lost = None, fact.start if lost is None else min(lost, fact.start)
        else:
            end = fact.start if fact.end is None else fact.end
            if lost is not None and end > lost:
                down.append((lost, max(lost, fact.start)))
                lost = None
            inside, outside = (filled, down) if fact.kind == "back_filled" else (down, filled)
            outside[:] = subtract(outside, fact.start, end)
            inside.append((fact.start, end))
    if connected is not None:
        watched.append((connected, high_water))
    if lost is not None:
        down.append((lost, FOREVER))
    return Watch(Intervals.of(watched), Intervals.of(down), Intervals.of(filled))


def states(
    seen: Watch,
    starts: Int64s,
    ends: Int64s,
    *,
    exists: Bools,
    source: Int64s,
    flags: Int64s,
    revision: Int64s,
) -> Int64s:
    """The State of each bar [start, end) in nanoseconds. ``exists``: it has a row; else the rest is moot."""
    down, filled = seen.down.overlap(starts, ends), seen.filled.overlap(starts, ends)
    quiet = seen.watched.hold(starts, ends)
    return np.select(
        [
            exists & (source > 0),
            down,
            filled | (exists & (flags & BACK_FILLED_FLAG != 0)),
            exists & (revision > 0),
            exists,
            quiet,
        ],
        [
            State.VENUE_SUPPLIED,
            State.FEED_DOWN,
            State.BACK_FILLED,
            State.REVISED,
            State.TRADED,
            State.QUIET,
        ],
        default=State.UNKNOWN,
    ).astype(np.int64)


def _at(values: Int64s, index: NDArray[np.intp], beyond: int) -> Int64s:
    """``values[index]``, and ``beyond`` where the index is past the end."""
    return np.append(values, np.int64(beyond))[index]
