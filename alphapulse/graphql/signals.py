"""Signals: lists, one with its whole explanation, and every new one live, the surest first."""

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import Annotated, cast

import strawberry

from alphapulse.domain.decision.strategy import stream_of as strategy_stream
from alphapulse.domain.ports import Recorded
from alphapulse.domain.signals.signal import ExitRecommended, SignalClosed, SignalIssued
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import Info, Timeframe, known_instrument
from alphapulse.graphql.decision_types import Decision, Label, Outcome, SignalSide, decision_of, outcome_of
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.event_feed import MAX_EVENTS, EventFeed, Keep
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.paging import Connection, Window, connection, page_size, window
from alphapulse.graphql.scalars import Position, Time
from alphapulse.projections import decision_queries
from alphapulse.projections.decision_queries import Page, SignalRow, Wanted

MAX_SIGNALS = 500
DEFAULT_SIGNALS = 50
_EXPLAINS = {**READ, "size": 20}  # a query of its own for each signal


@strawberry.enum(description="Whether the market has closed it.")
class SignalState(Enum):
    OPEN = "open"
    CLOSED = "closed"


@strawberry.type(
    description="A signal as it was issued. Prices are in quote currency, sizes shares of equity."
)
class Signal:
    as_of: strawberry.Private[int | None]
    strategy: str = strawberry.field(metadata=READ)
    number: int = strawberry.field(description="1, 2, 3 … of its strategy, without gaps.", metadata=READ)
    strategy_version: int = strawberry.field(metadata=READ)
    decision_id: strawberry.ID = strawberry.field(metadata=READ)
    instrument: strawberry.ID = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    side: SignalSide = strawberry.field(metadata=READ)
    time: Time = strawberry.field(description="When the bar was known to have ended.", metadata=READ)
    position: Position = strawberry.field(description="Of the signal in the log.", metadata=READ)
    entry: float = strawberry.field(metadata=READ)
    stop: float = strawberry.field(metadata=READ)
    targets: list[float] = strawberry.field(metadata={**READ, "size": 3})
    confidence: float = strawberry.field(
        description="P(target before stop within the horizon), calibrated.", metadata=READ
    )
    horizon_end: Time = strawberry.field(metadata=READ)
    size_ratio: float = strawberry.field(metadata=READ)
    calibration: int = strawberry.field(description="Number of the one that made the claim.", metadata=READ)
    models: list[str] = strawberry.field(
        description="name.version of each fitted model that voted.", metadata={**READ, "size": 10}
    )
    label: Label = strawberry.field(metadata=READ)
    state: SignalState = strawberry.field(metadata=READ)
    exit_recommended_at: Time | None = strawberry.field(
        description="When the voters first spoke for leaving.", metadata=READ
    )
    exit_price: float | None = strawberry.field(description="The close at that time.", metadata=READ)
    closed_at: Time | None = strawberry.field(metadata=READ)
    close_reason: str | None = strawberry.field(metadata=READ)
    close_price: float | None = strawberry.field(metadata=READ)
    net_bps: float | None = strawberry.field(description="After fees and slippage.", metadata=READ)
    r_multiple: float | None = strawberry.field(metadata=READ)
    equity: float | None = strawberry.field(
        description="Of the strategy after its close, 1 at the beginning.", metadata=READ
    )

    @strawberry.field(
        description="Why: votes, consensus, claim and gate, each number with what made it.",
        metadata=_EXPLAINS,
    )
    async def decision(self, info: Info) -> Decision | None:
        async with answered(), info.context.services.reads.connection() as db:
            found = await decision_queries.decision(db, self.decision_id, as_of=self.as_of)
        return None if found is None else decision_of(found)

    @strawberry.field(description="What the market made of it; null while it is open.", metadata=_EXPLAINS)
    async def outcome(self, info: Info) -> Outcome | None:
        async with answered(), info.context.services.reads.connection() as db:
            found = await decision_queries.outcome(db, self.decision_id, as_of=self.as_of)
        return None if found is None else outcome_of(found)


@strawberry.type(description="Signals closed, or that leaving was recommended of.")
class SignalChange:
    strategy: str = strawberry.field(metadata=READ)
    number: int = strawberry.field(metadata=READ)
    decision_id: strawberry.ID = strawberry.field(metadata=READ)
    position: Position = strawberry.field(metadata=READ)
    kind: str = strawberry.field(description="exit_recommended or closed.", metadata=READ)
    time: Time = strawberry.field(metadata=READ)
    price: float = strawberry.field(metadata=READ)
    reason: str = strawberry.field(metadata=READ)
    net_bps: float | None = strawberry.field(metadata=READ)
    r_multiple: float | None = strawberry.field(metadata=READ)


@strawberry.type(description="What happened to signals after `previous`, up to `position`.")
class SignalUpdate:
    previous: Position = strawberry.field(
        description="Where the message before this one ended: nothing lies between the two.", metadata=READ
    )
    position: Position = strawberry.field(description="Resume after this.", metadata=READ)
    issued: list[Signal] = strawberry.field(
        description="The surest first.", metadata={**READ, "size": MAX_EVENTS}
    )
    changed: list[SignalChange] = strawberry.field(
        description="In the order of the log.", metadata={**READ, "size": MAX_EVENTS}
    )


def signal_of(row: SignalRow, as_of: int | None) -> Signal:
    e = row.issued
    return Signal(
        as_of=as_of,
        strategy=e.strategy,
        number=e.number,
        strategy_version=e.strategy_version,
        decision_id=strawberry.ID(e.decision),
        instrument=strawberry.ID(e.instrument),
        timeframe=Timeframe(e.timeframe),
        side=SignalSide(e.side),
        time=Time(e.time),
        position=Position(row.position),
        entry=e.entry,
        stop=e.stop,
        targets=list(e.targets),
        confidence=e.confidence,
        horizon_end=Time(e.horizon_end),
        size_ratio=e.size_ratio,
        calibration=e.calibration,
        models=list(e.models),
        label=Label(e.label),
        state=SignalState.OPEN if row.is_open else SignalState.CLOSED,
        exit_recommended_at=_time(row.exit_time),
        exit_price=row.exit_price,
        closed_at=_time(row.closed_at),
        close_reason=row.close_reason,
        close_price=row.close_price,
        net_bps=row.net_bps,
        r_multiple=row.r_multiple,
        equity=row.equity,
    )


def _time(value: int | None) -> Time | None:
    return None if value is None else Time(value)


def _issued(recorded: Recorded) -> Signal:
    """The signal at the moment when it was issued."""
    nothing = dict.fromkeys(
        (
            "exit_time",
            "exit_price",
            "closed_at",
            "close_reason",
            "close_price",
            "net_bps",
            "r_multiple",
            "equity",
        )
    )
    return signal_of(SignalRow(issued=recorded.event, position=recorded.position, **nothing), None)


def _change(recorded: Recorded) -> SignalChange:
    event: ExitRecommended | SignalClosed = recorded.event
    is_closed = isinstance(event, SignalClosed)
    return SignalChange(
        strategy=event.strategy,
        number=event.number,
        decision_id=strawberry.ID(event.decision),
        position=Position(recorded.position),
        kind="closed" if is_closed else "exit_recommended",
        time=Time(event.time),
        price=event.price,
        reason=event.reason if isinstance(event, SignalClosed) else "; ".join(event.reasons),
        net_bps=event.net_bps if isinstance(event, SignalClosed) else None,
        r_multiple=event.r_multiple if isinstance(event, SignalClosed) else None,
    )


def update_of(previous: int, position: int, events: Sequence[Recorded]) -> SignalUpdate:
    issued = [_issued(each) for each in events if isinstance(each.event, SignalIssued)]
    return SignalUpdate(
        previous=Position(previous),
        position=Position(position),
        issued=sorted(issued, key=lambda signal: (-signal.confidence, signal.position)),
        changed=[_change(each) for each in events if not isinstance(each.event, SignalIssued)],
    )


def page_of(asked: Window) -> Page:
    """What to read for ``asked``: lists are newest first, so what comes after a cursor is older."""
    return Page(
        limit=asked.count + 1,
        below=asked.after.key[0] if asked.after else None,
        above=asked.before.key[0] if asked.before else None,
        backward=asked.backward,
    )


async def as_of_page(info: Info, asked: Window, as_of: AsOf | None) -> int | None:
    """The position that a page stands for: that of its cursors, else of ``as_of``, else now."""
    if asked.position is not None:
        return asked.position
    return await position_of(info.context.services.store, as_of)


def bounded(from_: int | None, to: int | None) -> None:
    if from_ is not None and to is not None and from_ >= to:
        raise UserError("from is not before to")


@strawberry.type
class SignalQuery:
    @strawberry.field(
        description="Signals, the newest first, issued in [`from`, `to`).",
        metadata={**READ, "size": page_size(MAX_SIGNALS, DEFAULT_SIGNALS)},
    )
    async def signals(
        self,
        info: Info,
        strategy: str | None = None,
        version: int | None = None,
        instrument: str | None = None,
        timeframe: Timeframe | None = None,
        side: SignalSide | None = None,
        state: SignalState | None = None,
        label: Label | None = None,
        min_confidence: float | None = None,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        as_of: AsOf | None = None,
    ) -> Connection[Signal]:
        bounded(from_, to)
        asked = window(
            first=first,
            last=last,
            after=after,
            before=before,
            width=1,
            cap=MAX_SIGNALS,
            default=DEFAULT_SIGNALS,
        )
        wanted = Wanted(
            strategy=strategy,
            version=version,
            instrument=None if instrument is None else known_instrument(instrument),
            timeframe=timeframe.value if timeframe else None,
            side=side.value if side else None,
            is_open=None if state is None else state is SignalState.OPEN,
            label=label.value if label else None,
            least_confidence=min_confidence,
            since=from_,
            until=to,
        )
        moment = await as_of_page(info, asked, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            position, rows = await decision_queries.signals(db, wanted, as_of=moment, page=page_of(asked))
        keys = [(row.position,) for row in rows]
        return connection(asked, position, keys, [signal_of(row, moment) for row in rows])

    @strawberry.field(
        description="One signal; with its `decision` and `outcome` the whole story. Null: there is none.",
        metadata=READ,
    )
    async def signal(
        self, info: Info, strategy: str, number: int, as_of: AsOf | None = None
    ) -> Signal | None:
        moment = await position_of(info.context.services.store, as_of)
        async with answered(), info.context.services.reads.connection() as db:
            row = await decision_queries.signal(db, strategy, number, as_of=moment)
        return None if row is None else signal_of(row, moment)


NAMES = ("signal.issued.v1", "signal.exit_recommended.v1", "signal.closed.v1")


@strawberry.type
class SignalSubscription:
    @strawberry.subscription(
        description="Every signal issued, advised to leave or closed after a position, or from now on. None "
        "is ever dropped: who takes them too slowly gets an error with `extensions.resumeAfter`.",
        metadata=READ,
    )
    async def signals(
        self, info: Info, strategy: str | None = None, after: Position | None = None
    ) -> AsyncIterator[SignalUpdate]:
        services = info.context.services
        await check_watch(info, strategy, after)

        def feed() -> EventFeed:
            return EventFeed(services.store, services.decode, NAMES, of_strategy(strategy), update_of)

        watch = Watch(("signals", strategy), feed, after)
        return cast("AsyncIterator[SignalUpdate]", Stream(services.hub, watch))


def of_strategy(strategy: str | None) -> Keep:
    return lambda recorded: strategy is None or recorded.event.strategy == strategy


async def check_watch(info: Info, strategy: str | None, after: int | None) -> None:
    """Raises UserError for a strategy that nobody defined: each name would be a feed of its own; and where
    ``after`` lies beyond the end of the log."""
    store = info.context.services.store
    if strategy is not None and not await store.version(strategy_stream(strategy)):
        raise UserError(f"there is no strategy {strategy!r}")
    if after is not None and after > (head := await store.head()):
        raise UserError(f"after {after} lies beyond the end of the log, {head}")
