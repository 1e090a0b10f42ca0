"""Which minutes of a market changed after a position: what a reader who was there has to look at again.

Source tables: trade_blocks, market_evidence. Minutes count since 1970 UTC.
"""

from typing import Any, NamedTuple

from psycopg import AsyncConnection

from alphapulse.domain.market.timeframes import MINUTE_NS

# Bars that an event ends are changed by it, too: those from the market's clock before it, on.
_TOUCHED = f"""
SELECT min(first) / {MINUTE_NS}, max(last) / {MINUTE_NS} FROM (
    SELECT least(time_lo, nullif(high_water, 0)) AS first, time_hi AS last
    FROM trade_blocks WHERE instrument = %(instrument)s AND position > %(after)s
    UNION ALL
    SELECT least(start, nullif(high_water, 0)), greatest(start, "end", high_water)
    FROM market_evidence WHERE instrument = %(instrument)s AND position > %(after)s
) touched
"""


class Moment(NamedTuple):
    """Which generation of the candles readers see, and how far it has come in the log."""

    generation: int
    position: int


async def moment(conn: AsyncConnection[Any]) -> Moment:
    """(0, 0) before the candles were first folded."""
    cursor = await conn.execute(
        "SELECT generation, position FROM projections WHERE name = 'candles' AND state = 'live'"
    )
    row = await cursor.fetchone()
    return Moment(*row) if row else Moment(0, 0)


async def minutes_touched_since(
    conn: AsyncConnection[Any], instrument: str, after_position: int
) -> tuple[int, int] | None:
    """The first and last minute that events after ``after_position`` may have changed; None for no event."""
    cursor = await conn.execute(
        _TOUCHED,
        {"instrument": instrument, "after": after_position},
    )
    row = await cursor.fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))
