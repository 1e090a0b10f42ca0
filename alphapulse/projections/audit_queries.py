"""Questions to the audit trail: who did what, what led to an event, and what it led to.

``as_of`` is a position of the log: the answer is what a log that ends there would give. Lists are newest
first; pages of them are keyed by the position, so they never skip or repeat a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from alphapulse.projections.audit_trail import COLUMNS, Entry
from alphapulse.projections.candle_view import NotYetFolded, snapshot
from alphapulse.projections.decision_queries import Page, folded_to

MAX_CHAIN = 50  # steps back, and of what followed
MAX_EFFECTS = 500

_BACK = f"""
WITH RECURSIVE chain (position, cause_id, step) AS (
    SELECT notification_id, cause_id, 0 FROM stored_events WHERE event_id = %(event_id)s
    UNION ALL
    SELECT e.notification_id, e.cause_id, c.step + 1 FROM chain c
    JOIN stored_events e ON e.event_id = c.cause_id AND e.notification_id < c.position
    WHERE c.step < {MAX_CHAIN}
)
SELECT position FROM chain ORDER BY step"""

_ON = f"""
WITH RECURSIVE effects (position, event_id, step) AS (
    SELECT position, event_id, 1 FROM audit_trail
    WHERE cause_id = %(event_id)s AND position <= %(as_of)s
    UNION
    SELECT t.position, t.event_id, e.step + 1 FROM effects e
    JOIN audit_trail t ON t.cause_id = e.event_id AND t.position > e.position AND t.position <= %(as_of)s
    WHERE e.step < {MAX_CHAIN}
)
SELECT {COLUMNS} FROM audit_trail WHERE position IN (SELECT position FROM effects)
ORDER BY position LIMIT %(limit)s"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which entries; None: any. ``since`` and ``until`` bound recorded times [since, until) in µs."""

    actor: str | None = None
    strategy: str | None = None
    instrument: str | None = None
    stream: str | None = None
    names: Sequence[str] | None = None
    number: int | None = None
    cause_id: UUID | None = None
    correlation_id: UUID | None = None
    since: int | None = None
    until: int | None = None


async def trail(
    conn: AsyncConnection[Any], sought: Sought, *, as_of: int | None = None, page: Page
) -> tuple[int, Sequence[Entry]]:
    """The position of the answer, and entries newest first.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
    """
    where, values = _where(sought)
    async with snapshot(conn):
        position = await _moment(conn, as_of)
        where.append("position <= %(as_of)s")
        if page.below is not None:
            where.append("position < %(below)s")
        if page.above is not None:
            where.append("position > %(above)s")
        order: LiteralString = "ASC" if page.backward else "DESC"
        query: LiteralString = (
            f"SELECT {COLUMNS} FROM audit_trail WHERE {' AND '.join(where)} ORDER BY position {order}"
            " LIMIT %(limit)s"
        )
        bounds = {"as_of": position, "below": page.below, "above": page.above, "limit": page.limit}
        rows = await (await conn.execute(query, values | bounds)).fetchall()
    return position, [_entry(row) for row in (rows[::-1] if page.backward else rows)]


async def causes(conn: AsyncConnection[Any], event_id: UUID) -> Sequence[int]:
    """Positions of the event and of what led to it, the nearest first; none where there is no such event.

    Read from the log itself, so that the market's events are among them.
    """
    rows = await (await conn.execute(_BACK, {"event_id": event_id})).fetchall()
    return [position for (position,) in rows]


async def effects(
    conn: AsyncConnection[Any], event_id: UUID, *, as_of: int | None = None, limit: int = MAX_EFFECTS
) -> Sequence[Entry]:
    """What the event led to, in the order of the log, at most ``limit``. Raises NotYetFolded."""
    async with snapshot(conn):
        position = await _moment(conn, as_of)
        values = {"event_id": event_id, "as_of": position, "limit": limit}
        rows = await (await conn.execute(_ON, values)).fetchall()
    return [_entry(row) for row in rows]


async def _moment(conn: AsyncConnection[Any], as_of: int | None) -> int:
    reached = await folded_to(conn, "audit_trail")
    if as_of is not None and as_of > reached:
        raise NotYetFolded(f"position {as_of} was asked for, audit_trail has come to {reached}")
    return reached if as_of is None else as_of


def _where(sought: Sought) -> tuple[list[LiteralString], dict[str, object]]:
    where: list[LiteralString] = ["true"]
    values: dict[str, object] = {}
    equal: Sequence[tuple[LiteralString, object]] = (
        ("actor", sought.actor),
        ("strategy", sought.strategy),
        ("instrument", sought.instrument),
        ("stream", sought.stream),
        ("number", sought.number),
        ("cause_id", sought.cause_id),
        ("correlation_id", sought.correlation_id),
    )
    for column, value in equal:
        if value is not None:
            where.append(f"{column} = %({column})s")
            values[column] = value
    if sought.names is not None:
        where.append("name = ANY (%(names)s)")
        values["names"] = list(sought.names)
    if sought.since is not None:
        where.append("recorded_at >= %(since)s")
        values["since"] = sought.since
    if sought.until is not None:
        where.append("recorded_at < %(until)s")
        values["until"] = sought.until
    return where, values


def _entry(row: Sequence[Any]) -> Entry:
    position, event_id, *some, cause_id, correlation_id, actor, strategy, instrument, number, words = row
    stream, version, name, recorded_at, event_time = some
    return Entry(
        position=position,
        event_id=str(event_id),
        stream=stream,
        version=version,
        name=name,
        recorded_at=recorded_at,
        event_time=event_time,
        cause_id=None if cause_id is None else str(cause_id),
        correlation_id=None if correlation_id is None else str(correlation_id),
        actor=actor,
        strategy=strategy,
        instrument=instrument,
        number=number,
        said=words,
    )
