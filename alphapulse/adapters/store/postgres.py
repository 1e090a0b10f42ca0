"""The event store on PostgreSQL: one appender, a few connections to read with, one that listens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import psycopg

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store import arrays, statements
from alphapulse.adapters.store.appender import Appender
from alphapulse.adapters.store.changes import Changes
from alphapulse.adapters.store.committing import on_postgres
from alphapulse.adapters.store.connections import Connection, Connections, Reader
from alphapulse.adapters.store.leases import PostgresLeases
from alphapulse.adapters.store.limits import MAX_PAGE_BYTES, check_limit
from alphapulse.adapters.store.statements import PageQueries
from alphapulse.domain.ports import Fence, NewEvent, Page, StoredRecord

# A filter may match one event in a million: so much of the log is looked through for one page.
MAX_SCAN = 200_000
# Whatever is asked of the log follows an index. Before the first ANALYZE the planner would rather sort
# everything that follows, for each page anew.
_AT_ONCE_BYTES = 256_000
_PORTION = 64  # rows
_NO_END = (1 << 63) - 1
PLANNER = {"enable_seqscan": "off", "enable_bitmapscan": "off"}


class PostgresEventStore:
    """EventStore on the log at ``database_url``; use it as an async context manager, in one event loop.

    ``timeout_s`` bounds every call, waiting for room in the appender's queue included.
    """

    def __init__(self, database_url: str, *, readers: int = 4, timeout_s: float = 30.0) -> None:
        self._info = connection_info(database_url, statement_timeout_s=timeout_s, settings=PLANNER)
        self._connections = Connections(self._connect_reader, size=readers, timeout_s=timeout_s)
        self.leases = PostgresLeases(self._connections)
        self._changes = Changes(self._connect, self.head)
        self._appender = Appender(
            on_postgres(self._connect), timeout_s=timeout_s, on_commit=self._changes.saw
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._appender.close()
        await self._changes.close()
        self._connections.close()

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
            "until": min(bounds, default=_NO_END),
            "limit": limit,
            "bytes": _AT_ONCE_BYTES,
            "names": list(names or ()),
            "streams": list(streams or ()),
            "part": part,
            "parts": parts,
        }
        queries = statements.read_page(names=names, streams=streams, partition=partition)
        records, head = await self._connections.run(lambda c: _page(c, queries, parameters))
        is_cut = len(records) == limit or head is None
        scanned_to = records[-1].position if is_cut else min([head or 0, *bounds])
        return Page(records, max(scanned_to, after))

    async def read_stream(self, stream: str, *, after: int = 0, limit: int = 500) -> Sequence[StoredRecord]:
        check_limit(limit)
        rows = await self._connections.rows(statements.READ_STREAM, (stream, after, limit))
        return [statements.record(row) for row in rows]

    async def overlapping(self, stream: str, id_lo: int, id_hi: int) -> Sequence[StoredRecord]:
        rows = await self._connections.rows(statements.OVERLAPPING, (stream, id_lo, id_hi))
        return [statements.record(row) for row in rows]

    async def streams(self, prefix: str) -> Sequence[str]:
        ((is_plain,),) = await self._connections.rows(statements.BY_CODE_POINT)
        bounds = {"prefix": prefix, "first": prefix if is_plain else ""}
        return sorted(row[0] for row in await self._connections.rows(statements.STREAMS, bounds))

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

    def _connect_reader(self) -> Reader:
        return psycopg.connect(self._info, autocommit=True)


def _page(
    connection: Reader, queries: PageQueries, parameters: Mapping[str, Any]
) -> tuple[list[StoredRecord], int | None]:
    """The records of a page, and the log's last position as of then; None when it was cut at 32 MB.

    A small page comes at once. Of others, rows come in portions: memory stays bounded, and warm.
    """
    with connection.cursor(binary=True) as cursor:
        if rows := cursor.execute(queries.small, parameters, prepare=True).fetchall():
            return [statements.record(row) for row in rows], rows[-1][-1]
        records: list[StoredRecord] = []
        size, head = 0, 0
        for row in cursor.stream(queries.any_size, parameters, size=_PORTION):
            head = row[-1]
            if row[0] is None:  # the one row of an empty page; leaving early would cancel the query
                continue
            if size >= MAX_PAGE_BYTES:
                return records, None
            records.append(statements.record(row))
            size += len(row[3])
    return records, head
