"""The book of a strategy: which signals are open, what they earned, and in which markets it was stopped out.

Stream ``signals-{strategy}``, events in signal.py: of all versions and markets of the strategy. Its equity
is 1 at the beginning; a signal's notional is its size times the equity at its issue. Times are ns by the
venue's clock, days are of UTC. Whether there is room for another signal is answered in issue.py.

Numbers have no gaps by construction: the next one is part of the state, and who appends on an older state is
refused by the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from alphapulse.domain.decider import Decider
from alphapulse.domain.decision.decisions import bar_of
from alphapulse.domain.signals.idea import DAY_NS
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.signal import ExitRecommended, SignalClosed, SignalIssued

Slot = tuple[int, str, int]  # strategy version, instrument, timeframe
STOPPED = frozenset(
    {"stop", "gap_stop", "ambiguous"}
)  # reasons of closing after which a market is left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A signal that is open. ``notional`` in units of the equity at the strategy's beginning."""

    signal: SignalIssued
    notional: float
    is_advised: bool = False  # to leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """``last_bar`` grows with the markets, timeframes and versions that had signals, nothing else does."""

    next_number: int = 1
    open: Mapping[str, Open] = field(default_factory=dict)  # by decision
    equity: float = 1.0
    peaks: Mapping[int, float] = field(default_factory=dict)  # by version: highest since its first signal
    day: int = 0  # of the last close
    day_equity: float = 1.0  # when that day began
    stopped_at: Mapping[str, int] = field(default_factory=dict)  # by market: when it was stopped out last
    last_bar: Mapping[Slot, int] = field(default_factory=dict)  # minutes: of the last decision issued
    closed: int = 0

    def drawdown(self, version: int) -> float:
        """Share of its highest equity that ``version`` has lost; 0 before its first signal."""
        return 1 - self.equity / self.peaks.get(version, self.equity)

    def day_loss(self, time: int) -> float:
        """Share of the equity lost on the day of ``time``, or on the last close's where that is later."""
        return 0.0 if time // DAY_NS > self.day else max(1 - self.equity / self.day_equity, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendExit:
    """``against`` was decided for the other side of ``decision``, which may be open."""

    decision: str
    against: str
    time: int
    price: float
    consensus: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """The market has decided what became of ``decision``."""

    decision: str
    outcome: Outcome


Event = SignalIssued | ExitRecommended | SignalClosed
Command = RecommendExit | Close


def decide(command: Command, book: Book) -> Sequence[Event]:
    """The events that ``command`` causes: none when it changes nothing."""
    match command:
        case RecommendExit():
            held = book.open.get(command.decision)
            return [_advice(held, command)] if held is not None and not held.is_advised else []
        case Close():
            held = book.open.get(command.decision)
            return [] if held is None else [_closed(held, command.outcome, book)]


def evolve(book: Book, event: Event) -> Book:
    match event:
        case SignalIssued():
            return _with(book, event)
        case ExitRecommended(number=number):
            held = {
                d: replace(o, is_advised=o.is_advised or o.signal.number == number)
                for d, o in book.open.items()
            }
            return replace(book, open=held)
        case SignalClosed():
            return _without(book, event)


book_of_signals: Decider[Command, Book, Event] = Decider(Book(), decide, evolve)


def _with(book: Book, issued: SignalIssued) -> Book:
    version, slot = issued.strategy_version, (issued.strategy_version, issued.instrument, issued.timeframe)
    return replace(
        book,
        next_number=issued.number + 1,
        open={**book.open, issued.decision: Open(signal=issued, notional=issued.size_ratio * book.equity)},
        peaks=book.peaks if version in book.peaks else {**book.peaks, version: book.equity},
        last_bar={**book.last_bar, slot: bar_of(issued.decision)},
    )


def _without(book: Book, closed: SignalClosed) -> Book:
    held = book.open.get(closed.decision)
    day, stopped_at = closed.time // DAY_NS, book.stopped_at
    if held is not None and closed.reason in STOPPED:
        market = held.signal.instrument
        stopped_at = {**stopped_at, market: max(closed.time, stopped_at.get(market, closed.time))}
    return replace(
        book,
        open={decision: other for decision, other in book.open.items() if decision != closed.decision},
        equity=closed.equity,
        peaks={version: max(peak, closed.equity) for version, peak in book.peaks.items()},
        day=max(day, book.day),
        day_equity=book.equity if day > book.day else book.day_equity,
        stopped_at=stopped_at,
        closed=book.closed + 1,
    )


def _advice(held: Open, command: RecommendExit) -> ExitRecommended:
    return ExitRecommended(
        strategy=held.signal.strategy,
        number=held.signal.number,
        decision=command.against,
        time=command.time,
        price=command.price,
        consensus=command.consensus,
        reasons=command.reasons,
    )


def _closed(held: Open, outcome: Outcome, book: Book) -> SignalClosed:
    return SignalClosed(
        strategy=held.signal.strategy,
        number=held.signal.number,
        decision=held.signal.decision,
        time=outcome.closed_at,
        reason=outcome.reason,
        price=outcome.fill_price,
        net_bps=outcome.net_bps,
        r_multiple=outcome.net_r_multiple,
        equity=book.equity + held.notional * outcome.net_bps / 1e4,
    )
