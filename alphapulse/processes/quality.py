"""Looks at the quality of features, and records what changed: once by command, or as the role ``quality``.

The role holds a lease, and every event that it appends is fenced by it: a process that froze and wakes up
cannot write. A look reads at most ``window + reference`` rows of a series at a time.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4, uuid5

import numpy as np
import psycopg
from psycopg import AsyncConnection

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.features import WARMING, SetDefined
from alphapulse.domain.analysis.quality import Facts, Finding, Thresholds, assess
from alphapulse.domain.analysis.quality_record import Look, quality_decider, stream_of
from alphapulse.domain.ports import EventStore, Fence, FencedOut, Leases, Recorded, StoreUnavailable
from alphapulse.processes.transact import transact
from alphapulse.projections.candle_view import snapshot
from alphapulse.projections.feature_queries import (
    MAX_ROWS,
    MAX_VALUES,
    FeatureSet,
    feature_instruments,
    feature_rows,
    feature_set,
    feature_sets,
)
from alphapulse.projections.known_bars import known_position

log = logging.getLogger(__name__)

LEASE = "quality"
MAX_EVENTS = 200  # in one append: far below the log's limit
_LOOKS = UUID("b0a1f0de-5a0c-5e1d-8d34-9a7c2f1e6b55")  # namespace of the ids of looks, chosen once


@dataclass(frozen=True, slots=True)
class SeriesLook:
    """All findings about one series of a set."""

    found: FeatureSet
    seen_position: int
    clock: int  # ns, the venue's
    findings: Sequence[Finding]


def facts_of(defined: SetDefined) -> list[Facts]:
    """What the registry says of each feature of a set."""
    found = []
    for feature in defined.features:
        (output,) = [o for o in feature.spec.known.outputs if o.name == feature.output]
        is_free = output.prices == 0 and output.volumes == 0
        found.append(Facts(name=feature.name, is_free=is_free, low=output.low, high=output.high))
    return found


async def look_at(
    conn: AsyncConnection[Any],
    found: FeatureSet,
    thresholds: Thresholds,
    *,
    instruments: Sequence[str] | None = None,
    timeframes: Sequence[int] | None = None,
    split: int | None = None,
) -> AsyncIterator[SeriesLook]:
    """The findings of each series. With ``split`` (minutes) the bars from there on are judged, not the last.

    Raises:
        BadFeatureSet: the set has no rows of one of ``timeframes``.
    """
    facts = facts_of(found.defined)
    names = await feature_instruments(conn) if instruments is None else instruments
    for instrument in names:
        for timeframe in found.defined.timeframes if timeframes is None else timeframes:
            yield await _look(conn, found, facts, thresholds, instrument, timeframe, split)


async def _look(
    conn: AsyncConnection[Any],
    found: FeatureSet,
    facts: Sequence[Facts],
    thresholds: Thresholds,
    instrument: str,
    timeframe: int,
    split: int | None,
) -> SeriesLook:
    defined = found.defined
    most = min(thresholds.window + thresholds.reference, MAX_ROWS, MAX_VALUES // len(defined.features))
    async with snapshot(conn):
        position = await known_position(conn)
        clock = await _venue_clock(conn, instrument)
        _, rows = await feature_rows(conn, defined.name, defined.version, instrument, timeframe, last=most)
    warm = rows.flags & WARMING == 0
    window = None if split is None else int(np.count_nonzero(rows.start[warm] >= split))
    findings = await asyncio.to_thread(assess, facts, rows, clock=clock, thresholds=thresholds, window=window)
    return SeriesLook(found, position, clock, findings)


async def _venue_clock(conn: AsyncConnection[Any], instrument: str) -> int:
    """How far the clock of the instrument's venue has come by any of its markets: one may be dead."""
    cursor = await conn.execute(
        "SELECT coalesce(max(high_water), 0) FROM feature_markets WHERE split_part(instrument, ':', 1) = %s",
        (instrument.partition(":")[0],),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def record(
    store: EventStore, look: SeriesLook, thresholds: Thresholds, *, fence: Fence | None = None
) -> Sequence[Recorded]:
    """The events that ``look`` adds. The same look again, also after a lost reply, adds none.

    Raises:
        FencedOut: the lease has gone to another; nothing more was written.
    """
    defined, events = look.found.defined, list[Recorded]()
    for first in range(0, len(look.findings), MAX_EVENTS):
        findings = look.findings[first : first + MAX_EVENTS]
        command = Look(
            set_name=defined.name,
            set_version=defined.version,
            seen_position=look.seen_position,
            clocks={finding.instrument: look.clock for finding in findings},
            findings=findings,
        )
        stream = stream_of(defined.name, defined.version)
        told = json.dumps([stream, look.seen_position, [f.key for f in findings], repr(thresholds)])
        before = await store.version(stream)
        recorded = await transact(
            store, quality_decider, stream, command, command_id=uuid5(_LOOKS, told), fence=fence
        )
        events += [event for event in recorded if event.version > before]  # else it is of the first time
    return events


async def check(
    store: EventStore,
    conn: AsyncConnection[Any],
    thresholds: Thresholds,
    *,
    name: str | None = None,
    version: int | None = None,
    instruments: Sequence[str] | None = None,
    timeframes: Sequence[int] | None = None,
    fence: Fence | None = None,
    keep: bool = True,
) -> AsyncIterator[tuple[SeriesLook, Sequence[Recorded]]]:
    """Look at a set (or at all in use), series by series, and record what changed unless ``keep`` is false.

    Raises:
        UnknownFeatureSet: there is no such set or version.
    """
    if name is None:
        sets = [each for each in await feature_sets(conn) if each.in_use]
    else:
        sets = [await feature_set(conn, name, version)]
    for found in sets:
        looks = look_at(conn, found, thresholds, instruments=instruments, timeframes=timeframes)
        async for look in looks:
            yield look, await record(store, look, thresholds, fence=fence) if keep else []


async def run_quality(
    database_url: str, thresholds: Thresholds, interval_s: float, stop: asyncio.Event
) -> None:
    """The role: look at every set in use each ``interval_s`` until ``stop`` is set; faults are waited out."""
    async with PostgresEventStore(database_url) as store:
        while not stop.is_set():
            try:
                async with _lease(store.leases, stop) as fence:
                    if fence is not None:
                        await _until_stopped(
                            _rounds(database_url, store, thresholds, interval_s, fence), stop
                        )
            except (StoreUnavailable, FencedOut, psycopg.OperationalError, OSError) as error:
                log.warning("quality waits: %s: %s", type(error).__name__, error)
                await _pause(stop, min(5.0, interval_s))


async def _rounds(
    database_url: str, store: PostgresEventStore, thresholds: Thresholds, interval_s: float, fence: Fence
) -> None:
    while True:
        info = connection_info(database_url, role=None)
        async with await AsyncConnection.connect(info, autocommit=True) as conn:
            async for look, events in check(store, conn, thresholds, fence=fence):
                await _renewed(store.leases, fence)
                for event in events:
                    name, version = look.found.defined.name, look.found.defined.version
                    log.warning("quality of %s@%d: %s", name, version, said(event.event))
        for _ in range(max(1, round(interval_s / _STEP_S))):
            await asyncio.sleep(min(_STEP_S, interval_s))
            await _renewed(store.leases, fence)


_LEASE_S = 15.0
_STEP_S = 5.0


async def _renewed(leases: Leases, fence: Fence) -> None:
    if not await leases.renew(fence, _LEASE_S):
        raise FencedOut(f"lease {fence.lease}, epoch {fence.epoch}: another has taken over")


@asynccontextmanager
async def _lease(leases: Leases, stop: asyncio.Event) -> AsyncIterator[Fence | None]:
    """The fence, having waited for it; None when told to stop first."""
    holder = f"{socket.gethostname()} {os.getpid()} {uuid4()}"
    fence = None
    while not stop.is_set() and (fence := await leases.acquire(LEASE, holder, _LEASE_S)) is None:
        await _pause(stop, _LEASE_S / 4)
    try:
        yield fence
    finally:
        if fence is not None:
            with suppress(StoreUnavailable):
                await leases.release(fence)


async def _until_stopped(work: Any, stop: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(work), asyncio.create_task(stop.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def said(event: Any) -> str:
    """A verdict in words."""
    what = event.feature or "rows"
    return (
        f"{type(event).__name__}: {event.check} of {what}, {event.instrument} {event.timeframe}m: "
        f"{event.value:.4g} against {event.threshold:g} {event.detail}"
    ).rstrip()
