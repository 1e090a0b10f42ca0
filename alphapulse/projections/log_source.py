"""The log as read models follow it: straight from the store, the whole or one part of it."""

from dataclasses import dataclass

from alphapulse.domain.ports import EventStore, Page


@dataclass(frozen=True, slots=True)
class StoreSource:
    """A LogSource without a bus. ``until`` is the last position it gives; None follows the end.

    ``partition=(k, n)`` gives only the streams of part k of n.
    """

    store: EventStore
    until: int | None = None
    partition: tuple[int, int] | None = None

    async def next(self, after: int, *, limit: int, timeout_s: float) -> Page:
        page = await self._read(after, limit)
        if not page.records and page.scanned_to == after and after != self.until:
            await self.store.changed(after, timeout_s)
            page = await self._read(after, limit)
        return page

    async def _read(self, after: int, limit: int) -> Page:
        return await self.store.read(after, until=self.until, limit=limit, partition=self.partition)
