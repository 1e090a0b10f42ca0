"""What can be said of bars beyond their rows: closed or not, the state, and how much of it is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.market.bars import Bar
from alphapulse.domain.market.columns import Int64s
from alphapulse.domain.market.coverage import Bools, Intervals, Watch, states
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.projections.candle_history import History, bars_at
from alphapulse.projections.candle_view import QueryTooLarge, View, ask, watch_of

MAX_BASE_BARS = 500_000  # looked at for the coverage of one answer


@dataclass(frozen=True, slots=True)
class Arrays:
    start: Int64s
    source: Int64s
    revision: Int64s
    flags: Int64s
    minutes: Int64s
    filled: Bools | None = None

    @property
    def exists(self) -> Bools:
        return np.ones(len(self.start), dtype=bool) if self.filled is None else ~self.filled

    @classmethod
    def of(cls, bars: Sequence[Bar]) -> "Arrays":
        def column(name: str) -> Int64s:
            return np.array([getattr(bar, name) for bar in bars], dtype=np.int64)

        return cls(
            column("start"),
            column("source"),
            column("revision"),
            column("flags"),
            column("minutes"),
            column("filled").astype(bool),
        )


def closed_by_now(seen: View, timeframe: int, rows: Arrays) -> Bools:
    until = np.zeros(len(rows.start), dtype=np.int64)
    for source in np.unique(rows.source).tolist():
        until[rows.source == source] = seen.closed_by(source)
    return np.asarray((rows.start + timeframe) * MINUTE_NS <= until, dtype=bool)


async def assess(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    rows: Arrays,
    history: History | None,
    *,
    coverage: bool = True,
    seen_by: Watch | None = None,
) -> tuple[Int64s, Int64s]:
    """State and covered minutes of each row. ``seen_by`` is what was watched, where the caller knows it."""
    if seen_by is None:
        seen_by = await watch_of(conn, seen)
    starts, ends = rows.start * MINUTE_NS, (rows.start + timeframe) * MINUTE_NS
    state = states(
        seen_by,
        starts,
        ends,
        exists=rows.exists,
        source=rows.source,
        flags=rows.flags,
        revision=rows.revision,
    )
    if not coverage:
        return state, rows.minutes
    known = seen_by.covered_minutes
    inside = known.measure(rows.start, rows.start + timeframe)
    covered = np.where(inside == 0, rows.minutes, inside)
    # Partly watched: traded minutes outside the watched time are known as well.
    mixed = np.flatnonzero((inside > 0) & (inside < timeframe) & (rows.minutes > 0))
    for source in np.unique(rows.source[mixed]).tolist():
        of_source = mixed[rows.source[mixed] == source]
        watched = await _base_minutes_inside(
            conn, seen, timeframe, source, rows.start[of_source], known, history
        )
        covered[of_source] = inside[of_source] + rows.minutes[of_source] - watched
    return state, covered


async def _base_minutes_inside(
    conn: AsyncConnection[Any],
    seen: View,
    timeframe: int,
    source: int,
    starts: Int64s,
    known: Intervals,
    history: History | None,
) -> Int64s:
    """Of the traded (or supplied) minutes of the bars at ``starts``, how many lie inside ``known``."""
    base = max(1, source)
    cursor = await ask(
        conn,
        "SELECT date_part('epoch', start)::bigint / 60, position <= %s FROM unnest(%s::bigint[]) m "
        "JOIN candles ON start >= to_timestamp(m * 60) AND start < to_timestamp((m + %s) * 60) "
        "WHERE instrument = %s AND timeframe = %s AND source = %s LIMIT %s",
        (seen.position, starts.tolist(), timeframe, seen.instrument, base, source, MAX_BASE_BARS + 1),
    )
    found = await cursor.fetchall()
    if len(found) > MAX_BASE_BARS:
        raise QueryTooLarge(f"coverage of {len(starts)} bars needs over {MAX_BASE_BARS} smaller ones")
    changed = sorted(minute for minute, unchanged in found if not unchanged)
    there = [minute for minute, unchanged in found if unchanged]
    there += await bars_at(conn, replace(seen, sources=(source,)), base, changed, history)
    minutes = np.array(sorted(there), dtype=np.int64)
    counts = np.concatenate(([0], np.cumsum(known.measure(minutes, minutes + base))))
    first, end = np.searchsorted(minutes, starts), np.searchsorted(minutes, starts + timeframe)
    return np.asarray(counts[end] - counts[first], dtype=np.int64)
