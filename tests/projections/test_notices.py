"""Notices of a read model: heard at once, and found by the poll when they do not come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import psycopg
import pytest

from alphapulse.projections.notices import Minutes, ReadNotices
from alphapulse.projections.runner import CHANNEL, read_notice

POLL_S = 0.1


class Heard:
    def __init__(self) -> None:
        self.minutes: asyncio.Queue[Minutes | None] = asyncio.Queue()

    def __call__(self, minutes: Minutes | None) -> None:
        self.minutes.put_nowait(minutes)

    async def next(self) -> Minutes | None:
        async with asyncio.timeout(10):
            return await self.minutes.get()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:  # type: ignore[type-arg]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as db:
        await db.execute(
            "INSERT INTO projections (name, generation, code_version, state, schema, position) "
            "VALUES ('candles', 1, 1, 'live', 'public', 10)"
        )
        yield db


@pytest.fixture
async def notices(database_url: str, db: object) -> AsyncIterator[ReadNotices]:
    async def connect() -> psycopg.AsyncConnection:  # type: ignore[type-arg]
        return await psycopg.AsyncConnection.connect(database_url, autocommit=True)

    notices = ReadNotices(connect, "candles", poll_s=POLL_S)
    running = asyncio.create_task(notices.run())
    yield notices
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def commit(db: psycopg.AsyncConnection, position: int, **notice: object) -> None:  # type: ignore[type-arg]
    """Move the checkpoint, with a notice unless there is nothing in it."""
    async with db.transaction():
        await db.execute("UPDATE projections SET position = %s", (position,))
        if notice:
            payload = read_notice(**{"name": "candles", "previous": 0, "position": position, **notice})  # type: ignore[arg-type]
            await db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))


async def test_a_notice_wakes_those_who_watch_what_it_names(
    notices: ReadNotices, db: psycopg.AsyncConnection
) -> None:  # type: ignore[type-arg]
    one, other = Heard(), Heard()
    with notices.watching("a:B", one), notices.watching("a:C", other):
        assert await one.next() is None  # the first poll: anything may have changed before
        assert await other.next() is None
        await commit(db, 11, touched={"a:B": (5, 7)})
        assert await one.next() == (5, 7)
        await commit(db, 12, touched=None)
        assert await one.next() is None
        assert await other.next() is None


async def test_a_commit_without_a_notice_is_found_by_the_poll(
    notices: ReadNotices, db: psycopg.AsyncConnection
) -> None:  # type: ignore[type-arg]
    heard = Heard()
    with notices.watching("a:B", heard):
        await heard.next()
        await commit(db, 11)
        assert await heard.next() is None


async def test_another_generation_is_found_by_the_poll(
    notices: ReadNotices, db: psycopg.AsyncConnection
) -> None:  # type: ignore[type-arg]
    heard = Heard()
    with notices.watching("a:B", heard):
        await heard.next()
        await db.execute("UPDATE projections SET generation = 2")
        assert await heard.next() is None


async def test_a_lost_connection_is_made_again_and_what_was_missed_is_found(
    notices: ReadNotices,
    db: psycopg.AsyncConnection,  # type: ignore[type-arg]
) -> None:
    heard = Heard()
    with notices.watching("a:B", heard):
        await heard.next()
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        await commit(db, 11, touched={"a:B": (1, 1)})
        assert await heard.next() is None


async def test_nobody_is_woken_while_nothing_happens(
    notices: ReadNotices, db: psycopg.AsyncConnection
) -> None:  # type: ignore[type-arg]
    heard = Heard()
    with notices.watching("a:B", heard):
        await heard.next()
        await commit(db, 11, touched={"a:C": (1, 1)})
        await asyncio.sleep(4 * POLL_S)
        assert heard.minutes.empty()


async def test_who_stops_watching_hears_nothing_more(
    notices: ReadNotices, db: psycopg.AsyncConnection
) -> None:  # type: ignore[type-arg]
    gone, there = Heard(), Heard()
    with notices.watching("a:B", there):
        with notices.watching("a:B", gone):
            await gone.next()
            await there.next()
        await commit(db, 11, touched={"a:B": (1, 1)})
        assert await there.next() == (1, 1)
        assert gone.minutes.empty()
