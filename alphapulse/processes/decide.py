"""What desks work with: contexts of their voters, and the way of their outputs into the log."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.fundamental_source import FundamentalSource
from alphapulse.domain.decision.reference import ReferenceSource
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.ports import EventStore, Fence, Recorded
from alphapulse.domain.signals.engine import ContextSource, Output, Outputs
from alphapulse.domain.signals.entering import Terms, TermsOf
from alphapulse.processes.deciding import UNAVAILABLE, Job, MakeContexts, Record, Seat, source_of
from alphapulse.processes.issuing import Issuer
from alphapulse.projections.decider_states import Kept

log = logging.getLogger(__name__)

PAGE_EVENTS = 500  # read at once


def contexts_of(strategy: StrategyDefined) -> Sequence[ContextSource]:
    """What voters may look at besides bars, at the beginning of the log."""
    contexts: list[ContextSource] = [FundamentalSource()]
    if strategy.reference:
        contexts.append(ReferenceSource(strategy.reference, strategy.timeframes))
    return contexts


def terms_of(seat: Seat) -> TermsOf:
    """What the seat knows of other markets when its book has to answer."""

    def terms(decision: DecisionMade) -> Terms:
        return Terms(correlations=seat.desk.returns.alike(decision.instrument, decision.position))

    return terms


def recorder(store: EventStore, seat: Seat, fence: Fence | None = None) -> Record:
    """Appends what a desk puts out, with signals where the book of the strategy allows them."""

    def cause(position: int) -> Recorded | None:
        record = seat.records.get(position)
        if record is None:
            return None
        return Recorded(
            stream=record.stream,
            version=record.version,
            name=record.name,
            event=None,
            envelope=record.envelope,
            position=record.position,
            recorded_at=record.recorded_at,
        )

    issuer = Issuer(store, seat.job.strategy, part=seat.job.part, terms=terms_of(seat))

    async def write(outputs: Sequence[Output]) -> None:
        await issuer.issue(outputs, cause=cause, fence=fence)

    return write


async def once(
    store: EventStore,
    job: Job,
    upto: int,
    take: Callable[[object], None],
    tell: Callable[[int], None],
    *,
    is_dry: bool,
) -> None:
    """Decide over the log up to position ``upto``; ``take`` gets every event, ``tell`` positions.

    Dry: nothing is recorded, and what lies before the definition counts. Else what a desk would record is,
    as far as it is not there yet.

    Raises:
        CannotRun: this code cannot run the strategy.
        Diverged: the log holds another decision than follows from it.
    """
    write: Record | None = None
    async for seat, outputs in replay(store, replace(job, position=0) if is_dry else job, upto):
        if not is_dry:
            write = write or recorder(store, seat)
            await write(outputs)
        for output in outputs:
            take(output.event)
        tell(seat.desk.position)


async def replay(
    store: EventStore, job: Job, upto: int, contexts: MakeContexts = contexts_of
) -> AsyncIterator[tuple[Seat, Outputs]]:
    """What ``job`` puts out over the log up to position ``upto``, from its beginning, page by page.

    The seat is the same one all the time. Nothing is recorded. What a live desk has to pass over is passed
    over here too, and said.

    Raises:
        CannotRun: this code cannot run the strategy.
        TooManySkipped: something else must be wrong.
    """
    seat = await Seat.taken(store, job, contexts(job.strategy))
    source, careful_to = source_of(store, job, until=upto), 0
    while seat.desk.position < upto:
        is_careful = seat.desk.position < careful_to
        page = await source.next(seat.desk.position, limit=1 if is_careful else PAGE_EVENTS, timeout_s=1.0)
        if is_careful:
            yield seat, await seat.take_carefully(page, contexts)
            continue
        before = Kept(seat.desk.position, seat.desk.packed())  # under a hundredth of taking a page
        try:
            outputs = await seat.take(page, is_told=True)
        except UNAVAILABLE:
            raise
        except Exception:  # left half-way: go back, and find out which event it was
            log.exception("decide: %s: an event up to position %d is poison", job, page.scanned_to)
            seat.desk = (await Seat.taken(store, job, contexts(job.strategy), before)).desk
            careful_to = page.scanned_to
            continue
        yield seat, outputs
