"""A ledger is the same however the outputs come, and asks the book what the book is asked where it counts."""

from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.backtest.ledger import Ledger
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import Gate, StrategyDefined
from alphapulse.domain.signals.book import book_of_signals
from alphapulse.domain.signals.engine import Engine
from alphapulse.domain.signals.engine_events import Outputs
from alphapulse.domain.signals.entering import Terms, entered, units
from alphapulse.domain.signals.signal import SignalClosed, SignalIssued
from tests.domain.signals.engine_world import ADAPTATIONS, strategy, world

FOREVER = 2**62


def defined() -> StrategyDefined:
    """Decides on bars of two timeframes that end together, with adaptations and room for several signals."""
    risk = msgspec.structs.replace(strategy().risk, max_per_instrument=3, max_correlation=1.0)
    gate = Gate(threshold=0.5, margin=-0.2, breaker_outcomes=10**6)
    return strategy(
        risk=risk, timeframes=(1, 5), adaptations=ADAPTATIONS, min_consensus=0.15, gate=gate, sharpness=1.0
    )


@cache
def outputs() -> Outputs:
    made = Engine(defined()).advance(world(markets=2, bars=1_500, edge=3e-4, size=100))
    assert isinstance(made, Outputs)
    return made


def nothing_known(_: DecisionMade) -> Terms:
    return Terms()


def taken(*cuts: int, **how: Any) -> Ledger:
    ledger = Ledger(
        defined(), how.get("since", 0), how.get("until", FOREVER), None, how.get("candidates", True)
    )
    for a, b in pairwise([0, *sorted(set(cuts)), len(outputs())]):
        ledger.take(outputs()[a:b], nothing_known)
    return ledger


def bounds() -> list[int]:
    """Where outputs may be cut: what comes of one event is handed on together."""
    positions = outputs().positions
    return (np.flatnonzero(positions[1:] != positions[:-1]) + 1).tolist()


@settings(max_examples=20)
@given(st.data())
def test_any_cutting_gives_the_same_trades_and_digests(data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.sampled_from(bounds()), max_size=10))
    whole, parts = taken(), taken(*cuts)
    assert parts.digests == whole.digests
    assert parts.counts == whole.counts
    assert parts.trades().rows() == whole.trades().rows() or has_nan(whole)
    assert [e.decision for e in parts.issued] == [e.decision for e in whole.issued]


def has_nan(ledger: Ledger) -> bool:
    """Rows with NaN are equal to nothing: compare them by their words."""
    return str(taken().trades().rows()) == str(ledger.trades().rows())


def test_the_book_has_been_told_what_it_is_told_where_everything_is() -> None:
    """Refused candidates and advice are left out on the way to it; the signals must not know."""
    book, events = book_of_signals.initial, list[Any]()
    for unit in units(list(outputs())):
        found = entered(unit, book, defined(), nothing_known)
        events += [event for place in found.order for event in found.entries[place].caused]
        book = found.book
    ledger = taken()
    issued = [event for event in events if isinstance(event, SignalIssued)]
    assert [made.decision for made in ledger.issued] == [event.decision for event in issued]
    assert [made.size_ratio for made in ledger.issued] == [event.size_ratio for event in issued]
    assert len(issued) > 10
    ended = {event.number: event for event in events if isinstance(event, SignalClosed)}
    signals = ledger.trades().signals
    assert sorted(signals.number.tolist()) == sorted(ended)
    for number, net in zip(signals.number.tolist(), signals.net_bps.tolist(), strict=True):
        assert ended[number].net_bps == net
    assert ledger.book.equity == book.equity
    assert ledger.book.open.keys() == book.open.keys()
    assert ledger.book.last_bar == book.last_bar


def test_some_units_hold_several_proposals_and_some_refused_ones() -> None:
    """Otherwise the test above would show little."""
    sizes = [
        (sum(not e.refusals for e in made), sum(bool(e.refusals) for e in made))
        for unit in units(list(outputs()))
        if (made := [o.event for o in unit if isinstance(o.event, DecisionMade)])
    ]
    assert any(passed > 1 for passed, _ in sizes)
    assert any(passed and refused for passed, refused in sizes)


def test_without_candidates_only_signals_are_kept_and_all_are_counted() -> None:
    whole, lean = taken(), taken(candidates=False)
    assert (lean.trades().number > 0).all()
    assert len(lean.trades()) == whole.counts["trades"] < len(whole.trades())
    assert lean.counts == whole.counts
    assert lean.digests == whole.digests


def test_nothing_at_all_is_a_ledger_too() -> None:
    ledger = Ledger(defined(), 0, FOREVER)
    assert len(ledger.trades()) == 0
    assert ledger.digests == Ledger(defined(), 0, FOREVER).digests
    assert ledger.digests != taken().digests
