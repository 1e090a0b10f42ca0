"""A subscriber that is cut off at any moment and resumes is told everything, once, in order."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.market.events import FeedConnected, WatermarkPassed
from alphapulse.domain.ports import NewEvent, Recorded
from alphapulse.graphql.event_feed import EventFeed
from alphapulse.graphql.fanout import Hub, Overrun, Stream, Watch
from tests.adapters.store.events import event
from tests.machines import AsyncMachine, run_machine

STREAM = "feed-test-X"
WATERMARK = "feed.watermark_passed.v1"
KINDS = ("wanted", "wanted", "wanted", "of another name", "not kept", "damaged")
Told = tuple[int, int, tuple[int, ...]]  # after which position, up to which, the events between


class ResumeMachine(AsyncMachine):
    """One subscriber that counts, and others that come and go, so that the feed starts and stops."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryEventStore()
        self.hub = Hub(queue_messages=2)
        self.wanted: list[int] = []
        self.told: list[int] = []
        self.after = 0
        self.own: AsyncGenerator[Told, None] | None = None
        self.others: list[AsyncGenerator[Told, None]] = []

    def teardown(self) -> None:
        self.do(self._to_the_end())
        assert self.told == self.wanted
        for other in self.others:
            self.do(other.aclose())
        if self.own:
            self.do(self.own.aclose())
        assert (self.hub.topics, self.hub.members) == (0, 0)
        super().teardown()

    def feed(self) -> EventFeed:
        def keep(recorded: Recorded) -> bool:
            return bool(recorded.event.time >= 0)

        def render(previous: int, position: int, events: Sequence[Recorded]) -> Told:
            return previous, position, tuple(each.position for each in events)

        return EventFeed(self.store, codec.decode, (WATERMARK,), keep, render)

    def stream(self, after: int | None) -> AsyncGenerator[Told, None]:
        return Stream(self.hub, Watch("topic", self.feed, after)).__aiter__()  # type: ignore[return-value]

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5), pauses=st.integers(0, 4))
    def append(self, kinds: Sequence[str], pauses: int) -> None:
        self.do(self._append(kinds, pauses))

    async def _append(self, kinds: Sequence[str], pauses: int) -> None:
        version = await self.store.version(STREAM)
        events = [_event(kind, version + n) for n, kind in enumerate(kinds, start=1)]
        for kind, record in zip(kinds, await self.store.append(events), strict=True):
            if kind == "wanted":
                self.wanted.append(record.position)
        for _ in range(pauses):
            await asyncio.sleep(0)

    @precondition(lambda self: len(self.told) < len(self.wanted))
    @rule()
    def take(self) -> None:
        """There is something to be told: it comes."""
        self.do(self._take())

    async def _take(self) -> None:
        if self.own is None:
            self.own = self.stream(self.after)
        [answer] = await asyncio.gather(anext(self.own), return_exceptions=True)
        if isinstance(answer, Overrun):
            assert answer.position == self.after
            self.own = None
        else:
            assert isinstance(answer, tuple), answer
            self.heard(answer)

    def heard(self, update: Told) -> None:
        previous, position, events = update
        assert previous <= self.after <= position
        self.told += events
        self.after = position
        assert self.told == self.wanted[: len(self.told)]

    @rule(pauses=st.integers(0, 12))
    def cut(self, pauses: int) -> None:
        """In the midst of waiting, or of a message that then never comes."""
        self.do(self._cut(pauses))

    async def _cut(self, pauses: int) -> None:
        own, self.own = self.own or self.stream(self.after), None
        waiting = asyncio.ensure_future(anext(own))
        for _ in range(pauses):
            await asyncio.sleep(0)
        waiting.cancel()
        [answer] = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(answer, tuple):
            self.heard(answer)
        await own.aclose()

    @rule(after=st.none() | st.integers(0, 3))
    def another_comes(self, after: int | None) -> None:
        head = self.do(self.store.head())
        self.others.append(self.stream(None if after is None else min(after, head)))
        if after is None or self.wanted[-1:] > [min(after, head)]:
            self.do(anext(self.others[-1]))  # type: ignore[arg-type]

    @precondition(lambda self: self.others)
    @rule()
    def another_goes(self) -> None:
        self.do(self.others.pop(0).aclose())

    async def _to_the_end(self) -> None:
        while len(self.told) < len(self.wanted):
            await self._take()


def _event(kind: str, version: int) -> NewEvent:
    where: dict[str, Any] = {"venue": "test", "symbol": "X"}
    match kind:
        case "wanted":
            return codec.new_event(STREAM, version, WatermarkPassed(**where, time=version))
        case "not kept":
            return codec.new_event(STREAM, version, WatermarkPassed(**where, time=-version))
        case "damaged":
            return event(STREAM, version, b"{", name=WATERMARK)
        case _:
            return codec.new_event(STREAM, version, FeedConnected(**where, time=version))


@pytest.mark.logs_errors
def test_whoever_is_cut_and_resumes_is_told_everything_once_and_in_order() -> None:
    run_machine(ResumeMachine, examples=40, steps=40)
