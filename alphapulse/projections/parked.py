"""Events that a read model could not fold: kept with the reason until they are tried again.

Each generation of a read model has its own: one built by corrected code parks fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from alphapulse.domain.ports import Recorded, StoredRecord
from alphapulse.projections.checkpoint import Checkpoint

MAX_REASON = 2_000  # characters
MAX_PARKED = 1_000  # in one generation; more is a broken read model, not a few poison events


class TooManyParked(Exception):
    """So many events do not fold that the read model must be wrong: it stops where it is."""


@dataclass(frozen=True, slots=True)
class Unfoldable:
    """An event that stays out of the read model, for now."""

    record: StoredRecord | Recorded
    reason: str
    tries: int

    @property
    def position(self) -> int:
        return self.record.position


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """A row of ``parked``."""

    id: int
    projection: str
    generation: int
    position: int
    stream: str
    version: int
    name: str
    event_id: UUID
    reason: str
    tries: int
    parked_at: datetime


async def park(db: AsyncConnection[Any], at: Checkpoint, events: Sequence[Unfoldable]) -> None:
    """Keep ``events`` aside, in the transaction that is open on ``db``.

    Raises:
        TooManyParked: the generation would hold more than MAX_PARKED.
    """
    for event in events:
        record = event.record
        await db.execute(
            "INSERT INTO parked (projection, generation, position, stream, version, name, event_id, "
            "reason, tries) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (projection, generation, position) "
            "DO UPDATE SET reason = excluded.reason, tries = parked.tries + excluded.tries",
            (
                at.name,
                at.generation,
                record.position,
                record.stream,
                record.version,
                record.name,
                record.envelope.event_id,
                event.reason[:MAX_REASON],
                event.tries,
            ),
        )
    if await parked_count(db, at.name, at.generation) > MAX_PARKED:
        raise TooManyParked(
            f"{at}: over {MAX_PARKED} events parked, "
            f"the last at position {events[-1].position}: {events[-1].reason}"
        )


async def parked_count(db: AsyncConnection[Any], projection: str, generation: int) -> int:
    row = await (
        await db.execute(
            "SELECT count(*) FROM parked WHERE projection = %s AND generation = %s", (projection, generation)
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


async def parked_events(
    db: AsyncConnection[Any], *, projection: str | None = None, after_id: int = 0, limit: int = 100
) -> Sequence[ParkedEvent]:
    """Parked events of live generations, oldest first, at most ``limit``."""
    async with db.cursor(row_factory=class_row(ParkedEvent)) as cursor:
        await cursor.execute(
            "SELECT e.* FROM parked e JOIN projections p ON p.name = e.projection "
            "AND p.generation = e.generation AND p.state = 'live' "
            "WHERE e.id > %(after)s AND (%(projection)s::text IS NULL OR e.projection = %(projection)s) "
            "ORDER BY e.id LIMIT %(limit)s",
            {"projection": projection, "after": after_id, "limit": limit},
        )
        return await cursor.fetchall()


async def parked_event(db: AsyncConnection[Any], event_id: int) -> ParkedEvent | None:
    """The row of this id, of whatever generation."""
    async with db.cursor(row_factory=class_row(ParkedEvent)) as cursor:
        await cursor.execute("SELECT * FROM parked WHERE id = %s", (event_id,))
        return await cursor.fetchone()
