"""The event store on PostgreSQL: one appender, a few connections to read with, one that listens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

import psycopg

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store import arrays, statements
from alphapulse.adapters.store.appender import Appender
from alphapulse.adapters.store.changes import Changes
from alphapulse.adapters.store.connections import Connection, Connections
from alphapulse.adapters.store.leases import PostgresLeases
from alphapulse.adapters.store.limits import MAX_PAGE_BYTES, check_limit
from alphapulse.domain.ports import Fence, NewEvent, Page, StoredRecord

# A filter may match one event in a million: so much of the log is looked through for one page.
MAX_SCAN = 200_000
# Whatever is asked of the log follows an index. Before the first ANALYZE the planner would rather sort
# everything that follows, for each page anew.
PLANNER = {"enable_seqscan": "off", "enable_bitmapscan": "off"}


class PostgresEventStore:
    """EventStore on the log at ``database_url``; use it as an async context manager, in one event loop.

    ``timeout_s`` bounds every call, waiting for room in the appender's queue included.
    """

    def __init__(self, database_url: str, *, readers: int = 4, timeout_s: float = 30.0) -> None:
        self._info = connection_info(database_url, statement_timeout_s=timeout_s, settings=PLANNER)
        self._connections = Connections(self._connect, size=readers, timeout_s=timeout_s)
        self.leases = PostgresLeases(self._connections)
        self._changes = Changes(self._connect, self.head)
        self._appender = Appender(self._connect, timeout_s=timeout_s, on_commit=self._changes.saw)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._appender.close()
        await self._changes.close()
        await self._connections.close()

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        return await self._appender.append(events, fence)

    async def read(
        self,
        after: int,
        *,
        until: int | None = None,
        limit: int = 500,
        names: Sequence[str] | None = None,
        streams: Sequence[str] | None = None,
        partition: tuple[int, int] | None = None,
    ) -> Page:
        check_limit(limit)
        is_filtered = names is not None or streams is not None or partition is not None
        part, parts = partition or (0, 1)
        bounds = [b for b in (until, after + MAX_SCAN if is_filtered else None) if b is not None]
        parameters = {
            "after": after,
            "until": min(bounds, default=(1 << 63) - 1),
            "limit": limit,
            "bytes": MAX_PAGE_BYTES,
            "names": list(names or ()),
            "streams": list(streams or ()),
            "part": part,
            "parts": parts,
        }
        query = statements.read_page(names=names, streams=streams, partition=partition)
        rows = await self._connections.rows(query, parameters)
        *_, found, head = rows[0]
        records = [statements.record(row) for row in rows] if found else []
        is_whole = len(records) == (found or 0) < limit
        scanned_to = min([head, *bounds]) if is_whole else records[-1].position
        return Page(records, max(scanned_to, after))

    async def read_stream(self, stream: str, *, after: int = 0, limit: int = 500) -> Sequence[StoredRecord]:
        check_limit(limit)
        rows = await self._connections.rows(statements.READ_STREAM, (stream, after, limit))
        return [statements.record(row) for row in rows]

    async def overlapping(self, stream: str, id_lo: int, id_hi: int) -> Sequence[StoredRecord]:
        rows = await self._connections.rows(statements.OVERLAPPING, (stream, id_lo, id_hi))
        return [statements.record(row) for row in rows]

    async def version(self, stream: str) -> int:
        return int((await self._connections.rows(statements.VERSION, (stream,)))[0][0])

    async def head(self) -> int:
        return int((await self._connections.rows(statements.HEAD))[0][0])

    async def position_at(self, recorded_at: datetime) -> int:
        return int((await self._connections.rows(statements.POSITION_AT, (recorded_at,)))[0][0])

    async def changed(self, after: int, timeout_s: float) -> None:
        await self._changes.wait(after, timeout_s)

    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(self._info, autocommit=True)
        arrays.register(connection)
        return connection
