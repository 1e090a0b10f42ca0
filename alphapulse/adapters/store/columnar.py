"""Trades, bars and funding rates as bytes: 4 to 7 bytes a trade instead of 77 for a row.

A state is 3 bytes of magic, kind and format version, then one zstd frame (level 1, checksummed) of:
header, integer columns, packed sides, flags. Each integer column is divided by the largest power of
ten that divides all of it (its unit: times in whole milliseconds take three bytes less), optionally
replaced by differences, then written as zigzag varints. Every int64 comes back exactly.

Decoding checks every length before it allocates: damaged bytes raise UndecodableEvent, never more.
"""

import struct
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import zstandard
from numba import njit
from numpy.typing import NDArray

from alphapulse.domain.market.columns import (
    MAX_EXPONENT,
    MAX_ROWS,
    UNKNOWN,
    BarColumns,
    Int8s,
    Int64s,
    TradeColumns,
    UInt8s,
)
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.fundamentals import MAX_INTERVAL_HOURS, FundingColumns, FundingObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import UndecodableEvent

UInt64s = NDArray[np.uint64]

_TRADES_MAGIC = b"\xa9T\x01"
_BARS_MAGIC = b"\xa9B\x01"
_FUNDING_MAGIC = b"\xa9F\x01"
_HEADER = struct.Struct("<HBBBB")  # rows, price exponent, size or volume exponent, extras, bytes of text
_HAS_UNKNOWN_SIDES, _HAS_FLAGS = 1, 2
_MAX_TEXT = 255
_MAX_VARINT = 10

_TRADE_COLUMNS = 4  # time, price, size, id
_BAR_COLUMNS = 7  # start, open, high, low, close, volume, trade count
_TRADE_DELTAS = np.array([True, True, False, True])
_BAR_DELTAS = np.array([True, True, True, True, True, False, False])
_FUNDING_DELTAS = np.array([True, False, False])  # time, rate, interval in hours
_NO_SIDES, _NO_FLAGS = np.empty(0, np.int8), np.empty(0, np.uint8)

# 10**e = 5**e * 2**e: a multiple of 5**e times the inverse of 5**e modulo 2**64 is the exact quotient,
# at a tenth of what a division costs; and a number is such a multiple when that product is small.
_POWERS = 10 ** np.arange(MAX_EXPONENT + 1, dtype=np.int64)
_INVERSES = np.array([pow(5**e, -1, 1 << 64) for e in range(MAX_EXPONENT + 1)], np.uint64)
_LARGEST = np.array([((1 << 64) - 1) // 10**e for e in range(MAX_EXPONENT + 1)], np.uint64)


class _Zstd(threading.local):
    """One compressor, decompressor and buffer a thread: none may be shared."""

    def __init__(self) -> None:
        self.buffer = np.empty(0, np.uint8)
        self.compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


@njit(nogil=True, cache=True)
def _unit(column: Int64s, inverses: UInt64s, largest: UInt64s) -> np.int64:
    """The largest e up to 18 with every value divisible by 10**e."""
    e = np.int64(len(inverses) - 1)
    for value in column:
        magnitude = np.uint64(value if value >= 0 else -value)
        while e > 0:
            product = magnitude * inverses[e]
            # Rotate right by e: bits lost to the right come in as large numbers on the left.
            rotated = (product >> np.uint64(e)) | (product << np.uint64(64 - e))
            if rotated <= largest[e]:
                break
            e -= np.int64(1)
        if e == 0:
            break
    return e


@njit(nogil=True, cache=True)
def _pack(
    columns: Int64s,
    deltas: NDArray[np.bool_],
    side: Int8s,
    flags: UInt8s,
    inverses: UInt64s,
    largest: UInt64s,
    out: UInt8s,
) -> Any:
    """Write a byte a column for its unit, all varints, planes of sides, flags; return how many bytes, extras.

    ``columns`` has shape (k, n), ``side`` and ``flags`` (n,) or (0,); ``out`` holds the longest that this
    can get. A side that is none gives -1 bytes.
    """
    at = columns.shape[0]
    for k in range(columns.shape[0]):
        unit = _unit(columns[k], inverses, largest)
        out[k] = unit
        previous = np.int64(0)
        for raw in columns[k]:
            value = np.int64(np.uint64(raw >> unit) * inverses[unit])
            step = value - previous if deltas[k] else value
            previous = value
            zigzag = np.uint64((step << np.int64(1)) ^ (step >> np.int64(63)))
            while zigzag >= np.uint64(128):
                out[at] = np.uint8((zigzag & np.uint64(127)) | np.uint64(128))
                zigzag >>= np.uint64(7)
                at += 1
            out[at] = np.uint8(zigzag)
            at += 1
    extras = 0
    n = len(side)
    for sought, extra in ((1, 0), (0, 1)):  # buys; then the unknown, if there are any
        any_found = False
        end = at
        for first in range(0, n, 8):
            byte = 0
            for i in range(first, min(first + 8, n)):
                byte |= (side[i] == sought) << (7 - (i - first))
                if side[i] < -1 or side[i] > 1:
                    return -1, 0
            any_found |= byte != 0
            out[end] = byte
            end += 1
        if any_found or not extra:
            at = end
            extras |= extra
    if flags.any():
        extras |= 2
        out[at : at + n] = flags
        at += n
    return at, extras


@njit(nogil=True, cache=True)
def _unpack(data: UInt8s, at: int, deltas: NDArray[np.bool_], units: Int64s, columns: Int64s) -> int:
    """Fill ``columns`` from ``data[at:]``; return where reading ended, -1 when the bytes are no varints."""
    end = len(data)
    for k in range(columns.shape[0]):
        previous = np.int64(0)
        unit = units[k]
        delta = deltas[k]
        row = columns[k]
        for i in range(len(row)):
            if at >= end:
                return -1
            byte = data[at]
            at += 1
            zigzag = np.uint64(byte & np.uint8(127))
            shift = np.uint64(7)
            while byte >= np.uint8(128):
                if at >= end or shift > np.uint64(63):
                    return -1
                byte = data[at]
                at += 1
                zigzag |= np.uint64(byte & np.uint8(127)) << shift
                shift += np.uint64(7)
            value = np.int64(zigzag >> np.uint64(1)) ^ -np.int64(zigzag & np.uint64(1))
            if delta:
                value += previous
                previous = value
            row[i] = value * unit
    return at


def encode_trades(event: TradesObserved) -> bytes:
    """The stored state of ``event``.

    Raises:
        ValueError: no rows or over 10,000, columns that differ in length, an exponent or side out of range.
    """
    c = event.columns
    columns = _stack((c.time, c.price, c.size, c.id))
    rows = columns.shape[1]
    if len(c.side) != rows or len(c.flags) != rows:
        raise ValueError(f"{rows} trades with {len(c.side)} sides and {len(c.flags)} flags")
    side, flags = _plain(c.side, np.int8), _plain(c.flags, np.uint8)
    packed, extras = _packed(columns, _TRADE_DELTAS, side, flags)
    text = f"{event.instrument.venue}\n{event.instrument.symbol}"
    header = _header(rows, c.price_exponent, c.size_exponent, extras, text)
    return _TRADES_MAGIC + _compress(header, packed)


def decode_trades(state: bytes) -> TradesObserved:
    """The event whose state this is.

    Raises:
        UndecodableEvent: the bytes are damaged, or no trades.
    """
    data, rows, price_exponent, size_exponent, extras, text, at = _open(state, _TRADES_MAGIC)
    if extras > (_HAS_UNKNOWN_SIDES | _HAS_FLAGS) or len(text) != 2:
        raise UndecodableEvent(f"a header of trades with extras {extras} and texts {text}")
    columns, at = _unpacked(data, at, _TRADE_DELTAS, rows)
    plane = (rows + 7) // 8
    planes = 2 if extras & _HAS_UNKNOWN_SIDES else 1
    has_flags = bool(extras & _HAS_FLAGS)
    if len(data) != at + plane * planes + rows * has_flags:
        raise UndecodableEvent(f"{len(data)} bytes where {rows} trades end at {at} + sides and flags")
    side = _sides(data[at : at + plane * planes], rows, planes)
    flags = data[-rows:].copy() if has_flags else np.zeros(rows, np.uint8)
    return TradesObserved(
        instrument=_instrument(*text),
        columns=TradeColumns(
            time=columns[0],
            price=columns[1],
            size=columns[2],
            side=side,
            id=columns[3],
            flags=flags,
            price_exponent=price_exponent,
            size_exponent=size_exponent,
        ),
    )


def encode_bars(event: BarsObserved) -> bytes:
    """The stored state of ``event``.

    Raises:
        ValueError: no rows or over 10,000, columns that differ in length, an exponent or timeframe out of
            range.
    """
    if "\n" in event.volume_unit or event.timeframe_minutes < 1:
        raise ValueError(f"bars of {event.timeframe_minutes} minutes, volume in {event.volume_unit!r}")
    c = event.columns
    columns = _stack((c.start, c.open, c.high, c.low, c.close, c.volume, c.trade_count))
    i = event.instrument
    text = f"{i.venue}\n{i.symbol}\n{event.volume_unit}\n{event.timeframe_minutes}"
    packed, extras = _packed(columns, _BAR_DELTAS, _NO_SIDES, _NO_FLAGS)
    header = _header(columns.shape[1], c.price_exponent, c.volume_exponent, extras, text)
    return _BARS_MAGIC + _compress(header, packed)


def decode_bars(state: bytes) -> BarsObserved:
    """The event whose state this is.

    Raises:
        UndecodableEvent: the bytes are damaged, or no bars.
    """
    data, rows, price_exponent, volume_exponent, extras, text, at = _open(state, _BARS_MAGIC)
    if extras or len(text) != 4 or not text[3].isdecimal() or int(text[3]) < 1:
        raise UndecodableEvent(f"a header of bars with extras {extras} and texts {text}")
    columns, at = _unpacked(data, at, _BAR_DELTAS, rows)
    if len(data) != at:
        raise UndecodableEvent(f"{len(data)} bytes where {rows} bars end at {at}")
    start, open_, high, low, close, volume, trade_count = columns
    return BarsObserved(
        instrument=_instrument(text[0], text[1]),
        timeframe_minutes=int(text[3]),
        volume_unit=text[2],
        columns=BarColumns(
            start=start,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            trade_count=trade_count,
            price_exponent=price_exponent,
            volume_exponent=volume_exponent,
        ),
    )


def encode_funding(event: FundingObserved) -> bytes:
    """The stored state of ``event``.

    Raises:
        ValueError: no rows or over 10,000, columns that differ in length, an exponent or interval
            out of range.
    """
    c = event.columns
    columns = _stack((c.time, c.rate, c.interval_hours))
    _check_intervals(columns[2])
    packed, extras = _packed(columns, _FUNDING_DELTAS, _NO_SIDES, _NO_FLAGS)
    text = f"{event.instrument.venue}\n{event.instrument.symbol}"
    return _FUNDING_MAGIC + _compress(_header(columns.shape[1], c.rate_exponent, 0, extras, text), packed)


def decode_funding(state: bytes) -> FundingObserved:
    """The event whose state this is.

    Raises:
        UndecodableEvent: the bytes are damaged, or no funding rates.
    """
    data, rows, exponent, other, extras, text, at = _open(state, _FUNDING_MAGIC)
    if extras or other or len(text) != 2:
        raise UndecodableEvent(f"a header of funding with extras {extras}, {other} and texts {text}")
    columns, at = _unpacked(data, at, _FUNDING_DELTAS, rows)
    if len(data) != at:
        raise UndecodableEvent(f"{len(data)} bytes where {rows} funding rates end at {at}")
    time, rate, interval_hours = columns
    try:
        _check_intervals(interval_hours)
    except ValueError as error:
        raise UndecodableEvent(str(error)) from error
    return FundingObserved(
        instrument=_instrument(*text),
        columns=FundingColumns(time=time, rate=rate, interval_hours=interval_hours, rate_exponent=exponent),
    )


def _check_intervals(hours: Int64s) -> None:
    if not ((hours >= 1) & (hours <= MAX_INTERVAL_HOURS)).all():
        raise ValueError(f"intervals last 1 to {MAX_INTERVAL_HOURS} hours: {hours.min()} to {hours.max()}")


def _stack(columns: Sequence[Int64s]) -> Int64s:
    """The columns as one array of shape (k, n)."""
    lengths = {len(c) for c in columns}
    if len(lengths) > 1:
        raise ValueError(f"columns of one batch have lengths {sorted(lengths)}")
    for column in columns:
        _check_type(column, np.int64)
    return np.concatenate(columns).reshape(len(columns), -1)


def _plain(column: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
    """``column``, or a copy where it is strided or read-only: each kind would compile the kernel anew."""
    _check_type(column, dtype)
    return column if column.flags.carray else column.copy()


def _check_type(column: NDArray[Any], dtype: type[Any]) -> None:
    if column.dtype != dtype:
        raise ValueError(f"a column holds {np.dtype(dtype)}, not {column.dtype}")


def _header(rows: int, price_exponent: int, other_exponent: int, extras: int, text: str) -> bytes:
    if not 1 <= rows <= MAX_ROWS:
        raise ValueError(f"a batch holds 1 to {MAX_ROWS} rows, not {rows}")
    if not (0 <= price_exponent <= MAX_EXPONENT and 0 <= other_exponent <= MAX_EXPONENT):
        raise ValueError(f"exponents lie in 0..{MAX_EXPONENT}: {price_exponent}, {other_exponent}")
    encoded = text.encode()
    if len(encoded) > _MAX_TEXT:
        raise ValueError(f"instrument and units take {len(encoded)} bytes, over {_MAX_TEXT}")
    return _HEADER.pack(rows, price_exponent, other_exponent, extras, len(encoded)) + encoded


def _packed(columns: Int64s, deltas: NDArray[np.bool_], side: Int8s, flags: UInt8s) -> tuple[UInt8s, int]:
    """The bytes of everything, valid until the next call in this thread, and the extras they hold."""
    longest = len(columns) + columns.size * _MAX_VARINT + 2 * len(side) + 2
    if len(_zstd.buffer) < longest:
        _zstd.buffer = np.empty(longest, np.uint8)
    length, extras = _pack(columns, deltas, side, flags, _INVERSES, _LARGEST, _zstd.buffer)
    if length < 0:
        raise ValueError(f"a side is 1, -1 or 0: {sorted(set(side.tolist()))}")
    return _zstd.buffer[:length], extras


def _unpacked(data: UInt8s, at: int, deltas: NDArray[np.bool_], rows: int) -> tuple[Int64s, int]:
    """The columns, shape (k, rows), and where their bytes end."""
    units = data[at : at + len(deltas)]
    at += len(deltas)
    # Every value takes at least a byte: so many rows cannot be in fewer bytes, nor need be allocated.
    if len(data) - at < rows * len(deltas) or units.max(initial=0) > MAX_EXPONENT:
        raise UndecodableEvent(f"{len(data) - at} bytes cannot hold {rows} rows of {len(deltas)} columns")
    columns = np.empty((len(deltas), rows), np.int64)
    end = _unpack(data, at, deltas, _POWERS[units], columns)
    if end < 0:
        raise UndecodableEvent(f"the columns of {rows} rows break off or hold a number over 64 bits")
    return columns, end


def _sides(packed: UInt8s, rows: int, planes: int) -> Int8s:
    half = len(packed) // planes
    side = np.unpackbits(packed[:half], count=rows).view(np.int8)
    side *= 2
    side -= 1
    if planes == 2:
        side[np.unpackbits(packed[half:], count=rows).view(np.bool_)] = UNKNOWN
    return side


def _compress(header: bytes, packed: UInt8s) -> bytes:
    return _zstd.compressor.compress(b"".join((header, packed.data)))


# Header, units, every varint at its longest, two planes of sides, flags.
_MAX_BODY = _HEADER.size + _MAX_TEXT + _BAR_COLUMNS * (1 + MAX_ROWS * _MAX_VARINT) + 2 * MAX_ROWS


def _open(state: bytes, magic: bytes) -> tuple[UInt8s, int, int, int, int, list[str], int]:
    """Body, rows, exponents, extras, texts, and where the columns begin."""
    if state[: len(magic)] != magic:
        raise UndecodableEvent(f"the state begins with {state[:3].hex()}, not {magic.hex()}")
    try:
        size = zstandard.frame_content_size(state[3:27])
        if not _HEADER.size <= size <= _MAX_BODY:
            raise UndecodableEvent(f"the state claims {size} bytes of at most {_MAX_BODY}")
        body = _zstd.decompressor.decompress(
            memoryview(state)[3:], max_output_size=size, allow_extra_data=False
        )
        rows, exponent, other, extras, length = _HEADER.unpack_from(body)
        text = body[_HEADER.size : _HEADER.size + length].decode().split("\n")
    except (zstandard.ZstdError, UnicodeDecodeError) as error:
        raise UndecodableEvent(f"the state of {len(state)} bytes is damaged: {error}") from error
    if not 1 <= rows <= MAX_ROWS or exponent > MAX_EXPONENT or other > MAX_EXPONENT:
        raise UndecodableEvent(f"{rows} rows with exponents {exponent} and {other}")
    return np.frombuffer(body, np.uint8), rows, exponent, other, extras, text, _HEADER.size + length


def _instrument(venue: str, symbol: str) -> Instrument:
    try:
        return Instrument(venue, symbol)
    except ValueError as error:
        raise UndecodableEvent(str(error)) from error
