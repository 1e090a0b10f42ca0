"""Decisions, outcomes and calibrations as the schema shows them: every number with what it was made of."""

from collections.abc import Sequence
from enum import Enum

import msgspec
import orjson
import strawberry

from alphapulse.domain.analysis.features import FLAG_NAMES
from alphapulse.domain.decision import decisions as made
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals import outcome as decided
from alphapulse.domain.signals.signal import OutcomeRecorded
from alphapulse.graphql.access import READ
from alphapulse.graphql.candles import Timeframe
from alphapulse.graphql.scalars import Json, Position, Time
from alphapulse.projections.decision_queries import At

_VOTERS = 48
_GEOMETRIES = 12
_KNOTS = 65


@strawberry.enum(description="Which way a decision goes.")
class SignalSide(Enum):
    LONG = 1
    SHORT = -1


@strawberry.enum(description="What became of a candidate.")
class Verdict(Enum):
    ISSUED = "issued"
    REFUSED = "refused"


@strawberry.enum(description="Research stands for a gate under 0.85.")
class Label(Enum):
    PRODUCTION = "production"
    RESEARCH = "research"


@strawberry.type(description="One voter's part: weight = max(skill, 0) / crowd, as a share of all.")
class CastVote:
    voter: str = strawberry.field(metadata=READ)
    version: int = strawberry.field(description="Of the voter's rule.", metadata=READ)
    model: str | None = strawberry.field(description="name.version of its fitted model.", metadata=READ)
    direction: int = strawberry.field(description="1 rise, -1 fall, 0 abstains.", metadata=READ)
    score: float = strawberry.field(description="0 to 1.", metadata=READ)
    measured_skill: float = strawberry.field(
        description="Brier skill against the odds of the geometry, here and in this regime.", metadata=READ
    )
    outcomes: float = strawberry.field(description="Behind it; older ones count less.", metadata=READ)
    prior_skill: float = strawberry.field(metadata=READ)
    skill: float = strawberry.field(description="Measured, shrunk to the prior.", metadata=READ)
    crowd: float = strawberry.field(description="As how many it counts one of.", metadata=READ)
    weight: float = strawberry.field(metadata=READ)
    reasons: list[str] = strawberry.field(metadata={**READ, "size": 4})


@strawberry.type(description="A geometry that was weighed. `raw` is the log-odds of the target first.")
class Proposal:
    stop: float = strawberry.field(metadata=READ)
    target: float = strawberry.field(metadata=READ)
    horizon_end: Time = strawberry.field(metadata=READ)
    base: float = strawberry.field(
        description="P(target first) without any edge: stop / (stop + target distance).", metadata=READ
    )
    raw: float = strawberry.field(metadata=READ)
    expected_bps: float = strawberry.field(description="By the raw odds, after costs.", metadata=READ)


@strawberry.type(description="The calibrated claim: the calibration's table between its knots around `raw`.")
class Claim:
    calibration: int = strawberry.field(description="Its number; 0: there was none yet.", metadata=READ)
    raw: float = strawberry.field(metadata=READ)
    x0: float = strawberry.field(metadata=READ)
    p0: float = strawberry.field(metadata=READ)
    x1: float = strawberry.field(metadata=READ)
    p1: float = strawberry.field(metadata=READ)
    confidence: float = strawberry.field(
        description="P(target before stop within the horizon).", metadata=READ
    )


@strawberry.type(description="The three rules: the threshold, what must be left after costs, the breaker.")
class GateReading:
    threshold: float = strawberry.field(metadata=READ)
    needed: float = strawberry.field(
        description="(stop distance + costs) / (target + stop distance).", metadata=READ
    )
    margin: float = strawberry.field(description="Confidence less needed.", metadata=READ)
    required_margin: float = strawberry.field(metadata=READ)
    wins: float = strawberry.field(metadata=READ)
    outcomes: float = strawberry.field(description="That the breaker looked at.", metadata=READ)
    mean_claim: float = strawberry.field(metadata=READ)
    upper_bound: float = strawberry.field(description="Of the win rate, 95 %.", metadata=READ)
    breaker_closed: bool = strawberry.field(description="Closed: nothing is issued.", metadata=READ)


@strawberry.type(description="A candidate and what became of it: issued as a signal, or refused and why.")
class Decision:
    id: strawberry.ID = strawberry.field(metadata=READ)
    strategy: str = strawberry.field(metadata=READ)
    strategy_version: int = strawberry.field(metadata=READ)
    instrument: strawberry.ID = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    bar_start: Time = strawberry.field(metadata=READ)
    time: Time = strawberry.field(description="When the bar was known to have ended.", metadata=READ)
    position: Position = strawberry.field(description="Of the decision in the log.", metadata=READ)
    source_position: Position = strawberry.field(
        description="Of the event that ended the bar.", metadata=READ
    )
    first_position: Position = strawberry.field(
        description="First event that its features are made of.", metadata=READ
    )
    input_position: Position = strawberry.field(description="Last one.", metadata=READ)
    flags: list[str] = strawberry.field(metadata={**READ, "size": 8})
    side: SignalSide = strawberry.field(metadata=READ)
    entry: float = strawberry.field(metadata=READ)
    stop: float = strawberry.field(metadata=READ)
    target: float = strawberry.field(metadata=READ)
    horizon_end: Time = strawberry.field(metadata=READ)
    regime: str = strawberry.field(metadata=READ)
    average_true_range: float = strawberry.field(metadata=READ)
    parameters: str | None = strawberry.field(description="The adaptation in force.", metadata=READ)
    votes: list[CastVote] = strawberry.field(metadata={**READ, "size": _VOTERS})
    consensus: float = strawberry.field(description="-1 to 1.", metadata=READ)
    disagreement: float = strawberry.field(
        description="Weighted standard deviation of the votes.", metadata=READ
    )
    voters: float = strawberry.field(description="Copies counted once.", metadata=READ)
    proposed: list[Proposal] = strawberry.field(metadata={**READ, "size": _GEOMETRIES})
    chosen: int = strawberry.field(description="Index in `proposed`.", metadata=READ)
    claim: Claim = strawberry.field(metadata=READ)
    gate: GateReading = strawberry.field(metadata=READ)
    verdict: Verdict = strawberry.field(metadata=READ)
    refusals: list[str] = strawberry.field(
        description="uncalibrated, low_confidence, does_not_pay, breaker, veto.", metadata={**READ, "size": 5}
    )
    notes: list[str] = strawberry.field(
        description="Each refusal with its values.", metadata={**READ, "size": 10}
    )
    size_ratio: float = strawberry.field(description="Share of equity; 0: not issued.", metadata=READ)
    label: Label = strawberry.field(metadata=READ)


@strawberry.type(description="What the market made of a candidate. Returns in basis points of the entry.")
class Outcome:
    decision_id: strawberry.ID = strawberry.field(metadata=READ)
    strategy: str = strawberry.field(metadata=READ)
    strategy_version: int = strawberry.field(metadata=READ)
    instrument: strawberry.ID = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    side: SignalSide = strawberry.field(metadata=READ)
    number: int | None = strawberry.field(
        description="Of the signal; null where it was refused.", metadata=READ
    )
    confidence: float | None = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="Of the outcome in the log.", metadata=READ)
    source_position: Position = strawberry.field(description="Of the event that decided.", metadata=READ)
    reason: str = strawberry.field(
        description="target, stop, ambiguous, expiry, gap_stop, gap_target, unseen_expiry.", metadata=READ
    )
    is_win: bool = strawberry.field(description="The target came first, as booked.", metadata=READ)
    worst_label: int = strawberry.field(description="1: a win even in the worst reading.", metadata=READ)
    best_label: int = strawberry.field(description="1: a win in the best reading.", metadata=READ)
    exit_price: float = strawberry.field(metadata=READ)
    worst_price: float = strawberry.field(metadata=READ)
    best_price: float = strawberry.field(metadata=READ)
    fill_price: float = strawberry.field(description="With slippage against us.", metadata=READ)
    gross_bps: float = strawberry.field(metadata=READ)
    net_bps: float = strawberry.field(description="After fees and slippage.", metadata=READ)
    r_multiple: float = strawberry.field(metadata=READ)
    net_r_multiple: float = strawberry.field(metadata=READ)
    mfe_bps: float = strawberry.field(description="Maximum favourable excursion.", metadata=READ)
    mae_bps: float = strawberry.field(description="Maximum adverse excursion.", metadata=READ)
    holding_seconds: float = strawberry.field(metadata=READ)
    closed_at: Time = strawberry.field(metadata=READ)
    unseen_from: Time | None = strawberry.field(
        description="The market was not seen for some of this time.", metadata=READ
    )
    unseen_until: Time | None = strawberry.field(metadata=READ)


@strawberry.type(description="How claims are made of raw log-odds, and on what that was fitted.")
class Calibration:
    strategy: str = strawberry.field(metadata=READ)
    strategy_version: int = strawberry.field(metadata=READ)
    part: int = strawberry.field(metadata=READ)
    number: int = strawberry.field(metadata=READ)
    position: Position = strawberry.field(metadata=READ)
    method: str = strawberry.field(metadata=READ)
    why: str = strawberry.field(description="It and no other.", metadata=READ)
    x: list[float] = strawberry.field(description="Raw log-odds.", metadata={**READ, "size": _KNOTS})
    p: list[float] = strawberry.field(description="Confidence.", metadata={**READ, "size": _KNOTS})
    lower: list[float] = strawberry.field(
        description="Lower bound where the method has one.", metadata={**READ, "size": _KNOTS}
    )
    scores: Json = strawberry.field(description="Log loss of each method, out of fold.", metadata=READ)
    candidates: int = strawberry.field(metadata=READ)
    wins: int = strawberry.field(metadata=READ)
    effective: float = strawberry.field(description="Candidates, overlap-adjusted.", metadata=READ)
    first_time: Time = strawberry.field(metadata=READ)
    last_time: Time = strawberry.field(metadata=READ)
    known_until: Time = strawberry.field(description="Every outcome was known by then.", metadata=READ)
    brier_skill: float = strawberry.field(metadata=READ)
    ece: float = strawberry.field(description="Expected calibration error.", metadata=READ)


def decision_of(found: At[made.DecisionMade]) -> Decision:
    e = found.event
    return Decision(
        id=strawberry.ID(e.decision),
        strategy=e.strategy,
        strategy_version=e.strategy_version,
        instrument=strawberry.ID(e.instrument),
        timeframe=Timeframe(e.timeframe),
        bar_start=Time(e.bar_start * MINUTE_NS),
        time=Time(e.time),
        position=Position(found.position),
        source_position=Position(e.position),
        first_position=Position(e.first_position),
        input_position=Position(e.input_position),
        flags=[name for bit, name in FLAG_NAMES.items() if e.flags & bit],
        side=SignalSide(e.side),
        entry=e.entry,
        stop=e.stop,
        target=e.target,
        horizon_end=Time(e.horizon_end),
        regime=e.regime,
        average_true_range=e.average_true_range,
        parameters=e.parameters or None,
        votes=[_vote(vote) for vote in e.votes],
        consensus=e.consensus,
        disagreement=e.disagreement,
        voters=e.voters,
        proposed=[_proposal(each) for each in e.proposed],
        chosen=e.chosen,
        claim=Claim(**msgspec.structs.asdict(e.claim)),
        gate=_gate(e.gate),
        verdict=Verdict(e.verdict),
        refusals=list(e.refusals),
        notes=list(e.notes),
        size_ratio=e.size_ratio,
        label=Label(e.label),
    )


def _vote(vote: made.CastVote) -> CastVote:
    return CastVote(
        voter=vote.voter,
        version=vote.version,
        model=vote.model or None,
        direction=vote.direction,
        score=vote.score,
        measured_skill=vote.measured,
        outcomes=vote.outcomes,
        prior_skill=vote.prior,
        skill=vote.skill,
        crowd=vote.crowd,
        weight=vote.weight,
        reasons=list(vote.reasons),
    )


def _proposal(each: made.Proposed) -> Proposal:
    return Proposal(
        stop=each.stop,
        target=each.target,
        horizon_end=Time(each.horizon_end),
        base=each.base,
        raw=each.raw,
        expected_bps=each.expected_bps,
    )


def _gate(gate: made.GateReading) -> GateReading:
    fields = msgspec.structs.asdict(gate)
    return GateReading(breaker_closed=fields.pop("is_closed"), **fields)


# Fields of an outcome that the schema calls as the event does.
_SAME = (
    "reason",
    "worst_label",
    "best_label",
    "exit_price",
    "worst_price",
    "best_price",
    "fill_price",
    "gross_bps",
    "net_bps",
    "r_multiple",
    "net_r_multiple",
    "mfe_bps",
    "mae_bps",
)


def outcome_of(found: At[OutcomeRecorded]) -> Outcome:
    e = found.event
    result: decided.Outcome = e.outcome
    return Outcome(
        decision_id=strawberry.ID(e.decision),
        strategy=e.strategy,
        strategy_version=e.strategy_version,
        instrument=strawberry.ID(e.instrument),
        timeframe=Timeframe(e.timeframe),
        side=SignalSide(e.side),
        number=e.number or None,
        confidence=e.confidence if e.confidence > 0 else None,
        position=Position(found.position),
        source_position=Position(result.position),
        is_win=result.is_win,
        holding_seconds=result.holding_ns / 1e9,
        closed_at=Time(result.closed_at),
        unseen_from=Time(result.unseen_from) if result.suspended else None,
        unseen_until=Time(result.unseen_until) if result.suspended else None,
        **{name: getattr(result, name) for name in _SAME},
    )


def calibration_of(found: At[made.CalibrationFitted]) -> Calibration:
    e = found.event
    return Calibration(
        strategy=e.strategy,
        strategy_version=e.strategy_version,
        part=e.part,
        number=e.number,
        position=Position(found.position),
        method=e.method,
        why=e.why,
        x=list(e.x),
        p=list(e.p),
        lower=list(e.lower),
        scores=json_of(e.scores),
        candidates=e.candidates,
        wins=e.wins,
        effective=e.effective,
        first_time=Time(e.first_time),
        last_time=Time(e.last_time),
        known_until=Time(e.known_until),
        brier_skill=e.brier_skill,
        ece=e.ece,
    )


def json_of(value: object) -> Json:
    return Json(orjson.Fragment(msgspec.json.encode(value)))


def positions(
    found: Sequence[At[made.DecisionMade]] | Sequence[At[OutcomeRecorded]],
) -> list[tuple[int, ...]]:
    return [(each.position,) for each in found]
