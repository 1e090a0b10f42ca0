"""One configuration over a log: the desks and the book that decide live, with nothing recorded.

Positions are of the log that is read, times ns by the venues' clocks.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.backtest.fills import Fills
from alphapulse.domain.backtest.ledger import Ledger
from alphapulse.domain.backtest.results import Counts
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined, change_of
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.performance.market_figures import Market
from alphapulse.domain.performance.trades import Trades
from alphapulse.domain.ports import EventStore, Page, StoredRecord, UndecodableEvent, UnknownEvent
from alphapulse.domain.signals.engine_events import NO_OUTPUTS
from alphapulse.domain.signals.entering import Terms
from alphapulse.processes.decide import PAGE_EVENTS, contexts_of, terms_of
from alphapulse.processes.deciding import EVERYWHERE, MARKET, Job, Seat
from alphapulse.processes.desk import market_of
from alphapulse.processes.metering import Meter
from alphapulse.processes.metering import market_of as mean_of_markets

FOREVER = 2**62
NAMES = tuple(sorted(MARKET | EVERYWHERE))  # of events that a desk looks at


@dataclass(frozen=True, slots=True)
class Progress:
    """``position`` of ``upto``; ``bars`` that were closed so far, of all markets and timeframes."""

    position: int
    upto: int
    bars: int


Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What one configuration came to. Equal digests: the same decisions, and the same outcomes."""

    strategy: StrategyDefined
    trades: Trades  # resolved candidates, as they closed; signals have numbers
    issued: Sequence[DecisionMade]  # with their votes, by number
    counts: Counts
    equity: float  # of the book at the end, 1 at its beginning
    decisions_digest: str
    outcomes_digest: str
    since: int  # decisions that count; 0, FOREVER: all
    until: int
    first_time: int = 0  # of the bars that were closed; 0: none
    last_time: int = 0
    first_position: int = 0  # of the market events that were read
    last_position: int = 0
    bars: int = 0
    markets: tuple[str, ...] = ()  # that were decided on
    market: Market | None = None  # their mean return, by day
    skipped: int = 0  # events that could not be read


def untold(_: Progress) -> None:
    return None


async def run_backtest(
    store: EventStore,
    strategy: StrategyDefined,
    *,
    upto: int,
    since: int | None = None,
    until: int | None = None,
    after: int = 0,
    begin: int | None = None,
    latency_ns: int = 0,
    candidates: bool = True,
    tell: Tell = untold,
) -> Run:
    """What ``strategy`` would have decided over the log up to position ``upto``, and what became of it.

    Everything is learnt from; decisions count that follow from events behind position ``after`` and whose
    time is from ``since`` on and before ``until`` (ns). With ``begin`` (ns) nothing is known of what came
    before: events of an earlier time are passed over. With ``latency_ns`` an order gets the first price of
    its market at or after the time of its decision and so much; without, the price that was decided at.
    Without ``candidates`` the trades are the signals alone, and memory does not grow with the history.

    Raises:
        CannotRun: this code cannot run the strategy.
        ValueError: ``latency_ns`` is under 0.
        StoreUnavailable: the log could not be read.
    """
    first, end = 0 if since is None else since, FOREVER if until is None else until
    fills = Fills(latency_ns) if latency_ns else None
    run = _Running(store, strategy, after, Ledger(strategy, first, end, fills, candidates), begin or 0)
    await run.open()
    while run.position < upto:
        await run.take(await store.read(run.position, until=upto, limit=PAGE_EVENTS, names=NAMES))
        tell(Progress(run.position, upto, run.bars))
    return run.result()


class _Running:
    """A run so far: a desk for each part of the strategy, one ledger for all."""

    def __init__(
        self, store: EventStore, strategy: StrategyDefined, after: int, ledger: Ledger, begin: int
    ) -> None:
        self._store, self._strategy, self._after, self._ledger = store, strategy, after, ledger
        self._begin, self._end = begin, ledger.until + _longest_horizon(strategy)
        self._over: set[str] = set()
        self._seats: list[Seat] = []
        self._meters = [Meter(strategy.timeframes) for _ in range(strategy.parts)]
        self._first = self._last = 0
        self.position = 0

    async def open(self) -> None:
        """Raises CannotRun."""
        for part, meter in enumerate(self._meters):
            job = Job(self._strategy, self._after, part)
            contexts = (*contexts_of(self._strategy), meter)
            self._seats.append(await Seat.taken(self._store, job, contexts))

    async def take(self, page: Page) -> None:
        """The next page of the log."""
        page = self._within(page)
        if self._ledger.fills is not None:
            self._ledger.fills.see(_market_events(page))
        given = NO_OUTPUTS
        for seat in self._seats:
            given = given + await seat.take(page)
        if len(self._seats) > 1:  # by part where a position is several's
            given = given.take(np.argsort(given.positions, kind="stable"))
        self._ledger.take(given, self._terms)
        if page.records:
            self._first = self._first or page.records[0].position
            self._last = page.records[-1].position
        self.position = page.scanned_to

    def _terms(self, decision: DecisionMade) -> Terms:
        its = next(seat for seat in self._seats if seat.desk.engine.decides_on(decision.instrument))
        return terms_of(its)(decision)

    def _within(self, page: Page) -> Page:
        """Without what is over when the run begins, and what comes when all that counts is over."""
        return Page([record for record in page.records if self._matters(record)], page.scanned_to)

    def _matters(self, record: StoredRecord) -> bool:
        time = record.envelope.event_time  # the latest in it
        if time is None or self._begin <= time < self._end:
            return True
        if time < self._begin or record.stream in self._over:
            return False
        self._over.add(record.stream)  # the first one behind the end says that it has come
        return True

    @property
    def bars(self) -> int:
        return sum(meter.bars for meter in self._meters)

    def result(self) -> Run:
        ledger, counts = self._ledger, self._ledger.counts
        trades, meters = ledger.trades(), [meter for meter in self._meters if meter.bars]
        closes = {
            market: known
            for seat, meter in zip(self._seats, self._meters, strict=True)
            for market, known in meter.closes.items()
            if seat.desk.engine.decides_on(market)
        }
        decisions, outcomes = ledger.digests
        return Run(
            strategy=self._strategy,
            trades=trades,
            issued=ledger.issued,
            counts=Counts(open=len(ledger.book.open), refused=dict(ledger.refused), **counts),
            equity=ledger.book.equity,
            decisions_digest=decisions,
            outcomes_digest=outcomes,
            since=ledger.since,
            until=ledger.until,
            first_time=min((meter.first for meter in meters), default=0),
            last_time=max((meter.last for meter in meters), default=0),
            first_position=self._first,
            last_position=self._last,
            bars=self.bars,
            markets=tuple(sorted(closes)),
            market=mean_of_markets(closes),
            skipped=sum(len(seat.skipped) for seat in self._seats),
        )


def _longest_horizon(strategy: StrategyDefined) -> int:
    """How long after its decision (ns) a candidate may still be open."""
    factor = max([1.0, *(change_of(adaptation)["horizon"] for adaptation in strategy.adaptations)])
    bars = max(geometry.horizon_bars for geometry in strategy.geometries)
    return ceil(bars * factor + 1) * max(strategy.timeframes) * MINUTE_NS


def _market_events(page: Page) -> list[tuple[int, str, Any]]:
    """Of one market each. What cannot be read is no evidence; the desk says so."""
    found = []
    for record in page.records:
        if record.name in MARKET:
            with suppress(UnknownEvent, UndecodableEvent):
                event = codec.decode(record).event
                found.append((record.position, market_of(event), event))
    return found
