"""Rows of a feature set computed by several processes: each takes some of the instruments."""

import asyncio
import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from alphapulse.adapters.files.spill import Spill
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.processes.computing import Computed, Report, Wanted, compute
from alphapulse.processes.instrument_log import InstrumentLog, open_logs
from alphapulse.processes.orphans import die_with_parent

MAX_WORKERS = 64
_WATCH_S = 0.05
_TELL_EVENTS = 20  # events between two signs of progress


class ComputeFailed(Exception):
    """A process that computed a part ended with an error; nothing of the whole is kept."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a worker is told: it inherits nothing."""

    database_url: str
    wanted: Wanted
    instruments: tuple[str, ...]
    folder: Path | None  # where rows go; None: only their hash is wanted


async def compute_from(
    database_url: str,
    wanted: Wanted,
    *,
    workers: int = 1,
    folder: Path | None = None,
    report: Report = lambda _: None,
) -> Computed:
    """Compute ``wanted`` with ``workers`` processes (1: in this one), rows going to files in ``folder``.

    The result is the same for any number of them: see ``Computed.digest``.

    Raises:
        ComputeFailed: a worker ended with an error; the others are stopped.
        TooManySkipped, StoreUnavailable: see ``compute``.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"{workers} workers: 1 to {MAX_WORKERS}")
    async with PostgresEventStore(database_url) as store:
        logs = await open_logs(store, wanted.until, wanted.instruments)
        if workers == 1 or len(logs) < 2:
            return await _compute_into(store, wanted, logs, folder, report)
    shares = [share for share in _dealt(logs, workers) if share]
    parts = [_Part(database_url, wanted, share, folder) for share in shares]
    found = Computed(parts={})
    for computed in await _run(parts, report):
        found = found.joined(computed)
    return found


async def events_of(database_url: str, wanted: Wanted) -> int:
    """About how many events the computation reads: for a progress bar."""
    async with PostgresEventStore(database_url) as store:
        return sum(log.events for log in await open_logs(store, wanted.until, wanted.instruments))


async def _compute_into(
    store: PostgresEventStore,
    wanted: Wanted,
    logs: Sequence[InstrumentLog],
    folder: Path | None,
    report: Report,
) -> Computed:
    if folder is None:
        return await compute(store, wanted, logs=logs, report=report)
    spill = Spill(folder)
    computed = await compute(store, wanted, spill.add, logs=logs, report=report)
    spill.flush()
    return computed


def _dealt(logs: Sequence[InstrumentLog], workers: int) -> list[tuple[str, ...]]:
    """Instruments to workers so that each gets about as many events: there and back again."""
    hands: list[list[str]] = [[] for _ in range(workers)]
    for i, log in enumerate(logs):
        turn, seat = divmod(i, workers)
        hands[seat if turn % 2 == 0 else workers - 1 - seat].append(log.instrument)
    return [tuple(hand) for hand in hands]


async def _run(parts: Sequence[_Part], report: Report) -> list[Computed]:
    context = multiprocessing.get_context("spawn")
    running: list[tuple[SpawnProcess, Connection[Any, Any]]] = []
    found: dict[int, Computed] = {}
    try:
        for part in parts:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(part, sender), daemon=True)
            process.start()
            sender.close()
            running.append((process, receiver))
        while len(found) < len(parts):
            for number, (process, receiver) in enumerate(running):
                if number not in found and (computed := _heard(process, receiver, report)):
                    found[number] = computed
            await asyncio.sleep(_WATCH_S)
    finally:
        for process, receiver in running:
            process.kill()  # those that are done have said so; of the others nothing is kept
            process.join()
            receiver.close()
    return list(found.values())


def _heard(process: SpawnProcess, receiver: "Connection[Any, Any]", report: Report) -> Computed | None:
    """The result, if the worker has sent it. Raises ComputeFailed when it ended without one."""
    is_alive = process.is_alive()  # asked first: what it sent before it ended is still to be read
    with suppress(EOFError):
        while receiver.poll():
            match receiver.recv():
                case int() as events:
                    report(events)
                case Computed() as computed:
                    return computed
                case failure:
                    raise ComputeFailed(f"a worker failed: {failure}")
    if not is_alive:
        raise ComputeFailed(f"a worker ended with code {process.exitcode}")
    return None


def _work(part: _Part, sender: "Connection[Any, Any]") -> None:
    """The body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    die_with_parent()
    try:
        sender.send(asyncio.run(_work_on(part, sender)))
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error


async def _work_on(part: _Part, sender: "Connection[Any, Any]") -> Computed:
    waiting = 0

    def tell(events: int) -> None:
        nonlocal waiting
        waiting += events
        if waiting >= _TELL_EVENTS:
            sender.send(waiting)
            waiting = 0

    async with PostgresEventStore(part.database_url) as store:
        logs = await open_logs(store, part.wanted.until, part.instruments)
        return await _compute_into(store, part.wanted, logs, part.folder, tell)
