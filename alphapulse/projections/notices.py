"""Hears what the live generation of a read model says it changed, and wakes whoever reads from it.

PostgreSQL's notifications carry the news within a millisecond; a poll of the checkpoint once in
``poll_s`` finds what a broken connection or another generation did not announce. Minutes count since
1970 UTC; None means that anything may have changed.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import AsyncConnection

from alphapulse.projections.runner import CHANNEL, UNAVAILABLE, Connect, reason_of

log = logging.getLogger(__name__)

Minutes = tuple[int, int]  # first and last
Wake = Callable[[Minutes | None], None]

_RETRY_S = 1.0


class ReadNotices:
    """The notices of one read model; any number of watchers. ``run`` must be under way."""

    def __init__(self, connect: Connect, name: str, poll_s: float = 1.0) -> None:
        self._connect, self._name, self._poll_s = connect, name, poll_s
        self._watchers: defaultdict[str, set[Wake]] = defaultdict(set)
        self._seen: tuple[int, int] | None = None  # generation and position
        self._owed = 0  # a position that the last poll saw; its notice must have come by the next one

    @property
    def heard(self) -> int:
        """The position up to which every watcher was woken for what had changed; 0 while nothing is known."""
        return 0 if self._seen is None else self._seen[1]

    @contextmanager
    def watching(self, instrument: str, wake: Wake) -> Iterator[None]:
        """Call ``wake`` in the event loop after each commit that may have changed ``instrument``."""
        self.watch(instrument, wake)
        try:
            yield
        finally:
            self.unwatch(instrument, wake)

    def watch(self, instrument: str, wake: Wake) -> None:
        self._watchers[instrument].add(wake)

    def unwatch(self, instrument: str, wake: Wake) -> None:
        self._watchers[instrument].discard(wake)
        if not self._watchers[instrument]:
            del self._watchers[instrument]

    async def run(self) -> None:
        """Listen until cancelled; a lost database is waited for."""
        while True:
            try:
                db = await self._connect()
                try:
                    await self._listen(db)
                finally:
                    await db.close()
            except UNAVAILABLE as error:
                log.warning("notices of %s wait for the database: %s", self._name, reason_of(error))
                await asyncio.sleep(_RETRY_S)

    async def _listen(self, db: AsyncConnection[Any]) -> None:
        await db.execute(f"LISTEN {CHANNEL}")
        while True:
            await self._poll(db)
            async for notice in db.notifies(timeout=self._poll_s):
                self._hear(notice.payload)

    async def _poll(self, db: AsyncConnection[Any]) -> None:
        """Wake everybody when the read model moved on and no notice of it came."""
        row = await (
            await db.execute(
                "SELECT generation, position FROM projections WHERE name = %s AND state = 'live'",
                (self._name,),
            )
        ).fetchone()
        if row is None:
            return
        generation, position = row
        if self._seen is None or self._seen[0] != generation or self._seen[1] < self._owed:
            self._seen = (generation, position)
            self._wake_all()
        self._owed = position

    def _hear(self, payload: str) -> None:
        notice = json.loads(payload)
        if notice["projection"] != self._name:
            return
        if self._seen is not None:
            self._seen = (self._seen[0], notice["position"])
        touched = notice["touched"]
        if touched is None:
            self._wake_all()
            return
        for instrument, (first, last) in touched.items():
            for wake in list(self._watchers.get(instrument, ())):
                wake((first, last))

    def _wake_all(self) -> None:
        for watchers in list(self._watchers.values()):
            for wake in list(watchers):
                wake(None)
