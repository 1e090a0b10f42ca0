"""A backtest gives what the live role records, and leaves the log as it was."""

from collections.abc import Sequence
from typing import Any

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.ports import EventStore
from alphapulse.processes.backtesting import Run, run_backtest
from alphapulse.processes.decide import once
from alphapulse.processes.desks import jobs_of
from tests.decided_log import MARKETS, append_bars, recorded
from tests.domain.signals.engine_world import strategy


async def market() -> MemoryEventStore:
    store = MemoryEventStore()
    await append_bars(store, MARKETS)
    return store


async def define(store: EventStore, defined: StrategyDefined) -> None:
    stream = f"strategy-{defined.name}"
    await store.append([codec.new_event(stream, await store.version(stream) + 1, defined)])


async def decided(store: EventStore) -> None:
    """As the role does, to the end of the log."""
    for job in await jobs_of(store):
        await once(store, job, await store.head(), lambda _: None, lambda _: None, is_dry=False)


async def backtest(store: EventStore, defined: StrategyDefined | None = None, **how: Any) -> Run:
    return await run_backtest(store, defined or strategy(), upto=await store.head(), **how)


async def events(store: EventStore, name: str) -> list[Any]:
    return [each.event for each in await recorded(store, name)]


def closed(trades: Any) -> Sequence[tuple[Any, ...]]:
    """What is said of signals, by number."""
    of = trades.signals
    columns = (of.number, of.decision, of.opened, of.closed, of.reason, of.net_bps, of.net_r, of.size_ratio)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


async def test_a_backtest_gives_what_the_role_recorded() -> None:
    store = MemoryEventStore()
    await define(store, strategy())
    await append_bars(store, MARKETS)
    run = await backtest(store)
    await decided(store)
    issued = {each.decision: each for each in await events(store, "signal.issued.v1")}
    made = [e for e in await events(store, "decision.made.v1") if e.decision in issued]
    outcomes = await events(store, "outcome.recorded.v1")
    ended = await events(store, "signal.closed.v1")
    assert len(issued) > 10
    assert sorted(run.issued, key=lambda e: e.decision) == sorted(made, key=lambda e: e.decision)
    assert [e.decision for e in run.issued] == list(issued)
    assert run.counts.outcomes == len(outcomes) == len(run.trades)
    assert closed(run.trades) == [
        (
            e.number,
            e.decision,
            issued[e.decision].time,
            e.time,
            e.reason,
            e.net_bps,
            e.r_multiple,
            issued[e.decision].size_ratio,
        )
        for e in sorted(ended, key=lambda e: e.number)
    ]
    assert run.equity == ended[-1].equity != 1.0
    again = await backtest(store)
    assert (again.decisions_digest, again.outcomes_digest) == (run.decisions_digest, run.outcomes_digest)
