"""A small batch as one statement: near the end of the log a round trip costs more than what it carries.

The checkpoint moves, rows are written and readers are told in one statement, which is a transaction of its
own. It fails where the checkpoint was not where it should be, so nothing is written then. Why, and whether
an event is to blame, is found out by doing the same step by step.
"""

from collections.abc import Sequence
from typing import Any, LiteralString, Protocol, runtime_checkable

import psycopg
from psycopg import AsyncConnection

# A statement that writes, and its values. Parts of one batch write to different rows.
Part = tuple[LiteralString, Sequence[object]]


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
    named = [("moved", moving), *((f"part_{i}", part) for i, part in enumerate(parts))]
    told = notify or ("NULL", ())
    query = f"WITH {', '.join(f'{name} AS ({part[0]})' for name, part in named)} {_OR_FAIL}, {told[0]}"
    values = [value for _, part in named for value in part[1]]
    try:
        await db.execute(query, [*values, *told[1]])
    except psycopg.Error:
        if db.closed:
            raise
        return False
    return True


# Division by zero is an error that no row can be written beside.
_OR_FAIL: LiteralString = "SELECT 1 / (SELECT count(*) FROM moved)"
