"""Events of one instrument to ticks: what is evidence of where the market went, in the order of the log.

Each trade is a tick. So is each venue's bar, of the smallest timeframe that was supplied so far, where it
begins at or after the end of the last one and holds no minute in which a trade was observed: trades win.
Bars made of trades are none, their trades are. A watermark that moves the venue's clock is a tick without
a price, and so is a hole that became known after the market was seen again.

Dark time (darkness.py) after the last price that was seen is *pending*: the next ticks say since when. A
trade after its beginning is seen, and ends it as far as its own time; one that lies before, or was fetched
into it later, is evidence but leaves it as it is (LATE). A bar tells of all of its time, whenever it was
fetched.

Where the events are cut changes nothing. Times are in nanoseconds, prices in quote currency.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.market.columns import BACK_FILLED, BarColumns, TradeColumns
from alphapulse.domain.market.coverage import FOREVER, Intervals
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals.darkness import Darkness, Pair

TRADE, BAR, CLOCK, HOLE, LATE = range(5)  # kinds of ticks; LATE is a trade too
SEEN = FOREVER  # UNSEEN of a tick where nothing is pending

# Rows of Ticks.numbers and Ticks.prices
KIND, START, MOMENT, UNSEEN, POSITION = range(5)
OPEN, HIGH, LOW, CLOSE = range(4)

# Runs of minutes in which trades were observed, the last ones. What is dropped and all before it counts as
# traded: bars of it are no evidence.
MAX_RUNS = 1024

_EXACT = 1 << 53  # integers up to here are float64s, and so are powers of ten up to 10**22
_EXACT_POWER = 22


@dataclass(frozen=True, slots=True, eq=False)
class Ticks:
    """n ticks. ``numbers`` (5, n) and ``prices`` (4, n; NaN of CLOCK and HOLE), with the rows named above.

    A HOLE lasts from UNSEEN to MOMENT.
    """

    numbers: Int64s
    prices: Floats

    def __len__(self) -> int:
        return int(self.numbers.shape[1])


@dataclass(frozen=True, slots=True)
class Sight:
    """What is carried from event to event."""

    clock: int = 0  # ns; of trades and watermarks; 0: nowhere
    alive: int = 0  # ns, the last sign of life: the clock, and the ends of bars
    timeframe: int = 0  # minutes, the smallest of a venue's bars so far; 0: none
    bars_until: int = 0  # ns, the end of the last bar that is evidence
    traded: tuple[Pair, ...] = ()  # ns, runs of minutes with trades
    darkness: Darkness = field(default_factory=Darkness)


def market_ticks(sight: Sight, events: Sequence[tuple[int, Fed]]) -> tuple[Sight, Ticks]:
    """The state after ``events`` (position and event, in order), and their ticks."""
    look = _Look(sight, sum(_most(event) for _, event in events))
    for position, event in events:
        look.take(position, event)
    return look.sight(), look.ticks()


def _most(event: Fed) -> int:
    """How many ticks it is, at most."""
    return len(event.columns) if isinstance(event, TradesObserved | BarsObserved) else 1


class _Look:
    """One instrument during one call."""

    def __init__(self, sight: Sight, most: int) -> None:
        self.clock, self.alive = sight.clock, sight.alive
        self.timeframe, self.bars_until, self.traded = sight.timeframe, sight.bars_until, sight.traded
        self.darkness = sight.darkness
        self.count = 0
        self.numbers = np.empty((5, most), dtype=np.int64)
        self.prices = np.empty((4, most))

    def sight(self) -> Sight:
        return Sight(self.clock, self.alive, self.timeframe, self.bars_until, self.traded, self.darkness)

    def ticks(self) -> Ticks:
        if self.count == self.numbers.shape[1]:
            return Ticks(self.numbers, self.prices)
        return Ticks(self.numbers[:, : self.count].copy(), self.prices[:, : self.count].copy())

    def take(self, position: int, event: Fed) -> None:
        match event:
            case TradesObserved(columns=columns):
                if len(columns):
                    self._trades(position, columns)
            case BarsObserved(timeframe_minutes=timeframe, columns=bars):
                if len(bars):
                    self._bars(position, timeframe, bars)
            case WatermarkPassed(time=time):
                if time > self.clock:
                    self.clock, self.alive = time, max(self.alive, time)
                    pending = self.darkness.pending
                    self._put_bare(CLOCK, time, time, pending[0][0] if pending else SEEN, position)
            case FeedConnected() | FeedLost():
                self.darkness = self.darkness.after(event, self.alive)
            case GapClosed():
                self.darkness = self.darkness.after(event, self.alive)
                known = min(event.end, self.darkness.seen_until)
                if not event.back_filled and event.start < known:
                    self._put_bare(HOLE, event.start, known, event.start, position)
            case other:
                raise TypeError(f"{other!r} is none of the events that ticks are made of")

    def _room(self, count: int) -> tuple[Int64s, Floats]:
        """Columns for so many ticks more."""
        self.count += count
        columns = slice(self.count - count, self.count)
        return self.numbers[:, columns], self.prices[:, columns]

    def _trades(self, position: int, columns: TradeColumns) -> None:
        numbers, prices = self._room(len(columns))
        first, last = _put_trades(columns.time, self.clock, position, numbers)
        self.clock = int(numbers[MOMENT, -1])
        self.alive = max(self.alive, self.clock)
        _put_prices(columns.price, columns.price_exponent, prices[OPEN])
        prices[HIGH:] = prices[OPEN]
        at = self._see_trades(numbers, columns.flags) if self.darkness.pending else 0
        if at < len(columns):
            self.darkness = self.darkness.seen(last if at == 0 else int(numbers[START, at:].max()))
        if not self.traded or first < self.traded[-1][0] or last >= self.traded[-1][1]:
            self._remember(columns.time)

    def _see_trades(self, numbers: Int64s, flags: NDArray[np.uint8]) -> int:
        """Write what is pending at each trade; the first row where nothing is."""
        for row in range(len(flags)):
            pending = self.darkness.pending
            if not pending:
                return row
            since, until, time = pending[0][0], pending[-1][1], int(numbers[START, row])
            numbers[UNSEEN, row] = since
            if time <= since or (flags[row] & BACK_FILLED and time < until):
                numbers[KIND, row] = LATE
            else:
                self.darkness = self.darkness.seen(time)
        return len(flags)

    def _remember(self, times: Int64s) -> None:
        """Add the minutes of these trades to the runs."""
        minutes = times // MINUTE_NS
        first = np.concatenate(([True], minutes[1:] != minutes[:-1]))
        fresh = [(m * MINUTE_NS, (m + 1) * MINUTE_NS) for m in minutes[first].tolist()]
        last = self.traded[-1:]
        if last and min(fresh)[0] >= last[0][0]:
            runs = (*self.traded[:-1], *Intervals.of([*last, *fresh]).pairs())
        else:
            runs = tuple(Intervals.of([*self.traded, *fresh]).pairs())
        dropped = len(runs) - MAX_RUNS
        self.traded = ((0, runs[dropped][1]), *runs[dropped + 1 :]) if dropped > 0 else runs

    def _bars(self, position: int, timeframe: int, columns: BarColumns) -> None:
        ends = columns.start + timeframe * MINUTE_NS
        self.alive = max(self.alive, int(ends[-1]))
        if self.timeframe and timeframe > self.timeframe:
            return
        self.timeframe = timeframe
        rows = self._evident(columns.start, ends)
        if not len(rows):
            return
        numbers, prices = self._room(len(rows))
        numbers[KIND], numbers[START], numbers[MOMENT] = BAR, columns.start[rows], ends[rows]
        numbers[UNSEEN], numbers[POSITION] = SEEN, position
        for price, into in zip((columns.open, columns.high, columns.low, columns.close), prices, strict=True):
            _put_prices(price[rows], columns.price_exponent, into)
        self.bars_until = int(numbers[MOMENT, -1])
        self.traded = tuple(run for run in self.traded if run[1] > self.bars_until)
        self._see_bars(numbers)

    def _evident(self, starts: Int64s, ends: Int64s) -> NDArray[np.intp]:
        """Which bars are evidence."""
        rows = np.flatnonzero(~Intervals.of(self.traded).overlap(starts, ends) & (starts >= self.bars_until))
        if (starts[rows][1:] >= ends[rows][:-1]).all():
            return rows
        kept, until = list[int](), self.bars_until
        for row in rows.tolist():
            if starts[row] >= until:
                kept.append(row)
                until = int(ends[row])
        return np.array(kept, dtype=np.intp)

    def _see_bars(self, numbers: Int64s) -> None:
        """Write what is pending at each bar, as far as anything is."""
        for row in range(numbers.shape[1]):
            pending = self.darkness.pending
            if not pending:
                break
            start, end = int(numbers[START, row]), int(numbers[MOMENT, row])
            if start > pending[0][0]:
                numbers[UNSEEN, row] = pending[0][0]
            self.darkness = self.darkness.seen(end) if end > pending[0][0] else self.darkness
        else:
            return
        self.darkness = self.darkness.seen(self.bars_until)

    def _put_bare(self, *values: int) -> None:
        numbers, prices = self._room(1)
        numbers[:, 0], prices[:] = values, np.nan


@piece
def _put_trades(times: Int64s, clock: int, position: int, numbers: Int64s) -> tuple[int, int]:
    """Write trades as ticks of a market that is seen; the earliest and the latest of their times."""
    first, last = times[0], times[0]
    for i in range(times.shape[0]):
        time = times[i]
        first, last, clock = min(first, time), max(last, time), max(clock, time)
        numbers[KIND, i], numbers[START, i], numbers[MOMENT, i] = TRADE, time, clock
        numbers[UNSEEN, i], numbers[POSITION, i] = SEEN, position
    return first, last


def _put_prices(mantissas: Int64s, exponent: int, into: Floats) -> None:
    """Correctly rounded: the nearest float64 to each exact decimal."""
    if exponent <= _EXACT_POWER and max(mantissas.max(), -mantissas.min()) <= _EXACT:
        np.divide(mantissas, 10.0**exponent, out=into)
    else:
        into[:] = [mantissa / 10**exponent for mantissa in mantissas.tolist()]
