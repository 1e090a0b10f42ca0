"""Read model: bars of seven timeframes, what was watched, the instruments, and where batches lie.

Source: TradesObserved, BarsObserved, FeedConnected, FeedLost, GapClosed, WatermarkPassed.
Rebuild with ``alphapulse projections rebuild candles``. Times are the venue's clock. What the rows mean
stands in docs/candles.md; the queries are in candle_queries.py, the tables in candle_tables.py.

Bars of a batch are partial: the database merges them into the rows that are there, in numerics without
limit. Where nothing can be there yet, because the market's clock had not come so far, they are copied in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import class_row
from sqlalchemy import BigInteger, DateTime, Integer, Numeric, SmallInteger, Table, Text

from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.bars import exact
from alphapulse.domain.market.candles import Batch, PartialBars, extent, fold_batches, venue_table, wide
from alphapulse.domain.market.candles import Table as BarTable
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS
from alphapulse.domain.ports import Recorded
from alphapulse.projections.at_once import Part as WritePart
from alphapulse.projections.binary_rows import int8_array, text_array
from alphapulse.projections.candle_tables import candles, instruments, market_evidence
from alphapulse.projections.pg_copy import HAS_ALL, HAS_BASE, HAS_QUOTE, HEADER, TRAILER, candle_rows
from alphapulse.projections.read_model import Folded
from alphapulse.projections.trade_block_tables import trade_blocks
from alphapulse.projections.trade_blocks import Block, bar_block, trade_block

# With fewer new minutes than this one merging statement is faster than a second COPY.
DIRECT_MINUTES = 64
# So few merging bars travel as parameters of that statement: one round trip instead of five.
INLINE_BARS = 128


@dataclass(frozen=True, slots=True)
class Market:
    """One row of ``instruments``: all that the fold has to know of earlier events."""

    instrument: str
    venue: str
    symbol: str
    price_exponent: int = 0
    size_exponent: int = 0
    trade_count: int = 0
    first_time: int | None = None
    last_time: int | None = None
    high_water: int | None = None
    max_time_span: int = 0
    max_id_span: int = 0
    sources: str = ""
    position: int = 0

    def row(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


State = Mapping[str, Market]


@dataclass(frozen=True, slots=True)
class Part:
    """Bars of one instrument and timeframe, ready for their rows."""

    instrument: str
    timeframe: int
    price_exponent: int
    size_exponent: int
    table: BarTable

    def copied(self) -> memoryview:
        return candle_rows(
            self.table,
            self.instrument,
            timeframe=self.timeframe,
            source=0,
            price_exponent=self.price_exponent,
            base_exponent=self.size_exponent,
            quote_exponent=self.price_exponent + self.size_exponent,
        )

    def values(self) -> Iterator[tuple[object, ...]]:
        """One tuple a bar, in the order of the table's columns."""
        pe, se = self.price_exponent, self.size_exponent
        for bar in self.table.tolist():
            yield (
                *(self.instrument, self.timeframe, 0, bar[k.MINUTE] * 60),
                *(exact(bar[k.OPEN], pe), exact(bar[k.HIGH], pe)),
                *(exact(bar[k.LOW], pe), exact(bar[k.CLOSE], pe)),
                *(exact(wide(bar, k.BASE_HI), se), exact(wide(bar, k.QUOTE_HI), pe + se)),
                *(exact(wide(bar, k.BUY_HI), se), bar[k.COUNT]),
                *(bar[k.OPEN_TIME], bar[k.OPEN_ID], bar[k.CLOSE_TIME], bar[k.CLOSE_ID]),
                *(bar[k.MINUTES], bar[k.REVISION], bar[k.FLAGS], bar[k.POSITION]),
            )


@dataclass(frozen=True, slots=True)
class Rows:
    """Bars of one round. ``fresh`` cannot be there yet; the others may: as COPY rows, or column by column."""

    fresh: Sequence[memoryview]
    merged: Sequence[memoryview]
    inline: Sequence[Sequence[object]]

    @classmethod
    def of(cls, fresh: Sequence[Part], merged: Sequence[Part]) -> "Rows":
        copied = [part.copied() for part in fresh]
        if sum(len(part.table) for part in merged) > INLINE_BARS:
            return cls(copied, [part.copied() for part in merged], [])
        return cls(copied, [], _columns([bar for part in merged for bar in part.values()]))


@dataclass(frozen=True, slots=True)
class VenueBars:
    """What one BarsObserved says, as COPY rows, and the starts of its first and last bar in minutes."""

    instrument: str
    timeframe: int
    first: int
    last: int
    rows: memoryview


@dataclass(slots=True)
class Changes:
    """All that a batch changes. ``rounds`` are written one after the other: in each, a bar stands once."""

    rounds: list[Rows] = field(default_factory=list)
    venue_bars: list[VenueBars] = field(default_factory=list)
    markets: list[Market] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    evidence: list[tuple[object, ...]] = field(default_factory=list)


class Candles:
    """See the module. Folds any number of instruments; none depends on another."""

    name = "candles"
    code_version = 1
    names = frozenset(
        {
            "market.trades_observed.v1",
            "market.bars_observed.v1",
            "feed.connected.v1",
            "feed.lost.v1",
            "feed.gap_closed.v1",
            "feed.watermark_passed.v1",
        }
    )
    tables: Sequence[Table] = (candles, market_evidence, instruments, trade_blocks)
    partitioned = True
    commutes = False  # revisions count what came late, so they depend on the order

    async def load(self, db: AsyncConnection[Any]) -> State:
        async with db.cursor(row_factory=class_row(Market)) as cursor:
            await cursor.execute(f"SELECT {', '.join(instruments.c.keys())} FROM instruments")
            return {market.instrument: market async for market in cursor}

    def fold(self, state: State, events: Sequence[Recorded]) -> Folded[State, Changes]:
        changes = Changes()
        folding: dict[str, _Folding] = {}
        for recorded in events:
            venue, symbol = _instrument(recorded.event)
            name = f"{venue}:{symbol}"
            if name not in folding:
                folding[name] = _Folding(state.get(name) or Market(name, venue, symbol), changes)
            folding[name].take(recorded)
        rounds: list[tuple[list[Part], list[Part]]] = []
        for name in sorted(folding):
            folding[name].add_bars(rounds)
        changes.rounds = [Rows.of(*each) for each in rounds]
        changes.markets = [f.market for f in folding.values()]
        touched = {name: (f.first, f.last) for name, f in folding.items()}
        return Folded({**state, **{m.instrument: m for m in changes.markets}}, changes, touched)

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        for rows in changes.rounds:
            await _copy(db, "candles", rows.fresh)
            if rows.merged:
                await _copy_parts(db, rows.merged)
                await db.execute(MERGE)
            if rows.inline:
                await _merging(rows).execute(db)
        for bars in changes.venue_bars:
            await _write_venue_bars(db, bars)
        for part in _inserts(changes):
            await part.execute(db)

    def parts(self, changes: Changes) -> Sequence[WritePart] | None:
        """All that ``write`` does, in one statement; None where that takes more."""
        copied = any(rows.fresh or rows.merged for rows in changes.rounds)
        if copied or changes.venue_bars or len(changes.rounds) > 1:
            return None
        merges = [_merging(rows) for rows in changes.rounds if rows.inline]
        return [*merges, *_inserts(changes)]


@dataclass(slots=True)
class _Folding:
    """One instrument during one batch."""

    market: Market
    changes: Changes
    batches: list[Batch] = field(default_factory=list)
    first: int = 1 << 62  # minutes touched
    last: int = 0
    last_time: int = -1  # of the trades before this batch

    def __post_init__(self) -> None:
        if self.market.last_time is not None:
            self.last_time = self.market.last_time

    @property
    def high_water(self) -> int:
        return self.market.high_water or 0

    def take(self, recorded: Recorded) -> None:
        match recorded.event:
            case TradesObserved():
                self._trades(recorded, recorded.event)
            case BarsObserved():
                self._bars(recorded, recorded.event)
            case WatermarkPassed(time=time):
                self._evidence(recorded, "watermark", time, None)
                self._touch(min(self.high_water, time), time)
                self._pass(time)
            case FeedConnected(time=time):
                self._evidence(recorded, "connected", time, None)
                self._touch(time, max(time, self.high_water))
            case FeedLost(time=time):
                self._evidence(recorded, "lost", time, None)
                self._touch(time, max(time, self.high_water))
            case GapClosed(start=start, end=end, back_filled=filled):
                self._evidence(recorded, "back_filled" if filled else "abandoned", start, end)
                self._touch(start, end)
            case other:
                raise TypeError(f"{other!r} is none of the events that candles fold")
        self.market = replace(self.market, position=recorded.position)

    def _trades(self, recorded: Recorded, event: TradesObserved) -> None:
        box, columns, market = extent(event.columns), event.columns, self.market
        self.batches.append(Batch(columns, box, recorded.position, self.high_water))
        self.changes.blocks.append(trade_block(recorded, box, self.high_water))
        # A bar that ends by this event changes, too: it is closed from now on.
        ended = self.high_water if 0 < self.high_water < box.time_hi else box.time_lo
        self._touch(min(ended, box.time_lo), box.time_hi)
        self.market = replace(
            market,
            price_exponent=max(market.price_exponent, columns.price_exponent),
            size_exponent=max(market.size_exponent, columns.size_exponent),
            trade_count=market.trade_count + len(columns),
            first_time=_least(market.first_time, box.time_lo),
            last_time=_greatest(market.last_time, box.time_hi),
            high_water=_greatest(market.high_water, box.time_hi),
            max_time_span=max(market.max_time_span, box.time_hi - box.time_lo),
            max_id_span=max(market.max_id_span, box.id_hi - box.id_lo),
            sources=_with_source(market.sources, 0),
        )

    def _bars(self, recorded: Recorded, event: BarsObserved) -> None:
        bars, columns = venue_bars(event, recorded.position), event.columns
        self.changes.venue_bars.append(bars)
        self.changes.blocks.append(bar_block(recorded, self.high_water))
        self._touch(bars.first * MINUTE_NS, (bars.last + bars.timeframe) * MINUTE_NS - 1)
        self.market = replace(
            self.market,
            price_exponent=max(self.market.price_exponent, columns.price_exponent),
            size_exponent=max(self.market.size_exponent, columns.volume_exponent),
            sources=_with_source(self.market.sources, event.timeframe_minutes),
        )

    def _evidence(self, recorded: Recorded, kind: str, start: int, end: int | None) -> None:
        row = (self.market.instrument, recorded.position, kind, start, end, self.high_water)
        self.changes.evidence.append(row)

    def _pass(self, time: int) -> None:
        self.market = replace(self.market, high_water=_greatest(self.market.high_water, time))

    def _touch(self, first_time: int, last_time: int) -> None:
        self.first = min(self.first, first_time // MINUTE_NS)
        self.last = max(self.last, last_time // MINUTE_NS)

    def add_bars(self, rounds: list[tuple[list[Part], list[Part]]]) -> None:
        """Append the bars of this instrument to ``rounds`` (fresh, merged), a partial to each."""
        for i, partial in enumerate(fold_batches(self.batches, last_time=self.last_time)):
            if i == len(rounds):
                rounds.append(([], []))
            fresh, merged = rounds[i]
            # What an earlier round of this batch wrote is there by now, whatever the last trade was before.
            direct = i == 0 and int(partial.tables[1][:, k.MINUTES].sum()) >= DIRECT_MINUTES
            for timeframe, table in partial.tables.items():
                if timeframe == 1:
                    table[:, k.MINUTES] = 1
                elif not direct:
                    table[:, k.MINUTES] = 0  # the merge counts the minutes that turn out to be new
                # A bar that begins after the last trade cannot be there.
                last = self.last_time // MINUTE_NS if direct else table[-1, k.MINUTE]
                split = int(np.searchsorted(table[:, k.MINUTE], last, side="right"))
                for parts, rows in ((merged, table[:split]), (fresh, table[split:])):
                    if len(rows):
                        parts.append(self._part(partial, timeframe, rows))

    def _part(self, partial: PartialBars, timeframe: int, rows: BarTable) -> Part:
        return Part(self.market.instrument, timeframe, partial.price_exponent, partial.size_exponent, rows)


def _instrument(event: Any) -> tuple[str, str]:
    """Venue and symbol; feed events name them, the others hold an Instrument."""
    if isinstance(event, TradesObserved | BarsObserved):
        return event.instrument.venue, event.instrument.symbol
    return event.venue, event.symbol


def _least(a: int | None, b: int) -> int:
    return b if a is None else min(a, b)


def _greatest(a: int | None, b: int) -> int:
    return b if a is None else max(a, b)


def _with_source(sources: str, source: int) -> str:
    known = {int(s) for s in sources.split(",") if s}
    return sources if source in known else ",".join(map(str, sorted(known | {source})))


def venue_bars(event: BarsObserved, position: int) -> VenueBars:
    """The rows of ``event``. Of a start that stands in it twice, the last row counts.

    Raises:
        ValueError: the timeframe is none of ours, or a bar does not begin where one of that timeframe does.
    """
    timeframe = event.timeframe_minutes
    table = venue_table(event.columns, timeframe, position)
    volume = {"base": HAS_BASE, "quote": HAS_QUOTE}.get(event.volume_unit, 0)
    rows = candle_rows(
        table,
        str(event.instrument),
        timeframe=timeframe,
        source=timeframe,
        price_exponent=event.columns.price_exponent,
        base_exponent=event.columns.volume_exponent,
        quote_exponent=event.columns.volume_exponent,
        has=HAS_ALL & volume,
    )
    minutes = table[:, k.MINUTE]
    return VenueBars(str(event.instrument), timeframe, int(minutes[0]), int(minutes[-1]), rows)


async def _copy(db: AsyncConnection[Any], table: str, rows: Sequence[memoryview]) -> None:
    if not rows:
        return
    async with db.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
        await copy.write(HEADER)
        for part in rows:
            await copy.write(part)
        await copy.write(TRAILER)


async def _copy_parts(db: AsyncConnection[Any], rows: Sequence[memoryview]) -> None:
    """Put ``rows`` into ``candle_parts`` in the place of what an earlier round left there."""
    await db.execute(PARTS)
    await db.execute("TRUNCATE candle_parts")
    await _copy(db, "candle_parts", rows)


async def _write_venue_bars(db: AsyncConnection[Any], bars: VenueBars) -> None:
    await _copy_parts(db, [bars.rows])
    await db.execute(REPLACE)
    larger = [t for t in LABELS if t > bars.timeframe]
    where = {"instrument": bars.instrument, "base": bars.timeframe, "larger": larger}
    await db.execute(ROLL_UP, {**where, "first": bars.first, "last": bars.last})


# What arrays of each type travel as.
_ARRAYS: dict[type, str] = {
    Text: "text[]",
    BigInteger: "bigint[]",
    Integer: "bigint[]::integer[]",
    SmallInteger: "bigint[]::smallint[]",
    Numeric: "text[]::numeric[]",
    DateTime: "bigint[]",  # seconds since 1970 UTC
}


def _unnest(table: Table) -> str:
    """``table`` as rows made of one array a column."""
    return f"unnest({', '.join(f'%s::{_ARRAYS[type(c.type)]}' for c in table.c)})"


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _packed(table: Table, columns: Sequence[Sequence[object]]) -> list[object]:
    """The values of ``_unnest``: packed here, which takes a fraction of the time that psycopg takes."""
    return [_array(c.type, list(values)) for c, values in zip(table.c, columns, strict=True)]


def _array(kind: object, values: list[Any]) -> object:
    if isinstance(kind, Numeric):
        values = [None if value is None else str(value) for value in values]
    if None in values:
        return values
    return text_array(values) if isinstance(kind, Text | Numeric) else int8_array(values)


def _inserts(changes: Changes) -> Iterator[WritePart]:
    for table, rows, replaced_by in (
        (trade_blocks, [b.row() for b in changes.blocks], None),
        (market_evidence, changes.evidence, None),
        (instruments, [m.row() for m in changes.markets], "instrument"),
    ):
        if rows:
            yield WritePart(_insert(table, replaced_by), _packed(table, _columns(rows)))


def _insert(table: Table, replaced_by: str | None) -> str:
    """With a column as ``replaced_by``, a row that holds its value already is replaced."""
    names = [f'"{c.name}"' for c in table.c]
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM {_unnest(table)}"
    if replaced_by:
        update = ", ".join(f"{n} = excluded.{n}" for n in names)
        statement += f" ON CONFLICT ({replaced_by}) DO UPDATE SET {update}"
    return statement


_NAMES = list(candles.c.keys())
_COLUMNS = ", ".join(_NAMES)

# One a session. It has the columns of ``candles`` in whatever schema the search_path leads to.
PARTS = "CREATE TEMPORARY TABLE IF NOT EXISTS candle_parts (LIKE candles) ON COMMIT DELETE ROWS"

_ON_MERGE = """
    ON CONFLICT (instrument, timeframe, source, start) DO UPDATE SET
        open = CASE WHEN (excluded.open_time, excluded.open_id) < (c.open_time, c.open_id)
            THEN excluded.open ELSE c.open END,
        open_time = least(c.open_time, excluded.open_time),
        open_id = CASE WHEN (excluded.open_time, excluded.open_id) < (c.open_time, c.open_id)
            THEN excluded.open_id ELSE c.open_id END,
        high = greatest(c.high, excluded.high),
        low = least(c.low, excluded.low),
        close = CASE WHEN (excluded.close_time, excluded.close_id) > (c.close_time, c.close_id)
            THEN excluded.close ELSE c.close END,
        close_time = greatest(c.close_time, excluded.close_time),
        close_id = CASE WHEN (excluded.close_time, excluded.close_id) > (c.close_time, c.close_id)
            THEN excluded.close_id ELSE c.close_id END,
        base_volume = trim_scale(c.base_volume + excluded.base_volume),
        quote_volume = trim_scale(c.quote_volume + excluded.quote_volume),
        taker_buy_volume = trim_scale(c.taker_buy_volume + excluded.taker_buy_volume),
        trade_count = c.trade_count + excluded.trade_count,
        revision = c.revision + excluded.revision,
        flags = c.flags | excluded.flags,
        position = greatest(c.position, excluded.position)"""

# Days, hours and weeks all divide from a Monday midnight.
_BIN = "date_bin(make_interval(mins => {timeframe}), {start}, '1970-01-05 00:00+00')"

# A row that this statement inserted has no xmax; one that it updated was locked by it first.
_NEW_MINUTES = f"""
base AS (
    INSERT INTO candles AS c ({_COLUMNS}) SELECT {_COLUMNS} FROM candle_parts WHERE timeframe = 1
    {_ON_MERGE}
    RETURNING c.instrument, c.start, c.xmax = 0 AS is_new
), counted AS (
    SELECT b.instrument, t.timeframe, {_BIN.format(timeframe="t.timeframe", start="b.start")} AS start,
        count(*) AS minutes
    FROM base b CROSS JOIN (SELECT DISTINCT timeframe FROM candle_parts WHERE timeframe > 1) t
    WHERE b.is_new GROUP BY 1, 2, 3
)"""
_MERGE = f"""
INSERT INTO candles AS c ({_COLUMNS})
SELECT {", ".join("p.minutes + coalesce(n.minutes, 0)" if c == "minutes" else f"p.{c}" for c in _NAMES)}
FROM candle_parts p LEFT JOIN counted n USING (instrument, timeframe, start)
WHERE p.timeframe > 1
{_ON_MERGE},
        minutes = c.minutes + excluded.minutes"""
MERGE = f"WITH {_NEW_MINUTES} {_MERGE}"
_GIVEN = f"""
candle_parts AS (
    SELECT {", ".join("to_timestamp(start) AS start" if c == "start" else c for c in _NAMES)}
    FROM {_unnest(candles)} p ({_COLUMNS})
)"""


def _merging(rows: Rows) -> WritePart:
    return WritePart(_MERGE, _packed(candles, rows.inline), f"{_GIVEN}, {_NEW_MINUTES}")


_SUPPLIED = ("open", "high", "low", "close", "base_volume", "quote_volume", "taker_buy_volume", "trade_count")

# A venue that says the same again says nothing; one that says something else has revised its bar.
REPLACE = f"""
INSERT INTO candles AS c ({_COLUMNS}) SELECT {_COLUMNS} FROM candle_parts
ON CONFLICT (instrument, timeframe, source, start) DO UPDATE SET
    {", ".join(f"{n} = excluded.{n}" for n in _SUPPLIED)},
    revision = c.revision + 1, position = excluded.position
WHERE ({", ".join(f"c.{n}" for n in _SUPPLIED)})
    IS DISTINCT FROM ({", ".join(f"excluded.{n}" for n in _SUPPLIED)})"""

_AGGREGATES = {
    "instrument": "c.instrument",
    "timeframe": "t.timeframe",
    "source": "c.source",
    "start": _BIN.format(timeframe="t.timeframe", start="c.start"),
    "open": "(array_agg(c.open ORDER BY c.start))[1]",
    "high": "max(c.high)",
    "low": "min(c.low)",
    "close": "(array_agg(c.close ORDER BY c.start DESC))[1]",
    "base_volume": "CASE WHEN count(c.base_volume) = count(*) THEN trim_scale(sum(c.base_volume)) END",
    "quote_volume": "CASE WHEN count(c.quote_volume) = count(*) THEN trim_scale(sum(c.quote_volume)) END",
    "taker_buy_volume": "NULL::numeric",
    "trade_count": "CASE WHEN count(c.trade_count) = count(*) THEN sum(c.trade_count) END",
    "open_time": "min(c.open_time)",
    "open_id": "0",
    "close_time": "max(c.close_time)",
    "close_id": "0",
    "minutes": "sum(c.minutes)",
    "revision": "sum(c.revision)",
    "flags": "0",
    "position": "max(c.position)",
}

# Larger bars of a venue are made anew from its base bars: a bar that was replaced takes nothing back.
_FIRST, _LAST = (f"to_timestamp(%({n})s * 60)" for n in ("first", "last"))
ROLL_UP = f"""
INSERT INTO candles ({_COLUMNS})
SELECT {", ".join(_AGGREGATES[n] for n in _NAMES)}
FROM unnest(%(larger)s::smallint[]) t (timeframe) JOIN candles c
    ON c.start >= {_BIN.format(timeframe="t.timeframe", start=_FIRST)}
    AND c.start < {_BIN.format(timeframe="t.timeframe", start=_LAST)} + make_interval(mins => t.timeframe)
WHERE c.instrument = %(instrument)s AND c.timeframe = %(base)s AND c.source = %(base)s
GROUP BY 1, 2, 3, 4
ON CONFLICT (instrument, timeframe, source, start) DO UPDATE SET
    {", ".join(f"{n} = excluded.{n}" for n in _NAMES if n not in candles.primary_key.columns)}"""
