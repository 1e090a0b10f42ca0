"""What is recorded follows from the log: derived again it is the same, and what was changed is named."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.processes import parity as module
from alphapulse.processes.decide import contexts_of, once, recorder
from alphapulse.processes.deciding import Limits
from alphapulse.processes.desks import jobs_of, run_decide
from alphapulse.processes.parity import (
    EXTRA,
    MISSING,
    Difference,
    Parity,
    Window,
    jobs_of_version,
    last_time,
    parity,
)
from tests import servers
from tests.decided_log import append_bars
from tests.domain.signals.engine_world import ADAPTATIONS, strategy, world
from tests.processes.test_deciding import append, bars_of_no_timeframe, deciding, reached

ALWAYS = Window(0, 2**62)
EVENTS = [event for _, _, event in world(markets=2, bars=1_500, edge=3e-4, size=50)]
LIVE = strategy(adaptations=ADAPTATIONS)
SIGNALS = "signals-world"


async def record(url: str, *versions: Any, kills: int = 0) -> None:
    """Strategies at work on the log while it comes in, by the real role."""
    async with PostgresEventStore(url) as store:
        await append(store, *versions)
        feeding = asyncio.create_task(append_bars(store, EVENTS))
        for _ in range(kills):
            limits = Limits(poll_s=0.05, keep_s=0.0, page_events=7)
            task = asyncio.create_task(run_decide(url, contexts_of, recorder, asyncio.Event(), limits))
            await asyncio.sleep(0.4)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        end = await feeding
        async with deciding(url):
            await reached(url, end, sum(version.parts for version in versions))


@pytest.fixture(scope="module")
def original_url(migrated_postgres: PostgresServer) -> Iterator[str]:
    """A database in which one strategy has decided, live and killed twice."""
    with servers.fresh_database(migrated_postgres) as url:
        asyncio.run(record(url, LIVE, kills=2))
        yield url


@pytest.fixture
def recorded_url(migrated_postgres: PostgresServer, original_url: str) -> Iterator[str]:
    with servers.copy_of(migrated_postgres, original_url) as url:
        yield url


async def compared(url: str, window: Window = ALWAYS, version: int | None = None) -> Parity:
    async with PostgresEventStore(url) as store:
        before = await store.head()
        told: list[int] = []
        jobs = await jobs_of_version(store, "world", version)
        found = await parity(store, jobs, window, told.append, until=before)
        assert told == sorted(told)
        assert told[-1] == before * len(jobs)
        assert await store.head() == before, "it only reads"
    return found


def change(url: str, stream: str, version: int, changed: Callable[[Any], Any]) -> None:
    """Put another event in the place of a recorded one, as nobody but the database's owner can."""
    with psycopg.connect(connection_info(url, role=None), autocommit=True) as db:
        where = "originator_id = %s AND originator_version = %s"
        row = db.execute(
            f"SELECT topic, state FROM stored_events WHERE {where}", (stream, version)
        ).fetchone()
        assert row is not None
        state = codec.encode(changed(codec.read(row[0], bytes(row[1])))).state
        db.execute("ALTER TABLE stored_events DISABLE TRIGGER log_only_grows")
        db.execute(f"UPDATE stored_events SET state = %s WHERE {where}", (state, stream, version))


def remove(url: str, stream: str, after: int) -> None:
    with psycopg.connect(connection_info(url, role=None), autocommit=True) as db:
        db.execute("ALTER TABLE stored_events DISABLE TRIGGER log_only_grows")
        db.execute(
            "DELETE FROM stored_events WHERE originator_id = %s AND originator_version > %s", (stream, after)
        )


async def records(url: str, stream: str) -> list[Any]:
    async with PostgresEventStore(url) as store:
        return list(await store.read_stream(stream, limit=10_000))


async def versions_of(url: str, stream: str, name: str) -> list[int]:
    return [record.version for record in await records(url, stream) if record.name == name]


# -- alike --------------------------------------------------------------------------------------------


async def test_what_a_live_role_recorded_is_derived_again_byte_for_byte(recorded_url: str) -> None:
    found = await compared(recorded_url)
    assert found.is_identical, found.differences
    assert {kind for kind, counts in found.counts.items() if not counts.identical} <= {"exits recommended"}
    assert all(counts.compared == counts.identical for counts in found.counts.values())
    assert not any(counts.waiting for counts in found.counts.values())
    recorded = [
        record for stream in await streams_of(recorded_url) for record in await records(recorded_url, stream)
    ]
    assert sum(counts.identical for counts in found.counts.values()) == len(recorded)


async def streams_of(url: str) -> list[str]:
    async with PostgresEventStore(url) as store:
        return [s for kind in ("decisions-", "calibration-", "signals-") for s in await store.streams(kind)]


async def test_only_the_window_is_compared(recorded_url: str) -> None:
    async with PostgresEventStore(recorded_url) as store:
        end = await last_time(store)
    hour = 3_600 * 10**9
    window = Window(end - 4 * hour, end - hour)
    found = await compared(recorded_url, window)
    everything = [r for stream in await streams_of(recorded_url) for r in await records(recorded_url, stream)]
    inside = [record for record in everything if window.has(record.envelope.event_time)]
    assert 0 < len(inside) < len(everything)
    assert sum(counts.identical for counts in found.counts.values()) == len(inside)
    assert found.is_identical


async def test_what_the_live_role_had_to_pass_over_is_passed_over_again(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with PostgresEventStore(database_url) as store:
        await append(store, LIVE)
        await append_bars(store, EVENTS[:10])
        at = await append(store, bars_of_no_timeframe())
        end = await append_bars(store, EVENTS[10:])
        async with deciding(database_url):
            await reached(database_url, end)
    caplog.clear()
    found = await compared(database_url)
    assert f"position {at} is passed over" in caplog.text
    assert found.is_identical, found.differences
    assert found.counts["decisions"].identical > 0


# -- not alike ----------------------------------------------------------------------------------------


async def found_one(url: str) -> Difference:
    found = await compared(url)
    assert not found.is_identical
    (difference,) = found.differences
    assert found.differing == 1
    return difference


async def test_a_decision_that_was_changed_in_the_database_is_named_with_both_values(
    recorded_url: str,
) -> None:
    (stream, *_) = [s for s in await streams_of(recorded_url) if s.startswith("decisions-")]
    version = (await versions_of(recorded_url, stream, "decision.made.v1"))[3]
    was = codec.decode((await records(recorded_url, stream))[version - 1]).event
    flattered = msgspec.structs.replace(was.votes[1], weight=was.votes[1].weight + 1e-12)
    votes = (was.votes[0], flattered, *was.votes[2:])
    change(recorded_url, stream, version, lambda event: msgspec.structs.replace(event, votes=votes))
    named = await found_one(recorded_url)
    assert (named.what, named.kind) == ("differs", "decisions")
    assert (named.stream, named.version) == (stream, version)
    assert named.position == (await records(recorded_url, stream))[version - 1].position
    (field,) = named.fields
    assert field.name == "votes[1].weight"
    assert (field.recorded, field.derived) == (repr(flattered.weight), repr(was.votes[1].weight))


async def test_a_signal_that_was_changed_is_named_and_nothing_that_follows_it(recorded_url: str) -> None:
    version = (await versions_of(recorded_url, SIGNALS, "signal.issued.v1"))[5]
    change(recorded_url, SIGNALS, version, lambda event: msgspec.structs.replace(event, size_ratio=0.123))
    named = await found_one(recorded_url)
    assert (named.kind, named.stream, named.version) == ("signals issued", SIGNALS, version)
    assert [field.name for field in named.fields] == ["size_ratio"]


async def test_an_event_that_cannot_be_read_any_more_is_named(recorded_url: str) -> None:
    (stream, *_) = [s for s in await streams_of(recorded_url) if s.startswith("calibration-")]
    with psycopg.connect(connection_info(recorded_url, role=None), autocommit=True) as db:
        db.execute("ALTER TABLE stored_events DISABLE TRIGGER log_only_grows")
        where = "originator_id = %s AND originator_version = 2"
        db.execute(f"UPDATE stored_events SET state = %s WHERE {where}", (b"{nonsense", stream))
    named = await found_one(recorded_url)
    assert (named.kind, named.stream, named.version) == ("calibrations", stream, 2)
    assert "nonsense" in named.fields[0].recorded or "malformed" in named.fields[0].recorded


async def test_what_was_taken_from_the_end_of_one_stream_is_missing(recorded_url: str) -> None:
    """Others of its time are recorded, so it cannot be that the role has not come so far."""
    last = (await records(recorded_url, SIGNALS))[-1]
    remove(recorded_url, SIGNALS, last.version - 1)
    named = await found_one(recorded_url)
    assert (named.what, named.stream, named.version) == (MISSING, SIGNALS, last.version)


async def test_what_does_not_follow_from_the_log_is_extra(recorded_url: str) -> None:
    last = codec.decode((await records(recorded_url, SIGNALS))[-1])
    async with PostgresEventStore(recorded_url) as store:
        await store.append([codec.new_event(SIGNALS, last.version + 1, last.event)])
    named = await found_one(recorded_url)
    assert (named.what, named.stream, named.version) == (EXTRA, SIGNALS, last.version + 1)


async def test_more_differences_than_are_told_are_all_counted(
    recorded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DIFFERENCES", 2)
    (stream, *_) = [s for s in await streams_of(recorded_url) if s.startswith("decisions-")]
    for version in (await versions_of(recorded_url, stream, "decision.made.v1"))[:4]:
        change(recorded_url, stream, version, lambda e: msgspec.structs.replace(e, disagreement=0.5))
    found = await compared(recorded_url)
    assert len(found.differences) == 2
    assert found.counts["decisions"].differing == found.differing == 4


# -- not recorded yet ---------------------------------------------------------------------------------


async def test_what_the_role_has_not_come_to_is_told_and_is_no_difference(database_url: str) -> None:
    half = len(EVENTS) * 3 // 4
    async with PostgresEventStore(database_url) as store:
        await append(store, LIVE)
        end = await append_bars(store, EVENTS[:half])
        (job,) = await jobs_of(store)
        await once(store, job, end, lambda _: None, lambda _: None, is_dry=False)
        await append_bars(store, EVENTS[half:])
        found = await compared(database_url)
        assert found.is_identical
        assert found.counts["decisions"].waiting > 0 < found.counts["outcomes"].waiting
        whole = sum(counts.identical + counts.waiting for counts in found.counts.values())
        await once(store, job, await store.head(), lambda _: None, lambda _: None, is_dry=False)
    found = await compared(database_url)
    assert not any(counts.waiting for counts in found.counts.values())
    assert sum(counts.identical for counts in found.counts.values()) == whole


# -- several that write signals -----------------------------------------------------------------------


async def test_versions_and_parts_that_share_a_book_are_held_to_the_order_of_the_log(
    database_url: str,
) -> None:
    """Limits so tight that each version refuses what the other has just put in."""
    tight = msgspec.structs.replace(LIVE.risk, max_open=2, max_per_instrument=2, cooldown_bars=0)
    quick = msgspec.structs.replace(LIVE.learning, least=20, least_effective=4.0)
    first = msgspec.structs.replace(LIVE, risk=tight, learning=quick)
    second = msgspec.structs.replace(first, version=2, parts=2, sharpness=2.5)
    await record(database_url, first, second)
    for version in (1, 2):
        found = await compared(database_url, version=version)
        assert found.is_identical, found.differences
        assert found.counts["signals issued"].identical > 0
        assert found.counts["signals closed"].identical > 0
    vetoed = [
        record
        for stream in await streams_of(database_url)
        for record in await records(database_url, stream)
        if b'"veto"' in record.state
    ]
    assert vetoed, "the book never had to choose"
    issued = [
        record.version
        for record in await records(database_url, SIGNALS)
        if record.name == "signal.issued.v1" and codec.decode(record).event.strategy_version == 2
    ]
    change(database_url, SIGNALS, issued[-1], lambda e: msgspec.structs.replace(e, confidence=0.999))
    found = await compared(database_url, version=2)
    assert [(d.stream, d.version) for d in found.differences] == [(SIGNALS, issued[-1])]
    assert (await compared(database_url, version=1)).is_identical


async def test_a_strategy_that_is_not_there_is_said(database_url: str) -> None:
    async with PostgresEventStore(database_url) as store:
        with pytest.raises(UnknownStrategy, match="no strategy 'world' in the log"):
            await jobs_of_version(store, "world", None)
        await append(store, LIVE)
        with pytest.raises(UnknownStrategy, match="'world' version 3: there are 1 versions"):
            await jobs_of_version(store, "world", 3)
