"""Indicators over the bars that are known: computed on request, from as far back as their past reaches.

Source: the table known_bars (known_bars.py). Bars are as they were when they ended, so an answer
with ``as_of`` is what was answered then. Recursive indicators begin ``forgets`` bars before the first row
that is asked for, those that never forget at the instrument's first bar.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.panel import Panel, Plan
from alphapulse.domain.analysis.registry import Spec
from alphapulse.projections.candle_view import QueryTooLarge, snapshot
from alphapulse.projections.known_bars import MAX_KNOWN_BARS, known_bars, known_position

MAX_SPECS = 40  # in one question
MAX_VALUES = 20_000_000  # bars times outputs of one computation: about a second

_CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bars that begin in [start, end) ns, of those the ``last`` ones. None: no bound."""

    start: int | None = None
    end: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """``values[i]`` belongs to ``columns[i]``; one entry a bar, NaN where it has none."""

    bars: Bars
    specs: Sequence[Spec]
    columns: Sequence[str]
    values: Floats  # (columns, bars)
    position: int  # of the log, that the answer stands for

    def column(self, name: str) -> Floats:
        values: Floats = self.values[self.columns.index(name)]
        return values


async def bars_with_lead(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    span: Span,
    *,
    lead: int | None,
    as_of: int | None,
    limit: int = MAX_KNOWN_BARS,
) -> tuple[Bars, int, int]:
    """Bars of ``span`` behind ``lead`` earlier ones (None: all there are), how many those are, the position.

    Raises:
        QueryTooLarge: that is more than ``limit`` bars.
        NotYetFolded: ``as_of`` lies ahead.
    """
    async with snapshot(conn):
        position = await known_position(conn) if as_of is None else as_of
        there = await known_bars(
            conn, instrument, timeframe,
            start=span.start, end=span.end, last=span.last, as_of=as_of, limit=limit,
        )  # fmt: skip
        if not len(there) or lead == 0:
            return there, 0, position
        first = int(there.start[0]) * 60_000_000_000
        left = limit - len(there)
        if lead is not None and lead > left:
            raise QueryTooLarge(f"{len(there)} bars and {lead} before them: the limit is {limit}")
        earlier = await known_bars(
            conn, instrument, timeframe, end=first, last=lead, as_of=as_of, limit=left
        )  # fmt: skip
    return joined(earlier, there), len(earlier), position


async def bars_after(
    conn: AsyncConnection[Any], instrument: str, timeframe: int, position: int, *, limit: int
) -> int:
    """How many bars became known after ``position`` of the log: at most ``limit`` are counted."""
    cursor = await conn.execute(
        "SELECT count(*) FROM (SELECT position FROM known_bars WHERE instrument = %s AND timeframe = %s "
        "ORDER BY start DESC LIMIT %s) newest WHERE position > %s",
        (instrument, timeframe, limit, position),
        prepare=False,
    )
    row = await cursor.fetchone()
    assert row is not None, "an aggregate has one row"
    return int(row[0])


def joined(earlier: Bars, later: Bars) -> Bars:
    """``earlier`` and then ``later`` bars of one instrument and timeframe."""
    if not len(earlier):
        return later
    return replace(
        later,
        values=np.concatenate([earlier.values, later.values], axis=1),
        known_time=np.concatenate([earlier.known_time, later.known_time]),
        position=np.concatenate([earlier.position, later.position]),
        input_position=np.concatenate([earlier.input_position, later.input_position]),
        flags=np.concatenate([earlier.flags, later.flags]),
    )


def checked(specs: Sequence[Spec]) -> Plan:
    """The plan of ``specs``.

    Raises:
        QueryTooLarge: too many.
        ValueError: none, or one twice.
    """
    if not specs:
        raise ValueError("no indicator was asked for")
    if len(specs) > MAX_SPECS:
        raise QueryTooLarge(f"{len(specs)} indicators, the limit is {MAX_SPECS}")
    return Plan(specs)


def values_of(plan: Plan, bars: Bars, lead: int) -> Floats:
    """The outputs of ``plan`` (outputs, bars), the first ``lead`` bars only looked back at.

    Raises:
        QueryTooLarge: that would take too long.
    """
    if len(bars) * plan.outputs > MAX_VALUES:
        raise QueryTooLarge(f"{len(bars)} bars by {plan.outputs} outputs, the limit is {MAX_VALUES} values")
    return Panel(plan, 1, chunk=_CHUNK).advance(bars.values[:, :, None])[:, lead:, 0]


async def indicators(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    specs: Sequence[Spec],
    span: Span,
    *,
    as_of: int | None = None,
) -> Series:
    """The outputs of ``specs`` at the bars of ``span``, as known at ``as_of``.

    Raises:
        QueryTooLarge: too many indicators, bars or values.
        NotYetFolded: ``as_of`` lies ahead.
    """
    plan = checked(specs)
    bars, lead, position = await bars_with_lead(
        conn, instrument, timeframe, span, lead=plan.forgets, as_of=as_of
    )
    values = await asyncio.to_thread(values_of, plan, bars, lead)
    return Series(bars.take(slice(lead, None)), plan.specs, plan.columns, values, position)
