"""The store in memory behind the production appender: two twins and one real thing, as one store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from alphapulse.adapters.store.appender import Appender
from alphapulse.adapters.store.committing import Committing
from alphapulse.adapters.store.memory import MemoryCommitting, MemoryEventStore
from alphapulse.adapters.store.statements import Group, Outcome
from alphapulse.domain.ports import Fence, NewEvent, StoredRecord


class AppendingStore(MemoryEventStore):
    """Reads from memory; appends go through an Appender, over connections that can lose replies."""

    def __init__(self) -> None:
        super().__init__()
        self.replies_lost = False
        self.appender = Appender(self._open, timeout_s=1.0)

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        return await self.appender.append(events, fence)

    async def _open(self) -> Committing:
        return _Lossy(self)


class _Lossy(MemoryCommitting):
    def __init__(self, store: AppendingStore) -> None:
        super().__init__(store)
        self._world = store

    async def commit(self, groups: Sequence[Group]) -> Sequence[Outcome]:
        outcomes = await super().commit(groups)
        if self._world.replies_lost:
            await asyncio.sleep(0)
            raise ConnectionResetError("the reply was lost")
        return outcomes


@asynccontextmanager
async def appending() -> AsyncIterator[AppendingStore]:
    store = AppendingStore()
    yield store
    await store.appender.close()
