"""The provable track record: of each signal, whether it was committed before its outcome could be known."""

from enum import Enum

import strawberry

from alphapulse.domain.provenance import timeliness as rule
from alphapulse.domain.provenance.timeliness import COMMITTED, LATE, NOT_ANCHORED, UNDECIDED
from alphapulse.graphql.access import READ, READ_PAGE
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import Info
from alphapulse.graphql.decision_types import SignalSide
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.limits import paged
from alphapulse.graphql.paging import Connection, Edge, PageInfo, connection, window
from alphapulse.graphql.scalars import Long, Position, Time
from alphapulse.graphql.signals import check_watch
from alphapulse.projections import timeliness_queries
from alphapulse.projections.timeliness_queries import TrackedSignal

MAX_TRACKED = 1_000
DEFAULT_TRACKED = 100


@strawberry.enum(description="Whether an anchor vouched for a signal before its outcome could be known.")
class Timeliness(Enum):
    COMMITTED_BEFORE = COMMITTED
    LATE = LATE
    NOT_ANCHORED = NOT_ANCHORED
    UNDECIDED = UNDECIDED


@strawberry.type(description="A signal, what became of it, and whether it was committed in time.")
class SignalCommitment:
    number: int = strawberry.field(metadata=READ)
    strategy_version: int = strawberry.field(metadata=READ)
    decision_id: strawberry.ID = strawberry.field(metadata=READ)
    instrument: strawberry.ID = strawberry.field(metadata=READ)
    side: SignalSide = strawberry.field(metadata=READ)
    time: Time = strawberry.field(description="When it was decided, by the venue's clock.", metadata=READ)
    position: Position = strawberry.field(description="Of the signal in the log.", metadata=READ)
    leaf: Long | None = strawberry.field(
        description="Of the signal in the tree; null: not sealed.", metadata=READ
    )
    reason: str | None = strawberry.field(description="Why it closed; null: it is open.", metadata=READ)
    closed_at: Time | None = strawberry.field(metadata=READ)
    net_bps: float | None = strawberry.field(metadata=READ)
    is_win: bool | None = strawberry.field(metadata=READ)
    timeliness: Timeliness = strawberry.field(metadata=READ)
    knowable_at: Time = strawberry.field(
        description="The earliest time at which the outcome may have been known, by the venue's clock; of an "
        "open signal, not before this.",
        metadata=READ,
    )
    anchored_at: Time | None = strawberry.field(
        description="The earliest anchor's own time, of a checkpoint with the signal.", metadata=READ
    )
    anchor: str | None = strawberry.field(description="As it is configured.", metadata=READ)
    margin_ns: Long | None = strawberry.field(
        description="From the commitment to when the outcome could be known; negative: too late.",
        metadata=READ,
    )


@strawberry.type(description="All signals of a strategy up to a position, and how they were committed.")
class CommitmentRecord:
    strategy: str = strawberry.field(metadata=READ)
    position: Position = strawberry.field(metadata=READ)
    size: Long = strawberry.field(description="Leaves of the newest checkpoint by then.", metadata=READ)
    counted: Long = strawberry.field(description="Signals that it counts.", metadata=READ)
    issued: int = strawberry.field(description="Signals in the log by then.", metadata=READ)
    decided: int = strawberry.field(description="Of which the market has said what became.", metadata=READ)
    wins: int = strawberry.field(metadata=READ)
    committed_before: int = strawberry.field(metadata=READ)
    late: int = strawberry.field(metadata=READ)
    not_anchored: int = strawberry.field(metadata=READ)
    undecided: int = strawberry.field(
        description="Anchored, and nothing has come since that could have decided.", metadata=READ
    )
    least_margin_ns: Long | None = strawberry.field(
        description="Of those committed before; null: there are none.", metadata=READ
    )
    median_margin_ns: Long | None = strawberry.field(metadata=READ)
    edges: list[Edge[SignalCommitment]] = strawberry.field(
        description="Signals by number, the oldest first.", metadata=READ_PAGE
    )
    page_info: PageInfo = strawberry.field(metadata=READ)

    @strawberry.field(metadata=READ_PAGE)
    def nodes(self) -> list[SignalCommitment]:
        return [edge.node for edge in self.edges]


def _commitment(of: TrackedSignal) -> SignalCommitment:
    timely = of.timeliness
    time = timely.receipt.time if timely.receipt else None
    return SignalCommitment(
        number=of.number,
        strategy_version=of.version,
        decision_id=strawberry.ID(of.decision),
        instrument=strawberry.ID(of.instrument),
        side=SignalSide(of.side),
        time=Time(of.time),
        position=Position(of.position),
        leaf=None if of.leaf is None else Long(of.leaf),
        reason=of.reason,
        closed_at=None if of.closed_at is None else Time(of.closed_at),
        net_bps=of.net_bps,
        is_win=of.is_win,
        timeliness=Timeliness(timely.state),
        knowable_at=Time(timely.knowable),
        anchored_at=None if time is None else Time(time * 1_000),
        anchor=timely.receipt.anchor if timely.receipt else None,
        margin_ns=None if timely.margin_ns is None else Long(timely.margin_ns),
    )


@strawberry.type
class TrackRecordQuery:
    @strawberry.field(
        description="Of each signal of a strategy, whether it was committed before it could be known.",
        metadata={**READ, "size": paged("first", MAX_TRACKED, DEFAULT_TRACKED)},
    )
    async def track_record(
        self,
        info: Info,
        strategy: str,
        first: int | None = None,
        after: str | None = None,
        as_of: AsOf | None = None,
    ) -> CommitmentRecord:
        page = window(
            first=first,
            last=None,
            after=after,
            before=None,
            width=1,
            cap=MAX_TRACKED,
            default=DEFAULT_TRACKED,
        )
        services = info.context.services
        await check_watch(info, strategy, None)
        if page.position is not None and as_of is not None:
            raise UserError("a cursor stands for a position of its own: leave asOf out")
        moment = page.position if page.position is not None else await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            found = await timeliness_queries.track_record(db, services.store, strategy, as_of=moment)
        begin = page.after.key[0] if page.after else 0  # numbers are gapless: the n-th is number n
        shown = found.signals[begin : begin + page.count + 1]
        keys = [(each.number,) for each in shown]
        return _record(found, connection(page, found.position, keys, list(map(_commitment, shown))))


def _record(found: timeliness_queries.TrackRecord, page: Connection[SignalCommitment]) -> CommitmentRecord:
    states = {state: found.by_state.get(state, 0) for state in rule.TIMELINESS}
    return CommitmentRecord(
        strategy=found.strategy,
        position=Position(found.position),
        size=Long(found.size),
        counted=Long(found.counted),
        issued=len(found.signals),
        decided=found.decided,
        wins=found.wins,
        committed_before=states[COMMITTED],
        late=states[LATE],
        not_anchored=states[NOT_ANCHORED],
        undecided=states[UNDECIDED],
        least_margin_ns=None if found.least_margin_ns is None else Long(found.least_margin_ns),
        median_margin_ns=None if found.median_margin_ns is None else Long(found.median_margin_ns),
        edges=page.edges,
        page_info=page.page_info,
    )
