"""Trades as they were recorded, page by page in order of venue id or of time, read from the log.

``trade_blocks`` says which batches to read. Batches may lie over one another (a gap that was filled
later), so a page is ready only when no unread batch can hold a trade that belongs into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.market.bars import exact
from alphapulse.domain.market.columns import Int64s, TradeColumns
from alphapulse.domain.market.instrument import Instrument
from alphapulse.projections.candle_history import History
from alphapulse.projections.candle_view import QueryTooLarge, View, ask, snapshot, view

MAX_TRADES = 10_000  # in one page
MAX_READ = 2_000_000  # rows of batches read for one page
_BLOCKS = 500  # looked up at once


class Order(Enum):
    """What a page is sorted by; the venue's id breaks ties of time."""

    ID = "id"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Trade:
    time: int  # ns, the venue's clock
    id: int
    price: str  # exact decimals, quote currency
    size: str  # base units
    side: int  # of the taker: 1 bought, -1 sold, 0 unknown
    flags: int
    position: int  # of the event that recorded it


@dataclass(frozen=True, slots=True)
class _Block:
    position: int
    version: int
    rows: int
    low: int


async def trades(
    conn: AsyncConnection[Any],
    history: History,
    instrument: str,
    *,
    order: Order = Order.TIME,
    after: tuple[int, int] | int | None = None,
    before: tuple[int, int] | int | None = None,
    first: int | None = None,
    last: int | None = None,
    as_of: int | None = None,
) -> tuple[int, Sequence[Trade]]:
    """The position, and trades between ``after`` and ``before``, ends excluded, oldest or least id first.

    Bounds are ids, or (time, id) when ordered by time: ``(t, -1)`` includes all trades at ``t`` after it
    and excludes them before it. Of the trades between them the ``first`` or the ``last`` ones.

    Raises:
        QueryTooLarge: over MAX_TRADES are asked for, or batches lie over one another too deeply.
        NotYetFolded: ``as_of`` lies ahead.
    """
    count = first if last is None else last
    if count is None or count < 0 or (first is not None and last is not None):
        raise ValueError(f"first {first}, last {last}: exactly one is needed, not negative")
    if count > MAX_TRADES:
        raise QueryTooLarge(f"{count} trades were asked for, the limit of a page is {MAX_TRADES}")
    page = _Page(order, _key(after, order), _key(before, order), count, newest=last is not None)
    async with snapshot(conn):
        seen = await view(conn, instrument, as_of)
        if not count or 0 not in seen.sources:
            return seen.position, []
        await _collect(conn, history, seen, page)
        return seen.position, page.rows()


def _key(bound: tuple[int, int] | int | None, order: Order) -> tuple[int, int] | None:
    """A bound as (sorted by, id)."""
    if bound is None:
        return None
    if isinstance(bound, tuple) != (order is Order.TIME):
        raise ValueError(f"bound {bound} does not fit an order by {order.value}")
    return bound if isinstance(bound, tuple) else (bound, bound)


class _Page:
    """The trades read so far that may belong into the page."""

    def __init__(
        self,
        order: Order,
        after: tuple[int, int] | None,
        before: tuple[int, int] | None,
        count: int,
        *,
        newest: bool,
    ) -> None:
        self.order, self.after, self.before, self.count, self.newest = order, after, before, count, newest
        self._found: list[tuple[tuple[int, int], Trade]] = []

    def add(self, columns: TradeColumns, position: int) -> None:
        main: Int64s = columns.time if self.order is Order.TIME else columns.id
        inside = np.ones(len(columns), dtype=bool)
        if self.after is not None:
            inside &= (main > self.after[0]) | ((main == self.after[0]) & (columns.id > self.after[1]))
        if self.before is not None:
            inside &= (main < self.before[0]) | ((main == self.before[0]) & (columns.id < self.before[1]))
        rows = np.flatnonzero(inside)
        rows = rows[np.lexsort((columns.id[rows], main[rows]))]
        kept = columns.take(rows[-self.count :] if self.newest else rows[: self.count])
        keys = kept.time if self.order is Order.TIME else kept.id
        for i, key in enumerate(keys.tolist()):
            self._found.append(((key, int(kept.id[i])), _trade(kept, i, position)))
        self._found.sort(key=lambda pair: pair[0])
        self._found = self._found[-self.count :] if self.newest else self._found[: self.count]

    def is_ready(self, frontier: int) -> bool:
        """No trade that is not read yet can belong here: those lie at ``frontier`` or beyond."""
        if len(self._found) < self.count:
            return False
        edge = self._found[0][0][0] if self.newest else self._found[-1][0][0]
        return edge > frontier if self.newest else edge < frontier

    def rows(self) -> list[Trade]:
        return [trade for _, trade in self._found]


def _trade(columns: TradeColumns, row: int, position: int) -> Trade:
    return Trade(
        time=int(columns.time[row]),
        id=int(columns.id[row]),
        price=f"{exact(int(columns.price[row]), columns.price_exponent):f}",
        size=f"{exact(int(columns.size[row]), columns.size_exponent):f}",
        side=int(columns.side[row]),
        flags=int(columns.flags[row]),
        position=position,
    )


async def _collect(conn: AsyncConnection[Any], history: History, seen: View, page: _Page) -> None:
    """Read batches in the order of their lower ends until ``page`` is ready."""
    stream = Instrument.parse(seen.instrument).stream("trades")
    span, read = await _span(conn, seen, page.order), 0
    done: _Block | None = None
    while blocks := await _blocks(conn, seen, page, span, done):
        while blocks:
            # Newest first, an unread batch reaches up to its lower end and the widest span from there.
            if page.is_ready(blocks[0].low + span if page.newest else blocks[0].low):
                return
            chunk, blocks = _enough(blocks, page.count)
            read += sum(block.rows for block in chunk)
            if read > MAX_READ:
                raise QueryTooLarge(f"over {MAX_READ} trades of {seen.instrument} lie over one another here")
            for event in await history.events(stream, sorted(block.version for block in chunk)):
                page.add(event.event.columns, event.position)
            done = chunk[-1]


def _enough(blocks: Sequence[_Block], count: int) -> tuple[Sequence[_Block], Sequence[_Block]]:
    """``blocks``, split where the first part holds ``count`` trades."""
    rows = 0
    for i, block in enumerate(blocks):
        rows += block.rows
        if rows >= count:
            return blocks[: i + 1], blocks[i + 1 :]
    return blocks, []


async def _span(conn: AsyncConnection[Any], seen: View, order: Order) -> int:
    column = "max_time_span" if order is Order.TIME else "max_id_span"
    cursor = await conn.execute(f"SELECT {column} FROM instruments WHERE instrument = %s", (seen.instrument,))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _blocks(
    conn: AsyncConnection[Any], seen: View, page: _Page, span: int, done: _Block | None
) -> Sequence[_Block]:
    """The next batches that may hold trades of the page, ordered by their lower ends."""
    low, high = ("time_lo", "time_hi") if page.order is Order.TIME else ("id_lo", "id_hi")
    conditions, values = "", list[int]()
    if page.after is not None:
        conditions += f" AND {low} >= %s AND {high} >= %s"
        values += [page.after[0] - span, page.after[0]]
    if page.before is not None:
        conditions += f" AND {low} <= %s"
        values.append(page.before[0])
    if done is not None:
        conditions += f" AND ({low}, position) {'<' if page.newest else '>'} (%s, %s)"
        values += [done.low, done.position]
    direction = "DESC" if page.newest else "ASC"
    cursor = await ask(
        conn,
        f"SELECT position, version, rows, {low} FROM trade_blocks WHERE instrument = %s "
        f"AND source = 0 AND position <= %s{conditions} "
        f"ORDER BY {low} {direction}, position {direction} LIMIT %s",
        (seen.instrument, seen.position, *values, _BLOCKS),
    )
    return [_Block(*row) for row in await cursor.fetchall()]
