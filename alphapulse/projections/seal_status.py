"""How far the log is sealed, for health and for those who wait for it: from the seals themselves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

MOST_COUNTED = 100_000  # events of lag; more are not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class SealStatus:
    """``lag_events`` are in the log and not sealed, at most 100,000; ``lag_s``: age of the first."""

    size: int  # leaves of the newest checkpoint; 0: nothing is sealed
    position: int  # of the last event in it
    sealed_at: datetime | None
    lag_events: int
    lag_s: float


async def read(db: AsyncConnection[Any]) -> SealStatus:
    """How far the log is sealed just now."""
    cursor = await db.execute(
        "SELECT coalesce(s.size, 0), coalesce(s.last_position, 0), s.sealed_at, l.events, "
        "coalesce(extract(epoch FROM clock_timestamp() - l.first), 0)::float8 "
        "FROM (SELECT 1) one LEFT JOIN LATERAL ("
        "  SELECT size, last_position, sealed_at FROM log_seals ORDER BY size DESC LIMIT 1) s ON true "
        "CROSS JOIN LATERAL (SELECT count(*) AS events, min(e.recorded_at) AS first FROM ("
        "  SELECT recorded_at FROM stored_events WHERE notification_id > coalesce(s.last_position, 0) "
        "  ORDER BY notification_id LIMIT %s) e) l",
        (MOST_COUNTED,),
    )
    row = await cursor.fetchone()
    assert row, "a query without conditions has a row"
    size, position, sealed_at, lag_events, lag_s = row
    return SealStatus(
        size=size, position=position, sealed_at=sealed_at, lag_events=lag_events, lag_s=max(lag_s, 0.0)
    )
