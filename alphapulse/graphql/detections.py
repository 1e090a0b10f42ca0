"""Patterns, signals of analysis and anomalies: what was detected, and what that was worth so far.

Computed by projections/detection_queries.py from bars as they were when they ended.
"""

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from math import isnan
from typing import Annotated, Any, cast

import strawberry
from psycopg import AsyncConnection

from alphapulse.domain.analysis.confirmation import Confirmation
from alphapulse.domain.analysis.context import Around
from alphapulse.domain.analysis.detections import MAX_HORIZON
from alphapulse.domain.analysis.indicators.regime import NAMES
from alphapulse.domain.analysis.registry import BadParameter, Spec, everything
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.bar_feed import BarFeed
from alphapulse.graphql.candle_feed import Discontinuity
from alphapulse.graphql.candles import DEFAULT_LAST, Info, Timeframe, known_instrument
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.indicators import rows_asked, span_of
from alphapulse.graphql.limits import Arguments
from alphapulse.graphql.scalars import Position, Time
from alphapulse.projections import detection_queries
from alphapulse.projections.analysis_queries import Span
from alphapulse.projections.detection_queries import Found, Question

DEFAULT_HORIZON = 10


@strawberry.enum(description="Which way a detection points.")
class Direction(Enum):
    UP = 1
    DOWN = -1
    NEITHER = 0


@strawberry.type(
    description="How often such detections were right against how often the price goes there anyway, in the "
    "same regime. Intervals are of 95 %, corrected for outcomes that overlap. Null where nothing can be said."
)
class TrackRecord:
    horizon: int = strawberry.field(description="Bars until the outcome.", metadata=READ)
    detections: int = strawberry.field(description="With a known outcome.", metadata=READ)
    hits: int = strawberry.field(metadata=READ)
    effective: float | None = strawberry.field(
        description="Detections, less what their horizons overlap.", metadata=READ
    )
    hit_rate: float | None = strawberry.field(metadata=READ)
    hit_low: float | None = strawberry.field(metadata=READ)
    hit_high: float | None = strawberry.field(metadata=READ)
    base_bars: int = strawberry.field(description="Bars that the base rate counts.", metadata=READ)
    base_rate: float | None = strawberry.field(metadata=READ)
    lift: float | None = strawberry.field(description="Hit rate less base rate.", metadata=READ)
    lift_low: float | None = strawberry.field(metadata=READ)
    lift_high: float | None = strawberry.field(metadata=READ)


@strawberry.type(description="The record of one pattern or signal over all bars looked at.")
class ReliabilityRow:
    name: str = strawberry.field(metadata=READ)
    record: TrackRecord = strawberry.field(metadata=READ)
    pending: int = strawberry.field(description="Detections whose outcome is still to come.", metadata=READ)
    p_value: float | None = strawberry.field(description="Two-sided, that both rates are one.", metadata=READ)
    adjusted: float | None = strawberry.field(
        description="The same after Holm's correction over all rows of this answer.", metadata=READ
    )


@strawberry.type(description="The trend of another timeframe, as known at the bar.")
class OtherTrend:
    timeframe: Timeframe = strawberry.field(metadata=READ)
    trend: float | None = strawberry.field(description="In average true ranges over 20 bars.", metadata=READ)


@strawberry.type(description="What lay around a detection when its bar ended. Distances are in ATR.")
class DetectionContext:
    trend: float | None = strawberry.field(description="Of the closes before the bar.", metadata=READ)
    volume_ratio: float | None = strawberry.field(
        description="Its volume by the mean of those before.", metadata=READ
    )
    support: float | None = strawberry.field(description="Down to the next level.", metadata=READ)
    resistance: float | None = strawberry.field(description="Up to the next level.", metadata=READ)
    others: list[OtherTrend] = strawberry.field(metadata={**READ, "size": 6})


@strawberry.type(description="Whether trend, volume and other timeframes agree.")
class Agreement:
    verdict: str = strawberry.field(description="confirmed, contradicted, divided or alone.", metadata=READ)
    supporting: int = strawberry.field(metadata=READ)
    opposing: int = strawberry.field(metadata=READ)
    reasons: list[str] = strawberry.field(metadata={**READ, "size": 4})


@strawberry.type(description="Something that was detected when a bar ended.")
class Detection:
    name: str = strawberry.field(description="With its parameters.", metadata=READ)
    title: str = strawberry.field(metadata=READ)
    start: Time = strawberry.field(description="Open time of the bar.", metadata=READ)
    known_time: Time = strawberry.field(
        description="When the bar was known to have ended, by the venue's clock.", metadata=READ
    )
    source_position: Position = strawberry.field(
        description="Position of the event that ended it.", metadata=READ
    )
    direction: Direction = strawberry.field(metadata=READ)
    signal: float = strawberry.field(
        description="What the detector gave, such as 100 or -200.", metadata=READ
    )
    strength: float | None = strawberry.field(description="How clearly it is met, 0 to 1.", metadata=READ)
    regime: str | None = strawberry.field(metadata=READ)
    reasons: list[str] = strawberry.field(
        description="Of a signal: its rule, with the values.", metadata={**READ, "size": 3}
    )
    context: DetectionContext | None = strawberry.field(metadata=READ)
    agreement: Agreement | None = strawberry.field(metadata=READ)
    record: TrackRecord | None = strawberry.field(
        description="Of earlier ones in the same direction and regime, as known at this bar.", metadata=READ
    )


@strawberry.type(description="Detections, oldest first.")
class DetectionSeries:
    instrument: str = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    bars: int = strawberry.field(description="How many bars were looked at.", metadata=READ)
    history: int = strawberry.field(
        description="How many bars before them count for reliability.", metadata=READ
    )
    detections: list[Detection] = strawberry.field(metadata={**READ, "size": "page"})
    reliability: list[ReliabilityRow] = strawberry.field(
        description="As of the last bar.", metadata={**READ, "size": 20}
    )


@strawberry.type(description="What was detected at bars that ended after `previous`.")
class DetectionUpdate:
    previous: Position = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    bars: int = strawberry.field(description="How many bars ended.", metadata=READ)
    detections: list[Detection] = strawberry.field(metadata={**READ, "size": 10})
    discontinuity: Discontinuity | None = strawberry.field(
        description="Set when bars are missing here.", metadata=READ
    )


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def _track(found: Any, row: int | None, horizon: int) -> TrackRecord:
    """A TrackRecord of the domain's, of which ``row`` is meant, or of a Reliability."""

    def of(name: str) -> Any:
        value = getattr(found, name)
        return value if row is None else value[row].item()

    counts = {name: int(of(name)) for name in ("detections", "hits", "base_bars")}
    shares = ("effective", "hit_rate", "hit_low", "hit_high", "base_rate", "lift", "lift_low", "lift_high")
    known: dict[str, Any] = {name: _known(of(name)) for name in shares}
    return TrackRecord(horizon=horizon, **counts, **known)


def _context(around: Around) -> DetectionContext:
    return DetectionContext(
        trend=_known(around.trend),
        volume_ratio=_known(around.volume_ratio),
        support=_known(around.support),
        resistance=_known(around.resistance),
        others=[
            OtherTrend(timeframe=Timeframe(timeframe), trend=_known(trend))
            for timeframe, trend in sorted(around.others.items())
        ],
    )


def _agreement(found: Confirmation) -> Agreement:
    return Agreement(
        verdict=found.verdict,
        supporting=found.supporting,
        opposing=found.opposing,
        reasons=list(found.reasons),
    )


def _detections(found: Found, horizon: int) -> list[Detection]:
    start, known, position = (
        found.bars.start.tolist(), found.bars.known_time.tolist(), found.bars.position.tolist(),
    )  # fmt: skip
    return [
        Detection(
            name=str(d.spec),
            title=d.spec.known.title,
            start=Time(start[d.row] * MINUTE_NS),
            known_time=Time(known[d.row]),
            source_position=Position(position[d.row]),
            direction=Direction(d.direction),
            signal=d.signal,
            strength=_known(d.strength),
            regime=None if d.regime is None else NAMES[d.regime],
            reasons=list(d.reasons),
            context=None if d.around is None else _context(d.around),
            agreement=None if d.confirmation is None else _agreement(d.confirmation),
            record=None if d.record is None else _track(*d.record, horizon),
        )
        for d in found.detected
    ]


def _specs(kind: str, names: Sequence[str] | None) -> list[Spec]:
    """All of ``kind``, or those named. Raises UserError."""
    if names is None:
        return [Spec.of(name) for name, known in everything().items() if known.kind == kind]
    try:
        specs = list(dict.fromkeys(Spec.parse(name) for name in names))
    except BadParameter as error:
        raise UserError(str(error)) from None
    wrong = [str(spec) for spec in specs if spec.known.kind != kind]
    if wrong or not specs:
        raise UserError(
            f"{', '.join(wrong) or 'nothing'} is no {kind}: see indicatorCatalogue(kind: {kind!r})"
        )
    return specs


def _question(kind: str, names: Sequence[str] | None, span: Span, horizon: int, strength: float) -> Question:
    if not 1 <= horizon <= MAX_HORIZON:
        raise UserError(f"horizon {horizon} needs 1 to {MAX_HORIZON} bars")
    if not 0 <= strength <= 1:
        raise UserError(f"minStrength {strength:g} needs 0 to 1")
    return Question(specs=_specs(kind, names), span=span, horizon=horizon, min_strength=strength)


def _cost(arguments: Arguments) -> int:
    return max(10, rows_asked(arguments) // 5)


async def _ask(
    info: Info, kind: str, instrument: str, timeframe: Timeframe, as_of: AsOf | None, **asked: Any
) -> DetectionSeries:
    services, name = info.context.services, known_instrument(instrument)
    question = _question(kind, **asked)
    position = await position_of(services.store, as_of)
    async with answered(), services.reads.connection() as db:
        found = await detection_queries.detections(db, name, timeframe.value, question, as_of=position)
    return DetectionSeries(
        instrument=name,
        timeframe=timeframe,
        position=Position(found.position),
        bars=len(found.bars),
        history=found.history,
        detections=_detections(found, question.horizon),
        reliability=[
            ReliabilityRow(
                name=row.name,
                record=_track(row, None, row.horizon),
                pending=row.pending,
                p_value=_known(row.p_value),
                adjusted=_known(row.adjusted),
            )
            for row in found.reliability
        ],
    )


_MORE = (
    "At bars that begin in [`from`, `to`), of those the `last` ones; without `from` and `last` the last "
    f"{DEFAULT_LAST}. Reliability is measured over `horizon` bars, on up to "
    f"{detection_queries.HISTORY:,} bars before those as well."
)


@strawberry.type
class DetectionQuery:
    @strawberry.field(
        description=f"Candlestick patterns: all of them, or `names`. {_MORE}",
        metadata={**READ, "size": _cost},
    )
    async def patterns(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        names: list[str] | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        horizon: int = DEFAULT_HORIZON,
        min_strength: float = 0.0,
        as_of: AsOf | None = None,
    ) -> DetectionSeries:
        asked = {
            "names": names,
            "span": span_of(from_, to, last),
            "horizon": horizon,
            "strength": min_strength,
        }
        return await _ask(info, "pattern", instrument, timeframe, as_of, **asked)

    @strawberry.field(
        description="Signals of analysis (overbought, crossovers, breakouts, divergences, squeezes, gaps), "
        f"which are not trading signals: all of them, or `names`. {_MORE}",
        metadata={**READ, "size": _cost},
    )
    async def analysis_signals(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        names: list[str] | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        horizon: int = DEFAULT_HORIZON,
        min_strength: float = 0.0,
        as_of: AsOf | None = None,
    ) -> DetectionSeries:
        asked = {
            "names": names,
            "span": span_of(from_, to, last),
            "horizon": horizon,
            "strength": min_strength,
        }
        return await _ask(info, "signal", instrument, timeframe, as_of, **asked)

    @strawberry.field(
        description="Bars that stand out in price, range, volume or trade rate, and change points: all, "
        f"or `names`. {_MORE}",
        metadata={**READ, "size": _cost},
    )
    async def anomalies(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        names: list[str] | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        horizon: int = DEFAULT_HORIZON,
        as_of: AsOf | None = None,
    ) -> DetectionSeries:
        asked = {"names": names, "span": span_of(from_, to, last), "horizon": horizon, "strength": 0.0}
        return await _ask(info, "anomaly", instrument, timeframe, as_of, **asked)


@strawberry.type
class DetectionSubscription:
    @strawberry.subscription(
        description="Patterns, signals of analysis or anomalies as bars end. The first message without "
        "`after` holds those of the newest bar. Who takes messages slowly gets several bars in one.",
        metadata=READ,
    )
    async def detections(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        kind: str = "pattern",
        after: Position | None = None,
    ) -> AsyncIterator[DetectionUpdate]:
        services, name, minutes = info.context.services, known_instrument(instrument), timeframe.value
        if kind not in ("pattern", "signal", "anomaly"):
            raise UserError(f"kind {kind!r} is none of pattern, signal, anomaly")
        if after is not None and after > (head := await services.store.head()):
            raise UserError(f"after {after} lies beyond the end of the log, {head}")

        async def render(db: AsyncConnection[Any], previous: int, position: int, count: int) -> object:
            question = _question(kind, None, Span(last=count), DEFAULT_HORIZON, 0.0)
            found = await detection_queries.detections(db, name, minutes, question, as_of=position)
            return DetectionUpdate(
                previous=Position(previous),
                position=Position(position),
                bars=len(found.bars),
                detections=_detections(found, DEFAULT_HORIZON),
                discontinuity=None,
            )

        watch = Watch(
            ("detections", kind, name, minutes),
            lambda: BarFeed(services, name, minutes, render, _missing),
            after,
        )
        return cast("AsyncIterator[DetectionUpdate]", Stream(services.hub, watch))


def _missing(after: int, until: int, reason: str) -> DetectionUpdate:
    gap = Discontinuity(after=Position(after), until=Position(until), reason=reason)
    return DetectionUpdate(
        previous=Position(after), position=Position(until), bars=0, detections=[], discontinuity=gap
    )
