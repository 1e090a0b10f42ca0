"""Candles as they change: each message holds the bars that changed since the one before it.

Slow subscribers get the latest state of each bar instead of every step (see ``fanout``). Where more
changed than one message holds, it says over which positions instead: read the series anew then.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

import strawberry
from psycopg import AsyncConnection

from alphapulse.graphql.access import READ
from alphapulse.graphql.candles import Candle, Info, Timeframe, candle_of, known_instrument
from alphapulse.graphql.context import Services
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.fanout import Stream, Update, Watch
from alphapulse.graphql.scalars import Position
from alphapulse.projections import candle_queries
from alphapulse.projections.candle_changes import Moment, minutes_touched_since, moment
from alphapulse.projections.candle_live import Known, Want, known_of
from alphapulse.projections.candle_queries import QueryTooLarge
from alphapulse.projections.notices import Minutes

MAX_CHANGED = 500  # bars in one message

_NO_GENERATION = 0  # the candles were never folded yet
_NOTHING = 1 << 62  # a minute that never comes

Rows = Sequence[candle_queries.Candle]
Db = AsyncConnection[Any]


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

    def __init__(self, services: Services, instrument: str, timeframe: int) -> None:
        self._reads, self._notices, self._looks = services.reads, services.notices, services.looks
        self._instrument, self._timeframe = instrument, timeframe
        self._changed = asyncio.Event()
        self._first_minute: int | None = None  # from where on bars may have changed; None: from anywhere
        self._seen = Moment(_NO_GENERATION, 0)  # nothing up to here is news
        self._known: Known | None = None  # what was seen then, unless a closer look is needed
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
            first_minute, self._first_minute = self._first_minute, _NOTHING
            self._changed.clear()
            try:
                change = await self._news(first_minute)
            except BaseException:
                self._wake(None)  # it is still to be looked at
                raise
            if change:
                update = _update(self._told, self._seen.position, change)
                self._told = update.position
                return update

    async def _news(self, first_minute: int | None) -> Rows | str:
        """What changed since the last look; moves ``_seen`` on."""
        if first_minute is not None and (before := self._known) is not None:
            heard = self._notices.heard
            found = await self._looks.look(Want(self._instrument, self._timeframe, first_minute, before))
            if found is not None:
                now = found.known.moment
                if now.position > heard:
                    # What came in between may have touched older minutes: its notice is still to come, and
                    # with it these bars once more. None is missing up to what was heard.
                    now = Moment(now.generation, max(heard, before.moment.position))
                    if now.position <= self._told:
                        self._look_again_from(first_minute)
                        return ()
                    self._known = replace(before, moment=now)
                else:
                    self._known = found.known
                self._see(now)
                return found.rows
        async with self._reads.connection() as db, candle_queries.snapshot(db):
            now, change = await self._closer(db, self._seen.position, self._seen.generation)
            self._known = await known_of(db, self._instrument, now)
        self._see(now)
        return change

    def _look_again_from(self, minute: int) -> None:
        """With the notice that is still to come; until then nothing can be told under a new position."""
        if self._first_minute is not None:
            self._first_minute = min(self._first_minute, minute)

    def _see(self, now: Moment) -> None:
        self._seen = Moment(now.generation, max(now.position, self._seen.position))

    async def now(self) -> Update:
        """The newest bar, and where its changes begin."""
        async with self._reads.connection() as db:
            position, rows = await candle_queries.candle_rows(db, self._instrument, self._timeframe, last=1)
        return _update(position, position, rows)

    async def since(self, after: int, until: int) -> Update:
        async with self._reads.connection() as db, candle_queries.snapshot(db):
            now, change = await self._closer(db, after, self._seen.generation)
        return _update(after, max(now.position, until), change)

    async def close(self) -> None:
        self._notices.unwatch(self._instrument, self._wake)

    def _wake(self, minutes: Minutes | None) -> None:
        if minutes is None:
            self._first_minute = None
        elif self._first_minute is not None:
            self._first_minute = min(self._first_minute, minutes[0])
        self._changed.set()

    async def _closer(self, db: Db, after: int, generation: int) -> tuple[Moment, Rows | str]:
        """The moment that is looked at, and what changed after ``after``: bars, or why they are not given."""
        now = await moment(db)
        if generation not in (_NO_GENERATION, now.generation):
            return now, "the candles were built anew"
        touched = await minutes_touched_since(db, self._instrument, after)
        if touched is None:
            return now, ()
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
            lambda: CandleFeed(services, name, minutes),
            after,
        )
        return cast("AsyncIterator[CandleUpdate]", Stream(services.hub, watch))
