"""A signal is in time if an anchor vouched for it before anybody could know its outcome."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.provenance.sealing import Receipt
from alphapulse.domain.provenance.timeliness import (
    COMMITTED,
    LATE,
    NOT_ANCHORED,
    UNDECIDED,
    Anchorings,
    Fate,
    judged,
)

SECOND = 10**9
NOON = 1_700_000_000 * SECOND


def receipt(size: int, second: float | None, anchor: str = "a") -> Receipt:
    time = None if second is None else (NOON + round(second * SECOND)) // 1_000
    return Receipt(size=size, anchor=anchor, kind="witness", time=time, data=f"{size} {second}".encode())


def fate(closed: float | None = 60, *, horizon: float = 600, seen: float = 0, bar: float = 0) -> Fate:
    return Fate(
        decided=NOON,
        horizon_end=NOON + round(horizon * SECOND),
        closed_at=None if closed is None else NOON + round(closed * SECOND),
        seen_until=NOON + round(seen * SECOND),
        bar_ns=round(bar * SECOND),
    )


@pytest.mark.parametrize(
    ("given_fate", "anchored", "state", "margin_s"),
    [
        (fate(60), 2, COMMITTED, 58),
        (fate(60), 60, LATE, 0),
        (fate(60), 90, LATE, -30),
        (fate(60, bar=60), 2, LATE, -2),  # the bar began when the signal was decided
        (fate(700, horizon=600), 650, LATE, -50),  # an expiry is known when the horizon ends
        (fate(None, seen=30), 2, COMMITTED, 28),
        (fate(None, seen=1), 2, UNDECIDED, -1),
        (fate(None, seen=0), 2, UNDECIDED, -2),
    ],
)
def test_the_anchor_is_held_against_when_the_outcome_could_be_known(
    given_fate: Fate, anchored: float, state: str, margin_s: float
) -> None:
    found = judged(given_fate, receipt(1, anchored))
    assert (found.state, found.margin_ns) == (state, margin_s * SECOND)


def test_without_a_settled_receipt_nothing_is_anchored() -> None:
    assert judged(fate(), None).state == NOT_ANCHORED
    assert judged(fate(), receipt(9, None)).state == NOT_ANCHORED


def test_no_anchor_makes_up_for_a_log_that_held_the_outcome_first() -> None:
    known = Fate(decided=NOON, horizon_end=NOON + SECOND, closed_at=NOON + SECOND, was_known=True)
    assert judged(known, receipt(1, -100)).state == LATE
    assert judged(known, None).state == LATE


def test_a_tree_of_as_many_leaves_as_the_signals_number_does_not_hold_it() -> None:
    anchorings = Anchorings([receipt(5, 1), receipt(6, 2)])
    assert anchorings.of(4) == receipt(5, 1)
    assert anchorings.of(5) == receipt(6, 2)
    assert anchorings.of(6) is None


def test_a_later_tree_that_settled_earlier_counts() -> None:
    """OpenTimestamps settle after hours; a witness of the next checkpoint has vouched long before."""
    anchorings = Anchorings([receipt(5, 9_000, "ots"), receipt(8, 3, "witness"), receipt(9, None)])
    assert anchorings.of(2) == receipt(8, 3, "witness")


def test_a_file_witness_counts_for_nothing() -> None:
    ours = Receipt(size=9, anchor="disk", kind="file", time=NOON // 1_000, data=b"")
    assert Anchorings([ours]).of(0) is None
    assert Anchorings([ours, receipt(9, 5)]).of(0) == receipt(9, 5)


@given(st.lists(st.tuples(st.integers(1, 12), st.one_of(st.none(), st.integers(0, 9))), max_size=12))
def test_the_earliest_is_found_among_all(given_: list[tuple[int, int | None]]) -> None:
    receipts = [receipt(size, second) for size, second in given_]
    anchorings = Anchorings(receipts)
    for leaf in range(13):
        times = [r.time for r in receipts if r.time is not None and r.size > leaf]
        found = anchorings.of(leaf)
        assert (None if found is None else found.time) == min(times, default=None)
        assert found is None or found.size > leaf
