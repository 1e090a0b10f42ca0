"""The audit trail: who did what and why, the way from any event back to the market, and what is new, live."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, cast
from uuid import UUID

import strawberry

from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import Recorded, UndecodableEvent, UnknownEvent
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import Info, known_instrument
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.event_feed import MAX_EVENTS, EventFeed
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.limits import paged
from alphapulse.graphql.log import START, LogPage, log_event, trimmed
from alphapulse.graphql.paging import Connection, connection, page_size, window
from alphapulse.graphql.scalars import Long, Position, Time
from alphapulse.graphql.signals import as_of_page, bounded, check_watch, page_of
from alphapulse.projections import audit_queries
from alphapulse.projections.audit_queries import MAX_CHAIN, MAX_EFFECTS, Sought
from alphapulse.projections.audit_trail import NAMES, Entry, entry_of

MAX_ENTRIES = 500
DEFAULT_ENTRIES = 50
MAX_NAMES = 50
MAX_INPUTS = 100
_INPUT_BYTES = 5_000_000
_US = 1_000


@strawberry.type(description="An event as the audit trail tells it.")
class AuditEntry:
    position: Position = strawberry.field(description="Its place in the log.", metadata=READ)
    event_id: strawberry.ID = strawberry.field(metadata=READ)
    stream: str = strawberry.field(metadata=READ)
    version: Long = strawberry.field(description="Its place in its stream.", metadata=READ)
    name: str = strawberry.field(description="Its versioned name, such as signal.issued.v1.", metadata=READ)
    recorded_at: Time = strawberry.field(description="By the store's clock.", metadata=READ)
    event_time: Time | None = strawberry.field(
        description="By the venue's clock; null for facts of our own.", metadata=READ
    )
    cause_id: strawberry.ID | None = strawberry.field(
        description="The event that led to this one.", metadata=READ
    )
    correlation_id: strawberry.ID | None = strawberry.field(
        description="The first event of the chain of causes.", metadata=READ
    )
    actor: str = strawberry.field(description="Who recorded it.", metadata=READ)
    strategy: str | None = strawberry.field(metadata=READ)
    instrument: strawberry.ID | None = strawberry.field(metadata=READ)
    number: int | None = strawberry.field(description="Of the signal that it is about.", metadata=READ)
    said: str = strawberry.field(description="What it says, in a sentence.", metadata=READ)


@strawberry.type(description="What led to an event, and what it led to.")
class AuditChain:
    event: strawberry.Private[Recorded]
    as_of: strawberry.Private[int | None]
    entry: AuditEntry = strawberry.field(metadata=READ)
    causes: list[AuditEntry] = strawberry.field(
        description=f"Back to the market, the nearest first: at most {MAX_CHAIN}.",
        metadata={**READ, "size": MAX_CHAIN},
    )

    @strawberry.field(
        description="Everything that followed from it, in the order of the log.",
        metadata={**READ, "size": paged("first", MAX_EFFECTS, 100)},
    )
    async def effects(self, info: Info, first: int = 100) -> list[AuditEntry]:
        if not 1 <= first <= MAX_EFFECTS:
            raise UserError(f"first {first} needs 1 to {MAX_EFFECTS}")
        event_id = self.event.envelope.event_id
        async with answered(), info.context.services.reads.connection() as db:
            found = await audit_queries.effects(db, event_id, as_of=self.as_of, limit=first)
        return [audit_entry(entry) for entry in found]

    @strawberry.field(
        description="What of its own market a decision was made of, in the order of the log: trades and bars "
        "from its first input to the event that ended the bar. Null for other events. A page may hold fewer "
        "than `first` and still not be the last: go on while `position` < `head`.",
        metadata={**READ, "size": paged("first", MAX_INPUTS, 20)},
    )
    async def inputs(self, info: Info, after: Position = START, first: int = 20) -> LogPage | None:
        if not 1 <= first <= MAX_INPUTS:
            raise UserError(f"first {first} needs 1 to {MAX_INPUTS}")
        made = self.event.event
        if not self.event.name.startswith("decision.made."):
            return None
        services, market = info.context.services, Instrument.parse(made.instrument)
        names = await services.store.streams(f"bars-{market.venue}-{market.symbol}-")
        begin = max(after, made.first_position - 1)
        page = await services.store.read(
            min(begin, made.position),
            until=made.position,
            limit=first,
            streams=[market.stream("trades"), market.stream("bars"), *names],
        )
        page = trimmed(page, _INPUT_BYTES)
        reached = page.scanned_to if page.records else made.position
        return LogPage(
            after=Position(begin),
            position=Position(min(max(reached, begin), made.position)),
            head=Position(made.position),
            events=[log_event(record, services.decode) for record in page.records],
        )


@strawberry.type(description="Entries after `previous`, up to `position`.")
class AuditUpdate:
    previous: Position = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    entries: list[AuditEntry] = strawberry.field(metadata={**READ, "size": MAX_EVENTS})


def audit_entry(entry: Entry) -> AuditEntry:
    return AuditEntry(
        position=Position(entry.position),
        event_id=strawberry.ID(entry.event_id),
        stream=entry.stream,
        version=Long(entry.version),
        name=entry.name,
        recorded_at=Time(entry.recorded_at * _US),
        event_time=None if entry.event_time is None else Time(entry.event_time),
        cause_id=None if entry.cause_id is None else strawberry.ID(entry.cause_id),
        correlation_id=None if entry.correlation_id is None else strawberry.ID(entry.correlation_id),
        actor=entry.actor,
        strategy=entry.strategy,
        instrument=None if entry.instrument is None else strawberry.ID(entry.instrument),
        number=entry.number,
        said=entry.said,
    )


def uuid_of(text: str | None, what: str) -> UUID | None:
    """Raises UserError: it is no UUID."""
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise UserError(f"{what} {text!r} is no UUID") from None


@strawberry.type
class AuditQuery:
    @strawberry.field(
        description="Who did what, the newest first, recorded in [`from`, `to`). Everything is here but the "
        "market's own trades, bars and watermarks: `events` has them, and `auditChain` leads to them.",
        metadata={**READ, "size": page_size(MAX_ENTRIES, DEFAULT_ENTRIES)},
    )
    async def audit_trail(
        self,
        info: Info,
        actor: str | None = None,
        strategy: str | None = None,
        number: int | None = None,
        instrument: str | None = None,
        stream: str | None = None,
        names: list[str] | None = None,
        cause_id: strawberry.ID | None = None,
        correlation_id: strawberry.ID | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        as_of: AsOf | None = None,
    ) -> Connection[AuditEntry]:
        bounded(from_, to)
        if names is not None and len(names) > MAX_NAMES:
            raise UserError(f"{len(names)} names, where {MAX_NAMES} are the most")
        asked = window(
            first=first,
            last=last,
            after=after,
            before=before,
            width=1,
            cap=MAX_ENTRIES,
            default=DEFAULT_ENTRIES,
        )
        sought = Sought(
            actor=actor,
            strategy=strategy,
            number=number,
            instrument=None if instrument is None else known_instrument(instrument),
            stream=stream,
            names=names,
            cause_id=uuid_of(cause_id, "causeId"),
            correlation_id=uuid_of(correlation_id, "correlationId"),
            since=None if from_ is None else -(-from_ // _US),
            until=None if to is None else -(-to // _US),
        )
        moment = await as_of_page(info, asked, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            position, found = await audit_queries.trail(db, sought, as_of=moment, page=page_of(asked))
        return connection(
            asked, position, [(entry.position,) for entry in found], [audit_entry(entry) for entry in found]
        )

    @strawberry.field(
        description="The way from an event back to the market by its causes, and on to what it led to. Null: "
        "there is no such event, or not yet as of then.",
        metadata=READ,
    )
    async def audit_chain(
        self, info: Info, event_id: strawberry.ID, as_of: AsOf | None = None
    ) -> AuditChain | None:
        wanted = uuid_of(event_id, "eventId")
        assert wanted is not None, "eventId is not nullable"
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            positions = await audit_queries.causes(db, wanted)
        if not positions or (moment is not None and positions[0] > moment):
            return None
        event, *causes = [await _at(info, position) for position in positions]
        return AuditChain(
            event=event,
            as_of=moment,
            entry=audit_entry(entry_of(event)),
            causes=[audit_entry(entry_of(cause)) for cause in causes],
        )


async def _at(info: Info, position: int) -> Recorded:
    services = info.context.services
    page = await services.store.read(position - 1, until=position, limit=1)
    try:
        return services.decode(page.records[0])
    except (UnknownEvent, UndecodableEvent) as error:
        raise UserError(f"position {position} cannot be read by this version: {error}") from None


@strawberry.type
class AuditSubscription:
    @strawberry.subscription(
        description="Every new entry of the audit trail after a position, or from now on. None is ever "
        "dropped: who takes them too slowly gets an error with `extensions.resumeAfter`.",
        metadata=READ,
    )
    async def audit_trail(
        self, info: Info, strategy: str | None = None, after: Position | None = None
    ) -> AsyncIterator[AuditUpdate]:
        services = info.context.services
        await check_watch(info, strategy, after)

        def kept(recorded: Recorded) -> bool:
            return strategy is None or entry_of(recorded).strategy == strategy

        def update(previous: int, position: int, events: Sequence[Recorded]) -> AuditUpdate:
            return AuditUpdate(
                previous=Position(previous),
                position=Position(position),
                entries=[audit_entry(entry_of(recorded)) for recorded in events],
            )

        def feed() -> EventFeed:
            return EventFeed(services.store, services.decode, sorted(NAMES), kept, update)

        watch = Watch(("audit_trail", strategy), feed, after)
        return cast("AsyncIterator[AuditUpdate]", Stream(services.hub, watch))
