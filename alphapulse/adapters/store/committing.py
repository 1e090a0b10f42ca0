"""One connection to the log's one door: a call of ``log_append``, which is one commit."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from alphapulse.adapters.store import statements
from alphapulse.adapters.store.connections import Connect, Connection
from alphapulse.adapters.store.statements import Group, Outcome
from alphapulse.domain.ports import NewEvent, StoredRecord


class Committing(Protocol):
    """Used by one at a time. An error of ``connections.PASSING`` leaves open whether a call happened."""

    @property
    def closed(self) -> bool: ...

    async def commit(self, groups: Sequence[Group]) -> Sequence[Outcome]:
        """What became of each event of ``groups``, in order; each group stands or falls by itself."""
        ...

    async def held(self, event: NewEvent) -> StoredRecord | None:
        """The log's record of exactly this event."""
        ...

    async def close(self) -> None: ...


Open = Callable[[], Awaitable[Committing]]


class PostgresCommitting:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def closed(self) -> bool:
        return self._connection.closed

    async def commit(self, groups: Sequence[Group]) -> Sequence[Outcome]:
        async with self._connection.cursor(binary=True) as cursor:
            await cursor.execute(statements.APPEND, statements.append_parameters(groups), prepare=True)
            return [Outcome._make(row) for row in await cursor.fetchall()]

    async def held(self, event: NewEvent) -> StoredRecord | None:
        async with self._connection.cursor(binary=True) as cursor:
            await cursor.execute(statements.AT_VERSION, (event.stream, event.version))
            row = await cursor.fetchone()
        found = statements.record(row) if row else None
        return found if found and statements.same_event(event, found) else None

    async def close(self) -> None:
        await self._connection.close()


def on_postgres(connect: Connect) -> Open:
    """``connect`` gives an autocommit connection with its timeouts set."""

    async def open_() -> Committing:
        return PostgresCommitting(await connect())

    return open_
