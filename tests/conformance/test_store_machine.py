"""Whatever is done to a store and its leases, in whatever order, it answers as a plain list would."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import (
    Fence,
    FencedOut,
    NewEvent,
    StoredRecord,
    VersionConflict,
    partition_of,
)
from tests import servers
from tests.adapters.store.events import event
from tests.conformance.appending import appending
from tests.machines import AsyncMachine, run_machine

STREAMS = ("trades-a-X", "trades-b-Y", "signal-1")
LONG_S, SHORT_S = 3_000.0, 0.02

streams = st.sampled_from(STREAMS)
backs = st.sampled_from([0, 0, 0, 1, 2, -1])  # how many epochs a holder is behind
# Which stream, how far from the version that it wants, which payload, and whose id: a new one or a known one.
wishes = st.tuples(
    streams,
    st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]),
    st.binary(max_size=3),
    st.none() | st.none() | st.none() | st.integers(0, 50),
    st.none() | st.tuples(st.integers(-9, 30), st.integers(0, 5)),
)


class StoreMachine(AsyncMachine):
    """The list is ``log``; a lease is (holder, epoch, whether it has run out)."""

    def __init__(self) -> None:
        super().__init__()
        self.exits = AsyncExitStack()
        self.log: list[StoredRecord] = []
        self.leases: dict[str, tuple[str, int, bool]] = {}
        self.epochs: list[int] = []
        self.ids = 0
        self.store: Any = self.do(self.opened())

    async def opened(self) -> Any:
        raise NotImplementedError

    async def pass_time(self) -> None:
        """SHORT_S and more."""
        await asyncio.sleep(3 * SHORT_S)

    def teardown(self) -> None:
        self.do(self.exits.aclose())
        super().teardown()

    # -- what the list says --------------------------------------------------------------------

    def version(self, stream: str) -> int:
        return sum(record.stream == stream for record in self.log)

    def made(self, wanted: Sequence[Any]) -> list[NewEvent]:
        following = {stream: self.version(stream) for stream in STREAMS}
        events = []
        for stream, off, state, known, bounds in wanted:
            following[stream] += 1
            self.ids += 1
            event_id = UUID(int=self.ids)
            if known is not None and self.log:
                event_id = self.log[known % len(self.log)].envelope.event_id
            lo, hi = (None, None) if bounds is None else (bounds[0], bounds[0] + bounds[1])
            version = max(1, following[stream] + off)
            events.append(event(stream, version, state, event_id=event_id, id_lo=lo, id_hi=hi))
        return events

    def held(self, fence: Fence) -> bool:
        return fence.lease in self.leases and self.leases[fence.lease][1] == fence.epoch

    def verdict(self, events: Sequence[NewEvent], fence: Fence | None) -> object:
        """The records of a repeat, an exception, or None: they are new."""
        if fence and not self.held(fence):
            return FencedOut
        known = {(r.stream, r.version, r.envelope.event_id, r.state, r.name): r for r in self.log}
        found = [known.get((e.stream, e.version, e.envelope.event_id, e.state, e.name)) for e in events]
        if all(found):
            return found
        following = {stream: self.version(stream) for stream in STREAMS}
        ids = {record.envelope.event_id for record in self.log}
        for each in events:
            following[each.stream] += 1
            if each.version != following[each.stream] or each.envelope.event_id in ids:
                return VersionConflict
            ids.add(each.envelope.event_id)
        return None

    # -- what is done --------------------------------------------------------------------------

    @initialize(stream=streams)
    def begin(self, stream: str) -> None:
        """Most of what follows needs something to stand on."""
        self.append([(stream, 0, b"", None, None)] * 2, None)

    @rule(wanted=st.lists(wishes, min_size=1, max_size=4), back=st.none() | st.none() | backs)
    def append(self, wanted: Sequence[Any], back: int | None) -> None:
        self.send(self.made(wanted), None if back is None else self.fence(back))

    @rule(first=st.integers(0, 100), count=st.integers(1, 3), more=st.lists(wishes, max_size=1))
    def send_again(self, first: int, count: int, more: Sequence[Any]) -> None:
        """What was stored, perhaps with something new behind it."""
        first %= len(self.log)
        again = [NewEvent(**{f: getattr(r, f) for f in NewEvent.__struct_fields__}) for r in self.log]
        self.send([*again[first : first + count], *self.made(more)], None)

    def send(self, events: Sequence[NewEvent], fence: Fence | None) -> None:
        wanted = self.verdict(events, fence)
        if isinstance(wanted, type):
            with pytest.raises(wanted):
                self.do(self.store.append(events, fence=fence))
            return
        records = list(self.do(self.store.append(events, fence=fence)))
        if wanted is not None:
            assert records == wanted
            return
        assert [(r.stream, r.version, r.state) for r in records] == [
            (e.stream, e.version, e.state) for e in events
        ]
        self.log += records
        positions = [record.position for record in self.log]
        assert positions == sorted(set(positions))
        times = [record.recorded_at for record in self.log]
        assert times == sorted(times)

    @rule(holder=st.sampled_from(["one", "two"]), is_short=st.booleans())
    def acquire(self, holder: str, is_short: bool) -> None:
        fence = self.do(self._acquire(holder, is_short))
        owner, epoch, is_over = self.leases.get("l", ("", 0, True))
        if owner != holder and not is_over:
            assert fence is None
            return
        assert fence == Fence("l", epoch + 1)
        assert fence.epoch not in self.epochs, "an epoch came back"
        self.epochs.append(fence.epoch)
        self.leases["l"] = (holder, fence.epoch, is_short)

    async def _acquire(self, holder: str, is_short: bool) -> Fence | None:
        fence: Fence | None = await self.store.leases.acquire("l", holder, SHORT_S if is_short else LONG_S)
        if is_short:
            await self.pass_time()
        return fence

    def fence(self, back: int) -> Fence:
        return Fence("l", max(1, self.leases.get("l", ("", 1, True))[1] - back))

    @rule(back=backs, is_short=st.booleans())
    def renew(self, back: int, is_short: bool) -> None:
        fence = self.fence(back)
        assert self.do(self._renew(fence, is_short)) == self.held(fence)
        if self.held(fence):
            self.leases["l"] = (self.leases["l"][0], fence.epoch, is_short)

    async def _renew(self, fence: Fence, is_short: bool) -> bool:
        renewed = bool(await self.store.leases.renew(fence, SHORT_S if is_short else LONG_S))
        if is_short:
            await self.pass_time()
        return renewed

    @rule(back=backs)
    def release(self, back: int) -> None:
        fence = self.fence(back)
        self.do(self.store.leases.release(fence))
        if self.held(fence):
            self.leases["l"] = ("", fence.epoch + 1, True)
            self.epochs.append(fence.epoch + 1)

    # -- what is asked -------------------------------------------------------------------------

    @rule(
        after=st.integers(0, 60),
        until=st.none() | st.integers(0, 80),
        limit=st.integers(1, 9),
        names=st.none() | st.just(("test.happened.v1",)) | st.just(("none",)),
        of=st.none() | st.lists(streams, min_size=1, max_size=2, unique=True),
        partition=st.none() | st.tuples(st.integers(0, 1), st.just(2)),
    )
    def read(self, after: int, until: int | None, limit: int, names: Any, of: Any, partition: Any) -> None:
        asked = {"names": names, "streams": of, "partition": partition}
        page = self.do(self.store.read(after, until=until, limit=limit, **asked))
        every = [
            r
            for r in self.log
            if r.position > after
            and (until is None or r.position <= until)
            and (names is None or r.name in names)
            and (of is None or r.stream in of)
            and (partition is None or partition_of(r.stream, partition[1]) == partition[0])
        ]
        assert list(page.records) == every[:limit]
        missing = [r.position for r in every[limit:] if r.position <= page.scanned_to]
        assert not missing, "the page says that it looked further than it did"

    @rule(stream=streams, after=st.integers(0, 9), limit=st.integers(1, 5))
    def read_stream(self, stream: str, after: int, limit: int) -> None:
        found = self.do(self.store.read_stream(stream, after=after, limit=limit))
        assert list(found) == [r for r in self.log if r.stream == stream and r.version > after][:limit]

    @rule(stream=streams, lo=st.integers(-10, 40), width=st.integers(0, 9))
    def overlapping(self, stream: str, lo: int, width: int) -> None:
        found = self.do(self.store.overlapping(stream, lo, lo + width))
        assert list(found) == [
            r
            for r in self.log
            if r.stream == stream and r.id_lo is not None and r.id_lo <= lo + width and (r.id_hi or 0) >= lo
        ]

    @rule(prefix=st.sampled_from(["", "trades-", "trades-a-X", "trades-a-XX", "zzz"]))
    def streams_of(self, prefix: str) -> None:
        held = sorted({r.stream for r in self.log if r.stream.startswith(prefix)})
        assert list(self.do(self.store.streams(prefix))) == held

    @precondition(lambda self: self.log)
    @rule(place=st.integers(0, 100), microseconds=st.sampled_from([-1, 0, 1]))
    def position_at(self, place: int, microseconds: int) -> None:
        moment = self.log[place % len(self.log)].recorded_at + timedelta(microseconds=microseconds)
        wanted = max((r.position for r in self.log if r.recorded_at <= moment), default=0)
        assert self.do(self.store.position_at(moment)) == wanted

    @invariant()
    def ends_as_the_list_does(self) -> None:
        head = self.do(self.store.head())
        assert head == (self.log[-1].position if self.log else 0)
        for stream in STREAMS:
            assert self.do(self.store.version(stream)) == self.version(stream)


class MemoryMachine(StoreMachine):
    """Time passes when the machine says so."""

    async def opened(self) -> MemoryEventStore:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        return MemoryEventStore(clock=lambda: self.now)

    async def pass_time(self) -> None:
        self.now += timedelta(seconds=1)


class AppenderMachine(StoreMachine):
    async def opened(self) -> Any:
        return await self.exits.enter_async_context(appending())


def test_the_twin_in_memory_answers_as_a_list_would() -> None:
    run_machine(MemoryMachine, examples=25, steps=40)


def test_the_appender_over_the_twin_answers_as_a_list_would() -> None:
    run_machine(AppenderMachine, examples=10, steps=25)


def test_postgresql_answers_as_a_list_would(migrated_postgres: PostgresServer) -> None:
    class PostgresMachine(StoreMachine):
        async def opened(self) -> PostgresEventStore:
            url = self.exits.enter_context(servers.fresh_database(migrated_postgres))
            return await self.exits.enter_async_context(PostgresEventStore(url))

    run_machine(PostgresMachine, examples=8, steps=30)
