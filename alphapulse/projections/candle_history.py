"""Bars as they were: rows touched since are made anew from the batches recorded up to then.

A bar that no later event touched is still as it was. Of the others only the minutes that changed are read
again, from the log; the unchanged minutes of a larger bar come from their rows.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.bars import Bar, exact, merged
from alphapulse.domain.market.candles import Batch, PartialBars, extent, fold_batches, venue_table, wide
from alphapulse.domain.market.columns import Int64s
from alphapulse.domain.market.coverage import Bools
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS, bar_start
from alphapulse.domain.ports import Decode, EventStore, Recorded
from alphapulse.projections.candle_view import QueryTooLarge, View, ask

MAX_BLOCKS = 200_000  # looked at for one answer
MAX_TRADES = 2_000_000  # read again for one answer: about a fifth of a second
MAX_MINUTES = 500_000  # 1m rows read to make larger bars anew: almost a year

COLUMNS = (
    "date_part('epoch', start)::bigint / 60, timeframe, source, open, high, low, close, base_volume, "
    "quote_volume, taker_buy_volume, trade_count, open_time, open_id, close_time, close_id, minutes, "
    "revision, flags, position"
)


@dataclass(frozen=True, slots=True)
class History:
    """Where the events behind the rows are read."""

    store: EventStore
    decode: Decode

    async def events(self, stream: str, versions: Sequence[int]) -> list[Recorded]:
        """The events at ``versions``, ascending, of one stream."""
        found: list[Recorded] = []
        for first, last in _runs(versions):
            after = first - 1
            while after < last:
                records = await self.store.read_stream(stream, after=after, limit=min(500, last - after))
                assert records, f"{stream} ends at version {after}, a block says it goes on to {last}"
                found += await asyncio.to_thread(lambda batch: [self.decode(r) for r in batch], records)
                after = records[-1].version
        return found


def _runs(versions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive versions, ends included."""
    first = last = None
    for version in versions:
        if last is None or version != last + 1:
            if first is not None and last is not None:
                yield first, last
            first = version
        last = version
    if first is not None and last is not None:
        yield first, last


def bar_of(row: TupleRow) -> Bar:
    """A row selected as COLUMNS."""
    names = (n for n in Bar.__slots__ if n != "filled")
    return Bar(**dict(zip(names, row, strict=True)))


async def bars_at(
    conn: AsyncConnection[Any], seen: View, timeframe: int, starts: Sequence[int], history: History | None
) -> dict[int, Bar]:
    """The bars at ``starts`` (minutes, ascending) that were there at the view's position, by start.

    Of several sources the first of the view wins. ``history`` may be None only when the view is current.

    Raises:
        QueryTooLarge: too much would have to be read again.
    """
    found: dict[int, Bar] = {}
    if not starts:
        return found
    for source in reversed(seen.sources):
        found |= await _of_source(conn, seen, timeframe, source, starts, history)
    return found


async def _of_source(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    source: int,
    starts: Sequence[int],
    history: History | None,
) -> dict[int, Bar]:
    rows = await _rows(conn, seen, timeframe, source, starts)
    kept = {bar.start: bar for bar in rows if bar.position <= seen.position}
    stale = [bar.start for bar in rows if bar.position > seen.position]
    if stale:
        if history is None:
            raise ValueError(f"bars of {seen.instrument} as of {seen.position} need the log")
        anew = _trade_bars if source == 0 else _venue_bars
        kept |= await anew(_Past(conn, seen, history), timeframe, source, stale)
    return kept


async def _rows(
    conn: AsyncConnection[Any], seen: View, timeframe: int, source: int, starts: Sequence[int]
) -> list[Bar]:
    cursor = await ask(
        conn,
        f"SELECT {COLUMNS} FROM candles WHERE instrument = %s AND timeframe = %s AND source = %s "
        "AND start = ANY (SELECT to_timestamp(m * 60) FROM unnest(%s::bigint[]) m) ORDER BY start",
        (seen.instrument, timeframe, source, list(starts)),
    )
    return [bar_of(row) for row in await cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class _Past:
    conn: AsyncConnection[Any]
    seen: View
    history: History

    async def base_rows(self, timeframe: int, source: int, starts: Sequence[int]) -> list[Bar]:
        """The rows, as they are now, of which the bars at ``starts`` are made."""
        cursor = await ask(
            self.conn,
            f"SELECT {COLUMNS} FROM unnest(%s::bigint[]) m JOIN candles ON start >= to_timestamp(m * 60) "
            "AND start < to_timestamp((m + %s) * 60) "
            "WHERE instrument = %s AND timeframe = %s AND source = %s LIMIT %s",
            (list(starts), timeframe, self.seen.instrument, max(1, source), source, MAX_MINUTES + 1),
        )
        rows = [bar_of(row) for row in await cursor.fetchall()]
        if len(rows) > MAX_MINUTES:
            raise QueryTooLarge(
                f"{len(starts)} bars of {LABELS[timeframe]} changed since position {self.seen.position}: "
                f"over {MAX_MINUTES} smaller bars would have to be read"
            )
        return rows

    async def blocks(self, source: int, first: int, end: int) -> list[tuple[int, ...]]:
        """(version, rows, time_lo, time_hi, high_water) of batches by then that meet [first, end)."""
        span = self.seen.max_time_span if source == 0 else first  # batches of bars are few
        cursor = await ask(
            self.conn,
            "SELECT version, rows, time_lo, time_hi, high_water FROM trade_blocks WHERE instrument = %s "
            "AND source = %s AND position <= %s AND time_lo >= %s AND time_lo < %s AND time_hi >= %s "
            "ORDER BY version LIMIT %s",
            (self.seen.instrument, source, self.seen.position, first - span, end, first, MAX_BLOCKS + 1),
        )
        blocks = await cursor.fetchall()
        if len(blocks) > MAX_BLOCKS:
            raise QueryTooLarge(f"over {MAX_BLOCKS} batches lie in the range: ask for a shorter one")
        return blocks

    async def read(self, source: int, blocks: Sequence[tuple[int, ...]]) -> list[Recorded]:
        trades = sum(block[1] for block in blocks)
        if trades > MAX_TRADES:
            raise QueryTooLarge(
                f"as of position {self.seen.position}, {trades} rows would have to be read again, "
                f"the limit is {MAX_TRADES}: ask for a shorter range"
            )
        instrument = Instrument.parse(self.seen.instrument)
        stream = f"{instrument.stream('bars')}-{LABELS[source]}" if source else instrument.stream("trades")
        return await self.history.events(stream, [block[0] for block in blocks])


async def _trade_bars(past: _Past, timeframe: int, source: int, stale: Sequence[int]) -> dict[int, Bar]:
    """Bars built from trades, those at ``stale`` that were there."""
    unchanged: list[Bar] = []
    minutes = list(stale)
    if timeframe > 1:
        rows = await past.base_rows(timeframe, source, stale)
        unchanged = [bar for bar in rows if bar.position <= past.seen.position]
        minutes = sorted(bar.start for bar in rows if bar.position > past.seen.position)
    end = (stale[-1] + timeframe) * MINUTE_NS
    found = await past.blocks(source, stale[0] * MINUTE_NS, end)
    blocks = [found[i] for i in np.flatnonzero(_needed(found, minutes, stale, timeframe))]
    events = await past.read(source, blocks)
    batches = [
        Batch(event.event.columns, extent(event.event.columns), event.position, block[4])
        for event, block in zip(events, blocks, strict=True)
    ]
    wanted = (1,) if timeframe == 1 else (1, timeframe)
    partials = await asyncio.to_thread(lambda: fold_batches(batches, timeframes=wanted))
    inside = set(minutes)
    ones = unchanged + [bar for bar in _bars_of(partials, 1) if bar.start in inside]
    revisions = _revisions(partials, timeframe)
    grouped: dict[int, list[Bar]] = {}
    for bar in ones:
        grouped.setdefault(int(bar_start(bar.start, timeframe)), []).append(bar)
    return {
        start: replace(merged(bars, timeframe), revision=revisions.get(start, 0), minutes=_distinct(bars))
        for start, bars in grouped.items()
    }


def _needed(
    blocks: Sequence[tuple[int, ...]], minutes: Sequence[int], stale: Sequence[int], timeframe: int
) -> Bools:
    """Which blocks to read: those that may hold trades of ``minutes``, or have revised a bar at ``stale``."""
    table = np.array(blocks, dtype=np.int64).reshape(-1, 5)
    first, last, high_water = table[:, 2] // MINUTE_NS, table[:, 3] // MINUTE_NS, table[:, 4]
    starts = np.asarray(stale, dtype=np.int64)
    # Bars that had ended before the block and lie in its span: a prefix of the sorted bars.
    ended = np.minimum(
        np.searchsorted((starts + timeframe) * MINUTE_NS, high_water, side="right"),
        np.searchsorted(starts, last, side="right"),
    )
    late = ended > np.searchsorted(starts + timeframe, first, side="right")
    return _any_between(np.asarray(minutes, dtype=np.int64), first, last) | late


def _any_between(values: Int64s, first: Int64s, last: Int64s) -> Bools:
    """Whether any of the sorted ``values`` lies in each [first, last]."""
    return np.asarray(
        np.searchsorted(values, last, side="right") > np.searchsorted(values, first, side="left"), dtype=bool
    )


def _distinct(bars: Sequence[Bar]) -> int:
    return len({bar.start for bar in bars})


def _revisions(partials: Sequence[PartialBars], timeframe: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for partial in partials:
        table = partial.tables[timeframe]
        for start, revision in zip(table[:, k.MINUTE].tolist(), table[:, k.REVISION].tolist(), strict=True):
            found[start] = found.get(start, 0) + revision
    return found


def _bars_of(partials: Sequence[PartialBars], timeframe: int) -> Iterator[Bar]:
    """Partial bars as exact values."""
    for partial in partials:
        table = partial.tables[timeframe]
        pe, se = partial.price_exponent, partial.size_exponent
        for bar in table.tolist():
            base, quote, buy = (wide(bar, f) for f in (k.BASE_HI, k.QUOTE_HI, k.BUY_HI))
            yield Bar(
                start=bar[k.MINUTE],
                timeframe=timeframe,
                source=0,
                open=exact(bar[k.OPEN], pe),
                high=exact(bar[k.HIGH], pe),
                low=exact(bar[k.LOW], pe),
                close=exact(bar[k.CLOSE], pe),
                base_volume=exact(base, se),
                quote_volume=exact(quote, pe + se),
                taker_buy_volume=exact(buy, se),
                trade_count=bar[k.COUNT],
                open_time=bar[k.OPEN_TIME],
                open_id=bar[k.OPEN_ID],
                close_time=bar[k.CLOSE_TIME],
                close_id=bar[k.CLOSE_ID],
                minutes=1,
                revision=bar[k.REVISION],
                flags=bar[k.FLAGS],
                position=bar[k.POSITION],
            )


async def _venue_bars(past: _Past, timeframe: int, source: int, stale: Sequence[int]) -> dict[int, Bar]:
    """Bars that a venue supplied, or rolled up from those, at ``stale``, as far as there were any."""
    if timeframe > source:
        rows = await past.base_rows(timeframe, source, stale)
        bases = [bar for bar in rows if bar.position <= past.seen.position]
        changed = sorted(bar.start for bar in rows if bar.position > past.seen.position)
        if changed:
            bases += (await _venue_bars(past, source, source, changed)).values()
        grouped: dict[int, list[Bar]] = {}
        for bar in sorted(bases, key=lambda b: b.start):
            grouped.setdefault(int(bar_start(bar.start, timeframe)), []).append(bar)
        return {start: merged(bars, timeframe) for start, bars in grouped.items()}
    end = (stale[-1] + source) * MINUTE_NS
    blocks = await past.blocks(source, stale[0] * MINUTE_NS, end)
    wanted, said = set(stale), dict[int, Bar]()
    for event in await past.read(source, blocks):
        for bar in _supplied(event):
            if bar.start in wanted:
                said[bar.start] = _said(said.get(bar.start), bar)
    return said


def _said(before: Bar | None, now: Bar) -> Bar:
    """What holds after the venue said ``now``: the same again is no news."""
    if before is None:
        return now
    if _values(before) == _values(now):
        return before
    return replace(now, revision=before.revision + 1)


def _values(bar: Bar) -> tuple[object, ...]:
    return (
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.base_volume,
        bar.quote_volume,
        bar.taker_buy_volume,
        bar.trade_count,
    )


def _supplied(recorded: Recorded) -> Iterator[Bar]:
    """The bars of a BarsObserved."""
    columns, timeframe = recorded.event.columns, recorded.event.timeframe_minutes
    pe, ve, unit = columns.price_exponent, columns.volume_exponent, recorded.event.volume_unit
    for bar in venue_table(columns, timeframe, recorded.position).tolist():
        volume = exact(bar[k.BASE_LO], ve)
        yield Bar(
            start=bar[k.MINUTE],
            timeframe=timeframe,
            source=timeframe,
            open=exact(bar[k.OPEN], pe),
            high=exact(bar[k.HIGH], pe),
            low=exact(bar[k.LOW], pe),
            close=exact(bar[k.CLOSE], pe),
            base_volume=volume if unit == "base" else None,
            quote_volume=volume if unit == "quote" else None,
            taker_buy_volume=None,
            trade_count=bar[k.COUNT] if bar[k.COUNT] >= 0 else None,
            open_time=bar[k.OPEN_TIME],
            open_id=0,
            close_time=bar[k.CLOSE_TIME],
            close_id=0,
            minutes=timeframe,
            revision=0,
            flags=0,
            position=recorded.position,
        )
