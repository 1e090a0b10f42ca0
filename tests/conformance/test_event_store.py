"""What every EventStore does: PostgreSQL's and its twin in memory go through the same tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from alphapulse.adapters.store.limits import MAX_COMMIT_BYTES, MAX_PAGE_BYTES, MAX_STATE_BYTES
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import (
    Envelope,
    EventStore,
    EventTooLarge,
    Fence,
    FencedOut,
    Leases,
    NewEvent,
    StoredRecord,
    StoreUnavailable,
    VersionConflict,
    partition_of,
)
from tests.adapters.store.events import event, run_of
from tests.adapters.store.proxy import proxy_to
from tests.conformance.appending import appending


@dataclass
class World:
    """A store, its leases, and the faults that can be made to happen to it."""

    store: EventStore
    leases: Leases
    replies_lost: Callable[[], AbstractAsyncContextManager[None]]  # appends commit, nobody hears of it


@asynccontextmanager
async def _memory() -> AsyncIterator[World]:
    failing: set[str] = set()

    def fail(moment: str) -> None:
        if moment in failing:
            raise StoreUnavailable(moment)

    @asynccontextmanager
    async def replies_lost() -> AsyncIterator[None]:
        failing.add("after append")
        yield
        failing.clear()

    store = MemoryEventStore(fail=fail)
    yield World(store, store.leases, replies_lost)


@asynccontextmanager
async def _appending() -> AsyncIterator[World]:
    async with appending() as store:

        @asynccontextmanager
        async def replies_lost() -> AsyncIterator[None]:
            store.replies_lost = True
            yield
            store.replies_lost = False

        yield World(store, store.leases, replies_lost)


@asynccontextmanager
async def _postgres(database_url: str) -> AsyncIterator[World]:
    async with proxy_to(database_url) as proxy, PostgresEventStore(proxy.url, timeout_s=3) as store:

        @asynccontextmanager
        async def replies_lost() -> AsyncIterator[None]:
            proxy.hides_replies = proxy.refuses = True
            yield
            assert proxy.hidden.is_set()
            proxy.hides_replies = proxy.refuses = False
            proxy.cut()

        yield World(store, store.leases, replies_lost)


@pytest.fixture(params=["memory", "appender", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param != "postgres":
        async with _memory() if request.param == "memory" else _appending() as world:
            yield world
    else:
        async with _postgres(request.getfixturevalue("database_url")) as world:
            yield world


@pytest.fixture
def store(world: World) -> EventStore:
    return world.store


async def everything(store: EventStore) -> list[StoredRecord]:
    records: list[StoredRecord] = []
    after, head = 0, await store.head()
    while after < head:
        page = await store.read(after)
        records += page.records
        after = page.scanned_to
    return records


# -- appending ----------------------------------------------------------------------------------


async def test_what_is_read_is_what_was_appended(store: EventStore) -> None:
    full = NewEvent(
        stream="trades-kraken-BTC_USD",
        version=1,
        name="market.trades_observed.v1",
        state=bytes(range(256)),
        envelope=Envelope(
            event_id=uuid4(),
            event_time=-(1 << 63),
            cause_id=uuid4(),
            correlation_id=uuid4(),
            actor="jürgen 🦉",
            trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        id_lo=-(1 << 63),
        id_hi=(1 << 63) - 1,
    )
    bare = event("feed-kraken-BTC_USD", 1, b"")
    returned = await store.append([full, bare])
    assert list(returned) == await everything(store)
    assert [r.position for r in returned] == [1, 2]
    for new, record in zip([full, bare], returned, strict=True):
        assert all(getattr(record, f) == getattr(new, f) for f in NewEvent.__struct_fields__)
        assert record.recorded_at.utcoffset() == timedelta(0)


async def test_appending_nothing_changes_nothing(store: EventStore) -> None:
    assert list(await store.append([])) == []
    assert await store.head() == 0


@pytest.mark.parametrize("version", [2, 4, 5])
async def test_a_version_that_is_taken_or_leaves_a_hole_is_a_conflict(
    store: EventStore, version: int
) -> None:
    await store.append(run_of("a", 1, 2))
    with pytest.raises(VersionConflict, match=f"wants version 3 next, not {version}"):
        await store.append([event("a", version)])
    assert await store.version("a") == 2


async def test_a_stream_begins_at_version_1(store: EventStore) -> None:
    with pytest.raises(VersionConflict, match="wants version 1 next, not 2"):
        await store.append([event("a", 2)])
    with pytest.raises(ValueError, match="versions begin at 1"):
        await store.append([event("a", 0)])


async def test_a_conflict_in_one_stream_keeps_the_whole_append_out(store: EventStore) -> None:
    await store.append([event("a", 1)])
    with pytest.raises(VersionConflict):
        await store.append([event("b", 1), event("a", 1)])
    assert await store.version("b") == 0


async def test_versions_inside_one_append_follow_each_other(store: EventStore) -> None:
    with pytest.raises(VersionConflict):
        await store.append([event("a", 2), event("a", 1)])
    await store.append([event("a", 1), event("b", 1), event("a", 2)])
    assert [(r.stream, r.version) for r in await everything(store)] == [("a", 1), ("b", 1), ("a", 2)]


async def test_a_repeat_writes_nothing_and_returns_the_first_positions(store: EventStore) -> None:
    events = [*run_of("a", 1, 2), event("b", 1)]
    first = await store.append(events)
    await store.append([event("a", 3)])
    assert await store.append(events) == first
    assert await store.append(events[1:]) == first[1:]
    assert await store.head() == 4


async def test_a_repeat_with_something_new_behind_it_is_a_conflict(store: EventStore) -> None:
    [first] = await store.append([event("a", 1)])
    with pytest.raises(VersionConflict):
        await store.append([first, event("a", 2)])
    assert await store.version("a") == 1


async def test_the_same_id_with_another_payload_or_name_is_a_conflict(store: EventStore) -> None:
    [held] = await store.append([event("a", 1, b"one")])
    event_id = held.envelope.event_id
    with pytest.raises(VersionConflict):
        await store.append([event("a", 1, b"two", event_id=event_id)])
    with pytest.raises(VersionConflict):
        await store.append([event("a", 1, b"one", name="test.other.v1", event_id=event_id)])


async def test_an_event_id_is_used_once_in_the_whole_log(store: EventStore) -> None:
    [held] = await store.append([event("a", 1)])
    with pytest.raises(VersionConflict, match=str(held.envelope.event_id)):
        await store.append([event("b", 1, event_id=held.envelope.event_id)])
    twice = UUID(int=7)
    with pytest.raises(VersionConflict, match=str(twice)):
        await store.append([event("b", 1, event_id=twice), event("b", 2, event_id=twice)])
    assert await store.version("b") == 0


async def test_of_many_who_want_the_same_version_one_wins(store: EventStore) -> None:
    answers = await asyncio.gather(
        *(store.append([event("a", 1)]) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(a, VersionConflict) for a in answers) == 19
    assert await store.version("a") == 1


async def test_many_at_once_each_get_their_own_position(store: EventStore) -> None:
    answers = await asyncio.gather(*(store.append(run_of(f"s-{i}", 1, 3)) for i in range(40)))
    for i, records in enumerate(answers):
        assert [(r.stream, r.version) for r in records] == [(f"s-{i}", v) for v in (1, 2, 3)]
    by_position = {r.position: r for records in answers for r in records}
    assert [by_position[r.position] for r in await everything(store)] == await everything(store)
    assert len(by_position) == 120


async def test_a_cancelled_append_harms_nobody_else(store: EventStore) -> None:
    doomed = [asyncio.create_task(store.append([event(f"d-{i}", 1)])) for i in range(10)]
    kept = [asyncio.create_task(store.append([event(f"k-{i}", 1)])) for i in range(10)]
    await asyncio.sleep(0)
    for task in doomed:
        task.cancel()
    await asyncio.gather(*doomed, return_exceptions=True)
    assert len({records[0].position for records in await asyncio.gather(*kept)}) == 10
    [after] = await store.append([event("after", 1)])
    assert after.position == await store.head()


# -- limits -------------------------------------------------------------------------------------


async def test_a_state_holds_900_kb_and_not_a_byte_more(store: EventStore) -> None:
    await store.append([event("a", 1, bytes(MAX_STATE_BYTES))])
    with pytest.raises(EventTooLarge, match="900001 bytes"):
        await store.append([event("a", 2, bytes(MAX_STATE_BYTES + 1))])
    assert await store.version("a") == 1


async def test_several_events_hold_430_kb_and_not_a_byte_more(store: EventStore) -> None:
    half = bytes(MAX_COMMIT_BYTES // 2)
    await store.append([event("a", 1, half), event("a", 2, half)])
    with pytest.raises(EventTooLarge, match="430001 bytes in 2 events"):
        await store.append([event("a", 3, half), event("a", 4, half + b"x")])
    assert await store.version("a") == 2


async def test_an_append_holds_1000_events_and_not_one_more(store: EventStore) -> None:
    assert len(await store.append(run_of("a", 1, 1000))) == 1000
    with pytest.raises(EventTooLarge, match="1001 events"):
        await store.append(run_of("a", 1001, 1001))


@pytest.mark.parametrize(
    "bad",
    [
        event("", 1),
        event("x" * 256, 1),
        event("nul\0", 1),
        event("lone \ud800", 1),
        event("a", 1, name=""),
        event("a", 1 << 63),
        event("a", 1, id_lo=2, id_hi=1),
        event("a", 1, id_lo=1),
        event("a", 1, id_lo=1, id_hi=1 << 63),
    ],
    ids=lambda e: f"{e.stream!r:.12}-{e.version:.3g}-{e.id_lo}-{e.id_hi}",
)
async def test_what_cannot_be_stored_is_refused_before_it_is_sent(store: EventStore, bad: NewEvent) -> None:
    with pytest.raises(ValueError):
        await store.append([event("fine", 1), bad])
    assert await store.head() == 0
    await store.append([event("fine", 1)])


async def test_a_stream_name_may_have_255_characters_of_any_alphabet(store: EventStore) -> None:
    [record] = await store.append([event("🦉" * 255, 1)])
    assert list(await store.read_stream("🦉" * 255)) == [record]


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_a_page_has_1_to_10000_events(store: EventStore, limit: int) -> None:
    with pytest.raises(ValueError, match=str(limit)):
        await store.read(0, limit=limit)
    with pytest.raises(ValueError, match=str(limit)):
        await store.read_stream("a", limit=limit)


# -- fences -------------------------------------------------------------------------------------


async def test_a_held_lease_lets_its_holder_append(world: World) -> None:
    fence = await world.leases.acquire("relay", "one", 60)
    assert fence is not None
    await world.store.append([event("a", 1)], fence=fence)
    assert await world.store.version("a") == 1


async def test_whoever_lost_the_lease_writes_nothing(world: World) -> None:
    old = await world.leases.acquire("relay", "one", 60)
    assert old is not None
    await world.leases.release(old)
    new = await world.leases.acquire("relay", "two", 60)
    assert new is not None
    with pytest.raises(FencedOut, match=f"lease relay, epoch {old.epoch}"):
        await world.store.append([event("a", 1)], fence=old)
    assert await world.store.head() == 0
    await world.store.append([event("a", 1)], fence=new)


async def test_a_lease_that_never_was_fences_out(store: EventStore) -> None:
    with pytest.raises(FencedOut):
        await store.append([event("a", 1)], fence=Fence("nobody", 1))


async def test_one_who_is_fenced_out_does_not_stop_the_others(store: EventStore) -> None:
    answers = await asyncio.gather(
        store.append([event("a", 1)]),
        store.append([event("b", 1)], fence=Fence("nobody", 1)),
        store.append([event("c", 1)]),
        store.append([event("c", 1)]),
        return_exceptions=True,
    )
    assert [type(a) for a in answers] == [list, FencedOut, list, VersionConflict]


async def test_a_lease_is_held_by_one_until_it_runs_out(world: World) -> None:
    first = await world.leases.acquire("relay", "one", 0.2)
    assert first is not None
    assert await world.leases.acquire("relay", "two", 60) is None
    await asyncio.sleep(0.25)
    second = await world.leases.acquire("relay", "two", 60)
    assert second is not None
    assert second.epoch > first.epoch
    assert not await world.leases.renew(first, 60)
    assert await world.leases.renew(second, 60)


async def test_a_renewed_lease_runs_on(world: World) -> None:
    fence = await world.leases.acquire("relay", "one", 0.2)
    assert fence is not None
    assert await world.leases.renew(fence, 60)
    await asyncio.sleep(0.25)
    assert await world.leases.acquire("relay", "two", 60) is None


async def test_releasing_a_lease_that_moved_on_does_nothing(world: World) -> None:
    first = await world.leases.acquire("relay", "one", 60)
    assert first is not None
    await world.leases.release(first)
    second = await world.leases.acquire("relay", "two", 60)
    assert second is not None
    await world.leases.release(first)
    assert await world.leases.renew(second, 60)


async def test_the_same_holder_gets_a_new_epoch(world: World) -> None:
    first = await world.leases.acquire("relay", "one", 60)
    again = await world.leases.acquire("relay", "one", 60)
    assert first is not None
    assert again is not None
    assert again.epoch == first.epoch + 1


@pytest.mark.parametrize("duration_s", [0, -1, 3601])
async def test_a_lease_runs_for_at_most_an_hour(world: World, duration_s: float) -> None:
    with pytest.raises(ValueError, match=str(duration_s)):
        await world.leases.acquire("relay", "one", duration_s)


# -- reading ------------------------------------------------------------------------------------


async def test_a_page_says_how_far_it_looked(store: EventStore) -> None:
    await store.append([event(f"s-{i}", 1, name=f"test.{i % 2}.v1") for i in range(10)])
    first = await store.read(0, limit=4)
    assert ([r.position for r in first.records], first.scanned_to) == ([1, 2, 3, 4], 4)
    rest = await store.read(4, limit=500)
    assert ([r.position for r in rest.records], rest.scanned_to) == ([5, 6, 7, 8, 9, 10], 10)
    exact = await store.read(6, limit=4)
    assert ([r.position for r in exact.records], exact.scanned_to) == ([7, 8, 9, 10], 10)
    odd = await store.read(0, names=["test.1.v1"], limit=2)
    assert ([r.position for r in odd.records], odd.scanned_to) == ([2, 4], 4)
    none = await store.read(0, names=["test.9.v1"])
    assert (list(none.records), none.scanned_to) == ([], 10)
    beyond = await store.read(10)
    assert (list(beyond.records), beyond.scanned_to) == ([], 10)


async def test_an_empty_log_has_been_looked_through(store: EventStore) -> None:
    page = await store.read(0)
    assert (list(page.records), page.scanned_to) == ([], 0)


async def test_until_is_the_last_position_of_a_page(store: EventStore) -> None:
    await store.append(run_of("a", 1, 10))
    page = await store.read(3, until=6)
    assert ([r.position for r in page.records], page.scanned_to) == ([4, 5, 6], 6)
    page = await store.read(3, until=100)
    assert ([r.position for r in page.records][-1], page.scanned_to) == (10, 10)
    page = await store.read(6, until=6)
    assert (list(page.records), page.scanned_to) == ([], 6)


async def test_a_page_ends_after_32_mb(store: EventStore) -> None:
    count = MAX_PAGE_BYTES // MAX_STATE_BYTES + 2
    for version in range(1, count + 1):
        await store.append([event("a", version, bytes(MAX_STATE_BYTES))])
    first = await store.read(0)
    assert len(first.records) == first.scanned_to == count - 1
    assert [r.position for r in (await store.read(first.scanned_to)).records] == [count]


async def test_filters_by_name_and_stream_go_together(store: EventStore) -> None:
    await store.append(
        [event("a", 1, name="x.v1"), event("a", 2, name="y.v1"), event("b", 1, name="x.v1"), event("c", 1)]
    )
    page = await store.read(0, names=["x.v1", "z.v1"], streams=["a", "c"])
    assert [(r.stream, r.version) for r in page.records] == [("a", 1)]
    assert (list((await store.read(0, names=[])).records), (await store.read(0, names=[])).scanned_to) == (
        [],
        4,
    )


@pytest.mark.parametrize("parts", [1, 2, 7])
async def test_every_stream_is_in_one_part(store: EventStore, parts: int) -> None:
    streams = [
        f"{c}-v{i}-BTC_USD{s}" for i in range(20) for c, s in (("trades", ""), ("feed", ""), ("bars", "-1m"))
    ]
    streams += ["plain", "imports-" + "ab" * 32, "ünï-cödé-🦉-x", "-", "--", "a--b"]
    await store.append([event(s, 1) for s in streams])
    found = [
        (part, r.stream)
        for part in range(parts)
        for r in (await store.read(0, partition=(part, parts))).records
    ]
    assert sorted(s for _, s in found) == sorted(streams)
    assert all(partition_of(s, parts) == part for part, s in found)
    assert all(
        partition_of(f"bars-v{i}-BTC_USD-1m", parts) == partition_of(f"feed-v{i}-BTC_USD", parts)
        for i in range(20)
    )


async def test_the_streams_of_a_prefix_are_those_that_begin_with_it(store: EventStore) -> None:
    names = [
        "bars-a-X",
        "trades",
        "trades-",
        "trades-a-X",
        "trades-a-Ä",
        "trades-b-X",
        "tradesmen-a",
        "Trades-a",
    ]
    for name in names:
        await store.append(run_of(name, 1, 2))
    assert await store.streams("trades-") == ["trades-", "trades-a-X", "trades-a-Ä", "trades-b-X"]
    assert await store.streams("") == sorted(names)
    assert await store.streams("none") == []


async def test_a_stream_is_read_in_order_from_a_version_on(store: EventStore) -> None:
    await store.append([event("a", 1), event("b", 1), event("a", 2), event("a", 3)])
    assert [r.version for r in await store.read_stream("a")] == [1, 2, 3]
    assert [r.version for r in await store.read_stream("a", after=1, limit=1)] == [2]
    assert list(await store.read_stream("nobody")) == []
    assert (await store.version("a"), await store.version("nobody")) == (3, 0)


async def test_batches_that_share_ids_with_a_range_are_found(store: EventStore) -> None:
    ranges = [(1, 10), (11, 20), (5, 15), (30, 30)]
    await store.append([event("a", i, id_lo=lo, id_hi=hi) for i, (lo, hi) in enumerate(ranges, 1)])
    await store.append([event("a", 5), event("b", 1, id_lo=1, id_hi=100)])

    async def found(lo: int, hi: int) -> list[int]:
        return [r.version for r in await store.overlapping("a", lo, hi)]

    assert await found(10, 10) == [1, 3]
    assert await found(11, 29) == [2, 3]
    assert await found(21, 29) == []
    assert await found(30, 1 << 62) == [4]
    assert await found(-5, 100) == [1, 2, 3, 4]


async def test_a_moment_leads_to_the_last_position_recorded_by_then(store: EventStore) -> None:
    records: list[StoredRecord] = []
    for i in range(9):
        records += await store.append(run_of(f"s-{i}", 1, 1 + i % 3))
        await asyncio.sleep(0.002)
    moments = sorted({r.recorded_at for r in records})
    assert len(moments) == 9
    assert await store.position_at(moments[0] - timedelta(microseconds=1)) == 0
    for moment in moments:
        expected = max(r.position for r in records if r.recorded_at <= moment)
        assert await store.position_at(moment) == expected
        assert await store.position_at(moment + timedelta(microseconds=1)) == expected
    assert await store.position_at(moments[-1] + timedelta(days=1)) == await store.head()


async def test_a_moment_in_an_empty_log_is_position_0(store: EventStore) -> None:
    [record] = await store.append([event("a", 1)])
    assert await store.position_at(record.recorded_at - timedelta(days=1)) == 0


# -- waiting ------------------------------------------------------------------------------------


async def test_waiting_ends_when_the_log_grows(store: EventStore) -> None:
    waiting = asyncio.create_task(store.changed(0, 20))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await store.append([event("a", 1)])
    await asyncio.wait_for(waiting, 0.5)


async def test_there_is_no_waiting_for_what_is_there(store: EventStore) -> None:
    await store.append([event("a", 1)])
    await asyncio.wait_for(store.changed(0, 20), 0.5)


async def test_waiting_ends_at_its_timeout(store: EventStore) -> None:
    await store.append([event("a", 1)])
    await asyncio.wait_for(store.changed(1, 0.05), 2)


# -- faults -------------------------------------------------------------------------------------


async def test_a_commit_whose_reply_was_lost_is_found_by_sending_it_again(world: World) -> None:
    await world.store.append([event("a", 1)])
    lost = [event("a", 2), event("b", 1)]
    async with world.replies_lost():
        with pytest.raises(StoreUnavailable):
            await world.store.append(lost)
    records = await world.store.append(lost)
    assert [r.position for r in records] == [2, 3]
    assert await world.store.head() == 3


async def test_a_conflict_after_a_lost_reply_is_still_a_conflict(world: World) -> None:
    await world.store.append([event("a", 1)])
    async with world.replies_lost():
        with pytest.raises(StoreUnavailable):
            await world.store.append([event("a", 2)])
    with pytest.raises(VersionConflict):
        await world.store.append([event("a", 2)])


async def test_after_an_outage_the_store_works_again(world: World) -> None:
    await world.store.append([event("a", 1)])
    async with world.replies_lost():
        attempts: list[Awaitable[object]] = [world.store.append([event(f"s-{i}", 1)]) for i in range(5)]
        answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert {type(a) for a in answers} == {StoreUnavailable}
    records = [(await world.store.append([event(f"t-{i}", 1)]))[0] for i in range(5)]
    assert [r.position for r in records] == sorted(r.position for r in records)
    assert await world.store.head() == records[-1].position
