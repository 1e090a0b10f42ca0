"""Decisions replayed from the log, and from the close of a bar to the signal in the log.

Replay: 50 instruments of 1m bars (events of a day each) in a real PostgreSQL, under the default strategy in
two parts, one process each: reading, decoding, features, votes, gate, outcomes, a digest of every number of
every decision. No event is made of what nobody looks at, and nothing is appended. Memory is the largest
resident set of the processes; twice the history is to take no more.

Live: the role ``decide`` in a process of its own under a strategy that issues on every bar of every market.
The clock runs from the call of ``append`` with the trade that ends a bar to the notice, in another process,
of the commit that holds its signal. Once the 50 bars end within a second, once all in one burst.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import uvloop
from numpy.typing import NDArray

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.strategy import (
    Gate,
    Geometry,
    Learning,
    Risk,
    StrategyDefined,
    VoterChoice,
    stream_of,
)
from alphapulse.domain.decision.strategy_decider import strategy as strategy_decider
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.decision.votes import Kind, View, Vote, register
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals.engine_digest import Digest
from alphapulse.domain.signals.engine_events import DECISION
from alphapulse.domain.versions import Versions
from alphapulse.processes.decide import contexts_of, recorder, replay
from alphapulse.processes.desks import jobs_of, run_decide
from benchmarks.history import peak_mb
from benchmarks.store import server

MARKETS, DAYS, PARTS = 50, 60, 2
GOAL_BARS = 500_000  # a second
GOALS_MS = {50: 10.0, 99: 50.0}
TOGETHER = 10  # markets whose day is appended at once
START = 1_704_067_200 * 10**9
HISTORY = 7_000  # minutes before: the largest timeframe that a voter looks at has warmed up
WARM_UP, ROUNDS, PAUSE_S = 10, 40, 1.5  # bars of each market that are not timed, and timed; seconds of each


def run() -> Iterator[dict[str, Any]]:
    yield from history(DAYS)
    for name, spread_s in (("within a second", 1.0), ("in one burst", 0.0)):
        with server() as database:
            waits = asyncio.run(live(database(), spread_s))
        for percent, goal_ms in GOALS_MS.items():
            ms = float(np.percentile(waits, percent))
            what = f"{MARKETS} bars that close {name} to signals committed, p{percent}, {len(waits)} signals"
            yield row(what, f"our goal of {goal_ms:g} ms", (ms, goal_ms, "ms", goal_ms / ms))


def row(name: str, peer: str, found: tuple[float, float, str, float], goal: float = 1.0) -> dict[str, Any]:
    ours, theirs, unit, ratio = found
    keys = ("name", "peer", "ours", "theirs", "unit", "ratio", "goal")
    return dict(zip(keys, (name, peer, ours, theirs, unit, ratio, goal), strict=True))


# Replay


def history(days: int) -> Iterator[dict[str, Any]]:
    rates, peaks = {}, {}
    for some in (days // 2, days):
        with server() as database:
            rates[some], peaks[some], made = replayed(database(), some)
    what = f"{MARKETS} instruments, {days} days of 1m bars, {PARTS} processes, {made:,} decisions"
    rate = rates[days]
    found = (rate / 1e6, GOAL_BARS / 1e6, "M bars/s", rate / GOAL_BARS)
    yield row(f"replay of decisions: {what}", f"our goal of {GOAL_BARS:,} instrument-bars/s", found)
    half, whole = peaks[days // 2], peaks[days]
    memory = (whole, half, "MB", half / whole)
    yield row(f"memory of that over {days} days", f"over {days // 2} days", memory, goal=0.9)


def replayed(url: str, days: int) -> tuple[float, float, int]:
    """Bars a second, MB of the larger process, decisions."""
    asyncio.run(filled(url, days))
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Manager().Barrier(PARTS)
    with ProcessPoolExecutor(PARTS, mp_context=spawn) as pool:
        found = list(pool.map(replay_part, [url] * PARTS, range(PARTS), [barrier] * PARTS))
    seconds = max(end for _, end, _, _ in found) - min(begin for begin, _, _, _ in found)
    return MARKETS * days * 1_440 / seconds, max(mb for *_, mb, _ in found), sum(made for *_, made in found)


def replay_part(url: str, part: int, barrier: Any) -> tuple[float, float, float, int]:
    """When it began and ended, its largest resident set in MB, and how many decisions it made."""
    asyncio.run(_once(url, part, upto=MARKETS))  # compiles
    barrier.wait(120)
    begun = time.time()
    made = asyncio.run(_once(url, part))
    return begun, time.time(), peak_mb(os.getpid()), made


async def _once(url: str, part: int, upto: int | None = None) -> int:
    made, digest = 0, Digest()
    async with PostgresEventStore(url) as store:
        job = replace((await jobs_of(store))[part], position=0)
        async for _, outputs in replay(store, job, upto or await store.head()):
            made += int(np.count_nonzero(outputs.kinds == DECISION))
            digest.take(outputs)
    return made


async def filled(url: str, days: int) -> None:
    """The strategy, then day after day the bars of every market."""
    command = msgspec.structs.replace(default_strategy("bench", timeframes=(1,)), parts=PARTS)
    (defined,) = strategy_decider.decide(command, Versions())
    rngs = [np.random.default_rng(number) for number in range(MARKETS)]
    last = np.full(MARKETS, 4_000_000.0)
    async with PostgresEventStore(url) as store:
        await store.append([codec.new_event(stream_of("bench"), 1, defined)])
        for day in range(days):
            events = [bars(number, day, last, rng) for number, rng in enumerate(rngs)]
            streams = [event.instrument.stream("bars") + "-1m" for event in events]
            for n in range(0, MARKETS, TOGETHER):
                its = zip(streams[n : n + TOGETHER], events[n : n + TOGETHER], strict=True)
                await store.append([codec.new_event(s, day + 1, event) for s, event in its])


def bars(number: int, day: int, last: NDArray[np.float64], rng: np.random.Generator) -> BarsObserved:
    """A day of 1m bars of a walk."""
    close = last[number] * np.exp(np.cumsum(rng.normal(0.0, 5e-4, 1_440)))
    opens = np.concatenate([[last[number]], close[:-1]])
    last[number] = close[-1]
    beyond = close * np.abs(rng.normal(0.0, 2e-4, 1_440))
    values = (opens, np.maximum(opens, close) + beyond, np.minimum(opens, close) - beyond, close)
    opened, high, low, closed = (np.round(v).astype(np.int64) for v in values)
    columns = BarColumns(
        start=START + (day * 1_440 + np.arange(1_440)) * MINUTE_NS,
        open=opened, high=high, low=low, close=closed,
        volume=rng.integers(1, 10**9, 1_440), trade_count=rng.integers(1, 100, 1_440),
        price_exponent=2, volume_exponent=8,
    )  # fmt: skip
    instrument = Instrument("bench", f"I{number:02}")
    return BarsObserved(instrument=instrument, timeframe_minutes=1, volume_unit="base", columns=columns)


# Live


class Always:
    """Long or short by the minute, as sure as can be."""

    version = 1
    inputs = ()

    def vote(self, view: View) -> Vote:
        sides = np.where(view.known_time // (8 * MINUTE_NS) % 2 == 0, 1.0, -1.0)
        return Vote.of(sides, lambda _: ("always",), self.version)


ALWAYS = register(Kind(name="bench.always", title="Always", make=lambda *_: Always()))


def eager() -> StrategyDefined:
    """The default voters and one that always votes; a gate that lets everything through."""
    seat = VoterChoice(name="always", kind=ALWAYS.name)
    command = default_strategy("bench", timeframes=(1,))
    (defined,) = strategy_decider.decide(
        msgspec.structs.replace(command, voters=(*command.voters, seat)), Versions()
    )
    assert isinstance(defined, StrategyDefined)
    return msgspec.structs.replace(
        defined,
        geometries=(Geometry(stop_atr=2.0, target_atr=2.0, horizon_bars=2),),
        adaptations=(),
        quorum=1.0,
        min_consensus=1e-6,
        gate=Gate(threshold=1e-6, margin=-1e6, breaker_outcomes=1_000_000, breaker_window=1),
        learning=Learning(least=1, refit_ratio=1.0, prior_weight=1e9, window=2_000),
        risk=Risk(
            risk_ratio=1e-6,
            min_size_ratio=1e-9,
            max_size_ratio=1e-6,
            max_exposure_ratio=1e6,
            max_open=100_000,
            max_per_instrument=1_000,
            max_correlation=1.0,
            daily_loss_ratio=1.0,
            max_drawdown_ratio=1.0,
            cooldown_bars=0,
        ),
    )


async def live(url: str, spread_s: float, rounds: int = ROUNDS) -> NDArray[np.float64]:
    """Milliseconds from the append of the trade that ended a bar to hearing of its signal's commit."""
    async with PostgresEventStore(url) as store:
        defined = eager()
        walks = [Walking(number) for number in range(MARKETS)]
        for walk in walks:
            await walk.append(store, HISTORY)
        await store.append([codec.new_event(stream_of(defined.name), 1, defined)])
        async with role(url), AsyncExitStack() as stack:
            heard: dict[int, float] = {}
            listening = asyncio.create_task(listen(url, await store.head(), heard))
            stack.callback(listening.cancel)
            sent: dict[int, float] = {}
            for number in range(WARM_UP + rounds):
                begun = time.perf_counter()
                its = await asyncio.gather(
                    *(_end_bar(store, walk, spread_s * n / MARKETS) for n, walk in enumerate(walks))
                )
                sent |= dict(its) if number >= WARM_UP else {}
                if number == 0:
                    await _until(lambda: len(heard) > 0, 300)  # it has read the history
                await asyncio.sleep(max(PAUSE_S - time.perf_counter() + begun, 0))
            await _until(lambda: len(sent.keys() - heard.keys()) <= 0.05 * len(sent), 60)
    return np.array([(heard[at] - begun) * 1_000 for at, begun in sent.items() if at in heard])


@asynccontextmanager
async def role(url: str) -> AsyncIterator[None]:
    """``decide`` at work in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=decide, args=(url,))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.join, 30)


def decide(url: str) -> None:
    async def work() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await run_decide(url, contexts_of, recorder, stop)

    uvloop.run(work())


async def listen(url: str, after: int, heard: dict[int, float]) -> None:
    """When the signal of the bar that ended at a position was first to be read, by position."""
    async with PostgresEventStore(url) as store:
        while True:
            page = await store.read(after, names=("signal.issued.v1",), limit=500)
            now = time.perf_counter()
            for record in page.records:
                heard.setdefault(codec.decode(record).event.position, now)
            if page.scanned_to == after:
                await store.changed(after, 1.0)
            after = page.scanned_to


async def _until(is_so: Callable[[], bool], timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110  what it waits for comes from elsewhere
            await asyncio.sleep(0.05)


async def _end_bar(store: PostgresEventStore, walk: "Walking", after_s: float) -> tuple[int, float]:
    await asyncio.sleep(after_s)
    begun = time.perf_counter()
    return await walk.append(store, 1), begun


class Walking:
    """One market: a trade a minute."""

    def __init__(self, number: int) -> None:
        self.instrument = Instrument("bench", f"M{number:02}")
        self.rng = np.random.default_rng(number)
        self.version, self.trades, self.price = 0, 0, 4_000_000.0

    async def append(self, store: PostgresEventStore, count: int) -> int:
        """The position of the event of so many trades."""
        prices = self.price * np.exp(np.cumsum(self.rng.normal(0.0, 5e-4, count)))
        ids = self.trades + np.arange(count)
        self.price, self.trades, self.version = prices[-1], self.trades + count, self.version + 1
        columns = TradeColumns(
            time=START + ids * MINUTE_NS + 1_000_000,
            price=np.round(prices).astype(np.int64),
            size=self.rng.integers(1, 10_000, count),
            side=np.where(self.rng.random(count) < 0.5, 1, -1).astype(np.int8),
            id=ids + 1,
            flags=np.zeros(count, dtype=np.uint8),
            price_exponent=2,
            size_exponent=4,
        )
        event = TradesObserved(instrument=self.instrument, columns=columns)
        new = codec.new_event(self.instrument.stream("trades"), self.version, event)
        return (await store.append([new]))[0].position
