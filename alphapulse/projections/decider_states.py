"""What a decider carries along, written down now and then, so that it need not fold the log from its start.

One row for each part of a strategy version. Source: the market events of the log. Deleting a row loses
nothing: the decider then folds the log anew, and finds what it has already recorded.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from alphapulse.projections.checkpoint import metadata

decider_states = Table(
    "decider_states",
    metadata,
    Column("strategy", Text(collation="C"), nullable=False),
    Column("strategy_version", Integer, nullable=False),
    Column("part", SmallInteger, nullable=False),
    Column("code", Text(collation="C"), nullable=False),  # what made it: other code starts anew
    Column("position", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
    PrimaryKeyConstraint("strategy", "strategy_version", "part"),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """``state`` as of ``position``."""

    position: int
    state: bytes


async def read(db: AsyncConnection[Any], strategy: str, version: int, part: int, code: str) -> Kept | None:
    """The last state that the same code wrote down; None when there is none."""
    cursor = await db.execute(
        "SELECT position, state FROM decider_states"
        " WHERE strategy = %s AND strategy_version = %s AND part = %s AND code = %s",
        (strategy, version, part, code),
    )
    row = await cursor.fetchone()
    return None if row is None else Kept(int(row[0]), bytes(row[1]))


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a part of a strategy version has come, as last written down."""

    strategy: str
    version: int
    part: int
    position: int


async def reached(db: AsyncConnection[Any]) -> list[Reached]:
    """Every decider that ever wrote something down, by strategy, version and part."""
    cursor = await db.execute(
        "SELECT strategy, strategy_version, part, position FROM decider_states ORDER BY 1, 2, 3"
    )
    return [Reached(*row) for row in await cursor.fetchall()]


async def write(
    db: AsyncConnection[Any], strategy: str, version: int, part: int, code: str, kept: Kept
) -> None:
    """Take the place of an older state; a newer one by the same code stays."""
    await db.execute(
        "INSERT INTO decider_states AS s (strategy, strategy_version, part, code, position, state)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (strategy, strategy_version, part) DO UPDATE"
        " SET code = excluded.code, position = excluded.position, state = excluded.state"
        " WHERE s.position < excluded.position OR s.code <> excluded.code",
        (strategy, version, part, code, kept.position, kept.state),
    )
