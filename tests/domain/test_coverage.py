"""What was watched: facts about a feed become states and coverage."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.market.coverage import FOREVER, Fact, Intervals, State, states, subtract, watch
from alphapulse.domain.market.timeframes import MINUTE_NS

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def moments(pairs: Sequence[tuple[int, int]]) -> set[int]:
    return {m for start, end in pairs for m in range(start, end)}


@given(spans, spans)
def test_intervals_hold_overlap_and_measure_as_sets_of_moments_do(
    pairs: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    union, inside = Intervals.of(pairs), moments(pairs)
    assert moments(union.pairs()) == inside
    asked = [(a, b) for a, b in asked if a < b]
    starts = np.array([a for a, _ in asked], dtype=np.int64)
    ends = np.array([b for _, b in asked], dtype=np.int64)
    want = [set(range(a, b)) for a, b in asked]
    assert union.overlap(starts, ends).tolist() == [bool(w & inside) for w in want]
    assert union.hold(starts, ends).tolist() == [w <= inside for w in want]
    assert union.measure(starts, ends).tolist() == [len(w & inside) for w in want]


@given(spans, st.integers(0, 40), st.integers(0, 40))
def test_subtracting_takes_those_moments_away(pairs: list[tuple[int, int]], start: int, end: int) -> None:
    end = max(start, end)
    assert moments(subtract(pairs, start, end)) == moments(pairs) - set(range(start, end))


def test_only_whole_minutes_are_covered() -> None:
    held = Intervals.of([(MINUTE_NS // 2, 3 * MINUTE_NS), (5 * MINUTE_NS, 5 * MINUTE_NS + 1)])
    assert held.whole_minutes().pairs() == [(1, 3)]


def fact(kind: str, start: int, end: int | None = None, high_water: int = 0) -> Fact:
    return Fact(kind, start, end, high_water)


def test_a_connection_proves_nothing_beyond_the_markets_clock() -> None:
    assert watch([fact("connected", 10)], 50).watched.pairs() == [(10, 50)]
    assert watch([fact("connected", 10)], 5).watched.pairs() == []


def test_a_lost_feed_is_down_until_it_connects_again_or_for_ever() -> None:
    seen = watch([fact("connected", 10), fact("lost", 20)], 15)
    assert (seen.watched.pairs(), seen.down.pairs()) == ([(10, 20)], [(20, FOREVER)])
    seen = watch([fact("connected", 10), fact("lost", 20), fact("lost", 25), fact("connected", 30)], 40)
    assert (seen.watched.pairs(), seen.down.pairs()) == ([(10, 20), (30, 40)], [(20, 30)])


def test_a_filled_gap_is_no_longer_down_and_the_last_word_counts() -> None:
    facts = [fact("connected", 0), fact("lost", 10), fact("connected", 30), fact("back_filled", 10, 20)]
    seen = watch(facts, 40)
    assert (seen.down.pairs(), seen.filled.pairs()) == ([(20, 30)], [(10, 20)])
    seen = watch([*facts, fact("abandoned", 15, 20)], 40)
    assert (seen.down.pairs(), seen.filled.pairs()) == ([(15, 30)], [(10, 15)])


def test_a_gap_closed_before_the_feed_is_back_leaves_the_rest_unwatched() -> None:
    seen = watch([fact("connected", 0), fact("lost", 10), fact("back_filled", 10, 20)], 40)
    assert (seen.watched.pairs(), seen.down.pairs(), seen.filled.pairs()) == ([(0, 10)], [], [(10, 20)])


def test_what_lies_between_an_unheard_death_and_the_next_connection_is_unknown() -> None:
    seen = watch([fact("connected", 0), fact("connected", 30, high_water=12)], 40)
    assert (seen.watched.pairs(), seen.down.pairs()) == ([(0, 12), (30, 40)], [])


def test_minutes_of_an_abandoned_gap_are_not_covered_though_the_feed_was_up() -> None:
    facts = [fact("connected", 0), fact("abandoned", MINUTE_NS, 2 * MINUTE_NS)]
    assert watch(facts, 4 * MINUTE_NS).covered_minutes.pairs() == [(0, 1), (2, 4)]


def test_states_are_the_first_that_fits() -> None:
    seen = watch([fact("connected", 0), fact("lost", 20), fact("connected", 30)], 50)
    starts = np.array([0, 0, 15, 25, 0, 0, 40, 60], dtype=np.int64)
    found = states(
        seen,
        starts,
        starts + 10,
        exists=np.array([True, True, True, False, True, True, False, False]),
        source=np.array([5, 0, 0, 0, 0, 0, 0, 0]),
        flags=np.array([2, 2, 0, 0, 0, 0, 0, 0]),
        revision=np.array([1, 1, 1, 0, 1, 0, 0, 0]),
    )
    assert [State(s).name for s in found] == [
        *("VENUE_SUPPLIED", "BACK_FILLED", "FEED_DOWN", "FEED_DOWN"),
        *("REVISED", "TRADED", "QUIET", "UNKNOWN"),
    ]
