"""One configuration over a log: the desks and the book that decide live, with nothing recorded.

Positions are of the log that is read, times ns by the venues' clocks.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.backtest.fills import Fills
from alphapulse.domain.backtest.ledger import Ledger
from alphapulse.domain.backtest.results import Counts
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.performance.trades import Trades
from alphapulse.domain.ports import EventStore, Page, UndecodableEvent, UnknownEvent
from alphapulse.domain.signals.returns import Every
from alphapulse.processes.decide import PAGE_EVENTS, contexts_of, terms_of
from alphapulse.processes.deciding import EVERYWHERE, MARKET, Job, Seat
from alphapulse.processes.desk import market_of

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
    latency_ns: int = 0,
    tell: Tell = untold,
) -> Run:
    """What ``strategy`` would have decided over the log up to position ``upto``, and what became of it.

    Everything is learnt from; decisions count that follow from events behind position ``after`` and whose
    time is from ``since`` on and before ``until`` (ns). With ``latency_ns`` an order gets the first price of
    its market at or after the time of its decision and so much; without, the price that was decided at.

    Raises:
        CannotRun: this code cannot run the strategy.
        ValueError: ``latency_ns`` is under 0.
        StoreUnavailable: the log could not be read.
    """
    first, end = 0 if since is None else since, FOREVER if until is None else until
    fills = Fills(latency_ns) if latency_ns else None
    run = _Running(store, strategy, after, Ledger(strategy, first, end, fills))
    await run.open()
    while run.position < upto:
        await run.take(await store.read(run.position, until=upto, limit=PAGE_EVENTS, names=NAMES))
        tell(Progress(run.position, upto, run.bars))
    return run.result()


@dataclass
class Meter:
    """Shaped as a context of an engine: how many bars it was handed, and from when to when (ns)."""

    bars: int = 0
    first: int = FOREVER
    last: int = 0
    seen: set[str] = field(default_factory=set)
    names: Sequence[str] = ()
    markets: frozenset[str] = field(default_factory=Every)

    def fold(self, position: int, instrument: str, event: Any) -> None:  # noqa: ARG002  the protocol's
        return

    def columns(
        self,
        instrument: str,  # noqa: ARG002
        timeframe: int,  # noqa: ARG002
        closed: Closed,  # noqa: ARG002
    ) -> Mapping[str, Floats]:
        return {}

    def closed(self, instrument: str, closed: Mapping[int, Closed]) -> None:
        for timeframe, its in closed.items():
            if starts := len(its.bars.start):
                self.bars += starts
                self.seen.add(instrument)
                self.first = min(self.first, int(its.bars.start[0]) * MINUTE_NS)
                self.last = max(self.last, (int(its.bars.start[-1]) + timeframe) * MINUTE_NS)

    def packed(self) -> bytes:
        """Nothing that decides."""
        return b""

    def restore(self, data: bytes) -> None:  # noqa: ARG002
        return


class _Running:
    """A run so far: a desk for each part of the strategy, one ledger for all."""

    def __init__(self, store: EventStore, strategy: StrategyDefined, after: int, ledger: Ledger) -> None:
        self._store, self._strategy, self._after, self._ledger = store, strategy, after, ledger
        self._seats: list[Seat] = []
        self._meters = [Meter() for _ in range(strategy.parts)]
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
        if self._ledger.fills is not None:
            self._ledger.fills.see(_market_events(page))
        given = [(seat, output) for seat in self._seats for output in await seat.take(page)]
        given.sort(key=lambda item: item[1].position)  # stable: by part where a position is several's
        for seat, outputs in groupby(given, key=itemgetter(0)):
            self._ledger.take([output for _, output in outputs], terms_of(seat))
        if page.records:
            self._first = self._first or page.records[0].position
            self._last = page.records[-1].position
        self.position = page.scanned_to

    @property
    def bars(self) -> int:
        return sum(meter.bars for meter in self._meters)

    def result(self) -> Run:
        ledger, counts = self._ledger, self._ledger.counts
        trades, meters = ledger.trades(), [meter for meter in self._meters if meter.bars]
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
            markets=tuple(sorted({market for meter in meters for market in meter.seen})),
            skipped=sum(len(seat.skipped) for seat in self._seats),
        )


def _market_events(page: Page) -> list[tuple[int, str, Any]]:
    """Of one market each. What cannot be read is no evidence; the desk says so."""
    found = []
    for record in page.records:
        if record.name in MARKET:
            with suppress(UnknownEvent, UndecodableEvent):
                event = codec.decode(record).event
                found.append((record.position, market_of(event), event))
    return found
