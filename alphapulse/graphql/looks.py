"""Many feeds, one look: whoever asks while a query is under way shares the next one."""

import asyncio
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from alphapulse.projections.candle_live import Change, Want, changes

MAX_WANTS = 200  # in one query
MAX_ROWS = 500  # bars of one want; more needs a closer look


class Looks:
    """Batches wants over one connection at a time of ``reads``."""

    def __init__(self, reads: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._reads = reads
        self._waiting: list[tuple[Want, asyncio.Future[Change | None]]] = []
        self._working: asyncio.Task[None] | None = None

    async def look(self, want: Want) -> Change | None:
        """What changed; None where a closer look is needed. Raises what the database raised."""
        answer: asyncio.Future[Change | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((want, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="looks")
        return await answer

    async def _work(self) -> None:
        try:
            await asyncio.sleep(0)  # whom the same notice wakes joins the same query
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_WANTS], self._waiting[MAX_WANTS:]
                await self._answer(batch)
        finally:
            self._working = None

    async def _answer(self, batch: Sequence[tuple[Want, asyncio.Future[Change | None]]]) -> None:
        try:
            async with self._reads.connection() as db:
                found = await changes(db, [want for want, _ in batch], limit=MAX_ROWS)
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), change in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(change)
