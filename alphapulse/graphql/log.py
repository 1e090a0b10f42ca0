"""The log itself: its events page by page and live, and how far everything that follows it has come."""

from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import orjson
import strawberry

from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.ports import (
    Decode,
    EventStore,
    Page,
    StoredRecord,
    UndecodableEvent,
    UnknownEvent,
)
from alphapulse.graphql.access import READ, READ_PAGE
from alphapulse.graphql.context import Context
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.fanout import Stream, Update, Watch
from alphapulse.graphql.limits import paged
from alphapulse.graphql.scalars import Json, Long, Position, Time, time_of
from alphapulse.projections import decider_states, relay_status, status
from alphapulse.projections.status import MOST_COUNTED

MAX_EVENTS = 500
_LIVE_EVENTS = 100  # in one message
_LIVE_BYTES = 500_000  # of payload in one message
_PAGE_BYTES = 5_000_000
_POLL_S = 2.0
_READ_MODELS = 20
_DECIDERS = 50
START = Position(0)

Info = strawberry.Info[Context, None]


@strawberry.type(description="An event as the log holds it.")
class LogEvent:
    # Attributes and not resolvers: a subscriber to a busy log reads thousands of them a second.
    record: strawberry.Private[StoredRecord]
    decode: strawberry.Private[Decode]
    position: Position = strawberry.field(description="Its place in the log.", metadata=READ)
    stream: str = strawberry.field(description="Such as trades-bitflyer-BTC_JPY.", metadata=READ)
    version: Long = strawberry.field(
        description="Its place in its stream, from 1, without gaps.", metadata=READ
    )
    name: str = strawberry.field(
        description="Its versioned name, such as market.trades_observed.v1.", metadata=READ
    )
    event_id: strawberry.ID = strawberry.field(metadata=READ)
    recorded_at: Time = strawberry.field(
        description="When the store recorded it, by its clock.", metadata=READ
    )
    event_time: Time | None = strawberry.field(
        description="When it happened, by the venue's clock; null for facts of our own.", metadata=READ
    )
    cause_id: strawberry.ID | None = strawberry.field(
        description="The event that led to this one.", metadata=READ
    )
    correlation_id: strawberry.ID | None = strawberry.field(
        description="The first event of the chain of causes.", metadata=READ
    )
    actor: str = strawberry.field(description="Who recorded it.", metadata=READ)
    trace: str | None = strawberry.field(description="W3C traceparent.", metadata=READ)
    size_bytes: int = strawberry.field(description="Length of the stored payload in bytes.", metadata=READ)

    @strawberry.field(
        description="What it says. Of a batch of trades or bars only instrument and rows: query those as "
        "`trades` and `candles`. Null when this version of AlphaPulse cannot read it.",
        metadata=READ,
    )
    def payload(self) -> Json | None:
        try:
            event = self.decode(self.record).event
        except (UnknownEvent, UndecodableEvent):
            return None
        return Json(orjson.Fragment(_json(event)))


def log_event(record: StoredRecord, decode: Decode) -> LogEvent:
    envelope = record.envelope
    return LogEvent(
        record=record,
        decode=decode,
        position=Position(record.position),
        stream=record.stream,
        version=Long(record.version),
        name=record.name,
        event_id=strawberry.ID(str(envelope.event_id)),
        recorded_at=time_of(record.recorded_at),
        event_time=None if envelope.event_time is None else Time(envelope.event_time),
        cause_id=_id(envelope.cause_id),
        correlation_id=_id(envelope.correlation_id),
        actor=envelope.actor,
        trace=envelope.trace,
        size_bytes=len(record.state),
    )


def _id(value: object) -> strawberry.ID | None:
    return None if value is None else strawberry.ID(str(value))


def _json(event: Any) -> bytes:
    if isinstance(event, TradesObserved | BarsObserved):
        return orjson.dumps({"instrument": str(event.instrument), "rows": len(event.columns)})
    return msgspec.json.encode(event)


@strawberry.type(description="Events in the order of the log.")
class LogPage:
    after: Position = strawberry.field(description="The page begins after this position.", metadata=READ)
    position: Position = strawberry.field(
        description="Nothing that was asked for is missing up to here; the next page begins after it.",
        metadata=READ,
    )
    head: Position = strawberry.field(description="The end of the log when the page was read.", metadata=READ)
    events: list[LogEvent] = strawberry.field(metadata=READ_PAGE)


@strawberry.type(description="What was appended after `previous`, up to `position`.")
class LogUpdate:
    previous: Position = strawberry.field(
        description="Where the message before this one ended: nothing lies between the two.", metadata=READ
    )
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    events: list[LogEvent] = strawberry.field(
        description=f"At most {_LIVE_EVENTS}.", metadata={**READ, "size": _LIVE_EVENTS}
    )


@strawberry.type(description="How far the live generation of a read model has come.")
class Projection:
    name: str = strawberry.field(metadata=READ)
    generation: int = strawberry.field(description="Counts rebuilds.", metadata=READ)
    code_version: int = strawberry.field(description="Of the code that folded it.", metadata=READ)
    position: Position = strawberry.field(description="The last event it has passed.", metadata=READ)
    lag_events: int = strawberry.field(
        description=f"Events of the log it has not passed, counted up to {MOST_COUNTED:,}.", metadata=READ
    )
    lag_seconds: float = strawberry.field(
        description="Age of the oldest event it has not passed; 0 when it has passed all.", metadata=READ
    )
    parked: int = strawberry.field(description="Events it could not fold.", metadata=READ)
    problem: str | None = strawberry.field(description="What a person should look at.", metadata=READ)


@strawberry.type(description="How far the relay has brought the log to NATS.")
class Relay:
    position: Position | None = strawberry.field(description="The last published event.", metadata=READ)
    lag_events: int = strawberry.field(
        description=f"Events not yet published, counted up to {MOST_COUNTED:,}.", metadata=READ
    )
    lag_seconds: float = strawberry.field(description="Age of the first of them.", metadata=READ)
    problem: str | None = strawberry.field(description="Why nothing is published just now.", metadata=READ)


@strawberry.type(description="How far a part of a strategy has decided, as it last wrote down.")
class DeciderPosition:
    strategy: str = strawberry.field(metadata=READ)
    version: int = strawberry.field(metadata=READ)
    part: int = strawberry.field(metadata=READ)
    position: Position = strawberry.field(
        description="At most half a minute behind what it has decided.", metadata=READ
    )


@strawberry.type(description="The log and what follows it.")
class Log:
    position: Position = strawberry.field(description="The last event; 0 when there is none.", metadata=READ)

    @strawberry.field(description="When the last event was recorded, by the store's clock.", metadata=READ)
    async def recorded_at(self, info: Info) -> Time | None:
        page = await info.context.services.store.read(self.position - 1, limit=1)
        return time_of(page.records[0].recorded_at) if page.records else None

    @strawberry.field(
        description="Every read model that ever ran, by name.", metadata={**READ, "size": _READ_MODELS}
    )
    async def projections(self, info: Info) -> list[Projection]:
        async with info.context.services.reads.connection() as db:
            found = await status.projection_status(db, info.context.services.code_versions)
        return [_projection(each) for each in found]

    @strawberry.field(
        description="Every part of a strategy that ever decided.", metadata={**READ, "size": _DECIDERS}
    )
    async def deciders(self, info: Info) -> list[DeciderPosition]:
        async with info.context.services.reads.connection() as db:
            found = await decider_states.reached(db)
        return [
            DeciderPosition(
                strategy=each.strategy,
                version=each.version,
                part=each.part,
                position=Position(each.position),
            )
            for each in found
        ]

    @strawberry.field(description="Null when no relay has ever run.", metadata=READ)
    async def relay(self, info: Info) -> Relay | None:
        async with info.context.services.reads.connection() as db:
            found = await relay_status.read(db)
        return None if found is None else _relay(found)


def _projection(found: status.ProjectionStatus) -> Projection:
    return Projection(
        name=found.name,
        generation=found.generation,
        code_version=found.code_version,
        position=Position(found.position),
        lag_events=found.lag_events,
        lag_seconds=found.lag_s,
        parked=found.parked,
        problem=found.problem,
    )


def _relay(found: relay_status.RelayStatus) -> Relay:
    return Relay(
        position=None if found.position is None else Position(found.position),
        lag_events=found.lag_events,
        lag_seconds=found.lag_s,
        problem=found.problem,
    )


@strawberry.type
class LogQuery:
    @strawberry.field(
        description="Where the log ends, and how far everything that follows it has come.", metadata=READ
    )
    async def log(self, info: Info) -> Log:
        return Log(position=Position(await info.context.services.store.head()))

    @strawberry.field(
        description="Events after a position, oldest first. A page may hold fewer than `first` and still not "
        "be the last: go on while `position` < `head`.",
        metadata={**READ, "size": paged("first", MAX_EVENTS, 100)},
    )
    async def events(
        self,
        info: Info,
        after: Position = START,
        first: int = 100,
        names: list[str] | None = None,
        streams: list[str] | None = None,
    ) -> LogPage:
        if not 1 <= first <= MAX_EVENTS:
            raise UserError(f"first {first} needs 1 to {MAX_EVENTS}")
        services = info.context.services
        head = await services.store.head()
        page = await services.store.read(
            after, until=max(head, after), limit=first, names=names, streams=streams
        )
        page = trimmed(page, _PAGE_BYTES)
        events = [log_event(record, services.decode) for record in page.records]
        return LogPage(
            after=after, position=Position(max(page.scanned_to, after)), head=Position(head), events=events
        )


def trimmed(page: Page, most_bytes: int) -> Page:
    """The beginning of ``page``: as many records as hold ``most_bytes`` of payload together, at least one."""
    size = 0
    for count, record in enumerate(page.records):
        size += len(record.state)
        if count and size > most_bytes:
            return Page(page.records[:count], page.records[count - 1].position)
    return page


class LogFeed:
    """The whole log as updates of at most ``_LIVE_EVENTS`` events. Never conflates."""

    conflates = False

    def __init__(self, store: EventStore, decode: Decode) -> None:
        self._store, self._decode = store, decode
        self._told = 0

    async def start(self) -> int:
        self._told = await self._store.head()
        return self._told

    async def next(self) -> Update:
        while True:
            page = trimmed(await self._store.read(self._told, limit=_LIVE_EVENTS), _LIVE_BYTES)
            if page.records:
                update = self._update(self._told, page.scanned_to, page.records)
                self._told = update.position
                return update
            await self._store.changed(self._told, _POLL_S)

    async def now(self) -> Update:
        return self._update(self._told, self._told, ())

    async def since(self, after: int, until: int) -> Update:
        page = trimmed(await self._store.read(after, until=until, limit=_LIVE_EVENTS), _LIVE_BYTES)
        reached = page.scanned_to if page.records else until
        return self._update(after, reached, page.records)

    async def close(self) -> None:
        return

    def _update(self, previous: int, position: int, records: Any) -> Update:
        events = [log_event(record, self._decode) for record in records]
        payload = LogUpdate(previous=Position(previous), position=Position(position), events=events)
        return Update(previous, position, payload)


@strawberry.type
class LogSubscription:
    @strawberry.subscription(
        description="Every event of the log after a position, or from now on. Messages are never dropped: "
        "who takes them too slowly gets an error with `extensions.resumeAfter`.",
        metadata=READ,
    )
    async def log(self, info: Info, after: Position | None = None) -> AsyncIterator[LogUpdate]:
        services = info.context.services
        if after is not None and after > (head := await services.store.head()):
            raise UserError(f"after {after} lies beyond the end of the log, {head}")
        watch = Watch("log", lambda: LogFeed(services.store, services.decode), after)
        return cast("AsyncIterator[LogUpdate]", Stream(services.hub, watch))
