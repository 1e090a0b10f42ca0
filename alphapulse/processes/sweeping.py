"""Many configurations over the same data, in this process or in others: any concurrent.futures.Executor does.

A worker is told everything with each task, opens the source for itself and inherits nothing. Results come as
they are done; what was not done when the work ends early is nowhere.
"""

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncGenerator, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.processes.backtest_files import FileSource, LogSource, Opened
from alphapulse.processes.backtesting import Run, Tell, run_backtest, untold
from alphapulse.processes.extensions import load_voters
from alphapulse.processes.orphans import die_with_parent

MAX_JOBS = 64
_AHEAD = 2  # tasks that wait for each worker, so that none is idle


class SweepFailed(Exception):
    """A configuration could not be run; those that were done before it are recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One configuration. ``is_lean``: of the trades only signals, and no decisions, come back."""

    source: LogSource | FileSource
    strategy: StrategyDefined
    upto: int
    since: int | None = None
    until: int | None = None
    begin: int | None = None
    latency_ns: int = 0
    is_lean: bool = True


async def run_task(task: Task, opened: Opened, tell: Tell = untold) -> Run:
    """Raises CannotRun, StoreUnavailable."""
    run = await run_backtest(
        opened.store,
        task.strategy,
        upto=task.upto,
        since=task.since,
        until=task.until,
        begin=task.begin,
        latency_ns=task.latency_ns,
        candidates=not task.is_lean,
        tell=tell,
    )
    return replace(run, issued=()) if task.is_lean else run


async def sweep(
    tasks: Mapping[str, Task], executor: Executor, workers: int
) -> AsyncGenerator[tuple[str, Run], None]:
    """The run of each of ``tasks`` under its name, as they are done, with ``workers`` at work.

    Raises:
        SweepFailed: one of them could not be run.
    """
    waiting = iter(tasks.items())
    running: dict[asyncio.Future[Run], str] = {}
    try:
        while True:
            for name, task in islice(waiting, workers * _AHEAD - len(running)):
                running[asyncio.wrap_future(executor.submit(_work, task))] = name
            if not running:
                return
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                yield name, _result(name, future)
    finally:
        for future in running:
            future.cancel()


def _result(name: str, future: "asyncio.Future[Run]") -> Run:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise SweepFailed(
            f"{name}: a worker process died; was memory short? Run the same again to go on"
        ) from error
    except Exception as error:
        raise SweepFailed(f"{name}: {type(error).__name__}: {error}") from error


@contextmanager
def process_pool(jobs: int) -> Iterator[Executor]:
    """Worker processes, which end with this context and never outlive this process."""
    if not 1 <= jobs <= MAX_JOBS:
        raise ValueError(f"{jobs} jobs: 1 to {MAX_JOBS}")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child not in others:
                child.kill()  # what is done has come back; of the rest nothing is kept
                child.join()


def _begin() -> None:
    """First thing in a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    die_with_parent()
    load_voters()


def _work(task: Task) -> Run:
    """The body of a task in a worker."""
    return asyncio.run(_work_on(task))


_last: list[tuple[FileSource, Opened]] = []  # of this worker: reading files again would cost more than a run


async def _work_on(task: Task) -> Run:
    for source, opened in _last:
        if source == task.source:
            return await run_task(task, opened)
    async with task.source.opened() as opened:
        if isinstance(task.source, FileSource):
            _last[:] = [(task.source, opened)]
        return await run_task(task, opened)
