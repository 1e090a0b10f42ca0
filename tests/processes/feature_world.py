"""A log with markets and a feature set in PostgreSQL, and the live features over it."""

import asyncio
from typing import Any

import psycopg

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.processes.computing import Wanted, wanted_rows
from alphapulse.projections.features import Features
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.runner import Limits, Runner
from tests.processes.feature_logs import Writer


class World:
    def __init__(self, url: str, store: PostgresEventStore) -> None:
        self.url, self.store, self.writer = url, store, Writer(store)

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(connection_info(self.url, role=None), autocommit=True)

    async def fold(self, model: AnyReadModel | None = None) -> None:
        """Bring the live features up to the end of the log."""
        head = await self.store.head()
        model = model or Features()
        limits = Limits(batch_events=7, poll_s=0.1)
        runner = Runner(model, on_postgres(self.connect), StoreSource(self.store), codec.decode, limits)
        task = asyncio.create_task(runner.run())
        try:
            async with asyncio.timeout(60), await self.connect() as db:
                while True:
                    cursor = await db.execute(
                        "SELECT position FROM projections WHERE name = %s AND state = 'live'", (model.name,)
                    )
                    row = await cursor.fetchone()
                    if row is not None and row[0] >= head:
                        return
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()

    async def wanted(self, **more: Any) -> Wanted:
        return await wanted_rows(self.store, "s", **more)
