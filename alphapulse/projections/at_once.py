"""A small batch as one statement: near the end of the log a round trip costs more than what it carries.

The checkpoint moves, rows are written and readers are told in one statement, which is a transaction of its
own. It fails where the checkpoint was not where it should be, so nothing is written then. Why, and whether
an event is to blame, is found out by doing the same step by step.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, LiteralString, Protocol, runtime_checkable

import psycopg
from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True)
class Part:
    """A statement that writes, and its values (%s for each). Parts of one batch write to different rows.

    ``stands_on`` are queries that it names, as they stand behind WITH; their values come first.
    """

    statement: LiteralString
    values: Sequence[object]
    stands_on: LiteralString = ""

    async def execute(self, db: AsyncConnection[Any]) -> None:
        """The part by itself."""
        with_ = f"WITH {self.stands_on} " if self.stands_on else ""
        await db.execute(f"{with_}{self.statement}", self.values)


@runtime_checkable
class Brief(Protocol):
    """A read model that can say what few changes come to without asking the database anything."""

    def parts(self, changes: Any) -> Sequence[Part] | None:
        """What ``write`` would execute, in any order. None: too much for one statement."""
        ...


async def commit_at_once(
    db: AsyncConnection[Any], moving: Part, parts: Sequence[Part], notify: Part | None
) -> bool:
    """Whether all of it is committed; else nothing is. ``moving`` returns one row, if it may move.

    Raises:
        psycopg.Error: the connection is lost, and nobody knows.
    """
    told = notify or Part("NULL", ())
    query = _composed(moving.statement, tuple((p.stands_on, p.statement) for p in parts), told.statement)
    try:
        # psycopg would look for placeholders in a long text each time: here they are numbered once.
        cursor = psycopg.AsyncRawCursor(db)
        await cursor.execute(query, [value for part in (moving, *parts, told) for value in part.values])
    except psycopg.Error:
        if db.closed:
            raise
        return False
    return True


# Division by zero is an error that no row can be written beside.
_OR_FAIL: LiteralString = "SELECT 1 / (SELECT count(*) FROM moved)"


@lru_cache(maxsize=256)
def _composed(moving: str, parts: Sequence[tuple[str, str]], told: str) -> bytes:
    named = [f"moved AS ({moving})"]
    for i, (stands_on, statement) in enumerate(parts):
        named += [stands_on] * bool(stands_on) + [f"part_{i} AS ({statement})"]
    query, numbers = f"WITH {', '.join(named)} {_OR_FAIL}, {told}", count(1)
    return re.sub("%(.)", lambda found: "%" if found[1] == "%" else f"${next(numbers)}", query).encode()
