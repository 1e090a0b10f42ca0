"""The latest vectors, kept in memory until the read model says that a bar ended, and never for long.

An instrument that was asked for is watched: the notice of a commit that touched it drops what is kept, and
what is being read is read again, so nothing older than a notice that has arrived is served. Where notices
are lost,
``ttl_s`` bounds how old an answer can be. At most ``most`` instruments are kept; the one not asked for the
longest goes.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from psycopg import AsyncConnection

from alphapulse.projections.feature_queries import Vector, latest
from alphapulse.projections.notices import Minutes

DEFAULT_TTL_S = 5.0
DEFAULT_MOST = 10_000  # instruments
READ_TRIES = 3  # while notices keep coming; what is served then is newer than all but the last
MOST_KINDS = 64  # sets, versions and timeframes of one instrument

Kind = tuple[str, int, int]  # name and version of a set, timeframe in minutes
Reads = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]


class Notices(Protocol):
    """What ReadNotices gives: a call after each commit that may have changed an instrument."""

    def watch(self, instrument: str, wake: Callable[[Minutes | None], None]) -> None: ...

    def unwatch(self, instrument: str, wake: Callable[[Minutes | None], None]) -> None: ...


@dataclass(slots=True, eq=False)
class _Entry:
    """What is known of one instrument. ``turn`` counts the notices: what was read before one is not kept."""

    instrument: str
    turn: int = 0
    vectors: dict[Kind, tuple[Vector | None, float]] = field(default_factory=dict)  # and when it was read

    def wake(self, _: Minutes | None) -> None:
        self.turn += 1
        self.vectors.clear()

    def keep(self, kind: Kind, vector: Vector | None, read_at: float) -> None:
        if len(self.vectors) >= MOST_KINDS:
            self.vectors.clear()
        self.vectors[kind] = vector, read_at


class FeatureCache:
    """The notices are those of the read model ``features``; ``clock`` in seconds, never backwards."""

    def __init__(
        self,
        reads: Reads,
        notices: Notices,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        most: int = DEFAULT_MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reads, self._notices = reads, notices
        self._ttl_s, self._most, self._clock = ttl_s, most, clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the one last asked for at the end

    async def latest(
        self, name: str, version: int, timeframe: int, instruments: Sequence[str]
    ) -> Mapping[str, Vector]:
        """By instrument its latest row; an instrument without any row is not there.

        Raises: as feature_queries.latest.
        """
        kind = (name, version, timeframe)
        entries = {instrument: self._entry(instrument) for instrument in instruments}
        oldest = self._clock() - self._ttl_s
        found = {i: e.vectors[kind] for i, e in entries.items() if kind in e.vectors}
        kept = {i: vector for i, (vector, at) in found.items() if at >= oldest}
        missing = [i for i in entries if i not in kept]
        if missing:
            kept |= await self._read(kind, {i: entries[i] for i in missing})
        return {i: vector for i in entries if (vector := kept[i]) is not None}

    async def _read(self, kind: Kind, entries: Mapping[str, _Entry]) -> Mapping[str, Vector | None]:
        found: dict[str, Vector | None] = {}
        for _ in range(READ_TRIES):
            turns = {instrument: entry.turn for instrument, entry in entries.items()}
            asked_at = self._clock()  # what we get is no older than this
            async with self._reads() as conn:
                _, vectors = await latest(conn, *kind, list(entries))
            found |= {instrument: vectors.get(instrument) for instrument in entries}
            overtaken = {i: entry for i, entry in entries.items() if entry.turn != turns[i]}
            for instrument in entries.keys() - overtaken.keys():
                entries[instrument].keep(kind, found[instrument], asked_at)
            if not overtaken:
                break
            entries = overtaken  # a notice came while we read
        return found

    def _entry(self, instrument: str) -> _Entry:
        """The entry of ``instrument``, watched from before it is first read."""
        entry = self._entries.get(instrument)
        if entry is None:
            entry = self._entries[instrument] = _Entry(instrument)
            self._notices.watch(instrument, entry.wake)
            if len(self._entries) > self._most:
                _, gone = self._entries.popitem(last=False)
                self._notices.unwatch(gone.instrument, gone.wake)
        self._entries.move_to_end(instrument)
        return entry

    def __len__(self) -> int:
        return len(self._entries)
