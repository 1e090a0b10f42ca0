"""Rebuilds with processes of their own: each folds one part of the streams over its own connections."""

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from psycopg import AsyncConnection

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.processes.orphans import die_with_parent
from alphapulse.processes.project import READ_MODELS, connector
from alphapulse.projections import generations
from alphapulse.projections.generations import Generation
from alphapulse.projections.parked import MAX_PARKED, ParkedEvent, parked_event, parked_events
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.rebuild import MAX_PARTS, Progress, Rebuilder, fold_until
from alphapulse.projections.retry import OrderMatters, Retried, retry
from alphapulse.projections.runner import Limits, connection

# Large pages and transactions: a rebuild has no reader that waits for the next row.
REBUILD_LIMITS = Limits(page_events=5_000, page_bytes=16_000_000, batch_events=5_000, batch_bytes=4_000_000)
_WATCH_S = 0.05


class WorkerFailed(Exception):
    """A process that folded a part ended with an error; the rebuild can be started again and goes on."""


class UnknownReadModel(Exception):
    """There is no read model of that name."""


class NotParked(Exception):
    """There is no parked event of that id."""


def read_model(name: str) -> AnyReadModel:
    """
    Raises:
        UnknownReadModel: the message lists those there are.
    """
    if name not in READ_MODELS:
        raise UnknownReadModel(f"no read model {name!r}: there are {', '.join(sorted(READ_MODELS))}")
    return READ_MODELS[name]


@asynccontextmanager
async def open_rebuilder(
    database_url: str,
    model: AnyReadModel,
    *,
    workers: int = 1,
    report: Callable[[Progress], None] = lambda _: None,
) -> AsyncIterator[Rebuilder]:
    """A Rebuilder that folds in ``workers`` processes where the way is long."""
    connect = connector(database_url)

    async def run_parts(generation: Generation, until: int) -> None:
        async with connection(connect) as db:
            parts = len(await generations.part_positions(db, generation))
        await _run_workers(_Work(database_url, model, generation, parts, until), workers)

    async with PostgresEventStore(database_url) as store:
        yield Rebuilder(
            model=model,
            connect=connect,
            store=store,
            decode=codec.decode,
            run_parts=run_parts if workers > 1 else None,
            parts=min(workers, MAX_PARTS),
            limits=REBUILD_LIMITS,
            report=report,
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker is told: it inherits nothing. ``model`` must be importable in the new process."""

    database_url: str
    model: AnyReadModel
    generation: Generation
    parts: int
    until: int


async def _run_workers(work: _Work, workers: int) -> None:
    """Fold all parts in at most ``workers`` processes; the end of one in error ends all.

    Raises:
        WorkerFailed: with what the process said.
    """
    context = multiprocessing.get_context("spawn")
    running: list[tuple[SpawnProcess, Connection[Any, Any]]] = []
    try:
        for number in range(min(workers, work.parts)):
            receiver, sender = context.Pipe(duplex=False)
            own = list(range(number, work.parts, workers))
            process = context.Process(target=_fold_parts, args=(work, own, sender), daemon=True)
            process.start()
            sender.close()
            running.append((process, receiver))
        while any(process.is_alive() for process, _ in running):
            for process, receiver in running:
                _check(process, receiver)
            await asyncio.sleep(_WATCH_S)
        for process, receiver in running:
            _check(process, receiver)
    finally:
        for process, receiver in running:
            process.kill()  # its transaction rolls back; what it committed is kept
            process.join()
            receiver.close()


def _check(process: SpawnProcess, receiver: "Connection[Any, Any]") -> None:
    if process.exitcode:
        said = f"ended with code {process.exitcode}"
        try:
            if receiver.poll():
                said = receiver.recv()
        except EOFError:
            pass  # killed before it could say why
        raise WorkerFailed(f"a worker {said}")


def _fold_parts(work: _Work, parts: list[int], sender: "Connection[Any, Any]") -> None:
    """The body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    die_with_parent()
    try:
        asyncio.run(_fold(work, parts))
    except Exception as error:
        sender.send(f"failed: {type(error).__name__}: {error}")
        raise SystemExit(1) from error


async def _fold(work: _Work, parts: list[int]) -> None:
    async with (
        PostgresEventStore(work.database_url, readers=2) as store,
        connection(connector(work.database_url)) as db,
    ):
        for part in parts:
            await fold_until(
                db,
                work.model,
                store,
                codec.decode,
                work.generation,
                work.until,
                part=(part, work.parts),
                limits=REBUILD_LIMITS,
            )


async def bring_back(
    database_url: str,
    event_ids: Sequence[int],
    *,
    workers: int = 1,
    report: Callable[[Progress], None] = lambda _: None,
) -> Mapping[int, Retried]:
    """Try parked events again, by their ids in ``parked``.

    A read model that depends on the order of events is rebuilt, which folds them in their place.

    Raises:
        NotParked: one of the ids is not there; nothing was tried.
        UnknownReadModel: an event was parked by a read model that this code does not have.
    """
    connect = connector(database_url)
    outcomes: dict[int, Retried] = {}
    to_rebuild: dict[str, list[ParkedEvent]] = {}
    async with PostgresEventStore(database_url) as store, connection(connect) as db:
        events = [await _parked(db, event_id) for event_id in event_ids]
        for event in events:
            try:
                model = read_model(event.projection)
                outcomes[event.id] = await retry(db, model, store, codec.decode, event)
            except OrderMatters:
                to_rebuild.setdefault(event.projection, []).append(event)
        for name, waiting in to_rebuild.items():
            async with open_rebuilder(
                database_url, read_model(name), workers=workers, report=report
            ) as rebuilder:
                await rebuilder.rebuild()
            left = {event.position for event in await parked_events(db, projection=name, limit=MAX_PARKED)}
            for event in waiting:
                outcomes[event.id] = Retried.FAILED if event.position in left else Retried.FOLDED
    return outcomes


async def _parked(db: AsyncConnection[Any], event_id: int) -> ParkedEvent:
    event = await parked_event(db, event_id)
    if event is None:
        raise NotParked(f"no parked event {event_id}: see `alphapulse parked list`")
    return event
