"""The role ``project``: keeps every read model at the end of the log, one runner each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from psycopg import AsyncConnection

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import EventStore, LogSource
from alphapulse.processes.once import Once
from alphapulse.projections.attribution import Attribution
from alphapulse.projections.audit_trail import Trail
from alphapulse.projections.candles import Candles
from alphapulse.projections.decisions import Decisions
from alphapulse.projections.feature_quality import FeatureQuality
from alphapulse.projections.features import Features
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.performance import Performance
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.runner import Connect, Runner
from alphapulse.projections.signals import Signals

# Every read model there is; one line each.
READ_MODELS: Mapping[str, AnyReadModel] = {
    model.name: model
    for model in (
        Candles(),
        Features(),
        FeatureQuality(),
        Decisions(),
        Signals(),
        Performance(),
        Attribution(),
        Trail(),
    )
}

# A source of its own for each runner, so that one that is behind does not hold up the others.
OpenSource = Callable[[EventStore, str], AbstractAsyncContextManager[LogSource]]


@asynccontextmanager
async def from_store(store: EventStore, _: str) -> AsyncIterator[LogSource]:
    """Follow the log without a bus."""
    yield StoreSource(store)


def connector(database_url: str) -> Connect:
    """Connections that may change read models."""
    info = connection_info(database_url, role=None)

    async def connect() -> AsyncConnection[Any]:
        return await AsyncConnection.connect(info, autocommit=True)

    return connect


async def run_project(
    database_url: str,
    open_source: OpenSource,
    stop: asyncio.Event,
    models: Mapping[str, AnyReadModel] = READ_MODELS,
) -> None:
    """Run until ``stop`` is set. Ending a runner is safe at any moment, so nothing is waited for then.

    Raises:
        Exception: a runner met what it cannot know how to handle, such as a missing table.
    """
    # Most events are decoded for several models, which look at them and leave them as they are.
    connect, decode = connector(database_url), Once(codec.decode)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore(database_url))
        tasks = [asyncio.create_task(stop.wait(), name="stop")]
        for name, model in models.items():
            source = await stack.enter_async_context(open_source(store, name))
            runner = Runner(model, on_postgres(connect), source, decode)
            tasks.append(asyncio.create_task(runner.run(), name=f"runner of {name}"))  # type: ignore[arg-type]
        stack.push_async_callback(_cancel, tasks)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
