"""The generations of a read model: made beside the live one, swapped with it, kept, dropped.

States: live (readers see it), shadow (being built, to be swapped), retired (was live, kept for a
rollback), scratch (built to compare, then dropped). Tables of the live one stand in ``public``, of
the others in ``{name}_g{generation}``.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.rows import class_row
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.runner import CHANNEL, read_notice

HOLD_TIMEOUT_MS = 5_000  # for a batch of the live runner to end
# A swap that waits for readers holds up new ones, and waits for each table in turn: it must give up
# before PostgreSQL, after a second, takes the circle of them for a deadlock and ends a reader.
SWAP_TIMEOUT_MS = 250


class AlreadyRunning(Exception):
    """Another rebuild, verification or rollback of this read model is at work."""


class NoSuchGeneration(Exception):
    """There is no generation in the state that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    name: str
    generation: int
    code_version: int
    state: str
    schema: str
    position: int

    def __str__(self) -> str:
        return f"{self.name} generation {self.generation} ({self.state}, code version {self.code_version})"


@asynccontextmanager
async def alone(db: AsyncConnection[Any], name: str) -> AsyncIterator[None]:
    """Keep other rebuilds of the read model away for as long as ``db`` stays open.

    Raises:
        AlreadyRunning: one is at work.
    """
    key = f"rebuild {name}"
    row = await (await db.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (key,))).fetchone()
    if row is None or not row[0]:
        raise AlreadyRunning(f"another rebuild, verify, rollback or bisect of {name} is running")
    try:
        yield
    finally:
        if not db.closed:
            await db.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))


async def generations(
    db: AsyncConnection[Any], name: str, *, state: str | None = None
) -> Sequence[Generation]:
    """The generations of a read model, newest first."""
    async with db.cursor(row_factory=class_row(Generation)) as cursor:
        await cursor.execute(
            "SELECT name, generation, code_version, state, schema, position FROM projections "
            "WHERE name = %(name)s AND (%(state)s::text IS NULL OR state = %(state)s) "
            "ORDER BY generation DESC",
            {"name": name, "state": state},
        )
        return await cursor.fetchall()


async def newest(db: AsyncConnection[Any], name: str, state: str) -> Generation:
    """
    Raises:
        NoSuchGeneration: none is in that state.
    """
    found = await generations(db, name, state=state)
    if not found:
        raise NoSuchGeneration(f"{name} has no {state} generation")
    return found[0]


async def refreshed(db: AsyncConnection[Any], generation: Generation) -> Generation:
    for found in await generations(db, generation.name):
        if found.generation == generation.generation:
            return found
    raise NoSuchGeneration(f"{generation} is gone")


async def create(db: AsyncConnection[Any], model: AnyReadModel, state: str) -> Generation:
    """An empty generation at position 0 with tables of its own, all made at once or not at all."""
    async with db.transaction():
        row = await (
            await db.execute(
                "SELECT coalesce(max(generation), 0) + 1 FROM projections WHERE name = %s", (model.name,)
            )
        ).fetchone()
        assert row is not None
        number = int(row[0])
        schema = f"{model.name}_g{number}"
        await make_tables(db, model, schema)
        await db.execute(
            "INSERT INTO projections (name, generation, code_version, state, schema) "
            "VALUES (%s, %s, %s, %s, %s)",
            (model.name, number, model.code_version, state, schema),
        )
    return await newest(db, model.name, state)


def kept_copy(generation: Generation) -> str:
    """The schema where a bisection keeps a copy of the tables."""
    return f"{generation.schema}_kept"


async def make_tables(db: AsyncConnection[Any], model: AnyReadModel, schema: str) -> None:
    """The read model's tables and indexes in a new schema, as its metadata declares them."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    async with db.transaction():
        await db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        await db.execute(sql.SQL("SET LOCAL search_path TO {}, public").format(sql.Identifier(schema)))
        for table in model.tables:
            await db.execute(str(CreateTable(table).compile(dialect=dialect)))
            for index in table.indexes:
                await db.execute(str(CreateIndex(index).compile(dialect=dialect)))


async def drop(db: AsyncConnection[Any], generation: Generation) -> None:
    """Take a generation that is not live away, with its tables and parked events."""
    assert generation.state != "live", f"{generation} is what readers see"
    async with db.transaction():
        for schema in (generation.schema, kept_copy(generation)):
            await db.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
        this = (generation.name, generation.generation)
        await db.execute("DELETE FROM projection_parts WHERE name = %s AND generation = %s", this)
        await db.execute("DELETE FROM parked WHERE projection = %s AND generation = %s", this)
        await db.execute("DELETE FROM projections WHERE name = %s AND generation = %s", this)


async def swap(db: AsyncConnection[Any], model: AnyReadModel, coming: Generation) -> Generation:
    """Let readers see ``coming``; the generation that was live is kept as retired, older ones go.

    All in one transaction: a reader sees one or the other. Call it with the live generation's row
    locked by ``hold_live`` and ``coming`` caught up. Both epochs move on, so a runner of either must
    claim anew.

    Raises:
        psycopg.errors.LockNotAvailable: readers did not let go of a table in SWAP_TIMEOUT_MS.
    """
    going = await newest(db, model.name, "live")
    async with db.transaction():
        kept = f"{model.name}_g{going.generation}"
        await db.execute(f"SET LOCAL lock_timeout TO {SWAP_TIMEOUT_MS}")
        await db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(kept)))
        await _move(db, model, "public", kept)
        await _move(db, model, coming.schema, "public")
        await db.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(coming.schema)))
        for generation, state, schema in ((going, "retired", kept), (coming, "live", "public")):
            await db.execute(
                "UPDATE projections SET state = %s, schema = %s, epoch = epoch + 1, "
                "updated_at = clock_timestamp() WHERE name = %s AND generation = %s",
                (state, schema, model.name, generation.generation),
            )
        for generation in await generations(db, model.name, state="retired"):
            if generation.generation not in (going.generation, coming.generation):
                await drop(db, generation)
        notice = read_notice(model.name, previous=going.position, position=coming.position, touched=None)
        await db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, notice))
    return await newest(db, model.name, "live")


async def _move(db: AsyncConnection[Any], model: AnyReadModel, source: str, target: str) -> None:
    for table in model.tables:
        await db.execute(
            sql.SQL("ALTER TABLE {}.{} SET SCHEMA {}").format(
                sql.Identifier(source), sql.Identifier(table.name), sql.Identifier(target)
            )
        )


async def hold_live(db: AsyncConnection[Any], name: str) -> Generation:
    """The live generation, standing still until the transaction that is open on ``db`` ends.

    Raises:
        psycopg.errors.LockNotAvailable: its runner did not finish a batch in HOLD_TIMEOUT_MS.
        NoSuchGeneration: nothing is live.
    """
    await db.execute(f"SET LOCAL lock_timeout TO {HOLD_TIMEOUT_MS}")
    await db.execute("SELECT FROM projections WHERE name = %s AND state = 'live' FOR UPDATE", (name,))
    return await newest(db, name, "live")


async def split(db: AsyncConnection[Any], generation: Generation, parts: int) -> None:
    """Let ``parts`` processes bring the generation further side by side, each from where it is now."""
    await db.execute(
        "INSERT INTO projection_parts (name, generation, part, parts, position) "
        "SELECT %s, %s, part, %s, %s FROM generate_series(0, %s - 1) part",
        (generation.name, generation.generation, parts, generation.position, parts),
    )


async def part_positions(db: AsyncConnection[Any], generation: Generation) -> Sequence[int]:
    """Where each part is, in order of the parts; empty when the generation is in one piece."""
    rows = await (
        await db.execute(
            "SELECT position FROM projection_parts WHERE name = %s AND generation = %s ORDER BY part",
            (generation.name, generation.generation),
        )
    ).fetchall()
    return [int(row[0]) for row in rows]


async def join(db: AsyncConnection[Any], generation: Generation, position: int) -> Generation:
    """Make the generation one piece again: every part has reached ``position``."""
    async with db.transaction():
        this = (generation.name, generation.generation)
        reached = await part_positions(db, generation)
        assert set(reached) == {position}, f"{generation}: parts at {reached}, not all at {position}"
        await db.execute(
            "UPDATE projections SET position = %s, epoch = epoch + 1 WHERE name = %s AND generation = %s",
            (position, *this),
        )
        await db.execute("DELETE FROM projection_parts WHERE name = %s AND generation = %s", this)
    return await refreshed(db, generation)
