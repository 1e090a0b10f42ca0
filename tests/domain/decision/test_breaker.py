"""The breaker: silent once the wins are fewer than was claimed, and not before that is clear."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.proportions import wilson
from alphapulse.domain.decision.breaker import MIN_OUTCOMES, mutes, mutes_at, upper_bound, upper_bound_at

ANY = st.floats(allow_nan=True, allow_infinity=True)
COUNTS = st.floats(0, 500) | st.integers(0, 500).map(float)


def test_twenty_wins_of_thirty_refute_a_claim_of_ninety_but_not_of_eighty() -> None:
    assert mutes(20, 30, 0.90)
    assert not mutes(20, 30, 0.80)


def test_nothing_is_muted_before_thirty_outcomes() -> None:
    assert not mutes(0, 29, 0.99)
    assert not mutes(0.0, 29.999, 0.99)
    assert mutes(0, MIN_OUTCOMES, 0.99)


def test_another_least_number_of_outcomes_can_be_asked_for() -> None:
    assert not mutes(10, 99, 0.9, 100)
    assert mutes(10, 100, 0.9, 100)


@given(st.floats(0, 1), st.floats(0.01, 5_000))
def test_the_bound_is_wilsons(rate: float, count: float) -> None:
    wins = min(rate * count, count)
    bound = float(wilson(np.array([wins / count]), np.array([count]))[1][0])
    assert upper_bound(wins, count) == pytest.approx(bound, abs=1e-12)


@given(COUNTS | ANY, COUNTS | ANY, st.floats(0, 1) | ANY)
def test_kernels_decide_the_same(wins: float, outcomes: float, claim: float) -> None:
    bound, same = upper_bound(wins, outcomes), upper_bound_at(wins, outcomes)
    assert bound == same or (math.isnan(bound) and math.isnan(same))
    assert mutes_at(wins, outcomes, claim, 30.0) == mutes(wins, outcomes, claim)


@given(st.integers(MIN_OUTCOMES, 5_000), st.data())
def test_at_the_bound_itself_nothing_is_muted(outcomes: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, outcomes))
    bound = min(upper_bound(wins, outcomes), 1.0)
    assert not mutes(wins, outcomes, bound)
    if bound < 1:
        assert mutes(wins, outcomes, np.nextafter(bound, 2))


@pytest.mark.parametrize(
    ("wins", "outcomes", "claim"),
    [(math.nan, 40, 0.9), (3, math.nan, 0.9), (41, 40, 0.9), (-1, 40, 0.9), (40, 40, math.nan),
     (40, 40, 1.1), (math.inf, math.inf, 0.9), (1, math.inf, 0.9)],
)  # fmt: skip
def test_what_cannot_be_counted_mutes(wins: float, outcomes: float, claim: float) -> None:
    assert mutes(wins, outcomes, claim)
    assert mutes_at(wins, outcomes, claim, 30.0)


@given(st.integers(MIN_OUTCOMES, 300), st.data())
def test_one_more_win_never_mutes(outcomes: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, outcomes - 1))
    claim = data.draw(st.floats(0, 1))
    assert mutes(wins, outcomes, claim) or not mutes(wins + 1, outcomes, claim)
