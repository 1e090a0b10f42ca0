"""The open ideas of one instrument, for callers that are not compiled: watch.py has the rules."""

from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.signals.idea import Idea, check
from alphapulse.domain.signals.outcome import Exit
from alphapulse.domain.signals.ticks import Ticks
from alphapulse.domain.signals.watch import (
    BEST,
    CLOSED,
    COUNT,
    EXIT,
    F_ROWS,
    HIGHEST,
    I_ROWS,
    LOWEST,
    MOMENT,
    NEVER,
    NUMBER,
    POSITION,
    REASON,
    UNSEEN_FROM,
    UNSEEN_UNTIL,
    WORST,
    open_idea,
    watch_ticks,
)

CAPACITY = 256
MAX_CAPACITY = 65_536


class TooManyOpen(ValueError):
    """As many ideas of an instrument are open as may be: wait until one closes, or refuse this one."""


@dataclass(frozen=True, slots=True)
class Left:
    """An idea that closed: the number it was added by, and how it left."""

    number: int
    exit: Exit


@dataclass(slots=True, eq=False)
class Watch:
    """Rows of arrays, as watch.py names them."""

    ideas_f: Floats  # (capacity, F_ROWS)
    ideas_i: Int64s  # (capacity, I_ROWS)
    around_f: Floats  # (AROUND_F,)
    around_i: Int64s  # (AROUND_I,)

    @classmethod
    def empty(cls, capacity: int = CAPACITY) -> Self:
        if not 1 <= capacity <= MAX_CAPACITY:
            raise ValueError(f"{capacity} open ideas: from 1 to {MAX_CAPACITY} of an instrument")
        return cls(
            np.zeros((capacity, F_ROWS)),
            np.zeros((capacity, I_ROWS), dtype=np.int64),
            np.array([np.inf, -np.inf, -np.inf, np.inf, np.nan]),
            np.array([0, 0, 0, NEVER]),
        )

    def __len__(self) -> int:
        return int(self.around_i[COUNT])

    def add(self, number: int, idea: Idea) -> None:
        """Watch ``idea`` from the next tick on. ``number`` is the caller's.

        Raises:
            BadIdea: nothing can become of it.
            TooManyOpen: there is no room.
        """
        check(idea)
        levels = (idea.entry, idea.stop, idea.target)
        if not open_idea(*self._arrays, number, idea.side, idea.decided, idea.horizon_end, *levels):
            raise TooManyOpen(f"idea {number}: {len(self)} ideas are open, as many as may be")

    def feed(self, ticks: Ticks) -> list[Left]:
        """The ideas that ``ticks`` close, in the order in which they close."""
        left, at = list[Left](), 0
        while at < len(ticks):
            at = watch_ticks(*self._arrays, ticks.numbers, ticks.prices, at, len(ticks))
            first, closed = self.around_i[[COUNT, CLOSED]].tolist()
            # The one that closed first changed places with the last.
            left += [self._left(slot) for slot in reversed(range(first, first + closed))]
        return left

    @property
    def _arrays(self) -> tuple[Floats, Int64s, Floats, Int64s]:
        return self.ideas_f, self.ideas_i, self.around_f, self.around_i

    def _left(self, slot: int) -> Left:
        f, i = self.ideas_f[slot].tolist(), self.ideas_i[slot].tolist()
        return Left(
            i[NUMBER],
            Exit(
                reason=i[REASON],
                price=f[EXIT],
                worst=f[WORST],
                best=f[BEST],
                highest=f[HIGHEST],
                lowest=f[LOWEST],
                moment=i[MOMENT],
                unseen_from=i[UNSEEN_FROM],
                unseen_until=i[UNSEEN_UNTIL],
                position=i[POSITION],
            ),
        )

    def packed(self) -> bytes:
        """The open ideas: the same bytes wherever the ticks were cut."""
        count = len(self)
        around_i = self.around_i.copy()
        around_i[CLOSED] = 0  # they have been handed out
        parts = (self.ideas_f[:count], self.ideas_i[:count], self.around_f, around_i)
        return msgspec.msgpack.encode((len(self.ideas_f), *(part.tobytes() for part in parts)))

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """Back from ``packed``."""
        capacity, ideas_f, ideas_i, around_f, around_i = msgspec.msgpack.decode(data, type=_PACKED)
        watch = cls.empty(capacity)
        watch.around_f[:] = np.frombuffer(around_f)
        watch.around_i[:] = np.frombuffer(around_i, dtype=np.int64)
        count = len(watch)
        watch.ideas_f[:count] = np.frombuffer(ideas_f).reshape(count, F_ROWS)
        watch.ideas_i[:count] = np.frombuffer(ideas_i, dtype=np.int64).reshape(count, I_ROWS)
        return watch


_PACKED = tuple[int, bytes, bytes, bytes, bytes]
