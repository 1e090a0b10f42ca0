"""Candles: a series in columns for charts and programs, a connection to browse, and what is live.

Everything comes from the candle read model (projections/candle_queries.py). Minutes since 1970 UTC inside,
ISO times and milliseconds outside.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal as Exact
from enum import Enum
from typing import Annotated

import orjson
import strawberry
from strawberry.types.nodes import FragmentSpread, InlineFragment, SelectedField, Selection
from strawberry.utils.str_converters import to_camel_case

from alphapulse.domain.market.bars import Fill as DomainFill
from alphapulse.domain.market.instrument import Instrument as Name
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.context import Context
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.limits import Arguments
from alphapulse.graphql.paging import Connection, Window, connection, page_size, window
from alphapulse.graphql.scalars import (
    NULL_COLUMN,
    Column,
    Decimal,
    Position,
    Time,
    decimal_of,
    parse_time,
    write_time,
)
from alphapulse.projections import candle_queries
from alphapulse.projections.candle_queries import COLUMN_NAMES, MAX_BARS

MAX_PAGE = 1_000
DEFAULT_PAGE = 100
DEFAULT_LAST = 500

Info = strawberry.Info[Context, None]


@strawberry.enum(description="Length of a bar. Weeks begin on Monday, 00:00 UTC.")
class Timeframe(Enum):
    M1 = 1
    M5 = 5
    M15 = 15
    H1 = 60
    H4 = 240
    D1 = 1_440
    W1 = 10_080


@strawberry.enum(
    description="What stands for a bar in which nothing was traded. Such bars say that they are filled."
)
class Fill(Enum):
    EMPTY = strawberry.enum_value("empty", description="A bar without prices and volumes.")
    PREVIOUS = strawberry.enum_value("previous", description="The last close again, volumes 0.")
    LINEAR = strawberry.enum_value(
        "linear",
        description="A line to the next open, known only later: for charts, not for decisions.",
    )


@strawberry.enum(description="What a bar is, or why there is none.")
class CandleState(Enum):
    TRADED = strawberry.enum_value("TRADED", description="Built from trades, seen live.")
    QUIET = strawberry.enum_value("QUIET", description="Watched all the time, and nothing was traded.")
    FEED_DOWN = strawberry.enum_value(
        "FEED_DOWN", description="The feed was down for some of it: trades may be missing."
    )
    BACK_FILLED = strawberry.enum_value(
        "BACK_FILLED", description="Some of its trades were fetched after a gap."
    )
    REVISED = strawberry.enum_value("REVISED", description="It changed after it had ended.")
    VENUE_SUPPLIED = strawberry.enum_value(
        "VENUE_SUPPLIED", description="The venue supplied it, or the bars it is made of."
    )
    UNKNOWN = strawberry.enum_value("UNKNOWN", description="Nobody watched.")


@strawberry.type(
    description="Bars in columns, oldest first. Each column is one JSON array of `count` entries; ask only "
    "for those you need. Prices and volumes are exact decimals as strings, `start` is the open time in "
    "milliseconds since 1970 UTC."
)
class CandleSeries:
    instrument: str = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    count: int = strawberry.field(description="How many bars.", metadata=READ)
    first_start: Time | None = strawberry.field(description="Open time of the first bar.", metadata=READ)
    last_start: Time | None = strawberry.field(description="Open time of the last bar.", metadata=READ)
    start: Column = strawberry.field(default=NULL_COLUMN, metadata=READ)
    open: Column = strawberry.field(default=NULL_COLUMN, description="Quote currency.", metadata=READ)
    high: Column = strawberry.field(default=NULL_COLUMN, metadata=READ)
    low: Column = strawberry.field(default=NULL_COLUMN, metadata=READ)
    close: Column = strawberry.field(default=NULL_COLUMN, metadata=READ)
    base_volume: Column = strawberry.field(default=NULL_COLUMN, metadata=READ)
    quote_volume: Column = strawberry.field(default=NULL_COLUMN, metadata=READ)
    taker_buy_volume: Column = strawberry.field(
        default=NULL_COLUMN, description="Base units that takers bought.", metadata=READ
    )
    vwap: Column = strawberry.field(
        default=NULL_COLUMN, description="Quote volume by base volume.", metadata=READ
    )
    trade_count: Column = strawberry.field(default=NULL_COLUMN, metadata=READ)
    minutes: Column = strawberry.field(
        default=NULL_COLUMN, description="Minutes inside in which something was traded.", metadata=READ
    )
    revision: Column = strawberry.field(
        default=NULL_COLUMN, description="How often the bar changed after it had ended.", metadata=READ
    )
    source_position: Column = strawberry.field(
        default=NULL_COLUMN, description="Position of the last event that touched the bar.", metadata=READ
    )
    source: Column = strawberry.field(
        default=NULL_COLUMN,
        description="0: built from trades; else minutes of the venue's bars it was made of.",
        metadata=READ,
    )
    closed: Column = strawberry.field(default=NULL_COLUMN, description="The bar has ended.", metadata=READ)
    state: Column = strawberry.field(default=NULL_COLUMN, description="Names of CandleState.", metadata=READ)
    coverage: Column = strawberry.field(
        default=NULL_COLUMN, description="Share of the bar's minutes that is known, 0 to 1.", metadata=READ
    )
    filled: Column = strawberry.field(
        default=NULL_COLUMN,
        description="True where nothing was traded and the query asked for a fill.",
        metadata=READ,
    )


# What a column is called in the schema, and in the read model.
_COLUMNS = {to_camel_case(name): name for name in COLUMN_NAMES if name != "position"} | {
    "sourcePosition": "position"
}


@strawberry.type(description="One bar.")
class Candle:
    start: Time = strawberry.field(description="Open time.", metadata=READ)
    end: Time = strawberry.field(description="Where the next bar begins.", metadata=READ)
    open: Decimal = strawberry.field(metadata=READ)
    high: Decimal = strawberry.field(metadata=READ)
    low: Decimal = strawberry.field(metadata=READ)
    close: Decimal = strawberry.field(metadata=READ)
    base_volume: Decimal | None = strawberry.field(metadata=READ)
    quote_volume: Decimal | None = strawberry.field(metadata=READ)
    taker_buy_volume: Decimal | None = strawberry.field(metadata=READ)
    vwap: Decimal | None = strawberry.field(metadata=READ)
    trade_count: int | None = strawberry.field(metadata=READ)
    minutes: int = strawberry.field(
        description="Minutes inside in which something was traded.", metadata=READ
    )
    revision: int = strawberry.field(
        description="How often the bar changed after it had ended.", metadata=READ
    )
    source_position: Position = strawberry.field(
        description="Position of the last event that touched the bar.", metadata=READ
    )
    source: int = strawberry.field(
        description="0: built from trades; else minutes of the venue's bars it was made of.", metadata=READ
    )
    closed: bool = strawberry.field(description="The bar has ended.", metadata=READ)
    state: CandleState = strawberry.field(metadata=READ)
    coverage: float = strawberry.field(
        description="Share of the bar's minutes that is known, 0 to 1.", metadata=READ
    )


def candle_of(row: candle_queries.Candle) -> Candle:
    bar = row.bar
    assert bar.open is not None and bar.high is not None  # noqa: PT018  stored bars have prices
    assert bar.low is not None and bar.close is not None  # noqa: PT018
    return Candle(
        start=Time(bar.start * MINUTE_NS),
        end=Time((bar.start + bar.timeframe) * MINUTE_NS),
        open=decimal_of(bar.open),
        high=decimal_of(bar.high),
        low=decimal_of(bar.low),
        close=decimal_of(bar.close),
        base_volume=_decimal(bar.base_volume),
        quote_volume=_decimal(bar.quote_volume),
        taker_buy_volume=_decimal(bar.taker_buy_volume),
        vwap=_decimal(bar.vwap),
        trade_count=bar.trade_count,
        minutes=bar.minutes,
        revision=bar.revision,
        source_position=Position(bar.position),
        source=bar.source,
        closed=row.closed,
        state=CandleState[row.state.name],
        coverage=round(row.covered_minutes / bar.timeframe, 6),
    )


def _decimal(value: Exact | None) -> Decimal | None:
    return None if value is None else decimal_of(value)


def _rows(arguments: Arguments) -> int:
    """How many bars a series may have, for its cost; what cannot be read counts in full."""
    last = arguments.get("last")
    if isinstance(last, int):
        return min(max(last, 0), MAX_BARS)
    begin, end = arguments.get("from"), arguments.get("to")
    if begin is None and end is None:
        return DEFAULT_LAST
    try:
        minutes = (parse_time(end) - parse_time(begin)) // MINUTE_NS
        return min(max(minutes // Timeframe[str(arguments["timeframe"])].value, 0) + 1, MAX_BARS)
    except (UserError, KeyError):
        return MAX_BARS


def _selected(selections: Sequence[Selection]) -> Iterator[str]:
    """Names of the fields that are asked for directly below, fragments included."""
    for selection in selections:
        match selection:
            case SelectedField():
                yield selection.name
            case FragmentSpread() | InlineFragment():
                yield from _selected(selection.selections)


def known_instrument(name: str) -> str:
    """``name`` as the read models write it. Raises UserError unless it is venue:symbol."""
    try:
        return str(Name.parse(name))
    except ValueError as error:
        raise UserError(str(error)) from None


@strawberry.type
class CandleQuery:
    @strawberry.field(
        description="Bars that begin in [`from`, `to`), of those the `last` ones; without any of the three "
        f"the last {DEFAULT_LAST}. At most {MAX_BARS:,}. An instrument that nothing was heard of has none.",
        metadata={**READ, "size": _rows},
    )
    async def candles(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        as_of: AsOf | None = None,
        fill: Fill | None = None,
    ) -> CandleSeries:
        if last is not None and not 1 <= last <= MAX_BARS:
            raise UserError(f"last {last} needs 1 to {MAX_BARS}")
        if from_ is not None and to is not None and from_ >= to:
            raise UserError(f"from {write_time(from_)} is not before to {write_time(to)}")
        if from_ is None and to is None and last is None:
            last = DEFAULT_LAST
        services = info.context.services
        position = await position_of(services.store, as_of)
        wanted = {name for field in info.selected_fields for name in _selected(field.selections)}
        async with answered(), services.reads.connection() as db:
            found = await candle_queries.series(
                db,
                known_instrument(instrument),
                timeframe.value,
                start=from_,
                end=to,
                last=last,
                as_of=position,
                fill=None if fill is None else DomainFill(fill.value),
                columns=[column for name, column in _COLUMNS.items() if name in wanted],
                history=services.history,
            )
        return _series(found)

    @strawberry.field(
        description="Bars to browse, oldest first: the `first` ones after a cursor or the `last` ones before "
        "one. Only bars that there are; `candles` fills holes on request.",
        metadata={**READ, "size": page_size(MAX_PAGE, DEFAULT_PAGE)},
    )
    async def candle(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        as_of: AsOf | None = None,
    ) -> Connection[Candle]:
        page = window(
            first=first, last=last, after=after, before=before, width=1, cap=MAX_PAGE, default=DEFAULT_PAGE
        )
        services = info.context.services
        position = await position_of(services.store, as_of)
        bounds = _bounds(page, from_, to)
        count = {"last" if page.backward else "first": page.count + 1}
        async with answered(), services.reads.connection() as db:
            position, rows = await candle_queries.candle_rows(
                db,
                known_instrument(instrument),
                timeframe.value,
                after=bounds[0],
                before=bounds[1],
                as_of=page.position if position is None else position,
                history=services.history,
                **count,
            )
        return connection(
            page, position, [(row.bar.start,) for row in rows], [candle_of(row) for row in rows]
        )


def _bounds(page: Window, begin: int | None, end: int | None) -> tuple[int | None, int | None]:
    """Starts of bars in minutes between which the page lies, both excluded."""
    lower = [page.after.key[0]] if page.after else []
    upper = [page.before.key[0]] if page.before else []
    if begin is not None:
        lower.append(-(-begin // MINUTE_NS) - 1)
    if end is not None:
        upper.append(-(-end // MINUTE_NS))
    return max(lower, default=None), min(upper, default=None)


def _series(found: candle_queries.CandleSeries) -> CandleSeries:
    columns = {
        "source_position" if name == "position" else name: Column(orjson.Fragment(text))
        for name, text in found.columns.items()
    }
    return CandleSeries(
        instrument=found.instrument,
        timeframe=Timeframe(found.timeframe),
        position=Position(found.position),
        count=found.count,
        first_start=_time(found.first_start),
        last_start=_time(found.last_start),
        **columns,
    )


def _time(minute: int | None) -> Time | None:
    return None if minute is None else Time(minute * MINUTE_NS)
