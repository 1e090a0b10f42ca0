"""Which markets there are."""

import strawberry

from alphapulse.graphql.access import READ, READ_PAGE
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.context import Context
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.limits import paged
from alphapulse.graphql.scalars import Long, Position, Time
from alphapulse.projections import instrument_queries
from alphapulse.projections.instrument_queries import MAX_INSTRUMENTS, InstrumentRow

Info = strawberry.Info[Context, None]


@strawberry.type(description="A venue and that venue's own symbol.")
class Instrument:
    id: strawberry.ID = strawberry.field(description="venue:symbol, such as bitflyer:BTC_JPY.", metadata=READ)
    venue: str = strawberry.field(metadata=READ)
    symbol: str = strawberry.field(metadata=READ)
    trade_count: Long = strawberry.field(description="Trades recorded so far.", metadata=READ)
    first_time: Time | None = strawberry.field(
        description="Of the first trade, by the venue's clock.", metadata=READ
    )
    last_time: Time | None = strawberry.field(description="Of the last one.", metadata=READ)
    high_water: Time | None = strawberry.field(
        description="The market's clock: bars that end by then have ended.", metadata=READ
    )
    price_decimals: int = strawberry.field(description="Of the finest price so far.", metadata=READ)
    size_decimals: int = strawberry.field(description="Of the finest size so far.", metadata=READ)
    built_from_trades: bool = strawberry.field(description="It has bars built from trades.", metadata=READ)
    supplied_minutes: list[int] = strawberry.field(
        description="Timeframes of bars that its venue supplied, in minutes.", metadata={**READ, "size": 7}
    )
    source_position: Position = strawberry.field(
        description="Position of the last event about it.", metadata=READ
    )


@strawberry.type(description="Instruments in order of their ids.")
class InstrumentPage:
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    has_next_page: bool = strawberry.field(description="There are more after the last one.", metadata=READ)
    nodes: list[Instrument] = strawberry.field(metadata=READ_PAGE)


def _instrument(row: InstrumentRow) -> Instrument:
    venue, _, symbol = row.instrument.partition(":")
    return Instrument(
        id=strawberry.ID(row.instrument),
        venue=venue,
        symbol=symbol,
        trade_count=Long(row.trade_count),
        first_time=_time(row.first_time),
        last_time=_time(row.last_time),
        high_water=_time(row.high_water),
        price_decimals=row.price_exponent,
        size_decimals=row.size_exponent,
        built_from_trades=0 in row.sources,
        supplied_minutes=[source for source in row.sources if source],
        source_position=Position(row.position),
    )


def _time(value: int | None) -> Time | None:
    return None if value is None else Time(value)


@strawberry.type
class InstrumentQuery:
    @strawberry.field(
        description="Instruments of which something was recorded, those after the id `after`.",
        metadata={**READ, "size": paged("first", MAX_INSTRUMENTS, 100)},
    )
    async def instruments(
        self,
        info: Info,
        first: int = 100,
        after: str | None = None,
        ids: list[strawberry.ID] | None = None,
        as_of: AsOf | None = None,
    ) -> InstrumentPage:
        if not 1 <= first < MAX_INSTRUMENTS:
            raise UserError(f"first {first} needs 1 to {MAX_INSTRUMENTS - 1}")
        services = info.context.services
        position = await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            position, rows = await instrument_queries.instrument_rows(
                db, after=after or "", first=first + 1, names=ids, as_of=position
            )
        return InstrumentPage(
            position=Position(position),
            has_next_page=len(rows) > first,
            nodes=[_instrument(row) for row in rows[:first]],
        )
