"""Logs and files for the tests of backtests: markets with a planted edge, and a strategy that sees it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.decision.strategy import StrategyDefined, stream_of
from alphapulse.domain.decision.strategy_decider import decide
from alphapulse.domain.decision.strategy_text import from_content
from alphapulse.domain.ports import EventStore
from alphapulse.domain.versions import Versions
from alphapulse.processes.backtesting import Run, run_backtest
from alphapulse.processes.decide import once
from alphapulse.processes.desks import jobs_of
from tests.decided_log import MARKETS, append_bars, recorded
from tests.domain.signals.engine_world import strategy, world

# One market in order of time; the strategy of engine_world.py has some dozen signals on it.
ONE = [event for _, _, event in world(markets=1, bars=2_000, edge=3e-4, size=50)]

# A strategy of voters that every process knows, as a file has it.
PLAIN = {
    "name": "plain",
    "timeframes": ["1m"],
    "voters": ["technical.momentum", "technical.trend"],
    "quorum": 1,
    "min_consensus": 0.05,
    "geometries": [{"stop_atr": 2, "target_atr": 1, "horizon_bars": 30}],
    "learning": {"least": 100, "least_effective": 10},
    "gate": {"threshold": 0.55, "margin": 0.0},
}


def plain(**changes: Any) -> StrategyDefined:
    (defined,) = decide(from_content(PLAIN, owner="test"), Versions())
    assert isinstance(defined, StrategyDefined)
    return replace(defined, **changes)


async def market(events: Any = MARKETS) -> MemoryEventStore:
    store = MemoryEventStore()
    await append_bars(store, events)
    return store


async def define(store: EventStore, defined: StrategyDefined) -> None:
    stream = stream_of(defined.name)
    await store.append([codec.new_event(stream, await store.version(stream) + 1, defined)])


async def decided(store: EventStore) -> None:
    """As the role does, to the end of the log."""
    for job in await jobs_of(store):
        await once(store, job, await store.head(), lambda _: None, lambda _: None, is_dry=False)


async def backtest(store: EventStore, defined: StrategyDefined | None = None, **how: Any) -> Run:
    return await run_backtest(store, defined or strategy(), upto=await store.head(), **how)


async def events(store: EventStore, name: str) -> list[Any]:
    return [each.event for each in await recorded(store, name)]


def bar_file(path: Path, symbol: str, given: Any = ONE) -> Path:
    """The bars of one market as the CSV file that the format ``ohlcv`` reads."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        for event in given:
            if event.instrument.symbol != symbol:
                continue
            bars = event.columns
            prices = [
                getattr(bars, name) / 10**bars.price_exponent for name in ("open", "high", "low", "close")
            ]
            volumes = bars.volume / 10**bars.volume_exponent
            for n, start in enumerate((bars.start // 10**9).tolist()):
                values = [f"{price[n]:.4f}" for price in prices]
                rows.writerow([start, *values, f"{volumes[n]:.3f}"])
    return path


def same(one: Any, other: Any) -> bool:
    """Two sets of trades, to the last bit."""
    return all(
        np.array_equal(
            getattr(one, name), getattr(other, name), equal_nan=getattr(one, name).dtype.kind == "f"
        )
        for name in one.__slots__
    )
