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

from alphapulse.domain.analysis.closing_clock import BulkClock, Clock, Step, StepClock, StepsClock, VenueClock
from alphapulse.domain.analysis.closing_frame import FRAMES, NEVER, ORIGINS, Closed, Frame
from alphapulse.domain.analysis.pieces import (
    NO_COUNT,
    NO_SIDE,
    NO_VOLUME,
    SIDED,
    SUPPLIED,
    Piece,
    Stack,
    pieces_of,
    with_piece,
)
from alphapulse.domain.analysis.watching import Watched
from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.candles import Batch, check_sums, extent, fold_batches, venue_table
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS

__all__ = ["FRAMES", "NEVER", "Closed", "Closing", "Fed", "close_bars"]

# So few are looked at one by one: tables would cost more than what is in them.
_FEW_STEPS, _FEW_TRADES = 4, 64

Fed = TradesObserved | BarsObserved | FeedConnected | FeedLost | GapClosed | WatermarkPassed


@dataclass(frozen=True, slots=True)
class Closing:
    """What is carried from event to event. ``last`` and ``open`` in order of FRAMES."""

    high_water: int = 0  # ns; 0: nowhere
    late: int = 0  # trades and venue bars that were not taken
    last: tuple[int, ...] = (NEVER,) * len(FRAMES)  # start of the last bar taken, minutes
    open: tuple[Piece | None, ...] = (None,) * len(FRAMES)
    watched: Watched = field(default_factory=Watched)


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


class _Closer:
    """One instrument during one call: collects events that can be folded together, and folds them."""

    def __init__(self, state: Closing) -> None:
        self.high_water, self.late, self.watched = state.high_water, state.late, state.watched
        self.frames = [
            Frame(timeframe, last, piece)
            for timeframe, last, piece in zip(FRAMES, state.last, state.open, strict=True)
        ]
        self._given = state.open
        self.steps: list[Step] = []
        self.settled = self.high_water  # how far the clock had come before ``steps``

    def state(self) -> Closing:
        return Closing(
            high_water=self.high_water,
            late=self.late,
            last=tuple(f.last for f in self.frames),
            open=tuple(
                given if frame.open is given else frame.open and frame.open.reduced()
                for frame, given in zip(self.frames, self._given, strict=True)
            ),
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
                needed = self.frames[-1].start_of(self.high_water // MINUTE_NS) * MINUTE_NS
                self.watched = self.watched.after(event, self.high_water, needed)
            case other:
                raise TypeError(f"{other!r} is none of the events that bars are made of")

    def _step(self, position: int, time: int, batch: Batch | None) -> None:
        self.high_water = max(self.high_water, time)
        self.steps.append(Step(self.high_water, position, batch))

    def _trades(self, position: int, columns: TradeColumns) -> None:
        box = extent(columns)
        if box.time_lo >= self._taken_until() * MINUTE_NS:
            self._step(position, box.time_hi, Batch(columns, box, position, 0))
            return
        # Some may be late: what was taken must be known first, and what these trades end ends by them.
        self.settle()
        keep = columns.time // MINUTE_NS > self.frames[0].last
        self.late += len(columns) - int(keep.sum())
        batch = None
        if keep.any():
            kept = columns.take(keep)
            batch = Batch(kept, extent(kept), position, 0)
        self._step(position, box.time_hi, batch)
        self.settle()

    def _taken_until(self) -> int:
        """Trades from this minute on are in time for sure."""
        return max(self.high_water // MINUTE_NS, self.frames[0].last + 1)

    def settle(self) -> None:
        """Fold the events that were collected."""
        steps, self.steps = self.steps, []
        if len(steps) <= _FEW_STEPS and sum(len(s.batch.columns) for s in steps if s.batch) <= _FEW_TRADES:
            for step in steps:
                self._fold_few(step)
                self.settled = step.clock
        else:
            self._fold(steps)
        self.settled = self.high_water

    def _fold_few(self, step: Step) -> None:
        """As ``_fold``, of one event with few trades, in plain integers."""
        clock, minute, bars = StepClock(self.settled, step), self.frames[0], list[Piece]()
        if step.batch is not None:
            check_sums(step.batch)
            bars = pieces_of(step.batch.columns, step.position)
        if minute.open is not None:
            bars, minute.open = with_piece(bars, minute.open), None
        still_open = None
        if bars and not minute.has_ended(bars[-1].start, clock):
            still_open = bars.pop()
        self._close_minutes(bars, clock)
        minute.open = still_open
        self._larger(bars, clock)

    def _fold(self, steps: Sequence[Step]) -> None:
        batches = [_sided(step.batch) for step in steps if step.batch is not None]
        partials = fold_batches(batches, timeframes=(1,)) if batches else []
        if len(partials) > 1:  # exponents too far apart for one table
            for step in steps:
                self._fold([step])
                self.settled = step.clock
            return
        clock, stack = StepsClock.of(self.settled, steps), None
        if partials:
            table = partials[0].tables[1]
            reach = np.maximum.accumulate([batch.extent.time_hi for batch in batches])
            # Nobody is late here: the first event that came as far as a minute began it.
            at = np.searchsorted(reach, table[:, k.MINUTE] * MINUTE_NS)
            first = np.array([batch.position for batch in batches], dtype=np.int64)[at]
            stack = Stack(table, first, 1, partials[0].price_exponent, partials[0].size_exponent)
        self._minutes(stack, clock)

    def _minutes(self, stack: Stack | None, clock: StepsClock) -> None:
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
        if stack is not None and len(stack) and not minute.has_ended(int(stack.start[-1]), clock):
            still_open, stack = stack.piece(len(stack) - 1), stack.take(slice(-1))
        elif heads and not minute.has_ended(heads[-1].start, clock):
            still_open = heads.pop()
        else:
            still_open = None
        self._close_minutes(heads, clock)
        if stack is not None:
            minute.close_stack(stack, clock, self.watched)
        minute.open = still_open
        self._roll_up(1, heads, stack, clock)

    def _close_minutes(self, bars: Sequence[Piece], clock: Clock) -> None:
        for piece in bars:
            self.frames[0].open = piece
            self.frames[0].close_open(clock, self.watched)

    def _larger(self, minutes: Sequence[Piece], clock: Clock) -> None:
        """Feed closed 1m bars to all larger timeframes."""
        for frame in self.frames[1:]:
            for piece in minutes:
                frame.feed(piece, clock, self.watched)
            frame.end(clock, self.watched)

    def _roll_up(self, base: int, heads: Sequence[Piece], rolled: Stack | None, clock: BulkClock) -> None:
        """The same of closed bars of ``base`` minutes: ``heads``, then those ``rolled`` up."""
        for frame in self.frames[FRAMES.index(base) + 1 :]:
            for piece in heads:
                frame.feed(piece, clock, self.watched)
            if rolled is not None and len(rolled):
                rolled = rolled.rolled(frame.timeframe, ORIGINS[frame.timeframe])
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

    def _beside_open(self, frame: Frame, stack: Stack) -> Iterator[Stack]:
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

    def _supplied(self, frame: Frame, stack: Stack, position: int) -> None:
        clock = VenueClock(int(stack.start[-1] + frame.timeframe) * MINUTE_NS, position)
        heads = list[Piece]()
        if frame.open is not None and frame.open.start < stack.start[0]:
            # The venue says that later bars have ended, so this one has. Trades have fed nothing larger yet.
            heads = [frame.open] if frame.timeframe == 1 else []
            frame.close_open(clock, self.watched)
        frame.close_stack(stack, clock, self.watched)
        self._roll_up(frame.timeframe, heads, stack, clock)

    def closed(self, instrument: str) -> Mapping[int, Closed]:
        return {frame.timeframe: frame.closed(instrument) for frame in self.frames if frame.numbers}


def _sided(batch: Batch) -> Batch:
    """``batch`` with a flag on trades of which the taker's side is known."""
    columns = batch.columns
    flags = columns.flags | (columns.side != 0).astype(np.uint8) * np.uint8(SIDED)
    return replace(batch, columns=replace(columns, flags=flags))
