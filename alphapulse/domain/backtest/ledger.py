"""What an engine gave, as the book of a strategy would have it: its signals, and what became of candidates.

The same book and the same rules as where signals are recorded (domain/signals/entering.py), kept in memory:
candidates as columns, decisions as digests; in full are kept those alone that became signals.
"""

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from msgspec.structs import replace

from alphapulse.domain.backtest.fills import Fills, is_missed, refilled
from alphapulse.domain.backtest.trade_columns import Row, TradeColumns, labels_of
from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade, bar_of
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.performance.trades import Trades
from alphapulse.domain.signals.book import Book, book_of_signals
from alphapulse.domain.signals.engine_events import Output
from alphapulse.domain.signals.entering import Entry, TermsOf, Written, entered, units
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.signal import OutcomeRecorded, SignalIssued

_DECISION = struct.Struct("<qqqdddqddd")
_OUTCOME = struct.Struct("<qqqddd")
NAN = float("nan")


class _Waiting(NamedTuple):
    """A candidate that counts, until the market has decided."""

    opened: int
    regime: str
    number: int
    size_ratio: float
    idea: Idea
    entry: float  # as it was filled


@dataclass
class Ledger:
    """Of one strategy version. Decisions count from ``since`` on and before ``until`` (ns, known times).

    ``fills``: what orders get that take their time; None: the price that was decided at.
    """

    strategy: StrategyDefined
    since: int
    until: int
    fills: Fills | None = None
    book: Book = book_of_signals.initial
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)  # by reason; a candidate may have several
    issued: list[DecisionMade] = field(default_factory=list)  # those that became signals, by number

    def __post_init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._columns = TradeColumns(self.strategy.name, self.strategy.version)
        self._decisions, self._outcomes = sha256(), sha256()

    def take(self, outputs: Sequence[Output], terms: TermsOf) -> None:
        """The next ones of an engine, and what it knows of other markets."""
        for unit in units([output for output in outputs if self._does_count(output)]):
            self._enter(unit, terms)

    def _does_count(self, output: Output) -> bool:
        match output.event:
            case OutcomeRecorded() | CalibrationFitted():
                return True  # an outcome may belong to a decision of the same call
            case event:
                return self.since <= event.time < self.until

    def _enter(self, unit: Sequence[Output], terms: TermsOf) -> None:
        first = unit[0]
        if isinstance(first.event, OutcomeRecorded):
            if first.event.decision not in self._waiting:
                return
            if self.fills is not None:
                unit = [self._refilled(first, first.event, self.fills)]
        found = entered(unit, self.book, self.strategy, terms)
        self.book = found.book
        numbers: dict[str, int] = {}
        for place in found.order:
            self._remember(found.entries[place], numbers)
        for entry in found.entries:
            self._write(entry.written, numbers)

    def _refilled(self, output: Output, recorded: OutcomeRecorded, fills: Fills) -> Output:
        was, fill = self._waiting[recorded.decision], fills.taken(recorded.decision, recorded.instrument)
        is_late = is_missed(recorded.outcome, fill)
        self.counts["missed"] += is_late and was.number > 0
        if fill is not None and not is_late:
            self._waiting[recorded.decision] = was._replace(entry=fill.price)
        event = replace(recorded, outcome=refilled(recorded.outcome, was.idea, fill))
        return Output(output.position, output.instrument, output.ordinal, event)

    def _remember(self, entry: Entry, numbers: dict[str, int]) -> None:
        for event in entry.caused:
            if isinstance(event, SignalIssued):
                assert isinstance(entry.written, DecisionMade)
                numbers[event.decision] = event.number
                self.issued.append(entry.written)

    def _write(self, written: Written | None, numbers: Mapping[str, int]) -> None:
        match written:
            case DecisionMade():
                self._decided(written, numbers.get(written.decision, 0))
            case OutcomeRecorded():
                self._resolved(written)
            case CalibrationFitted():
                self.counts["calibrations"] += 1

    def _decided(self, made: DecisionMade, number: int) -> None:
        idea = self._idea(made)
        self._waiting[made.decision] = _Waiting(
            made.time, made.regime, number, made.size_ratio, idea, made.entry
        )
        if self.fills is not None:
            self.fills.place(made.decision, made.instrument, made.time)
        self.counts["decisions"] += 1
        self.counts["signals"] += number > 0
        self.refused.update(made.refusals)
        numbers = (made.time, made.position, number, made.entry, made.stop, made.target, made.horizon_end)
        values = (made.consensus, made.claim.confidence, made.size_ratio)
        words = "\n".join((made.decision, made.regime, made.parameters, *made.refusals))
        self._decisions.update(_DECISION.pack(*numbers, *values) + words.encode())

    def _idea(self, made: DecisionMade) -> Idea:
        return Idea(
            side=made.side,
            entry=made.entry,
            stop=made.stop,
            target=made.target,
            decided=made.time,
            horizon_end=made.horizon_end,
            fee_bps=self.strategy.risk.fee_bps,
            slippage_bps=self.strategy.risk.slippage_bps,
        )

    def _resolved(self, recorded: OutcomeRecorded) -> None:
        was, outcome = self._waiting.pop(recorded.decision), recorded.outcome
        self.counts["outcomes"] += 1
        self.counts["trades"] += was.number > 0
        self.counts["won"] += was.number > 0 and outcome.is_win
        numbers = (was.number, outcome.closed_at, outcome.position)
        values = (outcome.exit_price, outcome.net_bps, outcome.net_r_multiple)
        words = "\n".join((recorded.decision, outcome.reason))
        self._outcomes.update(_OUTCOME.pack(*numbers, *values) + words.encode())
        self._columns.add(_row(recorded, was))

    def trades(self) -> Trades:
        """Resolved candidates that count; signals have numbers."""
        return self._columns.trades()

    @property
    def unresolved(self) -> int:
        """Candidates that count and of which the market has not decided yet."""
        return len(self._waiting)

    @property
    def digests(self) -> tuple[str, str]:
        """SHA-256 over all decisions and all outcomes that count, in their order."""
        return self._decisions.hexdigest(), self._outcomes.hexdigest()


def _row(recorded: OutcomeRecorded, was: _Waiting) -> Row:
    outcome = recorded.outcome
    in_doubt = outcome.worst_label != outcome.best_label

    def bound(price: float) -> float:
        return recorded.side * (price - was.entry) / was.entry * 1e4 if in_doubt else NAN

    return Row(
        instrument=recorded.instrument,
        regime=was.regime,
        reason=outcome.reason,
        bar_start=bar_of(recorded.decision),
        timeframe=recorded.timeframe,
        side=recorded.side,
        number=was.number,
        opened=was.opened,
        closed=outcome.closed_at,
        position=outcome.position,
        labels=labels_of(outcome.is_win, outcome.worst_label == 1, outcome.best_label == 1),
        confidence=recorded.confidence if recorded.confidence > 0 else NAN,
        size_ratio=was.size_ratio,
        gross_bps=outcome.gross_bps,
        net_bps=outcome.net_bps,
        net_r=outcome.net_r_multiple,
        worst_bps=bound(outcome.worst_price),
        best_bps=bound(outcome.best_price),
    )
