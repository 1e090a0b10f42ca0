"""Group commit: whatever is waiting goes into one call of ``log_append``, which is one commit.

No timer: a lone event is sent at once, and what arrives while a commit is under way shares the next
one. Each caller's events stand or fall on their own. A connection that dies during a commit leaves it
open whether it happened; ``log_append`` answers a repeat with the first positions, so sending the same
again settles it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import psycopg

from alphapulse.adapters.store import statements
from alphapulse.adapters.store.committing import Committing, Open
from alphapulse.adapters.store.connections import PASSING
from alphapulse.adapters.store.limits import MAX_COMMIT_BYTES, MAX_COMMIT_EVENTS, check_group
from alphapulse.adapters.store.statements import Outcome
from alphapulse.domain.ports import (
    Fence,
    FencedOut,
    NewEvent,
    StoredRecord,
    StoreUnavailable,
    VersionConflict,
)

MAX_WAITING_BYTES = 32_000_000  # of all states in the queue; then append() waits for room
MAX_WAITING_GROUPS = 10_000
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.02, 1.0  # between attempts to reach the database


@dataclass(eq=False, slots=True)
class _Waiting:
    """One caller's events and where the caller waits."""

    events: Sequence[NewEvent]
    fence: Fence | None
    size: int
    answer: asyncio.Future[Sequence[StoredRecord]] = field(repr=False)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        if self.answer.done():  # the caller has given up
            return
        first = outcomes[0]
        if first.outcome == "conflict":
            self.answer.set_exception(VersionConflict(first.detail))
        elif first.outcome == "fenced":
            self.answer.set_exception(FencedOut(first.detail))
        else:
            self.answer.set_result(
                [
                    statements.stored(event, o.position, o.recorded_at)
                    for event, o in zip(self.events, outcomes, strict=True)
                    if o.position is not None and o.recorded_at is not None
                ]
            )

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Appender:
    """The one writer of a process. ``open_`` gives a connection of its own to the log."""

    def __init__(
        self,
        open_: Open,
        *,
        timeout_s: float = 30.0,
        on_commit: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._open = open_
        self._timeout_s = timeout_s
        self._on_commit = on_commit
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._connection: Committing | None = None
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._last_error: BaseException | None = None

    async def append(self, events: Sequence[NewEvent], fence: Fence | None = None) -> Sequence[StoredRecord]:
        """Commit ``events`` together; see EventStore.append. A cancelled call may still commit."""
        if not events:
            return []
        size = check_group(events)
        waiting = _Waiting(events, fence, size, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._enqueue(waiting)
                return await waiting.answer
        except TimeoutError:
            reason = f"no commit within {self._timeout_s} s; last error: {self._last_error!r}"
            raise StoreUnavailable(reason) from self._last_error

    async def close(self) -> None:
        """Commit what is waiting, as far as the time allows, and hang up."""
        self._closed = True
        self._arrived.set()
        self._room.set()
        if self._worker is not None:
            await asyncio.wait({self._worker}, timeout=self._timeout_s)
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker
        for waiting in self._waiting:
            waiting.fail(StoreUnavailable("closed before the commit"))
        await self._hang_up()

    async def _enqueue(self, waiting: _Waiting) -> None:
        while not self._closed and self._is_full(waiting.size):
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise StoreUnavailable("this appender is closed")
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="appender")
        self._waiting.append(waiting)
        self._waiting_bytes += waiting.size
        self._arrived.set()

    def _is_full(self, size: int) -> bool:
        return bool(self._waiting) and (
            self._waiting_bytes + size > MAX_WAITING_BYTES or len(self._waiting) >= MAX_WAITING_GROUPS
        )

    async def _work(self) -> None:
        while self._waiting or not self._closed:
            await self._arrived.wait()
            self._arrived.clear()
            while batch := self._take():
                try:
                    await self._commit(batch)
                except Exception as error:  # a bug of ours must not leave callers waiting
                    for waiting in batch:
                        waiting.fail(error)

    def _take(self) -> Sequence[_Waiting]:
        """As many of the waiting as one commit may hold, at least one; those given up are dropped."""
        batch: list[_Waiting] = []
        size = count = 0
        while self._waiting:
            first = self._waiting[0]
            if batch and (
                size + first.size > MAX_COMMIT_BYTES or count + len(first.events) > MAX_COMMIT_EVENTS
            ):
                break
            self._waiting.popleft()
            self._waiting_bytes -= first.size
            if not first.answer.done():
                batch.append(first)
                size += first.size
                count += len(first.events)
        self._room.set()
        return batch

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Settle every one of ``batch``; those whose callers gave up meanwhile are left out of repeats."""
        pause, in_doubt = _FIRST_PAUSE_S, False
        while live := [waiting for waiting in batch if not waiting.answer.done()]:
            try:
                async with asyncio.timeout(self._timeout_s):
                    outcomes = await self._call(live, in_doubt)
            except psycopg.errors.ProgramLimitExceeded as error:  # psycopg counts it among the passing
                await self._commit_apart(live, error)
            except PASSING as error:
                self._last_error = error
                in_doubt = True
                await self._hang_up()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE_S)
            except psycopg.Error as error:
                await self._commit_apart(live, error)
            else:
                self._settle(live, outcomes)
                return

    async def _call(self, live: Sequence[_Waiting], in_doubt: bool) -> Sequence[Outcome]:
        if self._connection is None or self._connection.closed:
            self._connection = await self._open()
        outcomes = await self._connection.commit([(waiting.events, waiting.fence) for waiting in live])
        if in_doubt and any(o.outcome == "fenced" for o in outcomes):
            return await self._look_behind_fences(self._connection, live, outcomes)
        return outcomes

    async def _look_behind_fences(
        self, connection: Committing, live: Sequence[_Waiting], outcomes: Sequence[Outcome]
    ) -> Sequence[Outcome]:
        """The attempt before may have committed while the lease was still ours: then it is no failure."""
        settled: list[Outcome] = []
        for waiting, own in _by_group(live, outcomes):
            found = [await connection.held(event) for event in waiting.events]
            if own[0].outcome == "fenced" and all(found):
                settled += [Outcome("repeat", f.position, f.recorded_at, None) for f in found if f]
            else:
                settled += own
        return settled

    async def _commit_apart(self, live: Sequence[_Waiting], error: psycopg.Error) -> None:
        """PostgreSQL refused the whole call for the sake of one: find out whose fault it is."""
        if len(live) == 1:
            live[0].fail(error)
        else:
            for waiting in live:
                await self._commit([waiting])

    def _settle(self, live: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        for waiting, own in _by_group(live, outcomes):
            waiting.settle(own)
        self._on_commit(max((o.position for o in outcomes if o.position is not None), default=0))

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                await connection.close()


def _by_group(
    live: Sequence[_Waiting], outcomes: Sequence[Outcome]
) -> Iterator[tuple[_Waiting, Sequence[Outcome]]]:
    rest = iter(outcomes)
    for waiting in live:
        yield waiting, list(islice(rest, len(waiting.events)))
