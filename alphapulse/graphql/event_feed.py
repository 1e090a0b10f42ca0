"""Events of some names, live: every one of them, in updates that say where to resume.

The feed reads the log itself, so what is committed is told, however far the read models have come. Slow
subscribers are never skipped: they end with the position to resume after. An event that cannot be read is
passed over and logged: it would hold up all that come after it, for everybody and for ever.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

from alphapulse.domain.ports import (
    Decode,
    EventStore,
    Recorded,
    StoredRecord,
    UndecodableEvent,
    UnknownEvent,
)
from alphapulse.graphql.fanout import Update

log = logging.getLogger("alphapulse.graphql")

MAX_EVENTS = 100  # in one update
_POLL_S = 2.0

Keep = Callable[[Recorded], bool]
# What an update says: the events of it, after the first position and up to the second.
Render = Callable[[int, int, Sequence[Recorded]], object]


class EventFeed:
    """Those that ``keep`` takes. Never conflates."""

    conflates = False

    def __init__(
        self, store: EventStore, decode: Decode, names: Sequence[str], keep: Keep, render: Render
    ) -> None:
        self._store, self._decode, self._names = store, decode, names
        self._keep, self._render = keep, render
        self._told = self._scanned = 0  # nothing to tell lies between the two

    async def start(self) -> int:
        self._told = self._scanned = await self._store.head()
        return self._told

    async def next(self) -> Update:
        while True:
            reached, events = await self._read(self._scanned, None)
            if events:
                update = self._update(self._told, reached, events)
                self._told = self._scanned = reached
                return update
            if reached == self._scanned:
                await self._store.changed(self._scanned, _POLL_S)
            self._scanned = reached

    async def now(self) -> Update:
        return self._update(self._told, self._told, ())

    async def since(self, after: int, until: int) -> Update:
        reached, events = after, list[Recorded]()
        while reached < until and not events:
            reached, events = await self._read(reached, until)
        return self._update(after, reached, events)

    async def close(self) -> None:
        return

    async def _read(self, after: int, until: int | None) -> tuple[int, list[Recorded]]:
        page = await self._store.read(after, until=until, limit=MAX_EVENTS, names=self._names)
        return page.scanned_to, [event for event in self._decoded(page.records) if self._keep(event)]

    def _decoded(self, records: Sequence[StoredRecord]) -> Iterator[Recorded]:
        for record in records:
            try:
                yield self._decode(record)
            except (UnknownEvent, UndecodableEvent) as error:
                log.error("position %d is passed over: %s", record.position, error)

    def _update(self, previous: int, position: int, events: Sequence[Recorded]) -> Update:
        return Update(previous, position, self._render(previous, position, events))
