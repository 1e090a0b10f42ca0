"""Which bars a query means: those there are, or all of a span with the holes filled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.market.bars import Bar, Fill, filled
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS, bar_start
from alphapulse.projections.candle_history import History, bars_at
from alphapulse.projections.candle_view import QueryTooLarge, View, ask


@dataclass(frozen=True, slots=True)
class Span:
    """Starts of bars in minutes, ``end`` excluded; None: no bound."""

    first: int | None
    end: int | None

    @classmethod
    def of(cls, start: int | None, end: int | None, timeframe: int) -> "Span":
        """Bars that begin in [start, end) nanoseconds."""
        first = None if start is None else -(-start // MINUTE_NS)
        if first is not None and bar_start(first, timeframe) != first:
            first = int(bar_start(first, timeframe)) + timeframe
        return cls(first, None if end is None else -(-end // MINUTE_NS))

    def where(self) -> tuple[str, list[int]]:
        """SQL and its parameters."""
        bounds = [(">=", self.first), ("<", self.end)]
        used = [(sign, bound) for sign, bound in bounds if bound is not None]
        sql = "".join(f" AND start {sign} to_timestamp(%s)" for sign, _ in used)
        return sql, [bound * 60 for _, bound in used]


async def bars_in(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    span: Span,
    last: int | None,
    fill: Fill | None,
    history: History | None,
    limit: int,
) -> Sequence[Bar]:
    if fill is not None:
        return await _without_holes(conn, seen, timeframe, span, last, fill, history, limit)
    count, newest = (limit + 1, False) if last is None else (last, True)
    bars = await existing(conn, seen, timeframe, span, count, newest, history)
    if len(bars) > limit:
        raise QueryTooLarge(f"the range holds more than {limit} bars of {LABELS[timeframe]}")
    return bars


async def existing(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    span: Span,
    count: int,
    newest: bool,
    history: History | None,
) -> list[Bar]:
    """The ``count`` newest or oldest bars in ``span``, oldest first, that were there by then."""
    horizon = max([seen.high_water, *(seen.supplied_until or {}).values()])
    if not seen.sources:
        return []
    found: list[Bar] = []
    while len(found) < count:
        where, bounds = span.where()
        cursor = await ask(
            conn,
            "SELECT DISTINCT date_part('epoch', start)::bigint / 60 AS minute "
            "FROM (SELECT start FROM candles "
            f"WHERE instrument = %s AND timeframe = %s{where} AND start <= to_timestamp(%s) "
            f"ORDER BY start {'DESC' if newest else 'ASC'} LIMIT %s) page ORDER BY minute",
            (
                *(seen.instrument, timeframe, *bounds, horizon // 10**9),
                (count - len(found)) * len(seen.sources),
            ),
        )
        starts = [row[0] for row in await cursor.fetchall()]
        if not starts:
            break
        there = await bars_at(conn, seen, timeframe, starts, history)
        page = [there[s] for s in starts if s in there]
        if newest:
            found = page + found
            span = Span(span.first, starts[0])
        else:
            found += page
            span = Span(starts[-1] + 1, span.end)
    return found[-count:] if newest and count else found[:count]


async def _without_holes(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    span: Span,
    last: int | None,
    fill: Fill,
    history: History | None,
    limit: int,
) -> Sequence[Bar]:
    """Bars without holes, from the span's start or the first bar to its end or the market's clock."""

    async def edge(where: Span, *, newest: bool) -> Bar | None:
        bars = await existing(conn, seen, timeframe, where, 1, newest, history)
        return bars[0] if bars else None

    newest = await edge(Span(None, None), newest=True)
    begun = -1 if newest is None else newest.start
    if seen.high_water:
        begun = max(begun, int(bar_start((seen.high_water - 1) // MINUTE_NS, timeframe)))
    end = begun + timeframe
    if span.end is not None:
        end = min(end, int(bar_start(span.end + timeframe - 1, timeframe)))
    first = span.first
    if first is None:
        oldest = await edge(Span(None, None), newest=False)
        first = end if oldest is None else oldest.start
    if last is not None:
        first = max(first, end - last * timeframe)
    slots = range(first, end, timeframe)
    if len(slots) > limit:
        raise QueryTooLarge(f"the range holds {len(slots)} bars of {LABELS[timeframe]}, the limit is {limit}")
    bars = await existing(conn, seen, timeframe, Span(first, end), len(slots), False, history)
    before = None if fill is Fill.EMPTY else await edge(Span(None, first), newest=True)
    after = None if fill is not Fill.LINEAR else await edge(Span(end, None), newest=False)
    there = {bar.start: bar for bar in bars}
    return list(filled(there, slots, timeframe, fill, before=before, after=after))
