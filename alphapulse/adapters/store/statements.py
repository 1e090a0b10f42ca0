"""The SQL of the log: statements by name, their parameters, and rows as records."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from alphapulse.adapters.store import arrays
from alphapulse.domain.ports import Envelope, Fence, NewEvent, StoredRecord

COLUMNS = (
    "originator_id, originator_version, topic, state, event_id, event_time, cause_id, correlation_id,"
    " actor, trace, id_lo, id_hi, notification_id, recorded_at"
)
APPEND = f"SELECT * FROM log_append({', '.join(['%b'] * 15)})"
HEAD = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
VERSION = "SELECT coalesce(max(originator_version), 0) FROM stored_events WHERE originator_id = %s"
POSITION_AT = "SELECT log_position_at(%s)"
LISTEN = "LISTEN alphapulse_log"
# From one stream to the next along the index. Where texts are ordered by code points, those of a prefix
# stand together; elsewhere (a database that others set up) every stream is looked at.
BY_CODE_POINT = (
    "SELECT datcollate IN ('C', 'POSIX') OR datlocprovider = 'b' FROM pg_database"
    " WHERE datname = current_database()"
)
STREAMS = """
WITH RECURSIVE found (stream) AS (
    (SELECT originator_id FROM stored_events WHERE originator_id >= %(first)s ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT (SELECT e.originator_id FROM stored_events e WHERE e.originator_id > f.stream ORDER BY 1 LIMIT 1)
    FROM found f WHERE starts_with(f.stream, %(first)s)
)
SELECT stream FROM found WHERE starts_with(stream, %(prefix)s)"""
READ_STREAM = (
    f"SELECT {COLUMNS} FROM stored_events WHERE originator_id = %s AND originator_version > %s"
    " ORDER BY originator_version LIMIT %s"
)
OVERLAPPING = (
    f"SELECT {COLUMNS} FROM stored_events WHERE originator_id = %s AND id_hi >= %s AND id_lo <= %s"
    " ORDER BY originator_version"
)
AT_VERSION = f"SELECT {COLUMNS} FROM stored_events WHERE originator_id = %s AND originator_version = %s"


class Outcome(NamedTuple):
    """What became of one event: stored, repeat, conflict or fenced."""

    outcome: str
    position: int | None
    recorded_at: datetime | None
    detail: str | None


Group = tuple[Sequence[NewEvent], Fence | None]  # events that stand or fall together


def append_parameters(groups: Sequence[Group]) -> tuple[bytes, ...]:
    """The arguments of ``log_append`` for all of ``groups``."""
    events = [event for group, _ in groups for event in group]
    envelopes = [event.envelope for event in events]
    fences = [fence for _, fence in groups]
    return (
        arrays.int4s([len(group) for group, _ in groups]),
        arrays.texts([fence.lease if fence else None for fence in fences]),
        arrays.int8s([fence.epoch if fence else None for fence in fences]),
        arrays.texts([e.stream for e in events]),
        arrays.int8s([e.version for e in events]),
        arrays.texts([e.name for e in events]),
        arrays.byteas([e.state for e in events]),
        arrays.uuids([e.event_id for e in envelopes]),
        arrays.int8s([e.event_time for e in envelopes]),
        arrays.uuids([e.cause_id for e in envelopes]),
        arrays.uuids([e.correlation_id for e in envelopes]),
        arrays.texts([e.actor for e in envelopes]),
        arrays.texts([e.trace for e in envelopes]),
        arrays.int8s([e.id_lo for e in events]),
        arrays.int8s([e.id_hi for e in events]),
    )


class PageQueries(NamedTuple):
    """Two ways to a page between %(after)s and %(until)s of at most %(limit)s rows.

    Each row ends with the log's last position. Both come from one snapshot: that is what makes
    ``scanned_to`` true.
    """

    small: str  # all at once if the states take at most %(bytes)s together, else no row
    any_size: str  # one row without a record says that there is none


def read_page(
    *,
    names: Sequence[str] | None,
    streams: Sequence[str] | None,
    partition: tuple[int, int] | None,
) -> PageQueries:
    """The queries for a page of what the filters let through."""
    conditions = ["notification_id > %(after)s", "notification_id <= %(until)s"]
    if names is not None:
        conditions.append("topic = ANY (%(names)s)")
    if streams is not None:
        conditions.append("originator_id = ANY (%(streams)s)")
    if partition is not None:
        conditions.append("log_partition(originator_id, %(parts)s) = %(part)s")
    page = f"FROM stored_events WHERE {' AND '.join(conditions)} ORDER BY notification_id LIMIT %(limit)s"
    measured = f"SELECT sum(octet_length(state)) FROM (SELECT state {page}) measured"
    small = page.replace("WHERE", f"WHERE ({measured}) <= %(bytes)s AND", 1)
    return PageQueries(
        small=f"SELECT {COLUMNS}, ({HEAD}) {small}",
        any_size=(
            f"SELECT {COLUMNS}, head.last FROM ({HEAD}) head (last)"
            f" LEFT JOIN LATERAL (SELECT {COLUMNS} {page}) page ON true ORDER BY notification_id"
        ),
    )


def record(row: Sequence[Any]) -> StoredRecord:
    """A row of COLUMNS, further columns ignored."""
    return StoredRecord(
        stream=row[0],
        version=row[1],
        name=row[2],
        state=row[3],
        envelope=Envelope(
            event_id=row[4],
            event_time=row[5],
            cause_id=row[6],
            correlation_id=row[7],
            actor=row[8],
            trace=row[9],
        ),
        id_lo=row[10],
        id_hi=row[11],
        position=row[12],
        recorded_at=row[13],
    )


def stored(event: NewEvent, position: int, recorded_at: datetime) -> StoredRecord:
    """``event`` as the log now holds it."""
    return StoredRecord(
        stream=event.stream,
        version=event.version,
        name=event.name,
        state=event.state,
        envelope=event.envelope,
        id_lo=event.id_lo,
        id_hi=event.id_hi,
        position=position,
        recorded_at=recorded_at,
    )


def same_event(event: NewEvent, held: StoredRecord) -> bool:
    """Whether ``held`` is ``event``: a repeat, not a rival."""
    mine: tuple[UUID, str, bytes] = (event.envelope.event_id, event.name, event.state)
    return mine == (held.envelope.event_id, held.name, held.state)
