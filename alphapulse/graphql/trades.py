"""Trades as they were recorded, page by page in order of time or of the venue's id."""

from enum import Enum
from typing import Annotated

import strawberry

from alphapulse.domain.market.columns import BACK_FILLED, BUY, RECEIVE_TIME, ROW_ID_BIT, SELL
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import known_instrument
from alphapulse.graphql.context import Context
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.paging import Connection, Cursor, Window, connection, page_size, window
from alphapulse.graphql.scalars import Decimal, Position, Time
from alphapulse.projections import trade_queries
from alphapulse.projections.trade_queries import Order

MAX_PAGE = 1_000
DEFAULT_PAGE = 100

Info = strawberry.Info[Context, None]


@strawberry.enum(description="What trades are sorted by: the venue's clock and then its id, or its id.")
class TradeOrder(Enum):
    TIME = "time"
    ID = "id"


@strawberry.enum(description="What the taker did.")
class Side(Enum):
    BUY = BUY
    SELL = SELL
    UNKNOWN = strawberry.enum_value(0, description="An auction, or the venue does not say.")


@strawberry.type(description="One trade as its venue told it.")
class Trade:
    id: strawberry.ID = strawberry.field(
        description="Unique in its instrument; the venue's id where it gave one.", metadata=READ
    )
    venue_id: strawberry.ID | None = strawberry.field(
        description="Null for rows of a file without ids.", metadata=READ
    )
    time: Time = strawberry.field(description="The venue's clock.", metadata=READ)
    price: Decimal = strawberry.field(description="Quote currency.", metadata=READ)
    size: Decimal = strawberry.field(description="Base units.", metadata=READ)
    side: Side = strawberry.field(metadata=READ)
    received_time: bool = strawberry.field(
        description="The venue gave no time: `time` is when the trade was received.", metadata=READ
    )
    back_filled: bool = strawberry.field(description="Fetched after a gap, not seen live.", metadata=READ)
    source_position: Position = strawberry.field(
        description="Position of the event that recorded it.", metadata=READ
    )


def _trade(row: trade_queries.Trade) -> Trade:
    return Trade(
        id=strawberry.ID(str(row.id)),
        venue_id=None if row.id & ROW_ID_BIT else strawberry.ID(str(row.id)),
        time=Time(row.time),
        price=Decimal(row.price),
        size=Decimal(row.size),
        side=Side(row.side),
        received_time=bool(row.flags & RECEIVE_TIME),
        back_filled=bool(row.flags & BACK_FILLED),
        source_position=Position(row.position),
    )


@strawberry.type
class TradeQuery:
    @strawberry.field(
        description="Trades, the `first` ones after a cursor or the `last` ones before one. `from` and `to` "
        "bound a page by time, `fromId` and `toId` one by id; ends are excluded. Sorted by TIME unless "
        "`order` says otherwise.",
        metadata={**READ, "size": page_size(MAX_PAGE, DEFAULT_PAGE)},
    )
    async def trades(
        self,
        info: Info,
        instrument: str,
        order: TradeOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        from_id: strawberry.ID | None = None,
        to_id: strawberry.ID | None = None,
        as_of: AsOf | None = None,
    ) -> Connection[Trade]:
        by = Order.TIME if order is None else Order(order.value)
        page = window(
            first=first,
            last=last,
            after=after,
            before=before,
            width=2 if by is Order.TIME else 1,
            cap=MAX_PAGE,
            default=DEFAULT_PAGE,
        )
        lower, upper = _bounds(by, page, (from_, to), (_id(from_id), _id(to_id)))
        services = info.context.services
        position = await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            position, rows = await trade_queries.trades(
                db,
                services.history,
                known_instrument(instrument),
                order=by,
                after=lower,
                before=upper,
                as_of=page.position if position is None else position,
                **{"last" if page.backward else "first": page.count + 1},
            )
        keys = [(row.time, row.id) if by is Order.TIME else (row.id,) for row in rows]
        return connection(page, position, keys, [_trade(row) for row in rows])


def _id(value: strawberry.ID | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and int(value) < 2**63):
        raise UserError(f"id {value!r} needs an integer from 0 to {2**63 - 1}")
    return int(value)


Bound = tuple[int, int] | int | None


def _bounds(
    by: Order, page: Window, times: tuple[int | None, int | None], ids: tuple[int | None, int | None]
) -> tuple[Bound, Bound]:
    """What the trades of the page lie between, both excluded: (time, id) or id.

    Raises:
        UserError: the bounds do not fit the order.
    """
    given, other = (times, ids) if by is Order.TIME else (ids, times)
    if other != (None, None):
        raise UserError(f"order {by.name} is bounded by {_BOUNDS[by]}")
    lower = [_key(page.after)] if page.after else []
    upper = [_key(page.before)] if page.before else []
    if given[0] is not None:
        lower.append((given[0], -1) if by is Order.TIME else (given[0] - 1,))
    if given[1] is not None:
        upper.append((given[1], -1) if by is Order.TIME else (given[1],))
    return _bound(max(lower, default=None)), _bound(min(upper, default=None))


_BOUNDS = {Order.TIME: "from and to", Order.ID: "fromId and toId"}


def _key(cursor: Cursor) -> tuple[int, ...]:
    return cursor.key


def _bound(key: tuple[int, ...] | None) -> Bound:
    if key is None:
        return None
    return key[0] if len(key) == 1 else (key[0], key[1])
