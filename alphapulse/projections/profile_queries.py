"""Volume profiles: exact from the trades of the log, else approximated from bars of the venue.

``trade_blocks`` says which batches hold a span of time; with ``as_of`` only those recorded by then count.
Times are nanoseconds by the venue's clock, ends excluded; sessions begin at minutes since 1970 UTC.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import HIGH, LOW
from alphapulse.domain.analysis.profile import Grid, Profile
from alphapulse.domain.analysis.profile_levels import Node, ValueArea, nodes, point_of_control, value_area
from alphapulse.domain.analysis.profile_sources import session_profiles, session_profiles_of_bars
from alphapulse.domain.market.bars import exact
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.instrument import Instrument
from alphapulse.projections.candle_history import History
from alphapulse.projections.candle_view import QueryTooLarge, View, snapshot, view
from alphapulse.projections.known_bars import known_bars

MAX_TRADES = 1_000_000  # read for one answer
MAX_BARS = 100_000
MAX_SESSIONS = 100
MAX_BINS = 2_000  # of all sessions together
_CHUNK = 200  # batches read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The profile of one session, and what it says. ``area`` and nodes count bins of the profile."""

    start: int  # minutes
    profile: Profile
    control: int  # point of control, a bin
    area: ValueArea
    high_nodes: Sequence[Node]
    low_nodes: Sequence[Node]


@dataclass(frozen=True, slots=True)
class Sessions:
    sessions: Sequence[Session]  # oldest first; those without a trade are missing
    position: int
    exact: bool  # made of trades


async def profiles(
    conn: AsyncConnection[Any],
    history: History,
    instrument: str,
    *,
    start: int,
    end: int,
    minutes: int,
    bin_size: Decimal | None = None,
    bins: int = 100,
    percent: int = 70,
    as_of: int | None = None,
) -> Sessions:
    """The profile of each session of ``minutes`` from ``start`` to ``end``.

    ``bin_size`` in quote currency; without one the smallest round size with at most ``bins`` bins over all.

    Raises:
        QueryTooLarge: too many trades, bars, sessions or bins.
        NotYetFolded: ``as_of`` lies ahead.
        ValueError: a bound, size or share makes no sense; the message says which.
    """
    count = -(-(end - start) // (minutes * 60_000_000_000)) if minutes > 0 else 0
    if not 0 < count <= MAX_SESSIONS:
        raise QueryTooLarge(f"{count} sessions of {minutes} minutes: 1 to {MAX_SESSIONS} are possible")
    async with snapshot(conn):
        seen = await view(conn, instrument, as_of)
        batches = await _trades(conn, history, seen, start, end) if 0 in seen.sources else []
        base = min((source for source in seen.sources if source), default=1)
        there = (
            await known_bars(conn, instrument, base, start=start, end=end, as_of=as_of, limit=MAX_BARS)
            if not batches
            else None
        )
    anchor = start // 60_000_000_000
    made = await asyncio.to_thread(_made, batches, there, minutes, anchor, bin_size, bins)
    if sum(len(profile) for profile in made.values()) > MAX_BINS:
        raise QueryTooLarge(f"over {MAX_BINS} bins in {len(made)} sessions: take larger bins")
    sessions = [_session(at, profile, percent) for at, profile in made.items() if profile.total > 0]
    return Sessions(sessions, seen.position, bool(batches))


async def _trades(
    conn: AsyncConnection[Any], history: History, seen: View, start: int, end: int
) -> list[TradeColumns]:
    """The trades of the span, batch by batch."""
    cursor = await conn.execute(
        "SELECT version, rows FROM trade_blocks WHERE instrument = %s AND source = 0 AND position <= %s "
        "AND time_lo < %s AND time_lo >= %s AND time_hi >= %s ORDER BY version LIMIT %s",
        (seen.instrument, seen.position, end, start - seen.max_time_span, start, MAX_TRADES),
    )
    blocks = await cursor.fetchall()
    rows = sum(row[1] for row in blocks)
    if rows > MAX_TRADES:
        raise QueryTooLarge(f"{rows} trades of {seen.instrument} lie there, the limit is {MAX_TRADES}")
    stream, versions = Instrument.parse(seen.instrument).stream("trades"), [row[0] for row in blocks]
    found: list[TradeColumns] = []
    for i in range(0, len(versions), _CHUNK):
        for recorded in await history.events(stream, versions[i : i + _CHUNK]):
            columns: TradeColumns = recorded.event.columns
            inside = (columns.time >= start) & (columns.time < end)
            if inside.any():
                found.append(columns if inside.all() else columns.take(inside))
    return found


def _made(
    batches: Sequence[TradeColumns],
    bars: Bars | None,
    minutes: int,
    anchor: int,
    bin_size: Decimal | None,
    bins: int,
) -> Mapping[int, Profile]:
    if bars is not None:
        if not len(bars):
            return {}
        low, high = (
            Decimal(repr(float(bars.values[LOW].min()))),
            Decimal(repr(float(bars.values[HIGH].max()))),
        )
        grid = Grid.fitting(low, high, at_most=bins) if bin_size is None else Grid.of(bin_size)
        return session_profiles_of_bars(bars.values, grid, minutes=minutes, anchor=anchor)
    low, high = _range(batches)
    grid = Grid.fitting(low, high, at_most=bins) if bin_size is None else Grid.of(bin_size)
    return session_profiles(batches, grid, minutes=minutes, anchor=anchor)


def _range(batches: Sequence[TradeColumns]) -> tuple[Decimal, Decimal]:
    lows = [exact(int(np.min(c.price)), c.price_exponent) for c in batches]
    highs = [exact(int(np.max(c.price)), c.price_exponent) for c in batches]
    return min(lows), max(highs)


def _session(start: int, profile: Profile, percent: int) -> Session:
    high_nodes, low_nodes = nodes(profile)
    return Session(
        start=start,
        profile=profile,
        control=point_of_control(profile),
        area=value_area(profile, percent=percent),
        high_nodes=high_nodes,
        low_nodes=low_nodes,
    )
