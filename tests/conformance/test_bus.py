"""What every bus must do. JetStream and its twin in memory pass the same tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.adapters.bus.jetstream import JetStreamBus
from alphapulse.adapters.bus.memory import MemoryBus
from alphapulse.domain.ports import Bus, BusUnavailable, Message, WrongSequence


@pytest.fixture(params=["memory", "jetstream"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    real = JetStreamBus(NatsOptions(servers=(request.getfixturevalue("nats_url"),)))
    yield real
    await real.close()


def message(number: int, data: bytes = b"data") -> Message:
    return Message(subject=f"alphapulse.test.{number}", headers={"Number": str(number)}, data=data)


def numbers(messages: object) -> list[int]:
    return [int(m.headers["Number"]) for m in messages]  # type: ignore[attr-defined]


async def test_an_empty_stream_ends_without_a_message(bus: Bus) -> None:
    assert (await bus.end()).message is None


async def test_a_window_gets_consecutive_sequences_in_order(bus: Bus) -> None:
    start = (await bus.end()).sequence
    last = await bus.publish([message(n) for n in range(100)], after=start)
    assert last == start + 100
    stored = await bus.read(start + 1, limit=1_000)
    assert numbers(stored) == list(range(100))
    assert [m.sequence for m in stored] == list(range(start + 1, start + 101))


async def test_the_end_is_the_last_message_as_it_was_published(bus: Bus) -> None:
    start = (await bus.end()).sequence
    whole = Message(
        subject="alphapulse.a.b.%2E%20",
        headers={"Plain": "x", "Empty": "", "Odd": "a: b, c = %20 ;~"},
        data=bytes(range(256)),
    )
    await bus.publish([message(1), whole], after=start)
    end = await bus.end()
    assert end.sequence == start + 2
    assert end.message == Message(
        subject=whole.subject, headers=whole.headers, data=whole.data, sequence=start + 2
    )


async def test_a_window_that_does_not_follow_the_end_is_refused_whole(bus: Bus) -> None:
    start = (await bus.end()).sequence
    await bus.publish([message(1), message(2)], after=start)
    for wrong in (start, start + 1, start + 3):
        with pytest.raises(WrongSequence):
            await bus.publish([message(8), message(9)], after=wrong)
    assert numbers(await bus.read(start, limit=10)) == [1, 2]


async def test_of_rivals_with_the_same_window_each_message_is_stored_once(bus: Bus) -> None:
    start = (await bus.end()).sequence
    window = [message(n) for n in range(50)]
    outcomes = await asyncio.gather(
        *(bus.publish(window, after=start) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(o, int | WrongSequence) for o in outcomes), outcomes
    assert numbers(await bus.read(start + 1, limit=1_000)) == list(range(50))


async def test_reading_begins_where_asked_and_stops_at_the_limit(bus: Bus) -> None:
    start = (await bus.end()).sequence
    await bus.publish([message(n) for n in range(10)], after=start)
    assert numbers(await bus.read(start + 4, limit=3)) == [3, 4, 5]
    assert numbers(await bus.read(start + 9, limit=100)) == [8, 9]
    assert await bus.read(start + 11, limit=100) == []
    assert numbers(await bus.read(0, limit=1)) == [0]


async def test_a_listener_hears_what_is_published_from_then_on_in_order(bus: Bus) -> None:
    start = await bus.publish([message(0)], after=(await bus.end()).sequence)
    heard: list[int] = []
    async with asyncio.timeout(10), bus.listen() as live:
        start = await bus.publish([message(n) for n in range(1, 6)], after=start)
        await bus.publish([message(n) for n in range(6, 11)], after=start)
        while len(heard) < 10:
            heard += numbers(await live.take())
    assert heard == list(range(1, 11))


async def test_every_listener_hears_everything(bus: Bus) -> None:
    start = (await bus.end()).sequence
    async with asyncio.timeout(10), AsyncExitStack() as stack:
        lives = [await stack.enter_async_context(bus.listen()) for _ in range(3)]
        await bus.publish([message(7)], after=start)
        assert [numbers(await live.take()) for live in lives] == [[7]] * 3


async def test_the_largest_message_passes_and_a_larger_one_does_not(bus: Bus) -> None:
    start = (await bus.end()).sequence
    fits = message(1, b"x" * (bus.max_message_bytes - 512))
    assert await bus.publish([fits], after=start) == start + 1
    end = await bus.end()
    assert end.message is not None
    assert end.message.data == fits.data
    with pytest.raises(BusUnavailable):
        await bus.publish([message(2, b"x" * bus.max_message_bytes)], after=start + 1)
    assert (await bus.end()).sequence == start + 1
    assert await bus.publish([message(3)], after=start + 1) == start + 2
