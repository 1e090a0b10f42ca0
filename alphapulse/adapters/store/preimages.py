"""What the leaves of the next events are hashed from, put together from columns as PostgreSQL sends them.

Its binary form of integers, ids and texts is that of a leaf: see domain/provenance/leaf. Making values of
columns, records of values, and bytes of records takes longer than hashing them.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from struct import Struct, unpack
from typing import Any, TypeAlias, cast

from psycopg.types.string import ByteaBinaryLoader

from alphapulse.adapters.store.connections import Reader
from alphapulse.domain.provenance.leaf import Preimage, microseconds, strategy_of

_Column: TypeAlias = Sequence[bytes | None]
MOST_BYTES = 4_000_000  # of states at once; larger events are read otherwise
_RAW = ("int8", "uuid", "timestamptz", "text", "bytea")
_EPOCH = microseconds(datetime(2000, 1, 1, tzinfo=UTC))  # PostgreSQL counts from here
_START, _ZERO, _NIL = b"\x00APL1", bytes(8), bytes(16)
_LENGTHS = Struct(">IIII")
_PRESENT = [bytes([flags]) for flags in range(32)]
_PAGE = "FROM stored_events WHERE notification_id > %(after)s ORDER BY notification_id LIMIT %(limit)s"
QUERY = (
    "SELECT notification_id, event_id, originator_version, recorded_at, event_time, cause_id, correlation_id,"
    " id_lo, id_hi, originator_id, topic, actor, trace, state FROM stored_events"
    f" WHERE (SELECT sum(octet_length(state)) FROM (SELECT state {_PAGE}) m) <= %(bytes)s"
    " AND notification_id > %(after)s ORDER BY notification_id LIMIT %(limit)s"
)


def next_preimages(connection: Reader, after: int, limit: int) -> Sequence[Preimage]:
    """Of up to ``limit`` events after position ``after``; none where they are too large for one answer."""
    with connection.cursor(binary=True) as cursor:
        for kind in _RAW:
            cursor.adapters.register_loader(kind, ByteaBinaryLoader)
        parameters = {"after": after, "limit": limit, "bytes": MOST_BYTES}
        rows = cursor.execute(QUERY.encode(), parameters, prepare=True).fetchall()
    return _preimages(rows) if rows else []


def _preimages(rows: Sequence[Sequence[Any]]) -> Sequence[Preimage]:
    """Column by column: that halves the time."""
    at, event, version, stamp, time, cause, chain, lo, hi, stream, name, actor, trace, state = zip(
        *rows, strict=True
    )
    moments = {each: _recorded(each) for each in set(stamp)}  # a commit has one, however many events
    before = zip(
        repeat(_START),
        at,
        event,
        version,
        map(moments.__getitem__, stamp),
        _flags(time, cause, chain, lo, trace),
        _filled(time, _ZERO),
        _filled(cause, _NIL),
        _filled(chain, _NIL),
        _filled(lo, _ZERO),
        _filled(hi, _ZERO),
        strict=False,
    )
    traces = [each or b"" for each in trace]
    lengths = map(_LENGTHS.pack, map(len, stream), map(len, name), map(len, actor), map(len, traces))
    behind = zip(lengths, stream, name, actor, traces, strict=True)
    positions = unpack(f">{len(at)}q", b"".join(at))
    strategies = map(strategy_of, stream, name)
    return list(zip(positions, map(b"".join, before), map(b"".join, behind), state, strategies, strict=True))


def _filled(column: _Column, filling: bytes) -> Iterable[bytes]:
    missing = column.count(None)
    if missing == len(column):
        return repeat(filling)
    return [filling if each is None else each for each in column] if missing else cast("Any", column)


def _flags(*columns: _Column) -> Iterable[bytes]:
    """A byte for each row with a bit for each column that is there, from the lowest."""
    if all(column.count(None) in (0, len(column)) for column in columns):
        return repeat(_PRESENT[sum((column[0] is not None) << bit for bit, column in enumerate(columns))])
    rows = zip(*columns, strict=True)
    return [_PRESENT[sum((each is not None) << bit for bit, each in enumerate(row))] for row in rows]


def _recorded(stamp: bytes) -> bytes:
    """µs since 1970, of PostgreSQL's µs since 2000."""
    return (int.from_bytes(stamp, signed=True) + _EPOCH).to_bytes(8, signed=True)
