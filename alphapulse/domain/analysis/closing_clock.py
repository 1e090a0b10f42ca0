"""How far events brought the venue's clock: what says that a bar has ended, when, and by which event.

A bar is known from the trade on that passed its end, or from the last trade in it where that came later
still. Times are ns by the venue's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.market.candles import Batch


@dataclass(frozen=True, slots=True)
class Step:
    """One event that may bring the clock further; ``batch``: its trades."""

    clock: int
    position: int
    batch: Batch | None


class Clock(Protocol):
    """Knows of one bar at a time."""

    def has_passed(self, end: int) -> bool: ...

    def ended(self, start: int, end: int, /) -> tuple[int, int]:
        """When the bar from ``start`` to ``end``, which has been passed, was known, and by which event."""
        ...


@dataclass(slots=True)
class StepClock:
    """One event with few trades: asked for few bars, it looks at each trade again."""

    before: int
    step: Step

    def has_passed(self, end: int) -> bool:
        return end <= self.step.clock

    def ended(self, start: int, end: int, /) -> tuple[int, int]:
        clock, passed, within = self.before, 0, 0
        for time in self.step.batch.columns.time.tolist() if self.step.batch else ():
            clock = max(clock, time)
            if clock >= end and not passed:
                passed = clock
            if start <= time < end:
                within = clock
        return max(end, passed or self.step.clock, within), self.step.position


@dataclass(frozen=True, slots=True)
class StepsClock:
    """How far each event brought the clock (ascending), and the positions of those events.

    ``moments`` is how far each trade brought it, in the order of the trades. ``delays`` (2, n) are the trades
    whose own time lies behind the clock by then, and the clock: a bar that holds one was not whole before.
    """

    times: Int64s
    positions: Int64s
    moments: Int64s
    delays: Int64s

    @classmethod
    def of(cls, high_water: int, steps: Sequence[Step]) -> "StepsClock":
        moments, delays = list[Int64s](), [np.empty((2, 0), dtype=np.int64)]
        for step in steps:
            if step.batch is not None:
                times = step.batch.columns.time
                clock = np.maximum(np.maximum.accumulate(times), high_water)
                moments.append(clock)
                behind = times < clock
                if behind.any():
                    delays.append(np.stack([times[behind], clock[behind]]))
            high_water = step.clock
            moments.append(np.array([high_water]))
        return cls(
            np.array([step.clock for step in steps], dtype=np.int64),
            np.array([step.position for step in steps], dtype=np.int64),
            np.concatenate(moments),
            np.concatenate(delays, axis=1),
        )

    def has_passed(self, end: int) -> bool:
        return end <= int(self.times[-1])

    def ended(self, start: int, end: int, /) -> tuple[int, int]:
        known, position = self.all_ended(np.array([start]), np.array([end]))
        return int(known[0]), int(position[0])

    def all_ended(self, starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
        """As ``ended``, of bars in ascending order."""
        known = np.maximum(self.moments[np.searchsorted(self.moments, ends)], ends)
        times, clock = self.delays
        if len(times):
            row = np.searchsorted(starts, times, side="right") - 1
            inside = (row >= 0) & (times < ends[row])
            np.maximum.at(known, row[inside], clock[inside])
        return known, self.positions[np.searchsorted(self.times, ends)]


@dataclass(frozen=True, slots=True)
class VenueClock:
    """A venue says by one event that bars have ended at their ends, the last one at ``time``."""

    time: int
    position: int

    def has_passed(self, end: int) -> bool:
        return end <= self.time

    def ended(self, _: int, end: int, /) -> tuple[int, int]:
        return end, self.position

    def all_ended(self, _: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
        return ends, np.full(len(ends), self.position, dtype=np.int64)


BulkClock = StepsClock | VenueClock
