"""What a runner asks of the database that holds read models: rows, checkpoints, parked events.

One connection, one read model. PostgreSQL's is here; the twin in ``memory_reads`` does the same in memory.
What lies behind it is the read model's own business: its ``load``, ``write`` and ``parts`` know.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import AsyncConnection

from alphapulse.projections import checkpoint as checkpoints
from alphapulse.projections import parked
from alphapulse.projections.at_once import Part, commit_at_once
from alphapulse.projections.checkpoint import Checkpoint
from alphapulse.projections.parked import Unfoldable
from alphapulse.projections.read_model import AnyReadModel, Scope, load_at

CHANNEL = "alphapulse_read"

# A fresh connection with autocommit on; the caller closes it.
Connect = Callable[[], Awaitable[AsyncConnection[Any]]]


class ReadDatabase(Protocol):
    """Over one connection. A lost one raises an error of ``runner.UNAVAILABLE`` from every call."""

    async def live_generation(self, name: str, code_version: int) -> int:
        """See ``checkpoint.live_generation``."""
        ...

    async def is_free(self, name: str, generation: int, takeover_s: float) -> bool:
        """Whether nobody is seen at work. A transaction in which the checkpoint moves is work, however long.

        That cannot keep us away for ever: see ``limit_silence``.
        """
        ...

    async def claim(self, name: str, generation: int) -> Checkpoint:
        """See ``Checkpoint.claim``, of a live generation."""
        ...

    async def limit_silence(self, limit_s: float) -> None:
        """Have the connection ended when it says nothing inside a transaction for so long."""
        ...

    async def load(self, model: AnyReadModel, scope: Scope) -> Any:
        """What the fold has to know of earlier events, at ``scope``."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All that is written inside, or nothing when it is left by an exception."""
        ...

    async def advance(self, checkpoint: Checkpoint, to: int) -> Checkpoint:
        """See ``Checkpoint.advance``; first in its transaction."""
        ...

    async def write(self, model: AnyReadModel, changes: Any) -> None:
        """Bring the rows up to ``changes``, in the open transaction."""
        ...

    async def park(self, at: Checkpoint, events: Sequence[Unfoldable]) -> None:
        """See ``parked.park``, in the open transaction."""
        ...

    async def notify(self, payload: str) -> None:
        """Tell readers, when the open transaction commits."""
        ...

    async def commit_at_once(
        self, checkpoint: Checkpoint, to: int, parts: Sequence[Any], payload: str | None
    ) -> bool:
        """Whether the checkpoint moved and ``parts`` of the read model are written; else nothing is."""
        ...


OpenReads = Callable[[], AbstractAsyncContextManager[ReadDatabase]]


@dataclass(frozen=True, slots=True)
class PostgresReads:
    db: AsyncConnection[Any]

    async def live_generation(self, name: str, code_version: int) -> int:
        return await checkpoints.live_generation(self.db, name, code_version)

    async def is_free(self, name: str, generation: int, takeover_s: float) -> bool:
        row = await (
            await self.db.execute(
                "SELECT pg_try_advisory_lock(hashtextextended('projection ' || name, 0)) "
                "OR updated_at < clock_timestamp() - make_interval(secs => %s) "
                "FROM projections WHERE name = %s AND generation = %s FOR NO KEY UPDATE SKIP LOCKED",
                (takeover_s, name, generation),
            )
        ).fetchone()
        return row is not None and bool(row[0])

    async def claim(self, name: str, generation: int) -> Checkpoint:
        return await Checkpoint.claim(self.db, name, generation, live=True)

    async def limit_silence(self, limit_s: float) -> None:
        await self.db.execute(f"SET idle_in_transaction_session_timeout TO {int(limit_s * 1000)}")

    async def load(self, model: AnyReadModel, scope: Scope) -> Any:
        return await load_at(model, self.db, scope)

    def transaction(self) -> AbstractAsyncContextManager[object]:
        return self.db.transaction()

    async def advance(self, checkpoint: Checkpoint, to: int) -> Checkpoint:
        return await checkpoint.advance(self.db, to)

    async def write(self, model: AnyReadModel, changes: Any) -> None:
        await model.write(self.db, changes)

    async def park(self, at: Checkpoint, events: Sequence[Unfoldable]) -> None:
        await parked.park(self.db, at, events)

    async def notify(self, payload: str) -> None:
        await self.db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))

    async def commit_at_once(
        self, checkpoint: Checkpoint, to: int, parts: Sequence[Any], payload: str | None
    ) -> bool:
        told = Part("pg_notify(%s, %s)", (CHANNEL, payload)) if payload is not None else None
        return await commit_at_once(self.db, Part(*checkpoint.moving(to)), parts, told)


@asynccontextmanager
async def connection(connect: Connect) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection whose commits may be lost in a power cut: the log replays."""
    db = await connect()
    try:
        await db.execute("SET synchronous_commit TO off")
        yield db
    finally:
        await db.close()


def on_postgres(connect: Connect) -> OpenReads:
    @asynccontextmanager
    async def open_() -> AsyncIterator[ReadDatabase]:
        async with connection(connect) as db:
            yield PostgresReads(db)

    return open_
