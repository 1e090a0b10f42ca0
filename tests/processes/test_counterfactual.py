"""What if: a strategy replayed under a change, beside the same replay without it and beside the log."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.backtest.counterfactuals import Asked, Told
from alphapulse.domain.backtest.trials import stream_of
from alphapulse.domain.backtest.variants import BadVariant
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.decision.strategy_text import from_content, to_content
from alphapulse.domain.ports import EventStore
from alphapulse.processes.counterfactual import Found, counterfactual
from alphapulse.processes.decide import once
from alphapulse.processes.desks import jobs_of
from alphapulse.processes.strategies import define
from alphapulse.processes.trials import LogTrials
from tests import servers
from tests.decided_log import MARKETS, append_bars, recorded
from tests.domain.signals.engine_world import strategy

LIVE = from_content(to_content(strategy()), owner="test")
PLAIN = Asked(strategy="world", changes=("risk.fee_bps=3",))


@pytest.fixture(scope="module")
def decided_url(migrated_postgres: PostgresServer) -> Iterator[str]:
    """Two markets on which the strategy has decided. Its tests append trials at most."""
    with servers.fresh_database(migrated_postgres) as url:
        asyncio.run(_decide(url))
        yield url


async def _decide(url: str) -> None:
    async with PostgresEventStore(url) as store:
        await define(store, LIVE)
        end = await append_bars(store, MARKETS)
        (job,) = await jobs_of(store)
        await once(store, job, end, lambda _: None, lambda _: None, is_dry=False)


@pytest.fixture
async def store(decided_url: str) -> AsyncIterator[EventStore]:
    async with PostgresEventStore(decided_url) as opened:
        yield opened


async def asked(store: EventStore, **what: Any) -> Found:
    told: list[Told] = []
    before = await store.head()
    found = await counterfactual(store, Asked(strategy="world", **what), told.append)
    assert await store.head() == before, "it only reads"
    ratios = [each.ratio for each in told]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0
    return found


async def test_the_base_is_what_is_recorded(store: EventStore) -> None:
    found = (await asked(store, gate=0.7)).result
    assert found.recorded is True, found.note
    issued = [each.event for each in await recorded(store, "signal.issued.v1")]
    outcomes = [each.event for each in await recorded(store, "outcome.recorded.v1")]
    base = found.base
    assert base.counts.signals == base.signals.signals == len(issued) > 10
    assert base.signals.won == sum(o.outcome.is_win for o in outcomes if o.number)
    closes = [each.event for each in await recorded(store, "signal.closed.v1")]
    assert base.equity == closes[-1].equity
    # The book sees markets in the order of the log, contributions are by the venues' clocks.
    assert base.equity == pytest.approx(1 + base.signals.contribution, abs=1e-4)


async def middle_gate(store: EventStore) -> float:
    """A gate that keeps about half of the signals out, and hits none exactly."""
    claims: list[float] = sorted(
        {each.event.confidence for each in await recorded(store, "signal.issued.v1")}
    )
    assert len(claims) > 2, claims
    return (claims[len(claims) // 2] + claims[len(claims) // 2 - 1]) / 2


async def test_a_higher_gate_drops_signals_and_tells_what_that_costs_and_saves(store: EventStore) -> None:
    gate = await middle_gate(store)
    found = (await asked(store, gate=gate)).result
    issued = [each.event for each in await recorded(store, "signal.issued.v1")]
    under = [signal for signal in issued if signal.confidence < gate]
    assert found.change == f"gate.threshold={gate!r}"
    assert found.only_base.signals >= len(under) > 0
    assert found.both_base.signals + found.only_base.signals == found.base.signals.signals == len(issued)
    for name in ("contribution", "r"):
        parts = [getattr(each, name) for each in (found.both_changed, found.only_changed)]
        assert sum(parts) == pytest.approx(getattr(found.changed.signals, name), abs=1e-12)
    brought = found.changed.signals.contribution - found.base.signals.contribution
    low, value, high = found.difference.low, found.difference.value, found.difference.high
    assert low is not None
    assert value is not None
    assert high is not None
    assert value == pytest.approx(brought, abs=1e-12)
    assert low <= value <= high
    assert found.changed.gate.refused > found.base.gate.refused
    assert found.changed.gate.missed_r >= found.base.gate.missed_r > 0 >= found.base.gate.avoided_r
    parted = found.first_divergence
    assert parted is not None
    assert parted.base is not None
    assert parted.changed is not None
    assert parted.base.number > 0 == parted.changed.number
    first = min(under, key=lambda signal: (signal.time, signal.decision))
    assert parted.decision == first.decision


async def test_other_costs_leave_every_decision_and_change_what_each_earned(store: EventStore) -> None:
    found = (await asked(store, changes=("risk.fee_bps=0",), without=())).result
    assert found.both_base.signals == found.base.signals.signals or found.only_changed.signals > 0
    assert found.both_changed.contribution > found.both_base.contribution
    assert found.difference.value is not None
    assert found.difference.value > 0


async def test_without_a_voter_its_votes_are_gone(store: EventStore) -> None:
    found = await asked(store, without=("b",))
    assert found.result.change == "without b"
    assert [seat.name for seat in found.trial.configuration.voters] == ["a", "c"]
    assert found.result.base.decisions_digest != found.result.changed.decisions_digest


async def test_what_was_tried_is_a_trial_once_however_often_it_is_asked(store: EventStore) -> None:
    first, again = await asked(store, gate=0.65), await asked(store, gate=0.65)
    other = await asked(store, gate=0.66)
    assert first.trial == again.trial
    assert first.result == again.result
    assert first.trial.kind == "counterfactual"
    assert first.trial.trial == first.result.trial != other.result.trial
    before = await store.version(stream_of("world"))
    added = [await LogTrials(store, "world").add(each.trial) for each in (first, again, other)]
    assert added == [True, False, True]
    assert await store.version(stream_of("world")) == before + 2
    assert (await asked(store, gate=0.65)).trial == first.trial, "what others record makes it no other trial"


async def test_only_what_was_decided_in_the_range_counts(store: EventStore) -> None:
    issued = sorted(each.event.time for each in await recorded(store, "signal.issued.v1"))
    since, until = issued[len(issued) // 4], issued[len(issued) * 3 // 4]
    found = (await asked(store, gate=0.7, since=since, until=until)).result
    made = [
        each.event
        for each in await recorded(store, "decision.made.v1")
        if isinstance(each.event, DecisionMade) and since <= each.event.time < until
    ]
    assert found.base.counts.decisions == len(made)
    assert (found.since, found.until) == (since, until)


async def test_before_its_definition_nothing_is_recorded_and_with_whole_it_counts(database_url: str) -> None:
    async with PostgresEventStore(database_url) as store:
        await append_bars(store, MARKETS)
        await define(store, LIVE)
        since = (await counterfactual(store, PLAIN, lambda _: None)).result
        assert (since.recorded, since.base.counts.decisions) == (None, 0)
        assert since.note == "nothing of it is recorded in this range"
        assert since.difference.low is None
        assert "too few" in since.difference.note
        assert since.first_divergence is None
        whole = (
            await counterfactual(store, msgspec.structs.replace(PLAIN, whole=True), lambda _: None)
        ).result
        assert whole.recorded is None
        assert whole.base.counts.decisions > 100


async def test_a_recorded_event_that_is_another_is_said(decided_url: str) -> None:
    """Another version's signals share the book: the replay of one alone is not what was recorded."""
    async with PostgresEventStore(decided_url) as store:
        base = (await asked(store, gate=0.7)).result
        later = (await asked(store, gate=0.7, since=1)).result
        assert later.recorded is True
        assert base.base.outcomes_digest == later.base.outcomes_digest


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, "nothing is asked for"),
        ({"gate": 0.6}, "gate.threshold=0.6 is how it is"),
        ({"gate": 1.5}, "1.5"),
        ({"without": ("nobody",)}, "no voter is called nobody: there are a, b, c"),
        ({"changes": ("risk.fee_bps=1,2",)}, "2 of risk.fee_bps are 2 configurations, at most 1"),
        ({"changes": ("gate.threshold=0.7",), "gate": 0.7}, "a field stands twice"),
        ({"changes": ("nonsense",)}, "PATH=VALUE"),
    ],
)
async def test_a_change_that_is_none_or_makes_no_strategy_is_refused(
    store: EventStore, what: Any, said: str
) -> None:
    with pytest.raises(BadVariant, match=said.replace("(", r"\(")):
        await counterfactual(store, Asked(strategy="world", **what), lambda _: None)


async def test_a_strategy_that_is_not_there_is_refused(store: EventStore) -> None:
    with pytest.raises(UnknownStrategy, match="no strategy 'other'"):
        await counterfactual(store, Asked(strategy="other", gate=0.5), lambda _: None)
