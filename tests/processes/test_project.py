"""The role ``project``, and rebuilds in several processes, with the real read models."""

import asyncio
import subprocess
import sys
import time

import psycopg
import pytest

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import NewEvent
from alphapulse.processes.project import READ_MODELS, connector, from_store, run_project
from alphapulse.processes.rebuilding import (
    NotParked,
    UnknownReadModel,
    bring_back,
    open_rebuilder,
    read_model,
)
from alphapulse.projections.digest import live_digest
from alphapulse.projections.parked import parked_events
from alphapulse.projections.rebuild import PARALLEL_FROM
from alphapulse.projections.retry import Retried
from alphapulse.projections.runner import connection
from tests.launch import environment
from tests.projections.candle_logs import store_trades


async def caught_up(url: str) -> None:
    """Run the role until every read model is at the end of the log."""
    stop = asyncio.Event()
    role = asyncio.create_task(run_project(url, from_store, stop))
    async with PostgresEventStore(url) as store, connection(connector(url)) as db:
        head = await store.head()
        async with asyncio.timeout(60):
            while True:
                assert not role.done(), role
                cursor = await db.execute("SELECT count(*) FROM projections WHERE position = %s", (head,))
                if await cursor.fetchone() == (len(READ_MODELS),):
                    break
                await asyncio.sleep(0.02)
    stop.set()
    await role


async def test_the_role_brings_every_read_model_to_the_end_and_stops_when_asked(database_url: str) -> None:
    async with PostgresEventStore(database_url) as store:
        await store_trades(store, instruments=2, events=10)
    await caught_up(database_url)
    with psycopg.connect(connection_info(database_url, role=None)) as db:
        assert db.execute("SELECT count(DISTINCT instrument) FROM candles").fetchone() == (2,)


@pytest.mark.parametrize("name", sorted(READ_MODELS))
async def test_every_read_model_equals_a_rebuild_by_several_processes(database_url: str, name: str) -> None:
    """Live in batches as they came, rebuilt in parts: one digest."""
    async with PostgresEventStore(database_url) as store:
        await store_trades(store, instruments=6, events=PARALLEL_FROM // 6 + 10, rows=5)
    await caught_up(database_url)
    async with connection(connector(database_url)) as db:
        before = await live_digest(db, READ_MODELS[name])
    async with open_rebuilder(database_url, READ_MODELS[name], workers=2) as rebuilder:
        outcome = await rebuilder.rebuild()
    assert outcome.comparison is not None
    assert outcome.comparison.equal
    async with connection(connector(database_url)) as db:
        assert await live_digest(db, READ_MODELS[name]) == before


async def test_a_rebuild_that_was_killed_goes_on_and_leaves_no_worker_behind(database_url: str) -> None:
    """kill -9 of the whole rebuild in the middle; its workers end by themselves; the next one finishes."""
    async with PostgresEventStore(database_url) as store:
        await store_trades(store, instruments=4, events=PARALLEL_FROM // 4 + 10, rows=2)
    await caught_up(database_url)
    await asyncio.to_thread(kill_a_rebuild, database_url)
    async with connection(connector(database_url)) as db:
        shadow = await (
            await db.execute("SELECT generation FROM projections WHERE state = 'shadow'")
        ).fetchone()
        assert shadow == (2,)
        parts = await (await db.execute("SELECT position > 0 FROM projection_parts ORDER BY part")).fetchall()
        assert parts == [(False,), (True,)]
    async with open_rebuilder(database_url, read_model("candles"), workers=2) as rebuilder:
        outcome = await rebuilder.rebuild()
    assert outcome.generation.generation == 2
    assert outcome.comparison is not None
    assert outcome.comparison.equal


def kill_a_rebuild(url: str) -> None:
    """Start one with two workers, and kill it when one has done its part and the other cannot begin."""
    command = [sys.executable, "-m", "alphapulse", "projections", "rebuild", "candles", "--workers", "2"]
    with psycopg.connect(connection_info(url, role=None), autocommit=True) as db:
        process = subprocess.Popen(command, env=environment() | {"ALPHAPULSE_DATABASE_URL": url})
        try:
            with db.transaction():
                until(db, "SELECT FROM projection_parts WHERE part = 0 FOR UPDATE")
                until(db, "SELECT FROM projection_parts WHERE part = 1 AND position > 0")
                process.kill()
                process.wait()
            others = (
                "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            until(db, f"SELECT WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE {others})")
        finally:
            process.kill()
            process.wait()


def until(db: psycopg.Connection, query: str) -> None:
    """Ask until there is a row."""
    deadline = time.monotonic() + 60
    while not db.execute(query).rowcount:
        assert time.monotonic() < deadline, query
        time.sleep(0.005)


async def test_retry_rebuilds_a_read_model_that_depends_on_order(database_url: str) -> None:
    """An event of a newer version stays parked, and is named as such."""
    async with PostgresEventStore(database_url) as store:
        await store_trades(store, instruments=1, events=3)
        (last,) = await store.read_stream("trades-test-S0", after=2)
        newer = NewEvent(
            stream="trades-test-S0",
            version=4,
            name="market.trades_observed.v9",
            state=b"?",
            envelope=new_id(last),
        )
        await store.append([newer])
    await caught_up(database_url)
    async with connection(connector(database_url)) as db:
        everywhere = {event.projection: event for event in await parked_events(db)}
    assert everywhere.keys() == READ_MODELS.keys()  # nobody can say whose business it is
    parked = everywhere["candles"]
    assert await bring_back(database_url, [parked.id]) == {parked.id: Retried.FAILED}
    with pytest.raises(NotParked, match="999"):
        await bring_back(database_url, [999])


def new_id(record: NewEvent):  # type: ignore[no-untyped-def]
    from uuid import uuid4

    from msgspec.structs import replace

    return replace(record.envelope, event_id=uuid4())


def test_an_unknown_read_model_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownReadModel, match="'candle': there are attribution, audit_trail, candles"):
        read_model("candle")
