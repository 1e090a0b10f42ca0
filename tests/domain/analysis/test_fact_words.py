"""Facts by the word say what the ring says, of all slots and of some, of one bar and of many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.candles import BLANK, NARROWER
from alphapulse.domain.analysis.compiled import ROOM, View
from alphapulse.domain.analysis.fact_words import (
    BEFORE,
    FEW,
    HALF,
    WORD,
    keep_showing,
    lay_out,
    listed,
    shape_for,
)
from alphapulse.domain.analysis.fields import CANDLE_FIELDS, FACTS, Floats, Int64s

KINDS = NARROWER.bit_length()


def ring(slots: int, rows: int, seed: int) -> Floats:
    """Random facts in a ring of bars; the first row is NaN, as it is before the first bar."""
    bars = np.full((CANDLE_FIELDS, rows, slots), np.nan)
    facts = np.random.default_rng(seed).integers(0, 1 << KINDS, (rows, slots)) | BLANK
    bars[FACTS, 1:] = facts.view(np.float64)[1:]
    return bars


def laid_out(bars: Floats, first: int, last: int, lo: int, hi: int) -> View:
    _, rows, slots = bars.shape
    facts: Int64s = np.full(shape_for(slots, last - first), -1, dtype=np.int64)
    lay_out(bars, first, last, lo, hi, facts)
    seen: Int64s = np.zeros(slots, dtype=np.int64)
    return View(bars, first, last, lo, hi, rows - 1, seen, True, facts, np.empty((ROOM, slots)))


def showing(view: View, row: int, fact: int) -> list[int]:
    words: Int64s = np.full(-(-(view.hi - view.lo) // WORD), -1, dtype=np.int64)
    keep_showing(view, row, fact, words)
    slots: Int64s = np.empty(view.hi - view.lo, dtype=np.int64)
    return sorted(slots[: listed(view, words, slots)].tolist())


def test_a_word_has_room_for_the_facts_of_two_bars() -> None:
    assert KINDS <= HALF


@given(st.data())
def test_the_slots_that_show_a_fact_are_those_of_the_ring(data: st.DataObject) -> None:
    slots = data.draw(st.sampled_from([32, 63, 64, 65, 128, 130, 1000]))
    lo = data.draw(st.integers(0, slots - FEW))
    hi = data.draw(st.integers(lo + FEW, slots))
    first, count = data.draw(st.integers(BEFORE, 100)), data.draw(st.integers(1, 9))
    bars = ring(slots, 16, data.draw(st.integers(0, 9)))
    view = laid_out(bars, first, first + count, lo, hi)
    facts = bars[FACTS].view(np.int64)
    for row in range(first - BEFORE, first + count):
        for fact in (0, 7, KINDS - 1):
            expected = lo + np.flatnonzero(facts[row & 15, lo:hi] >> fact & 1)
            assert showing(view, row, fact) == expected.tolist()


@pytest.mark.parametrize("slots", [32, 64, 65])
def test_a_bar_that_never_was_shows_nothing(slots: int) -> None:
    view = laid_out(ring(slots, 8, 1), BEFORE, BEFORE + 1, 0, slots)
    assert not any(showing(view, 0, fact) for fact in range(HALF))
