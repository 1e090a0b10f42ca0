"""What is entered together, in which order, and what the book adds to it."""

from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from alphapulse.domain.decision.strategy import Adaptation
from alphapulse.domain.signals.book import Book
from alphapulse.domain.signals.engine_events import ExitSuggested, Output
from alphapulse.domain.signals.entering import OutOfStep, Terms, as_given, entered, units
from alphapulse.domain.signals.signal import SignalIssued
from tests.adapters.store.decided import EXAMPLES
from tests.domain.signals.decided import BTC, ETH, NOON, SHORT, decision
from tests.processes.decided_outputs import STRATEGY, numbered, refused, resolved


def no_terms(_: object) -> Terms:
    return Terms()


def _given(terms: Terms, _: object) -> Terms:
    return terms


def grouped(*events: Any) -> list[list[int]]:
    """Which of ``events`` are entered together, by their place."""
    given = numbered(BTC, list(events))
    return [[given.index(output) for output in unit] for unit in units(given)]


def advice(made: Any, against: Any) -> ExitSuggested:
    return ExitSuggested(
        decision=made.decision,
        against=against.decision,
        instrument=BTC,
        time=against.time,
        price=1.0,
        consensus=-0.5,
        reasons=(),
    )


def test_nothing_makes_no_unit() -> None:
    assert list(units([])) == []


def test_bars_of_one_position_and_moment_are_one_unit() -> None:
    five, hour = decision(minute=NOON + 55), decision(timeframe=60)
    assert five.time == hour.time
    assert grouped(five, hour) == [[0, 1]]
    assert grouped(five, replace(hour, position=1_001)) == [[0], [1]]
    assert grouped(five, replace(hour, time=five.time + 1)) == [[0], [1]]


def test_two_bars_of_one_timeframe_are_two_units() -> None:
    """Else the later one might get its number first, and the earlier one be too late."""
    first = decision()
    assert grouped(first, replace(decision(minute=NOON + 5), time=first.time)) == [[0], [1]]


def test_advice_goes_with_the_decision_that_it_comes_from() -> None:
    made, other = decision(), refused(decision(minute=NOON + 5, side=SHORT))
    assert grouped(made, other, advice(made, other), decision(minute=NOON + 10)) == [[0], [1, 2], [3]]


def test_outcomes_and_calibrations_stand_alone() -> None:
    fitted = next(event for event in EXAMPLES if type(event).__name__ == "CalibrationFitted")
    made = decision()
    assert grouped(made, resolved(made), resolved(made), fitted, made) == [[0], [1], [2], [3], [4]]


def test_the_more_confident_is_answered_first_and_takes_what_room_there_is() -> None:
    strategy = replace(STRATEGY, risk=replace(STRATEGY.risk, max_open=1))
    made = [decision(timeframe=t, confidence=c, position=1, time=10**18) for t, c in ((5, 0.9), (15, 0.95))]
    sound = [replace(each, horizon_end=each.time + 10**15) for each in made]
    found = entered(numbered(BTC, sound), Book(), strategy, no_terms)
    assert found.order == [1, 0]
    assert [len(entry.caused) for entry in found.entries] == [0, 1]
    assert found.entries[0].written.refusals == ("veto",)  # type: ignore[union-attr]
    assert found.book.next_number == 2


def test_the_same_confidence_keeps_the_order_of_the_engine() -> None:
    made = [decision(timeframe=t, position=1) for t in (5, 15, 60)]
    assert entered(numbered(BTC, made), Book(), STRATEGY, no_terms).order == [0, 1, 2]


def test_sizes_follow_the_adaptation_that_the_decision_names() -> None:
    strategy = replace(STRATEGY, adaptations=(Adaptation(name="thin", change={"size": 0.5}),))

    def size(parameters: str) -> float:
        found = entered(numbered(BTC, [decision(parameters=parameters)]), Book(), strategy, no_terms)
        (signal,) = found.entries[0].caused
        assert isinstance(signal, SignalIssued)
        return signal.size_ratio

    assert size("thin") == size("") / 2


def test_correlations_are_those_with_the_markets_of_open_signals() -> None:
    strategy = replace(STRATEGY, risk=replace(STRATEGY.risk, max_correlation=0.5))
    book = entered(numbered(BTC, [decision()]), Book(), strategy, no_terms).book
    for known, is_open in (({BTC: 0.5}, True), ({BTC: 0.6}, False), ({ETH: 0.1}, False)):
        terms = Terms(correlations=known)
        found = entered(numbered(ETH, [decision(ETH)]), book, strategy, partial(_given, terms))
        assert bool(found.entries[0].caused) == is_open


def test_a_decision_that_the_book_has_seen_is_out_of_step() -> None:
    book = entered(numbered(BTC, [decision()]), Book(), STRATEGY, no_terms).book
    with pytest.raises(OutOfStep, match=f"{decision().decision} became a signal before"):
        entered(numbered(BTC, [decision()]), book, STRATEGY, no_terms)


@pytest.mark.parametrize("limit", [0, 1_000])
def test_what_the_book_added_is_taken_away_to_compare(limit: int) -> None:
    """Issued or vetoed: a repeat of the fold knows nothing of it."""
    strategy = replace(STRATEGY, risk=replace(STRATEGY.risk, max_open=limit))
    given = [decision(notes=("kept",)), resolved(decision())]
    book = Book()
    for output in numbered(BTC, given):
        found = entered([output], book, strategy, no_terms)
        book, (entry,) = found.book, found.entries
        assert entry.written is not None
        assert entry.written != output.event or limit == 0
        assert as_given(entry.written, output.event) == output.event  # type: ignore[arg-type]


def test_whatever_the_engine_refused_is_compared_whole() -> None:
    made = refused(decision())
    assert as_given(replace(made, size_ratio=0.5), made) != made


def test_an_output_is_entered_under_its_own_number() -> None:
    output = Output(7, BTC, 12, decision())
    assert entered([output], Book(), STRATEGY, no_terms).entries[0].output is output
