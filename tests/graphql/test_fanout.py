"""The fan-out over a log in memory: what arrives, in which order, and what a slow member gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from alphapulse.graphql.fanout import Hub, Member, Overrun, Update, Watch

Range = tuple[int, int]


class Numbers:
    """A feed whose log is the numbers 1, 2, 3 …; a payload is the range (previous, position]."""

    def __init__(self, *, conflates: bool, at: int = 0, page: int = 1000) -> None:
        self.conflates = conflates
        self.head = self._told = at
        self.page = page
        self.closed = 0
        self.fails = 0
        self.reads: list[Range] = []
        self._grown = asyncio.Event()

    def grow(self, by: int = 1) -> None:
        self.head += by
        self._grown.set()

    async def start(self) -> int:
        await asyncio.sleep(0)
        return self._told

    async def next(self) -> Update:
        while self._told == self.head:
            self._grown.clear()
            await self._grown.wait()
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the database is away")
        previous, self._told = self._told, self._told + 1
        return _update(previous, self._told)

    async def now(self) -> Update:
        return _update(self._told, self._told)

    async def since(self, after: int, until: int) -> Update:
        await asyncio.sleep(0)
        self.reads.append((after, until))
        return _update(after, self.head if self.conflates else min(until, after + self.page))

    async def close(self) -> None:
        self.closed += 1


def _update(previous: int, position: int) -> Update:
    return Update(previous, position, (previous, position))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Watching:
    """A hub with members that are read by hand."""

    def __init__(self, feed: Numbers, *, queue: int = 4) -> None:
        self.feed, self.hub, self.encoded = feed, Hub(queue), 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Watching":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _encode(self, payload: Range) -> Range:
        self.encoded += 1
        return payload

    async def join(self, after: int | None, group: str = "same") -> AsyncIterator[Range]:
        member: Member[Range] = await self._stack.enter_async_context(
            self.hub.member(Watch("numbers", lambda: self.feed, after), group, self._encode)
        )
        return await self._stack.enter_async_context(aclosing(member.messages()))


async def take(messages: AsyncIterator[Range], until: int) -> list[Range]:
    """Messages up to the one that reaches ``until``."""
    got = []
    async with asyncio.timeout(5):
        async for message in messages:
            got.append(message)
            if message[1] >= until:
                return got
    raise AssertionError(f"the messages ended before {until}: {got}")


def told(messages: list[Range]) -> list[int]:
    return [number for previous, position in messages for number in range(previous + 1, position + 1)]


async def test_whoever_begins_to_watch_first_hears_where_it_is() -> None:
    async with Watching(Numbers(conflates=False, at=7)) as watching:
        member = await watching.join(None)
        assert await anext(member) == (7, 7)
        watching.feed.grow(2)
        assert await take(member, 9) == [(7, 8), (8, 9)]


@pytest.mark.parametrize("after", range(8))
async def test_resuming_tells_each_number_after_the_position_once(after: int) -> None:
    async with Watching(Numbers(conflates=False, at=5, page=2), queue=8) as watching:
        member = await watching.join(after)
        watching.feed.grow(5)
        assert told(await take(member, 10)) == list(range(after + 1, 11))


async def test_a_group_encodes_each_update_once_for_all_its_members() -> None:
    async with Watching(Numbers(conflates=False, at=3)) as watching:
        members = [await watching.join(3) for _ in range(50)]
        waiting = [asyncio.create_task(take(member, 5)) for member in members]
        await settle()
        watching.feed.grow(2)
        assert [told(await task) for task in waiting] == [[4, 5]] * 50
        assert watching.encoded == 2


async def test_groups_never_share_a_message() -> None:
    async with Watching(Numbers(conflates=False)) as watching:
        members = [await watching.join(0, group) for group in ("one scope", "another")]
        waiting = [asyncio.create_task(take(member, 1)) for member in members]
        await settle()
        watching.feed.grow()
        await asyncio.gather(*waiting)
        assert watching.encoded == 2


async def test_a_full_queue_of_a_log_is_given_out_and_then_ends_with_where_to_resume() -> None:
    async with Watching(Numbers(conflates=False), queue=4) as watching:
        member = await watching.join(None)
        await anext(member)
        waiting = asyncio.create_task(anext(member))
        watching.feed.grow()
        await waiting
        for _ in range(5):  # one more than the queue holds
            watching.feed.grow()
            await settle()
        assert [await anext(member) for _ in range(4)] == [(1, 2), (2, 3), (3, 4), (4, 5)]
        with pytest.raises(Overrun) as overrun:
            await anext(member)
        assert overrun.value.position == 5


async def test_a_queue_at_its_limit_still_loses_nothing() -> None:
    async with Watching(Numbers(conflates=False), queue=4) as watching:
        member = await watching.join(None)
        await anext(member)
        waiting = asyncio.create_task(anext(member))
        await settle()
        for _ in range(5):
            watching.feed.grow()
            await settle()
        assert told([await waiting, *await take(member, 5)]) == [1, 2, 3, 4, 5]


async def test_a_slow_member_of_a_feed_that_conflates_gets_the_latest_in_one_message() -> None:
    async with Watching(Numbers(conflates=True), queue=4) as watching:
        member = await watching.join(None)
        await anext(member)
        waiting = asyncio.create_task(anext(member))
        await settle()
        for _ in range(100):
            watching.feed.grow()
            await settle()
        assert await waiting == (0, 1)
        assert await anext(member) == (1, 100)
        assert watching.feed.reads == [(1, 100)]


async def test_a_member_that_catches_up_slower_than_the_log_grows_still_gets_all_of_it() -> None:
    async with Watching(Numbers(conflates=False, at=20, page=3), queue=2) as watching:
        member = await watching.join(0)
        got = []
        while not got or got[-1][1] < 200:
            got.append(await anext(member))
            if watching.feed.head < 200:
                watching.feed.grow(4)
            await settle()
        assert told(got) == list(range(1, 201))


async def test_a_member_ahead_of_the_topic_is_told_only_its_half_of_a_message() -> None:
    feed = Numbers(conflates=False, at=5)
    async with Watching(feed, queue=8) as watching:
        ahead = await watching.join(7)
        feed.grow(5)
        assert told(await take(ahead, 10)) == [8, 9, 10]


@pytest.mark.logs_errors
async def test_a_feed_that_fails_is_read_again_and_nothing_is_lost() -> None:
    feed = Numbers(conflates=False)
    async with Watching(feed) as watching:
        member = await watching.join(0)
        feed.fails = 2
        feed.grow(3)
        assert told(await take(member, 3)) == [1, 2, 3]


async def test_the_last_member_to_leave_closes_the_feed() -> None:
    feed = Numbers(conflates=False)
    async with Watching(feed) as watching:
        await watching.join(0)
        await watching.join(0, "another")
        assert (watching.hub.topics, watching.hub.members, feed.closed) == (1, 2, 0)
    assert (watching.hub.topics, watching.hub.members, feed.closed) == (0, 0, 1)


async def test_a_feed_that_cannot_start_tells_each_member_and_leaves_no_topic() -> None:
    class Broken(Numbers):
        async def start(self) -> int:
            raise ConnectionError("no database at port 1")

    async with Watching(Broken(conflates=False)) as watching:
        for _ in range(2):
            with pytest.raises(ConnectionError, match="port 1"):
                await watching.join(0)
        assert watching.hub.topics == 0


@pytest.mark.logs_errors
async def test_a_message_that_cannot_be_encoded_ends_the_member_where_it_is() -> None:
    feed = Numbers(conflates=False)
    hub = Hub(4)

    def encode(payload: Range) -> Range:
        if payload == (1, 2):
            raise ValueError("no JSON for this")
        return payload

    watch = Watch("numbers", lambda: feed, 0)
    async with hub.member(watch, "group", encode) as member, aclosing(member.messages()) as messages:
        waiting = asyncio.create_task(anext(messages))
        await settle()
        feed.grow(2)
        assert await waiting == (0, 1)
        with pytest.raises(Overrun) as overrun:
            await anext(messages)
        assert overrun.value.position == 1
