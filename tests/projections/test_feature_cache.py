"""The cache of latest vectors: never behind a notice, never older than its time to live, never too large."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from psycopg import AsyncConnection

from alphapulse.projections.feature_cache import FeatureCache
from alphapulse.projections.features import Features
from alphapulse.projections.notices import Minutes, ReadNotices
from tests.projections.conftest import World
from tests.projections.feature_logs import columns, define, runner, small, supply

V = "venue:V"


class Deaf:
    """Notices that never come."""

    def __init__(self) -> None:
        self.watched: set[str] = set()

    def watch(self, instrument: str, _: Callable[[Minutes | None], None]) -> None:
        self.watched.add(instrument)

    def unwatch(self, instrument: str, _: Callable[[Minutes | None], None]) -> None:
        self.watched.remove(instrument)


class Reads:
    """Connections, counted; ``before`` runs while the first of them is open."""

    def __init__(self, world: World) -> None:
        self.world, self.count = world, 0
        self.after: Callable[[], None] | None = None

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[AsyncConnection[Any]]:
        self.count += 1
        async with await self.world.connect() as db:
            yield db
        if self.after is not None:
            after, self.after = self.after, None
            after()


@asynccontextmanager
async def listening(world: World) -> AsyncIterator[ReadNotices]:
    notices = ReadNotices(world.connect, "features", poll_s=60)
    task = asyncio.create_task(notices.run())
    try:
        yield notices
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def latest_start(cache: FeatureCache) -> int | None:
    found = await cache.latest("small", 1, 1, [V])
    return found[V].start if V in found else None


async def test_once_a_notice_has_arrived_nothing_older_is_served(world: World) -> None:
    """A hundred bars, one commit each: after each notice the cache has the bar, without asking otherwise."""
    await define(world.store, small())
    await supply(world.store, [columns(1, 3)])
    arrived = asyncio.Event()
    async with listening(world) as notices, world.running(runner(world)):
        await world.reach(Features(), await world.store.head())
        reads = Reads(world)
        cache = FeatureCache(reads, notices, ttl_s=3_600)
        notices.watch(V, lambda _: arrived.set())
        await asyncio.sleep(0.2)  # the first poll wakes everybody
        for n in range(18, 34):
            before = await latest_start(cache)
            count = reads.count
            assert await latest_start(cache) == before
            assert reads.count == count
            arrived.clear()
            await supply(world.store, [columns(n, n + 1)])
            await asyncio.wait_for(arrived.wait(), 5)
            assert await latest_start(cache) == int(columns(n, n + 1).start[0]) // 60_000_000_000


async def test_a_notice_that_comes_while_it_reads_makes_it_read_again(world: World) -> None:
    await define(world.store, small())
    await supply(world.store, [columns(1, 3)])
    async with world.running(runner(world)):
        await world.reach(Features(), await world.store.head())
    reads, entries = Reads(world), dict[str, Callable[[Minutes | None], None]]()

    class Held(Deaf):
        def watch(self, instrument: str, wake: Callable[[Minutes | None], None]) -> None:
            entries[instrument] = wake

    cache = FeatureCache(reads, Held(), ttl_s=3_600)
    reads.after = lambda: entries[V](None)
    await latest_start(cache)
    assert reads.count == 2
    await latest_start(cache)
    assert reads.count == 2


async def test_where_notices_are_lost_the_time_to_live_bounds_the_age(world: World) -> None:
    await define(world.store, small())
    await supply(world.store, [columns(1, 3)])
    now = 100.0
    cache = FeatureCache(Reads(world), Deaf(), ttl_s=5, clock=lambda: now)
    async with world.running(runner(world)):
        await world.reach(Features(), await world.store.head())
        old = await latest_start(cache)
        await supply(world.store, [columns(3, 4)])
        await world.reach(Features(), await world.store.head())
        now = 105.0
        assert await latest_start(cache) == old
        now = 105.1
        assert await latest_start(cache) == old + 1  # type: ignore[operator]


async def test_it_keeps_no_more_than_its_limit(world: World) -> None:
    await define(world.store, small())
    async with world.running(runner(world)):
        await world.reach(Features(), await world.store.head())
    notices = Deaf()
    cache = FeatureCache(Reads(world), notices, most=3)
    for n in range(10):
        await cache.latest("small", 1, 1, [f"venue:{n}"])
    assert len(cache) == 3
    assert notices.watched == {"venue:7", "venue:8", "venue:9"}
    assert await cache.latest("small", 1, 1, [f"venue:{n}" for n in range(10)]) == {}
    assert len(cache) == 3
