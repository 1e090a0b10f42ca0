"""Candles as they change: each message holds the bars that changed since the one before it.

Slow subscribers get the latest state of each bar instead of every step (see ``fanout``). Where more
changed than one message holds, it says over which positions instead: read the series anew then.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import strawberry

from alphapulse.graphql.access import READ
from alphapulse.graphql.candles import Candle, Info, Timeframe, candle_of, known_instrument
from alphapulse.graphql.context import Pool
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.fanout import Stream, Update, Watch
from alphapulse.graphql.scalars import Position
from alphapulse.projections import candle_queries
from alphapulse.projections.candle_changes import Moment, minutes_touched_since, moment
from alphapulse.projections.candle_queries import QueryTooLarge
from alphapulse.projections.notices import Minutes, ReadNotices

MAX_CHANGED = 500  # bars in one message

Rows = Sequence[candle_queries.Candle]


@strawberry.type(
    description="Bars that changed after `after` up to `until` are not in this message: read them anew."
)
class Discontinuity:
    after: Position = strawberry.field(metadata=READ)
    until: Position = strawberry.field(metadata=READ)
    reason: str = strawberry.field(metadata=READ)


@strawberry.type(description="Bars that changed after `previous`, as they are at `position`.")
class CandleUpdate:
    previous: Position = strawberry.field(
        description="Not after the `position` of the message before this one: nothing lies between the two.",
        metadata=READ,
    )
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    candles: list[Candle] = strawberry.field(
        description=f"Oldest first, at most {MAX_CHANGED}.", metadata={**READ, "size": MAX_CHANGED // 10}
    )
    discontinuity: Discontinuity | None = strawberry.field(
        description="Set when changes are missing here.", metadata=READ
    )


class CandleFeed:
    """The changes of one instrument in one timeframe. Conflates."""

    conflates = True

    def __init__(self, reads: Pool, notices: ReadNotices, instrument: str, timeframe: int) -> None:
        self._reads, self._notices = reads, notices
        self._instrument, self._timeframe = instrument, timeframe
        self._changed = asyncio.Event()
        self._seen = Moment(0, 0)  # nothing up to here is news
        self._told = 0  # where the last update ended: nothing changed between here and what was seen

    async def start(self) -> int:
        self._notices.watch(self._instrument, self._wake)
        async with self._reads.connection() as db:
            self._seen = await moment(db)
        self._told = self._seen.position
        return self._told

    async def next(self) -> Update:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                now, change = await self._look(self._seen.position, self._seen.generation)
            except BaseException:
                self._changed.set()  # it is still to be looked at
                raise
            self._seen = Moment(now.generation, max(now.position, self._seen.position))
            if change is not None:
                update = _update(self._told, self._seen.position, change)
                self._told = update.position
                return update

    async def now(self) -> Update:
        """The newest bar, and where its changes begin."""
        async with self._reads.connection() as db:
            position, rows = await candle_queries.candle_rows(db, self._instrument, self._timeframe, last=1)
        return _update(position, position, rows)

    async def since(self, after: int, until: int) -> Update:
        now, change = await self._look(after, self._seen.generation)
        return _update(after, max(now.position, until), change or ())

    async def close(self) -> None:
        self._notices.unwatch(self._instrument, self._wake)

    def _wake(self, _minutes: Minutes | None) -> None:
        self._changed.set()

    async def _look(self, after: int, generation: int) -> tuple[Moment, Rows | str | None]:
        """The moment that was looked at, and what changed after ``after``: bars, or why they are not given.

        None when nothing was heard of the instrument.
        """
        async with self._reads.connection() as db, candle_queries.snapshot(db):
            now = await moment(db)
            if now.generation != generation:
                return now, "the candles were built anew"
            touched = await minutes_touched_since(db, self._instrument, after)
            if touched is None:
                return now, None
            try:
                _, rows = await candle_queries.changed_candles(
                    db,
                    self._instrument,
                    self._timeframe,
                    after_position=after,
                    minutes=touched,
                    limit=MAX_CHANGED,
                )
            except QueryTooLarge as error:
                return now, str(error)
            return now, rows


def _update(previous: int, position: int, change: Rows | str) -> Update:
    payload = CandleUpdate(
        previous=Position(previous),
        position=Position(position),
        candles=[] if isinstance(change, str) else [candle_of(row) for row in change],
        discontinuity=Discontinuity(after=Position(previous), until=Position(position), reason=change)
        if isinstance(change, str)
        else None,
    )
    return Update(previous, position, payload)


@strawberry.type
class CandleSubscription:
    @strawberry.subscription(
        description="Bars as they change, open ones included. The first message without `after` holds the "
        "newest bar, with `after` what changed since. Who takes messages slowly gets fewer, with the latest "
        "state of each bar.",
        metadata=READ,
    )
    async def candles(
        self, info: Info, instrument: str, timeframe: Timeframe, after: Position | None = None
    ) -> AsyncIterator[CandleUpdate]:
        services = info.context.services
        name, minutes = known_instrument(instrument), timeframe.value
        if after is not None and after > (head := await services.store.head()):
            raise UserError(f"after {after} lies beyond the end of the log, {head}")
        watch = Watch(
            ("candles", name, minutes),
            lambda: CandleFeed(services.reads, services.notices, name, minutes),
            after,
        )
        return cast("AsyncIterator[CandleUpdate]", Stream(services.hub, watch))
