"""One subscription for many listeners: each gets what it would get alone, and errors reach all of them."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from alphapulse.adapters.bus.jetstream import LIVE_BYTES, LIVE_MESSAGES
from alphapulse.adapters.bus.memory import MemoryBus
from alphapulse.adapters.bus.shared import SharedListening
from alphapulse.domain.ports import BusUnavailable, Live, Message


async def publish(bus: MemoryBus, *texts: str) -> None:
    end = await bus.end()
    window = [Message(subject="a", headers={}, data=text.encode()) for text in texts]
    await bus.publish(window, after=end.sequence)


async def heard(live: Live, count: int) -> list[str]:
    found = list[str]()
    while len(found) < count:
        found += [message.data.decode() for message in await live.take()]
    return found


async def test_all_listeners_hear_all_over_one_subscription() -> None:
    bus = MemoryBus()
    shared = SharedListening(bus)
    async with shared.listen() as first, shared.listen() as second:
        await publish(bus, "1", "2")
        async with shared.listen() as third:
            assert len(bus._listeners) == 1
            assert await heard(first, 2) == ["1", "2"]
            await publish(bus, "3")
            assert await heard(third, 1) == ["3"]
        assert await heard(second, 3) == ["1", "2", "3"]
        assert await heard(first, 1) == ["3"]


async def test_the_subscription_ends_with_its_last_listener_and_a_new_one_opens_another() -> None:
    bus = MemoryBus()
    shared = SharedListening(bus)
    for text in ("1", "2"):
        async with shared.listen() as live:
            await publish(bus, text)
            assert await heard(live, 1) == [text]
        assert not bus._listeners


async def test_a_lost_connection_reaches_every_listener_and_is_opened_anew_once() -> None:
    bus = MemoryBus()
    shared = SharedListening(bus)
    async with AsyncExitStack() as stack:
        lives = [await stack.enter_async_context(shared.listen()) for _ in range(3)]
        bus.disconnect()
        for live in lives:
            with pytest.raises(BusUnavailable, match="the connection has ended"):
                await live.take()
        again = [await stack.enter_async_context(shared.listen()) for _ in range(3)]
        await publish(bus, "1")
        assert [await heard(live, 1) for live in again] == [["1"]] * 3
        assert len(bus._listeners) == 1
    assert not bus._listeners


async def test_a_bus_that_cannot_be_listened_to_says_so_to_each() -> None:
    def fail(moment: str) -> None:
        raise BusUnavailable(moment)

    shared = SharedListening(MemoryBus(fail=fail))

    async def listens() -> None:
        async with shared.listen():
            pass

    errors = await asyncio.gather(*(listens() for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in errors] == ["listen"] * 3


async def test_of_too_much_for_a_slow_listener_the_oldest_go() -> None:
    """As many messages, or as many bytes, as one subscription would keep; who is quick misses nothing."""
    large = 1024 * 1024
    for data, most in ((b"x" * large, LIVE_BYTES // large), (b"x", LIVE_MESSAGES)):
        bus = MemoryBus(max_message_bytes=2 * large)
        shared, quick = SharedListening(bus), 0
        async with shared.listen() as slow, shared.listen() as live:
            for n in range(most + 10):
                (listener,) = bus._listeners
                listener.put(Message(subject=str(n), headers={}, data=data))
                while n % 50 == 0 or n == most + 9:
                    quick += len(await live.take())
                    if quick > n:
                        break
            assert quick == most + 10
            kept = [int(message.subject) for message in await slow.take()]
            assert kept == list(range(10, most + 10))


async def test_a_listener_that_is_ended_at_any_moment_holds_up_nobody() -> None:
    bus = MemoryBus()
    shared = SharedListening(bus)
    for pauses in range(6):

        async def listens() -> None:
            async with shared.listen() as live:
                await live.take()

        first = asyncio.create_task(listens())
        for _ in range(pauses):
            await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(5), shared.listen() as live:
            await publish(bus, "1")
            assert await heard(live, 1) == ["1"]
        await asyncio.wait([first])
        assert not bus._listeners
