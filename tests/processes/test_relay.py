"""The relay: every event once, in order, whatever happens to it, to the stream or to the bus.

Rules that need no real server run on both twins; kills of real ones are in tests/crash.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.adapters.bus.envelope import from_message
from alphapulse.adapters.bus.jetstream import JetStreamBus
from alphapulse.adapters.bus.memory import MemoryBus
from alphapulse.adapters.store.memory import MemoryEventStore, MemoryLeases
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import Bus, BusUnavailable, EventStore, Leases, Message, WrongSequence
from alphapulse.processes.relay import LogMismatch, resync
from tests.adapters.store.events import event, run_of
from tests.conftest import remove_streams
from tests.processes.relaying import QUICK, assert_exact, caught_up, relaying, whole_log, whole_stream


@dataclass
class World:
    store: EventStore
    bus: Bus
    leases: Leases


@pytest.fixture(params=["memory", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        store = MemoryEventStore()
        yield World(store, MemoryBus(), store.leases)
        return
    urls = request.getfixturevalue("database_url"), request.getfixturevalue("nats_url")
    bus = JetStreamBus(NatsOptions(servers=(urls[1],)))
    async with PostgresEventStore(urls[0]) as real:
        yield World(real, bus, real.leases)
    await bus.close()


async def test_every_event_is_published_once_and_in_order(world: World) -> None:
    await world.store.append(run_of("trades-a-B", 1, 700))
    async with relaying(world.store, world.bus, world.leases):
        for version in range(1, 50):
            await world.store.append([event("live-a-B", version)])
        await caught_up(world.store, world.bus)
    await assert_exact(world.store, world.bus)


async def test_a_relay_goes_on_where_the_last_one_stopped(world: World) -> None:
    for part in range(4):
        await world.store.append(run_of("trades-a-B", 1 + 100 * part, 100))
        async with relaying(world.store, world.bus, world.leases, holder=f"relay {part}"):
            await caught_up(world.store, world.bus)
    await assert_exact(world.store, world.bus)


async def test_rivals_that_both_believe_to_be_alone_publish_nothing_twice(world: World) -> None:
    """Each has leases of its own, as after a split brain; the stream alone keeps them from harm."""
    async with AsyncExitStack() as stack:
        for n in range(3):
            await stack.enter_async_context(relaying(world.store, world.bus, MemoryLeases(), holder=str(n)))
        for version in range(1, 120):
            await world.store.append([event("live-a-B", version)])
            if version % 40 == 0:
                await world.store.append(run_of(f"burst-{version}", 1, 300))
        await caught_up(world.store, world.bus)
    await assert_exact(world.store, world.bus)


async def test_one_relay_works_and_the_next_takes_over_when_it_stops(world: World) -> None:
    async with AsyncExitStack() as stack:
        async with relaying(world.store, world.bus, world.leases, holder="first"):
            await world.store.append([event("a", 1)])
            await caught_up(world.store, world.bus)
            second = await stack.enter_async_context(
                relaying(world.store, world.bus, world.leases, holder="second")
            )
            await asyncio.sleep(0.3)
            assert second.reports == []
        await world.store.append([event("a", 2)])
        await caught_up(world.store, world.bus, timeout_s=30)
        assert second.reports != []
    await assert_exact(world.store, world.bus)


async def test_a_relay_that_lost_its_lease_stands_by(world: World) -> None:
    async with relaying(world.store, world.bus, world.leases) as running:
        await world.store.append([event("a", 1)])
        await caught_up(world.store, world.bus)
        fence = running.relay._lease.fence
        assert fence is not None
        await world.leases.release(fence)
        other = await world.leases.acquire("relay", "other", 60)
        assert other is not None
        await running.problem("FencedOut")
        await world.store.append([event("a", 2)])
        await asyncio.sleep(0.5)
        assert len(await whole_stream(world.bus)) == 1


async def test_a_message_of_somebody_else_is_passed_over(world: World) -> None:
    await world.store.append(run_of("a", 1, 10))
    async with relaying(world.store, world.bus, world.leases):
        await caught_up(world.store, world.bus)
    end = await world.bus.end()
    await world.bus.publish(
        [Message(subject="alphapulse.oops", headers={}, data=b"hello")] * 3, after=end.sequence
    )
    await world.store.append(run_of("a", 11, 10))
    async with relaying(world.store, world.bus, world.leases):
        await caught_up(world.store, world.bus)
    ours = [m for m in await whole_stream(world.bus) if m.subject != "alphapulse.oops"]
    assert [from_message(m).record for m in ours] == list(await whole_log(world.store))


async def test_more_foreign_messages_than_the_limit_stop_the_relay_with_an_error(world: World) -> None:
    await world.store.append([event("a", 1)])
    limits = replace(QUICK, foreign_messages=5)
    async with relaying(world.store, world.bus, world.leases):
        await caught_up(world.store, world.bus)
    end = await world.bus.end()
    foreign = Message(subject="alphapulse.oops", headers={}, data=b"hello")
    last = await world.bus.publish([foreign] * 4, after=end.sequence)
    assert (await resync(world.store, world.bus, limits)).position == 1
    await world.bus.publish([foreign], after=last)
    with pytest.raises(LogMismatch, match=r"alphapulse\.oops"):
        await resync(world.store, world.bus, limits)


async def test_a_new_epoch_reaches_back_no_further_than_its_limit(world: World) -> None:
    records = [(await world.store.append([event("a", n)]))[0] for n in range(1, 31)]
    limits = replace(QUICK, history_positions=10)
    async with relaying(world.store, world.bus, world.leases, limits):
        await caught_up(world.store, world.bus)
    published = [from_message(m) for m in await whole_stream(world.bus)]
    assert 9 <= len(published) <= 10
    before = records[-len(published) - 1]
    assert published[0].previous == before.position


async def test_the_largest_event_passes(world: World) -> None:
    await world.store.append([event("a", 1, b"x" * 900_000)])
    await world.store.append([event("a", 2)])
    async with relaying(world.store, world.bus, world.leases):
        await caught_up(world.store, world.bus)
    await assert_exact(world.store, world.bus)


async def test_another_database_behind_the_same_stream_is_refused(world: World) -> None:
    await world.store.append(run_of("a", 1, 5))
    async with relaying(world.store, world.bus, world.leases):
        await caught_up(world.store, world.bus)
    other = MemoryEventStore()
    for history in ([], run_of("b", 1, 5)):  # restored to an older point, and with other events since
        await other.append(history)
        async with relaying(other, world.bus, other.leases) as running:
            await running.problem("another database")
    await assert_exact(world.store, world.bus)


# -- what only the twin can be made to do ---------------------------------------------------------------


class Faults:
    """Raises at chosen moments."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}  # moment: how many more times

    def __call__(self, moment: str) -> None:
        if self.at.get(moment, 0) > 0:
            self.at[moment] -= 1
            raise BusUnavailable(f"injected: {moment}")


async def test_a_lost_acknowledgement_publishes_nothing_twice() -> None:
    faults, store = Faults(), MemoryEventStore()
    bus = MemoryBus(fail=faults)
    async with relaying(store, bus, store.leases):
        for version in range(1, 60):
            faults.at["after publish" if version % 2 else "before publish"] = 1
            await store.append([event("a", version)])
            await asyncio.sleep(0.003)
        faults.at.clear()
        await caught_up(store, bus)
    await assert_exact(store, bus)


async def test_a_bus_that_is_down_is_waited_for_and_reported() -> None:
    faults, store = Faults(), MemoryEventStore()
    bus = MemoryBus(fail=faults)
    faults.at["end"] = 5
    await store.append(run_of("a", 1, 10))
    async with relaying(store, bus, store.leases) as running:
        await running.problem("injected")
        faults.at.clear()
        await caught_up(store, bus)
        await running.problem("")
    await assert_exact(store, bus)


async def test_a_lost_stream_is_filled_again_as_a_new_epoch() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    await store.append(run_of("a", 1, 50))
    async with relaying(store, bus, store.leases):
        await caught_up(store, bus)
        before = (await bus.end()).sequence
        bus.lose()
        await store.append(run_of("a", 51, 50))
        await caught_up(store, bus)
    await assert_exact(store, bus)
    assert (await bus.read(0, limit=1))[0].sequence > before


@pytest.mark.parametrize("kept", [0, 20])
async def test_a_stream_that_shrinks_while_the_log_is_quiet_is_filled_again(kept: int) -> None:
    """No event comes that would be refused: the relay looks at the stream's end by itself, now and again."""
    store, bus = MemoryEventStore(), MemoryBus()
    await store.append(run_of("a", 1, 50))
    async with relaying(store, bus, store.leases):
        await caught_up(store, bus)
        if kept:
            bus.restore((await whole_stream(bus))[:kept])
        else:
            bus.lose()
        await caught_up(store, bus, timeout_s=10)
    await assert_exact(store, bus)


async def test_a_real_stream_that_is_removed_while_the_log_is_quiet_is_filled_again(nats_url: str) -> None:
    store, bus = MemoryEventStore(), JetStreamBus(NatsOptions(servers=(nats_url,)))
    await store.append(run_of("a", 1, 50))
    async with relaying(store, bus, store.leases):
        await caught_up(store, bus)
        await remove_streams(nats_url)
        await caught_up(store, bus, timeout_s=20)
    await assert_exact(store, bus)
    await bus.close()


async def test_a_stream_restored_from_an_old_copy_goes_on_in_its_epoch_with_the_same_sequences() -> None:
    store, bus = MemoryEventStore(), MemoryBus()
    await store.append(run_of("a", 1, 50))
    async with relaying(store, bus, store.leases):
        await caught_up(store, bus)
        copy = await whole_stream(bus)
        await store.append(run_of("a", 51, 50))
        await caught_up(store, bus)
        whole = await whole_stream(bus)
        bus.restore(copy)
        await store.append([event("a", 101)])
        await caught_up(store, bus)
    again = await whole_stream(bus)
    assert list(again[:-1]) == list(whole)
    await assert_exact(store, bus)


async def test_windows_stay_within_their_limits() -> None:
    seen: list[Sequence[Message]] = []

    class Watched(MemoryBus):
        async def publish(self, window: Sequence[Message], *, after: int) -> int:
            seen.append(window)
            return await super().publish(window, after=after)

    store, bus = MemoryEventStore(), Watched()
    for version in range(1, 41):
        await store.append([event("a", version, b"x" * (100_000 if version > 30 else 10))])
    limits = replace(QUICK, window_messages=8, window_bytes=250_000)
    async with relaying(store, bus, store.leases, limits):
        await caught_up(store, bus)
    assert max(len(window) for window in seen) == 8
    assert max(sum(len(m.data) for m in window) for window in seen) <= 250_000
    await assert_exact(store, bus)


async def test_an_event_larger_than_a_small_bus_takes_does_not_stop_the_rest() -> None:
    store, bus = MemoryEventStore(), MemoryBus(max_message_bytes=20_000)
    await store.append([event("a", 1)])
    await store.append([event("a", 2, b"x" * 30_000)])
    await store.append([event("a", 3)])
    async with relaying(store, bus, store.leases):
        await caught_up(store, bus)
    deliveries = [from_message(m) for m in await whole_stream(bus)]
    assert [d.record is None for d in deliveries] == [False, True, False]
    assert [d.previous for d in deliveries] == [0, 1, 2]


async def test_what_the_server_says_of_a_message_in_a_window_is_reported() -> None:
    """JetStream is silent about all but the last of a window; alone, a message hears why."""

    class Choosy(MemoryBus):
        async def publish(self, window: Sequence[Message], *, after: int) -> int:
            if any(m.data == b"bad" for m in window):
                raise WrongSequence("the chain broke") if len(window) > 1 else BusUnavailable("bad is bad")
            return await super().publish(window, after=after)

    store, bus = MemoryEventStore(), Choosy()
    await store.append([event("a", n, b"bad" if n == 50 else b"good") for n in range(1, 101)])
    async with relaying(store, bus, store.leases) as running:
        await running.problem("bad is bad")
    assert [from_message(m).position for m in await whole_stream(bus)] == list(range(1, 50))


async def test_a_stream_that_refuses_for_ever_is_tried_ever_more_slowly() -> None:
    tries = 0

    class Refusing(MemoryBus):
        async def publish(self, window: Sequence[Message], *, after: int) -> int:
            nonlocal tries
            tries += 1
            return await super().publish(window, after=after + 1)

    store, bus = MemoryEventStore(), Refusing()
    await store.append([event("a", 1)])
    async with relaying(store, bus, store.leases) as running:
        await running.problem("times in a row")
        await asyncio.sleep(1)
    assert tries < 20 * 22
