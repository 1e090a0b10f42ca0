"""Payloads as they are stored, decoded: JSON, or columns of trades, bars and funding rates.

Columns are 3 bytes of magic, then a zstd frame of: rows (2 bytes, little-endian), the exponents of price and
of size or volume, extras (1 there is a plane of unknown sides, 2 there are flags), the length of a text, one
byte each; the text, its lines the venue, the symbol and for bars the unit of volume and the minutes; a byte
for each column, the power of ten that it was divided by; the columns as zigzag varints, some as differences;
for trades the sides, a bit a row (buy), and where there are any a plane of those that are unknown; flags.
"""

from __future__ import annotations

import importlib
from typing import Any, Callable, NamedTuple, Sequence

from alphapulse.adapters.verifier.leaf import LineRefused, json_of

_MAX_ROWS, _MAX_PLACES = 10_000, 18
_MAX_UNPACKED = 6 + 255 + 7 * (1 + _MAX_ROWS * 10) + 2 * _MAX_ROWS
_INT64 = 1 << 63


class NotDecodable(Exception):
    """This Python has no zstd: the payload was hashed, but not read."""


class Layout(NamedTuple):
    columns: Sequence[tuple[str, bool, str]]  # name, whether of differences, how it is written
    texts: int
    has_sides: bool


# How numbers are written: "digits" as text, "number" as JSON's, "price" and "size" as exact decimals.
_LAYOUTS = {
    b"\xa9T\x01": Layout(
        [("time", True, "digits"), ("price", True, "price"), ("size", False, "size"), ("id", True, "digits")],
        2,
        True,
    ),
    b"\xa9B\x01": Layout(
        [
            ("start", True, "digits"),
            ("open", True, "price"),
            ("high", True, "price"),
            ("low", True, "price"),
            ("close", True, "price"),
            ("volume", False, "size"),
            ("trade_count", False, "digits"),
        ],
        4,
        False,
    ),
    b"\xa9F\x01": Layout(
        [("time", True, "digits"), ("rate", False, "price"), ("interval_hours", False, "number")], 2, False
    ),
}


def decoded(state: bytes) -> Any:
    """What a payload says, as ``json_of`` gives JSON.

    Raises:
        NotDecodable: it is compressed, and there is no zstd here.
        LineRefused: it is damaged.
    """
    layout = _LAYOUTS.get(state[:3])
    if layout is None:
        try:
            return json_of(state.decode())
        except UnicodeDecodeError as error:
            raise LineRefused("state", f"no UTF-8: {error}") from None
    return _columns_of(_unpacked(state[3:]), layout)


def has_zstd() -> bool:
    return _decompressor() is not None


def _columns_of(body: bytes, layout: Layout) -> dict[str, Any]:
    if len(body) < 6:
        raise LineRefused("state", f"a batch of {len(body)} bytes")
    rows, price_places, size_places = int.from_bytes(body[:2], "little"), body[2], body[3]
    extras, at = body[4], 6 + body[5]
    try:
        texts = body[6:at].decode().split("\n")
    except UnicodeDecodeError:
        texts = []
    if (
        not 1 <= rows <= _MAX_ROWS
        or max(price_places, size_places) > _MAX_PLACES
        or len(texts) != layout.texts
    ):
        raise LineRefused("state", f"a batch of {rows} rows, its text {texts!r}")
    units, at = body[at : at + len(layout.columns)], at + len(layout.columns)
    places = {"price": price_places, "size": size_places}
    columns: dict[str, list[Any]] = {}
    for (name, is_delta, form), unit in zip(layout.columns, units):
        values, at = _varints(body, at, rows, unit, is_delta)
        columns[name] = _written(values, form, places.get(form, 0))
    if layout.has_sides:
        at = _add_sides_and_flags(body, at, rows, extras, columns)
    if at != len(body) or (extras and not layout.has_sides):
        raise LineRefused("state", f"a batch of {len(body)} bytes that ends at {at}")
    found: dict[str, Any] = {"venue": texts[0], "symbol": texts[1]}
    if layout.texts == 4:
        if not texts[3].isdecimal():
            raise LineRefused("state", f"bars of {texts[3]!r} minutes")
        found.update(timeframe_minutes=int(texts[3]), volume_unit=texts[2])
    return {**found, "columns": columns}


def _varints(body: bytes, at: int, rows: int, unit: int, is_delta: bool) -> tuple[list[int], int]:
    """The next ``rows`` numbers, and where they end: 7 bits a byte, the lowest first, the sign at the end."""
    if unit > _MAX_PLACES:
        raise LineRefused("state", f"a column in units of 10**{unit}")
    found, value, factor = [], 0, 10**unit
    try:
        for _ in range(rows):
            byte = body[at]
            at += 1
            zigzag, shift = byte & 127, 7
            while byte & 128:
                byte = body[at]
                at += 1
                zigzag |= (byte & 127) << shift
                shift += 7
            step = (zigzag >> 1) ^ -(zigzag & 1)
            value = value + step if is_delta else step
            found.append(value * factor)
    except IndexError:
        raise LineRefused("state", f"a column of {rows} numbers breaks off") from None
    if min(found) < -_INT64 or max(found) >= _INT64:  # differences between far numbers are modulo 2**64
        found = [(value + _INT64) % (2 * _INT64) - _INT64 for value in found]
    return found, at


def _written(values: list[int], form: str, places: int) -> list[Any]:
    if form == "number":
        return values
    if not places:
        return list(map(str, values))
    return [decimal_text(value, places) for value in values]


def decimal_text(value: int, places: int) -> str:
    """``value`` divided by ``10**places``, which is 1 or more, with all its places: 1250, 2 -> 12.50."""
    digits = str(abs(value)).rjust(places + 1, "0")
    return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]


def _add_sides_and_flags(body: bytes, at: int, rows: int, extras: int, columns: dict[str, list[Any]]) -> int:
    if extras > 3:
        raise LineRefused("state", f"trades with extras {extras}")
    plane = (rows + 7) // 8
    end = at + plane * (1 + (extras & 1)) + rows * (extras >> 1)
    if end > len(body):
        raise LineRefused("state", f"the sides of {rows} trades break off")
    side = [1 if body[at + i // 8] << i % 8 & 128 else -1 for i in range(rows)]
    if extras & 1:
        side = [0 if body[at + plane + i // 8] << i % 8 & 128 else side[i] for i in range(rows)]
    identities = columns.pop("id")
    columns["side"], columns["id"] = side, identities
    columns["flags"] = list(body[end - rows : end]) if extras & 2 else [0] * rows
    return end


def _unpacked(frame: bytes) -> bytes:
    decompress = _decompressor()
    if decompress is None:
        raise NotDecodable
    size = _size_of_content(frame)
    try:
        found = decompress(frame, size)
    except Exception as error:  # each of the two packages has its own
        raise LineRefused("state", f"its zstd frame is damaged: {error}") from None
    if len(found) != size:
        raise LineRefused("state", f"its zstd frame says {size} bytes and holds {len(found)}")
    return found


def _size_of_content(frame: bytes) -> int:
    """What a zstd frame says that it unpacks to (RFC 8878 section 3.1.1.1).

    Raises:
        LineRefused: it is none, does not say, or says too much.
    """
    if len(frame) < 6 or frame[:4] != b"\x28\xb5\x2f\xfd":
        raise LineRefused("state", "no zstd frame")
    flags = frame[4]
    is_single = flags >> 5 & 1
    width = (is_single, 2, 4, 8)[flags >> 6]
    at = 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(frame[at : at + width], "little") + (256 if width == 2 else 0)
    if not width or len(frame) < at + width or size > _MAX_UNPACKED:
        raise LineRefused("state", f"a zstd frame that says {size} bytes")
    return size


_FOUND: list[Callable[[bytes, int], bytes] | None] = []


def _decompressor() -> Callable[[bytes, int], bytes] | None:
    """What unpacks a frame to at most so many bytes; None where this Python has no zstd."""
    if not _FOUND:
        _FOUND.append(_with_standard_library() or _with_zstandard())
    return _FOUND[0]


def _with_standard_library() -> Callable[[bytes, int], bytes] | None:
    try:
        zstd = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        return None

    def decompress(frame: bytes, size: int) -> bytes:
        unpacker = zstd.ZstdDecompressor()
        found: bytes = unpacker.decompress(frame, size + 1)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("it does not end where it should")
        return found

    return decompress


def _with_zstandard() -> Callable[[bytes, int], bytes] | None:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        return None

    def decompress(frame: bytes, size: int) -> bytes:
        found: bytes = zstandard.ZstdDecompressor().decompress(frame, size, allow_extra_data=False)
        return found

    return decompress
