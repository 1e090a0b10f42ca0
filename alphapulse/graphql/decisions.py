"""Decisions (also the refused), outcomes, how claims are calibrated, and the strategies behind them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Annotated, Self, cast

import strawberry

from alphapulse.domain.decision.scores import Bin
from alphapulse.domain.ports import Recorded
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import Info, Timeframe, known_instrument
from alphapulse.graphql.decision_types import (
    Calibration,
    Decision,
    Label,
    Outcome,
    SignalSide,
    Verdict,
    calibration_of,
    decision_of,
    json_of,
    outcome_of,
    positions,
)
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.event_feed import MAX_EVENTS, EventFeed
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.paging import Connection, connection, page_size, window
from alphapulse.graphql.scalars import Json, Position, Time
from alphapulse.graphql.signals import as_of_page, bounded, check_watch, of_strategy, page_of
from alphapulse.projections import decision_queries
from alphapulse.projections.claim_queries import Judged, judged_claims
from alphapulse.projections.decision_queries import At, Wanted

MAX_DECISIONS = 200
DEFAULT_DECISIONS = 20
MAX_OUTCOMES = 1_000
DEFAULT_OUTCOMES = 100
MAX_CALIBRATIONS = 10
MAX_ADAPTATIONS = 100
MAX_BINS = 50
MAX_STRATEGIES = 100


@strawberry.type(description="Claims from `low` to `high`, and how often they came true.")
class ReliabilityBin:
    low: float = strawberry.field(metadata=READ)
    high: float = strawberry.field(metadata=READ)
    count: float = strawberry.field(description="Overlap-adjusted.", metadata=READ)
    claimed: float = strawberry.field(description="Mean claim.", metadata=READ)
    won: float = strawberry.field(description="Share that came true.", metadata=READ)
    won_low: float = strawberry.field(description="Its 95 % interval (Wilson).", metadata=READ)
    won_high: float = strawberry.field(metadata=READ)

    @classmethod
    def all_of(cls, bins: Sequence[Bin]) -> list[Self]:
        return [cls(**asdict(each)) for each in bins]


@strawberry.type(description="How well claims were met, and the calibrations that made them, newest first.")
class CalibrationReport:
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    claims: int = strawberry.field(description="Candidates with a claim and an outcome.", metadata=READ)
    wins: int = strawberry.field(metadata=READ)
    effective: float = strawberry.field(description="Claims, overlap-adjusted.", metadata=READ)
    mean_claim: float | None = strawberry.field(metadata=READ)
    win_rate: float | None = strawberry.field(metadata=READ)
    brier: float | None = strawberry.field(metadata=READ)
    brier_skill: float | None = strawberry.field(
        description="Against the share of wins, known in hindsight.", metadata=READ
    )
    ece: float | None = strawberry.field(description="Expected calibration error.", metadata=READ)
    bins: list[ReliabilityBin] = strawberry.field(metadata={**READ, "size": MAX_BINS})
    fitted: list[Calibration] = strawberry.field(metadata={**READ, "size": "page"})


@strawberry.type(description="A change of the parameters that a market is decided with.")
class Adaptation:
    strategy: str = strawberry.field(metadata=READ)
    strategy_version: int = strawberry.field(metadata=READ)
    instrument: strawberry.ID = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    time: Time = strawberry.field(metadata=READ)
    position: Position = strawberry.field(metadata=READ)
    before: str | None = strawberry.field(metadata=READ)
    after: str | None = strawberry.field(metadata=READ)
    change: Json = strawberry.field(metadata=READ)
    notes: list[str] = strawberry.field(metadata={**READ, "size": 4})


@strawberry.type(description="A version of a strategy: who votes, the gate, what may be risked.")
class Strategy:
    name: str = strawberry.field(metadata=READ)
    version: int = strawberry.field(metadata=READ)
    label: Label = strawberry.field(metadata=READ)
    owner: str = strawberry.field(metadata=READ)
    description: str = strawberry.field(metadata=READ)
    digest: str = strawberry.field(description="Of all that decides.", metadata=READ)
    position: Position = strawberry.field(description="Of its definition.", metadata=READ)
    in_use: bool = strawberry.field(metadata=READ)
    definition: Json = strawberry.field(description="As it was recorded.", metadata=READ)


@strawberry.type(description="Decisions after `previous`, up to `position`.")
class DecisionUpdate:
    previous: Position = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    decisions: list[Decision] = strawberry.field(
        description="The surest first.", metadata={**READ, "size": MAX_EVENTS}
    )


@strawberry.type(description="Outcomes after `previous`, up to `position`.")
class OutcomeUpdate:
    previous: Position = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    outcomes: list[Outcome] = strawberry.field(metadata={**READ, "size": MAX_EVENTS})


def _report(found: Judged, fitted: list[Calibration]) -> CalibrationReport:
    return CalibrationReport(
        position=Position(found.position),
        claims=found.claims,
        wins=found.wins,
        effective=found.effective,
        mean_claim=found.mean_claim,
        win_rate=found.win_rate,
        brier=found.brier,
        brier_skill=found.skill,
        ece=found.error,
        bins=ReliabilityBin.all_of(found.bins),
        fitted=fitted,
    )


def _wanted(
    strategy: str | None,
    version: int | None,
    instrument: str | None,
    timeframe: Timeframe | None,
    side: SignalSide | None,
    from_: Time | None,
    to: Time | None,
    *,
    verdict: Verdict | None = None,
    is_signal: bool | None = None,
    least: float | None = None,
) -> Wanted:
    bounded(from_, to)
    return Wanted(
        strategy=strategy,
        version=version,
        instrument=None if instrument is None else known_instrument(instrument),
        timeframe=timeframe.value if timeframe else None,
        side=side.value if side else None,
        verdict=verdict.value if verdict else None,
        is_signal=is_signal,
        least_confidence=least,
        since=from_,
        until=to,
    )


From = Annotated[Time | None, strawberry.argument(name="from")]


@strawberry.type
class DecisionQuery:
    @strawberry.field(
        description="Decisions, the newest first, made in [`from`, `to`). Refused ones too.",
        metadata={**READ, "size": page_size(MAX_DECISIONS, DEFAULT_DECISIONS)},
    )
    async def decisions(
        self,
        info: Info,
        strategy: str | None = None,
        version: int | None = None,
        instrument: str | None = None,
        timeframe: Timeframe | None = None,
        side: SignalSide | None = None,
        verdict: Verdict | None = None,
        min_confidence: float | None = None,
        from_: From = None,
        to: Time | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        as_of: AsOf | None = None,
    ) -> Connection[Decision]:
        asked = window(
            first=first,
            last=last,
            after=after,
            before=before,
            width=1,
            cap=MAX_DECISIONS,
            default=DEFAULT_DECISIONS,
        )
        wanted = _wanted(
            strategy,
            version,
            instrument,
            timeframe,
            side,
            from_,
            to,
            verdict=verdict,
            least=min_confidence,
        )
        moment = await as_of_page(info, asked, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            position, rows = await decision_queries.decisions(db, wanted, as_of=moment, page=page_of(asked))
        return connection(asked, position, positions(rows), [decision_of(row) for row in rows])

    @strawberry.field(description="One decision by its id. Null: there is none.", metadata=READ)
    async def decision(
        self,
        info: Info,
        id_: Annotated[strawberry.ID, strawberry.argument(name="id")],
        as_of: AsOf | None = None,
    ) -> Decision | None:
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            found = await decision_queries.decision(db, str(id_), as_of=moment)
        return None if found is None else decision_of(found)

    @strawberry.field(
        description="Outcomes of candidates, the newest first, closed in [`from`, `to`); of signals only, or "
        "of refused ones only, with `signals`.",
        metadata={**READ, "size": page_size(MAX_OUTCOMES, DEFAULT_OUTCOMES)},
    )
    async def outcomes(
        self,
        info: Info,
        strategy: str | None = None,
        version: int | None = None,
        instrument: str | None = None,
        timeframe: Timeframe | None = None,
        side: SignalSide | None = None,
        signals: bool | None = None,
        from_: From = None,
        to: Time | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        as_of: AsOf | None = None,
    ) -> Connection[Outcome]:
        asked = window(
            first=first,
            last=last,
            after=after,
            before=before,
            width=1,
            cap=MAX_OUTCOMES,
            default=DEFAULT_OUTCOMES,
        )
        wanted = _wanted(strategy, version, instrument, timeframe, side, from_, to, is_signal=signals)
        moment = await as_of_page(info, asked, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            position, rows = await decision_queries.outcomes(db, wanted, as_of=moment, page=page_of(asked))
        return connection(asked, position, positions(rows), [outcome_of(row) for row in rows])

    @strawberry.field(
        description="How well the claims of a strategy were met, of signals only unless `candidates`; "
        f"and its last calibrations. At most {MAX_BINS} bins.",
        metadata={**READ, "size": MAX_CALIBRATIONS},
    )
    async def calibration(
        self,
        info: Info,
        strategy: str,
        version: int | None = None,
        instrument: str | None = None,
        candidates: bool = False,
        bins: int = 10,
        as_of: AsOf | None = None,
    ) -> CalibrationReport:
        if not 1 <= bins <= MAX_BINS:
            raise UserError(f"bins {bins} needs 1 to {MAX_BINS}")
        wanted = _wanted(
            strategy, version, instrument, None, None, None, None, is_signal=None if candidates else True
        )
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            judged = await judged_claims(db, wanted, as_of=moment, bins=bins)
            fitted = await decision_queries.calibrations(
                db, strategy, version=version, as_of=judged.position, limit=MAX_CALIBRATIONS
            )
        return _report(judged, [calibration_of(each) for each in fitted])

    @strawberry.field(
        description="Changes of the parameters that markets are decided with, the newest first.",
        metadata={**READ, "size": MAX_ADAPTATIONS},
    )
    async def adaptations(
        self,
        info: Info,
        strategy: str,
        instrument: str | None = None,
        as_of: AsOf | None = None,
    ) -> list[Adaptation]:
        wanted = _wanted(strategy, None, instrument, None, None, None, None)
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            found = await decision_queries.adaptations(db, wanted, as_of=moment, limit=MAX_ADAPTATIONS)
        return [
            Adaptation(
                strategy=each.event.strategy,
                strategy_version=each.event.strategy_version,
                instrument=strawberry.ID(each.event.instrument),
                timeframe=Timeframe(each.event.timeframe),
                time=Time(each.event.time),
                position=Position(each.position),
                before=each.event.before or None,
                after=each.event.after or None,
                change=json_of(each.event.change),
                notes=list(each.event.notes),
            )
            for each in found
        ]

    @strawberry.field(
        description=f"Versions of strategies, by name and version: the first {MAX_STRATEGIES}.",
        metadata={**READ, "size": MAX_STRATEGIES},
    )
    async def strategies(
        self, info: Info, name: str | None = None, as_of: AsOf | None = None
    ) -> list[Strategy]:
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            found = await decision_queries.strategies(db, name=name, as_of=moment, limit=MAX_STRATEGIES)
        return [
            Strategy(
                name=each.defined.name,
                version=each.defined.version,
                label=Label(each.defined.label),
                owner=each.defined.owner,
                description=each.defined.description,
                digest=each.defined.digest,
                position=Position(each.position),
                in_use=each.in_use,
                definition=json_of(each.defined),
            )
            for each in found
        ]


def decision_update(previous: int, position: int, events: Sequence[Recorded]) -> DecisionUpdate:
    found = [decision_of(At(each.position, each.event)) for each in events]
    return DecisionUpdate(
        previous=Position(previous),
        position=Position(position),
        decisions=sorted(found, key=lambda each: (-each.claim.confidence, each.position)),
    )


def outcome_update(previous: int, position: int, events: Sequence[Recorded]) -> OutcomeUpdate:
    return OutcomeUpdate(
        previous=Position(previous),
        position=Position(position),
        outcomes=[outcome_of(At(each.position, each.event)) for each in events],
    )


@strawberry.type
class DecisionSubscription:
    @strawberry.subscription(
        description="Every decision after a position, or from now on; none is dropped, as in `signals`.",
        metadata=READ,
    )
    async def decisions(
        self, info: Info, strategy: str | None = None, after: Position | None = None
    ) -> AsyncIterator[DecisionUpdate]:
        services = info.context.services
        await check_watch(info, strategy, after)

        def feed() -> EventFeed:
            return EventFeed(
                services.store, services.decode, ("decision.made.v1",), of_strategy(strategy), decision_update
            )

        watch = Watch(("decisions", strategy), feed, after)
        return cast("AsyncIterator[DecisionUpdate]", Stream(services.hub, watch))

    @strawberry.subscription(
        description="Every outcome after a position, or from now on; none is dropped, as in `signals`.",
        metadata=READ,
    )
    async def outcomes(
        self, info: Info, strategy: str | None = None, after: Position | None = None
    ) -> AsyncIterator[OutcomeUpdate]:
        services = info.context.services
        await check_watch(info, strategy, after)

        def feed() -> EventFeed:
            return EventFeed(
                services.store,
                services.decode,
                ("outcome.recorded.v1",),
                of_strategy(strategy),
                outcome_update,
            )

        watch = Watch(("outcomes", strategy), feed, after)
        return cast("AsyncIterator[OutcomeUpdate]", Stream(services.hub, watch))
