"""How each read model stands against the end of the log: what health, the API and the command line tell.

A running task proves nothing; lag does. ``lag_s`` is the age of the oldest event that the read model has
not passed, by the store's clock: 0 when it has passed all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

MOST_COUNTED = 100_000  # events of lag; more are not counted
SILENT_S = 10.0  # a runner shows itself every second; after this it is not running


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionStatus:
    """The live generation of one read model."""

    name: str
    generation: int
    code_version: int
    position: int
    head: int  # of the log, in the same snapshot
    lag_events: int  # counted up to MOST_COUNTED
    lag_s: float
    parked: int
    silent_s: float  # since its runner last showed itself
    wanted_version: int | None = None  # of the code that asks, where it knows the read model

    @property
    def problem(self) -> str | None:
        """What a person should look at, worst first; None when all is well."""
        if self.wanted_version not in (None, self.code_version):
            return (
                f"rebuild needed: folded by code version {self.code_version}, this is {self.wanted_version}"
            )
        if self.silent_s > SILENT_S:
            return f"no runner seen for {self.silent_s:.0f} s"
        if self.parked:
            return f"{self.parked} events parked"
        return None


async def projection_status(
    db: AsyncConnection[Any], wanted: Mapping[str, int] | None = None
) -> Sequence[ProjectionStatus]:
    """The status of every read model that ever ran, by name. ``wanted`` maps names to code versions."""
    cursor = await db.execute(
        "SELECT p.name, p.generation, p.code_version, p.position, greatest(p.position, h.head), l.events, "
        "coalesce(extract(epoch FROM clock_timestamp() - l.first), 0)::float8, "
        "(SELECT count(*) FROM parked e WHERE e.projection = p.name AND e.generation = p.generation), "
        "extract(epoch FROM clock_timestamp() - p.updated_at)::float8 "
        "FROM projections p "
        "CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS head FROM stored_events) h "
        "CROSS JOIN LATERAL (SELECT count(*) AS events, min(e.recorded_at) AS first FROM ("
        "  SELECT recorded_at FROM stored_events WHERE notification_id > p.position "
        "  ORDER BY notification_id LIMIT %s) e) l "
        "WHERE p.state = 'live' ORDER BY p.name",
        (MOST_COUNTED,),
    )
    rows = await cursor.fetchall()
    return [
        ProjectionStatus(
            name=name,
            generation=generation,
            code_version=code_version,
            position=position,
            head=head,
            lag_events=lag_events,
            lag_s=max(lag_s, 0.0),
            parked=parked,
            silent_s=max(silent_s, 0.0),
            wanted_version=(wanted or {}).get(name),
        )
        for name, generation, code_version, position, head, lag_events, lag_s, parked, silent_s in rows
    ]
