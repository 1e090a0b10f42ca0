"""Complex events at the known bars: "A, then B within n bars, while C", as known at any position.

Source: the table known_bars. A match uses its bars up, so where the search begins can matter: it begins
HISTORY bars before the first one asked for, or at the instrument's first.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.complex_event_watch import find_events, operand_values
from alphapulse.domain.analysis.complex_events import ComplexEvent, explain
from alphapulse.projections.analysis_queries import Span, bars_with_lead
from alphapulse.projections.candle_view import QueryTooLarge

HISTORY = 20_000  # bars
MAX_MATCHES = 1_000  # in one answer


@dataclass(frozen=True, slots=True)
class Match:
    """``rows``: the bar of each step, of ``Matched.bars``; it is known when the last of them is."""

    rows: Sequence[int]
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class Matched:
    bars: Bars  # those asked for, behind ``lead`` earlier ones
    lead: int
    matches: Sequence[Match]  # that end at a bar asked for, oldest first
    position: int


async def complex_events(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    event: ComplexEvent,
    span: Span,
    *,
    as_of: int | None = None,
) -> Matched:
    """The matches of ``event`` that end at the bars of ``span``.

    Raises:
        QueryTooLarge: too many bars, or over MAX_MATCHES.
        NotYetFolded: ``as_of`` lies ahead.
    """
    bars, lead, position = await bars_with_lead(conn, instrument, timeframe, span, lead=HISTORY, as_of=as_of)
    matches = await asyncio.to_thread(_matches, event, bars, lead) if len(bars) else []
    return Matched(bars, lead, matches, position)


def _matches(event: ComplexEvent, bars: Bars, lead: int) -> list[Match]:
    found = [rows for rows in find_events(event, bars.values) if rows[-1] >= lead]
    if len(found) > MAX_MATCHES:
        raise QueryTooLarge(f"{len(found)} matches, the limit is {MAX_MATCHES}: ask for fewer bars")
    values = operand_values(event, bars.values)
    return [Match(rows, explain(event, rows, values)) for rows in found]
