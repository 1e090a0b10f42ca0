"""How far the relay has brought the log to the bus, for health and for those who wait for it.

One row, written by the relay that holds the lease. No fold: its source is the stream on the bus, whose
last message is the relay's own checkpoint. Deleting the row loses nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, SmallInteger, Table, Text, func

from alphapulse.projections.checkpoint import metadata

MOST_COUNTED = 100_000  # events of lag; more are not counted

relay_status = Table(
    "relay_status",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, server_default="1"),
    Column("position", BigInteger),  # of the last published event; null while the bus is unknown
    Column("sequence", BigInteger),
    Column("epoch", BigInteger),
    Column("problem", Text),  # why nothing is published just now
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    CheckConstraint("id = 1", name="relay_status_one_row"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatus:
    """``lag_events`` are in the log and not on the bus, at most 100,000; ``lag_s``: age of the first."""

    position: int | None
    sequence: int | None
    epoch: int | None
    problem: str | None
    updated_at: datetime
    silent_s: float  # since the relay last said anything; over some seconds it is not running
    lag_events: int
    lag_s: float


async def write(
    db: AsyncConnection[Any],
    *,
    position: int | None,
    sequence: int | None,
    epoch: int | None,
    problem: str | None,
) -> None:
    """Set the row. Without a ``position`` the last known place stays, beside the ``problem``."""
    await db.execute(
        "INSERT INTO relay_status AS s (position, sequence, epoch, problem) "
        "VALUES (%(position)s, %(sequence)s, %(epoch)s, %(problem)s) "
        "ON CONFLICT (id) DO UPDATE SET updated_at = clock_timestamp(), problem = excluded.problem, "
        "position = coalesce(excluded.position, s.position), "
        "sequence = coalesce(excluded.sequence, s.sequence), epoch = coalesce(excluded.epoch, s.epoch)",
        {"position": position, "sequence": sequence, "epoch": epoch, "problem": problem},
    )


async def read(db: AsyncConnection[Any]) -> RelayStatus | None:
    """The relay's state and lag; None when no relay has ever run."""
    cursor = await db.execute(
        "SELECT s.position, s.sequence, s.epoch, s.problem, s.updated_at, "
        "extract(epoch FROM clock_timestamp() - s.updated_at)::float8, l.events, "
        "coalesce(extract(epoch FROM clock_timestamp() - l.first), 0)::float8 "
        "FROM relay_status s CROSS JOIN LATERAL ("
        "  SELECT count(*) AS events, min(e.recorded_at) AS first FROM ("
        "    SELECT recorded_at FROM stored_events WHERE notification_id > coalesce(s.position, 0) "
        "    ORDER BY notification_id LIMIT %s) e) l",
        (MOST_COUNTED,),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    position, sequence, epoch, problem, updated_at, silent_s, lag_events, lag_s = row
    return RelayStatus(
        position=position,
        sequence=sequence,
        epoch=epoch,
        problem=problem,
        updated_at=updated_at,
        silent_s=max(silent_s, 0.0),
        lag_events=lag_events,
        lag_s=max(lag_s, 0.0),
    )
