"""Trade to row of features through the whole stack, and how fast history becomes closed bars and rows.

The latency is that of ``alphapulse up`` (PostgreSQL and NATS durable, relay and projector in processes of
their own), from the call of ``append`` to the notice of the commit that holds the row, for events that end
a bar: market time runs so fast that a third of them do. The set is the default one.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.closing import Closing, close_bars
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.generate import TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.processes.defining import core, define
from alphapulse.projections.runner import CHANNEL
from benchmarks.api import _stack

RATE, SECONDS, WARM_UP_S = 200, 60, 20  # events a second
MARKETS = 10  # instruments that share the rate
PACE = 10  # seconds of market time in a second
STEP_NS = PACE * MARKETS * 10**9 // RATE  # of market time between two trades of one instrument
GOAL_MS = 50.0
TRADES, BARS = 10_000_000, 1_000_000
START = 1_700_000_040 * 10**9


def run() -> Iterator[dict[str, Any]]:
    yield _rate("trades to closed bars of seven timeframes", "M trades/s", closing_trades(), 2.0)
    yield _rate("venue bars to closed bars of seven timeframes", "M bars/s", closing_bars(), 3.0)
    with _stack() as running:
        waits = asyncio.run(_measure(running["database_url"]))
    median, tail = (float(np.percentile(waits, p)) for p in (50, 99))
    yield {
        "name": f"trade to features row at {RATE} events/s, p99 (p50 {median:.1f} ms), {len(waits)} bars",
        "peer": f"our goal of {GOAL_MS:.0f} ms",
        "ours": tail,
        "theirs": GOAL_MS,
        "unit": "ms",
        "ratio": GOAL_MS / tail,
        "goal": 1.0,
    }


def _rate(name: str, unit: str, ours: float, goal: float) -> dict[str, Any]:
    peer = f"our goal of {goal:g} {unit}"
    ratio = ours / goal
    return {
        "name": name,
        "peer": peer,
        "ours": ours,
        "theirs": goal,
        "unit": unit,
        "ratio": ratio,
        "goal": 1.0,
    }


def closing_trades() -> float:
    """Million trades a second on one core, events of 10,000."""
    instrument = Instrument("bench", "T")
    chunks = tape(TapeSpec(), np.random.default_rng(1), rows=TRADES, chunk_rows=10_000)
    log = [(n, TradesObserved(instrument=instrument, columns=c.trades)) for n, c in enumerate(chunks, 1)]
    return TRADES / _best(log) / 1e6


def closing_bars() -> float:
    """Million bars of a venue a second on one core, events of 10,000."""
    instrument, rng = Instrument("bench", "V"), np.random.default_rng(1)
    log = []
    for n in range(BARS // 10_000):
        start = START + (n * 10_000 + np.arange(10_000)) * MINUTE_NS
        price = 4_000_000 + rng.integers(-1_000, 1_000, 10_000)
        columns = BarColumns(
            start=start, open=price, high=price + 50, low=price - 50, close=price + 7,
            volume=rng.integers(1, 10**9, 10_000), trade_count=rng.integers(1, 100, 10_000),
            price_exponent=2, volume_exponent=8,
        )  # fmt: skip
        event = BarsObserved(instrument=instrument, timeframe_minutes=1, volume_unit="base", columns=columns)
        log.append((n + 1, event))
    return BARS / _best(log) / 1e6


def _best(log: list[tuple[int, Any]]) -> float:
    """Seconds of the fastest of three rounds, after one that compiles."""
    close_bars("bench", Closing(), log[:2])
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        state = Closing()
        for at in range(0, len(log), 50):  # about a batch
            state, _ = close_bars("bench", state, log[at : at + 50])
        found.append(time.perf_counter() - begun)
    return min(found)


async def _measure(database_url: str) -> NDArray[np.float64]:
    """Milliseconds from append to notice, of the events past the warm-up that ended a bar."""
    sent: dict[int, float] = {}
    heard: list[tuple[int, float, dict[str, Any]]] = []
    info = connection_info(database_url, role=None)
    async with (
        PostgresEventStore(database_url) as store,
        await psycopg.AsyncConnection.connect(info, autocommit=True) as db,
        await psycopg.AsyncConnection.connect(info, autocommit=True) as ears,
    ):
        await define(store, db, core("bench"))
        await ears.execute(f"LISTEN {CHANNEL}")
        listening = asyncio.create_task(_hear(ears, heard))
        await _append_at_rate(store, sent)
        await asyncio.sleep(2)
        listening.cancel()
        cursor = await db.execute("SELECT position FROM features WHERE timeframe = 1")
        ending = {position for (position,) in await cursor.fetchall()}
    waits = []
    for position in sorted(ending & sent.keys()):
        at = min(moment for reached, moment, _ in heard if reached >= position)
        waits.append((at - sent[position]) * 1000)
    assert len(waits) > MARKETS * PACE * SECONDS / 60 * 0.8, f"{len(waits)} events ended a bar"
    return np.array(waits)


async def _hear(db: psycopg.AsyncConnection[Any], heard: list[tuple[int, float, dict[str, Any]]]) -> None:
    async for notice in db.notifies():
        at, said = time.perf_counter(), json.loads(notice.payload)
        if said["projection"] == "features":
            heard.append((said["position"], at, said["touched"]))


async def _append_at_rate(store: PostgresEventStore, sent: dict[int, float]) -> None:
    """One event of one trade at a time; when each was sent, by position, past the warm-up."""
    versions = {f"M{m}": 0 for m in range(MARKETS)}
    under_way: set[asyncio.Task[None]] = set()
    begun = time.perf_counter()

    async def append(name: str, version: int, counted: bool) -> None:
        instrument = Instrument("bench", name)
        event = TradesObserved(instrument=instrument, columns=_trade(version))
        at = time.perf_counter()
        (record,) = await store.append([codec.new_event(instrument.stream("trades"), version, event)])
        if counted:
            sent[record.position] = at

    for number in range(RATE * (WARM_UP_S + SECONDS)):
        if (wait := begun + number / RATE - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        name = f"M{number % MARKETS}"
        versions[name] += 1
        task = asyncio.create_task(append(name, versions[name], number >= RATE * WARM_UP_S))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


def _trade(number: int) -> TradeColumns:
    return TradeColumns(
        time=np.array([START + number * STEP_NS], dtype=np.int64),
        price=np.array([4_000_000 + number * 7919 % 211], dtype=np.int64),
        size=np.array([1 + number * 31 % 977], dtype=np.int64),
        side=np.array([1 if number % 2 else -1], dtype=np.int8),
        id=np.array([number], dtype=np.int64),
        flags=np.zeros(1, dtype=np.uint8),
        price_exponent=2,
        size_exponent=4,
    )
