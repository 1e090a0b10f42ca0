"""The lines of an export, and what a leaf of the tree commits to.

A leaf is the SHA-256 of a zero byte and: "APL1"; position (8 bytes); id (16); version (8); time recorded (8,
µs since 1970 UTC); a byte that tells which of the next are there, from the lowest bit: event time (8, ns),
cause (16), correlation (16), id_lo and id_hi (8 each, one bit), trace; the commitment (32); the lengths (4
each) of stream, name, actor and trace; then these four in UTF-8. Numbers are big-endian and signed, what is
not there is zeros. The commitment is the SHA-256 of 16 bytes of salt and the payload as it was stored.
"""

from __future__ import annotations

import json
import re
import sys
from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any, NamedTuple

from alphapulse.adapters.verifier.note import NoteRefused, bytes_of

_LEAF = Struct(">4sq16sqqBq16s16sqq32s4I")
_ZEROS = bytes(16)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGITS = re.compile(r"0|-?[1-9][0-9]{0,18}")
_MAX_NUMBER_LETTERS = 400


class LineRefused(Exception):
    """A line is not what it should be; ``what`` says which field."""

    def __init__(self, what: str | None, text: str) -> None:
        super().__init__(text)
        self.what = what


class Real(str):
    """A number with a fraction or an exponent, as it was written: no digit is lost."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Real and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class Event(NamedTuple):
    """A line of an event; ``state`` and ``salt`` are None where it was withheld or erased."""

    leaf: int
    position: int
    id: str
    stream: str
    version: int
    name: str
    recorded_at: int  # µs since 1970 UTC
    event_time: int | None  # ns since 1970 UTC, the venue's clock
    cause: str | None
    correlation: str | None
    actor: str
    trace: str | None
    id_lo: int | None
    id_hi: int | None
    commitment: bytes
    salt: bytes | None
    state: bytes | None
    hash: bytes
    event: Any  # decoded, its fractions as Real
    absent: str | None  # "withheld" or "erased"


class Gap(NamedTuple):
    lo: int
    hi: int
    nodes: list[bytes]


_PLAIN_KEYS = set(Event._fields) - {"absent"}
_KEYS = {
    frozenset(_PLAIN_KEYS): None,
    frozenset(_PLAIN_KEYS | {"withheld"}): "withheld",
    frozenset(_PLAIN_KEYS | {"erased"}): "erased",
}


def json_of(text: str) -> Any:
    """JSON as it was written: fractions as Real, and refused is what two readers could take differently.

    Raises:
        LineRefused: it is no JSON, names a key twice, or holds no number where one belongs.
    """
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise LineRefused(None, f"no JSON: {str(error)[:200]}") from None


def same(one: Any, other: Any) -> bool:
    """Whether two values of ``json_of`` are the same: 1 is neither true nor 1.0.

    Raises:
        LineRefused: they are nested too deeply for this Python.
    """
    try:
        if one != other:
            return False
        # repr knows kinds of numbers; where it differs, keys may stand in another order.
        return repr(one) == repr(other) or _ENCODER.encode(one) == _ENCODER.encode(other)
    except RecursionError:
        raise LineRefused("event", "nested too deeply") from None


def event_of(line: dict[str, Any]) -> Event:
    """Raises LineRefused: a field is missing, or not of its form."""
    keys = frozenset(line)
    if keys not in _KEYS:
        raise LineRefused(None, "its fields are {}".format(", ".join(sorted(line))[:300]))
    absent = _KEYS[keys]
    if absent is not None and line[absent] is not True:
        raise LineRefused(absent, f"{absent} is there and not true")
    event = Event(
        leaf=_integer(line, "leaf"),
        position=_integer(line, "position"),
        id=_uuid(line, "id"),
        stream=_text(line, "stream"),
        version=_integer(line, "version"),
        name=_text(line, "name"),
        recorded_at=_integer(line, "recorded_at"),
        event_time=_digits(line, "event_time"),
        cause=None if line["cause"] is None else _uuid(line, "cause"),
        correlation=None if line["correlation"] is None else _uuid(line, "correlation"),
        actor=_text(line, "actor"),
        trace=None if line["trace"] is None else _text(line, "trace"),
        id_lo=_digits(line, "id_lo"),
        id_hi=_digits(line, "id_hi"),
        commitment=_bytes(line, "commitment", 32),
        salt=None if line["salt"] is None else _bytes(line, "salt", 16),
        state=None if line["state"] is None else _bytes(line, "state"),
        hash=_bytes(line, "hash", 32),
        event=line["event"],
        absent=absent,
    )
    if (event.id_lo is None) != (event.id_hi is None):
        raise LineRefused("id_lo", "one of id_lo and id_hi is there without the other")
    return event


def gap_of(line: dict[str, Any]) -> Gap:
    """Raises LineRefused: it is no gap."""
    bounds, nodes = line["gap"], line.get("nodes")
    if set(line) != {"gap", "nodes"} or type(bounds) is not list or type(nodes) is not list:
        raise LineRefused("gap", "no gap: its fields are {}".format(", ".join(sorted(line))[:300]))
    if len(bounds) != 2 or not all(type(b) is int for b in bounds) or not 0 <= bounds[0] < bounds[1]:
        raise LineRefused("gap", f"no gap goes from and to {str(bounds)[:100]}")
    return Gap(bounds[0], bounds[1], [_bytes({"nodes": node}, "nodes", 32) for node in nodes])


def commitment_to(salt: bytes, state: bytes) -> bytes:
    return sha256(salt + state).digest()


def leaf_hash_of(event: Event, commitment: bytes) -> bytes:
    """What stands for ``event`` in the tree, by its columns and this commitment to its payload.

    Raises:
        LineRefused: a column does not fit a leaf.
    """
    _, position, id_, stream, version, name, recorded, time, cause, correlation, actor, trace, lo, hi = event[
        :14
    ]
    try:
        texts = (stream.encode(), name.encode(), actor.encode(), b"" if trace is None else trace.encode())
        fixed = _LEAF.pack(
            b"APL1",
            position,
            _uuid_bytes(id_),
            version,
            recorded,
            (time is not None)
            + 2 * (cause is not None)
            + 4 * (correlation is not None)
            + 8 * (lo is not None)
            + 16 * (trace is not None),
            time or 0,
            _uuid_bytes(cause) if cause else _ZEROS,
            _uuid_bytes(correlation) if correlation else _ZEROS,
            lo or 0,
            hi or 0,
            commitment,
            *map(len, texts),
        )
    except (StructError, UnicodeEncodeError) as error:
        raise LineRefused("columns", f"its columns do not fit a leaf: {error}") from None
    return sha256(b"\0" + fixed + b"".join(texts)).digest()


def _integer(line: dict[str, Any], what: str) -> int:
    found = line[what]
    if type(found) is not int:
        raise LineRefused(what, f"{what} is no whole number")
    return found


def _text(line: dict[str, Any], what: str) -> str:
    found = line[what]
    if type(found) is not str:
        raise LineRefused(what, f"{what} is no text")
    return found


def _digits(line: dict[str, Any], what: str) -> int | None:
    found = line[what]
    if found is None:
        return None
    if type(found) is not str or not _DIGITS.fullmatch(found):
        raise LineRefused(what, f"{what} is no number in digits")
    return int(found)


def _uuid(line: dict[str, Any], what: str) -> str:
    found = line[what]
    if type(found) is not str or not _UUID.fullmatch(found):
        raise LineRefused(what, f"{what} is no UUID")
    return found


def _uuid_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))


def _bytes(line: dict[str, Any], what: str, length: int | None = None) -> bytes:
    found = line[what]
    if type(found) is not str:
        raise LineRefused(what, f"{what} is no base64")
    try:
        data = bytes_of(found)
    except NoteRefused as error:
        raise LineRefused(what, f"{what}: {error}") from None
    if length is not None and len(data) != length:
        raise LineRefused(what, f"{what} has {len(data)} bytes, not {length}")
    return data


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice in one object")
    return found


def _integer_of(text: str) -> int:
    if len(text) > _MAX_NUMBER_LETTERS:
        raise ValueError(f"a number of {len(text)} letters")
    return int(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_of,
    parse_float=Real,
    parse_int=None if hasattr(sys, "set_int_max_str_digits") else _integer_of,  # newer ones have a limit
    parse_constant=_no_number,
)
_ENCODER = json.JSONEncoder(sort_keys=True)
