"""The moment at which a query looks at one market: a snapshot, and a position of the log in it.

Rows that events after that position touched are not what they were: candle_history.py makes them anew.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, dict_row

from alphapulse.domain.market.coverage import Fact, Watch, watch

MAX_FACTS = 100_000  # about one feed in one answer: a feed that is lost every minute, for a month


class NotYetFolded(Exception):
    """The candles have not come as far as the position that was asked for: ask again a little later."""


class QueryTooLarge(Exception):
    """The answer, or the way to it, is over a limit: ask for a shorter range or a larger timeframe."""


@dataclass(frozen=True, slots=True)
class View:
    """One market as of ``position``."""

    instrument: str
    position: int
    high_water: int  # ns: bars that end by then have ended; 0: nothing is known
    sources: Sequence[int]  # where rows may come from, best first
    current: bool  # the rows stand as they were at ``position``
    max_time_span: int = 0
    supplied_until: Mapping[int, int] | None = None  # source to the end of its last venue bar, ns

    def closed_by(self, source: int) -> int:
        """Bars of ``source`` that end by this moment (ns) are closed."""
        return max(self.high_water, (self.supplied_until or {}).get(source, 0))


@asynccontextmanager
async def snapshot(conn: AsyncConnection[Any]) -> AsyncIterator[None]:
    """All statements inside see one moment; inside a transaction of the caller, that is its business."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        yield
        return
    before = conn.isolation_level, conn.read_only
    # Part of BEGIN from now on: no round trip of its own.
    await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await conn.set_read_only(True)
    try:
        async with conn.transaction():
            yield
    finally:
        if not conn.closed:
            await conn.set_isolation_level(before[0])
            await conn.set_read_only(before[1])


async def ask(conn: AsyncConnection[Any], statement: str, values: Sequence[object]) -> AsyncCursor[TupleRow]:
    """Run a query whose best plan depends on its values.

    A prepared statement would be planned for any values after a few runs: a query for the last bar then
    sorts them all, because ten thousand were asked for before.
    """
    return await conn.execute(statement, values, prepare=False)


async def position_of(conn: AsyncConnection[Any]) -> int:
    """How far the live candles have come in the log; 0 before they were first folded."""
    cursor = await conn.execute("SELECT position FROM projections WHERE name = 'candles' AND state = 'live'")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def view(conn: AsyncConnection[Any], instrument: str, as_of: int | None) -> View:
    """How ``instrument`` stood at position ``as_of``, or stands now. An unknown one has no sources.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
    """
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT p.reached, i.sources, i.high_water, i.max_time_span, i.position FROM (SELECT coalesce("
            "(SELECT position FROM projections WHERE name = 'candles' AND state = 'live'), 0) AS reached) p "
            "LEFT JOIN instruments i ON i.instrument = %s",
            (instrument,),
        )
        market = await cursor.fetchone()
    assert market is not None, "an outer join has its left row"
    reached = market["reached"]
    if as_of is not None and as_of > reached:
        raise NotYetFolded(f"position {as_of} was asked for, candles have come to {reached}")
    position = reached if as_of is None else as_of
    if market["sources"] is None:
        return View(instrument, position, 0, (), current=True)
    sources = tuple(int(s) for s in market["sources"].split(",") if s)
    current = market["position"] <= position
    high_water = (market["high_water"] or 0) if current else await _high_water(conn, instrument, position)
    return View(
        instrument=instrument,
        position=position,
        high_water=high_water,
        sources=sources,
        current=current,
        max_time_span=market["max_time_span"],
        supplied_until=await _supplied_until(conn, instrument, position) if max(sources, default=0) else None,
    )


async def _high_water(conn: AsyncConnection[Any], instrument: str, position: int) -> int:
    """The high water after all events up to ``position``: of the last batch, or a watermark since."""
    cursor = await conn.execute(
        "SELECT position, greatest(high_water, CASE source WHEN 0 THEN time_hi END) FROM trade_blocks "
        "WHERE instrument = %s AND position <= %s ORDER BY position DESC LIMIT 1",
        (instrument, position),
    )
    block, high_water = await cursor.fetchone() or (0, 0)
    cursor = await conn.execute(
        "SELECT coalesce(max(start), 0) FROM market_evidence "
        "WHERE instrument = %s AND position > %s AND position <= %s AND kind = 'watermark'",
        (instrument, block, position),
    )
    row = await cursor.fetchone()
    return max(int(high_water), int(row[0]) if row else 0)


async def _supplied_until(conn: AsyncConnection[Any], instrument: str, position: int) -> dict[int, int]:
    cursor = await conn.execute(
        "SELECT source, max(time_hi) FROM trade_blocks "
        "WHERE instrument = %s AND source > 0 AND position <= %s GROUP BY source",
        (instrument, position),
    )
    return dict(await cursor.fetchall())


async def watch_of(conn: AsyncConnection[Any], seen: View) -> Watch:
    """What was watched, as known at the view's position.

    Raises:
        QueryTooLarge: the feed was lost and found more often than MAX_FACTS.
    """
    return watch(await facts_of(conn, seen), seen.high_water)


async def facts_of(conn: AsyncConnection[Any], seen: View) -> Sequence[Fact]:
    """The facts about the feed up to the view's position; raises as ``watch_of``."""
    cursor = await conn.execute(
        'SELECT kind, start, "end", high_water FROM market_evidence '
        "WHERE instrument = %s AND position <= %s AND kind <> 'watermark' ORDER BY position LIMIT %s",
        (seen.instrument, seen.position, MAX_FACTS + 1),
    )
    facts = [Fact(*row) for row in await cursor.fetchall()]
    if len(facts) > MAX_FACTS:
        raise QueryTooLarge(f"{seen.instrument} has over {MAX_FACTS} facts about its feed")
    return facts
