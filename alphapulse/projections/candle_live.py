"""What changed of many bars at once, for those who watch them: one look for all, one round trip.

Whoever watches knows what it saw last: the position, the market's clock then, and the facts about the
feed. As long as only trades and watermarks came since, that is enough to say all about the bars that
changed. Anything rarer needs a closer look: see ``candle_queries.changed_candles``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from alphapulse.domain.market.coverage import Fact, watch
from alphapulse.domain.market.timeframes import bar_start
from alphapulse.projections.candle_assess import Arrays, assess, closed_by_now
from alphapulse.projections.candle_changes import Moment
from alphapulse.projections.candle_history import COLUMNS, bar_of
from alphapulse.projections.candle_queries import Candle, State
from alphapulse.projections.candle_view import View, facts_of, snapshot, view

_BUILT_FROM_TRADES = "0"

_CHANGED = f"""
SELECT w.n, p.generation, p.position, i.high_water, i.sources,
    EXISTS (SELECT FROM market_evidence e WHERE e.instrument = w.instrument AND e.position > w.after
        AND e.kind <> 'watermark'),
    c.*
FROM projections p
CROSS JOIN unnest(%(instrument)s::text[], %(timeframe)s::int[], %(after)s::bigint[], %(first)s::bigint[],
    %(clock)s::bigint[]) WITH ORDINALITY w (instrument, timeframe, after, first, clock, n)
JOIN instruments i ON i.instrument = w.instrument
LEFT JOIN LATERAL (
    SELECT {COLUMNS} FROM candles
    WHERE instrument = w.instrument AND timeframe = w.timeframe AND start >= to_timestamp(w.first * 60)
        AND (position > w.after OR (start > to_timestamp(w.clock / 1000000000 - w.timeframe * 60)
            AND start <= to_timestamp(i.high_water / 1000000000 - w.timeframe * 60)))
    ORDER BY start LIMIT %(limit)s
) c ON true
WHERE p.name = 'candles' AND p.state = 'live'
ORDER BY w.n, c.open_time
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What a watcher saw last of an instrument."""

    moment: Moment
    clock: int  # ns, the market's: bars that end by then had ended
    facts: Sequence[Fact]  # about its feed


@dataclass(frozen=True, slots=True)
class Want:
    instrument: str
    timeframe: int
    first_minute: int  # nothing before has changed
    known: Known


@dataclass(frozen=True, slots=True)
class Change:
    known: Known  # from now on
    rows: Sequence[Candle]


async def known_of(conn: AsyncConnection[Any], instrument: str, moment: Moment) -> Known:
    """What there is to know at ``moment``, which is now in the snapshot of ``conn``."""
    seen = await view(conn, instrument, None)
    return Known(moment, seen.high_water, await facts_of(conn, seen))


async def changes(
    conn: AsyncConnection[Any], wants: Sequence[Want], *, limit: int
) -> Sequence[Change | None]:
    """For each want the bars that changed since; None where a closer look is needed."""
    found: list[Change | None] = [None] * len(wants)
    async with snapshot(conn):
        cursor = await conn.execute(
            _CHANGED,
            {
                "instrument": [want.instrument for want in wants],
                "timeframe": [want.timeframe for want in wants],
                "after": [want.known.moment.position for want in wants],
                "first": [int(bar_start(want.first_minute, want.timeframe)) for want in wants],
                "clock": [want.known.clock for want in wants],
                "limit": limit + 1,
            },
        )
        for n, rows in groupby(await cursor.fetchall(), key=itemgetter(0)):
            found[n - 1] = await _change(conn, wants[n - 1], list(rows), limit)
    return found


async def _change(
    conn: AsyncConnection[Any], want: Want, rows: Sequence[TupleRow], limit: int
) -> Change | None:
    _, generation, position, high_water, sources, has_facts, *_ = rows[0]
    is_plain = generation == want.known.moment.generation and sources == _BUILT_FROM_TRADES and not has_facts
    if not is_plain or len(rows) > limit:
        return None
    known = Known(Moment(generation, position), high_water or 0, want.known.facts)
    bars = [bar_of(row[6:]) for row in rows if row[6] is not None]
    if not bars:
        return Change(known, ())
    seen = View(want.instrument, position, known.clock, (0,), current=True)
    arrays = Arrays.of(bars)
    state, covered = await assess(
        conn, seen, want.timeframe, arrays, None, seen_by=watch(known.facts, known.clock)
    )
    closed = closed_by_now(seen, want.timeframe, arrays)
    candles = [
        Candle(bar, State(s), c, is_closed)
        for bar, s, c, is_closed in zip(bars, state.tolist(), covered.tolist(), closed.tolist(), strict=True)
    ]
    return Change(known, candles)
