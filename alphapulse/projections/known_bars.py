"""Closed bars as they were first known: what every analysis query reads.

Rows of ``known_bars`` never change, so ``as_of`` (a position of the log) is a bound on ``position`` and
exact. Spans are nanoseconds by the venue's clock, ends excluded.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import INPUTS, Floats, Int64s
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS
from alphapulse.projections.candle_view import NotYetFolded, QueryTooLarge, snapshot

MAX_KNOWN_BARS = 200_000  # in one answer

_PRICES = ("open", "high", "low", "close", "volume", "taker_buy", "trades")  # as in fields.Field, after TIME
_NUMBERS = ("known_time", "position", "first_position", "input_position", "flags")
COLUMNS = ("start", *_PRICES, *_NUMBERS)
_SELECTED = ", ".join(f'"{c}"' for c in COLUMNS)


async def known_bars(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    *,
    start: int | None = None,
    end: int | None = None,
    last: int | None = None,
    as_of: int | None = None,
    limit: int = MAX_KNOWN_BARS,
) -> Bars:
    """Bars of ``timeframe`` minutes that begin in [start, end), of those the ``last`` ones, oldest first.

    An instrument that nobody knows has none.

    Raises:
        QueryTooLarge: there are more than ``limit``.
        NotYetFolded: ``as_of`` lies ahead.
    """
    if timeframe not in LABELS:
        raise ValueError(f"bars of {timeframe} minutes: the timeframes are {sorted(LABELS)} minutes")
    if last is not None and not 0 <= last <= limit:
        raise QueryTooLarge(f"the last {last} bars: at most {limit} in one answer")
    where: list[LiteralString] = ["instrument = %(instrument)s AND timeframe = %(timeframe)s"]
    if start is not None:
        where.append("start >= %(first)s")
    if end is not None:
        where.append("start < %(end)s")
    if as_of is not None:
        where.append("position <= %(as_of)s")
    values = {
        "instrument": instrument,
        "timeframe": timeframe,
        "first": -(-(start or 0) // MINUTE_NS),
        "end": -(-(end or 0) // MINUTE_NS),
        "as_of": as_of,
        "rows": limit + 1 if last is None else last,
    }
    order: LiteralString = "start" if last is None else "start DESC"
    async with snapshot(conn):
        if as_of is not None:
            await _reached(conn, as_of)
        columns = await read_columns(conn, " AND ".join(where), order, values)
    if last is not None:
        columns = [column[::-1] for column in columns]
    elif len(columns[0]) > limit:
        raise QueryTooLarge(f"the range holds more than {limit} bars of {LABELS[timeframe]}")
    return as_bars(instrument, timeframe, columns)


async def known_position(conn: AsyncConnection[Any]) -> int:
    """How far the live features have come in the log; 0 before they were first folded."""
    cursor = await conn.execute("SELECT position FROM projections WHERE name = 'features' AND state = 'live'")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _reached(conn: AsyncConnection[Any], as_of: int) -> None:
    reached = await known_position(conn)
    if as_of > reached:
        raise NotYetFolded(f"position {as_of} was asked for, features have come to {reached}")


async def read_columns(
    conn: AsyncConnection[Any], where: LiteralString, order: LiteralString, values: dict[str, Any]
) -> list[NDArray[Any]]:
    """The COLUMNS of ``known_bars`` as arrays, at most ``values["rows"]`` rows.

    Arrays travel as a whole: no Python object a value.
    """
    aggregates = ", ".join(
        f'array_agg("{c}"::bigint)' if c == "flags" else f'array_agg("{c}")' for c in COLUMNS
    )
    rows = f"SELECT {_SELECTED} FROM known_bars WHERE {where} ORDER BY {order} LIMIT %(rows)s"
    async with conn.cursor(binary=True) as cursor:
        await cursor.execute(f"SELECT {aggregates} FROM ({rows}) b", values, prepare=False)
        result = cursor.pgresult
        assert result is not None, "a select has a result"
        return [
            wire_array(result.get_value(0, i), float if c in _PRICES else int) for i, c in enumerate(COLUMNS)
        ]


def wire_array(data: bytes | None, kind: type) -> NDArray[Any]:
    """An array of bigint or double precision in PostgreSQL's binary form; null is an empty one.

    Format: src/backend/utils/adt/arrayfuncs.c, array_send.
    """
    letter = "f8" if kind is float else "i8"
    if data is None:
        return np.empty(0, dtype=f"<{letter}")
    cells = np.frombuffer(data, dtype=[("size", ">i4"), ("value", f">{letter}")], offset=20)
    return cells["value"].astype(f"<{letter}")


def as_bars(instrument: str, timeframe: int, columns: Sequence[NDArray[Any]]) -> Bars:
    """Bars of the columns in the order of COLUMNS."""
    start, *rest = columns
    values: Floats = np.empty((INPUTS, len(start)))
    for row, column in zip(values, (start, *rest[: len(_PRICES)]), strict=True):
        row[:] = column
    numbers: dict[str, Int64s] = dict(zip(_NUMBERS, rest[len(_PRICES) :], strict=True))
    del numbers["first_position"]
    return Bars(instrument=instrument, timeframe=timeframe, values=values, **numbers)
