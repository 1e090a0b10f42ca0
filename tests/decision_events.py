"""Decisions, signals and outcomes as events, each like the sample of its name but for what a test says."""

import base64
import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.decision import decisions as made
from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy import stream_of as strategy_stream
from alphapulse.domain.signals.signal import (
    ExitRecommended,
    OutcomeRecorded,
    SignalClosed,
    SignalIssued,
)
from alphapulse.domain.signals.signal import stream_of as signal_stream

SAMPLES = Path(__file__).parent / "stored_events"

Event = TypeVar("Event")


def like_sample(stored_name: str, /, **changed: Any) -> Any:
    """The sample of the stored name, with other fields."""
    state = base64.b64decode(json.loads((SAMPLES / f"{stored_name}.json").read_text())["state"])
    return msgspec.structs.replace(codec.read(stored_name, state), **changed)


def stream_of(event: Any) -> str:
    """Where an event of deciding belongs."""
    match event:
        case StrategyDefined():
            return strategy_stream(event.name)
        case SignalIssued() | ExitRecommended() | SignalClosed():
            return signal_stream(event.strategy)
        case CalibrationFitted():
            return made.calibration_stream(event.strategy, event.strategy_version, event.part)
        case _:
            return made.stream_of(event.instrument, event.strategy, event.strategy_version)


def decision(
    number: int, *, strategy: str = "trial", confidence: float = 0.9, **changed: Any
) -> DecisionMade:
    """The ``number``-th of its market, issued unless said otherwise."""
    sample: DecisionMade = like_sample("decision.made.v1")
    claim = msgspec.structs.replace(sample.claim, confidence=confidence)
    fields = {
        "decision": f"{strategy}.1/test:BTC_USD/5/{number * 5}",
        "strategy": strategy,
        "strategy_version": 1,
        "instrument": "test:BTC_USD",
        "bar_start": number * 5,
        "time": (number + 1) * 300_000_000_000,
        "claim": claim,
        "verdict": made.ISSUED,
        "refusals": (),
        "notes": (),
    }
    return msgspec.structs.replace(sample, **{**fields, **changed})


def issued(of: DecisionMade, number: int) -> SignalIssued:
    """The signal that ``of`` became."""
    event: SignalIssued = like_sample(
        "signal.issued.v1",
        strategy=of.strategy,
        strategy_version=of.strategy_version,
        number=number,
        decision=of.decision,
        instrument=of.instrument,
        timeframe=of.timeframe,
        side=of.side,
        time=of.time,
        confidence=of.claim.confidence,
        label=of.label,
    )
    return event


def outcome(of: DecisionMade, *, won: bool = True, number: int = 0) -> OutcomeRecorded:
    """What became of ``of``: its target an hour later, or its stop."""
    sample: OutcomeRecorded = like_sample("outcome.recorded.v1")
    result = msgspec.structs.replace(
        sample.outcome,
        label=int(won),
        reason="target" if won else "stop",
        closed_at=of.time + 3_600_000_000_000,
        net_bps=20.0 if won else -30.0,
    )
    return msgspec.structs.replace(
        sample,
        strategy=of.strategy,
        strategy_version=of.strategy_version,
        decision=of.decision,
        instrument=of.instrument,
        timeframe=of.timeframe,
        side=of.side,
        number=number,
        confidence=of.claim.confidence,
        outcome=result,
    )


def closed(of: OutcomeRecorded, equity: float = 1.01) -> SignalClosed:
    event: SignalClosed = like_sample(
        "signal.closed.v1",
        strategy=of.strategy,
        number=of.number,
        decision=of.decision,
        time=of.outcome.closed_at,
        reason=of.outcome.reason,
        net_bps=of.outcome.net_bps,
        equity=equity,
    )
    return event
