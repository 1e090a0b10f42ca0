"""Group commit on a real PostgreSQL: what shares a commit, and what happens when things break midway."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from alphapulse.adapters.database import migrate
from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store import appender
from alphapulse.adapters.store.limits import MAX_COMMIT_BYTES
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import FencedOut, StoreUnavailable, VersionConflict
from tests.adapters.store.events import event, run_of
from tests.adapters.store.proxy import proxy_to

APPEND_LOCK = 4705784317894840135
APPENDERS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE 'SELECT * FROM log_append%' AND state = 'active'"
)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore(database_url, timeout_s=10) as store:
        yield store


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@contextmanager
def commits_held_up(admin: psycopg.Connection[Any]) -> Iterator[None]:
    """Whoever appends meanwhile waits in the database."""
    admin.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])
    try:
        yield
    finally:
        admin.execute("SELECT pg_advisory_unlock(%s)", [APPEND_LOCK])


async def waiting_backend(admin: psycopg.Connection[Any]) -> int:
    """The process of PostgreSQL that waits to append."""
    while (row := admin.execute(APPENDERS).fetchone()) is None:
        await asyncio.sleep(0.005)
    return int(row[0])


async def test_what_waits_shares_a_commit(store: PostgresEventStore, admin: psycopg.Connection[Any]) -> None:
    with commits_held_up(admin):
        first = asyncio.create_task(store.append([event("first", 1)]))
        await waiting_backend(admin)
        others = [asyncio.create_task(store.append(run_of(f"s-{i}", 1, 2))) for i in range(30)]
        await asyncio.sleep(0.05)
    commits = Counter(r.recorded_at for records in await asyncio.gather(first, *others) for r in records)
    assert list(commits.values()) == [1, 60]


async def test_a_commit_holds_at_most_430_kb(
    store: PostgresEventStore, admin: psycopg.Connection[Any]
) -> None:
    with commits_held_up(admin):
        first = asyncio.create_task(store.append([event("first", 1)]))
        await waiting_backend(admin)
        sizes = [100_000, 100_000, 100_000, 100_000, 30_000, 1, 900_000, 1, 429_999, 1]
        others = [
            asyncio.create_task(store.append([event(f"s-{i}", 1, bytes(n))])) for i, n in enumerate(sizes)
        ]
        await asyncio.sleep(0.05)
    bytes_of: Counter[object] = Counter()
    for task in (first, *others):
        [record] = await task
        bytes_of[record.recorded_at] += len(record.state)
    assert list(bytes_of.values()) == [2, MAX_COMMIT_BYTES, 1, 900_000, 430_000, 1]


async def test_a_commit_holds_at_most_1000_events(
    store: PostgresEventStore, admin: psycopg.Connection[Any]
) -> None:
    with commits_held_up(admin):
        first = asyncio.create_task(store.append([event("first", 1)]))
        await waiting_backend(admin)
        others = [asyncio.create_task(store.append(run_of(f"s-{i}", 1, 400))) for i in range(5)]
        await asyncio.sleep(0.05)
    commits = Counter(r.recorded_at for records in await asyncio.gather(first, *others) for r in records)
    assert list(commits.values()) == [1, 800, 800, 400]


async def test_of_two_waiting_for_one_version_the_first_wins(
    store: PostgresEventStore, admin: psycopg.Connection[Any]
) -> None:
    with commits_held_up(admin):
        blocker = asyncio.create_task(store.append([event("blocker", 1)]))
        await waiting_backend(admin)
        tasks = [asyncio.create_task(store.append([event("a", 1)])) for _ in range(3)]
        tasks.append(asyncio.create_task(store.append([event("a", 2)])))
        await asyncio.sleep(0.05)
    await blocker
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(a) for a in answers] == [list, VersionConflict, VersionConflict, list]


async def test_a_backend_killed_before_its_commit_is_tried_again(
    store: PostgresEventStore, admin: psycopg.Connection[Any]
) -> None:
    with commits_held_up(admin):
        tasks = [asyncio.create_task(store.append(run_of(f"s-{i}", 1, 2))) for i in range(5)]
        admin.execute("SELECT pg_terminate_backend(%s)", [await waiting_backend(admin)])
    answers = await asyncio.gather(*tasks)
    assert len({r.position for records in answers for r in records}) == 10
    assert len((await store.read(0)).records) == 10


async def test_a_commit_whose_reply_is_lost_is_settled_without_the_caller(database_url: str) -> None:
    async with proxy_to(database_url) as proxy, PostgresEventStore(proxy.url, timeout_s=10) as store:
        await store.append([event("a", 1)])
        proxy.hides_replies = True
        tasks = [asyncio.create_task(store.append(run_of(f"s-{i}", 1, 2))) for i in range(5)]
        await proxy.hidden.wait()
        async with PostgresEventStore(database_url) as direct:
            committed = (await direct.read(1)).records  # so it did happen
        assert len(committed) == 10
        proxy.hides_replies = False
        proxy.cut()
        answers = [record for task in tasks for record in await task]
        assert sorted(answers, key=lambda r: r.position) == list(committed)
        assert await store.head() == 11


async def test_a_commit_made_while_the_lease_was_ours_stays_a_success(database_url: str) -> None:
    async with proxy_to(database_url) as proxy, PostgresEventStore(proxy.url, timeout_s=10) as store:
        fence = await store.leases.acquire("relay", "one", 60)
        assert fence is not None
        await store.append([event("a", 1)], fence=fence)
        proxy.hides_replies = True
        mine = asyncio.create_task(store.append([event("a", 2)], fence=fence))
        await proxy.hidden.wait()
        async with PostgresEventStore(database_url) as direct:
            await direct.leases.release(fence)
        proxy.hides_replies = False
        proxy.cut()
        [record] = await mine
        assert record.position == 2
        with pytest.raises(FencedOut):
            await store.append([event("a", 3)], fence=fence)


async def test_one_that_postgresql_refuses_does_not_take_the_others_along(
    store: PostgresEventStore, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("ALTER TABLE stored_events ADD CONSTRAINT no_poison CHECK (topic <> 'poison.v1')")
    with commits_held_up(admin):
        blocker = asyncio.create_task(store.append([event("blocker", 1)]))
        await waiting_backend(admin)
        tasks = [
            asyncio.create_task(store.append([event(f"s-{i}", 1, name="poison.v1" if i == 2 else "fine.v1")]))
            for i in range(5)
        ]
        await asyncio.sleep(0.05)
    await blocker
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(a, psycopg.errors.CheckViolation) for a in answers] == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert len((await store.read(0)).records) == 5


async def test_a_database_that_does_not_answer_in_time_is_unavailable(
    database_url: str, admin: psycopg.Connection[Any]
) -> None:
    async with PostgresEventStore(database_url, timeout_s=0.5) as store:
        with commits_held_up(admin), pytest.raises(StoreUnavailable, match=r"no commit within 0\.5 s"):
            await asyncio.wait_for(store.append([event("a", 1)]), 5)
        [record] = await store.append([event("b", 1)])
        assert record.stream == "b"


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    nowhere = "postgresql://nobody@/nothing?host=/nonexistent"
    async with PostgresEventStore(nowhere, timeout_s=0.3) as store:
        with pytest.raises(StoreUnavailable, match="nonexistent"):
            await store.append([event("a", 1)])
        with pytest.raises(StoreUnavailable, match="nonexistent"):
            await store.head()


async def test_a_full_queue_makes_callers_wait_until_their_time_is_up(
    database_url: str, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "MAX_WAITING_GROUPS", 2)
    async with PostgresEventStore(database_url, timeout_s=1) as store:
        await store.append([event("warm", 1)])
        with commits_held_up(admin):
            sent = asyncio.create_task(store.append([event("sent", 1)]))
            await waiting_backend(admin)
            queued = [asyncio.create_task(store.append([event(f"q-{i}", 1)])) for i in range(2)]
            await asyncio.sleep(0.4)
            late = [asyncio.create_task(store.append([event(f"late-{i}", 1)])) for i in range(3)]
            await asyncio.sleep(0.05)
        assert len(await asyncio.gather(sent, *queued, *late)) == 6  # there is room again, in time
        with commits_held_up(admin):
            stuck = [asyncio.create_task(store.append([event(f"stuck-{i}", 1)])) for i in range(6)]
            answers = await asyncio.gather(*stuck, return_exceptions=True)
        assert {type(a) for a in answers} == {StoreUnavailable}


async def test_a_full_queue_is_measured_in_bytes_too(
    database_url: str, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "MAX_WAITING_BYTES", 1_000_000)
    async with PostgresEventStore(database_url) as store:
        with commits_held_up(admin):
            sent = asyncio.create_task(store.append([event("sent", 1)]))
            await waiting_backend(admin)
            tasks = [
                asyncio.create_task(store.append([event(f"s-{i}", 1, bytes(800_000))])) for i in range(4)
            ]
            await asyncio.sleep(0.05)
            assert store._appender._waiting_bytes == 800_000
        await asyncio.gather(sent, *tasks)
        assert store._appender._waiting_bytes == 0


async def test_closing_commits_what_is_waiting(database_url: str, admin: psycopg.Connection[Any]) -> None:
    async with PostgresEventStore(database_url) as store:
        with commits_held_up(admin):
            tasks = [asyncio.create_task(store.append([event(f"s-{i}", 1)])) for i in range(5)]
            await waiting_backend(admin)
            tasks += [asyncio.create_task(store.append([event(f"t-{i}", 1)])) for i in range(5)]
            await asyncio.sleep(0.05)
    assert all(task.done() for task in tasks) or len(await asyncio.gather(*tasks)) == 10
    row = admin.execute("SELECT count(*) FROM stored_events").fetchone()
    assert row == (10,)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.append([event("a", 1)])


async def test_appends_go_on_through_a_crash_of_postgresql(postgres: PostgresServer) -> None:
    url = postgres.create_database("log")
    await asyncio.to_thread(migrate, url)
    async with PostgresEventStore(url, timeout_s=60) as store:

        async def write(stream: str) -> list[int]:
            return [(await store.append([event(stream, v)]))[0].position for v in range(1, 101)]

        writers = [asyncio.create_task(write(f"s-{i}")) for i in range(4)]
        while await store.head() < 40:
            await asyncio.sleep(0)
        assert postgres.process is not None
        os.kill(postgres.process.pid, signal.SIGKILL)
        await asyncio.to_thread(postgres.process.wait)
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)
        positions = await asyncio.gather(*writers)
        records = (await store.read(0, limit=1000)).records
    assert sorted(p for each in positions for p in each) == [r.position for r in records]
    assert Counter(r.stream for r in records) == {f"s-{i}": 100 for i in range(4)}
