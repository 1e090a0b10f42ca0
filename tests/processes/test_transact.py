"""Commands on streams, over the real store: a counter that refuses to go below zero."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import msgspec
import pytest

from alphapulse.adapters.store.codec import Codec, json_form
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decider import Decider
from alphapulse.domain.ports import (
    EventStore,
    Fence,
    FencedOut,
    NewEvent,
    StoredRecord,
    UnknownEvent,
    VersionConflict,
)
from alphapulse.processes.transact import load, transact
from tests.adapters.store.events import event


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    by: int


class BelowZero(Exception): ...


def decide(by: int, total: int) -> Sequence[Moved]:
    if total + by < 0:
        raise BelowZero(f"{total} + {by}")
    return [Moved(by=by)] if by else []


counter: Decider[int, int, Moved] = Decider(0, decide, lambda total, moved: total + moved.by)
codec = Codec({"test.moved.v1": json_form(Moved)})


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[EventStore]:
    async with PostgresEventStore(database_url) as store:
        yield store


async def test_a_command_becomes_recorded_events(store: EventStore) -> None:
    [recorded] = await transact(store, counter, "counter-1", 5, codec=codec, actor="tester", trace="00-t")
    assert (recorded.event, recorded.version, recorded.position) == (Moved(by=5), 1, 1)
    assert (recorded.envelope.actor, recorded.envelope.trace) == ("tester", "00-t")
    assert await load(store, counter, "counter-1", codec=codec) == (5, 1)


async def test_a_command_that_changes_nothing_writes_nothing(store: EventStore) -> None:
    assert await transact(store, counter, "counter-1", 0, codec=codec) == []
    assert await store.head() == 0


async def test_a_refused_command_writes_nothing(store: EventStore) -> None:
    await transact(store, counter, "counter-1", 3, codec=codec)
    with pytest.raises(BelowZero, match="3 \\+ -4"):
        await transact(store, counter, "counter-1", -4, codec=codec)
    assert await store.head() == 1


async def test_cause_and_correlation_follow_the_chain(store: EventStore) -> None:
    [first] = await transact(store, counter, "counter-1", 1, codec=codec)
    [second] = await transact(store, counter, "counter-2", 1, codec=codec, cause=first)
    [third] = await transact(store, counter, "counter-3", 1, codec=codec, cause=second)
    ids = [r.envelope.event_id for r in (first, second)]
    assert (first.envelope.cause_id, first.envelope.correlation_id) == (None, None)
    assert (second.envelope.cause_id, second.envelope.correlation_id) == (ids[0], ids[0])
    assert (third.envelope.cause_id, third.envelope.correlation_id) == (ids[1], ids[0])


async def test_whoever_is_overtaken_decides_again_on_the_new_state(store: EventStore) -> None:
    await transact(store, counter, "counter-1", 3, codec=codec)
    commands = [transact(store, counter, "counter-1", -1, codec=codec) for _ in range(6)]
    answers = await asyncio.gather(*commands, return_exceptions=True)
    assert sum(isinstance(a, BelowZero) for a in answers) == 3
    assert await load(store, counter, "counter-1", codec=codec) == (0, 4)


async def test_a_long_stream_is_read_in_pages(store: EventStore) -> None:
    for first in (1, 501, 1001):
        await store.append([codec.new_event("counter-1", v, Moved(by=1)) for v in range(first, first + 500)])
    assert await load(store, counter, "counter-1", codec=codec) == (1500, 1500)


class Overtaken(MemoryEventStore):
    """Somebody else is faster ``times`` times."""

    times = 0
    attempts = 0

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        self.attempts += 1
        if self.attempts <= self.times:
            rival = codec.new_event(events[0].stream, events[0].version, Moved(by=100))
            await super().append([rival])
        return await super().append(events, fence=fence)


async def test_the_same_command_sent_again_finds_its_events(store: EventStore) -> None:
    pair: Decider[int, int, Moved] = Decider(0, lambda by, _: [Moved(by=by), Moved(by=1)], counter.evolve)
    command_id = uuid4()
    first = await transact(store, pair, "counter-1", 5, codec=codec, command_id=command_id)
    await transact(store, counter, "counter-1", 1, codec=codec)
    assert await transact(store, pair, "counter-1", 5, codec=codec, command_id=command_id) == first
    assert await load(store, counter, "counter-1", codec=codec) == (7, 3)


async def test_being_overtaken_has_an_end() -> None:
    store = Overtaken()
    store.times = 3
    with pytest.raises(VersionConflict):
        await transact(store, counter, "counter-1", 1, codec=codec, tries=3)
    assert store.attempts == 3
    store.times, store.attempts = 2, 0
    [recorded] = await transact(store, counter, "counter-1", 1, codec=codec, tries=3)
    assert (recorded.version, store.attempts) == (6, 3)


async def test_a_decider_that_lost_its_lease_stops(store: EventStore) -> None:
    with pytest.raises(FencedOut):
        await transact(store, counter, "counter-1", 1, codec=codec, fence=Fence("gone", 1))
    assert await store.head() == 0


async def test_nobody_decides_on_a_stream_that_cannot_be_read(store: EventStore) -> None:
    await store.append([event("counter-1", 1, name="test.moved.v2")])
    with pytest.raises(UnknownEvent, match=r"test\.moved\.v2"):
        await transact(store, counter, "counter-1", 1, codec=codec)
