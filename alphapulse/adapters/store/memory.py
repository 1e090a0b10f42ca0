"""The event store's twin in memory: the same rules, for tests and simulations; nothing outlives it.

Time comes from ``clock``. ``fail`` is asked before and after every effect and may raise StoreUnavailable:
a fault after the commit is the reply that was lost.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from alphapulse.adapters.store.leases import check_duration
from alphapulse.adapters.store.limits import MAX_PAGE_BYTES, check_group, check_limit
from alphapulse.adapters.store.statements import Group, Outcome, same_event, stored
from alphapulse.domain.ports import (
    Fence,
    FencedOut,
    NewEvent,
    Page,
    StoredRecord,
    VersionConflict,
    partition_of,
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Lease:
    holder: str
    epoch: int
    expires_at: datetime


class MemoryLeases:
    def __init__(self, clock: Callable[[], datetime] = _utc_now) -> None:
        self._clock = clock
        self._leases: dict[str, _Lease] = {}

    async def acquire(self, lease: str, holder: str, duration_s: float) -> Fence | None:
        check_duration(duration_s)
        now, held = self._clock(), self._leases.get(lease)
        if held and held.holder != holder and held.expires_at > now:
            return None
        epoch = held.epoch + 1 if held else 1
        self._leases[lease] = _Lease(holder, epoch, now + timedelta(seconds=duration_s))
        return Fence(lease, epoch)

    async def renew(self, fence: Fence, duration_s: float) -> bool:
        check_duration(duration_s)
        if self.is_held(fence):
            self._leases[fence.lease].expires_at = self._clock() + timedelta(seconds=duration_s)
            return True
        return False

    async def release(self, fence: Fence) -> None:
        if self.is_held(fence):
            held = self._leases[fence.lease]
            held.epoch += 1
            held.expires_at = datetime.min.replace(tzinfo=UTC)

    def is_held(self, fence: Fence) -> bool:
        held = self._leases.get(fence.lease)
        return held is not None and held.epoch == fence.epoch


class MemoryEventStore:
    def __init__(
        self,
        clock: Callable[[], datetime] = _utc_now,
        fail: Callable[[str], None] = lambda _: None,  # told "before append", "after append", "read"
    ) -> None:
        self._clock = clock
        self._fail = fail
        self.leases = MemoryLeases(clock)
        self._log: list[StoredRecord] = []  # position p at index p - 1: nothing here rolls back
        self._streams: defaultdict[str, list[StoredRecord]] = defaultdict(list)
        self._event_ids: set[UUID] = set()
        self._grown = asyncio.Event()

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        check_group(events)
        self._fail("before append")
        await asyncio.sleep(0)  # others run while a real store would wait; from here on nothing does
        if not events:
            return []
        if fence and not self.leases.is_held(fence):
            raise FencedOut(f"lease {fence.lease}, epoch {fence.epoch}")
        records = self._repeat_of(events) or self._commit(events)
        self._fail("after append")
        return records

    def commit(self, groups: Sequence[Group]) -> Sequence[Outcome]:
        """What ``log_append`` does with ``groups``, at once: each stands or falls by itself."""
        return [outcome for events, fence in groups for outcome in self._outcomes(events, fence)]

    def held(self, event: NewEvent) -> StoredRecord | None:
        """The log's record of exactly this event."""
        found = self._stream(event.stream)[event.version - 1 :][:1]
        return found[0] if found and same_event(event, found[0]) else None

    async def read(
        self,
        after: int,
        *,
        until: int | None = None,
        limit: int = 500,
        names: Sequence[str] | None = None,
        streams: Sequence[str] | None = None,
        partition: tuple[int, int] | None = None,
    ) -> Page:
        check_limit(limit)
        self._fail("read")
        end = min(len(self._log), len(self._log) if until is None else until)
        records: list[StoredRecord] = []
        size = 0
        for record in self._log[max(after, 0) : max(end, 0)]:
            if not _wanted(record, names, streams, partition):
                continue
            if len(records) == limit or (records and size >= MAX_PAGE_BYTES):
                return Page(records, records[-1].position)
            records.append(record)
            size += len(record.state)
        return Page(records, max(end, after))

    async def read_stream(self, stream: str, *, after: int = 0, limit: int = 500) -> Sequence[StoredRecord]:
        check_limit(limit)
        self._fail("read")
        return self._stream(stream)[max(after, 0) :][:limit]

    async def overlapping(self, stream: str, id_lo: int, id_hi: int) -> Sequence[StoredRecord]:
        self._fail("read")
        return [
            r
            for r in self._stream(stream)
            if r.id_lo is not None and r.id_hi is not None and r.id_hi >= id_lo and r.id_lo <= id_hi
        ]

    async def streams(self, prefix: str) -> Sequence[str]:
        self._fail("read")
        return sorted(s for s, records in self._streams.items() if records and s.startswith(prefix))

    async def version(self, stream: str) -> int:
        self._fail("read")
        return len(self._stream(stream))

    async def head(self) -> int:
        self._fail("read")
        return len(self._log)

    async def position_at(self, recorded_at: datetime) -> int:
        self._fail("read")
        return sum(record.recorded_at <= recorded_at for record in self._log)

    async def changed(self, after: int, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len(self._log) <= after:
                    await self._grown.wait()

    def _outcomes(self, events: Sequence[NewEvent], fence: Fence | None) -> Sequence[Outcome]:
        if fence and not self.leases.is_held(fence):
            return [Outcome("fenced", None, None, f"lease {fence.lease}, epoch {fence.epoch}")] * len(events)
        if repeat := self._repeat_of(events):
            return [Outcome("repeat", r.position, r.recorded_at, None) for r in repeat]
        try:
            return [Outcome("stored", r.position, r.recorded_at, None) for r in self._commit(events)]
        except VersionConflict as conflict:
            return [Outcome("conflict", None, None, str(conflict))] * len(events)

    def _stream(self, stream: str) -> Sequence[StoredRecord]:
        return self._streams.get(stream, [])

    def _repeat_of(self, events: Sequence[NewEvent]) -> Sequence[StoredRecord] | None:
        """The records of the first time, when every one of ``events`` is in the log already."""
        held = [found for event in events if (found := self.held(event))]
        return held if len(held) == len(events) else None

    def _commit(self, events: Sequence[NewEvent]) -> Sequence[StoredRecord]:
        self._check_versions(events)
        last_at = self._log[-1].recorded_at if self._log else datetime.min.replace(tzinfo=UTC)
        now, first = max(self._clock(), last_at), len(self._log) + 1
        records = [stored(event, first + i, now) for i, event in enumerate(events)]
        self._log += records
        for record in records:
            self._streams[record.stream].append(record)
            self._event_ids.add(record.envelope.event_id)
        self._grown.set()
        self._grown = asyncio.Event()
        return records

    def _check_versions(self, events: Sequence[NewEvent]) -> None:
        following: dict[str, int] = {}
        ids = set(self._event_ids)
        for event in events:
            wanted = following.get(event.stream, len(self._stream(event.stream)) + 1)
            if event.version != wanted:
                raise VersionConflict(
                    f"stream {event.stream} wants version {wanted} next, not {event.version}"
                )
            following[event.stream] = wanted + 1
            if event.envelope.event_id in ids:
                raise VersionConflict(f"event id {event.envelope.event_id} is taken")
            ids.add(event.envelope.event_id)


def _wanted(
    record: StoredRecord,
    names: Sequence[str] | None,
    streams: Sequence[str] | None,
    partition: tuple[int, int] | None,
) -> bool:
    return (
        (names is None or record.name in names)
        and (streams is None or record.stream in streams)
        and (partition is None or partition_of(record.stream, partition[1]) == partition[0])
    )


class MemoryCommitting:
    """A connection for an appender to the log of ``store``, which never fails by itself."""

    def __init__(self, store: MemoryEventStore) -> None:
        self._store = store
        self.closed = False

    async def commit(self, groups: Sequence[Group]) -> Sequence[Outcome]:
        await asyncio.sleep(0)  # others run while a real server would be waited for
        return self._store.commit(groups)

    async def held(self, event: NewEvent) -> StoredRecord | None:
        await asyncio.sleep(0)
        return self._store.held(event)

    async def close(self) -> None:
        self.closed = True
