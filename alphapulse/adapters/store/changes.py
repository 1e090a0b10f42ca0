"""Who waits for the log to grow: woken by our own commits, by NOTIFY, and by a poll as the safety net.

A NOTIFY connection can go quiet without an error (a proxy, a failover), so nobody relies on it alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psycopg

from alphapulse.adapters.store import statements
from alphapulse.adapters.store.connections import Connect, Connection
from alphapulse.domain.ports import StoreUnavailable

POLL_S = 1.0
_LISTEN_S = 30.0  # then the connection is tried with a query
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 5.0
_CLOSE_S = 1.0  # then the listener is cancelled once more


class Changes:
    """``connect`` gives an autocommit connection; ``head`` asks the store for its last position."""

    def __init__(self, connect: Connect, head: Callable[[], Awaitable[int]]) -> None:
        self._connect = connect
        self._head = head
        self._last = 0
        self._grown = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self._closed = False

    def saw(self, position: int) -> None:
        """The log is known to reach ``position``."""
        if position > self._last:
            self._last = position
            self._grown.set()
            self._grown = asyncio.Event()  # whoever waits next waits for the next one

    async def wait(self, after: int, timeout_s: float) -> None:
        """Return when the log reaches past ``after``, at the latest after ``timeout_s``."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="log-listener")
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._last <= after:
                    await self._wait_or_poll()

    async def close(self) -> None:
        """End the listener, also when psycopg turns the first cancellation into an error of its own."""
        self._closed = True
        while self._listener is not None and not self._listener.done():
            self._listener.cancel()
            await asyncio.wait({self._listener}, timeout=_CLOSE_S)

    async def _wait_or_poll(self) -> None:
        grown = self._grown
        try:
            async with asyncio.timeout(POLL_S):
                await grown.wait()
        except TimeoutError:
            with suppress(StoreUnavailable):  # whoever reads next will hear of it
                self.saw(await self._head())

    async def _listen(self) -> None:
        """Follow NOTIFY for ever, over as many connections as it takes."""
        pause = _FIRST_PAUSE_S
        while not self._closed:
            with suppress(psycopg.Error, OSError):
                connection = await self._connect()
                try:
                    await connection.execute(statements.LISTEN)
                    pause = _FIRST_PAUSE_S
                    await self._follow(connection)
                finally:
                    await connection.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S)

    async def _follow(self, connection: Connection) -> None:
        while True:
            # What was committed before LISTEN took hold is not notified; this also tries the connection.
            row = await (await connection.execute(statements.HEAD)).fetchone()
            assert row is not None
            self.saw(int(str(row[0])))
            async for notification in connection.notifies(timeout=_LISTEN_S):
                self.saw(int(notification.payload))
