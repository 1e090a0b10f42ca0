"""A database with the tables of the test read models, its log, and ways to run read models on them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from sqlalchemy import create_engine

from alphapulse.adapters.database import connection_info, sqlalchemy_url
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import NewEvent
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.runner import Limits, Runner
from tests.projections.tally import codec, counted, metadata

SOON = Limits(poll_s=0.1, takeover_s=1.0, backoff_s=(0.02, 0.2))


class World:
    """The log and the read models of one test database."""

    def __init__(self, url: str, store: PostgresEventStore) -> None:
        self.url = url
        self.store = store
        self._versions: dict[str, int] = {}

    async def connect(self) -> AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(connection_info(self.url, role=None), autocommit=True)

    async def append(self, *events: NewEvent) -> int:
        """Store ``events``; returns the last position."""
        return (await self.store.append(events))[-1].position

    async def count(self, *amounts: int, stream: str = "counts-a-1") -> int:
        """Store one Counted an amount; returns the last position."""
        events = []
        for amount in amounts:
            self._versions[stream] = self._versions.get(stream, 0) + 1
            events.append(counted(stream, self._versions[stream], amount))
        return await self.append(*events)

    def next_version(self, stream: str = "counts-a-1") -> int:
        """The version that the next event of ``stream`` gets, now taken."""
        self._versions[stream] = self._versions.get(stream, 0) + 1
        return self._versions[stream]

    async def rows(self, query: str, *parameters: Any) -> Sequence[tuple[Any, ...]]:
        async with await self.connect() as db:
            return await (await db.execute(query, parameters)).fetchall()

    async def row(self, query: str, *parameters: Any) -> tuple[Any, ...]:
        (row,) = await self.rows(query, *parameters)
        return row

    def runner(self, model: AnyReadModel, limits: Limits = SOON) -> Runner:
        return Runner(model, on_postgres(self.connect), StoreSource(self.store), codec.decode, limits)

    @asynccontextmanager
    async def running(self, *runners: Runner) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    async def reach(self, model: AnyReadModel, position: int, timeout_s: float = 15.0) -> None:
        """Wait until the live generation of ``model`` is at ``position``."""
        async with asyncio.timeout(timeout_s), await self.connect() as db:
            while True:
                cursor = await db.execute(
                    "SELECT position FROM projections WHERE name = %s AND state = 'live'", (model.name,)
                )
                row = await cursor.fetchone()
                if row is not None and row[0] >= position:
                    return
                await asyncio.sleep(0.01)

    async def caught_up(self, model: AnyReadModel, limits: Limits = SOON) -> int:
        """Run ``model`` until it has everything; returns that position."""
        head = await self.store.head()
        async with self.running(self.runner(model, limits)):
            await self.reach(model, head)
        return head


def make_tally_tables(url: str) -> None:
    engine = create_engine(sqlalchemy_url(url))
    metadata.create_all(engine)
    engine.dispose()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    make_tally_tables(database_url)
    async with PostgresEventStore(database_url) as store:
        yield World(database_url, store)
