"""How far the relay has come: one row, and the lag that follows from it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.adapters.bus.jetstream import JetStreamBus
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.processes.relay import run_relay
from alphapulse.projections import relay_status
from alphapulse.projections.relay_status import RelayStatus
from tests.adapters.store.events import run_of
from tests.processes.relaying import assert_exact, caught_up


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as db:
        yield db


async def test_before_any_relay_there_is_no_status(database_url: str) -> None:
    async with connected(database_url) as db:
        assert await relay_status.read(db) is None


async def test_lag_counts_what_is_not_published_and_the_age_of_its_first(database_url: str) -> None:
    async with PostgresEventStore(database_url) as store, connected(database_url) as db:
        stored = await store.append(run_of("a", 1, 10))
        await relay_status.write(db, position=stored[6].position, sequence=7, epoch=1, problem=None)
        await asyncio.sleep(0.05)
        found = await relay_status.read(db)
        assert found is not None
        assert (found.position, found.sequence, found.epoch, found.problem) == (
            stored[6].position,
            7,
            1,
            None,
        )
        assert found.lag_events == 3
        assert 0.05 <= found.lag_s < 5
        assert 0.05 <= found.silent_s < 5
        await relay_status.write(db, position=stored[-1].position, sequence=10, epoch=1, problem=None)
        found = await relay_status.read(db)
        assert found is not None
        assert (found.lag_events, found.lag_s) == (0, 0)


async def test_a_problem_leaves_the_last_known_place(database_url: str) -> None:
    async with connected(database_url) as db:
        await relay_status.write(db, position=5, sequence=6, epoch=2, problem=None)
        await relay_status.write(db, position=None, sequence=None, epoch=None, problem="NATS is away")
        found = await relay_status.read(db)
        assert found is not None
        assert (found.position, found.sequence, found.epoch, found.problem) == (5, 6, 2, "NATS is away")


async def test_the_role_tells_where_it_is_and_what_keeps_it_from_work(
    database_url: str, nats_url: str
) -> None:
    async with PostgresEventStore(database_url) as store, connected(database_url) as db:
        await store.append(run_of("a", 1, 100))
        async with _role(database_url, "nats://127.0.0.1:1"):
            await _until(db, lambda found: "Refused" in (found.problem or ""))
        async with _role(database_url, nats_url):
            head = await store.head()
            await _until(db, lambda found: found.position == head and found.problem is None)
            bus = JetStreamBus(NatsOptions(servers=(nats_url,)))
            await caught_up(store, bus)
        await assert_exact(store, bus)
        await bus.close()


@asynccontextmanager
async def _role(database_url: str, nats_url: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(run_relay(database_url, NatsOptions(servers=(nats_url,)), stop))
    yield
    stop.set()
    async with asyncio.timeout(30):
        await running


async def _until(db: AsyncConnection[Any], holds: Callable[[RelayStatus], bool]) -> None:
    async with asyncio.timeout(30):
        while not ((found := await relay_status.read(db)) and holds(found)):
            await asyncio.sleep(0.05)
