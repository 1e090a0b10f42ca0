"""Events of one instrument to ticks: what is evidence of where the market went, in the order of the log.

Each trade is a tick. So is each venue's bar, of the smallest timeframe that was supplied so far, where it
begins at or after the end of the last one and holds no minute in which a trade was observed: trades win.
Bars made of trades are none, their trades are. A watermark that moves the venue's clock is a tick without
a price, and so is a hole that became known after the market was seen again.

The market is dark from FeedLost to FeedConnected or GapClosed, from the last sign of life to a second
FeedConnected, and in a gap that was not filled; not in one that was (the rules of market/coverage.py). Dark
time after the last price that was seen is *pending*: the next ticks say since when. A trade after its
beginning is seen, and ends it as far as its own time; one that lies before, or was fetched into it later,
is evidence but leaves it as it is (LATE). A bar tells of all of its time, whenever it was fetched.

Where the events are cut changes nothing. Times are in nanoseconds, prices in quote currency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.market.columns import BACK_FILLED, BarColumns, TradeColumns
from alphapulse.domain.market.coverage import FOREVER, Intervals, subtract
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.timeframes import MINUTE_NS

TRADE, BAR, CLOCK, HOLE, LATE = range(5)  # kinds of ticks; LATE is a trade too
SEEN = FOREVER  # UNSEEN of a tick where nothing is pending

# Rows of Ticks.numbers and Ticks.prices
KIND, START, MOMENT, UNSEEN, POSITION = range(5)
OPEN, HIGH, LOW, CLOSE = range(4)

# Runs of minutes in which trades were observed, the last ones. What is dropped and all before it counts as
# traded: bars of it are no evidence.
MAX_RUNS = 1024
MAX_DARK = 64  # stretches of dark time; the earliest of more are taken for one


Pair = tuple[int, int]

_EXACT = 1 << 53  # integers up to here are float64s, and so are powers of ten up to 10**22


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
    seen_until: int = 0  # ns, the latest trade or end of a bar that was seen
    connected: int | None = None  # ns, since when; None: it is not
    lost: int | None = None  # ns, since when; None: it is not, or nobody ever watched
    dark: tuple[Pair, ...] = ()  # ns, besides that; after ``seen_until``

    @property
    def pending(self) -> tuple[Pair, ...]:
        """Dark time after the last price that was seen, in order."""
        lost = () if self.lost is None else ((max(self.lost, self.seen_until), FOREVER),)
        return tuple(Intervals.of((*self.dark, *lost)).pairs())


def market_ticks(sight: Sight, events: Sequence[tuple[int, Fed]]) -> tuple[Sight, Ticks]:
    """The state after ``events`` (position and event, in order), and their ticks."""
    look = _Look(sight)
    for position, event in events:
        look.take(position, event)
    return look.sight(), look.ticks()


class _Look:
    """One instrument during one call."""

    def __init__(self, sight: Sight) -> None:
        self.clock, self.alive = sight.clock, sight.alive
        self.timeframe, self.bars_until, self.traded = sight.timeframe, sight.bars_until, sight.traded
        self.seen_until, self.connected, self.lost = sight.seen_until, sight.connected, sight.lost
        self.dark = sight.dark
        self.numbers = [np.empty((5, 0), dtype=np.int64)]
        self.prices = [np.empty((4, 0))]

    def sight(self) -> Sight:
        return Sight(
            clock=self.clock,
            alive=self.alive,
            timeframe=self.timeframe,
            bars_until=self.bars_until,
            traded=self.traded,
            seen_until=self.seen_until,
            connected=self.connected,
            lost=self.lost,
            dark=self.dark,
        )

    def ticks(self) -> Ticks:
        return Ticks(np.concatenate(self.numbers, axis=1), np.concatenate(self.prices, axis=1))

    def take(self, position: int, event: Fed) -> None:
        match event:
            case TradesObserved(columns=columns):
                self._trades(position, columns)
            case BarsObserved(timeframe_minutes=timeframe, columns=bars):
                self._bars(position, timeframe, bars)
            case WatermarkPassed(time=time):
                self._watermark(position, time)
            case FeedConnected(time=time):
                self._connected(time)
            case FeedLost(time=time):
                self.connected, self.lost = None, time if self.lost is None else min(self.lost, time)
            case GapClosed():
                self._gap_closed(position, event)
            case other:
                raise TypeError(f"{other!r} is none of the events that ticks are made of")

    def _trades(self, position: int, columns: TradeColumns) -> None:
        if not len(columns):
            return
        times = columns.time
        numbers = np.empty((5, len(times)), dtype=np.int64)
        numbers[KIND], numbers[START], numbers[UNSEEN], numbers[POSITION] = TRADE, times, SEEN, position
        np.maximum(np.maximum.accumulate(times), self.clock, out=numbers[MOMENT])
        self.clock = int(numbers[MOMENT, -1])
        self.alive = max(self.alive, self.clock)
        self._see_trades(numbers, columns.flags & BACK_FILLED != 0)
        self._remember(times)
        price = _prices(columns.price, columns.price_exponent)
        self.numbers.append(numbers)
        self.prices.append(np.stack([price] * 4))

    def _see_trades(self, numbers: Int64s, fetched: NDArray[np.bool_]) -> None:
        """Write what is pending at each trade, as far as anything is."""
        row, count = 0, numbers.shape[1]
        pending = self._pending()
        while pending and row < count:
            since, until, time = pending[0][0], pending[-1][1], int(numbers[START, row])
            numbers[UNSEEN, row] = since
            if time <= since or (fetched[row] and time < until):
                numbers[KIND, row] = LATE
            else:
                self._see(time)
                pending = self._pending()
            row += 1
        if row < count:
            self._see(int(numbers[START, row:].max()))

    def _see(self, until: int) -> None:
        self.seen_until = max(self.seen_until, until)
        self.dark = tuple(subtract(self.dark, 0, self.seen_until))

    def _pending(self) -> tuple[Pair, ...]:
        return self.sight().pending if self.dark or self.lost is not None else ()

    def _watermark(self, position: int, time: int) -> None:
        if time > self.clock:
            self.clock, self.alive = time, max(self.alive, time)
            pending = self._pending()
            self._put_bare(CLOCK, time, time, pending[0][0] if pending else SEEN, position)

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
        if not len(columns):
            return
        ends = columns.start + timeframe * MINUTE_NS
        self.alive = max(self.alive, int(ends[-1]))
        if self.timeframe and timeframe > self.timeframe:
            return
        self.timeframe = timeframe
        rows = self._evident(columns.start, ends)
        if not len(rows):
            return
        starts, ends = columns.start[rows], ends[rows]
        numbers = np.empty((5, len(rows)), dtype=np.int64)
        numbers[KIND], numbers[START], numbers[MOMENT] = BAR, starts, ends
        numbers[UNSEEN], numbers[POSITION] = SEEN, position
        self._see_bars(numbers)
        self.bars_until = int(ends[-1])
        self.traded = tuple(run for run in self.traded if run[1] > self.bars_until)
        fields = (columns.open, columns.high, columns.low, columns.close)
        self.numbers.append(numbers)
        self.prices.append(np.stack([_prices(f[rows], columns.price_exponent) for f in fields]))

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
        row, count = 0, numbers.shape[1]
        pending = self._pending()
        while pending and row < count:
            since, start, end = pending[0][0], int(numbers[START, row]), int(numbers[MOMENT, row])
            if start > since:
                numbers[UNSEEN, row] = since
            if end > since:
                self._see(end)
                pending = self._pending()
            row += 1
        if row < count:
            self._see(int(numbers[MOMENT, -1]))

    def _connected(self, time: int) -> None:
        if self.lost is not None:
            self._darken(self.lost, time)
        elif (
            self.connected is not None
        ):  # a process died unheard: nothing is known since its last sign of life
            self._darken(max(self.alive, self.connected), time)
        self.connected, self.lost = time, None

    def _gap_closed(self, position: int, gap: GapClosed) -> None:
        if self.lost is not None and gap.end > self.lost:
            self._darken(self.lost, gap.end)
            self.lost = None
        if gap.back_filled:
            self.dark = tuple(subtract(self.dark, gap.start, gap.end))
            return
        self._darken(gap.start, gap.end)
        known = min(gap.end, self.seen_until)
        if gap.start < known:
            self._put_bare(HOLE, gap.start, known, gap.start, position)

    def _darken(self, since: int, until: int) -> None:
        dark = Intervals.of([*self.dark, (max(since, self.seen_until), until)]).pairs()
        extra = len(dark) - MAX_DARK
        self.dark = ((dark[0][0], dark[extra][1]), *dark[extra + 1 :]) if extra > 0 else tuple(dark)

    def _put_bare(self, *numbers: int) -> None:
        self.numbers.append(np.array(numbers, dtype=np.int64)[:, None])
        self.prices.append(np.full((4, 1), np.nan))


def _prices(mantissas: Int64s, exponent: int) -> Floats:
    """Correctly rounded: the nearest float64 to each exact decimal."""
    if exponent <= 22 and int(np.abs(mantissas).max()) <= _EXACT:
        return np.asarray(mantissas / 10.0**exponent, dtype=np.float64)
    return np.array([mantissa / 10**exponent for mantissa in mantissas.tolist()])
