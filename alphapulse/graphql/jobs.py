"""Heavy work that clients ask for: so many at a time, so many waiting, each for as long as somebody watches.

A job is the feed of a topic: who asks for the same while it is under way shares it, and when the last of them
has gone it is cancelled. The work itself is done elsewhere; see processes/one_off.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from graphql import GraphQLError

from alphapulse.graphql.errors import TookTooLong, UserError, explain
from alphapulse.graphql.fanout import Update

Ask = TypeVar("Ask")
Progress = TypeVar("Progress")
Result = TypeVar("Result")

# The result of what was asked; the second argument is called with how far it is. Raises WorkRefused.
Work = Callable[[Ask, Callable[[Progress], None]], Awaitable[Result]]


class WorkRefused(Exception):
    """What was asked for cannot be done: the message says why, for whoever asked."""


class TooManyJobs(UserError):
    """So many jobs are under way and waiting that no other is taken: try again later."""

    code = "TOO_MANY_JOBS"
    status = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """``running`` at a time, ``waiting`` behind them; each has ``time_s`` from when it runs."""

    running: int = 1
    waiting: int = 4
    time_s: float = 900.0


class Jobs(Generic[Ask, Progress, Result]):
    """Those of one kind, in one process."""

    def __init__(self, work: Work[Ask, Progress, Result], limits: JobLimits) -> None:
        self._work, self.limits = work, limits
        self._turn = asyncio.Semaphore(limits.running)
        self.taken = 0  # running and waiting

    def enter(self) -> None:
        """Take a place. Raises TooManyJobs."""
        if self.taken >= self.limits.running + self.limits.waiting:
            raise TooManyJobs(f"{self.taken} jobs are under way or waiting, as many as are taken; try again")
        self.taken += 1

    async def run(
        self, ask: Ask, begun: Callable[[], None], tell: Callable[[Progress], None]
    ) -> Result | GraphQLError:
        """The result, or what is to be told instead. Gives the place back, however it ends."""
        try:
            async with self._turn:
                begun()
                async with asyncio.timeout(self.limits.time_s):
                    return await self._work(ask, tell)
        except TimeoutError:
            return TookTooLong(f"it took longer than the {self.limits.time_s:g} s that a job has")
        except WorkRefused as error:
            return UserError(str(error))
        except Exception as error:
            return explain(GraphQLError("internal error", original_error=error))
        finally:
            self.taken -= 1


@dataclass(frozen=True, slots=True)
class JobState(Generic[Progress, Result]):
    """Waiting while it is not ``running``; at last with a ``result``."""

    running: bool = False
    progress: Progress | None = None
    result: Result | None = None


class JobFeed(Generic[Ask, Progress, Result]):
    """One job as a feed: what it has come to, the latest only. It begins when it is started."""

    conflates = True

    def __init__(
        self,
        jobs: Jobs[Ask, Progress, Result],
        ask: Ask,
        render: Callable[[JobState[Progress, Result]], object],
    ) -> None:
        self._jobs, self._ask, self._render = jobs, ask, render
        self._state: JobState[Progress, Result] = JobState()
        self._error: GraphQLError | None = None
        self._position, self._told = 1, 1
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Raises TooManyJobs."""
        self._jobs.enter()
        self._task = asyncio.create_task(self._run(), name="job")
        return self._position

    async def next(self) -> Update:
        await self._changed.wait()
        self._changed.clear()
        previous, self._told = self._told, self._position
        return self._update(previous)

    async def now(self) -> Update:
        return self._update(self._position)

    async def since(self, after: int, until: int) -> Update:  # noqa: ARG002  a feed's
        return self._update(after)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        found = await self._jobs.run(
            self._ask,
            lambda: self._set(JobState(running=True)),
            lambda progress: self._set(JobState(running=True, progress=progress)),
        )
        if isinstance(found, GraphQLError):
            self._error = found
            self._set(self._state)
        else:
            self._set(JobState(running=True, progress=self._state.progress, result=found))

    def _set(self, state: JobState[Progress, Result]) -> None:
        self._state = state
        self._position += 1
        self._changed.set()

    @property
    def _is_over(self) -> bool:
        return self._error is not None or self._state.result is not None

    def _update(self, previous: int) -> Update:
        payload = self._error or self._render(self._state)
        return Update(previous, self._position, payload, is_last=self._is_over)
