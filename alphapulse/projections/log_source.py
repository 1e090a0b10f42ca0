"""The log as read models follow it: straight from the store, the whole or one part of it."""

from dataclasses import dataclass

from alphapulse.domain.ports import EventStore, Page


@dataclass(frozen=True, slots=True)
class StoreSource:
    """A LogSource without a bus. ``until`` is the last position it gives; None follows the end.

    ``partition=(k, n)`` gives only the streams of part k of n, and the events named ``everywhere`` of all.
    """

    store: EventStore
    until: int | None = None
    partition: tuple[int, int] | None = None
    everywhere: frozenset[str] = frozenset()

    async def next(self, after: int, *, limit: int, timeout_s: float) -> Page:
        page = await self._read(after, limit)
        if not page.records and page.scanned_to == after and after != self.until:
            await self.store.changed(after, timeout_s)
            page = await self._read(after, limit)
        return page

    async def _read(self, after: int, limit: int) -> Page:
        page = await self.store.read(after, until=self.until, limit=limit, partition=self.partition)
        if self.partition is None or not self.everywhere or page.scanned_to <= after:
            return page
        names = sorted(self.everywhere)
        other = await self.store.read(after, until=page.scanned_to, limit=limit, names=names)
        return _merged(page, other)


def _merged(one: Page, other: Page) -> Page:
    """What both hold, up to where neither misses anything."""
    upto = min(one.scanned_to, other.scanned_to)
    records = {record.position: record for record in (*one.records, *other.records)}
    return Page([records[position] for position in sorted(records) if position <= upto], upto)
