"""Feature sets and their rows: history by what was known, the latest vector of many instruments, and live.

A row is what its bar's features were when the bar was known to have ended; it never changes.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

import orjson
import strawberry
from psycopg import AsyncConnection

from alphapulse.domain.analysis import features as domain
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.bar_feed import BarFeed
from alphapulse.graphql.candle_feed import Discontinuity
from alphapulse.graphql.candles import DEFAULT_LAST, Info, Timeframe, known_instrument
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.indicators import MAX_ROWS, column, rows_asked, span_of
from alphapulse.graphql.limits import Arguments
from alphapulse.graphql.scalars import Column, Json, Position, Time
from alphapulse.projections import feature_quality, feature_queries
from alphapulse.projections.candle_view import snapshot
from alphapulse.projections.feature_queries import MAX_INSTRUMENTS, FeatureSet, Vector
from alphapulse.projections.known_bars import known_position

MAX_VERDICTS = 1_000


@strawberry.type(description="One value of the vector.")
class Feature:
    name: str = strawberry.field(metadata=READ)
    rule: str = strawberry.field(description="The indicator with its parameters.", metadata=READ)
    output: str = strawberry.field(metadata=READ)
    timeframe: Timeframe | None = strawberry.field(
        description="Of the bars it looks at, where they are not those of the row.", metadata=READ
    )
    lag: int = strawberry.field(description="The value of so many bars before.", metadata=READ)
    code_version: int = strawberry.field(metadata=READ)


@strawberry.type(description="One version of a feature set. A version never changes.")
class FeatureSetVersion:
    name: str = strawberry.field(metadata=READ)
    version: int = strawberry.field(metadata=READ)
    owner: str = strawberry.field(metadata=READ)
    description: str = strawberry.field(metadata=READ)
    digest: str = strawberry.field(
        description="SHA-256 over what it computes, code versions included.", metadata=READ
    )
    timeframes: list[Timeframe] = strawberry.field(metadata={**READ, "size": 7})
    features: list[Feature] = strawberry.field(metadata={**READ, "size": 40})
    position: Position = strawberry.field(description="Of its definition.", metadata=READ)
    retired_position: Position | None = strawberry.field(metadata=READ)
    in_use: bool = strawberry.field(description="New bars give new rows.", metadata=READ)
    problem: str | None = strawberry.field(description="Why it has no rows.", metadata=READ)


@strawberry.type(description="One feature at each row of the series.")
class FeatureColumn:
    name: str = strawberry.field(metadata=READ)
    values: Column = strawberry.field(metadata=READ)


@strawberry.type(description="Rows of a feature set, oldest first, in columns.")
class FeatureSeries:
    set_name: str = strawberry.field(metadata=READ)
    set_version: int = strawberry.field(metadata=READ)
    digest: str = strawberry.field(metadata=READ)
    instrument: str = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    count: int = strawberry.field(metadata=READ)
    start: Column = strawberry.field(description="Open times, ms since 1970 UTC.", metadata=READ)
    known_time: Column = strawberry.field(
        description="When each row was known, by the venue's clock: ns since 1970 UTC, as strings.",
        metadata=READ,
    )
    source_position: Column = strawberry.field(
        description="Position of the event that ended each bar.", metadata=READ
    )
    first_position: Column = strawberry.field(
        description="Lineage: position of the first event inside the windows of each row.", metadata=READ
    )
    input_position: Column = strawberry.field(description="And of the last one.", metadata=READ)
    flags: Column = strawberry.field(
        description="Bits: 1 venue supplied, 2 back-filled, 4 receive time, 8 after a gap, 16 feed down, "
        "32 warming, 64 not settled, 128 out of order.",
        metadata=READ,
    )
    columns: list[FeatureColumn] = strawberry.field(metadata={**READ, "size": "page"})


@strawberry.type(description="The latest row of one instrument.")
class FeatureVector:
    instrument: str = strawberry.field(metadata=READ)
    start: Time = strawberry.field(description="Open time of its bar.", metadata=READ)
    known_time: Time = strawberry.field(metadata=READ)
    source_position: Position = strawberry.field(metadata=READ)
    first_position: Position = strawberry.field(metadata=READ)
    input_position: Position = strawberry.field(metadata=READ)
    flags: int = strawberry.field(metadata=READ)
    values: Json = strawberry.field(
        description="By the name of the feature; null where there is none yet.", metadata=READ
    )


@strawberry.type(description="Latest vectors; instruments without any row are missing.")
class LatestFeatures:
    set_name: str = strawberry.field(metadata=READ)
    set_version: int = strawberry.field(metadata=READ)
    digest: str = strawberry.field(metadata=READ)
    vectors: list[FeatureVector] = strawberry.field(metadata={**READ, "size": "page"})


@strawberry.type(description="When a check of a feature began to breach, or was good again.")
class FeatureVerdict:
    set_name: str = strawberry.field(metadata=READ)
    set_version: int = strawberry.field(metadata=READ)
    instrument: str = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    feature: str = strawberry.field(description="Empty: about rows as such.", metadata=READ)
    check: str = strawberry.field(description="psi, ks, missing, range or stale.", metadata=READ)
    is_breached: bool = strawberry.field(metadata=READ)
    value: float = strawberry.field(metadata=READ)
    threshold: float = strawberry.field(metadata=READ)
    rows: int = strawberry.field(description="That were judged.", metadata=READ)
    detail: str = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="Of the event.", metadata=READ)


@strawberry.type(description="Rows that became known after `previous`.")
class FeatureUpdate:
    previous: Position = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    rows: FeatureSeries | None = strawberry.field(metadata={**READ, "size": lambda _: 10})
    discontinuity: Discontinuity | None = strawberry.field(metadata=READ)


class asked:  # noqa: N801  reads as a phrase: async with asked():
    """``answered``, and what is not there, or cannot be, is the client's to know."""

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, domain.UnknownFeatureSet | domain.BadFeatureSet):
            raise UserError(str(error.args[0])) from None
        await answered().__aexit__(kind, error, traceback)


def _version(found: FeatureSet) -> FeatureSetVersion:
    defined = found.defined
    return FeatureSetVersion(
        name=defined.name,
        version=defined.version,
        owner=defined.owner,
        description=defined.description,
        digest=defined.digest,
        timeframes=[Timeframe(t) for t in defined.timeframes],
        features=[
            Feature(
                name=f.name,
                rule=_rule(f),
                output=f.output,
                timeframe=None if f.timeframe is None else Timeframe(f.timeframe),
                lag=f.lag,
                code_version=f.code_version,
            )
            for f in defined.features
        ],
        position=Position(found.position),
        retired_position=None if found.retired_position is None else Position(found.retired_position),
        in_use=found.in_use,
        problem=found.problem,
    )


def _rule(feature: domain.Feature) -> str:
    """As text; a rule that this code does not know any more, as it was defined."""
    inside = ",".join(f"{name}={value:.17g}" for name, value in feature.parameters.items())
    return f"{feature.rule}({inside})" if inside else feature.rule


def _series(found: FeatureSet, rows: FeatureRows, position: int) -> FeatureSeries:
    defined = found.defined
    return FeatureSeries(
        set_name=defined.name,
        set_version=defined.version,
        digest=defined.digest,
        instrument=rows.instrument,
        timeframe=Timeframe(rows.timeframe),
        position=Position(position),
        count=len(rows),
        start=column(rows.start * 60_000),
        known_time=Column(orjson.Fragment(orjson.dumps([str(t) for t in rows.known_time.tolist()]))),
        source_position=column(rows.position),
        first_position=column(rows.first_position),
        input_position=column(rows.input_position),
        flags=column(rows.flags),
        columns=[
            FeatureColumn(name=name, values=column(rows.values[:, i]))
            for i, name in enumerate(defined.columns)
        ],
    )


def _vector(found: FeatureSet, vector: Vector) -> FeatureVector:
    values = dict(zip(found.defined.columns, vector.values, strict=True))
    return FeatureVector(
        instrument=vector.instrument,
        start=Time(vector.start * 60_000_000_000),
        known_time=Time(vector.known_time),
        source_position=Position(vector.position),
        first_position=Position(vector.first_position),
        input_position=Position(vector.input_position),
        flags=vector.flags,
        values=Json(orjson.Fragment(orjson.dumps(values))),  # NaN is null
    )


def _rows_cost(arguments: Arguments) -> int:
    return max(10, rows_asked(arguments) // 2)


def _vectors_asked(arguments: Arguments) -> int:
    names = arguments.get("instruments")
    return min(len(names), MAX_INSTRUMENTS) if isinstance(names, list) else MAX_INSTRUMENTS


async def _ask(
    db: AsyncConnection[Any], name: str, version: int | None, instrument: str, timeframe: int, **which: Any
) -> FeatureSeries:
    async with snapshot(db):
        position = which.get("as_of")
        position = await known_position(db) if position is None else position
        found, rows = await feature_queries.feature_rows(
            db, name, version, instrument, timeframe, limit=MAX_ROWS, **which
        )
    return _series(found, rows, position)


@strawberry.type
class FeatureQuery:
    @strawberry.field(
        description="All versions of all feature sets, newest first.", metadata={**READ, "size": 20}
    )
    async def feature_sets(
        self, info: Info, name: str | None = None, as_of: AsOf | None = None
    ) -> list[FeatureSetVersion]:
        services = info.context.services
        position = await position_of(services.store, as_of)
        async with asked(), services.reads.connection() as db:
            found = await feature_queries.feature_sets(db, as_of=position)
        return [_version(each) for each in found if name in (None, each.defined.name)]

    @strawberry.field(
        description="Rows of a feature set at bars that begin in [`from`, `to`), of those the `last` ones; "
        f"without `from` and `last` the last {DEFAULT_LAST}. Without `version` the newest in use. `knownBy` "
        "keeps rows that were known at that moment of the venue's clock.",
        metadata={**READ, "size": _rows_cost},
    )
    async def features(
        self,
        info: Info,
        set_: Annotated[str, strawberry.argument(name="set")],
        instrument: str,
        timeframe: Timeframe,
        version: int | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        known_by: Time | None = None,
        as_of: AsOf | None = None,
    ) -> FeatureSeries:
        services, span = info.context.services, span_of(from_, to, last)
        position = await position_of(services.store, as_of)
        async with asked(), services.reads.connection() as db:
            return await _ask(
                db, set_, version, known_instrument(instrument), timeframe.value,
                start=span.start, end=span.end, last=span.last, known_by=known_by, as_of=position,
            )  # fmt: skip

    @strawberry.field(
        description="The latest vector of each instrument, from a cache that forgets what changed.",
        metadata={**READ, "size": _vectors_asked},
    )
    async def latest_features(
        self,
        info: Info,
        set_: Annotated[str, strawberry.argument(name="set")],
        instruments: list[str],
        timeframe: Timeframe,
        version: int | None = None,
    ) -> LatestFeatures:
        services, names = info.context.services, [known_instrument(name) for name in instruments]
        async with asked():
            async with services.reads.connection() as db:
                found = await feature_queries.feature_set(db, set_, version)
            defined = found.defined
            if timeframe.value not in defined.timeframes:
                known = ", ".join(Timeframe(t).name for t in defined.timeframes)
                raise UserError(f"{set_} version {defined.version} has rows of {known}, not {timeframe.name}")
            vectors = await services.vectors.latest(defined.name, defined.version, timeframe.value, names)
        return LatestFeatures(
            set_name=defined.name,
            set_version=defined.version,
            digest=defined.digest,
            vectors=[_vector(found, vector) for vector in vectors.values()],
        )

    @strawberry.field(
        description="The last verdict on each check of features that ever breached: drift, holes, age ….",
        metadata={**READ, "size": 100},
    )
    async def feature_quality(
        self,
        info: Info,
        set_: Annotated[str | None, strawberry.argument(name="set")] = None,
        breached_only: bool = False,
        as_of: AsOf | None = None,
    ) -> list[FeatureVerdict]:
        services = info.context.services
        position = await position_of(services.store, as_of)
        async with asked(), services.reads.connection() as db:
            found = await feature_quality.verdicts(
                db, set_name=set_, breached_only=breached_only, as_of=position, limit=MAX_VERDICTS
            )
        return [_verdict(each) for each in found]


def _verdict(found: feature_quality.Verdict) -> FeatureVerdict:
    return FeatureVerdict(
        set_name=found.set_name,
        set_version=found.set_version,
        instrument=found.instrument,
        timeframe=Timeframe(found.timeframe),
        feature=found.feature,
        check=found.check_name,
        is_breached=found.is_breached,
        value=found.value,
        threshold=found.threshold,
        rows=found.rows,
        detail=found.detail,
        position=Position(found.position),
    )


@strawberry.type
class FeatureSubscription:
    @strawberry.subscription(
        description="Rows of a feature set as their bars end. The first message without `after` holds the "
        "newest row. Who takes messages slowly gets several rows in one.",
        metadata=READ,
    )
    async def features(
        self,
        info: Info,
        set_: Annotated[str, strawberry.argument(name="set")],
        instrument: str,
        timeframe: Timeframe,
        version: int | None = None,
        after: Position | None = None,
    ) -> AsyncIterator[FeatureUpdate]:
        services, name, minutes = info.context.services, known_instrument(instrument), timeframe.value
        if after is not None and after > (head := await services.store.head()):
            raise UserError(f"after {after} lies beyond the end of the log, {head}")
        async with asked(), services.reads.connection() as db:
            found = await feature_queries.feature_set(db, set_, version)
            await _ask(
                db, set_, found.defined.version, name, minutes, last=0
            )  # refuses a timeframe it has not
        exact = found.defined.version

        async def render(db: AsyncConnection[Any], previous: int, position: int, count: int) -> object:
            rows = await _ask(db, set_, exact, name, minutes, last=count, as_of=position)
            return FeatureUpdate(
                previous=Position(previous), position=Position(position), rows=rows, discontinuity=None
            )

        watch = Watch(
            ("features", set_, exact, name, minutes),
            lambda: BarFeed(services, name, minutes, render, _missing),
            after,
        )
        return cast("AsyncIterator[FeatureUpdate]", Stream(services.hub, watch))


def _missing(after: int, until: int, reason: str) -> FeatureUpdate:
    gap = Discontinuity(after=Position(after), until=Position(until), reason=reason)
    return FeatureUpdate(previous=Position(after), position=Position(until), rows=None, discontinuity=gap)
