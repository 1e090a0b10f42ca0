"""What an engine may give, made up: proposals that become signals, refused candidates, advice, outcomes.

``python -m tests.processes.decided_outputs DATABASE_URL SYMBOL COUNT`` issues those of one market, a few at
a time; made to be killed.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.decisions import LOW_CONFIDENCE, REFUSED, DecisionMade
from alphapulse.domain.decision.strategy import Geometry, Risk, StrategyDefined, VoterChoice
from alphapulse.domain.ports import EventStore
from alphapulse.domain.signals.engine_events import ExitSuggested, Output
from alphapulse.domain.signals.signal import OutcomeRecorded, SignalIssued
from alphapulse.processes.issuing import Issuer
from tests.domain.signals.decided import NOON, SHORT, decision, outcome

AT_ONCE = 3  # outputs of a call

# Limits that let everything through: whoever is first then gets the same signals as whoever is second.
FREE = Risk(
    risk_ratio=0.0001,
    max_correlation=1.0,
    max_open=1_000,
    max_per_instrument=100,
    max_exposure_ratio=100,
    daily_loss_ratio=1,
    cooldown_bars=0,
)
STRATEGY = StrategyDefined(
    name="mine",
    version=1,
    owner="me",
    description="",
    timeframes=(5,),
    voters=(VoterChoice(name="v", kind="k"),),
    geometries=(Geometry(stop_atr=2, target_atr=2, horizon_bars=100),),
    risk=FREE,
)


def refused(made: DecisionMade) -> DecisionMade:
    return replace(
        made, verdict=REFUSED, refusals=(LOW_CONFIDENCE,), notes=("confidence 0.8000 is under 0.85",)
    )


def resolved(made: DecisionMade, **became: Any) -> OutcomeRecorded:
    return OutcomeRecorded(
        strategy=made.strategy,
        strategy_version=made.strategy_version,
        decision=made.decision,
        instrument=made.instrument,
        timeframe=made.timeframe,
        side=made.side,
        number=0,
        confidence=made.claim.confidence,
        outcome=outcome(made.bar_start + 4, **became),
    )


def numbered(instrument: str, events: Sequence[Any], *, position: int = 1_000) -> list[Output]:
    """``events`` as outputs, one position each unless they have one; advice has no number of its own."""
    found, ordinal = [], 0
    for i, event in enumerate(events):
        ordinal += not isinstance(event, ExitSuggested)
        at = event.position if isinstance(event, DecisionMade) else position + i
        found.append(Output(at, instrument, ordinal, event))
    return found


def outputs(instrument: str, proposals: int) -> list[Output]:
    """Each proposal is followed by a refused candidate, advice to leave the first, and outcomes of both."""
    events: list[Any] = []
    for i in range(proposals):
        minute = NOON + 10 * i
        made = decision(instrument, minute, position=1_000 + 10 * i)
        other = refused(decision(instrument, minute + 5, side=SHORT, position=1_001 + 10 * i))
        leave = ExitSuggested(
            decision=made.decision,
            against=other.decision,
            instrument=instrument,
            time=other.time,
            price=100.5,
            consensus=-0.5,
            reasons=("trend: it turned",),
        )
        won = i % 3 != 0
        events += [
            made,
            other,
            leave,
            resolved(made, net_bps=190.0 if won else -210.0, reason="target" if won else "stop"),
            resolved(other),
        ]
    return numbered(instrument, events)


async def stream(store: EventStore, name: str) -> list[Any]:
    found: list[Any] = []
    while records := await store.read_stream(name, after=len(found)):
        found += [codec.decode(record).event for record in records]
    return found


async def signals(store: EventStore) -> list[SignalIssued]:
    return [event for event in await stream(store, "signals-mine") if isinstance(event, SignalIssued)]


async def in_calls(store: Any, given: Sequence[Output], size: int) -> None:
    """Issue ``given``, ``size`` outputs a call."""
    issuer = Issuer(store, STRATEGY)
    for first in range(0, len(given), size):
        await issuer.issue(given[first : first + size])


async def main(database_url: str, symbol: str, count: str) -> None:
    given = outputs(f"test:{symbol}", int(count))
    async with PostgresEventStore(database_url) as store:
        await in_calls(store, given, AT_ONCE)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
