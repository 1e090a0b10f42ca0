"""What a strategy was worth and whom it owes that to: figures with intervals, equity, attribution, trials."""

from enum import Enum
from typing import Annotated

import strawberry

from alphapulse.domain.decision.scores import BINS, MAX_BINS
from alphapulse.domain.performance import figures as f
from alphapulse.domain.performance.series import LEAST_POINTS
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import Info, Timeframe, known_instrument
from alphapulse.graphql.decision_types import Label
from alphapulse.graphql.decisions import ReliabilityBin
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.limits import paged
from alphapulse.graphql.scalars import Position, Time
from alphapulse.graphql.signals import bounded
from alphapulse.projections import claim_queries, decision_queries, track_records
from alphapulse.projections.performance_queries import Wanted
from alphapulse.projections.trial_queries import Trials, trials_of

MAX_FIGURES = 80
MAX_MONTHS = 240
MAX_POINTS = 2_000
DEFAULT_POINTS = 500
MAX_PARTS = 200
MAX_TRIALS = 500
DEFAULT_TRIALS = 50
WORK = 4  # of drawing anew for intervals, as a factor of the cost


@strawberry.enum(
    description="Signals count with the size they had; candidates, refused ones too, at a fixed risk each."
)
class TradeSet(Enum):
    SIGNALS = "signals"
    CANDIDATES = "candidates"
    REFUSED = "refused"


@strawberry.enum(description="What the whole is divided by.")
class AttributionBy(Enum):
    VOTER = "voter"
    PATTERN = "pattern"
    FEATURE_GROUP = "feature_group"
    REGIME = "regime"
    TIMEFRAME = "timeframe"
    VENUE = "venue"
    INSTRUMENT = "instrument"
    HOUR = "hour"
    VERSION = "version"


@strawberry.type(description="A figure with its 95 % interval and what it rests on.")
class Figure:
    name: str = strawberry.field(metadata=READ)
    title: str = strawberry.field(metadata=READ)
    unit: str = strawberry.field(
        description="ratio, bps, r (what the stop risked), per_year, probability, count or days.",
        metadata=READ,
    )
    value: float | None = strawberry.field(
        description="Null: it cannot be said; `note` says why.", metadata=READ
    )
    low: float | None = strawberry.field(metadata=READ)
    high: float | None = strawberry.field(metadata=READ)
    sample: int = strawberry.field(description="Trades, or days, that it is made of.", metadata=READ)
    effective: float = strawberry.field(description="The same, overlap-adjusted.", metadata=READ)
    note: str | None = strawberry.field(metadata=READ)


@strawberry.type(description="A month's return.")
class MonthlyReturn:
    year: int = strawberry.field(metadata=READ)
    month: int = strawberry.field(metadata=READ)
    value: float = strawberry.field(
        description="Equity at its end over that at its beginning, less 1.", metadata=READ
    )
    trades: int = strawberry.field(metadata=READ)


@strawberry.type(description="What the trades of a strategy were worth.")
class Performance:
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    of: TradeSet = strawberry.field(metadata=READ)
    trades: int = strawberry.field(metadata=READ)
    days: int = strawberry.field(description="UTC, from the first opening to the last close.", metadata=READ)
    first: Time | None = strawberry.field(metadata=READ)
    last: Time | None = strawberry.field(metadata=READ)
    figures: list[Figure] = strawberry.field(metadata={**READ, "size": MAX_FIGURES})
    months: list[MonthlyReturn] = strawberry.field(metadata={**READ, "size": MAX_MONTHS})


@strawberry.type(description="The equity after what closed up to `time`, 1 at the beginning.")
class EquityPoint:
    time: Time = strawberry.field(metadata=READ)
    equity: float = strawberry.field(metadata=READ)
    drawdown: float = strawberry.field(description="1 - equity / its highest so far.", metadata=READ)


@strawberry.type(description="Equity and drawdown, thinned to so many points; the extremes stay.")
class EquityCurve:
    position: Position = strawberry.field(metadata=READ)
    of: TradeSet = strawberry.field(metadata=READ)
    points: list[EquityPoint] = strawberry.field(metadata={**READ, "size": "page"})


@strawberry.type(description="Claims from `low` to `high`, and how often they came true.")
class DiagramBin(ReliabilityBin):
    """By its own name, which the schema promises."""


@strawberry.type(description="Claims against what came true; see `calibration` for how claims are made.")
class ReliabilityDiagram:
    position: Position = strawberry.field(metadata=READ)
    claims: int = strawberry.field(metadata=READ)
    effective: float = strawberry.field(description="Claims, overlap-adjusted.", metadata=READ)
    brier: float | None = strawberry.field(metadata=READ)
    brier_skill: float | None = strawberry.field(
        description="Against the share of wins, known in hindsight.", metadata=READ
    )
    ece: float | None = strawberry.field(description="Expected calibration error.", metadata=READ)
    bins: list[DiagramBin] = strawberry.field(metadata={**READ, "size": MAX_BINS})


@strawberry.type(description="What one key is credited with.")
class AttributionPart:
    key: str = strawberry.field(metadata=READ)
    trades: int = strawberry.field(description="In which it had a share.", metadata=READ)
    contribution: float = strawberry.field(
        description="A share of the equity at the beginning.", metadata=READ
    )
    share: float = strawberry.field(description="Of the whole; 0 where that is 0.", metadata=READ)
    r: float = strawberry.field(description="Sum of its shares of the net R multiples.", metadata=READ)
    low: float | None = strawberry.field(description="95 % interval of the contribution.", metadata=READ)
    high: float | None = strawberry.field(metadata=READ)
    without: float | None = strawberry.field(
        description="What the whole would lose without it (leave-one-out); these need not sum.",
        metadata=READ,
    )


@strawberry.type(description="The whole divided: Shapley values over the votes, or one key a trade.")
class Attribution:
    position: Position = strawberry.field(metadata=READ)
    by: AttributionBy = strawberry.field(metadata=READ)
    trades: int = strawberry.field(metadata=READ)
    total: float = strawberry.field(description="The sum of the contributions.", metadata=READ)
    total_r: float = strawberry.field(metadata=READ)
    parts: list[AttributionPart] = strawberry.field(
        description=f"The largest first; at most {MAX_PARTS}, the rest as one.",
        metadata={**READ, "size": MAX_PARTS},
    )
    note: str | None = strawberry.field(metadata=READ)


@strawberry.type(description="A configuration that was tried on recorded or imported history.")
class Trial:
    id: strawberry.ID = strawberry.field(metadata=READ)
    position: Position = strawberry.field(metadata=READ)
    kind: str = strawberry.field(metadata=READ)
    source: str = strawberry.field(description="log, or the names of files.", metadata=READ)
    digest: str = strawberry.field(description="Of the configuration.", metadata=READ)
    label: Label = strawberry.field(metadata=READ)
    first_time: Time = strawberry.field(metadata=READ)
    last_time: Time = strawberry.field(metadata=READ)
    decisions: int = strawberry.field(metadata=READ)
    signals: int = strawberry.field(metadata=READ)
    trades: int = strawberry.field(metadata=READ)
    days: int = strawberry.field(metadata=READ)
    sharpe: float | None = strawberry.field(description="Per day, not annualised.", metadata=READ)
    decisions_digest: str = strawberry.field(metadata=READ)
    outcomes_digest: str = strawberry.field(metadata=READ)


@strawberry.type(description="What was tried, the newest first, and what the best is worth after that.")
class TrialReport:
    position: Position = strawberry.field(metadata=READ)
    count: int = strawberry.field(description="Different trials ever recorded.", metadata=READ)
    best_sharpe: float | None = strawberry.field(description="Per day, not annualised.", metadata=READ)
    expected_best: float | None = strawberry.field(
        description="The best Sharpe ratio of so many trials without any skill.", metadata=READ
    )
    deflated_sharpe: float | None = strawberry.field(
        description="Probability that the best one is more than that.", metadata=READ
    )
    trials: list[Trial] = strawberry.field(metadata={**READ, "size": "page"})


From = Annotated[Time | None, strawberry.argument(name="from")]


def _wanted(
    strategy: str,
    version: int | None,
    instrument: str | None,
    timeframe: Timeframe | None,
    from_: Time | None,
    to: Time | None,
) -> Wanted:
    bounded(from_, to)
    return Wanted(
        strategy=strategy,
        version=version,
        instrument=None if instrument is None else known_instrument(instrument),
        timeframe=timeframe.value if timeframe else None,
        since=from_,
        until=to,
    )


def _which(of: TradeSet | None) -> TradeSet:
    return of or TradeSet.SIGNALS


def _time(value: int) -> Time | None:
    return Time(value) if value else None


def figure_of(found: f.Figure) -> Figure:
    return Figure(
        name=found.name,
        title=found.title,
        unit=found.unit,
        value=found.value,
        low=found.low,
        high=found.high,
        sample=found.sample,
        effective=found.effective,
        note=found.note or None,
    )


def performance_of(position: int, found: f.Performance) -> Performance:
    return Performance(
        position=Position(position),
        of=TradeSet(found.of),
        trades=found.trades,
        days=found.days,
        first=_time(found.first),
        last=_time(found.last),
        figures=[figure_of(each) for each in found.figures],
        months=[
            MonthlyReturn(year=each.year, month=each.month, value=each.value, trades=each.trades)
            for each in found.months[-MAX_MONTHS:]
        ],
    )


def attribution_of(position: int, found: f.Attribution) -> Attribution:
    return Attribution(
        position=Position(position),
        by=AttributionBy(found.by),
        trades=found.trades,
        total=found.total,
        total_r=found.total_r,
        parts=[
            AttributionPart(
                key=each.key,
                trades=each.trades,
                contribution=each.contribution,
                share=each.share,
                r=each.r,
                low=each.low,
                high=each.high,
                without=each.without,
            )
            for each in found.at_most(MAX_PARTS)
        ],
        note=found.note or None,
    )


def _report(found: Trials, first: int) -> TrialReport:
    return TrialReport(
        position=Position(found.position),
        count=found.count,
        best_sharpe=found.best_sharpe,
        expected_best=found.expected_best,
        deflated_sharpe=found.deflated,
        trials=[
            Trial(
                id=strawberry.ID(e.trial),
                position=Position(position),
                kind=e.kind,
                source=e.source,
                digest=e.configuration.digest,
                label=Label(e.configuration.label),
                first_time=Time(e.first_time),
                last_time=Time(e.last_time),
                decisions=e.decisions,
                signals=e.signals,
                trades=e.trades,
                days=e.days,
                sharpe=e.sharpe,
                decisions_digest=e.decisions_digest,
                outcomes_digest=e.outcomes_digest,
            )
            for position, e in found.newest[:first]
        ],
    )


@strawberry.type
class PerformanceQuery:
    @strawberry.field(
        description="What the trades of a strategy decided in [`from`, `to`) and closed since were worth: "
        "of its signals unless `of` says otherwise; every figure with its interval and sample.",
        metadata={**READ, "size": WORK},
    )
    async def performance(
        self,
        info: Info,
        strategy: str,
        version: int | None = None,
        instrument: str | None = None,
        timeframe: Timeframe | None = None,
        of: TradeSet | None = None,
        from_: From = None,
        to: Time | None = None,
        as_of: AsOf | None = None,
    ) -> Performance:
        wanted = _wanted(strategy, version, instrument, timeframe, from_, to)
        services = info.context.services
        moment = await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            position, found = await track_records.performance(
                services.store, services.decode, db, wanted, of=_which(of).value, as_of=moment
            )
        return performance_of(position, found)

    @strawberry.field(
        description="Equity and drawdown of a strategy: of its signals by the sizes they had, or of "
        "candidates at a fixed risk each.",
        metadata={**READ, "size": paged("points", MAX_POINTS, DEFAULT_POINTS)},
    )
    async def equity_curve(
        self,
        info: Info,
        strategy: str,
        version: int | None = None,
        instrument: str | None = None,
        timeframe: Timeframe | None = None,
        of: TradeSet | None = None,
        points: int = DEFAULT_POINTS,
        from_: From = None,
        to: Time | None = None,
        as_of: AsOf | None = None,
    ) -> EquityCurve:
        if not LEAST_POINTS <= points <= MAX_POINTS:
            raise UserError(f"points {points} needs {LEAST_POINTS} to {MAX_POINTS}")
        wanted = _wanted(strategy, version, instrument, timeframe, from_, to)
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            position, curve = await track_records.equity_curve(
                db, wanted, of=_which(of).value, points=points, as_of=moment
            )
        return EquityCurve(
            position=Position(position),
            of=_which(of),
            points=[
                EquityPoint(time=Time(each.time), equity=each.equity, drawdown=each.drawdown)
                for each in curve
            ],
        )

    @strawberry.field(
        description="Claims of a strategy against what came true: of signals only unless `candidates`.",
        metadata=READ,
    )
    async def reliability_diagram(
        self,
        info: Info,
        strategy: str,
        version: int | None = None,
        instrument: str | None = None,
        timeframe: Timeframe | None = None,
        candidates: bool = False,
        bins: int = BINS,
        as_of: AsOf | None = None,
    ) -> ReliabilityDiagram:
        if not 1 <= bins <= MAX_BINS:
            raise UserError(f"bins {bins} needs 1 to {MAX_BINS}")
        wanted = decision_queries.Wanted(
            strategy=strategy,
            version=version,
            instrument=None if instrument is None else known_instrument(instrument),
            timeframe=timeframe.value if timeframe else None,
            is_signal=None if candidates else True,
        )
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            found = await claim_queries.judged_claims(db, wanted, as_of=moment, bins=bins)
        return ReliabilityDiagram(
            position=Position(found.position),
            claims=found.claims,
            effective=found.effective,
            brier=found.brier,
            brier_skill=found.skill,
            ece=found.error,
            bins=DiagramBin.all_of(found.bins),
        )

    @strawberry.field(
        description="Whom the result is owed to. Voters, patterns and feature groups share each trade by "
        "the Shapley values of its votes; the other dimensions take each trade whole. It sums to the total.",
        metadata={**READ, "size": WORK},
    )
    async def attribution(
        self,
        info: Info,
        strategy: str,
        by: AttributionBy,
        version: int | None = None,
        instrument: str | None = None,
        timeframe: Timeframe | None = None,
        of: TradeSet | None = None,
        from_: From = None,
        to: Time | None = None,
        as_of: AsOf | None = None,
    ) -> Attribution:
        wanted = _wanted(strategy, version, instrument, timeframe, from_, to)
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            position, found = await track_records.attribution(
                db, wanted, by.value, of=_which(of).value, as_of=moment
            )
        return attribution_of(position, found)

    @strawberry.field(
        description="Configurations of a strategy that were tried in backtests: how many there were decides "
        "what the best one is worth.",
        metadata={**READ, "size": paged("first", MAX_TRIALS, DEFAULT_TRIALS)},
    )
    async def trials(
        self, info: Info, strategy: str, first: int = DEFAULT_TRIALS, as_of: AsOf | None = None
    ) -> TrialReport:
        if not 1 <= first <= MAX_TRIALS:
            raise UserError(f"first {first} needs 1 to {MAX_TRIALS}")
        services = info.context.services
        moment = await position_of(services.store, as_of)
        async with answered():
            found = await trials_of(services.store, services.decode, strategy, as_of=moment)
        return _report(found, first)
