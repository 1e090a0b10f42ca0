"""Bars as PostgreSQL's binary COPY rows, without a Python object a value.

A numeric travels as base-10000 digits with a weight, a sign and a display scale. Trailing zeros are cut,
so that equal values are equal bytes whatever exponent they came with.
Format: PostgreSQL manual, COPY, "Binary Format"; src/backend/utils/adt/numeric.c, numeric_recv.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.candles import Table

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

# What a bar may have; venue bars leave some of it out.
HAS_BASE, HAS_QUOTE, HAS_BUY = 1, 2, 4
HAS_ALL = HAS_BASE | HAS_QUOTE | HAS_BUY

_FIELDS = 20
_MAX_NUMERIC = 8 + 2 * 12
_MAX_ROW = 2 + 4 * _FIELDS + 7 * _MAX_NUMERIC + 8 * 8 + 4 * 2  # besides the name of the instrument
_US_TO_2000 = 946_684_800_000_000
_LOW = np.uint64(0xFFFFFFFF)
_BASE = np.uint64(10_000)
_HALF = np.uint64(32)

Bytes = NDArray[np.uint8]
Word = Any


@njit(cache=True, nogil=True)
def _put(out: Bytes, at: Word, value: Word, size: int) -> Word:
    """Write ``value`` in ``size`` bytes, big end first; returns where it ends."""
    for i in range(size):
        out[at + i] = np.uint8((np.int64(value) >> np.int64(8 * (size - 1 - i))) & 0xFF)
    return at + size


@njit(cache=True, nogil=True)
def _field(out: Bytes, at: Word, value: Word, size: int) -> Word:
    return _put(out, _put(out, at, size, 4), value, size)


@njit(cache=True, nogil=True)
def _numeric(out: Bytes, at: Word, high: Word, low: Word, exponent: int, digits: NDArray[np.int16]) -> Word:
    """Write (high, low) * 10**-exponent as a numeric field; ``digits`` is room to work in."""
    negative = high < 0
    a, b = np.uint64(high), np.uint64(low)
    if negative:
        b = ~b + np.uint64(1)
        a = ~a + np.uint64(b == 0)
    # Shift the decimal point to the edge of a group of four digits, then split off groups.
    pad = (-exponent) % 4
    factor = np.uint64(10**pad)
    x0 = (b & _LOW) * factor
    x1 = (b >> _HALF) * factor + (x0 >> _HALF)
    x2 = (a & _LOW) * factor + (x1 >> _HALF)
    x3 = (a >> _HALF) * factor + (x2 >> _HALF)
    x0, x1, x2 = x0 & _LOW, x1 & _LOW, x2 & _LOW
    n = 0
    while (x3 | x2 | x1) != 0:
        x2 |= (x3 % _BASE) << _HALF
        x3 //= _BASE
        x1 |= (x2 % _BASE) << _HALF
        x2 //= _BASE
        x0 |= (x1 % _BASE) << _HALF
        x1 //= _BASE
        digits[n] = np.int16(x0 % _BASE)
        x0 //= _BASE
        n += 1
    while x0 != 0:
        digits[n] = np.int16(x0 % _BASE)
        x0 //= _BASE
        n += 1
    zeros = 0
    while zeros < n and digits[zeros] == 0:
        zeros += 1
    groups = (exponent + pad) // 4  # behind the decimal point, trailing zeros included
    weight = n - groups - 1 if n > 0 else 0
    scale = 0
    if n > 0 and groups > zeros:
        scale = 4 * (groups - zeros)
        last = digits[zeros]
        while last % 10 == 0:
            last //= 10
            scale -= 1
    at = _put(out, at, 8 + 2 * (n - zeros), 4)
    at = _put(out, at, n - zeros, 2)
    at = _put(out, at, weight, 2)
    at = _put(out, at, 0x4000 if negative else 0, 2)
    at = _put(out, at, scale, 2)
    for i in range(n - 1, zeros - 1, -1):
        at = _put(out, at, digits[i], 2)
    return at


@njit(cache=True, nogil=True)
def _bars(
    bars: NDArray[np.int64],
    instrument: Bytes,
    timeframe: int,
    source: int,
    price_exponent: int,
    base_exponent: int,
    quote_exponent: int,
    has: int,
    out: Bytes,
) -> int:
    digits = np.empty(16, dtype=np.int16)
    at = np.int64(0)
    for row in range(bars.shape[0]):
        at = _put(out, at, _FIELDS, 2)
        at = _put(out, at, instrument.shape[0], 4)
        for i in range(instrument.shape[0]):
            out[at + i] = instrument[i]
        at += instrument.shape[0]
        at = _field(out, at, timeframe, 2)
        at = _field(out, at, source, 2)
        at = _field(out, at, bars[row, k.MINUTE] * 60_000_000 - _US_TO_2000, 8)
        for field in (k.OPEN, k.HIGH, k.LOW, k.CLOSE):
            price = bars[row, field]
            at = _numeric(out, at, price >> 63, price, price_exponent, digits)
        for field, exponent, flag in (
            (k.BASE_HI, base_exponent, HAS_BASE),
            (k.QUOTE_HI, quote_exponent, HAS_QUOTE),
            (k.BUY_HI, base_exponent, HAS_BUY),
        ):
            if has & flag:
                at = _numeric(out, at, bars[row, field], bars[row, field + 1], exponent, digits)
            else:
                at = _put(out, at, -1, 4)
        count = bars[row, k.COUNT]
        at = _put(out, at, -1, 4) if count < 0 else _field(out, at, count, 8)
        for field in (k.OPEN_TIME, k.OPEN_ID, k.CLOSE_TIME, k.CLOSE_ID):
            at = _field(out, at, bars[row, field], 8)
        at = _field(out, at, bars[row, k.MINUTES], 4)
        at = _field(out, at, bars[row, k.REVISION], 4)
        at = _field(out, at, bars[row, k.FLAGS], 2)
        at = _field(out, at, bars[row, k.POSITION], 8)
    return int(at)


def candle_rows(
    bars: Table,
    instrument: str,
    *,
    timeframe: int,
    source: int,
    price_exponent: int,
    base_exponent: int,
    quote_exponent: int,
    has: int = HAS_ALL,
) -> memoryview:
    """Rows of the table ``candles``, in the order of its columns, without header and trailer.

    A negative COUNT becomes null, and so does each volume that ``has`` lacks.
    """
    name = np.frombuffer(instrument.encode(), dtype=np.uint8)
    out = np.empty(len(bars) * (_MAX_ROW + len(name)), dtype=np.uint8)
    used = _bars(bars, name, timeframe, source, price_exponent, base_exponent, quote_exponent, has, out)
    return out[:used].data
