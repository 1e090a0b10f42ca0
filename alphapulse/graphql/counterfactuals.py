"""What would have become of a strategy, had it been another: a job that a subscription watches to its end."""

from collections.abc import AsyncIterator
from enum import Enum
from typing import Annotated, cast

import strawberry

from alphapulse.domain.backtest import counterfactuals as c
from alphapulse.domain.backtest.variants import BadVariant
from alphapulse.domain.decision.strategy import StrategyDefined, stream_of
from alphapulse.graphql.access import READ
from alphapulse.graphql.candles import Info
from alphapulse.graphql.decision_types import Label, SignalSide
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.jobs import JobFeed, JobState
from alphapulse.graphql.performance import Figure, figure_of
from alphapulse.graphql.scalars import Position, Time
from alphapulse.graphql.signals import bounded

MAX_CHANGES = 20
MAX_STRATEGY_EVENTS = 10_000  # definitions and retirements
WORK = 20  # of replaying a log twice, as a factor of the cost: how long it takes is bounded elsewhere


@strawberry.enum(description="How far a job is.")
class JobPhase(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@strawberry.type(description="Of some signals: how many, and what those came to that the market has decided.")
class SignalSum:
    signals: int = strawberry.field(metadata=READ)
    resolved: int = strawberry.field(metadata=READ)
    won: int = strawberry.field(description="Reached the target first.", metadata=READ)
    contribution: float = strawberry.field(
        description="After costs, a share of the equity at the beginning.", metadata=READ
    )
    r: float = strawberry.field(description="After costs, in units of what the stops risked.", metadata=READ)


@strawberry.type(
    description="What was kept out, each candidate at the same risk: its cost and what it saved."
)
class KeptOut:
    refused: int = strawberry.field(description="Candidates that the market has decided.", metadata=READ)
    missed: int = strawberry.field(description="Would have earned after costs.", metadata=READ)
    missed_r: float = strawberry.field(metadata=READ)
    avoided: int = strawberry.field(description="Would not.", metadata=READ)
    avoided_r: float = strawberry.field(description="At most 0.", metadata=READ)


@strawberry.type(description="One of two replays of the same data.")
class CounterfactualRun:
    label: Label = strawberry.field(metadata=READ)
    decisions: int = strawberry.field(description="Candidates, refused ones too.", metadata=READ)
    signals: SignalSum = strawberry.field(metadata=READ)
    kept_out: KeptOut = strawberry.field(metadata=READ)
    equity: float = strawberry.field(description="At the end; 1 at the beginning.", metadata=READ)
    decisions_digest: str = strawberry.field(metadata=READ)
    outcomes_digest: str = strawberry.field(metadata=READ)


@strawberry.type(description="What a candidate was in one replay.")
class Standing:
    side: SignalSide = strawberry.field(metadata=READ)
    confidence: float | None = strawberry.field(description="Null: nothing was claimed.", metadata=READ)
    number: int | None = strawberry.field(description="Of the signal. Null: refused.", metadata=READ)
    size_ratio: float = strawberry.field(metadata=READ)


@strawberry.type(description="The first decision at which two replays part. Null: it was not made there.")
class Divergence:
    decision_id: strawberry.ID = strawberry.field(metadata=READ)
    time: Time = strawberry.field(metadata=READ)
    base: Standing | None = strawberry.field(metadata=READ)
    changed: Standing | None = strawberry.field(metadata=READ)


@strawberry.type(description="A strategy as it is beside itself as it might have been, over the same data.")
class Counterfactual:
    strategy: str = strawberry.field(metadata=READ)
    version: int = strawberry.field(metadata=READ)
    change: str = strawberry.field(description="What was asked for.", metadata=READ)
    position: Position = strawberry.field(description="Up to which the log was replayed.", metadata=READ)
    base: CounterfactualRun = strawberry.field(metadata=READ)
    changed: CounterfactualRun = strawberry.field(metadata=READ)
    both_base: SignalSum = strawberry.field(
        description="Signals in both, as they came out in the base.", metadata=READ
    )
    both_changed: SignalSum = strawberry.field(metadata=READ)
    only_base: SignalSum = strawberry.field(metadata=READ)
    only_changed: SignalSum = strawberry.field(metadata=READ)
    difference: Figure = strawberry.field(
        description="Of the contributions: what the change would have brought.", metadata=READ
    )
    difference_r: Figure = strawberry.field(metadata=READ)
    first_divergence: Divergence | None = strawberry.field(metadata=READ)
    recorded: bool | None = strawberry.field(
        description="Whether the base is what the log holds. Null: it holds nothing.", metadata=READ
    )
    note: str = strawberry.field(metadata=READ)
    trial: str = strawberry.field(
        description="The id as a trial. Asking here counts none: `alphapulse counterfactual` does.",
        metadata=READ,
    )


@strawberry.type(description="How far the job is; at last with its result, after which nothing comes.")
class CounterfactualUpdate:
    phase: JobPhase = strawberry.field(metadata=READ)
    progress: float = strawberry.field(description="From 0 to 1.", metadata=READ)
    position: Position = strawberry.field(description="Of the log, in the replay under way.", metadata=READ)
    bars: int = strawberry.field(description="Replayed so far.", metadata=READ)
    result: Counterfactual | None = strawberry.field(metadata=READ)


def sum_of(found: c.Sum) -> SignalSum:
    return SignalSum(
        signals=found.signals,
        resolved=found.resolved,
        won=found.won,
        contribution=found.contribution,
        r=found.r,
    )


def _run_of(found: c.Side) -> CounterfactualRun:
    return CounterfactualRun(
        label=Label(found.label),
        decisions=found.counts.decisions,
        signals=sum_of(found.signals),
        kept_out=KeptOut(
            refused=found.gate.refused,
            missed=found.gate.missed,
            missed_r=found.gate.missed_r,
            avoided=found.gate.avoided,
            avoided_r=found.gate.avoided_r,
        ),
        equity=found.equity,
        decisions_digest=found.decisions_digest,
        outcomes_digest=found.outcomes_digest,
    )


def _standing_of(found: c.Standing | None) -> Standing | None:
    if found is None:
        return None
    return Standing(
        side=SignalSide(found.side),
        confidence=found.confidence,
        number=found.number or None,
        size_ratio=found.size_ratio,
    )


def _divergence_of(found: c.Divergence | None) -> Divergence | None:
    if found is None:
        return None
    return Divergence(
        decision_id=strawberry.ID(found.decision),
        time=Time(found.time),
        base=_standing_of(found.base),
        changed=_standing_of(found.changed),
    )


def counterfactual_of(found: c.Counterfactual) -> Counterfactual:
    return Counterfactual(
        strategy=found.strategy,
        version=found.version,
        change=found.change,
        position=Position(found.upto),
        base=_run_of(found.base),
        changed=_run_of(found.changed),
        both_base=sum_of(found.both_base),
        both_changed=sum_of(found.both_changed),
        only_base=sum_of(found.only_base),
        only_changed=sum_of(found.only_changed),
        difference=figure_of(found.difference),
        difference_r=figure_of(found.difference_r),
        first_divergence=_divergence_of(found.first_divergence),
        recorded=found.recorded,
        note=found.note,
        trial=found.trial,
    )


def update_of(state: JobState[c.Told, c.Counterfactual]) -> CounterfactualUpdate:
    told, result = state.progress or c.Told(ratio=0.0, position=0, bars=0), state.result
    phase = JobPhase.DONE if result else JobPhase.RUNNING if state.running else JobPhase.WAITING
    return CounterfactualUpdate(
        phase=phase,
        progress=1.0 if result else told.ratio,
        position=Position(result.upto if result else told.position),
        bars=told.bars,
        result=None if result is None else counterfactual_of(result),
    )


async def _defined(info: Info, name: str, version: int | None) -> StrategyDefined:
    """That version, by default the newest. Raises UserError."""
    services, found = info.context.services, dict[int, StrategyDefined]()
    for record in await services.store.read_stream(stream_of(name), limit=MAX_STRATEGY_EVENTS):
        event = services.decode(record).event
        if isinstance(event, StrategyDefined):
            found[event.version] = event
    if not found:
        raise UserError(f"there is no strategy {name!r}")
    newest = max(found)
    if version is not None and version not in found:
        raise UserError(f"no strategy {name!r} version {version}: there are {newest} versions")
    return found[version or newest]


@strawberry.type
class CounterfactualSubscription:
    @strawberry.subscription(
        description="What would have become of a strategy with another `gate`, without some voters, or with "
        "other fields (`changes`, such as `risk.fee_bps=2`): a job whose progress is told, and at last its "
        "result. Of what was decided in [`from`, `to`); before the strategy was defined only with `whole`. "
        "Who leaves ends the job, unless others watch the same.",
        metadata={**READ, "size": WORK},
    )
    async def counterfactual(
        self,
        info: Info,
        strategy: str,
        version: int | None = None,
        gate: float | None = None,
        without_voters: list[str] | None = None,
        changes: list[str] | None = None,
        whole: bool = False,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
    ) -> AsyncIterator[CounterfactualUpdate]:
        bounded(from_, to)
        without, asked = tuple(without_voters or ()), tuple(changes or ())
        if len(without) + len(asked) > MAX_CHANGES:
            raise UserError(f"{len(without) + len(asked)} changes: at most {MAX_CHANGES} at once")
        services, defined = info.context.services, await _defined(info, strategy, version)
        ask = c.Asked(
            strategy=strategy,
            version=defined.version,
            gate=gate,
            without=without,
            changes=asked,
            since=from_,
            until=to,
            whole=whole,
        )
        try:
            c.changed_of(defined, ask)  # nobody should wait for a turn to hear that nothing would change
        except BadVariant as error:
            raise UserError(str(error)) from None

        def feed() -> JobFeed[c.Asked, c.Told, c.Counterfactual]:
            return JobFeed(services.counterfactuals, ask, update_of)

        watch = Watch(("counterfactual", ask), feed, None)
        return cast("AsyncIterator[CounterfactualUpdate]", Stream(services.hub, watch))
