"""What an engine gave, as the book of a strategy would have it: its signals, and what became of candidates.

The same book and the same rules as where signals are recorded (domain/signals/entering.py), kept in memory.
Most candidates are refused: of those only columns are looked at, and no event is made.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.backtest.fills import Fills, Key, moved, moved_bps
from alphapulse.domain.backtest.trade_columns import TradeColumns
from alphapulse.domain.decision.decisions import VETO, DecisionMade
from alphapulse.domain.decision.strategy import Risk, StrategyDefined
from alphapulse.domain.performance.trades import Bools, Names, Trades
from alphapulse.domain.signals.book import Book, book_of_signals
from alphapulse.domain.signals.engine_columns import (
    REFUSALS,
    Decisions,
    Outcomes,
    decisions_of,
    outcomes_of,
)
from alphapulse.domain.signals.engine_events import FITTED, OUTCOME, Output, Outputs
from alphapulse.domain.signals.entering import Entry, TermsOf, entered, units
from alphapulse.domain.signals.signal import OutcomeRecorded, SignalIssued

_DECIDED = (
    *("position", "time", "timeframe", "bar_start", "side", "horizon_end", "regime", "parameters", "chosen"),
    *("calibration", "refusals", "entry", "stop", "target", "consensus", "disagreement", "voters"),
    *("confidence", "needed", "expected_bps"),
)  # of Decisions, what a digest is over
_EXITS = ("exit_price", "worst_price", "best_price", "fill_price")  # of Outcomes
_BECAME = (
    *("timeframe", "bar_start", "side", "number", "opened", "closed", "position", "regime", "reason"),
    *("confidence", "size_ratio", "gross_bps", "net_bps", "net_r", "entry"),
)  # of the trade


@dataclass
class Ledger:
    """Of one strategy version. Decisions count from ``since`` on and before ``until`` (ns, known times).

    ``fills``: what orders get that take their time; None: the price that was decided at. ``candidates``:
    whether refused ones are kept too; memory then grows with the history.
    """

    strategy: StrategyDefined
    since: int
    until: int
    fills: Fills | None = None
    candidates: bool = True
    book: Book = book_of_signals.initial
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)  # by reason; a candidate may have several
    issued: list[DecisionMade] = field(default_factory=list)  # those that became signals, by number

    def __post_init__(self) -> None:
        self._columns = TradeColumns(self.strategy.name, self.strategy.version)
        self._signals: dict[str, SignalIssued] = {}  # those that are open
        self._decisions, self._outcomes, self._book = _Hash(), _Hash(), sha256()

    def take(self, outputs: Outputs, terms: TermsOf) -> None:
        """The next ones of an engine, and what it knows of other markets."""
        made, became = decisions_of(outputs), outcomes_of(outputs, self.strategy.risk)
        counting = (made.time >= self.since) & (made.time < self.until)
        ended = (became.decided >= self.since) & (became.decided < self.until)
        self._place(made, counting)
        entry = self._filled(became, ended)
        numbers = self._enter(outputs, made, counting, became, ended, entry, terms)
        self._decided(made, counting)
        self._resolved(became, ended, entry, *numbers)
        self.counts["calibrations"] += int(np.count_nonzero(outputs.kinds == FITTED))

    # -- orders that take their time ---------------------------------------------------------------

    def _place(self, made: Decisions, counting: Bools) -> None:
        if self.fills is not None:
            for row in np.flatnonzero(counting).tolist():
                self.fills.place(_key(made, row), int(made.time[row]))

    def _filled(self, became: Outcomes, ended: Bools) -> Floats:
        """What each was entered at; NaN: it was over before."""
        if self.fills is None:
            return became.entry
        entry = np.full(len(became), np.nan)
        for row in np.flatnonzero(ended).tolist():
            fill = self.fills.taken(_key(became, row))
            if fill is not None and fill.time < became.closed[row]:
                entry[row] = fill.price
        return entry

    # -- the book ----------------------------------------------------------------------------------

    def _enter(
        self,
        outputs: Outputs,
        made: Decisions,
        counting: Bools,
        became: Outcomes,
        ended: Bools,
        entry: Floats,
        terms: TermsOf,
    ) -> tuple[Int64s, Floats]:
        """Number and size of the signal that each outcome is of; 0: it was refused."""
        numbers, sizes = np.zeros(len(became), dtype=np.int64), np.zeros(len(became))
        ends = {int(became.row[n]): n for n in np.flatnonzero(ended & became.passed).tolist()}
        for rows in _runs(outputs, made, counting, ends):
            if (n := ends.get(rows.start)) is not None:
                numbers[n], sizes[n] = self._close(outputs[rows.start], float(entry[n]), terms)
                continue
            # One by one: a slice of them would look at every block of the whole again.
            for unit in units([outputs[row] for row in range(rows.start, rows.stop)]):
                self._open(unit, terms)
        return numbers, sizes

    def _open(self, unit: Sequence[Output], terms: TermsOf) -> None:
        found = entered(unit, self.book, self.strategy, terms)
        self.book = found.book
        for place in found.order:
            self._remember(found.entries[place])

    def _remember(self, answered: Entry) -> None:
        made = answered.written
        if not isinstance(made, DecisionMade):
            return
        if VETO in made.refusals:
            self.refused[VETO] += 1
            self._book.update(f"veto {made.decision}\n".encode())
        for event in answered.caused:
            if isinstance(event, SignalIssued):
                self._signals[event.decision] = event
                self.issued.append(made)
                self._book.update(f"{event.number} {event.decision} {event.size_ratio!r}\n".encode())

    def _close(self, output: Output, entry: float, terms: TermsOf) -> tuple[int, float]:
        """Number and size of the signal; 0: there was none."""
        signal = self._signals.pop(output.decision, None)
        if signal is None:
            return 0, 0.0
        if self.fills is not None:
            assert isinstance(output.event, OutcomeRecorded)
            risk = self.strategy.risk
            outcome = moved(output.event.outcome, signal.entry, signal.stop, output.event.side, entry, risk)
            event = replace(output.event, outcome=outcome)
            output = Output(output.position, output.instrument, output.ordinal, event)
        self.book = entered([output], self.book, self.strategy, terms).book
        return signal.number, signal.size_ratio

    # -- what is kept ------------------------------------------------------------------------------

    def _decided(self, made: Decisions, counting: Bools) -> None:
        refusals = made.refusals[counting]
        self.counts["decisions"] += len(refusals)
        for bit, name in REFUSALS:
            if count := int(np.count_nonzero(refusals & bit)):
                self.refused[name] += count
        self.counts["signals"] = len(self.issued)
        self._decisions.take(made.instrument[counting], [getattr(made, n)[counting] for n in _DECIDED])

    def _resolved(
        self, became: Outcomes, ended: Bools, entry: Floats, numbers: Int64s, sizes: Floats
    ) -> None:
        columns = _columns(became, entry, self.strategy.risk, numbers, sizes)
        is_signal = ended & (numbers > 0)
        self.counts["outcomes"] += int(np.count_nonzero(ended))
        self.counts["trades"] += int(np.count_nonzero(is_signal))
        self.counts["won"] += int(np.count_nonzero(is_signal & columns["is_win"]))
        self.counts["missed"] += int(np.count_nonzero(is_signal & np.isnan(entry)))
        self._columns.add(columns, ended if self.candidates else is_signal)
        its = [*(getattr(became, n)[ended] for n in _EXITS), *(columns[n][ended] for n in _BECAME)]
        self._outcomes.take(became.instrument[ended], its)

    def trades(self) -> Trades:
        """Resolved candidates that count; signals have numbers."""
        return self._columns.trades()

    @property
    def digests(self) -> tuple[str, str]:
        """SHA-256 over all decisions with what the book made of them, and over all outcomes."""
        decided = sha256(self._decisions.digest() + self._book.digest())
        return decided.hexdigest(), self._outcomes.digest().hex()


def _key(columns: Decisions | Outcomes, row: int) -> Key:
    return str(columns.instrument[row]), int(columns.timeframe[row]), int(columns.bar_start[row])


def _runs(outputs: Outputs, made: Decisions, counting: Bools, ends: Collection[int]) -> Iterator[slice]:
    """Rows that the book has a say in, in their order: an end, or decisions of one position and time.

    Nothing else changes what it answers: neither refused candidates, nor advice.
    """
    breaks = np.cumsum((outputs.kinds == OUTCOME) | (outputs.kinds == FITTED))[made.row]
    apart = np.zeros(len(made), dtype=np.bool_)
    for column in (made.position, made.time, breaks):
        apart[1:] |= column[1:] != column[:-1]
    run = np.cumsum(apart)
    wanted = np.unique(run[counting & made.passed])
    first, last = (made.row[np.searchsorted(run, wanted, side=side) - n] for side, n in _SIDES)
    found = [slice(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    found += [slice(row, row + 1) for row in ends]
    yield from sorted(found, key=lambda rows: rows.start)


_SIDES: Sequence[tuple[Literal["left", "right"], int]] = (("left", 0), ("right", 1))


def _columns(
    became: Outcomes, entry: Floats, risk: Risk, numbers: Int64s, sizes: Floats
) -> Mapping[str, NDArray[Any]]:
    """Of trade_columns.py."""
    gross, net, r = _returns(became, entry, risk)
    in_doubt = became.worst_label != became.best_label
    bounds = [
        np.where(in_doubt, became.side * (price - entry) / entry * 1e4, np.nan)
        for price in (became.worst_price, became.best_price)
    ]
    return {
        "instrument": became.instrument,
        "timeframe": became.timeframe,
        "bar_start": became.bar_start,
        "side": became.side,
        "number": numbers,
        "opened": became.decided,
        "closed": became.closed,
        "position": became.position,
        "regime": became.regime,
        "reason": became.reason,
        "confidence": np.where(became.confidence > 0, became.confidence, np.nan),
        "size_ratio": sizes,
        "gross_bps": gross,
        "net_bps": net,
        "net_r": r,
        "worst_bps": bounds[0],
        "best_bps": bounds[1],
        "is_win": became.label > 0,
        "worst_win": became.worst_label > 0,
        "best_win": became.best_label > 0,
        "entry": entry,
    }


def _returns(became: Outcomes, entry: Floats, risk: Risk) -> tuple[Floats, Floats, Floats]:
    """Gross and net, in basis points, and net in units of the risk, of what was entered at ``entry``."""
    if entry is became.entry:
        return became.gross_bps, became.net_bps, became.net_r_multiple
    risked = np.abs(became.entry - became.stop) / became.entry * 1e4
    gross, net = moved_bps(became.side, entry, became.exit_price, became.fill_price, risk)
    missed = np.isnan(entry)
    return tuple(np.where(missed, 0.0, each) for each in (gross, net, net / risked))  # type: ignore[return-value]


class _Hash:
    """SHA-256 over columns row by row: it does not matter in how many calls the rows come."""

    def __init__(self) -> None:
        self._hash = sha256()
        self._codes: dict[str, int] = {}

    def take(self, instruments: Names, columns: Sequence[NDArray[Any]]) -> None:
        codes = np.array([self._code(name) for name in instruments.tolist()], dtype=np.int64)
        whole = [c.view(np.int64) if c.dtype == np.float64 else c for c in columns]
        self._hash.update(np.stack([codes, *whole], axis=1).astype("<i8").tobytes())

    def _code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = int.from_bytes(sha256(name.encode()).digest()[:8], "little", signed=True)
        return self._codes[name]

    def digest(self) -> bytes:
        return self._hash.digest()
