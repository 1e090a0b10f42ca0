"""The 33 outputs of every bar of a year: 50 instruments, seven timeframes, computed from the log.

The log is filled with the 1m bars of a venue, in events of 10,000, in a real PostgreSQL; the 33 outputs are a
feature set, and ``features compute`` makes its rows in two processes: reading, decoding, closing bars of
seven timeframes, the kernels, and the hash of the rows. An instrument-bar is one bar of one instrument in
one timeframe, with all its outputs. Memory is the largest resident set of the processes; twice the history
is to take no more.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.features import DefineSet, Feature, feature_set, stream_of
from alphapulse.domain.analysis.registry import Spec
from alphapulse.domain.market.columns import BarColumns
from alphapulse.domain.market.events import BarsObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import MINUTE_NS, TIMEFRAMES
from alphapulse.processes.compute_workers import compute_from
from alphapulse.processes.computing import Computed, Wanted, wanted_rows
from alphapulse.processes.transact import transact
from benchmarks.analysis import NAMED
from benchmarks.store import server

INSTRUMENTS, DAYS, EVENT = 50, 365, 10_000
WORKERS = 2
START = 1_704_067_200 * 10**9
GOAL = 1.0  # million instrument-bars a second


def run() -> Iterator[dict[str, Any]]:
    seconds, peaks = {}, {}
    for days in (DAYS // 2, DAYS):
        computed, peaks[days] = measured(days)
        seconds[days] = computed.seconds / computed.rows
    rate = 1e-6 / seconds[DAYS]
    size = f"{sum(1 for _ in outputs())} outputs, {DAYS} days of 1m bars, {INSTRUMENTS} instruments"
    yield row(
        f"{size}, 7 timeframes, from the log",
        f"our goal of {GOAL:g} M instrument-bars/s",
        (rate, GOAL, "M bars/s", rate / GOAL),
    )
    half, whole = peaks[DAYS // 2], peaks[DAYS]
    growth = half / whole
    yield row(
        f"memory of that over {DAYS} days", f"over {DAYS // 2} days", (whole, half, "MB", growth), goal=0.9
    )


def row(name: str, peer: str, found: tuple[float, float, str, float], goal: float = 1.0) -> dict[str, Any]:
    ours, theirs, unit, ratio = found
    keys = ("name", "peer", "ours", "theirs", "unit", "ratio", "goal")
    return dict(zip(keys, (name, peer, ours, theirs, unit, ratio, goal), strict=True))


def measured(days: int) -> tuple[Computed, float]:
    """What was computed on a fresh log of so many days, and the MB that the larger worker took at most."""
    with server() as database:
        url = database()
        wanted = asyncio.run(filled(url, days))
        return asyncio.run(watched(url, wanted))


async def filled(url: str, days: int) -> Wanted:
    """The feature set, then the bars."""
    features = [
        Feature(name=f"f{n}", rule=spec.indicator, parameters=named(spec), output=output)
        for n, (spec, output) in enumerate(outputs())
    ]
    command = DefineSet(
        name="named", owner="bench", description="", timeframes=tuple(TIMEFRAMES.values()), features=features
    )
    async with PostgresEventStore(url) as store:
        await transact(store, feature_set, stream_of("named"), command, actor="bench")
        await asyncio.gather(*(fill(store, number, days * 1_440) for number in range(INSTRUMENTS)))
        return await wanted_rows(store, "named")


def outputs() -> Iterator[tuple[Spec, str]]:
    for text, _, _, suffixes in NAMED:
        for suffix in suffixes:
            yield Spec.parse(text), suffix.removeprefix(".")


def named(spec: Spec) -> dict[str, float]:
    return {p.name: value for p, value in zip(spec.known.parameters, spec.params, strict=True)}


async def fill(store: PostgresEventStore, number: int, minutes: int) -> None:
    instrument, rng = Instrument("bench", f"I{number:02}"), np.random.default_rng(number)
    for version, first in enumerate(range(0, minutes, EVENT), 1):
        columns = walk(first, min(EVENT, minutes - first), rng)
        event = BarsObserved(instrument=instrument, timeframe_minutes=1, volume_unit="base", columns=columns)
        await store.append([codec.new_event(instrument.stream("bars"), version, event)])


def walk(first: int, count: int, rng: np.random.Generator) -> BarColumns:
    close = 4_000_000 + np.cumsum(rng.integers(-500, 501, count))
    open_ = np.concatenate([close[:1], close[:-1]])
    return BarColumns(
        start=START + (first + np.arange(count)) * MINUTE_NS,
        open=open_,
        high=np.maximum(open_, close) + rng.integers(0, 300, count),
        low=np.minimum(open_, close) - rng.integers(0, 300, count),
        close=close,
        volume=rng.integers(1, 10**9, count),
        trade_count=rng.integers(1, 100, count),
        price_exponent=2,
        volume_exponent=8,
    )


async def watched(url: str, wanted: Wanted) -> tuple[Computed, float]:
    peaks: list[float] = []

    async def watch() -> None:
        while True:
            peaks.extend(peak_mb(child.pid) for child in multiprocessing.active_children())
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    begun = time.perf_counter()
    computed = await compute_from(url, wanted, workers=WORKERS)
    watching.cancel()
    return replace(computed, seconds=time.perf_counter() - begun), max(peaks)


def peak_mb(pid: int | None) -> float:
    """The largest resident set so far; 0 where the process is gone, or this system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0
