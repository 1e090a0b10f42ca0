"""A few connections to read with, each used by one thread at a time: opened when wanted, replaced when dead.

Threads, because psycopg's asyncio side wakes the event loop for every few kilobytes: pages of the log
take twice the processor time that way, on the loop that everything else waits for.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from alphapulse.domain.ports import StoreUnavailable

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Connect: TypeAlias = Callable[[], Awaitable[Connection]]
Reader: TypeAlias = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")

# The server may be restarting, out of connections, or too slow: the same call may succeed later.
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError)
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.02, 1.0


class Connections:
    """At most ``size`` connections made by ``connect``; every call is bounded by ``timeout_s``."""

    def __init__(self, connect: Callable[[], Reader], *, size: int, timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="log-reader")
        self._idle: list[Reader] = []
        self._lock = Lock()
        self._is_closed = False

    async def rows(self, query: str, parameters: Any = ()) -> Sequence[tuple[Any, ...]]:
        """All rows of a ``query`` that is safe to repeat; see ``run``."""

        def fetch(connection: Reader) -> Sequence[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(query, parameters, prepare=True).fetchall()

        return await self.run(fetch)

    async def run(self, work: Callable[[Reader], T]) -> T:
        """What ``work`` gives, done in a thread; done again when a connection dies under it.

        Raises:
            StoreUnavailable: there was no answer in time.
        """
        pause, last_error = 0.0, None
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await self._attempt(work)
                    except psycopg.errors.QueryCanceled as error:  # too slow: so would be the next attempt
                        raise StoreUnavailable(f"no answer in {self._timeout_s} s: {error}") from error
                    except PASSING as error:
                        last_error = error
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LAST_PAUSE_S) or _FIRST_PAUSE_S
        except TimeoutError:
            reason = f"no answer in {self._timeout_s} s; last error: {last_error!r}"
            raise StoreUnavailable(reason) from last_error

    def close(self) -> None:
        """Threads that are at work close their connections themselves, when they are done."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def _attempt(self, work: Callable[[Reader], T]) -> T:
        loan = _Loan()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._lend, loan, work)
        except asyncio.CancelledError:
            loan.abort()
            raise

    def _lend(self, loan: "_Loan", work: Callable[[Reader], T]) -> T:
        """Runs in a thread of ours."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        loan.begin(connection)
        try:
            return work(connection)
        finally:
            loan.end()
            self._take_back(connection)

    def _take_back(self, connection: Reader) -> None:
        with self._lock:
            if not self._is_closed and connection.info.transaction_status == TransactionStatus.IDLE:
                self._idle.append(connection)
                return
        connection.close()


class _Loan:
    """A connection in a thread's hands, which the event loop can break off when nobody wants the answer."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection: Reader | None = None
        self._is_aborted = False

    def begin(self, connection: Reader) -> None:
        with self._lock:
            self._connection = connection
            if self._is_aborted:
                self._hang_up()

    def end(self) -> None:
        with self._lock:
            self._connection = None

    def abort(self) -> None:
        with self._lock:
            self._is_aborted = True
            self._hang_up()

    def _hang_up(self) -> None:
        """Shut the socket under the connection, which ends any wait on it at once."""
        if self._connection is not None and not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as shared:
                shared.shutdown(socket.SHUT_RDWR)
