"""The role ``decide`` killed at random moments while markets are fed, and PostgreSQL once in between.

In the end each stream holds what one undisturbed decider gives over the same events of the markets. Positions
differ, for what deciders record stands between those events: each is compared as the event that it names.
"""

import asyncio
import os
import random
import signal
import sys
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import EventStore, Recorded
from alphapulse.domain.signals.signal import SignalIssued
from alphapulse.processes.decide import once
from alphapulse.processes.desks import connector, jobs_of
from alphapulse.projections.decider_states import reached
from tests import servers
from tests.crash.test_bus_kills import Process
from tests.decided_log import append_bars, recorded, with_test_voters
from tests.decision_events import stream_of
from tests.domain.signals.engine_world import strategy, world

MARKET = "market.bars_observed.v1"
DECIDED = (
    "decision.made.v1",
    "decision.parameters_adapted.v1",
    "outcome.recorded.v1",
    "calibration.fitted.v1",
    "signal.issued.v1",
    "signal.exit_recommended.v1",
    "signal.closed.v1",
)
BARS = [event for _, _, event in world(markets=2, bars=1_500, edge=3e-4, size=10)]
DEFINED = strategy()


@dataclass
class Deciders:
    """Roles on a database, each a process that is killed and started again."""

    url: str
    directory: Path
    path: str
    processes: list[Process] = field(default_factory=list)

    def start(self) -> None:
        command = [sys.executable, "-m", "alphapulse", "run", "decide"]
        log = self.directory / f"decide{len(self.processes)}.log"
        variables = {"ALPHAPULSE_DATABASE_URL": self.url, "PYTHONPATH": self.path}
        self.processes.append(Process(command, log, **variables))

    def errors(self) -> list[str]:
        logs = [log.read_text() for log in self.directory.glob("decide*.log")]
        return [line for log in logs for line in log.splitlines() if "Diverged" in line or "poison" in line]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    servers.make_template(postgres)
    return postgres.create_database("disturbed", servers.TEMPLATE)


@pytest.fixture
def voters(tmp_path: Path) -> str:
    return with_test_voters(tmp_path)


@asynccontextmanager
async def deciding(url: str, directory: Path, path: str, number: int) -> AsyncIterator[Deciders]:
    deciders = Deciders(url, directory, path)
    try:
        for _ in range(number):
            deciders.start()
        yield deciders
    finally:
        for process in deciders.processes:
            process.kill()


async def test_a_killed_decider_records_what_an_undisturbed_one_does(
    url: str, postgres: PostgresServer, voters: str, tmp_path: Path
) -> None:
    """Two kills; nobody waits for a dead one's lease here: it is made to have run out."""
    chance = random.Random(5)
    async with PostgresEventStore(url, timeout_s=60) as store:
        await define(store)
        slices = [BARS[n * 100 : (n + 1) * 100] for n in range(3)]
        await append_bars(store, slices[0])
        async with deciding(url, tmp_path, voters, 1) as deciders:
            epoch = 0
            for number, events in enumerate(slices[1:], 1):
                epoch = await begun(url, epoch)
                feeding = asyncio.create_task(feed(store, events, pause_s=0.01))
                if number == 2:
                    await asyncio.sleep(chance.uniform(0.1, 0.5))
                    await restart(postgres)
                await asyncio.sleep(chance.uniform(0.0, 1.0))
                deciders.processes[0].kill()
                await let_leases_run_out(url)
                deciders.processes[0].start()
                await feeding
            await all_decided(url, await store.head())
            assert deciders.errors() == []
        await assert_like_undisturbed(store, postgres)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_rivals_killed_again_and_again_record_what_an_undisturbed_one_does(
    seed: int, url: str, postgres: PostgresServer, voters: str, tmp_path: Path
) -> None:
    """Whoever is left takes over when the lease has run out, by the database's clock."""
    chance = random.Random(seed)
    async with PostgresEventStore(url, timeout_s=60) as store:
        await define(store)
        async with deciding(url, tmp_path, voters, 2) as deciders:
            feeding = asyncio.create_task(feed(store, BARS, pause_s=0.3))
            for number in range(8):
                await asyncio.sleep(chance.uniform(1.0, 20.0))
                if number == 4:
                    await restart(postgres)
                chance.choice(deciders.processes).kill_and_start()
            await feeding
            await all_decided(url, await store.head())
            assert deciders.errors() == []
        await assert_like_undisturbed(store, postgres)


async def define(store: EventStore) -> None:
    await store.append([codec.new_event(stream_of(DEFINED), 1, DEFINED)])


async def feed(store: EventStore, events: Sequence[Any], *, pause_s: float) -> None:
    for event in events:
        await append_bars(store, [event])
        await asyncio.sleep(pause_s)


async def restart(postgres: PostgresServer) -> None:
    """kill -9 of the postmaster, and a new one on what it left."""
    assert postgres.process
    os.kill(postgres.process.pid, signal.SIGKILL)
    await asyncio.to_thread(postgres.process.wait)
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)


async def begun(url: str, epoch: int) -> int:
    """Until somebody holds a lease that nobody held before ``epoch``; that one's epoch."""
    async with asyncio.timeout(60), await connector(url)() as db:
        while True:
            row = await (await db.execute("SELECT max(epoch) FROM leases")).fetchone()
            if row and row[0] is not None and row[0] > epoch:
                return int(row[0])
            await asyncio.sleep(0.05)


async def let_leases_run_out(url: str) -> None:
    async with await connector(url)() as db:
        await db.execute("UPDATE leases SET expires_at = now()")


async def all_decided(url: str, position: int) -> None:
    """Until the decider has written down that it has come so far."""
    async with asyncio.timeout(90), await connector(url)() as db:
        while not any(each.position >= position for each in await reached(db)):
            await asyncio.sleep(0.1)


async def assert_like_undisturbed(store: EventStore, postgres: PostgresServer) -> None:
    disturbed = await recorded(store, MARKET, *DECIDED)
    url = postgres.create_database("undisturbed", servers.TEMPLATE)
    async with PostgresEventStore(url) as other:
        await define(other)
        end = await append_bars(other, [each.event for each in disturbed if each.name == MARKET])
        (job,) = await jobs_of(other)
        await once(other, job, end, lambda _: None, lambda _: None, is_dry=False)
        undisturbed = await recorded(other, MARKET, *DECIDED)
    assert contents(disturbed) == contents(undisturbed)
    numbers = [each.event.number for each in disturbed if isinstance(each.event, SignalIssued)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 5, "the market was too quiet to tell"


def contents(events: Sequence[Recorded]) -> list[tuple[str, int, Any]]:
    """What is decided, stream by stream, with the market's events in the place of positions."""
    market = [each for each in events if each.name == MARKET]
    at = [each.position for each in market]
    named = {0: "", **{each.position: f"{each.stream} {each.version}" for each in market}}

    def said(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: _place(key, each, said(each)) for key, each in value.items()}
        return [said(each) for each in value] if isinstance(value, list | tuple) else value

    def _place(key: str, value: Any, otherwise: Any) -> Any:
        if not key.endswith("position"):
            return otherwise
        # A calibration holds up to any position: what counts is the market's last event before.
        return named.get(value) or named[at[bisect_right(at, value) - 1]]

    decided = sorted((each for each in events if each.name != MARKET), key=lambda e: (e.stream, e.version))
    return [(each.stream, each.version, said(msgspec.to_builtins(each.event))) for each in decided]
