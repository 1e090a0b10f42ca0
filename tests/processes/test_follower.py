"""The follower: nothing missed, nothing repeated, whatever the bus brings or does not bring."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.adapters.bus.envelope import to_message
from alphapulse.adapters.bus.jetstream import JetStreamBus
from alphapulse.adapters.bus.memory import MemoryBus
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import Bus, BusUnavailable, EventStore, Message, Page, StoredRecord
from alphapulse.processes.follower import Follower, FollowerLimits
from tests.adapters.store.events import event, run_of
from tests.processes.relaying import relaying, whole_log

QUICK = FollowerLimits(idle_s=0.1, backoff_s=(0.01, 0.1))


class CountingStore(MemoryEventStore):
    reads = 0

    async def read(self, after: int, **options: object) -> Page:  # type: ignore[override]
        self.reads += 1
        return await super().read(after, **options)  # type: ignore[arg-type]


async def collect(follower: Follower, upto: int, after: int = 0, limit: int = 100) -> list[StoredRecord]:
    """Everything from ``after`` until position ``upto``, as a runner would ask for it."""
    found: list[StoredRecord] = []
    async with asyncio.timeout(60):
        while after < upto:
            page = await follower.next(after, limit=limit, timeout_s=1.0)
            assert len(page.records) <= limit
            found += page.records
            after = page.scanned_to
    return found


@asynccontextmanager
async def following(store: EventStore, bus: Bus, limits: FollowerLimits = QUICK) -> AsyncIterator[Follower]:
    async with Follower(store, bus, limits) as follower:
        await asyncio.sleep(0.01)  # it listens from now on
        yield follower


def messages(records: Sequence[StoredRecord], previous: int = 0) -> list[Message]:
    found = []
    for record in records:
        found.append(to_message(record, previous=previous, epoch=1, max_bytes=1 << 20))
        previous = record.position
    return found


async def publish(bus: MemoryBus, *window: Message) -> None:
    await bus.publish(window, after=(await bus.end()).sequence)
    await asyncio.sleep(0.01)


async def test_a_healthy_bus_brings_all_and_the_store_is_hardly_asked() -> None:
    store, bus = CountingStore(), MemoryBus()
    first = await store.append([event("a", 1)])
    async with following(store, bus, replace(QUICK, idle_s=5)) as follower:
        assert await collect(follower, upto=1) == first
        await publish(bus, *messages(first))
        asked = store.reads
        for version in range(2, 50):
            stored = await store.append([event("a", version)])
            await publish(bus, *messages(stored, previous=version - 1))
            assert await collect(follower, upto=version, after=version - 1) == stored
        assert follower.from_bus >= 47
        assert store.reads - asked <= 2


async def test_nobody_waits_longer_than_asked() -> None:
    async with following(MemoryEventStore(), MemoryBus()) as follower:
        start = asyncio.get_running_loop().time()
        assert await follower.next(7, limit=10, timeout_s=0.2) == Page([], 7)
        assert asyncio.get_running_loop().time() - start < 2


async def test_a_gap_on_the_bus_is_read_from_the_store() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    stored = await store.append(run_of("a", 1, 10))
    async with following(store, bus, replace(QUICK, idle_s=30)) as follower:  # not by silence, at once
        assert await collect(follower, upto=10) == stored
        await publish(bus, *messages(stored))
        more = await store.append(run_of("a", 11, 10))
        await publish(bus, *messages(more, previous=10)[:3], *messages(more, previous=10)[6:])
        async with asyncio.timeout(10):
            assert await collect(follower, upto=20, after=10) == more


async def test_repeats_and_steps_back_are_passed_over() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    stored = await store.append(run_of("a", 1, 10))
    sent = messages(stored)
    async with following(store, bus) as follower:
        await publish(bus, *sent[:5], *sent[2:7], *sent[:10])  # a new epoch begins twice
        assert await collect(follower, upto=10) == stored
        assert await collect(follower, upto=10, after=4) == stored[4:]


async def test_an_old_position_may_be_asked_for_again() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    stored = await store.append(run_of("a", 1, 20))
    async with following(store, bus) as follower:
        await publish(bus, *messages(stored))
        for after in (0, 15, 3, 19, 0):
            assert await collect(follower, upto=20, after=after) == stored[after:]


async def test_a_silent_relay_is_noticed_and_the_store_takes_over_until_it_is_back() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    stored = list(await store.append([event("a", 1)]))
    async with following(store, bus, replace(QUICK, idle_s=1)) as follower:
        await publish(bus, *messages(stored))
        assert await collect(follower, upto=1) == stored
        stored += await store.append([event("a", 2)])  # never published
        assert await collect(follower, upto=2, after=1) == stored[1:]
        waiting = asyncio.create_task(collect(follower, upto=3, after=2))
        await asyncio.sleep(0)
        start = asyncio.get_running_loop().time()
        stored += await store.append([event("a", 3)])
        assert await waiting == stored[2:]
        assert asyncio.get_running_loop().time() - start < 0.7, "woken by the store at once"
        await publish(bus, *messages(stored)[1:])  # the relay has caught up
        stored += await store.append([event("a", 4)])
        await publish(bus, *messages(stored)[3:])
        before = follower.from_bus
        assert await collect(follower, upto=4, after=3) == stored[3:]
        assert follower.from_bus == before + 1


async def test_a_relay_far_behind_that_never_pauses_holds_nobody_up() -> None:
    """A new epoch brings old events in an endless stream: they must not count as a sign of news."""
    store, bus = MemoryEventStore(), MemoryBus()
    stored = await store.append(run_of("a", 1, 300))
    sent = messages(stored)
    async with following(store, bus) as follower:
        assert await collect(follower, upto=300) == stored
        await publish(bus, sent[0])

        async def replay() -> None:
            for message in sent[1:]:
                await bus.publish([message], after=(await bus.end()).sequence)
                await asyncio.sleep(0.01)

        busy = asyncio.create_task(replay())
        new = await store.append([event("b", 1)])
        start = asyncio.get_running_loop().time()
        assert await collect(follower, upto=301, after=300) == new
        assert asyncio.get_running_loop().time() - start < 2
        busy.cancel()
        with suppress(asyncio.CancelledError):
            await busy


async def test_without_a_bus_the_store_is_enough() -> None:
    def fail(moment: str) -> None:
        raise BusUnavailable(moment)

    store = MemoryEventStore()
    async with Follower(store, MemoryBus(fail=fail), QUICK) as follower:
        waiting = asyncio.create_task(collect(follower, upto=50))
        for version in range(1, 51):
            await store.append([event("a", version)])
            await asyncio.sleep(0)
        assert await waiting == list(await whole_log(store))


async def test_a_lost_connection_is_opened_again_and_nothing_is_missed() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    async with following(store, bus) as follower, relaying(store, bus, store.leases):
        waiting = asyncio.create_task(collect(follower, upto=200))
        for version in range(1, 201):
            await store.append([event("a", version)])
            await asyncio.sleep(0.002)
            if version % 40 == 0:
                bus.disconnect()
        assert await waiting == list(await whole_log(store))
        assert follower.from_bus > 0


async def test_the_buffer_is_bounded_and_a_slow_reader_gets_the_rest_from_the_store() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    stored = await store.append(run_of("a", 1, 500))
    async with following(store, bus, replace(QUICK, buffer_messages=50)) as follower:
        await publish(bus, *messages(stored))
        assert len(follower._buffer) == 50
        assert await collect(follower, upto=500) == stored
        assert follower._bytes == sum(len(m.data) for _, _, m in follower._buffer)
    large = [(await store.append([event("b", n, b"x" * 10_000)]))[0] for n in range(1, 21)]
    async with following(store, bus, replace(QUICK, buffer_bytes=50_000)) as follower:
        await publish(bus, *messages(large, previous=500))
        assert len(follower._buffer) == 5
        assert await collect(follower, upto=520, after=500) == large


async def test_nonsense_on_the_bus_changes_nothing() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    stored = await store.append(run_of("a", 1, 20))
    sent = messages(stored)
    far = replace(
        sent[0], headers={**sent[0].headers, "Log-Position": "999999", "Log-Previous-Position": "5"}
    )
    broken = replace(sent[5], headers={**sent[5].headers, "Event-Recorded-At": "noon"})
    empty = Message(subject="alphapulse.oops", headers={}, data=b"")
    async with following(store, bus) as follower:
        await publish(bus, empty, *sent[:5], far, broken, *sent[6:10], empty, far, *sent[10:])
        assert await collect(follower, upto=20) == stored


async def test_an_event_left_out_of_its_message_comes_from_the_store() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    stored = [
        (await store.append([event("a", n, b"x" * (30_000 if n == 3 else 10))]))[0] for n in range(1, 6)
    ]
    async with following(store, bus) as follower:
        previous = 0
        for record in stored:
            await publish(bus, to_message(record, previous=previous, epoch=1, max_bytes=20_000))
            previous = record.position
        assert await collect(follower, upto=5) == stored


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_whatever_order_and_selection_of_messages_comes_the_log_comes_out(seed: int, limit: int) -> None:
    asyncio.run(_mangled(random.Random(seed), limit))


async def _mangled(chance: random.Random, limit: int) -> None:
    """Events appear in the store while the bus drops, repeats, reorders and delays their messages."""
    store, bus = MemoryEventStore(), MemoryBus()
    count = 60
    stored: list[StoredRecord] = []

    async def live() -> None:
        held: list[Message] = []
        for version in range(1, count + 1):
            new = await store.append([event("a", version, event_id=UUID(int=version))])
            held += messages(new, previous=version - 1)
            stored.extend(new)
            while held and chance.random() < 0.7:
                message = held[chance.randrange(len(held))] if chance.random() < 0.3 else held[0]
                if chance.random() < 0.9:
                    held.remove(message)
                if chance.random() < 0.9:
                    await bus.publish([message], after=(await bus.end()).sequence)
            if chance.random() < 0.05:
                bus.disconnect()
            if chance.random() < 0.5:
                await asyncio.sleep(0)

    limits = FollowerLimits(idle_s=0.01, backoff_s=(0.001, 0.002), buffer_messages=10)
    async with Follower(store, bus, limits) as follower:
        writing = asyncio.create_task(live())
        found = await collect(follower, upto=count, limit=limit)
        await writing
    assert found == stored


@pytest.fixture
async def real(database_url: str, nats_url: str) -> AsyncIterator[tuple[PostgresEventStore, JetStreamBus]]:
    bus = JetStreamBus(NatsOptions(servers=(nats_url,)))
    async with PostgresEventStore(database_url) as store:
        yield store, bus
    await bus.close()


async def test_events_pass_through_the_real_servers(real: tuple[PostgresEventStore, JetStreamBus]) -> None:
    store, bus = real
    patient = FollowerLimits(idle_s=10)
    async with relaying(store, bus, store.leases), Follower(store, bus, patient) as follower:
        waiting = asyncio.create_task(collect(follower, upto=300))
        for version in range(1, 301):
            await store.append([event("a", version)])
        found = await waiting
    assert found == list(await whole_log(store))
    assert follower.from_bus > 100
