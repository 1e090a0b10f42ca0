"""Which markets there are, now or as of an earlier position. Source tables: instruments, trade_blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from alphapulse.projections.candle_view import NotYetFolded, QueryTooLarge, position_of, snapshot, view

MAX_INSTRUMENTS = 1_000  # in one page


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    instrument: str
    price_exponent: int
    size_exponent: int
    trade_count: int
    first_time: int | None  # ns
    last_time: int | None
    high_water: int | None
    sources: Sequence[int]
    position: int  # of the last event about it


async def instrument_rows(
    conn: AsyncConnection[Any],
    *,
    after: str = "",
    first: int = 100,
    names: Sequence[str] | None = None,
    as_of: int | None = None,
) -> tuple[int, Sequence[InstrumentRow]]:
    """The position, and a page of instruments in order of their names, those after ``after``.

    ``names`` asks for some only.

    Raises:
        QueryTooLarge: more than MAX_INSTRUMENTS are asked for.
        NotYetFolded: ``as_of`` lies ahead.
    """
    if not 0 < first <= MAX_INSTRUMENTS:
        raise QueryTooLarge(f"{first} instruments, the limit of a page is {MAX_INSTRUMENTS}")
    async with snapshot(conn):
        reached = await position_of(conn)
        if as_of is not None and as_of > reached:
            raise NotYetFolded(f"position {as_of} was asked for, candles have come to {reached}")
        position = reached if as_of is None else as_of
        found: list[InstrumentRow] = []
        while len(found) < first:
            cursor = conn.cursor(row_factory=dict_row)
            await cursor.execute(
                "SELECT instrument, price_exponent, size_exponent, trade_count, first_time, last_time, "
                "high_water, sources, position FROM instruments WHERE instrument > %s "
                "AND (%s::text[] IS NULL OR instrument = ANY (%s::text[])) ORDER BY instrument LIMIT %s",
                (after, names and list(names), names and list(names), first - len(found)),
            )
            page = await cursor.fetchall()
            if not page:
                break
            for row in page:
                now = _of(row)
                then = now if now.position <= position else await _instrument_at(conn, now, position)
                if then is not None:
                    found.append(then)
            after = page[-1]["instrument"]
        return position, found


def _of(row: DictRow) -> InstrumentRow:
    return InstrumentRow(**row | {"sources": tuple(int(s) for s in row["sources"].split(",") if s)})


async def _instrument_at(
    conn: AsyncConnection[Any], now: InstrumentRow, position: int
) -> InstrumentRow | None:
    """``now`` as of ``position``; None when nothing had been heard of it by then."""
    cursor = await conn.execute(
        "SELECT max(price_exponent), max(size_exponent), coalesce(sum(rows) FILTER (WHERE source = 0), 0), "
        "min(time_lo) FILTER (WHERE source = 0), max(time_hi) FILTER (WHERE source = 0), "
        "coalesce(array_agg(DISTINCT source ORDER BY source), '{}'), max(position) "
        "FROM trade_blocks WHERE instrument = %s AND position <= %s",
        (now.instrument, position),
    )
    block = await cursor.fetchone()
    cursor = await conn.execute(
        "SELECT max(position) FROM market_evidence WHERE instrument = %s AND position <= %s",
        (now.instrument, position),
    )
    fact = await cursor.fetchone()
    assert block is not None, "an aggregate has one row"
    assert fact is not None, "an aggregate has one row"
    heard = max(block[6] or 0, fact[0] or 0)
    if not heard:
        return None
    seen = await view(conn, now.instrument, position)
    return InstrumentRow(
        instrument=now.instrument,
        price_exponent=block[0] or 0,
        size_exponent=block[1] or 0,
        trade_count=int(block[2]),
        first_time=block[3],
        last_time=block[4],
        high_water=seen.high_water or None,
        sources=tuple(s for s in block[5] if s is not None),
        position=heard,
    )
