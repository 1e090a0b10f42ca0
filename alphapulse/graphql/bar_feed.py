"""What is computed when bars end, live: each message holds what became known since the one before it.

The read model ``features`` says when it moved on; then the bars it made known since are looked at. Slow
subscribers get several bars in one message. Where more ended than one message holds, it says over which
positions instead: ask the query then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from psycopg import AsyncConnection

from alphapulse.graphql.context import Services
from alphapulse.graphql.fanout import Update
from alphapulse.projections.analysis_queries import bars_after
from alphapulse.projections.candle_view import snapshot
from alphapulse.projections.known_bars import known_position
from alphapulse.projections.notices import Minutes

MAX_ENDED = 200  # bars in one message

# What a message holds about the last ``count`` bars, all known after the first position and up to the second.
Render = Callable[[AsyncConnection[Any], int, int, int], Awaitable[object]]
Missing = Callable[[int, int, str], object]


class BarFeed:
    """The bars of one instrument and timeframe as they end. Conflates."""

    conflates = True

    def __init__(
        self, services: Services, instrument: str, timeframe: int, render: Render, missing: Missing
    ) -> None:
        self._reads, self._notices = services.reads, services.feature_notices
        self._instrument, self._timeframe = instrument, timeframe
        self._render, self._missing = render, missing
        self._changed = asyncio.Event()
        self._told = 0

    async def start(self) -> int:
        self._notices.watch(self._instrument, self._wake)
        async with self._reads.connection() as db:
            self._told = await known_position(db)
        return self._told

    async def next(self) -> Update:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                update = await self._look(self._told)
            except BaseException:
                self._changed.set()  # it is still to be looked at
                raise
            if update is not None:
                self._told = update.position
                return update

    async def now(self) -> Update:
        """The newest bar."""
        async with self._reads.connection() as db, snapshot(db):
            position = await known_position(db)
            return Update(position, position, await self._render(db, position, position, 1))

    async def since(self, after: int, until: int) -> Update:
        update = await self._look(after)
        if update is None:
            async with self._reads.connection() as db:
                return Update(after, until, await self._render(db, after, until, 0))
        return Update(after, max(update.position, until), update.payload)

    async def close(self) -> None:
        self._notices.unwatch(self._instrument, self._wake)

    def _wake(self, _minutes: Minutes | None) -> None:
        self._changed.set()

    async def _look(self, after: int) -> Update | None:
        """What became known after position ``after``; None for no bar."""
        async with self._reads.connection() as db, snapshot(db):
            position = await known_position(db)
            count = await bars_after(db, self._instrument, self._timeframe, after, limit=MAX_ENDED + 1)
            if count == 0:
                return None
            if count > MAX_ENDED:
                reason = f"over {MAX_ENDED} bars ended after position {after}"
                return Update(after, position, self._missing(after, position, reason))
            return Update(after, position, await self._render(db, after, position, count))
