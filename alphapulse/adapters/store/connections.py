"""A few connections to read with: opened when wanted, kept while they work, replaced when they die."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus

from alphapulse.domain.ports import StoreUnavailable

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Connect: TypeAlias = Callable[[], Awaitable[Connection]]

# The server may be restarting, out of connections, or too slow: the same call may succeed later.
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError)
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.02, 1.0


class Connections:
    """At most ``size`` connections made by ``connect``; every call is bounded by ``timeout_s``."""

    def __init__(self, connect: Connect, *, size: int, timeout_s: float) -> None:
        self._connect = connect
        self._turn = asyncio.Semaphore(size)
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []

    async def rows(self, query: str, parameters: Any = ()) -> Sequence[tuple[Any, ...]]:
        """All rows of a ``query`` that is safe to repeat; it is repeated when a connection dies under it.

        Raises:
            StoreUnavailable: there was no answer in time.
        """
        pause, last_error = 0.0, None
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await self._fetch(query, parameters)
                    except psycopg.errors.QueryCanceled as error:  # too slow: so would be the next attempt
                        raise StoreUnavailable(f"no answer in {self._timeout_s} s: {error}") from error
                    except PASSING as error:
                        last_error = error
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LAST_PAUSE_S) or _FIRST_PAUSE_S
        except TimeoutError:
            reason = f"no answer in {self._timeout_s} s; last error: {last_error!r}"
            raise StoreUnavailable(reason) from last_error

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _fetch(self, query: str, parameters: Any) -> Sequence[tuple[Any, ...]]:
        async with self._borrowed() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(query, parameters)
            return await cursor.fetchall()

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Connection]:
        async with self._turn:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                yield connection
            finally:
                # A cancelled query leaves the connection closed, or in the midst of it.
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    self._idle.append(connection)
                else:
                    await connection.close()
