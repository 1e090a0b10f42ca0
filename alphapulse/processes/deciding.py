"""One desk follows the log: reads, decides, records, and writes down now and then what it carries.

What is recorded follows from the log alone. After a kill it is derived again from what was last written
down, or from the beginning; what the log holds already is recognised, and nothing is recorded twice. Time is
the market's: bars end by later trades or watermarks, never by this machine's clock.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.models import FittedModel, ModelFitted
from alphapulse.domain.decision.strategy import StrategyDefined, StrategyRetired
from alphapulse.domain.decision.strategy_decider import problem_of
from alphapulse.domain.ports import (
    EventStore,
    LogSource,
    Page,
    StoredRecord,
    StoreUnavailable,
    UndecodableEvent,
    UnknownEvent,
)
from alphapulse.domain.signals.engine import CannotRun, ContextSource
from alphapulse.domain.signals.engine_events import NO_OUTPUTS, Output, Outputs
from alphapulse.domain.signals.engine_state import BadState
from alphapulse.processes.desk import Desk
from alphapulse.projections import decider_states
from alphapulse.projections.decider_states import Kept
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.model_log import fitted_models

log = logging.getLogger(__name__)

MARKET = frozenset(
    {
        "market.trades_observed.v1",
        "market.bars_observed.v1",
        "feed.connected.v1",
        "feed.lost.v1",
        "feed.gap_closed.v1",
        "feed.watermark_passed.v1",
    }
)
# Of every part's concern, whatever market it is about.
EVERYWHERE = frozenset(
    {
        "market.funding_observed.v1",
        "news.headlines_observed.v1",
        "models.fitted.v1",
        "strategy.retired.v1",
    }
)
MAX_SKIPPED = 1_000  # events that cannot be decided on
CODE = "2"  # goes up when what a desk writes down means something else

UNAVAILABLE = (StoreUnavailable, psycopg.OperationalError, psycopg.InterfaceError, OSError)

T = TypeVar("T")

Connect = Callable[[], Awaitable[AsyncConnection[Any]]]
Record = Callable[[Sequence[Output]], Awaitable[None]]
MakeContexts = Callable[[StrategyDefined], Sequence[ContextSource]]


class TooManySkipped(Exception):
    """So many events cannot be read or decided on that something else must be wrong."""


@dataclass(frozen=True, slots=True)
class Limits:
    page_events: int = 500
    poll_s: float = 1.0  # longest wait for events
    keep_s: float = 30.0  # between two writings of the state
    idle_keep_s: float = 3.0  # when there is nothing else to do
    keep_events: int = 200_000  # or so many events
    backoff_s: tuple[float, float] = (0.1, 5.0)


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Job:
    """One part of one strategy version. ``position`` is that of its definition."""

    strategy: StrategyDefined
    position: int
    part: int
    retired: int | None = None

    def __str__(self) -> str:
        return f"{self.strategy.name}.{self.strategy.version} part {self.part} of {self.strategy.parts}"


@dataclass
class Seat:
    """A desk with the models that it was given."""

    store: EventStore
    job: Job
    desk: Desk
    wanted: frozenset[str]  # names of models that the strategy's voters need
    skipped: list[int] = field(default_factory=list)
    records: Mapping[int, StoredRecord] = field(default_factory=dict)  # of the last page, by position

    @classmethod
    async def taken(
        cls, store: EventStore, job: Job, contexts: Sequence[ContextSource], kept: Kept | None = None
    ) -> "Seat":
        """The desk of ``job`` at the beginning of the log, or as it was kept.

        Raises:
            CannotRun: this code cannot run the strategy.
        """
        if problem := problem_of(job.strategy):
            raise CannotRun(f"{job.strategy.name}.{job.strategy.version}: {problem}")
        wanted = frozenset(choice.model for choice in job.strategy.voters if choice.model)
        position = kept.position if kept else 0
        models, versions = await _models(store, wanted, position)
        desk = Desk.begun(
            job.strategy, job.position, job.part, contexts, kept.state if kept else None, models, versions
        )
        if job.retired is not None:
            desk.retired = job.retired
        return cls(store, job, desk, wanted)

    async def take(self, page: Page, *, is_told: bool = False) -> Outputs:
        """What follows from ``page``, the next one. ``is_told``: with the events made, each and all.

        Who records them wants them made here: one that cannot be made is the fault of ``page``.
        """
        events, due = list[tuple[int, str, Any]](), NO_OUTPUTS
        self.records = {record.position: record for record in page.records}
        for at, stream, event in self._decoded(page):
            if isinstance(event, StrategyRetired):
                if (event.name, event.version) == (self.job.strategy.name, self.job.strategy.version):
                    self.desk.retired = at
                continue
            if isinstance(event, ModelFitted):
                if event.model.name in self.wanted and event.part == event.parts:
                    due = due + await self._decide(events, at, is_told)
                    events = []
                    models, versions = await _models(self.store, frozenset({event.model.name}), at)
                    self.desk.engine = self.desk.engine.with_models(models, versions)
                continue
            events.append((at, stream, event))
        return due + await self._decide(events, page.scanned_to, is_told)

    async def take_carefully(self, page: Page, contexts: MakeContexts) -> Outputs:
        """As ``take``, event by event; one that cannot be decided on is passed over, and said."""
        due = NO_OUTPUTS
        for n, record in enumerate(page.records):
            before = Kept(self.desk.position, self.desk.packed())
            upto = record.position if n + 1 < len(page.records) else page.scanned_to
            try:
                due = due + await self.take(Page([record], upto), is_told=True)
            except UNAVAILABLE:
                raise
            except Exception as error:  # whatever it is: the same everywhere, for it follows from the event
                log.exception("decide: %s: position %d is passed over", self.job, record.position)
                self.skipped.append(record.position)
                again = await Seat.taken(self.store, self.job, contexts(self.job.strategy), before)
                self.desk = again.desk
                self.desk.position = upto
                if len(self.skipped) > MAX_SKIPPED:
                    raise TooManySkipped(f"{self.job}: {len(self.skipped)} events are no good") from error
        self.records = {record.position: record for record in page.records}
        return due

    async def _decide(self, events: list[tuple[int, str, Any]], upto: int, is_told: bool) -> Outputs:
        """In a thread: at first kernels may have to be compiled, and leases want to be renewed meanwhile."""

        def work() -> Outputs:
            outputs = self.desk.take(events, upto)
            return outputs.told() if is_told else outputs

        return await asyncio.to_thread(work)

    def _decoded(self, page: Page) -> list[tuple[int, str, Any]]:
        """The events of ``page`` that a desk may want. What cannot be read is passed over, and said."""
        found = []
        for record in page.records:
            if record.name not in MARKET and record.name not in EVERYWHERE:
                continue
            try:
                found.append((record.position, record.stream, codec.decode(record).event))
            except (UnknownEvent, UndecodableEvent) as error:
                log.error("decide: %s: position %d is passed over: %s", self.job, record.position, error)
                self.skipped.append(record.position)
        return found


async def _models(
    store: EventStore, names: frozenset[str], as_of: int
) -> tuple[Mapping[str, FittedModel], Mapping[str, int]]:
    """The last version of each model as of a position."""
    models, versions = dict[str, FittedModel](), dict[str, int]()
    for name in sorted(names):
        if found := await fitted_models(store, codec.decode, name, as_of=as_of):
            versions[name], models[name] = found[-1]
    return models, versions


def source_of(store: EventStore, job: Job, *, until: int | None = None) -> StoreSource:
    """The log as the desk of ``job`` reads it: all of it where voters look at a reference market."""
    parts = job.strategy.parts
    is_whole = parts == 1 or job.strategy.reference
    return StoreSource(store, until, partition=None if is_whole else (job.part, parts), everywhere=EVERYWHERE)


async def follow(
    store: EventStore,
    connect: Connect,
    source: LogSource,
    job: Job,
    contexts: MakeContexts,
    record: Callable[[Seat], Record],
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Work until the strategy is over; cancelling is safe at any moment. Faults of the store are waited out.

    Raises:
        CannotRun: this code cannot run the strategy.
        Diverged: the log holds another decision than follows from it.
        FencedOut: another process has taken over.
    """
    seat = await _opened(store, connect, job, contexts, limits)
    write, kept_at, kept, careful_to = record(seat), _now(), seat.desk.position, 0
    log.info("decide: %s begins at position %d", job, seat.desk.position)
    while not seat.desk.is_over:
        is_careful = seat.desk.position < careful_to
        # One by one: a book is asked what it thinks of a decision before more is known of other markets.
        page = await _next(
            source, seat.desk.position, replace(limits, page_events=1) if is_careful else limits
        )
        if page.scanned_to > seat.desk.position:
            try:
                due = await (
                    seat.take_carefully(page, contexts) if is_careful else seat.take(page, is_told=True)
                )
            except TooManySkipped:
                raise
            except UNAVAILABLE as error:  # no event is to blame, but the desk may stand half-way in the page
                log.warning("decide waits: %s: %s", type(error).__name__, error)
                await asyncio.sleep(limits.backoff_s[0])
                seat = await _opened(store, connect, job, contexts, limits)
                write = record(seat)
                continue
            except Exception:
                # A state that was left half-way is of no use: go back, and find out which event it was.
                log.exception("decide: %s: an event up to position %d is poison", job, page.scanned_to)
                careful_to = page.scanned_to
                seat = await _opened(store, connect, job, contexts, limits)
                write = record(seat)
                continue
            if due:
                await _patiently(partial(write, due), limits)
        moved = seat.desk.position - kept
        patience_s = limits.keep_s if page.records else limits.idle_keep_s
        if moved and (_now() - kept_at > patience_s or moved > limits.keep_events):
            await _keep(connect, seat, limits)
            kept_at, kept = _now(), seat.desk.position
    await _keep(connect, seat, limits)
    log.info("decide: %s is over at position %d", job, seat.desk.position)


async def _next(source: LogSource, after: int, limits: Limits) -> Page:
    async def read() -> Page:
        return await source.next(after, limit=limits.page_events, timeout_s=limits.poll_s)

    return await _patiently(read, limits)


async def _opened(
    store: EventStore, connect: Connect, job: Job, contexts: MakeContexts, limits: Limits
) -> Seat:
    strategy = job.strategy

    async def read() -> Kept | None:
        async with await connect() as db:
            return await decider_states.read(db, strategy.name, strategy.version, job.part, CODE)

    async def open_() -> Seat:
        kept = await read()
        try:
            return await Seat.taken(store, job, contexts(strategy), kept)
        except BadState as error:  # of older code, or damaged: the log has it all
            log.warning("decide: %s begins anew: %s", job, error)
            return await Seat.taken(store, job, contexts(strategy))

    return await _patiently(open_, limits)


async def _keep(connect: Connect, seat: Seat, limits: Limits) -> None:
    """Write down what the desk carries."""
    strategy = seat.job.strategy
    kept = Kept(seat.desk.position, await asyncio.to_thread(seat.desk.packed))

    async def write() -> None:
        async with await connect() as db:
            await decider_states.write(db, strategy.name, strategy.version, seat.job.part, CODE, kept)

    await _patiently(write, limits)


async def _patiently(do: Callable[[], Awaitable[T]], limits: Limits) -> T:
    """The result of ``do``, tried again as long as store or database cannot be reached."""
    pause = limits.backoff_s[0]
    while True:
        try:
            return await do()
        except UNAVAILABLE as error:
            log.warning("decide waits: %s: %s", type(error).__name__, error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, limits.backoff_s[1])


def _now() -> float:
    return asyncio.get_running_loop().time()
