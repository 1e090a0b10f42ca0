"""One timeframe of one instrument during one call: takes bars in order, and collects those that ended.

Bars come one at a time, as pieces, or many at once, as stacks; both ways give the same.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.bars import AFTER_GAP, Bars
from alphapulse.domain.analysis.bars import BACK_FILLED as BAR_BACK_FILLED
from alphapulse.domain.analysis.bars import RECEIVE_TIME as BAR_RECEIVE_TIME
from alphapulse.domain.analysis.bars import SUPPLIED as BAR_SUPPLIED
from alphapulse.domain.analysis.closing_clock import BulkClock, Clock
from alphapulse.domain.analysis.fields import INPUTS, Floats, Int64s
from alphapulse.domain.analysis.pieces import OF_TRADES, SUPPLIED, Piece, Stack
from alphapulse.domain.analysis.watching import Watched
from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.columns import BACK_FILLED, RECEIVE_TIME
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS, bar_start

FRAMES = tuple(LABELS)  # minutes, ascending
NEVER = -(1 << 62)  # the start of the last bar where there is none
ORIGINS = {timeframe: int(bar_start(0, timeframe)) for timeframe in FRAMES}

_BAR_FLAGS = ((SUPPLIED, BAR_SUPPLIED), (BACK_FILLED, BAR_BACK_FILLED), (RECEIVE_TIME, BAR_RECEIVE_TIME))
assert OF_TRADES < SUPPLIED, "flags of trades take eight bits"

# Rows of the whole numbers of closed bars.
START, KNOWN, POSITION, FIRST, LAST, FLAGS = range(6)
_NUMBERS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """Bars that ended, and for each the first event with anything in it."""

    bars: Bars
    first_position: Int64s

    def take(self, rows: slice) -> "Closed":
        """The same bars, only ``rows``."""
        return Closed(self.bars.take(rows), self.first_position[rows])


@dataclass(slots=True)
class Frame:
    """See the module. ``last``: the start of the last bar that ended."""

    timeframe: int
    last: int
    open: Piece | None
    before: int = NEVER  # the last start before this call
    known: tuple[Clock | None, int] = (None, 0)  # when the last bar was, by the clock of the same events
    numbers: list[NDArray[np.int64]] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before = self.last

    def start_of(self, minute: int) -> int:
        """Where the bar that holds ``minute`` begins."""
        return minute - (minute - ORIGINS[self.timeframe]) % self.timeframe

    def has_ended(self, start: int, clock: Clock) -> bool:
        return clock.has_passed((start + self.timeframe) * MINUTE_NS)

    def close_open(self, clock: Clock, watched: Watched) -> None:
        assert self.open is not None, "no bar is open"
        piece, self.open = self.open, None
        start, end = piece.start * MINUTE_NS, (piece.start + self.timeframe) * MINUTE_NS
        known, position = clock.ended(start, end)
        known = max(known, self._floor(clock))
        flags = _bar_flag(piece.flags) | watched.flag(start, end)
        numbers = (piece.start, known, position, piece.first, piece.last, flags)
        self._emit(np.array(numbers, dtype=np.int64)[:, None], np.array(piece.values())[:, None], clock)

    def close_stack(self, stack: Stack, clock: BulkClock, watched: Watched) -> None:
        if not len(stack):
            return
        numbers = np.empty((_NUMBERS, len(stack)), dtype=np.int64)
        starts = stack.start * MINUTE_NS
        ends = starts + self.timeframe * MINUTE_NS
        known, numbers[POSITION] = clock.all_ended(starts, ends)
        np.maximum(np.maximum.accumulate(known), self._floor(clock), out=numbers[KNOWN])
        numbers[START], numbers[FIRST] = stack.start, stack.first
        numbers[LAST] = stack.table[:, k.POSITION]
        numbers[FLAGS] = _bar_flags(stack.table[:, k.FLAGS]) | watched.flags(starts, ends)
        self._emit(numbers, stack.values(), clock)

    def _floor(self, clock: Clock) -> int:
        """No bar is known before the one before it."""
        return self.known[1] if self.known[0] is clock else 0

    def _emit(self, numbers: NDArray[np.int64], values: Floats, clock: Clock) -> None:
        self.known = (clock, int(numbers[KNOWN, -1]))
        self.last = int(numbers[START, -1])
        self.numbers.append(numbers)
        self.values.append(values)

    def feed(self, piece: Piece, clock: Clock, watched: Watched) -> None:
        """Take a smaller bar in. It is not taken when it is late, or of another base than the rest."""
        start = self.start_of(piece.start)
        if start <= self.last:
            return
        if self.open is not None and self.open.start < start:
            self.close_open(clock, watched)
        if self.open is None:
            self.open = piece.at(start)
        elif self.open.start == start and self.open.base == piece.base:
            self.open = self.open.merged(piece)

    def feed_stack(self, rolled: Stack, clock: BulkClock, watched: Watched) -> None:
        """Take bars in that were rolled up to this timeframe."""
        rolled = rolled.take(slice(int(np.searchsorted(rolled.start, self.last, side="right")), None))
        if self.open is not None:
            rolled = rolled.take(slice(int(np.searchsorted(rolled.start, self.open.start)), None))
        if not len(rolled):
            return
        self.feed(rolled.piece(0), clock, watched)
        if len(rolled) > 1:
            self.close_open(clock, watched)
            self.close_stack(rolled.take(slice(1, -1)), clock, watched)
            self.open = rolled.piece(len(rolled) - 1)

    def end(self, clock: Clock, watched: Watched) -> None:
        """Close the open bar when the clock has passed its end."""
        if self.open is not None and self.has_ended(self.open.start, clock):
            self.close_open(clock, watched)

    def closed(self, instrument: str) -> Closed:
        """What ended during the call: at least one bar."""
        numbers = np.concatenate(self.numbers, axis=1)
        start, known, position, first, last, flags = numbers
        previous = np.empty_like(start)
        previous[0], previous[1:] = self.before, start[:-1]
        missing = (start > previous + self.timeframe) & (previous != NEVER)
        values = np.empty((INPUTS, len(start)))
        values[0] = start
        np.concatenate(self.values, axis=1, out=values[1:])
        bars = Bars(
            instrument=instrument,
            timeframe=self.timeframe,
            values=values,
            known_time=known,
            position=position,
            input_position=last,
            flags=flags | missing * AFTER_GAP,
        )
        return Closed(bars, first)


def _bar_flag(flags: int) -> int:
    """Flags of a piece as those of a bar."""
    return sum(of_bar for of_piece, of_bar in _BAR_FLAGS if flags & of_piece)


def _bar_flags(flags: Int64s) -> Int64s:
    """The same of many."""
    found = np.zeros(len(flags), dtype=np.int64)
    some = int(np.bitwise_or.reduce(flags))
    for of_piece, of_bar in _BAR_FLAGS:
        if some & of_piece:
            found |= (flags & of_piece != 0) * of_bar
    return found
