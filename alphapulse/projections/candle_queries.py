"""What candles answer: a series in columns, rows to browse, and what changed since.

Every answer is one moment of the database and says the position of the log it stands for. With ``as_of``
it is what a log cut at that position would answer. Spans are nanoseconds by the venue's clock, ends
excluded; starts of bars are minutes since 1970 UTC. Nothing is unlimited: see the MAX_* below.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.market.bars import VWAP_DECIMALS, Bar, Fill
from alphapulse.domain.market.columns import Int64s
from alphapulse.domain.market.coverage import Bools, State
from alphapulse.domain.market.timeframes import LABELS, bar_start
from alphapulse.projections.candle_assess import Arrays, assess, closed_by_now
from alphapulse.projections.candle_history import COLUMNS, History, bar_of
from alphapulse.projections.candle_select import Span, bars_in, existing
from alphapulse.projections.candle_view import NotYetFolded, QueryTooLarge, View, ask, snapshot, view

__all__ = [
    "COLUMN_NAMES",
    "Candle",
    "CandleSeries",
    "Fill",
    "History",
    "NotYetFolded",
    "QueryTooLarge",
    "State",
    "candle_rows",
    "changed_candles",
    "series",
    "snapshot",
]

MAX_BARS = 10_000  # in one answer

_VWAP = (
    f"CASE WHEN base_volume > 0 THEN trim_scale(div(quote_volume * 2 * 1e{VWAP_DECIMALS} + base_volume, "
    f"base_volume * 2) * 1e-{VWAP_DECIMALS}) END"
)
# Columns that the database writes as JSON text: name to SQL, and whether it is a string.
_IN_SQL: Mapping[str, tuple[str, bool]] = {
    "open": ("open", True),
    "high": ("high", True),
    "low": ("low", True),
    "close": ("close", True),
    "base_volume": ("base_volume", True),
    "quote_volume": ("quote_volume", True),
    "taker_buy_volume": ("taker_buy_volume", True),
    "vwap": (_VWAP, True),
    "trade_count": ("trade_count", False),
    "minutes": ("minutes", False),
    "revision": ("revision", False),
    "position": ("position", False),
    "source": ("source", False),
}
_NEVER_NULL = {"open", "high", "low", "close", "minutes", "revision", "position", "source"}
# Columns that are worked out here, from arrays of the rows.
_HERE = ("start", "closed", "state", "coverage", "filled")

COLUMN_NAMES: Sequence[str] = (*_HERE[:1], *_IN_SQL, *_HERE[1:])


@dataclass(frozen=True, slots=True)
class CandleSeries:
    """``count`` bars, oldest first. Each column is the text of a JSON array, to be spliced as it is.

    Prices, volumes and vwap are strings with exact decimals; start is milliseconds since 1970 UTC (open
    time); state is the name of a State; coverage is a number from 0 to 1, rounded to 6 decimals.
    """

    instrument: str
    timeframe: int
    position: int  # of the log, that the answer stands for
    count: int
    first_start: int | None  # minutes
    last_start: int | None
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar with what can be said of it at the position of the answer."""

    bar: Bar
    state: State
    covered_minutes: int
    closed: bool


async def series(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    *,
    start: int | None = None,
    end: int | None = None,
    last: int | None = None,
    as_of: int | None = None,
    fill: Fill | None = None,
    columns: Sequence[str] = COLUMN_NAMES,
    history: History | None = None,
    limit: int = MAX_BARS,
) -> CandleSeries:
    """Bars that begin in [start, end), of those the ``last`` ones; with ``fill`` without holes.

    ``history`` is needed with ``as_of``.

    Raises:
        QueryTooLarge: there are more than ``limit``, or the way to them is too long.
        NotYetFolded: ``as_of`` lies ahead.
    """
    _check(timeframe, last, limit)
    unknown = set(columns) - set(COLUMN_NAMES)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)} are not among {list(COLUMN_NAMES)}")
    async with snapshot(conn):
        seen = await view(conn, instrument, as_of)
        span = Span.of(start, end, timeframe)
        if seen.current and fill is None:
            return await _fast_series(conn, seen, timeframe, span, last, columns, limit)
        bars = await bars_in(conn, seen, timeframe, span, last, fill, history, limit)
        return await _slow_series(conn, seen, timeframe, bars, columns, history)


async def candle_rows(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    *,
    after: int | None = None,
    before: int | None = None,
    first: int | None = None,
    last: int | None = None,
    as_of: int | None = None,
    history: History | None = None,
    limit: int = MAX_BARS,
) -> tuple[int, Sequence[Candle]]:
    """The position, and bars whose start (minutes) lies between ``after`` and ``before``, ends excluded.

    Oldest first; of them the ``first`` or the ``last`` ones. To page on, hand on the start of the last row
    as ``after``, and the position as ``as_of`` so that the pages belong together.

    Raises:
        QueryTooLarge: more than ``limit`` are asked for.
        NotYetFolded: ``as_of`` lies ahead.
    """
    count = first if last is None else last
    if count is None or (first is not None and last is not None):
        raise ValueError(f"first {first}, last {last}: exactly one is needed")
    _check(timeframe, count, limit)
    async with snapshot(conn):
        seen = await view(conn, instrument, as_of)
        span = Span(None if after is None else after + 1, before)
        bars = await existing(conn, seen, timeframe, span, count, last is not None, history)
        return seen.position, await _candles(conn, seen, timeframe, bars, history)


async def changed_candles(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    *,
    after_position: int,
    minutes: tuple[int, int],
    limit: int = MAX_BARS,
) -> tuple[int, Sequence[Candle]]:
    """The position, and bars that events after ``after_position`` touched, ended or said something of.

    Oldest first. What is said of a bar changes with the facts about its feed, though its row does not.

    ``minutes`` are the first and last minute that may have changed, as the notice of the read model says.

    Raises:
        QueryTooLarge: more than ``limit`` have changed: read the series anew.
    """
    _check(timeframe, None, limit)
    async with snapshot(conn):
        seen = await view(conn, instrument, None)
        before = await view(conn, instrument, min(after_position, seen.position))
        first, end = (int(bar_start(m, timeframe)) for m in minutes)
        cursor = await ask(
            conn,
            f"SELECT {COLUMNS} FROM candles c WHERE instrument = %s AND timeframe = %s "
            "AND start >= to_timestamp(%s) AND start <= to_timestamp(%s) AND (position > %s "
            "OR (start > to_timestamp(%s) AND start <= to_timestamp(%s)) "
            "OR EXISTS (SELECT FROM market_evidence e WHERE e.instrument = c.instrument "
            "AND e.position > %s AND e.kind <> 'watermark' "
            "AND to_timestamp(e.start / 1000000000) < c.start + make_interval(mins => %s) "
            'AND (e."end" IS NULL OR to_timestamp(e."end" / 1e9) > c.start))) '
            "ORDER BY start, source DESC LIMIT %s",
            (
                *(instrument, timeframe, first * 60, end * 60, after_position),
                # Bars whose end the market's clock has passed in between.
                *(water.high_water // 10**9 - timeframe * 60 for water in (before, seen)),
                *(after_position, timeframe),
                limit * max(1, len(seen.sources)) + 1,
            ),
        )
        best = {row[0]: bar_of(row) for row in await cursor.fetchall()}  # of a start, the best source is last
        if len(best) > limit:
            raise QueryTooLarge(f"over {limit} bars of {instrument} changed after position {after_position}")
        return seen.position, await _candles(conn, seen, timeframe, list(best.values()), None)


def _check(timeframe: int, count: int | None, limit: int) -> None:
    if timeframe not in LABELS:
        raise ValueError(f"timeframe {timeframe} is none of {sorted(LABELS)} minutes")
    if count is not None and count < 0:
        raise ValueError(f"{count} bars were asked for")
    if count is not None and count > limit:
        raise QueryTooLarge(f"{count} bars were asked for, the limit is {limit}")


# The fast way: rows stand as they are, the database writes the columns.


def _column_sql(name: str) -> str:
    expression, is_string = _IN_SQL[name]
    text = f"({expression})::text"
    if name in _NEVER_NULL:
        quote = '"' if is_string else ""
        return f"'[{quote}' || string_agg({text}, '{quote},{quote}') || '{quote}]'"
    value = f"'\"' || {text} || '\"'" if is_string else text
    return f"'[' || string_agg(coalesce({value}, 'null'), ',') || ']'"


async def _fast_series(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    span: Span,
    last: int | None,
    columns: Sequence[str],
    limit: int,
) -> CandleSeries:
    in_sql = [c for c in columns if c in _IN_SQL]
    where, bounds = span.where()
    rows_of = f"FROM candles WHERE instrument = %s AND timeframe = %s{where}"
    of, asked = (seen.instrument, timeframe, *bounds), limit + 1 if last is None else last
    values: tuple[object, ...]
    if len(seen.sources) > 1:
        newest = "DESC" if last is not None else "ASC"
        best = f"SELECT DISTINCT ON (start) * {rows_of} ORDER BY start {newest}, source LIMIT %s"
        inner, values = f"SELECT * FROM ({best}) best ORDER BY start", (*of, asked)
    elif last:
        # Find where the last n begin, then walk forward: nothing is sorted.
        begin = f"SELECT start {rows_of} ORDER BY start DESC OFFSET %s LIMIT 1"
        inner = f"SELECT * {rows_of} AND start >= coalesce(({begin}), '-infinity') ORDER BY start LIMIT %s"
        values = (*of, *of, last - 1, last)
    else:
        inner, values = f"SELECT * {rows_of} ORDER BY start LIMIT %s", (*of, asked)
    extra = ", ".join(f"string_agg({c}::text, ',')" for c in ("source", "revision", "flags", "minutes"))
    needs_rows = bool({"closed", "state", "coverage"} & set(columns))
    statement = (
        "SELECT string_agg((date_part('epoch', start)::bigint / 60)::text, ',')"
        + (f", {extra}" if needs_rows else "")
        + "".join(f", {_column_sql(c)}" for c in in_sql)
        + f" FROM ({inner}) sorted"
    )
    cursor = await ask(conn, statement, values)
    row = await cursor.fetchone()
    assert row is not None, "an aggregate has one row"
    starts = _integers(row[0])
    if len(starts) > limit:
        raise QueryTooLarge(f"the range holds more than {limit} bars of {LABELS[timeframe]}")
    written = dict(zip(in_sql, row[-len(in_sql) :] if in_sql else (), strict=True))
    texts = {name: text or "[]" for name, text in written.items()}
    rows = None
    if needs_rows:
        source, revision, flags, minutes = (_integers(text) for text in row[1:5])
        rows = Arrays(starts, source, revision, flags, minutes)
    texts |= await _texts_here(conn, seen, timeframe, starts, rows, columns, None)
    return _series(seen, timeframe, starts, {c: texts[c] for c in columns})


def _integers(text: str | None) -> Int64s:
    return np.fromstring(text, dtype=np.int64, sep=",") if text else np.empty(0, dtype=np.int64)


def _series(seen: View, timeframe: int, starts: Int64s, columns: Mapping[str, str]) -> CandleSeries:
    count = len(starts)
    return CandleSeries(
        instrument=seen.instrument,
        timeframe=timeframe,
        position=seen.position,
        count=count,
        first_start=int(starts[0]) if count else None,
        last_start=int(starts[-1]) if count else None,
        columns=columns,
    )


async def _texts_here(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    starts: Int64s,
    rows: Arrays | None,
    columns: Sequence[str],
    history: History | None,
) -> dict[str, str]:
    """JSON text of those ``columns`` that no SQL writes."""
    texts: dict[str, str] = {}
    if "start" in columns:
        texts["start"] = _joined((starts * 60_000).tolist())
    if "filled" in columns:
        flags = np.zeros(len(starts), dtype=bool) if rows is None or rows.filled is None else rows.filled
        texts["filled"] = _booleans(flags)
    if rows is None:
        return texts
    if "closed" in columns:
        texts["closed"] = _booleans(closed_by_now(seen, timeframe, rows))
    if {"state", "coverage"} & set(columns):
        state, covered = await assess(conn, seen, timeframe, rows, history, coverage="coverage" in columns)
        if "state" in columns:
            names = np.array([f'"{s.name}"' for s in State], dtype=object)
            texts["state"] = _joined(names[state].tolist())
        if "coverage" in columns:
            texts["coverage"] = _joined([round(c / timeframe, 6) for c in covered.tolist()])
    return texts


def _joined(values: Sequence[object]) -> str:
    return f"[{','.join(map(str, values))}]"


def _booleans(flags: Bools) -> str:
    return _joined(["true" if f else "false" for f in flags.tolist()])


async def _candles(
    conn: AsyncConnection[Any], seen: View, timeframe: int, bars: Sequence[Bar], history: History | None
) -> Sequence[Candle]:
    if not bars:
        return []
    rows = Arrays.of(bars)
    state, covered = await assess(conn, seen, timeframe, rows, history)
    closed = closed_by_now(seen, timeframe, rows)
    return [
        Candle(bar, State(s), c, is_closed)
        for bar, s, c, is_closed in zip(bars, state.tolist(), covered.tolist(), closed.tolist(), strict=True)
    ]


# The slow way: bars as values, for moments of the past and for bars that are not there.


def _decimal(value: Decimal | None) -> str:
    return "null" if value is None else f'"{value:f}"'


def _integer(value: int | None) -> str:
    return "null" if value is None else str(value)


_TEXT: Mapping[str, Callable[[Any], str]] = {
    name: _decimal if is_string else _integer for name, (_, is_string) in _IN_SQL.items()
}


async def _slow_series(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    bars: Sequence[Bar],
    columns: Sequence[str],
    history: History | None,
) -> CandleSeries:
    texts = {c: _joined([_TEXT[c](getattr(bar, c)) for bar in bars]) for c in columns if c in _TEXT}
    rows = Arrays.of(bars)
    texts |= await _texts_here(conn, seen, timeframe, rows.start, rows, columns, history)
    return _series(seen, timeframe, rows.start, {c: texts[c] for c in columns})
