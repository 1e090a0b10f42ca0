"""A backtest of 50 instruments of 1m bars against peers on the same bars.

Ours: the default strategy as ``alphapulse backtest`` runs it, in one process: reading from a real PostgreSQL,
decoding, features, all votes, gate, outcomes, the book and the ledger. Peers cross two moving averages on
arrays that they are handed: vectorbt all instruments at once, backtesting.py one after another,
NautilusTrader event by event with orders, on as many bars as it gets through in some seconds. Each peer runs
in a process of its own, and is left out where its environment is not there.

Memory is the largest resident set of our process; twice the history is to take no more.
"""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy_decider import strategy as strategy_decider
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.versions import Versions
from alphapulse.processes.backtesting import run_backtest
from benchmarks.history import peak_mb
from benchmarks.signals import MARKETS, TOGETHER, bars, row
from benchmarks.store import server

DAYS, ROUNDS = 30, 2
NAUTILUS_BARS, ONE_BY_ONE = 720, 4  # of each instrument; instruments, of all days' first THEIR_BARS
THEIR_BARS = 20_000
FAST, SLOW, FEE = 10, 50, 0.0005
HERE = Path(__file__).parent


def run() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="alphapulse-bench-") as folder, server() as database:
        urls = {days: database() for days in (DAYS // 2, DAYS)}
        values = asyncio.run(filled(urls))
        rate, peaks, made = 0.0, {}, 0
        for days, url in urls.items():
            seconds, peaks[days], made = backtested(url)
            rate = MARKETS * days * 1_440 / seconds
        what = f"backtest, {MARKETS} instruments, {DAYS} days of 1m bars, {made:,} candidates decided"
        for peer, theirs, goal in peers(folder, values):
            found = (rate / 1e3, theirs / 1e3, "k bars/s", rate / theirs)
            yield row(what, peer, found, goal=goal)
        half, whole = peaks[DAYS // 2], peaks[DAYS]
        memory = (whole, half, "MB", half / whole)
        yield row(f"memory of that over {DAYS} days", f"over {DAYS // 2} days", memory, goal=0.9)


# Ours


def backtested(url: str) -> tuple[float, float, int]:
    """The least seconds of ROUNDS, the largest resident set in MB, and how many candidates were decided."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_timed, url).result()


def _timed(url: str) -> tuple[float, float, int]:
    asyncio.run(_once(url, upto=MARKETS))  # compiles
    seconds, made = [], 0
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        made = asyncio.run(_once(url))
        seconds.append(time.perf_counter() - begun)
    return min(seconds), peak_mb(os.getpid()), made


async def _once(url: str, upto: int | None = None) -> int:
    async with PostgresEventStore(url) as store:
        found = await run_backtest(store, configuration(), upto=upto or await store.head(), candidates=False)
    return found.counts.decisions


def configuration() -> StrategyDefined:
    command = default_strategy("bench", timeframes=(1,))
    (defined,) = strategy_decider.decide(command, Versions())
    assert isinstance(defined, StrategyDefined)
    return defined


async def filled(urls: dict[int, str]) -> Floats:
    """Days of bars in each of the stores, by how many; gives those of the longest: (5, T, instruments)."""
    rngs = [np.random.default_rng(number) for number in range(MARKETS)]
    last = np.full(MARKETS, 4_000_000.0)
    kept: list[Floats] = []
    stores = {days: PostgresEventStore(url) for days, url in urls.items()}
    for store in stores.values():
        await store.__aenter__()
    try:
        for day in range(max(urls)):
            events = [bars(number, day, last, rng) for number, rng in enumerate(rngs)]
            new = [
                codec.new_event(event.instrument.stream("bars") + "-1m", day + 1, event) for event in events
            ]
            for days, store in stores.items():
                for n in range(0, MARKETS if day < days else 0, TOGETHER):
                    await store.append(new[n : n + TOGETHER])
            fields = [[c.open, c.high, c.low, c.close, c.volume] for c in (e.columns for e in events)]
            kept.append(np.array(fields, dtype=np.float64).transpose(1, 2, 0))
    finally:
        for store in stores.values():
            await store.__aexit__(None, None, None)
    values = np.concatenate(kept, axis=1)
    values[:4] /= 100.0
    values[4] /= 1e8
    return values


# Theirs


def peers(folder: str, values: Floats) -> Iterator[tuple[str, float, float]]:
    """Name, bars a second and our goal, of those that are there."""
    np.save(f"{folder}/closes.npy", np.ascontiguousarray(values[3]))
    np.save(f"{folder}/few.npy", values[:, :THEIR_BARS, : 1 + ONE_BY_ONE])
    np.save(f"{folder}/short.npy", values[:, :NAUTILUS_BARS])
    crossing = [str(FAST), str(SLOW)]
    here, nautilus = sys.executable, HERE.parent / ".venv-nautilus/bin/python"
    found = _ran("vectorbt", here, "_vectorbt.py", f"{folder}/closes.npy", *crossing, str(FEE), str(ROUNDS))
    if found:
        yield f"vectorbt 1.2, {found['orders']:,} orders", values[3].size / min(found["seconds"]), 1.0
    found = _ran("NautilusTrader", nautilus, "_nautilus_orders.py", f"{folder}/short.npy", *crossing)
    if found:
        yield f"NautilusTrader 1.221, {found['orders']:,} orders", found["bars"] / found["seconds"], 100.0
    found = _ran("backtesting.py", here, "_backtesting.py", f"{folder}/few.npy", *crossing, str(FEE))
    if found:
        rate = found["runs"] * THEIR_BARS / found["seconds"]
        yield f"backtesting.py 0.6, {found['trades']:,} trades", rate, 10.0


def _ran(name: str, python: str | Path, script: str, *arguments: str) -> dict[str, Any] | None:
    """What the peer says; None: it cannot be run here, which is printed."""
    command = [str(python), "-W", "ignore", str(HERE / script), *arguments]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except OSError as error:
        print(f"  without {name}: {error}")
        return None
    if ran.returncode:
        print(f"  without {name}: {(ran.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        return None
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found
