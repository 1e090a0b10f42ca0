"""Several deciders of one strategy at once, over the real store, and what kills of real processes leave."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import EventStore
from alphapulse.domain.signals.signal import SignalClosed, SignalIssued
from alphapulse.processes.issuing import Issuer
from tests.domain.signals.decided import BTC, ETH
from tests.processes.decided_outputs import STRATEGY, in_calls, outputs, signals, stream

DECISIONS = "decisions-kraken-BTC/USD-mine.1"
SIGNALS = "signals-mine"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[EventStore]:
    async with PostgresEventStore(database_url) as store:
        yield store


def check_numbers(found: Sequence[SignalIssued], count: int) -> None:
    assert [signal.number for signal in found] == list(range(1, count + 1))
    assert len({signal.decision for signal in found}) == count


async def test_two_deciders_issue_signals_of_one_strategy_gapless_and_none_twice(database_url: str) -> None:
    async with PostgresEventStore(database_url) as one, PostgresEventStore(database_url) as two:
        given = {one: outputs(BTC, 200), two: outputs(ETH, 200)}
        both = asyncio.Barrier(2)  # else the machine decides how much they get in each other's way

        async def write(store: PostgresEventStore) -> None:
            issuer = Issuer(store, replace(STRATEGY, parts=2))
            for first in range(0, 1_000, 10):
                await both.wait()
                await issuer.issue(given[store][first : first + 10])

        await asyncio.gather(write(one), write(two))
        found = await signals(one)
        check_numbers(found, 400)
        assert {s.instrument for s in found[:100]} == {BTC, ETH}, "they took turns"
        before = await one.head()
        for store, mine in given.items():
            assert (await Issuer(store, STRATEGY).issue(mine)).appended == 0
        assert await one.head() == before


async def test_one_decider_that_is_there_twice_changes_nothing(database_url: str) -> None:
    """A frozen process that wakes up beside its successor gives the same outputs."""
    async with PostgresEventStore(database_url) as one, PostgresEventStore(database_url) as two:
        given = outputs(BTC, 40)
        await asyncio.gather(in_calls(one, given, 3), in_calls(two, given, 4))
        check_numbers(await signals(one), 40)
        assert len(await stream(one, DECISIONS)) == 160


def start(database_url: str, symbol: str, count: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.processes.decided_outputs", database_url, symbol, str(count)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


async def test_killed_processes_leave_no_gap_and_nothing_twice(store: EventStore, database_url: str) -> None:
    """Each of two writers is killed while the log grows, and begins again."""
    count, symbols = 40, ("AAA", "BBB")
    running = {symbol: start(database_url, symbol, count) for symbol in symbols}
    try:
        for symbol in symbols:
            await grown(store, by=60)
            running[symbol].kill()
            running[symbol].wait()
            running[symbol] = start(database_url, symbol, count)
        for process in running.values():
            assert await asyncio.to_thread(process.wait, 60) == 0
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    check_numbers(await signals(store), 2 * count)
    for symbol in symbols:
        assert len(await stream(store, f"decisions-test-{symbol}-mine.1")) == 4 * count
    closed = [event for event in await stream(store, SIGNALS) if isinstance(event, SignalClosed)]
    assert sorted(event.number for event in closed) == list(range(1, 2 * count + 1))


async def grown(store: EventStore, *, by: int) -> None:
    wanted, deadline = await store.head() + by, time.monotonic() + 60
    while await store.head() < wanted:
        assert time.monotonic() < deadline, "the log does not grow"
        await asyncio.sleep(0.005)
