"""Histories of several markets as one log in order of time.

Files are imported one after the other; a log in that order would let what one market did in December teach
decisions of another in January. So their events are cut where a bar of ``minutes`` ends, and stand in the
order in which they could be known: by the end of their cut, then by market. Nothing in them is changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.limits import MAX_COMMIT_BYTES, MAX_COMMIT_EVENTS
from alphapulse.domain.market.columns import BarColumns, Int64s, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.ports import EventStore, NewEvent

Columns = TypeVar("Columns", BarColumns, TradeColumns)
Cut = tuple[int, str, BarsObserved | TradesObserved]  # when its last bar ends, its stream, what happened
PAGE_EVENTS = 500


async def interleaved(source: EventStore, into: EventStore, minutes: int) -> None:
    """Append the bars and trades of ``source`` to ``into``, which is empty; other events are left out.

    With ``minutes`` the shortest timeframe that is decided on, no decision follows from anything that was
    not known at its time. A trade that came late stands where it came, not where it happened.
    """
    if minutes < 1:
        raise ValueError(f"cuts of {minutes} minutes: at least 1")
    versions: dict[str, int] = {}
    group: list[NewEvent] = []
    size = 0
    for _, stream, event in sorted(await _cuts(source, minutes), key=lambda cut: cut[:2]):
        versions[stream] = versions.get(stream, 0) + 1
        new = codec.new_event(stream, versions[stream], event, actor="import")
        if group and (size + len(new.state) > MAX_COMMIT_BYTES or len(group) == MAX_COMMIT_EVENTS):
            await into.append(group)
            group, size = [], 0
        group.append(new)
        size += len(new.state)
    await into.append(group)


async def _cuts(source: EventStore, minutes: int) -> Sequence[Cut]:
    found: list[Cut] = []
    until: dict[str, int] = {}  # where each stream is, so that no row comes before one above it
    position, head = 0, await source.head()
    while position < head:
        page = await source.read(position, until=head, limit=PAGE_EVENTS)
        for record in page.records:
            event = codec.decode(record).event
            if isinstance(event, BarsObserved | TradesObserved):
                for end, part in _parts(event, minutes * MINUTE_NS):
                    until[record.stream] = max(until.get(record.stream, 0), end)
                    found.append((until[record.stream], record.stream, part))
        position = page.scanned_to
    return found


def _parts(event: Any, cut_ns: int) -> Iterator[tuple[int, Any]]:
    """``event`` in pieces, each with the end of its cut; rows stay in their order."""
    columns = event.columns
    ends = _ends(event, cut_ns)
    edges = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(ends)]
    for begin, end in pairwise(edges):
        yield int(ends[begin]), replace(event, columns=_rows(columns, slice(begin, end)))


def _ends(event: BarsObserved | TradesObserved, cut_ns: int) -> Int64s:
    """When each row could be known, rounded up to a cut; never before the row above it."""
    if isinstance(event, BarsObserved):
        last = event.columns.start + event.timeframe_minutes * MINUTE_NS - 1
    else:
        last = np.maximum.accumulate(event.columns.time)
    return (last // cut_ns + 1) * cut_ns


def _rows(columns: Columns, rows: slice) -> Columns:
    values = ((f.name, getattr(columns, f.name)) for f in fields(columns))
    taken: Any = {name: value[rows] for name, value in values if isinstance(value, np.ndarray)}
    return replace(columns, **taken)
