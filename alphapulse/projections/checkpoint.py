"""How far each read model has come, who may bring it further, and the events it could not fold.

Every generation of a read model has one row in ``projections``. The live one's tables stand in the
schema ``public``; a shadow or retired generation's in a schema of their own, under the same names.
SQL in this package therefore never qualifies a table: the connection's search_path decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString, Self

from psycopg import AsyncConnection, sql
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from alphapulse.domain.ports import FencedOut

metadata = MetaData()

projections = Table(
    "projections",
    metadata,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("code_version", Integer, nullable=False),
    Column("state", Text, nullable=False),  # live, shadow, retired, scratch
    Column("schema", Text, nullable=False),
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("projections_one_live", "name", unique=True, postgresql_where=text("state = 'live'")),
)

parked = Table(
    "parked",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("projection", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("stream", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("reason", Text, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index("parked_once", "projection", "generation", "position", unique=True),
)

# Only while a generation is built by several processes: each folds the streams of one part.
projection_parts = Table(
    "projection_parts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("part", SmallInteger, primary_key=True),
    Column("parts", SmallInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
)


class RebuildNeeded(Exception):
    """The live generation was folded by another version of the code: their rows must not be mixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A claim to one generation (or one part of it): where it is, valid until somebody else claims it."""

    name: str
    generation: int
    part: int | None
    schema: str
    code_version: int
    position: int
    epoch: int

    def __str__(self) -> str:
        part = "" if self.part is None else f", part {self.part}"
        return f"{self.name} generation {self.generation}{part}"

    @classmethod
    async def claim(
        cls,
        db: AsyncConnection[Any],
        name: str,
        generation: int,
        *,
        part: int | None = None,
        live: bool = False,
    ) -> Self:
        """Take over a generation, only ``live`` if asked: whoever held it fails at its next commit.

        From here on the search_path of ``db`` leads to the generation's tables.

        Raises:
            FencedOut: there is no such generation (any more).
        """
        if part is None:
            moved = (
                "UPDATE projections SET epoch = epoch + 1, updated_at = clock_timestamp() "
                "WHERE name = %(name)s AND generation = %(generation)s AND (state = 'live' OR NOT %(live)s) "
                "RETURNING schema, code_version, position, epoch"
            )
        else:
            moved = (
                "UPDATE projection_parts p SET epoch = p.epoch + 1 FROM projections g "
                "WHERE p.name = %(name)s AND p.generation = %(generation)s AND p.part = %(part)s "
                "AND g.name = p.name AND g.generation = p.generation "
                "RETURNING g.schema, g.code_version, p.position, p.epoch"
            )
        row = await (
            await db.execute(moved, {"name": name, "generation": generation, "part": part, "live": live})
        ).fetchone()
        if row is None:
            raise FencedOut(f"{name} has no generation {generation} (part {part}) any more")
        schema, code_version, position, epoch = row
        await db.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))
        return cls(
            name=name,
            generation=generation,
            part=part,
            schema=schema,
            code_version=code_version,
            position=position,
            epoch=epoch,
        )

    async def advance(self, db: AsyncConnection[Any], to: int) -> Self:
        """The checkpoint at ``to``, in the transaction that is open on ``db``.

        Comes first in that transaction: the row's lock makes rivals wait here, before any of their work.

        Raises:
            FencedOut: another claim was made, or the position is not where this one left it.
        """
        moved = await db.execute(*self.moving(to))
        if moved.rowcount != 1:
            raise FencedOut(f"{self}: no longer at position {self.position}, epoch {self.epoch}")
        return replace(self, position=to)

    def moving(self, to: int) -> tuple[LiteralString, Sequence[object]]:
        """The statement that moves the checkpoint to ``to``, if this claim still holds, and its values."""
        assert to >= self.position, f"{self} is at {self.position}, it cannot go back to {to}"
        where = (self.name, self.generation, self.position, self.epoch)
        if self.part is None:
            return _MOVE, (to, *where)
        return _MOVE_PART, (to, *where, self.part)


_MOVE: LiteralString = (
    "UPDATE projections SET position = %s, updated_at = clock_timestamp() "
    "WHERE name = %s AND generation = %s AND position = %s AND epoch = %s RETURNING position"
)
_MOVE_PART: LiteralString = (
    "UPDATE projection_parts SET position = %s "
    "WHERE name = %s AND generation = %s AND position = %s AND epoch = %s AND part = %s RETURNING position"
)


async def ensure_live(db: AsyncConnection[Any], name: str, code_version: int) -> None:
    """Enter the first generation of a read model that has none: empty, at position 0."""
    await db.execute(
        "INSERT INTO projections (name, generation, code_version, state, schema) "
        "SELECT %(name)s, 1, %(code_version)s, 'live', 'public' "
        "WHERE NOT EXISTS (SELECT FROM projections WHERE name = %(name)s) ON CONFLICT DO NOTHING",
        {"name": name, "code_version": code_version},
    )


async def live_generation(db: AsyncConnection[Any], name: str, code_version: int) -> int:
    """The number of the generation that readers see.

    Raises:
        RebuildNeeded: it was folded by another version of the code.
    """
    await ensure_live(db, name, code_version)
    row = await (
        await db.execute(
            "SELECT generation, code_version FROM projections WHERE name = %s AND state = 'live'", (name,)
        )
    ).fetchone()
    assert row is not None, f"{name}: rows in projections, none of them live"
    generation, folded_by = row
    if folded_by != code_version:
        raise RebuildNeeded(
            f"{name}: generation {generation} was folded by code version {folded_by}, this is version "
            f"{code_version}: run `alphapulse projections rebuild {name}` (or rollback)"
        )
    return int(generation)
