"""Trades to bars: partial bars of a few events, which merge with those of any other events.

Events TradesObserved and BarsObserved of one instrument. Prices and sums are integers in units of
10**-exponent; times are the venue's clock in nanoseconds. Inside a bar the order is (time, id), so any
order and chunking of the same trades ends in the same bar. Revisions count events, hence depend on the
log's order and on nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS, bar_start

Table = NDArray[np.int64]  # (bars, kernels.WIDTH)

# A sum in one partial bar stays below 2**116: 128 bits then hold it, its sign, and the three decimal
# digits by which a numeric of PostgreSQL is aligned.
MAX_EVENT_SUM = 1 << 105
MAX_PARTIAL_SUM = 1 << 116

_FIRST_ROWS = 64
_LOW = (1 << 64) - 1


class SumTooLarge(ValueError):
    """The trades of one event are too large for exact sums: refuse such values before they are recorded."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The box around the trades of one event. Prices and sizes are mantissas, without their signs."""

    time_lo: int
    time_hi: int
    id_lo: int
    id_hi: int
    price: int
    size: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The trades of one event, and how far the market's clock had come before it (0: nowhere)."""

    columns: TradeColumns
    extent: Extent
    position: int
    high_water: int


@dataclass(frozen=True, slots=True)
class PartialBars:
    """What some events add to the bars of one instrument: per timeframe a table sorted by minute."""

    price_exponent: int
    size_exponent: int
    tables: Mapping[int, Table]  # by timeframe in minutes


def extent(columns: TradeColumns) -> Extent:
    """The extent of ``columns``, which hold at least one trade."""
    time_lo, time_hi, id_lo, id_hi, price, size = k.extremes(
        columns.time, columns.id, columns.price, columns.size
    )
    return Extent(time_lo, time_hi, id_lo, id_hi, price, size)


def fold_batches(
    batches: Sequence[Batch], *, last_time: int | None = None, timeframes: Sequence[int] = tuple(LABELS)
) -> list[PartialBars]:
    """Partial bars of ``batches``, events of one instrument in log order.

    One PartialBars as a rule. More when the exponents of the events differ so much that a common one
    would overflow 64 bits, or the sums 128: those merge in the database, where numbers have no limit.
    ``MINUTES`` of a bar counts its minutes after the one that holds ``last_time``, the last trade before
    these batches: they are new for certain. None: no minute is certain.

    Raises:
        SumTooLarge: a single event is over the limit.
    """
    return [_fold_run(run, last_time, timeframes) for run in _runs(batches)]


@dataclass(slots=True)
class _Run:
    """Events that share exponents, after rescaling to the finest, and whose sums fit."""

    price_exponent: int
    size_exponent: int
    price: int = 0  # largest mantissa at these exponents
    size: int = 0
    rows: int = 0
    batches: list[Batch] = field(default_factory=list)

    def admit(self, batch: Batch, limit: int) -> bool:
        """Take ``batch`` in, or leave the run as it is when its exponents or its sums do not fit."""
        columns, box = batch.columns, batch.extent
        price_exponent = max(self.price_exponent, columns.price_exponent)
        size_exponent = max(self.size_exponent, columns.size_exponent)
        price = max(
            self.price * 10 ** (price_exponent - self.price_exponent),
            box.price * 10 ** (price_exponent - columns.price_exponent),
        )
        size = max(
            self.size * 10 ** (size_exponent - self.size_exponent),
            box.size * 10 ** (size_exponent - columns.size_exponent),
        )
        rows = self.rows + len(columns)
        if price >> 63 or size >> 63 or max(price, 1) * size * rows > limit:
            return False
        self.price_exponent, self.size_exponent = price_exponent, size_exponent
        self.price, self.size, self.rows = price, size, rows
        self.batches.append(batch)
        return True


def _runs(batches: Sequence[Batch]) -> Iterator[_Run]:
    """Split ``batches`` where a common exponent or a sum would overflow."""
    run: _Run | None = None
    for batch in batches:
        if run and run.admit(batch, MAX_PARTIAL_SUM):
            continue
        if run:
            yield run
        check_sums(batch)
        run = _Run(batch.columns.price_exponent, batch.columns.size_exponent)
        run.admit(batch, MAX_EVENT_SUM)
    if run:
        yield run


def check_sums(batch: Batch) -> None:
    """
    Raises:
        SumTooLarge: the trades of the event are over the limit.
    """
    price, size, rows = batch.extent.price, batch.extent.size, len(batch.columns)
    if price >> 63 or size >> 63 or max(price, 1) * size * rows > MAX_EVENT_SUM:
        raise SumTooLarge(
            f"event at {batch.position}: {rows} trades of up to {price} x {size} (mantissas) "
            f"may sum to over {MAX_EVENT_SUM}"
        )


def _fold_run(run: _Run, last_time: int | None, timeframes: Sequence[int]) -> PartialBars:
    minutes, late = _fold_minutes(run)
    if last_time is not None:
        minutes[:, k.MINUTES] = minutes[:, k.MINUTE] > last_time // MINUTE_NS
    return PartialBars(run.price_exponent, run.size_exponent, dict(roll_up(minutes, late, timeframes)))


def _fold_minutes(run: _Run) -> tuple[Table, Table]:
    """The 1m bars of ``run``, sorted, and its late touches."""
    bars = np.empty((_FIRST_ROWS, k.WIDTH), dtype=np.int64)
    late = np.empty((_FIRST_ROWS, 3), dtype=np.int64)
    slots = np.zeros(2 * _FIRST_ROWS, dtype=np.int32)
    counters = np.zeros(2, dtype=np.int64)
    for ordinal, batch in enumerate(run.batches):
        c, row = batch.columns, 0
        factors = (
            10 ** (run.price_exponent - c.price_exponent),
            10 ** (run.size_exponent - c.size_exponent),
        )
        stand = (batch.position, batch.high_water, ordinal)
        arrays = (c.time, c.price, c.size, c.side, c.id, c.flags)
        while True:
            row = k.fold_trades(*arrays, *factors, *stand, row, bars, slots, late, counters)
            if row == len(c):
                break
            if counters[k.USED] == len(bars):
                bars = _doubled(bars)
                slots = np.zeros(2 * len(bars), dtype=np.int32)
                k.index_minutes(bars, counters[k.USED], slots)
            else:
                late = _doubled(late)
    used, lates = counters
    bars = bars[:used]
    return bars[np.argsort(bars[:, k.MINUTE])], late[:lates]


def _doubled(table: Table) -> Table:
    larger = np.empty((2 * len(table), table.shape[1]), dtype=np.int64)
    larger[: len(table)] = table
    return larger


def roll_up(minutes: Table, late: Table, timeframes: Sequence[int]) -> Iterator[tuple[int, Table]]:
    """``timeframes``, ascending, each from the one before where that divides it, else from 1m."""
    finer, finer_timeframe = minutes, 1
    for timeframe in timeframes:
        if timeframe > 1:
            source = finer if timeframe % finer_timeframe == 0 else minutes
            coarser = np.empty_like(source)
            used = k.roll_up(source, timeframe, int(bar_start(0, timeframe)), late, coarser)
            finer, finer_timeframe = coarser[:used], timeframe
        yield timeframe, finer


def venue_table(columns: BarColumns, timeframe: int, position: int) -> Table:
    """``columns`` in the fields of the fold, sorted by minute, each start once.

    Raises:
        ValueError: the timeframe is none of ours, or a bar does not begin where one of that timeframe does.
    """
    if timeframe not in LABELS:
        raise ValueError(f"bars of {timeframe} minutes: the timeframes are {sorted(LABELS)} minutes")
    minutes = columns.start // MINUTE_NS
    off = (columns.start % MINUTE_NS != 0) | (bar_start(minutes, timeframe) != minutes)
    if off.any():
        raise ValueError(f"no bar of {timeframe} minutes begins at {columns.start[off][0]} ns")
    c = columns
    if (minutes[1:] <= minutes[:-1]).any():
        # unique keeps the first of equals, so look from the end.
        _, from_end = np.unique(minutes[::-1], return_index=True)
        row = len(columns) - 1 - from_end
        minutes, c = minutes[row], _taken(columns, row)
    table = np.empty((len(minutes), k.WIDTH), dtype=np.int64)
    prices = (c.open, c.high, c.low, c.close)
    k.supplied_bars(minutes, c.start, *prices, c.volume, c.trade_count, timeframe, position, table)
    return table


def _taken(columns: BarColumns, row: NDArray[np.int64]) -> BarColumns:
    names = ("start", "open", "high", "low", "close", "volume", "trade_count")
    return replace(columns, **{name: getattr(columns, name)[row] for name in names})


def wide(bar: Sequence[int], high_field: int) -> int:
    """One of the 128-bit sums of a bar (a row of a table as a list); ``high_field`` is one of the *_HI."""
    return (bar[high_field] << 64) + (bar[high_field + 1] & _LOW)
