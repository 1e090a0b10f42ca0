"""Decisions and outcomes to make books of: a plain long at 100, and what differs."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from alphapulse.domain.decision.decisions import Claim, DecisionMade, GateReading, decision_id
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals.book import Book, Close, Event, book_of_signals
from alphapulse.domain.signals.issue import Issue, Issued, answer
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.signal import SignalIssued

BTC, ETH, SOL = "kraken:BTC/USD", "kraken:ETH/USD", "kraken:SOL/USD"
LONG, SHORT = 1, -1
NOON = 28_332_720  # minutes since 1970: 12:00 on 2023-11-14, UTC
HOUR = 60


def decision(
    instrument: str = BTC,
    minute: int = NOON,
    *,
    side: int = LONG,
    timeframe: int = 5,
    version: int = 1,
    confidence: float = 0.9,
    **changes: Any,
) -> DecisionMade:
    """One that passed the gate: entry 100, stop and target 2 away, known when its bar ends."""
    time = (minute + timeframe) * MINUTE_NS
    made = DecisionMade(
        decision=decision_id("mine", version, instrument, timeframe, minute),
        strategy="mine",
        strategy_version=version,
        instrument=instrument,
        timeframe=timeframe,
        bar_start=minute,
        time=time,
        position=1_000,
        first_position=1,
        input_position=1_000,
        flags=0,
        side=side,
        entry=100.0,
        stop=100.0 - 2 * side,
        target=100.0 + 2 * side,
        horizon_end=time + 1_000 * MINUTE_NS,
        regime="range",
        average_true_range=1.0,
        parameters="",
        votes=(),
        consensus=0.5 * side,
        disagreement=0.0,
        voters=3.0,
        proposed=(),
        chosen=0,
        claim=Claim(calibration=1, raw=2.0, x0=1.0, p0=0.8, x1=3.0, p1=0.95, confidence=confidence),
        gate=GateReading(
            threshold=0.85,
            needed=0.55,
            margin=confidence - 0.55,
            required_margin=0.03,
            wins=0.0,
            outcomes=0.0,
            mean_claim=0.0,
            upper_bound=1.0,
            is_closed=True,
        ),
        verdict="issued",
        refusals=(),
        notes=(),
        size_ratio=0.0,
        label="production",
    )
    return replace(made, **changes)


def outcome(minute: int, *, reason: str = "target", net_bps: float = 190.0, price: float = 102.0) -> Outcome:
    """Known at ``minute``."""
    won = int(reason in ("target", "gap_target"))
    return Outcome(
        reason=reason,
        label=won,
        worst_label=won,
        best_label=won,
        exit_price=price,
        worst_price=price,
        best_price=price,
        fill_price=price,
        gross_bps=net_bps + 10,
        net_bps=net_bps,
        r_multiple=1.0,
        net_r_multiple=0.95,
        mfe_bps=0.0,
        mae_bps=0.0,
        holding_ns=1,
        closed_at=minute * MINUTE_NS,
        unseen_from=0,
        unseen_until=0,
        position=1_001,
    )


def issued(book: Book, command: Issue) -> tuple[Book, SignalIssued]:
    """The book with the signal that ``command`` becomes."""
    found = answer(command, book)
    assert isinstance(found, Issued), found
    return book_of_signals.evolve(book, found.signal), found.signal


def closed(book: Book, made: DecisionMade, became: Outcome) -> tuple[Book, Sequence[Event]]:
    events = book_of_signals.decide(Close(made.decision, became), book)
    return book_of_signals.fold(events, book), events
