"""Indicators: which there are, their values over the known bars, and live as bars end.

Everything is computed by projections/analysis_queries.py from bars as they were when they ended. An
indicator is named with its parameters, such as ``rsi`` or ``bbands(period=20,width=2)``.
"""

from collections.abc import Sequence
from typing import Annotated

import orjson
import strawberry

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.registry import BadParameter, Indicator, Spec, everything
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import DEFAULT_LAST, Info, Timeframe, known_instrument
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.limits import Arguments
from alphapulse.graphql.scalars import Column, Position, Time, write_time
from alphapulse.projections.analysis_queries import MAX_SPECS, Series, Span, indicators

MAX_ROWS = 10_000


@strawberry.type(description="One number that shapes an indicator.")
class IndicatorParameter:
    name: str = strawberry.field(metadata=READ)
    default: float = strawberry.field(metadata=READ)
    low: float = strawberry.field(metadata=READ)
    high: float = strawberry.field(metadata=READ)
    whole: bool = strawberry.field(description="Only integers.", metadata=READ)


@strawberry.type(description="One value a bar.")
class IndicatorOutput:
    name: str = strawberry.field(metadata=READ)
    unit: str = strawberry.field(metadata=READ)
    price_power: int = strawberry.field(
        description="Prices times c give the value times c to this power.", metadata=READ
    )
    volume_power: int = strawberry.field(metadata=READ)
    low: float | None = strawberry.field(description="Its lower bound, where it has one.", metadata=READ)
    high: float | None = strawberry.field(metadata=READ)
    lookback: int = strawberry.field(
        description="Bars before its first value, with default parameters.", metadata=READ
    )


@strawberry.type(description="What an indicator declares.")
class IndicatorInfo:
    name: str = strawberry.field(metadata=READ)
    title: str = strawberry.field(metadata=READ)
    kind: str = strawberry.field(metadata=READ)
    source: str = strawberry.field(description="Where the formula stands.", metadata=READ)
    forgets: int | None = strawberry.field(
        description="Bars until the first bar shows no more; null: never, it adds up from there.",
        metadata=READ,
    )
    parameters: list[IndicatorParameter] = strawberry.field(metadata={**READ, "size": 4})
    outputs: list[IndicatorOutput] = strawberry.field(metadata={**READ, "size": 4})


@strawberry.type(description="One output at each bar of the series; null where it has no value yet.")
class IndicatorColumn:
    name: str = strawberry.field(metadata=READ)
    unit: str = strawberry.field(metadata=READ)
    values: Column = strawberry.field(metadata=READ)


@strawberry.type(
    description="Closed bars and what was computed of them, oldest first. Each column is one JSON array."
)
class IndicatorSeries:
    instrument: str = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    count: int = strawberry.field(metadata=READ)
    start: Column = strawberry.field(description="Open times, ms since 1970 UTC.", metadata=READ)
    known_time: Column = strawberry.field(
        description="When each bar was known to have ended, by the venue's clock: ms since 1970 UTC.",
        metadata=READ,
    )
    source_position: Column = strawberry.field(
        description="Position of the event that ended each bar.", metadata=READ
    )
    flags: Column = strawberry.field(
        description="Bits: 1 venue supplied, 2 back-filled, 4 receive time, 8 after a gap, 16 feed down.",
        metadata=READ,
    )
    columns: list[IndicatorColumn] = strawberry.field(metadata={**READ, "size": "page"})


def column(values: Floats | Int64s) -> Column:
    """A JSON array of numbers; NaN is null."""
    return Column(orjson.Fragment(orjson.dumps(values.copy(order="C"), option=orjson.OPT_SERIALIZE_NUMPY)))


def parsed(texts: Sequence[str]) -> list[Spec]:
    """The indicators that ``texts`` name. Raises UserError."""
    if not 1 <= len(texts) <= MAX_SPECS:
        raise UserError(f"{len(texts)} indicators were asked for, 1 to {MAX_SPECS} can be")
    try:
        specs = [Spec.parse(text) for text in texts]
    except BadParameter as error:
        raise UserError(str(error)) from None
    if len(set(specs)) < len(specs):
        raise UserError(f"an indicator stands twice in {', '.join(map(str, specs))}")
    return specs


def span_of(start: int | None, end: int | None, last: int | None, default: int = DEFAULT_LAST) -> Span:
    """The bars that a client asks for. Raises UserError."""
    if last is not None and not 1 <= last <= MAX_ROWS:
        raise UserError(f"last {last} needs 1 to {MAX_ROWS}")
    if start is not None and end is not None and start >= end:
        raise UserError(f"from {write_time(start)} is not before to {write_time(end)}")
    if start is None and last is None:
        last = default
    return Span(start=start, end=end, last=last)


def rows_asked(arguments: Arguments) -> int:
    """How many bars the answer may have, for its cost; what cannot be read counts in full."""
    last = arguments.get("last")
    if isinstance(last, int):
        return min(max(last, 0), MAX_ROWS)
    return DEFAULT_LAST if arguments.get("from") is None else MAX_ROWS


def _cost(arguments: Arguments) -> int:
    specs = arguments.get("specs")
    return rows_asked(arguments) // 100 * max(1, len(specs) if isinstance(specs, list) else MAX_SPECS)


def series_of(found: Series) -> IndicatorSeries:
    bars = found.bars
    units = {
        name: output.unit
        for text in found.specs
        for name, output in zip(text.columns, text.known.outputs, strict=True)
    }
    return IndicatorSeries(
        instrument=bars.instrument,
        timeframe=Timeframe(bars.timeframe),
        position=Position(found.position),
        count=len(bars),
        start=column(bars.start * 60_000),
        known_time=column(bars.known_time // 1_000_000),
        source_position=column(bars.position),
        flags=column(bars.flags),
        columns=[
            IndicatorColumn(name=name, unit=units[name], values=column(values))
            for name, values in zip(found.columns, found.values, strict=True)
        ],
    )


def info_of(known: Indicator) -> IndicatorInfo:
    defaults = [p.default for p in known.parameters]
    return IndicatorInfo(
        name=known.name,
        title=known.title,
        kind=known.kind,
        source=known.source,
        forgets=known.forgets(defaults),
        parameters=[
            IndicatorParameter(name=p.name, default=p.default, low=p.low, high=p.high, whole=p.whole)
            for p in known.parameters
        ],
        outputs=[
            IndicatorOutput(
                name=o.name, unit=o.unit, price_power=o.prices, volume_power=o.volumes,
                low=o.low, high=o.high, lookback=bars,
            )
            for o, bars in zip(known.outputs, known.lookbacks(defaults), strict=True)
        ],
    )  # fmt: skip


def check_rows(found: Series) -> Series:
    if len(found.bars) > MAX_ROWS:
        first = write_time(int(found.bars.start[0]) * MINUTE_NS)
        raise UserError(f"{len(found.bars)} bars from {first} on, the limit is {MAX_ROWS}: ask for fewer")
    return found


@strawberry.type
class IndicatorQuery:
    @strawberry.field(
        description="Every indicator, pattern, signal, regime and anomaly that can be asked for, by name.",
        metadata={**READ, "size": 150},
    )
    async def indicator_catalogue(self, kind: str | None = None) -> list[IndicatorInfo]:
        found = everything().values()
        kinds = sorted({known.kind for known in found})
        if kind is not None and kind not in kinds:
            raise UserError(f"kind {kind!r} is none of {', '.join(kinds)}")
        return [info_of(known) for known in found if kind in (None, known.kind)]

    @strawberry.field(
        description="Indicators at the bars that begin in [`from`, `to`), of those the `last` ones; "
        f"without `from` and `last` the last {DEFAULT_LAST}. `specs` name indicators with parameters: `rsi`, "
        "`ema(50)`, `bbands(period=20,width=2)`. Bars are as they were when they ended; minutes without "
        "trades have none.",
        metadata={**READ, "size": _cost},
    )
    async def indicators(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        specs: list[str],
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        as_of: AsOf | None = None,
    ) -> IndicatorSeries:
        services = info.context.services
        wanted, span = parsed(specs), span_of(from_, to, last)
        position = await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            found = await indicators(
                db, known_instrument(instrument), timeframe.value, wanted, span, as_of=position
            )
        return series_of(check_rows(found))
