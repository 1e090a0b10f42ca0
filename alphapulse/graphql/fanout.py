"""One source, many subscribers: encode an update once per group, keep a bounded queue per member.

A topic reads its feed once. Its members form groups that share document, variables and scopes, so that
each update is encoded once per group and the same text goes to everybody in it. A member is always at
a position; what it misses is read from the feed, never kept for it:

- behind (just joined with ``after``, or its queue ran over on a feed that conflates): it reads what it
  missed from the feed, at the pace of its socket, while the topic already fills its queue again;
- live: it takes from its queue. When that runs over on a feed that does not conflate, the member ends
  with ``Overrun``, which holds the position to resume after.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

log = logging.getLogger("alphapulse.graphql")

Message = TypeVar("Message")

_RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # between attempts to read a feed that fails


@dataclass(frozen=True, slots=True)
class Update:
    """What changed after ``previous``, up to and including ``position``. Nothing follows the last one."""

    previous: int
    position: int
    payload: object
    is_last: bool = False


class Feed(Protocol):
    """What a topic is about. Positions never go back."""

    @property
    def conflates(self) -> bool:
        """True when the latest state makes older updates needless; False when each one counts."""
        ...

    async def start(self) -> int:
        """The position after which ``next`` begins. Called once, before anything else."""
        ...

    async def next(self) -> Update:
        """The next change, as soon as there is one; it follows the one returned last.

        May raise; the topic then calls again after a while, and nothing may be lost by it.
        """
        ...

    async def now(self) -> Update:
        """What somebody who begins to watch sees first; ``previous`` equals ``position``."""
        ...

    async def since(self, after: int, until: int) -> Update:
        """What somebody at ``after`` (< ``until``) misses.

        A feed that conflates reaches ``until`` or further in one update. Another one reaches at most
        ``until``, and may stop earlier when that would be too much for one update.
        """
        ...

    async def close(self) -> None:
        """Nobody watches any more."""
        ...


class Overrun(Exception):
    """The member took too little for too long. ``position`` is where it can resume."""

    def __init__(self, position: int) -> None:
        super().__init__(f"more than the queue holds came after position {position}: resume after it")
        self.position = position


@dataclass(frozen=True, slots=True)
class Watch:
    """What a subscriber asks for. ``topic`` names the feed that ``open`` makes when nobody has it yet."""

    topic: Hashable
    open: Callable[[], Feed]
    after: int | None


class Stream:
    """What a subscription resolver returns: our transport shares the watch, any other can iterate."""

    def __init__(self, hub: "Hub", watch: Watch) -> None:
        self.hub, self.watch = hub, watch

    async def __aiter__(self) -> AsyncIterator[Any]:
        alone = object()
        async with (
            self.hub.member(self.watch, alone, lambda payload: payload) as member,
            aclosing(member.messages()) as messages,
        ):
            async for payload in messages:
                yield payload


class Hub:
    """The topics of one process. Everything runs in one event loop."""

    def __init__(self, queue_messages: int) -> None:
        self._queue_messages = queue_messages
        self._topics: dict[Hashable, _Topic] = {}

    @asynccontextmanager
    async def member(
        self, watch: Watch, group: Hashable, encode: Callable[[Any], Message]
    ) -> AsyncIterator["Member[Message]"]:
        """A member of ``watch.topic``; ``encode`` serves everybody of the same ``group``."""
        topic = self._topics.get(watch.topic)
        if topic is None or topic.closed:
            topic = self._topics[watch.topic] = _Topic(watch.open())
        topic.users += 1
        try:
            await topic.started()
            member = Member(topic, watch, encode, self._queue_messages)
            topic.join(group, encode, member)
            try:
                yield member
            finally:
                topic.leave(group, member)
        finally:
            topic.users -= 1
            if not topic.users:
                if self._topics.get(watch.topic) is topic:
                    del self._topics[watch.topic]
                await topic.close()

    @property
    def topics(self) -> int:
        return len(self._topics)

    @property
    def members(self) -> int:
        return sum(topic.users for topic in self._topics.values())


class _Group(Generic[Message]):
    def __init__(self, encode: Callable[[Any], Message]) -> None:
        self.encode = encode
        self.members: set[Member[Message]] = set()

    def publish(self, update: Update) -> None:
        try:
            message = self.encode(update.payload)
        except Exception:
            log.exception("an update up to position %d cannot be encoded", update.position)
            for member in self.members:
                member.lose()  # each meets the error by itself when it reads what it missed
        else:
            for member in self.members:
                member.offer(update.previous, update.position, message)


class _Topic:
    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.position = 0
        self.end: int | None = None  # the position after which nothing comes
        self.users = 0
        self.closed = False
        self._groups: dict[Hashable, _Group[Any]] = {}
        self._starting = asyncio.create_task(self._start())
        self._running: asyncio.Task[None] | None = None

    async def started(self) -> None:
        """Return once the topic has a position. The first of several waiters may be cancelled."""
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        try:
            self.position = await self.feed.start()
        except BaseException:
            self.closed = True
            raise
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                update = await self.feed.next()
                failures = 0
            except Exception:
                log.exception("a feed fails at position %d; reading it again", self.position)
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
                continue
            self.position = update.position
            self.end = update.position if update.is_last else None
            for group in list(self._groups.values()):
                group.publish(update)
            if update.is_last:
                return

    def join(self, key: Hashable, encode: Callable[[Any], Message], member: "Member[Message]") -> None:
        self._groups.setdefault(key, _Group(encode)).members.add(member)

    def leave(self, key: Hashable, member: "Member[Any]") -> None:
        group = self._groups[key]
        group.members.discard(member)
        if not group.members:
            del self._groups[key]

    async def close(self) -> None:
        self.closed = True
        for task in (self._starting, self._running):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        await self.feed.close()


class Member(Generic[Message]):
    """One subscriber: where it is, and what waits for it. ``messages`` is for one use."""

    def __init__(self, topic: _Topic, watch: Watch, encode: Callable[[Any], Message], limit: int) -> None:
        self._topic, self._feed, self._encode, self._limit = topic, topic.feed, encode, limit
        self._from_now = watch.after is None
        self.position = topic.position if watch.after is None else watch.after
        self._queue: deque[tuple[int, int, Message]] = deque()
        self._ready = asyncio.Event()
        self._behind = True
        self._overrun = False

    def offer(self, previous: int, position: int, message: Message) -> None:
        """Queue a message; when there is no room, forget what the feed can tell again, else stop here."""
        if self._overrun:
            return
        if len(self._queue) < self._limit:
            self._queue.append((previous, position, message))
            self._ready.set()
        else:
            self.lose()

    def lose(self) -> None:
        """Take no more messages: the next one would not follow."""
        self._overrun = True
        if self._behind or self._feed.conflates:
            self._queue.clear()
        self._ready.set()

    async def messages(self) -> AsyncGenerator[Message, None]:
        """What the member gets, in order, up to the last update of a feed that has one.

        Raises:
            Overrun: see the module; all that was queued before has been given out.
        """
        if self._from_now:
            now = await self._feed.now()
            self.position = now.position
            yield self._encode(now.payload)
        while not self._is_over:
            self._behind, self._overrun = True, False
            self._queue.clear()
            async for message in self._missed(self._topic.position):
                yield message
            if self._overrun:
                continue  # the queue ran over meanwhile: the feed has it
            self._behind = False
            async for message in self._live():
                yield message
            if not self._feed.conflates and not self._is_over:
                raise Overrun(self.position)

    @property
    def _is_over(self) -> bool:
        return self._topic.end is not None and self.position >= self._topic.end

    async def _missed(self, until: int) -> AsyncIterator[Message]:
        while self.position < until:
            update = await self._feed.since(self.position, until)
            self.position = update.position
            yield self._encode(update.payload)

    async def _live(self) -> AsyncIterator[Message]:
        """Messages from the queue until it has run over, or the last one is out."""
        while self._queue or not (self._overrun or self._is_over):
            if not self._queue:
                self._ready.clear()
                await self._ready.wait()
                continue
            previous, position, message = self._queue.popleft()
            if previous < position <= self.position:
                continue  # known; but what moves no position is news of another kind
            if previous < self.position and not self._feed.conflates:
                async for own in self._missed(position):  # half of the message is known already
                    yield own
                continue
            assert previous <= self.position, f"{previous} follows {self.position}: a message is missing"
            self.position = max(position, self.position)
            yield message
