"""Rows of a set for all bars that ended before it was defined, in memory that does not grow with them.

The bars of an instrument are read along their key, a page of each timeframe at a time, and handed on event
by event as the fold would have: so the rows are those that it would have made.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from alphapulse.domain.analysis.closing import NEVER, Closed
from alphapulse.domain.analysis.feature_rows import Carried, SetPlan, Slots
from alphapulse.domain.market.columns import MAX_ROWS
from alphapulse.projections.feature_writes import write_rows, write_slots
from alphapulse.projections.known_bars import COLUMNS, as_bars, read_columns

PAGE = 2 * MAX_ROWS  # bars; one event ends fewer than half of that in one timeframe
_POSITION, _FIRST = COLUMNS.index("position"), COLUMNS.index("first_position")


async def backfill(
    db: AsyncConnection[Any], plan: SetPlan, instruments: Sequence[str], page: int = PAGE
) -> None:
    """Write the rows of ``plan`` for every known bar of ``instruments``, and what is carried along."""
    defined = plan.defined
    key = defined.name, defined.version
    for instrument in instruments:
        slots: Slots = {}
        marks: dict[int, Carried] = {}
        async for closed in history(db, instrument, tuple(plan.slots), page):
            # In a thread: this process keeps other read models up to date, too.
            slots, rows = await asyncio.to_thread(plan.advance, slots, closed, None, marks)
            await write_rows(db, [(key, each) for each in rows])
        await write_slots(db, {(key, instrument, t): carried for t, carried in marks.items()})


async def history(
    db: AsyncConnection[Any], instrument: str, timeframes: Sequence[int], page: int = PAGE
) -> AsyncIterator[Mapping[int, Closed]]:
    """All known bars, in pieces that hold whole events, oldest first."""
    readers = [_Reader(db, instrument, timeframe, page) for timeframe in timeframes]
    while True:
        for reader in readers:
            await reader.fill()
        if not any(reader.count for reader in readers):
            return
        upto = min(reader.complete_until for reader in readers)
        closed = {reader.timeframe: reader.take(upto) for reader in readers}
        found = {timeframe: each for timeframe, each in closed.items() if len(each.bars)}
        assert found, f"{instrument}: one event ends more than {page} bars"
        yield found


async def carried_slots(
    db: AsyncConnection[Any], plan: SetPlan, wanted: Callable[[str], bool], page: int = PAGE
) -> Mapping[str, Slots]:
    """What ``plan`` carries along of the instruments ``wanted``: as written down, and brought up to date."""
    defined = plan.defined
    found: dict[str, dict[int, Carried]] = {}
    for timeframe, slot in plan.slots.items():
        key = {"name": defined.name, "version": defined.version, "timeframe": timeframe}
        cursor = await db.execute(_MARKED, key, binary=True)
        for instrument, start, data in await cursor.fetchall():
            if not wanted(instrument):
                continue
            carried = slot.nothing if data is None else Carried.unpacked(data, slot)
            reader = _Reader(db, instrument, timeframe, page, last=NEVER if start is None else start)
            while not reader.at_end:
                await reader.fill()
                closed = reader.take((1 << 63) - 1)
                if len(closed.bars):
                    carried, _ = await asyncio.to_thread(slot.advance, carried, closed)
            if carried.seen:
                found.setdefault(instrument, {})[timeframe] = carried
    return found


_MARKED: LiteralString = (
    "SELECT m.instrument, s.start, s.carried FROM feature_markets m LEFT JOIN feature_slots s "
    "ON s.instrument = m.instrument AND s.set_name = %(name)s AND s.set_version = %(version)s "
    "AND s.timeframe = %(timeframe)s"
)


@dataclass(slots=True)
class _Reader:
    """The bars of one timeframe that were read and not yet handed on."""

    db: AsyncConnection[Any]
    instrument: str
    timeframe: int
    page: int
    at_end: bool = False
    last: int = NEVER  # start of the last bar that was read
    columns: list[NDArray[Any]] = field(default_factory=lambda: [np.empty(0, dtype=np.int64)] * len(COLUMNS))

    @property
    def count(self) -> int:
        return len(self.columns[0])

    async def fill(self) -> None:
        if self.at_end or self.count >= self.page:
            return
        where = "instrument = %(instrument)s AND timeframe = %(timeframe)s AND start > %(last)s"
        values = {"instrument": self.instrument, "timeframe": self.timeframe, "last": self.last}
        more = await read_columns(self.db, where, "start", {**values, "rows": self.page})
        self.at_end = len(more[0]) < self.page
        if len(more[0]):
            self.last = int(more[0][-1])
            self.columns = [np.concatenate(pair) for pair in zip(self.columns, more, strict=True)]

    @property
    def complete_until(self) -> int:
        """The last position of which all bars have been read."""
        return (1 << 63) - 1 if self.at_end else int(self.columns[_POSITION][-1]) - 1

    def take(self, upto: int) -> Closed:
        """The bars that events up to position ``upto`` ended."""
        rows = int(np.searchsorted(self.columns[_POSITION], upto, side="right"))
        taken = [column[:rows] for column in self.columns]
        self.columns = [column[rows:] for column in self.columns]
        return Closed(as_bars(self.instrument, self.timeframe, taken), taken[_FIRST].astype(np.int64))
