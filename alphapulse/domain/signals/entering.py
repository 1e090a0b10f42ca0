"""From what an engine gave to what is written down: the book has its say, decisions and signals go together.

Outputs of one position and time are one unit: among their proposals the more confident is answered first, and
so gets the lower number. What a unit adds to the streams of decisions and to that of the signals is appended
at once, so that neither is ever there without the other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from alphapulse.domain.decision.decisions import (
    ISSUED,
    REFUSED,
    VETO,
    CalibrationFitted,
    DecisionMade,
    ParametersAdapted,
)
from alphapulse.domain.decision.strategy import StrategyDefined, change_of
from alphapulse.domain.signals import book as books
from alphapulse.domain.signals.book import Book, Close, RecommendExit, book_of_signals
from alphapulse.domain.signals.engine_events import ExitSuggested, Output
from alphapulse.domain.signals.issue import Issue, Issued, Repeated, answer
from alphapulse.domain.signals.signal import OutcomeRecorded

Written = DecisionMade | ParametersAdapted | CalibrationFitted | OutcomeRecorded


class OutOfStep(Exception):
    """What is given does not follow from what is recorded: other code, another log, or a damaged state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a book of orders and other markets say of a proposal.

    ``correlations``: of this market's returns with those of other instruments. ``depth``: quote notional
    within 10 bps of the price, on the side that is hit; None: no book is known.
    """

    correlations: Mapping[str, float] = field(default_factory=dict)
    depth: float | None = None


TermsOf = Callable[[DecisionMade], Terms]


@dataclass(frozen=True, slots=True)
class Entry:
    """``written`` goes to the stream of ``output``, ``caused`` to that of the signals. Advice only causes."""

    output: Output
    written: Written | None
    caused: Sequence[books.Event]


@dataclass(frozen=True, slots=True)
class Entered:
    """A unit's entries in the order of their outputs; ``order`` is that in which ``caused`` are numbered."""

    entries: Sequence[Entry]
    order: Sequence[int]
    book: Book  # after it


def units(outputs: Sequence[Output]) -> Iterator[Sequence[Output]]:
    """``outputs`` in runs that are entered together, in their order."""
    run: list[Output] = []
    for output in outputs:
        if run and not _goes_with(run, output):
            yield run
            run = []
        run.append(output)
    if run:
        yield run


def _goes_with(run: Sequence[Output], output: Output) -> bool:
    """Of one position and time; of two bars of one timeframe, each has its own unit: their order counts."""
    event, last = output.event, run[-1].event
    if isinstance(event, ExitSuggested):  # belongs to the decision before it
        return True
    alone = CalibrationFitted | OutcomeRecorded
    if isinstance(event, alone) or isinstance(last, alone):
        return False
    if (output.position, event.time) != (run[-1].position, last.time):
        return False
    decided = [other.event.timeframe for other in run if isinstance(other.event, DecisionMade)]
    return not (decided and event.timeframe in decided)


def entered(unit: Sequence[Output], book: Book, strategy: StrategyDefined, terms: TermsOf) -> Entered:
    """What becomes of ``unit`` when ``book`` is as it is.

    Raises:
        OutOfStep: the book holds a signal of a decision that is not recorded.
    """
    entries: dict[int, Entry] = {}
    order = sorted(range(len(unit)), key=lambda i: _precedence(unit[i], i))
    for i in order:
        entries[i] = _entry(unit[i], book, strategy, terms)
        book = book_of_signals.fold(entries[i].caused, book)
    return Entered([entries[i] for i in range(len(unit))], order, book)


def _precedence(output: Output, place: int) -> tuple[float, int]:
    """Proposals first, the most confident before others; the rest as it came."""
    event = output.event
    if isinstance(event, DecisionMade) and not event.refusals:
        return -event.claim.confidence, place
    return 0.0, place


def _entry(output: Output, book: Book, strategy: StrategyDefined, terms: TermsOf) -> Entry:
    match output.event:
        case DecisionMade(refusals=()) as decision:
            return _answered(output, decision, book, strategy, terms(decision))
        case OutcomeRecorded() as recorded:
            held = book.open.get(recorded.decision)
            numbered = recorded if held is None else replace(recorded, number=held.signal.number)
            close = Close(recorded.decision, recorded.outcome)
            return Entry(output, numbered, book_of_signals.decide(close, book))
        case ExitSuggested() as suggested:
            advice = RecommendExit(
                decision=suggested.decision,
                against=suggested.against,
                time=suggested.time,
                price=suggested.price,
                consensus=suggested.consensus,
                reasons=suggested.reasons,
            )
            return Entry(output, None, book_of_signals.decide(advice, book))
        case event:
            return Entry(output, event, ())


def _answered(
    output: Output, decision: DecisionMade, book: Book, strategy: StrategyDefined, terms: Terms
) -> Entry:
    signals, known = [held.signal for held in book.open.values()], terms.correlations
    command = Issue(
        decision=decision,
        risk=strategy.risk,
        correlations={s.number: known[s.instrument] for s in signals if s.instrument in known},
        depth=terms.depth,
        size_factor=_size_factor(strategy, decision.parameters),
    )
    match answer(command, book):
        case Issued(signal, notes):
            made = replace(
                decision, verdict=ISSUED, size_ratio=signal.size_ratio, notes=(*decision.notes, *notes)
            )
            return Entry(output, made, (signal,))
        case Repeated():
            raise OutOfStep(f"{decision.decision} became a signal before, but it is not recorded")
        case vetoed:
            made = replace(
                decision, verdict=REFUSED, refusals=(VETO,), notes=(*decision.notes, *vetoed.reasons)
            )
            return Entry(output, made, ())


def _size_factor(strategy: StrategyDefined, parameters: str) -> float:
    """Of the adaptation called ``parameters``; 1 where none is in force."""
    found = [adaptation for adaptation in strategy.adaptations if adaptation.name == parameters]
    return change_of(found[0] if found else None)["size"]


def as_given(recorded: Written, given: Written) -> Written:
    """``recorded`` without what the book added to ``given``: the two are alike if they are of one fold."""
    if isinstance(recorded, DecisionMade) and isinstance(given, DecisionMade) and not given.refusals:
        return replace(
            recorded,
            verdict=given.verdict,
            refusals=(),
            notes=recorded.notes[: len(given.notes)],
            size_ratio=given.size_ratio,
        )
    if isinstance(recorded, OutcomeRecorded) and isinstance(given, OutcomeRecorded):
        return replace(recorded, number=given.number)
    return recorded
