"""How far the sweep that re-hashes the log has come, and what it found: rows written by the sweep alone.

No fold: its source are the log and its tree. Deleting all of it loses nothing but the time of one pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.provenance.faults import Fault, FaultKind

MAX_SHOWN = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The present pass: the next ``leaf``, of a tree of ``size``; ``passes`` are done before it."""

    leaf: int
    size: int
    passes: int
    started_at: datetime
    finished_at: datetime | None  # the last whole pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    sweep: Sweep
    silent_s: float  # since the sweep last said anything
    faults: Mapping[FaultKind, int]  # how many of each were found and are not gone


@dataclass(frozen=True, slots=True)
class Found:
    """A fault with when it was found first and seen last."""

    fault: Fault
    found_at: datetime
    seen_at: datetime


async def present(db: AsyncConnection[Any]) -> Sweep | None:
    """None where no sweep has ever begun."""
    row = await (await db.execute(f"SELECT {_COLUMNS} FROM log_sweep")).fetchone()
    return row and _sweep(row)


async def begin(db: AsyncConnection[Any], size: int) -> Sweep:
    """Begin a pass through a tree of ``size`` leaves; what passes were done before stays known."""
    row = await (
        await db.execute(
            "INSERT INTO log_sweep (leaf, passes, size, started_at) VALUES (0, 0, %s, clock_timestamp()) "
            "ON CONFLICT (id) DO UPDATE SET leaf = 0, size = excluded.size, "
            f"started_at = excluded.started_at, updated_at = clock_timestamp() RETURNING {_COLUMNS}",
            (size,),
        )
    ).fetchone()
    assert row is not None
    return _sweep(row)


async def reached(db: AsyncConnection[Any], leaf: int) -> None:
    """The pass goes on with ``leaf``."""
    await db.execute("UPDATE log_sweep SET leaf = %s, updated_at = clock_timestamp()", (leaf,))


async def finish(db: AsyncConnection[Any]) -> None:
    """The pass is done."""
    await db.execute(
        "UPDATE log_sweep SET leaf = size, passes = passes + 1, finished_at = clock_timestamp(), "
        "updated_at = clock_timestamp()"
    )


async def note(db: AsyncConnection[Any], faults: Sequence[Fault]) -> Sequence[Fault]:
    """Record ``faults``, and return those that were not known; one that is known is seen again."""
    last = {(fault.leaf, fault.kind.value): fault for fault in faults}
    if not last:
        return []
    columns = [*zip(*last, strict=True), *zip(*((f.position, f.detail) for f in last.values()), strict=True)]
    cursor = await db.execute(
        "INSERT INTO log_faults AS f (leaf, fault, position, detail) "
        "SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::text[]) "
        "ON CONFLICT (leaf, fault) DO UPDATE SET seen_at = clock_timestamp(), "
        "position = excluded.position, detail = excluded.detail RETURNING leaf, fault, xmax = 0",
        [list(column) for column in columns],
    )
    return [last[leaf, kind] for leaf, kind, is_new in await cursor.fetchall() if is_new]


async def now(db: AsyncConnection[Any]) -> datetime:
    """The database's clock, which ``forget`` compares with."""
    row = await (await db.execute("SELECT clock_timestamp()")).fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


async def forget(db: AsyncConnection[Any], before: datetime) -> Sequence[Fault]:
    """Remove and return what a whole pass that began at ``before`` has not seen again."""
    cursor = await db.execute(
        "DELETE FROM log_faults WHERE seen_at < %s RETURNING leaf, fault, position, detail", (before,)
    )
    return [_fault(row) for row in await cursor.fetchall()]


async def faults(db: AsyncConnection[Any], limit: int = MAX_SHOWN) -> Sequence[Found]:
    """What was found and is not gone, in order of leaves."""
    cursor = await db.execute(
        "SELECT leaf, fault, position, detail, found_at, seen_at FROM log_faults "
        "ORDER BY leaf, fault LIMIT %s",
        (limit,),
    )
    return [Found(_fault(row), row[4], row[5]) for row in await cursor.fetchall()]


async def status(db: AsyncConnection[Any]) -> SweepStatus | None:
    """None where no sweep has ever begun."""
    silent = "extract(epoch FROM clock_timestamp() - updated_at)::float8"
    row = await (await db.execute(f"SELECT {_COLUMNS}, {silent} FROM log_sweep")).fetchone()
    if row is None:
        return None
    counted = await db.execute("SELECT fault, count(*) FROM log_faults GROUP BY fault ORDER BY fault")
    kinds = {FaultKind(kind): count for kind, count in await counted.fetchall()}
    return SweepStatus(sweep=_sweep(row), silent_s=max(row[5], 0.0), faults=kinds)


_COLUMNS = "leaf, size, passes, started_at, finished_at"


def _sweep(row: Sequence[Any]) -> Sweep:
    return Sweep(leaf=row[0], size=row[1], passes=row[2], started_at=row[3], finished_at=row[4])


def _fault(row: Sequence[Any]) -> Fault:
    return Fault(row[0], FaultKind(row[1]), row[2], row[3])
