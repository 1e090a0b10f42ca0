"""Three ways to decide an outcome agree: compiled, re-derived from the log, and an oracle in decimals."""

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import REASONS, Outcome, booked
from alphapulse.domain.signals.rederivation import outcome_of
from alphapulse.domain.signals.ticks import MOMENT, Ticks
from alphapulse.domain.signals.watcher import Watch
from tests.domain.signals.outcome_oracle import facts, verdict
from tests.domain.signals.outcome_worlds import Log, assert_agrees, ideas, ticks_of, worlds

MANY = st.lists(ideas(), min_size=1, max_size=6)
LEVELS = ("entry", "stop", "target")


@settings(max_examples=120)
@given(worlds(), MANY)
def test_kernel_and_rederivation_say_what_the_oracle_says(log: Log, given_ideas: list[Idea]) -> None:
    watch = Watch.empty(8)
    for number, idea in enumerate(given_ideas):
        watch.add(number, idea)
    (ticks,) = ticks_of(log)
    left = {each.number: booked(given_ideas[each.number], each.exit) for each in watch.feed(ticks)}
    assert len(watch) == len(given_ideas) - len(left)
    for number, idea in enumerate(given_ideas):
        expected = verdict(idea, facts(log))
        assert_agrees(left.get(number), expected)
        rederived = outcome_of(idea, log)
        assert_agrees(rederived, expected)
        if isinstance(rederived, Outcome):
            assert left[number] == rederived


@given(
    worlds(), st.lists(ideas(), min_size=1, max_size=6), st.lists(st.integers(0, 25), max_size=6), st.data()
)
def test_cuts_and_restarts_change_nothing(
    log: Log, given_ideas: list[Idea], cuts: list[int], data: st.DataObject
) -> None:
    watch, again = Watch.empty(8), Watch.empty(8)
    for number, idea in enumerate(given_ideas):
        watch.add(number, idea)
        again.add(number, idea)
    (whole,) = ticks_of(log)
    pieces = ticks_of(log, [min(cut, len(log)) for cut in cuts])
    numbers = np.concatenate([piece.numbers for piece in pieces], axis=1)
    assert np.array_equal(numbers, whole.numbers)
    prices = np.concatenate([piece.prices for piece in pieces], axis=1)
    assert np.array_equal(prices, whole.prices, equal_nan=True)
    left, parts = watch.feed(whole), []
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4))), len(whole)]
    for begin, end in pairwise(edges):
        parts += again.feed(Ticks(numbers[:, begin:end], prices[:, begin:end]))
        again = Watch.unpacked(again.packed())
    assert parts == left
    assert again.packed() == watch.packed()


@given(worlds(), ideas(), st.data())
def test_an_idea_that_is_added_when_it_is_decided_meets_the_same(
    log: Log, idea: Idea, data: st.DataObject
) -> None:
    (ticks,) = ticks_of(log)
    cut = data.draw(st.integers(0, len(ticks)))
    known = int(ticks.numbers[MOMENT, :cut].max(initial=idea.decided))
    idea = Idea(**{**_fields(idea), "decided": known, "horizon_end": known + idea.horizon_end - idea.decided})
    early, late = Watch.empty(2), Watch.empty(2)
    early.add(1, idea)
    late.feed(Ticks(ticks.numbers[:, :cut], ticks.prices[:, :cut]))
    late.add(1, idea)
    assert early.feed(ticks) == late.feed(Ticks(ticks.numbers[:, cut:], ticks.prices[:, cut:]))


def _fields(idea: Idea) -> dict[str, object]:
    return {name: getattr(idea, name) for name in idea.__struct_fields__}


@given(worlds(), ideas())
def test_a_short_is_a_long_in_a_mirror(log: Log, idea: Idea) -> None:
    turned_levels = {name: 200 - getattr(idea, name) for name in LEVELS}
    mirror = Idea(**{**_fields(idea), "side": -idea.side, **turned_levels})
    (ticks,) = ticks_of(log)
    turned = Ticks(ticks.numbers, 200 - ticks.prices[[0, 2, 1, 3]])
    one, other = Watch.empty(1), Watch.empty(1)
    one.add(1, idea)
    other.add(1, mirror)
    left, right = one.feed(ticks), other.feed(turned)
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        x, y = a.exit, b.exit
        same = ("reason", "moment", "position", "unseen_from", "unseen_until")
        assert [getattr(x, n) for n in same] == [getattr(y, n) for n in same]
        assert (x.price, x.worst, x.best, x.highest, x.lowest) == (
            200 - y.price,
            200 - y.worst,
            200 - y.best,
            200 - y.lowest,
            200 - y.highest,
        )


@given(worlds(), ideas())
def test_prices_from_before_the_decision_change_nothing(log: Log, idea: Idea) -> None:
    (ticks,) = ticks_of(log)
    start, kind = ticks.numbers[1], ticks.numbers[0]
    before = np.where(kind == 1, start < idea.decided, start <= idea.decided)
    poisoned = ticks.prices.copy()
    poisoned[:, before] = np.array([1.0, 1e9, 1e-9, 7.0])[:, None]
    one, other = Watch.empty(1), Watch.empty(1)
    one.add(1, idea)
    other.add(1, idea)
    assert one.feed(ticks) == other.feed(Ticks(ticks.numbers, poisoned))


@pytest.mark.parametrize("reason", [*REASONS, "suspended"])
def test_every_reason_comes_up_in_these_worlds(reason: str) -> None:
    """Or the agreement above says nothing of it."""

    def comes_up(drawn: tuple[Log, Idea]) -> bool:
        found = verdict(drawn[1], facts(drawn[0]))
        if reason == "suspended":
            return found is not None and found["unseen_until"] > 0
        return reason == (found["reason"] if found else "open")

    wanted = settings(max_examples=5_000, database=None, phases=[Phase.generate])
    find(st.tuples(worlds(), ideas()), comes_up, settings=wanted)  # raises where there is none
