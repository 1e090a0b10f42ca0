"""Strategies at work on a real log: what is recorded follows from the log alone, whatever happens."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import psycopg
import pytest

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined, StrategyRetired, stream_of
from alphapulse.domain.ports import EventStore, Recorded
from alphapulse.domain.signals.engine import Engine
from alphapulse.domain.signals.signal import OutcomeRecorded, SignalIssued
from alphapulse.processes.decide import contexts_of, recorder
from alphapulse.processes.deciding import Limits, Seat
from alphapulse.processes.desks import jobs_of, run_decide
from alphapulse.processes.verifying import verify_outcome
from alphapulse.projections.log_source import StoreSource
from tests.domain.signals.engine_world import closes_and_volumes as walk
from tests.domain.signals.engine_world import strategy, trade_events, world

DECIDING = ("decision.made.v1", "outcome.recorded.v1", "calibration.fitted.v1", "signal.issued.v1")
QUICK = Limits(poll_s=0.05, keep_s=0.0, page_events=5)


@asynccontextmanager
async def deciding(url: str, limits: Limits = QUICK) -> AsyncIterator[asyncio.Task[None]]:
    """The role at work."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_decide(url, contexts_of, recorder, stop, limits))
    try:
        yield task
    finally:
        stop.set()
        await task


async def append(store: EventStore, *events: Any) -> int:
    """Record market events and definitions, one commit each; the last position."""
    position = 0
    for event in events:
        if isinstance(event, StrategyDefined | StrategyRetired):
            stream = stream_of(event.name)
        else:
            kind = "bars" if hasattr(event, "timeframe_minutes") else "trades"
            stream = event.instrument.stream(kind) + ("-1m" if kind == "bars" else "")
        new = codec.new_event(stream, await store.version(stream) + 1, event)
        position = (await store.append([new]))[0].position
    return position


async def recorded(store: EventStore, names: Sequence[str] = DECIDING) -> list[Recorded]:
    """Everything of these names in the log."""
    found, after = list[Recorded](), 0
    while True:
        page = await store.read(after, names=names, limit=500)
        found += [codec.decode(record) for record in page.records]
        if page.scanned_to == after:
            return found
        after = page.scanned_to


async def reached(url: str, position: int, parts: int = 1) -> None:
    """Until every desk has written down that it has come so far."""
    async with asyncio.timeout(60):
        while True:
            async with await psycopg.AsyncConnection.connect(connection_info(url, role=None)) as db:
                query = "SELECT count(*) FROM decider_states WHERE position >= %s"
                row = await (await db.execute(query, (position,))).fetchone()
            if row is not None and row[0] >= parts:
                return
            await asyncio.sleep(0.05)


def contents(events: Sequence[Recorded]) -> list[bytes]:
    """What they say, in the order of their streams: not positions, times of recording, or ids."""
    keyed = sorted(events, key=lambda each: (each.stream, each.version))
    return [each.stream.encode() + msgspec.json.encode(each.event) for each in keyed]


EVENTS = [event for _, _, event in world(markets=2, bars=2_000, edge=3e-4, size=50)]


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore(database_url) as opened:
        yield opened


async def test_what_is_recorded_is_what_the_engine_says(store: PostgresEventStore, database_url: str) -> None:
    await append(store, strategy())
    async with deciding(database_url):
        await reached(database_url, await append(store, *EVENTS))
    log = await recorded(store)
    market = await recorded(store, ("market.bars_observed.v1",))
    given = [(r.position, str(r.event.instrument), r.event) for r in market]
    outputs = [output.event for output in Engine(strategy()).advance(given)]
    for kind in (DecisionMade, OutcomeRecorded, CalibrationFitted):
        mine = [output for output in outputs if isinstance(output, kind)]
        theirs = [each.event for each in log if isinstance(each.event, kind)]
        assert len(theirs) == len(mine) > 0
    decisions = {o.decision: o for o in outputs if isinstance(o, DecisionMade)}
    for each in log:
        if isinstance(each.event, DecisionMade):
            assert decisions[each.event.decision].claim == each.event.claim
            assert decisions[each.event.decision].votes == each.event.votes
    numbers = [each.event.number for each in log if isinstance(each.event, SignalIssued)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
    caused = {each.envelope.event_id for each in market}
    assert all(each.envelope.cause_id in caused for each in log if isinstance(each.event, DecisionMade))


async def test_kills_and_other_batches_change_nothing(store: PostgresEventStore, database_url: str) -> None:
    """Live, in small pages and killed a dozen times; against one run over the finished log."""
    await append(store, strategy())
    rng = random.Random(7)
    feeding = asyncio.create_task(append(store, *EVENTS))
    for _ in range(12):
        limits = Limits(poll_s=0.05, keep_s=rng.choice([0.0, 30.0]), page_events=rng.randint(1, 20))
        task = asyncio.create_task(run_decide(database_url, contexts_of, recorder, asyncio.Event(), limits))
        await asyncio.sleep(rng.uniform(0.05, 0.4))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    end = await feeding
    async with deciding(database_url):
        await reached(database_url, end)
    live = await recorded(store)
    (job,) = await jobs_of(store)
    seat = await Seat.taken(store, job, contexts_of(job.strategy))
    source, write = StoreSource(store), recorder(store, seat)
    while seat.desk.position < end:
        # The log holds all of it already: anything that differed would be refused as Diverged.
        await write(await seat.take(await source.next(seat.desk.position, limit=500, timeout_s=1)))
    assert contents(await recorded(store)) == contents(live)
    assert any(isinstance(each.event, SignalIssued) for each in live)


async def test_a_strategy_knows_the_past_but_decides_nothing_in_it(
    store: PostgresEventStore, database_url: str
) -> None:
    past = len(EVENTS) * 3 // 4
    await append(store, *EVENTS[:past])
    since = await append(store, strategy())
    async with deciding(database_url):
        await reached(database_url, await append(store, *EVENTS[past:]))
    log = await recorded(store)
    decided = {each.event.decision for each in log if isinstance(each.event, DecisionMade)}
    assert decided
    assert all(each.event.position > since for each in log if isinstance(each.event, DecisionMade))
    assert all(each.event.decision in decided for each in log if isinstance(each.event, OutcomeRecorded))
    first, *_ = [each.event for each in log if isinstance(each.event, CalibrationFitted)]
    assert first.last_position <= since, "what it learnt before its definition is there from the first day"


async def test_two_parts_in_two_processes_number_signals_without_gaps(
    store: PostgresEventStore, database_url: str
) -> None:
    markets = 6
    await append(store, strategy(parts=2))
    events = [event for _, _, event in world(markets=markets, bars=1_200, edge=3e-4, size=60)]
    async with deciding(database_url), deciding(database_url):
        await reached(database_url, await append(store, *events), parts=2)
    log = await recorded(store)
    numbers = [each.event.number for each in log if isinstance(each.event, SignalIssued)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({each.event.decision for each in log if isinstance(each.event, SignalIssued)}) == len(numbers)
    decided = {each.event.instrument for each in log if isinstance(each.event, DecisionMade)}
    assert len(decided) == markets


async def test_a_reference_market_is_decided_on_in_its_own_part_alone(
    store: PostgresEventStore, database_url: str
) -> None:
    await append(store, strategy(parts=2, reference="test:M0"))
    events = [event for _, _, event in world(markets=3, bars=900, edge=3e-4, size=60)]
    async with deciding(database_url):
        await reached(database_url, await append(store, *events), parts=2)
    log = await recorded(store)
    decided = [each.event.decision for each in log if isinstance(each.event, DecisionMade)]
    assert len(set(decided)) == len(decided) > 0


async def test_a_retired_strategy_decides_no_more_and_watches_to_the_end(
    store: PostgresEventStore, database_url: str
) -> None:
    half = len(EVENTS) // 2
    await append(store, strategy(), *EVENTS[:half])
    retired = await append(store, StrategyRetired(name="world", version=1, reason="enough"))
    end = await append(store, *EVENTS[half:])
    async with deciding(database_url):
        await reached(database_url, retired)
        async with asyncio.timeout(30):
            while len(await _open(store)) > 0:
                await asyncio.sleep(0.1)
    log = await recorded(store)
    assert max(each.event.position for each in log if isinstance(each.event, DecisionMade)) <= retired < end


async def _open(store: EventStore) -> set[str]:
    log = await recorded(store)
    decided = {each.event.decision for each in log if isinstance(each.event, DecisionMade)}
    return decided - {each.event.decision for each in log if isinstance(each.event, OutcomeRecorded)}


async def test_an_event_that_cannot_be_decided_on_is_passed_over_and_the_rest_counts(
    store: PostgresEventStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    poison = bars_of_no_timeframe()
    await append(store, strategy(), *EVENTS[:6])
    at = await append(store, poison)
    async with deciding(database_url):
        await reached(database_url, await append(store, *EVENTS[6:]))
    assert f"position {at} is passed over" in caplog.text
    assert any(isinstance(each.event, DecisionMade) for each in await recorded(store))


def bars_of_no_timeframe() -> Any:
    """Bars whose start is no start of a bar: a venue's nonsense that nothing can be made of."""
    event = EVENTS[0]
    return replace(event, columns=replace(event.columns, start=event.columns.start + 1))


async def test_trades_decide_as_they_come(store: PostgresEventStore, database_url: str) -> None:
    closes, volumes = walk(3, 900, edge=2e-4)
    await append(store, strategy())
    async with deciding(database_url):
        await reached(database_url, await append(store, *trade_events("T0", closes, volumes, size=600)))
    log = await recorded(store)
    assert any(isinstance(each.event, OutcomeRecorded) for each in log)


async def test_recorded_outcomes_follow_from_the_events_of_their_market(
    store: PostgresEventStore, database_url: str
) -> None:
    await append(store, strategy())
    async with deciding(database_url):
        await reached(database_url, await append(store, *EVENTS))
    log = await recorded(store)
    made = {each.event.decision: each.event for each in log if isinstance(each.event, DecisionMade)}
    outcomes = [each.event for each in log if isinstance(each.event, OutcomeRecorded)]
    for outcome in outcomes[:: len(outcomes) // 20]:
        found = await verify_outcome(store, made[outcome.decision], strategy(), outcome.outcome)
        assert found.differences == ()
    other = msgspec.structs.replace(outcomes[0].outcome, exit_price=1.0)
    (difference,) = (await verify_outcome(store, made[outcomes[0].decision], strategy(), other)).differences
    assert difference.startswith("exit_price: recorded 1.0, derived ")
