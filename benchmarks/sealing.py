"""What sealing costs: processor time an event, throughput of appends, and how soon a signal is sealed.

Processor time is that of both sides, the sealer's process and all of PostgreSQL's, over a backlog of small
events: read, hashed, signed, committed durably and kept in a file. Throughput is that of the benchmarks of
the store, with and without a sealer in a process of its own, the two taking turns; the data are on disk.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg
import uvloop

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.market.events import FeedConnected
from alphapulse.domain.ports import NewEvent
from alphapulse.domain.provenance.merkle import Frontier
from alphapulse.domain.provenance.sealing import MAX_LEAVES_A_SEAL, Tree, sealed_next
from alphapulse.processes.seal import run_seal
from benchmarks.store import append_all, save_all, server, synthetic

EVENTS = 50_000
ROUNDS = 5
TRADES = 500_000
SIGNALS, RATE = 2_000, 100.0  # one by one, so many a second: twenty seconds
POLL_S = 0.005
SIGNER = KeySigner("example.org/log", bytes(32))
ROOT = Path(__file__).parents[1]


def run() -> Iterator[dict[str, Any]]:
    yield limit("hashes of a leaf and its tree, small events, CPU time", hashing_us(), "µs/event", 4.0)
    with server() as database:
        sealing = [uvloop.run(sealing_us(database())) for _ in range(ROUNDS)]
        yield limit(
            "sealing of small events, CPU time of sealer and PostgreSQL", min(sealing), "µs/event", 4.0
        )
        batches = synthetic(TRADES)
        yield beside(
            "durable append of trades, 1,000 a batch, with a sealer beside it",
            lambda url: uvloop.run(append_all(url, batches)),
            database,
        )
        yield beside(
            "32 concurrent durable saves of one event, with a sealer beside it",
            lambda url: uvloop.run(save_all(url)),
            database,
        )
        with sealer_of(url := database()):
            p50, p99 = uvloop.run(latencies(url))
        name = f"signal committed to signed checkpoint read, {RATE:g} signals a second, p99 (p50 {p50:.2f} s)"
        yield limit(name, p99, "s", 1.5)


def hashing_us() -> float:
    """Of one whole seal of random preimages, as PostgreSQL gives them."""
    chance = random.Random(1)
    events = [
        (position, chance.randbytes(102), chance.randbytes(60), chance.randbytes(90), None)
        for position in range(1, MAX_LEAVES_A_SEAL + 1)
    ]
    salts = chance.randbytes(16 * len(events))
    taken = []
    for _ in range(200):
        begun = time.process_time()
        sealed_next(Tree(Frontier(), 0, {}), events, salts, SIGNER.key.name, SIGNER)
        taken.append(time.process_time() - begun)
    return min(taken) / len(events) * 1e6


async def sealing_us(url: str) -> float:
    """CPU time an event over a backlog of small ones."""
    await fill(url, EVENTS)
    postmaster = parent_of(url)
    async with PostgresSeals(url) as seals:
        stop = asyncio.Event()
        with tempfile.TemporaryDirectory(prefix="alphapulse-bench-") as folder:
            begun, theirs = time.process_time(), server_s(postmaster)
            sealer = asyncio.create_task(run_seal(url, SIGNER, Path(folder), stop))
            await sealed(seals, EVENTS)
            spent = time.process_time() - begun + spent_s(theirs, server_s(postmaster))
            stop.set()
            await sealer
    return spent / EVENTS * 1e6


async def fill(url: str, count: int) -> None:
    async with PostgresEventStore(url) as store:
        for first in range(0, count, 1_000):
            await store.append(small(f"feed-{first}", 1_000))


def small(stream: str, count: int) -> Sequence[NewEvent]:
    connected = FeedConnected(venue="synthetic", symbol="BTC_USD", time=1_700_000_000_000_000_000)
    return [codec.new_event(stream, version, connected) for version in range(1, count + 1)]


def beside(name: str, work: Callable[[str], float], database: Callable[[], str]) -> dict[str, Any]:
    """How much of its throughput ``work`` keeps when a sealer runs, in the best of rounds that take turns."""
    alone, accompanied = [], []
    for _ in range(ROUNDS):
        alone.append(work(database()))
        with sealer_of(url := database()):
            accompanied.append(work(url))
    kept = 100 * min(alone) / min(accompanied)
    said = f"without (median {100 * median(alone) / median(accompanied):.0f} %)"
    return {
        "name": name,
        "peer": said,
        "ours": kept,
        "theirs": 95.0,
        "unit": "% of it",
        "ratio": kept / 95.0,
        "goal": 1.0,
    }


@contextmanager
def sealer_of(url: str) -> Iterator[None]:
    """The role in a process of its own, at work when this begins."""
    with tempfile.TemporaryDirectory(prefix="alphapulse-bench-") as folder:
        environment = os.environ | {"ALPHAPULSE_DATABASE_URL": url, "ALPHAPULSE_DATA_DIR": folder}
        command = [sys.executable, "-m", "alphapulse", "run", "seal"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        try:
            uvloop.run(first_seal(url))
            yield
        finally:
            process.terminate()
            process.wait()


async def first_seal(url: str) -> None:
    async with PostgresEventStore(url) as store, PostgresSeals(url) as seals:
        await store.append(small("first", 1))
        await sealed(seals, 1)


async def sealed(seals: PostgresSeals, size: int) -> None:
    async with asyncio.timeout(120):
        while not await seals.sealed(size=size):  # noqa: ASYNC110  another process does it
            await asyncio.sleep(0.1)  # our own looks count too


async def latencies(url: str) -> tuple[float, float]:
    """Seconds from a signal's commit until a reader holds a checkpoint over it: p50 and p99."""
    chance = random.Random(1)
    async with PostgresEventStore(url) as store, PostgresSeals(url, readers=1) as seals:
        waiting: dict[int, float] = {}
        taken: list[float] = []

        async def watch() -> None:
            while len(taken) < SIGNALS:
                last = await seals.sealed()
                now = time.perf_counter()
                done = [position for position in waiting if last and position <= last.position]
                taken.extend(now - waiting.pop(position) for position in done)
                await asyncio.sleep(POLL_S)

        watching = asyncio.create_task(watch())
        for event in small("signals-bench", SIGNALS):
            [stored] = await store.append([event])
            waiting[stored.position] = time.perf_counter()
            await asyncio.sleep(chance.expovariate(RATE))
        await watching
    cuts = quantiles(taken, n=100)
    return cuts[49], cuts[98]


def parent_of(url: str) -> int:
    """The process that all of this PostgreSQL's are children of."""
    with psycopg.connect(url) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def server_s(postmaster: int) -> dict[int, float]:
    """CPU seconds of each of its children so far."""
    children = Path(f"/proc/{postmaster}/task").glob("*/children")
    found = {}
    for pid in (int(pid) for file in children for pid in file.read_text().split()):
        with suppress(OSError):  # it has just ended
            found[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return found


def spent_s(before: dict[int, float], after: dict[int, float]) -> float:
    """By those that are still there."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def limit(name: str, ours: float, unit: str, most: float) -> dict[str, Any]:
    return {
        "name": name,
        "peer": "our goal",
        "ours": ours,
        "theirs": most,
        "unit": unit,
        "ratio": most / ours,
        "goal": 1.0,
    }
