"""Compiled loops of the candle fold. Everything is a 64-bit integer; sums that could be larger have two.

A bar is one row of a table of shape (n, WIDTH), fields as named below. ``*_HI`` and ``*_LO`` are one
signed 128-bit integer: HI * 2**64 + LO, LO taken without its sign. Times are nanoseconds, bars are
stamped by their first minute since 1970 UTC.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alphapulse.domain.market.columns import Int8s, Int64s, UInt8s
from alphapulse.domain.market.timeframes import MINUTE_NS

# Fields of a bar.
MINUTE = 0
OPEN, OPEN_TIME, OPEN_ID = 1, 2, 3
HIGH, LOW = 4, 5
CLOSE, CLOSE_TIME, CLOSE_ID = 6, 7, 8
BASE_HI, BASE_LO = 9, 10  # sum of size
BUY_HI, BUY_LO = 11, 12  # sum of size where the taker bought
QUOTE_HI, QUOTE_LO = 13, 14  # sum of price * size
COUNT = 15
FLAGS = 16
POSITION = 17  # of the last event that touched the bar
REVISION = 18  # how many events touched it after it had ended
EVENT = 19  # ordinal of the last event that touched it: each event counts once
MINUTES = 20  # how many 1m rows inside are known to be new
WIDTH = 21

# Fields of a late touch: an event changed a minute that had already ended.
LATE_EVENT, LATE_MINUTE, LATE_HIGH_WATER = 0, 1, 2

Word = Any  # one int64 or uint64, as numba infers it

# Counters that a kernel leaves behind.
USED, LATE = 0, 1

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: neighbouring minutes spread over the table


@njit(cache=True, nogil=True, inline="always")
def _product(a: Word, b: Word) -> tuple[Word, Word]:
    """a * b as 128 bits: the schoolbook way on 32-bit halves, then corrected for the signs."""
    ua, ub = np.uint64(a), np.uint64(b)
    a1, a0, b1, b0 = ua >> _HALF, ua & _LOW, ub >> _HALF, ub & _LOW
    low = a0 * b0
    middle = a1 * b0 + (low >> _HALF)
    other = a0 * b1 + (middle & _LOW)
    high = np.int64(a1 * b1 + (middle >> _HALF) + (other >> _HALF))
    if a < 0:
        high -= b
    if b < 0:
        high -= a
    return high, np.int64((other << _HALF) | (low & _LOW))


@njit(cache=True, nogil=True, inline="always")
def _add(bars: NDArray[np.int64], row: Word, field: int, high: Word, low: Word) -> None:
    """Add a 128-bit integer to the one at ``field`` (its HI; LO follows)."""
    total = np.uint64(bars[row, field + 1]) + np.uint64(low)
    bars[row, field + 1] = np.int64(total)
    bars[row, field] += high + np.int64(total < np.uint64(low))


@njit(cache=True, nogil=True)
def _flush(
    bars: NDArray[np.int64],
    row: Word,
    base_high: Word,
    base: Word,
    buy_high: Word,
    buy: Word,
    quote_high: Word,
    quote: Word,
    count: Word,
    flag: Word,
) -> None:
    _add(bars, row, BASE_HI, base_high, np.int64(base))
    _add(bars, row, BUY_HI, buy_high, np.int64(buy))
    _add(bars, row, QUOTE_HI, quote_high, np.int64(quote))
    bars[row, COUNT] += count
    bars[row, FLAGS] |= np.int64(flag)


@njit(cache=True, nogil=True, inline="always")
def _slot(slots: NDArray[np.int32], bars: NDArray[np.int64], minute: Word) -> Word:
    """Where ``minute`` stands in the hash table, or the free slot where it belongs."""
    mask = slots.shape[0] - 1
    slot = np.int64((np.uint64(minute) * _MIX) >> _HALF) & mask
    while slots[slot] != 0 and bars[slots[slot] - 1, MINUTE] != minute:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def fold_trades(
    time: Int64s,
    price: Int64s,
    size: Int64s,
    side: Int8s,
    ident: Int64s,
    flags: UInt8s,
    price_factor: int,
    size_factor: int,
    position: int,
    high_water: int,
    event: int,
    first: int,
    bars: NDArray[np.int64],
    slots: NDArray[np.int32],
    late: NDArray[np.int64],
    counters: Int64s,
) -> int:
    """Fold the trades of one event, from row ``first`` on, into the 1m ``bars``.

    Returns the first row that was not folded because ``bars`` or ``late`` is full; n when all were.
    ``slots`` maps minutes to rows + 1 and has a power of two of entries, twice those of ``bars``.
    """
    used, lates = counters[USED], counters[LATE]
    begin, end, row = np.int64(0), np.int64(0), np.int64(-1)
    # The sums of the run of trades inside one minute stay in registers: twice as fast as in the table.
    base_high, base, buy_high, buy = np.int64(0), np.uint64(0), np.int64(0), np.uint64(0)
    quote_high, quote, count, flag = np.int64(0), np.uint64(0), np.int64(0), np.uint8(0)
    n: int = time.shape[0]
    for i in range(first, n):
        t, p, s, trade = time[i], price[i] * price_factor, size[i] * size_factor, ident[i]
        if t < begin or t >= end:
            if row >= 0:
                _flush(bars, row, base_high, base, buy_high, buy, quote_high, quote, count, flag)
                base_high, base, buy_high, buy = np.int64(0), np.uint64(0), np.int64(0), np.uint64(0)
                quote_high, quote, count, flag = np.int64(0), np.uint64(0), np.int64(0), np.uint8(0)
                row = np.int64(-1)
            if used == bars.shape[0] or lates == late.shape[0]:
                n = i
                break
            minute = t // MINUTE_NS
            begin = minute * MINUTE_NS
            end = begin + MINUTE_NS
            slot = _slot(slots, bars, minute)
            if slots[slot] == 0:
                row = used
                used += 1
                slots[slot] = used
                bars[row, :] = 0
                bars[row, MINUTE] = minute
                bars[row, OPEN], bars[row, HIGH], bars[row, LOW], bars[row, CLOSE] = p, p, p, p
                bars[row, OPEN_TIME], bars[row, CLOSE_TIME] = t, t
                bars[row, OPEN_ID], bars[row, CLOSE_ID] = trade, trade
                bars[row, EVENT] = -1
            else:
                row = np.int64(slots[slot] - 1)
            if bars[row, EVENT] != event:
                bars[row, EVENT] = event
                bars[row, POSITION] = max(bars[row, POSITION], position)
                if end <= high_water:
                    bars[row, REVISION] += 1
                    late[lates, LATE_EVENT] = event
                    late[lates, LATE_MINUTE] = minute
                    late[lates, LATE_HIGH_WATER] = high_water
                    lates += 1
        if t > bars[row, CLOSE_TIME] or (t == bars[row, CLOSE_TIME] and trade > bars[row, CLOSE_ID]):
            bars[row, CLOSE], bars[row, CLOSE_TIME], bars[row, CLOSE_ID] = p, t, trade
        elif t < bars[row, OPEN_TIME] or (t == bars[row, OPEN_TIME] and trade < bars[row, OPEN_ID]):
            bars[row, OPEN], bars[row, OPEN_TIME], bars[row, OPEN_ID] = p, t, trade
        if p > bars[row, HIGH]:
            bars[row, HIGH] = p
        if p < bars[row, LOW]:
            bars[row, LOW] = p
        base += np.uint64(s)
        base_high += (s >> 63) + np.int64(base < np.uint64(s))
        bought = s & -np.int64(side[i] == 1)
        buy += np.uint64(bought)
        buy_high += (bought >> 63) + np.int64(buy < np.uint64(bought))
        if (p | s) >> 31 == 0:  # both small and not negative, as nearly always
            high, low = np.int64(0), p * s
        else:
            high, low = _product(p, s)
        quote += np.uint64(low)
        quote_high += high + np.int64(quote < np.uint64(low))
        count += 1
        flag |= flags[i]
    if row >= 0:
        _flush(bars, row, base_high, base, buy_high, buy, quote_high, quote, count, flag)
    counters[USED], counters[LATE] = used, lates
    return n


@njit(cache=True, nogil=True)
def supplied_bars(
    minute: Int64s,
    start: Int64s,
    opens: Int64s,
    high: Int64s,
    low: Int64s,
    close: Int64s,
    volume: Int64s,
    count: Int64s,
    timeframe: int,
    position: int,
    bars: NDArray[np.int64],
) -> None:
    """Fill ``bars`` with those that a venue supplied, ``start`` in ns: row by row, as they lie in memory."""
    for row in range(bars.shape[0]):
        for field in range(WIDTH):
            bars[row, field] = 0
        bars[row, MINUTE], bars[row, OPEN_TIME] = minute[row], start[row]
        bars[row, CLOSE_TIME] = start[row] + timeframe * MINUTE_NS - 1
        bars[row, OPEN], bars[row, HIGH] = opens[row], high[row]
        bars[row, LOW], bars[row, CLOSE] = low[row], close[row]
        bars[row, BASE_HI], bars[row, QUOTE_HI] = volume[row] >> 63, volume[row] >> 63
        bars[row, BASE_LO], bars[row, QUOTE_LO] = volume[row], volume[row]
        bars[row, COUNT], bars[row, MINUTES], bars[row, POSITION] = count[row], timeframe, position


@njit(cache=True, nogil=True)
def extremes(time: Int64s, ident: Int64s, price: Int64s, size: Int64s) -> tuple[int, int, int, int, int, int]:
    """Least and greatest time and id, and the largest price and size without their signs. n >= 1."""
    time_lo, time_hi, id_lo, id_hi = time[0], time[0], ident[0], ident[0]
    price_lo, price_hi, size_lo, size_hi = price[0], price[0], size[0], size[0]
    for i in range(1, time.shape[0]):
        time_lo, time_hi = min(time_lo, time[i]), max(time_hi, time[i])
        id_lo, id_hi = min(id_lo, ident[i]), max(id_hi, ident[i])
        price_lo, price_hi = min(price_lo, price[i]), max(price_hi, price[i])
        size_lo, size_hi = min(size_lo, size[i]), max(size_hi, size[i])
    return time_lo, time_hi, id_lo, id_hi, max(price_hi, -price_lo), max(size_hi, -size_lo)


@njit(cache=True, nogil=True)
def index_minutes(bars: NDArray[np.int64], used: int, slots: NDArray[np.int32]) -> None:
    """Fill ``slots``, all zero, with the first ``used`` rows."""
    for row in range(used):
        slots[_slot(slots, bars, bars[row, MINUTE])] = row + 1


@njit(cache=True, nogil=True)
def roll_up(
    finer: NDArray[np.int64], minutes: int, origin: int, late: NDArray[np.int64], coarser: NDArray[np.int64]
) -> int:
    """Merge bars, sorted by minute, into bars of ``minutes`` each; returns how many there are.

    ``origin`` is any minute at which such a bar begins. ``late`` holds the late touches in event order;
    a touch revises a larger bar only when that one, too, had ended, and an event counts once.
    """
    n = -1
    for i in range(finer.shape[0]):
        start = finer[i, MINUTE] - (finer[i, MINUTE] - origin) % minutes
        if n < 0 or coarser[n, MINUTE] != start:
            n += 1
            coarser[n, :] = finer[i, :]
            coarser[n, MINUTE], coarser[n, REVISION], coarser[n, EVENT] = start, 0, -1
            continue
        for first, sign in ((OPEN, -1), (CLOSE, 1)):
            by_time = (finer[i, first + 1] - coarser[n, first + 1]) * sign
            if by_time > 0 or (by_time == 0 and (finer[i, first + 2] - coarser[n, first + 2]) * sign > 0):
                for field in range(first, first + 3):
                    coarser[n, field] = finer[i, field]
        coarser[n, HIGH] = max(coarser[n, HIGH], finer[i, HIGH])
        coarser[n, LOW] = min(coarser[n, LOW], finer[i, LOW])
        for field in (BASE_HI, BUY_HI, QUOTE_HI):
            _add(coarser, n, field, finer[i, field], finer[i, field + 1])
        coarser[n, COUNT] += finer[i, COUNT]
        coarser[n, FLAGS] |= finer[i, FLAGS]
        coarser[n, POSITION] = max(coarser[n, POSITION], finer[i, POSITION])
        coarser[n, MINUTES] += finer[i, MINUTES]
    used = n + 1
    for i in range(late.shape[0]):
        start = late[i, LATE_MINUTE] - (late[i, LATE_MINUTE] - origin) % minutes
        if (start + minutes) * MINUTE_NS <= late[i, LATE_HIGH_WATER]:
            row = np.searchsorted(coarser[:used, MINUTE], start)
            if coarser[row, EVENT] != late[i, LATE_EVENT]:
                coarser[row, EVENT] = late[i, LATE_EVENT]
                coarser[row, REVISION] += 1
    return used
