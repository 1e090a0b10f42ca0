"""What the leaves of the next events are hashed from, put together from columns as PostgreSQL sends them.

Its binary form of integers, ids and texts is that of a leaf: see domain/provenance/leaf. Making values of
columns, records of values, and bytes of records takes longer than hashing them.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from struct import Struct
from typing import Any

from psycopg.types.string import ByteaBinaryLoader

from alphapulse.adapters.store.connections import Reader
from alphapulse.domain.provenance.leaf import Preimage, microseconds, strategy_of

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
    return _preimages(rows)


def _preimages(rows: Iterable[Sequence[Any]]) -> Sequence[Preimage]:
    found: list[Preimage] = []
    moment, recorded = b"", b""
    for at, event, version, stamp, time, cause, chain, lo, hi, stream, name, actor, trace, state in rows:
        if stamp != moment:  # a commit has one, however many events
            moment, recorded = stamp, _recorded(stamp)
        flags = _PRESENT[
            (time is not None)
            | (cause is not None) << 1
            | (chain is not None) << 2
            | (lo is not None) << 3
            | (trace is not None) << 4
        ]
        before = b"".join(
            (
                *(_START, at, event, version, recorded, flags),
                *(time or _ZERO, cause or _NIL, chain or _NIL, lo or _ZERO, hi or _ZERO),
            )
        )
        trace = trace or b""
        lengths = _LENGTHS.pack(len(stream), len(name), len(actor), len(trace))
        behind = b"".join((lengths, stream, name, actor, trace))
        found.append((int.from_bytes(at), before, behind, state, strategy_of(stream, name)))
    return found


def _recorded(stamp: bytes) -> bytes:
    """µs since 1970, of PostgreSQL's µs since 2000."""
    return (int.from_bytes(stamp, signed=True) + _EPOCH).to_bytes(8, signed=True)
