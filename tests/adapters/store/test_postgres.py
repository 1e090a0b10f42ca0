"""What only the PostgreSQL store can get wrong: rights, commit order, clocks, bounds of a scan."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store import arrays, changes, postgres, statements
from alphapulse.adapters.store.changes import Changes
from alphapulse.adapters.store.connections import Connection
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import StoredRecord, StoreUnavailable
from tests.adapters.store.events import event, run_of
from tests.adapters.store.proxy import proxy_to


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore(database_url, timeout_s=20) as store:
        yield store


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def app(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the store makes them."""
    with psycopg.connect(connection_info(database_url), autocommit=True) as connection:
        arrays.register(connection)
        yield connection


# -- the log only grows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET topic = 'x'",
        "DELETE FROM stored_events",
        "TRUNCATE stored_events",
        "INSERT INTO stored_events SELECT * FROM stored_events",
        "SELECT log_insert(1, now(), '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        "SELECT nextval('log_positions')",
        "SELECT setval('log_positions', 1)",
        "ALTER TABLE stored_events DISABLE TRIGGER log_only_grows",
        "DROP TABLE stored_events",
        "CREATE OR REPLACE FUNCTION log_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "UPDATE leases SET epoch = 1",
        "INSERT INTO leases VALUES ('relay', 'me', 1, now())",
        "DELETE FROM notification_tracking",
    ],
)
async def test_the_application_can_only_read_and_append(
    store: PostgresEventStore, app: psycopg.Connection[Any], statement: str
) -> None:
    await store.append([event("a", 1)])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET topic = 'x'",
        "DELETE FROM stored_events WHERE false",
        "TRUNCATE stored_events",
        "TRUNCATE leases, stored_events CASCADE",
    ],
)
async def test_even_the_owner_cannot_change_what_happened(
    store: PostgresEventStore, admin: psycopg.Connection[Any], statement: str
) -> None:
    await store.append([event("a", 1)])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="the log only grows"):
        admin.execute(statement)
    assert await store.version("a") == 1


def test_whoever_calls_the_function_directly_meets_the_same_limits(app: psycopg.Connection[Any]) -> None:
    two = [event("a", 1, bytes(400_000)), event("a", 2, bytes(30_001))]
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="430001 bytes in 2 events"):
        app.execute(statements.APPEND, statements.append_parameters([(two, None)]))
    one = [event("a", 1, bytes(900_001))]
    with pytest.raises(psycopg.errors.CheckViolation, match="state_at_most_900_kb"):
        app.execute(statements.APPEND, statements.append_parameters([(one, None)]))


def test_a_connection_works_under_limits(app: psycopg.Connection[Any], database_url: str) -> None:
    def show(name: str) -> str:
        row = app.execute(f"SHOW {name}").fetchone()  # type: ignore[arg-type]
        assert row is not None
        return str(row[0])

    assert show("statement_timeout") == "30s"
    assert show("lock_timeout") == "10s"
    assert show("idle_in_transaction_session_timeout") == "1min"
    assert show("role") == "alphapulse_app"
    assert app.info.get_parameters()["tcp_user_timeout"] == "20000"


# -- order ----------------------------------------------------------------------------------------


async def test_a_tailing_reader_skips_nothing_beside_stalled_and_failing_writers(
    store: PostgresEventStore, database_url: str
) -> None:
    """Nine writers keep transactions open and roll back a third: what a reader passed never fills in."""
    seed = random.Random(7)
    finished = asyncio.Event()

    async def write(writer: int, stall_s: float) -> None:
        version = 1
        connection = await psycopg.AsyncConnection.connect(connection_info(database_url))
        arrays.register(connection)
        for _ in range(25 if stall_s < 0.05 else 5):
            events = run_of(f"w-{writer}", version, seed.randint(1, 4))
            await connection.execute(statements.APPEND, statements.append_parameters([(events, None)]))
            await asyncio.sleep(seed.random() * stall_s)
            if seed.random() < 0.33:
                await connection.rollback()
            else:
                await connection.commit()
                version += len(events)
        await connection.close()

    async def tail() -> list[int]:
        positions: list[int] = []
        after = 0
        while True:
            is_last = finished.is_set()
            page = await store.read(after, limit=seed.randint(1, 20))
            positions += [r.position for r in page.records]
            if is_last and page.scanned_to == after:
                return positions
            after = page.scanned_to
            await asyncio.sleep(0)

    reader = asyncio.create_task(tail())
    await asyncio.gather(*(write(i, 0.002) for i in range(8)), write(8, 0.2))
    finished.set()
    seen = await reader
    rows = await store._connections.rows("SELECT notification_id FROM stored_events ORDER BY 1")
    assert seen == [position for (position,) in rows]
    assert len(seen) < seen[-1], "rolled-back positions leave gaps"


async def test_recorded_time_never_runs_backwards_along_positions(
    store: PostgresEventStore, database_url: str
) -> None:
    async with PostgresEventStore(database_url) as other:
        writes = [s.append([event(f"{i}-{id(s)}", 1)]) for i in range(100) for s in (store, other)]
        await asyncio.gather(*writes)
    moments = [r.recorded_at for r in (await store.read(0)).records]
    assert len(moments) == 200
    assert moments == sorted(moments)


async def test_recorded_time_stands_still_while_the_clock_is_behind(
    store: PostgresEventStore, admin: psycopg.Connection[Any]
) -> None:
    """The clock was set back by an hour: what was recorded before says how late it already is."""
    admin.execute(
        "INSERT INTO stored_events VALUES ('x', 1, 'x.v1', '', nextval('log_positions'), gen_random_uuid(),"
        " NULL, clock_timestamp() + interval '1 hour', NULL, NULL, 'test')"
    )
    before = (await store.read(0)).records[0].recorded_at
    [record] = await store.append([event("a", 1)])
    assert record.recorded_at == before


async def test_positions_go_on_after_what_was_rolled_back(
    store: PostgresEventStore, database_url: str
) -> None:
    await store.append([event("a", 1)])
    with psycopg.connect(connection_info(database_url)) as connection:
        arrays.register(connection)
        connection.execute(statements.APPEND, statements.append_parameters([(run_of("b", 1, 3), None)]))
        connection.rollback()
    [record] = await store.append([event("a", 2)])
    assert record.position == 5
    page = await store.read(0)
    assert ([r.position for r in page.records], page.scanned_to) == ([1, 5], 5)
    assert await store.position_at(record.recorded_at) == 5
    assert await store.position_at(page.records[0].recorded_at) == 1


# -- bounds ---------------------------------------------------------------------------------------


async def test_a_filter_that_matches_nothing_looks_through_a_bounded_stretch(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "MAX_SCAN", 5)
    await store.append([*run_of("a", 1, 12), event("b", 1, name="rare.v1")])
    pages = [await store.read(after, names=["rare.v1"]) for after in (0, 5, 10)]
    assert [(len(p.records), p.scanned_to) for p in pages] == [(0, 5), (0, 10), (1, 13)]


@pytest.mark.parametrize(
    "filters",
    [{}, {"names": ["test.happened.v1"]}, {"partition": (0, 2)}, {"names": ["x"], "partition": (1, 2)}],
)
async def test_a_page_follows_the_index_also_before_the_first_analyze(
    store: PostgresEventStore, app: psycopg.Connection[Any], filters: dict[str, Any]
) -> None:
    for i in range(4):
        await store.append(run_of(f"s-{i}", 1, 1000))
    asked = {"names": None, "streams": None, "partition": None, **filters}
    values = {"after": 10, "until": 10**6, "limit": 500, "bytes": 1, "names": ["x"], "part": 0, "parts": 2}
    for name, value in postgres.PLANNER.items():
        app.execute(f"SET {name} = {value}")  # type: ignore[arg-type]
    for query in statements.read_page(**asked):
        plan = "\n".join(line for (line,) in app.execute("EXPLAIN " + query, values))  # type: ignore[arg-type]
        scans = [line.strip() for line in plan.splitlines() if "Scan" in line and "stored_events" in line]
        assert all("using stored_events_position" in scan for scan in scans), plan
        assert plan.count("Sort  (") <= 1, plan  # at most the page itself, for the order of the answer


@pytest.mark.parametrize("at_once_bytes", [0, 2_000, 10**9])
async def test_pages_are_the_same_whichever_way_they_come(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch, at_once_bytes: int
) -> None:
    monkeypatch.setattr(postgres, "_AT_ONCE_BYTES", at_once_bytes)
    records = [r for i in range(3) for r in await store.append(run_of(f"s-{i}", 1, 150))]
    records += await store.append([event("large", v, bytes(v)) for v in range(1, 101)])
    read: list[StoredRecord] = []
    while (page := await store.read(len(read), limit=101)).records:
        read += page.records
    assert read == records
    assert page.scanned_to == 550


async def test_a_connection_that_died_is_replaced_under_a_read(
    store: PostgresEventStore, admin: psycopg.Connection[Any]
) -> None:
    await store.append([event("a", 1)])
    await asyncio.gather(*(store.head() for _ in range(8)))
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await asyncio.gather(*(store.head() for _ in range(8))) == [1] * 8


async def test_a_cancelled_read_gives_its_thread_back_at_once(store: PostgresEventStore) -> None:
    await store.append([event("a", 1)])
    slow = [asyncio.create_task(store._connections.rows("SELECT pg_sleep(15)")) for _ in range(8)]
    await asyncio.sleep(0.5)
    for task in slow:
        task.cancel()
    answers = await asyncio.gather(*slow, return_exceptions=True)
    assert {type(a) for a in answers} == {asyncio.CancelledError}
    heads = asyncio.gather(*(store.head() for _ in range(8)))
    assert await asyncio.wait_for(heads, 5) == [1] * 8


async def test_a_read_that_takes_too_long_is_given_up(database_url: str) -> None:
    async with PostgresEventStore(database_url, timeout_s=0.5, readers=1) as store:
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.5 s"):
            await store._connections.rows("SELECT pg_sleep(15)")
        assert await store.head() == 0


# -- waiting --------------------------------------------------------------------------------------


async def test_another_process_is_heard_at_once(
    store: PostgresEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "POLL_S", 60.0)  # only NOTIFY can wake
    async with PostgresEventStore(database_url) as other:
        waiting = asyncio.create_task(store.changed(0, 30))
        await asyncio.sleep(0.3)
        await other.append([event("a", 1)])
        await asyncio.wait_for(waiting, 2)


async def test_a_lost_listening_connection_is_made_anew(
    store: PostgresEventStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "POLL_S", 60.0)
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE %s"
    )
    waiting = asyncio.create_task(store.changed(0, 30))
    while admin.execute(kill, [statements.HEAD]).fetchone() == (0,):
        await asyncio.sleep(0.02)
    async with PostgresEventStore(store_url(store)) as other:
        await other.append([event("a", 1)])
    await asyncio.wait_for(waiting, 5)


async def test_a_quiet_listening_connection_is_not_slept_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server is silent without an error, as behind a dead proxy: the poll finds the growth."""
    monkeypatch.setattr(changes, "POLL_S", 0.2)
    async with PostgresEventStore(database_url) as store, proxy_to(database_url) as proxy:

        async def connect() -> Connection:
            return await psycopg.AsyncConnection.connect(connection_info(proxy.url), autocommit=True)

        deaf = Changes(connect, store.head)
        waiting = asyncio.create_task(deaf.wait(0, 30))
        await asyncio.sleep(0.3)
        proxy.hides_replies = True
        await store.append([event("a", 1)])
        await asyncio.wait_for(waiting, 2)
        assert proxy.hidden.is_set()
        await deaf.close()


def store_url(store: PostgresEventStore) -> str:
    parameters = psycopg.conninfo.conninfo_to_dict(store._info)
    return f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={parameters['host']}"
