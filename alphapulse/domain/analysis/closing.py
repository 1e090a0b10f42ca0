"""Events of one instrument to closed bars of seven timeframes, each as it was when it ended.

A bar of trades has ended when an event (a later trade, a watermark) brings the venue's clock past its
end: whatever that event holds is in, whatever comes later is late. It is known from the trade on that
passed its end, or from the last trade in it where that came later still: an event may hold hours. Bars
of a venue have ended when it supplied them. Larger bars are made of 1m bars, or of the venue's where
those are larger. In each timeframe bars are taken in order of their starts: what begins at or before
the last one taken is not taken, and counted. The state between two calls is small, and where the events
are cut changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.bars import AFTER_GAP, Bars
from alphapulse.domain.analysis.bars import BACK_FILLED as BAR_BACK_FILLED
from alphapulse.domain.analysis.bars import RECEIVE_TIME as BAR_RECEIVE_TIME
from alphapulse.domain.analysis.bars import SUPPLIED as BAR_SUPPLIED
from alphapulse.domain.analysis.fields import INPUTS, Floats, Int64s
from alphapulse.domain.analysis.pieces import (
    NO_COUNT,
    NO_SIDE,
    NO_VOLUME,
    OF_TRADES,
    SIDED,
    SUPPLIED,
    Piece,
    Stack,
)
from alphapulse.domain.analysis.watching import Watched
from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.candles import Batch, extent, fold_batches, venue_table
from alphapulse.domain.market.columns import BACK_FILLED, RECEIVE_TIME, TradeColumns
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS, bar_start

FRAMES = tuple(LABELS)  # minutes, ascending
NEVER = -(1 << 62)  # the start of the last bar where there is none
_ORIGINS = {timeframe: int(bar_start(0, timeframe)) for timeframe in FRAMES}
_LONGEST = FRAMES[-1]

Fed = TradesObserved | BarsObserved | FeedConnected | FeedLost | GapClosed | WatermarkPassed


@dataclass(frozen=True, slots=True)
class Closing:
    """What is carried from event to event. ``last`` and ``open`` in order of FRAMES."""

    high_water: int = 0  # ns; 0: nowhere
    late: int = 0  # trades and venue bars that were not taken
    last: tuple[int, ...] = (NEVER,) * len(FRAMES)  # start of the last bar taken, minutes
    open: tuple[Piece | None, ...] = (None,) * len(FRAMES)
    watched: Watched = field(default_factory=Watched)


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """Bars that ended, and for each the first event with anything in it."""

    bars: Bars
    first_position: Int64s

    def take(self, rows: slice) -> "Closed":
        """The same bars, only ``rows``."""
        return Closed(self.bars.take(rows), self.first_position[rows])


def close_bars(
    instrument: str, state: Closing, events: Sequence[tuple[int, Fed]]
) -> tuple[Closing, Mapping[int, Closed]]:
    """The state after ``events`` of ``instrument`` (position and event, in order), and bars they ended.

    By timeframe in minutes; only those in which any bar ended.

    Raises:
        SumTooLarge: the trades of one event are too large for exact sums.
        ValueError: bars of a venue are not of a timeframe of ours, or do not begin where one begins.
    """
    closer = _Closer(state)
    for position, event in events:
        closer.take(position, event)
    closer.settle()
    return closer.state(), closer.closed(instrument)


@dataclass(frozen=True, slots=True)
class _Step:
    """One event that may bring the clock further; ``batch``: its trades."""

    clock: int
    position: int
    batch: Batch | None


@dataclass(frozen=True, slots=True)
class _Clock:
    """How far each event brought the clock (ns, ascending), and the positions of those events.

    ``moments`` is how far each trade brought it, in the order of the trades. ``delays`` (2, n) are the trades
    whose own time lies behind the clock by then, and the clock: a bar that holds one was not whole before.
    """

    times: Int64s
    positions: Int64s
    moments: Int64s
    delays: Int64s

    @classmethod
    def of(cls, high_water: int, steps: Sequence[_Step]) -> "_Clock":
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

    @classmethod
    def supplied(cls, ends: Int64s, position: int) -> "_Clock":
        """Of a venue that says that bars have ended at ``ends``."""
        return cls(ends, np.full(len(ends), position, dtype=np.int64), ends, np.empty((2, 0), dtype=np.int64))

    def has_passed(self, start: int, timeframe: int) -> bool:
        return (start + timeframe) * MINUTE_NS <= int(self.times[-1])

    def ended(self, starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
        """When bars from ``starts`` to ``ends`` (ns, ascending) were known, and by which event."""
        if self.moments is self.times:  # a venue says that they have ended at their ends, in one event
            return ends, np.full(len(ends), self.positions[0], dtype=np.int64)
        known = np.maximum(self.moments[np.searchsorted(self.moments, ends)], ends)
        times, clock = self.delays
        if len(times):
            row = np.searchsorted(starts, times, side="right") - 1
            inside = (row >= 0) & (times < ends[row])
            np.maximum.at(known, row[inside], clock[inside])
        return known, self.positions[np.searchsorted(self.times, ends)]


@dataclass(slots=True)
class _Frame:
    """One timeframe during one call."""

    timeframe: int
    last: int
    open: Piece | None
    before: int = NEVER  # the last start before this call
    known: tuple[_Clock | None, int] = (None, 0)  # when the last bar was, by the clock of the same events
    chunks: list[tuple[NDArray[np.int64], Floats]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before = self.last

    def close_open(self, clock: _Clock, watched: Watched) -> None:
        assert self.open is not None, "no bar is open"
        piece, self.open = self.open, None
        values = np.array(piece.values())[:, None]
        self._emit(
            np.array([piece.start]),
            values,
            np.array([[piece.first], [piece.last], [piece.flags]]),
            clock,
            watched,
        )

    def close_stack(self, stack: Stack, clock: _Clock, watched: Watched) -> None:
        if len(stack):
            numbers = np.stack([stack.first, stack.table[:, k.POSITION], stack.table[:, k.FLAGS]])
            self._emit(stack.start, stack.values(), numbers, clock, watched)

    def _emit(
        self, start: Int64s, values: Floats, numbers: NDArray[np.int64], clock: _Clock, watched: Watched
    ) -> None:
        ends = (start + self.timeframe) * MINUTE_NS
        known, position = clock.ended(start * MINUTE_NS, ends)
        # No bar is known before the one before it.
        floor = self.known[1] if self.known[0] is clock else 0
        known = np.maximum(np.maximum.accumulate(known), floor)
        self.known = (clock, int(known[-1]))
        first, last, flags = numbers
        flags = _bar_flags(flags) | watched.flags(start * MINUTE_NS, ends)
        self.chunks.append((np.stack([start, known, position, first, last, flags]), values))
        self.last = int(start[-1])

    def feed(self, piece: Piece, clock: _Clock, watched: Watched) -> None:
        """Take a smaller bar in. It is not taken when it is late, or of another base than the rest."""
        start = int(bar_start(piece.start, self.timeframe))
        if start <= self.last:
            return
        if self.open is not None and self.open.start < start:
            self.close_open(clock, watched)
        if self.open is None:
            self.open = piece.at(start)
        elif self.open.start == start and self.open.base == piece.base:
            self.open = self.open.merged(piece)

    def feed_stack(self, rolled: Stack, clock: _Clock, watched: Watched) -> None:
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

    def end(self, clock: _Clock, watched: Watched) -> None:
        """Close the open bar when the clock has passed its end."""
        if self.open is not None and clock.has_passed(self.open.start, self.timeframe):
            self.close_open(clock, watched)


class _Closer:
    """One instrument during one call: collects events that can be folded together, and folds them."""

    def __init__(self, state: Closing) -> None:
        self.high_water, self.late, self.watched = state.high_water, state.late, state.watched
        self.frames = [
            _Frame(timeframe, last, piece)
            for timeframe, last, piece in zip(FRAMES, state.last, state.open, strict=True)
        ]
        self.steps: list[_Step] = []
        self.settled = self.high_water  # how far the clock had come before ``steps``

    def state(self) -> Closing:
        return Closing(
            high_water=self.high_water,
            late=self.late,
            last=tuple(f.last for f in self.frames),
            open=tuple(f.open and f.open.reduced() for f in self.frames),
            watched=self.watched,
        )

    def take(self, position: int, event: Fed) -> None:
        match event:
            case TradesObserved():
                self._trades(position, event.columns)
            case BarsObserved():
                self.settle()
                self._bars(position, event)
            case WatermarkPassed(time=time):
                if time > self.high_water:
                    self._step(position, time, None)
            case FeedConnected() | FeedLost() | GapClosed():
                self.settle()  # what ended before is judged by what was known before
                needed = int(bar_start(self.high_water // MINUTE_NS, _LONGEST)) * MINUTE_NS
                self.watched = self.watched.after(event, self.high_water, needed)
            case other:
                raise TypeError(f"{other!r} is none of the events that bars are made of")

    def _step(self, position: int, time: int, batch: Batch | None) -> None:
        self.high_water = max(self.high_water, time)
        self.steps.append(_Step(self.high_water, position, batch))

    def _trades(self, position: int, columns: TradeColumns) -> None:
        box = extent(columns)
        if box.time_lo >= self._taken_until() * MINUTE_NS:
            self._step(position, box.time_hi, Batch(_sided(columns), box, position, 0))
            return
        # Some may be late: what was taken must be known first, and what these trades end ends by them.
        self.settle()
        keep = columns.time // MINUTE_NS > self.frames[0].last
        self.late += len(columns) - int(keep.sum())
        batch = None
        if keep.any():
            kept = columns.take(keep)
            batch = Batch(_sided(kept), extent(kept), position, 0)
        self._step(position, box.time_hi, batch)
        self.settle()

    def _taken_until(self) -> int:
        """Trades from this minute on are in time for sure."""
        return max(self.high_water // MINUTE_NS, self.frames[0].last + 1)

    def settle(self) -> None:
        """Fold the events that were collected."""
        steps, self.steps = self.steps, []
        if steps:
            self._fold(steps)
        self.settled = self.high_water

    def _fold(self, steps: Sequence[_Step]) -> None:
        batches = [step.batch for step in steps if step.batch is not None]
        partials = fold_batches(batches, timeframes=(1,)) if batches else []
        if len(partials) > 1:  # exponents too far apart for one table
            for step in steps:
                self._fold([step])
                self.settled = step.clock
            return
        clock = _Clock.of(self.settled, steps)
        stack = None
        if partials:
            table = partials[0].tables[1]
            reach = np.maximum.accumulate([batch.extent.time_hi for batch in batches])
            # Nobody is late here: the first event that came as far as a minute began it.
            at = np.searchsorted(reach, table[:, k.MINUTE] * MINUTE_NS)
            first = np.array([batch.position for batch in batches], dtype=np.int64)[at]
            stack = Stack(table, first, 1, partials[0].price_exponent, partials[0].size_exponent)
        self._minutes(stack, clock)

    def _minutes(self, stack: Stack | None, clock: _Clock) -> None:
        """Bring the 1m bars up to ``clock`` with the trades in ``stack``, then the larger ones."""
        minute, heads = self.frames[0], list[Piece]()
        if stack is not None and minute.open is not None:
            split = int(np.searchsorted(stack.start, minute.open.start))
            open_, minute.open = minute.open, None
            # Late ones of minutes that were thought quiet.
            heads = [stack.piece(row) for row in range(split)]
            if split < len(stack) and stack.start[split] == open_.start:
                open_ = open_.merged(stack.piece(split))
                split += 1
            heads.append(open_)
            stack = stack.take(slice(split, None))
        elif minute.open is not None:
            heads, minute.open = [minute.open], None
        if stack is not None and len(stack) and not clock.has_passed(int(stack.start[-1]), 1):
            still_open, stack = stack.piece(len(stack) - 1), stack.take(slice(-1))
        elif heads and not clock.has_passed(heads[-1].start, 1):
            still_open = heads.pop()
        else:
            still_open = None
        for piece in heads:
            minute.open = piece
            minute.close_open(clock, self.watched)
        if stack is not None:
            minute.close_stack(stack, clock, self.watched)
        minute.open = still_open
        self._larger(1, heads, stack, clock)

    def _larger(self, base: int, heads: Sequence[Piece], stack: Stack | None, clock: _Clock) -> None:
        """Feed closed bars of ``base`` minutes to all larger timeframes."""
        rolled = stack
        for frame in self.frames[FRAMES.index(base) + 1 :]:
            for piece in heads:
                frame.feed(piece, clock, self.watched)
            if rolled is not None and len(rolled):
                rolled = rolled.rolled(frame.timeframe, _ORIGINS[frame.timeframe])
                frame.feed_stack(rolled, clock, self.watched)
            frame.end(clock, self.watched)

    def _bars(self, position: int, event: BarsObserved) -> None:
        frame = (
            self.frames[FRAMES.index(event.timeframe_minutes)] if event.timeframe_minutes in LABELS else None
        )
        table = venue_table(event.columns, event.timeframe_minutes, position)
        assert frame is not None, "venue_table knows the timeframes"
        fresh = int(np.searchsorted(table[:, k.MINUTE], frame.last, side="right"))
        self.late += fresh
        table = table[fresh:]
        if not len(table):
            return
        unknown = NO_SIDE | SUPPLIED | (0 if event.volume_unit == "base" else NO_VOLUME)
        table[:, k.FLAGS] = unknown | (table[:, k.COUNT] < 0) * NO_COUNT
        first = np.full(len(table), position, dtype=np.int64)
        columns = event.columns
        stack = Stack(table, first, frame.timeframe, columns.price_exponent, columns.volume_exponent)
        for part in self._beside_open(frame, stack):
            self._supplied(frame, part, position)

    def _beside_open(self, frame: _Frame, stack: Stack) -> Iterator[Stack]:
        """``stack``, cut where the open bar of its timeframe comes in between; that bar ends or gives way."""
        if frame.open is None or stack.start[-1] < frame.open.start:
            yield stack
            return
        split = int(np.searchsorted(stack.start, frame.open.start))
        if split < len(stack) and stack.start[split] == frame.open.start:
            self.late += frame.open.trades if frame.timeframe == 1 else 0
            frame.open = None
            yield stack
        elif split == 0:
            yield stack
        else:
            yield stack.take(slice(split))
            yield stack.take(slice(split, None))

    def _supplied(self, frame: _Frame, stack: Stack, position: int) -> None:
        ends = (stack.start + frame.timeframe) * MINUTE_NS
        clock = _Clock.supplied(ends, position)
        heads = list[Piece]()
        if frame.open is not None and frame.open.start < stack.start[0]:
            # The venue says that later bars have ended, so this one has. Trades have fed nothing larger yet.
            heads = [frame.open] if frame.timeframe == 1 else []
            frame.close_open(clock, self.watched)
        frame.close_stack(stack, clock, self.watched)
        self._larger(frame.timeframe, heads, stack, clock)

    def closed(self, instrument: str) -> Mapping[int, Closed]:
        return {f.timeframe: _closed(instrument, f) for f in self.frames if f.chunks}


def _closed(instrument: str, frame: _Frame) -> Closed:
    numbers = np.concatenate([chunk[0] for chunk in frame.chunks], axis=1)
    prices = np.concatenate([chunk[1] for chunk in frame.chunks], axis=1)
    start, known, position, first, last, flags = numbers
    previous = np.concatenate(([frame.before], start[:-1]))
    flags |= ((start > previous + frame.timeframe) & (previous != NEVER)) * AFTER_GAP
    values = np.empty((INPUTS, len(start)))
    values[0], values[1:] = start, prices
    bars = Bars(
        instrument=instrument,
        timeframe=frame.timeframe,
        values=values,
        known_time=known,
        position=position,
        input_position=last,
        flags=flags,
    )
    return Closed(bars, first)


def _sided(columns: TradeColumns) -> TradeColumns:
    """``columns`` with a flag on trades of which the taker's side is known."""
    return replace(columns, flags=columns.flags | (columns.side != 0).astype(np.uint8) * np.uint8(SIDED))


def _bar_flags(flags: Int64s) -> Int64s:
    """Flags of pieces as those of bars."""
    assert OF_TRADES < SUPPLIED, "flags of trades take eight bits"
    found = np.zeros(len(flags), dtype=np.int64)
    some = int(np.bitwise_or.reduce(flags))
    for of_piece, of_bar in (
        (SUPPLIED, BAR_SUPPLIED),
        (BACK_FILLED, BAR_BACK_FILLED),
        (RECEIVE_TIME, BAR_RECEIVE_TIME),
    ):
        if some & of_piece:
            found |= (flags & of_piece != 0) * of_bar
    return found
