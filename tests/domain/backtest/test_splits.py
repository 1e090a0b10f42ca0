"""What is chosen by shares nothing with what it is measured on; skfolio cuts where we cut."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV, WalkForward

from alphapulse.domain.backtest import splits
from alphapulse.domain.backtest.splits import (
    BadSplits,
    Combinatorial,
    Window,
    anchored,
    equal_groups,
    rolling,
)
from alphapulse.domain.learning.folds import walk_forward

DAY = splits.DAY_NS


@given(
    train=st.integers(2, 40), test=st.integers(1, 15), apart=st.integers(0, 8), more=st.integers(1, 120),
    partial=st.booleans(), is_anchored=st.booleans(),
)  # fmt: skip
def test_walk_forward_windows_are_those_of_skfolio(
    train: int, test: int, apart: int, more: int, partial: bool, is_anchored: bool
) -> None:
    """skfolio puts the purged rows before the train range's end; ours has them in it, and is longer."""
    count = train + apart + more
    theirs = WalkForward(
        test, train, expand_train=is_anchored, reduce_test=partial, purged_size=apart
    ).split(np.zeros((count, 1)))  # fmt: skip
    opened = np.arange(count)
    closed = opened + 1 + apart  # known after the row itself and ``apart`` more
    if more < test and not partial:
        with pytest.raises(BadSplits, match=f"train {train + apart}, test {test}, embargo 0: 0 windows"):
            rolling(0, count, train=train + apart, test=test, partial=False)
        assert list(theirs) == []
        return
    ours = (anchored if is_anchored else rolling)(0, count, train=train + apart, test=test, partial=partial)
    for window, (their_train, their_test) in zip(ours, theirs, strict=True):
        assert np.flatnonzero(splits.trained_on(window, opened, closed)).tolist() == their_train.tolist()
        assert np.flatnonzero(splits.tested_on(window, opened)).tolist() == their_test.tolist()


@given(
    groups=st.integers(3, 9), tested=st.integers(2, 8), length=st.integers(8, 14), rest=st.integers(0, 8),
    purged=st.integers(0, 3), embargo=st.integers(0, 3),
)  # fmt: skip
def test_combinatorial_splits_are_those_of_skfolio(
    groups: int, tested: int, length: int, rest: int, purged: int, embargo: int
) -> None:
    """skfolio counts rows and gives the rest of a division to the last group; ours are told the edges."""
    tested, rest = min(tested, groups - 1), min(rest, groups - 1)
    count = groups * length + rest
    theirs = CombinatorialPurgedCV(groups, tested, purged_size=purged, embargo_size=embargo)
    edges = np.arange(groups + 1) * length
    edges[-1] = count
    ours = Combinatorial(edges, tested, embargo=embargo)
    opened = np.arange(count)
    closed = opened + 1 + purged
    known = ours.known(opened, closed)
    assert (math.comb(groups, tested), ours.paths) == (theirs.n_splits, theirs.n_test_paths)
    assert [list(each) for each in ours.path_groups()] == theirs.get_path_ids().tolist()
    for split, (train, tests) in zip(ours.splits(), theirs.split(np.zeros((count, 1))), strict=True):
        assert np.flatnonzero(ours.trained_on(split, known, opened, closed)).tolist() == train.tolist()
        for group, test in zip(split, tests, strict=True):
            assert np.flatnonzero(ours.tested_in(group, opened)).tolist() == test.tolist()


@given(st.integers(0, 1_000), st.integers(2, 8), st.integers(1, 7), st.integers(0, 30), st.integers(0, 30))
def test_no_outcome_that_is_chosen_by_overlaps_what_is_tested(
    seed: int, groups: int, tested: int, embargo: int, lead: int
) -> None:
    rng = np.random.default_rng(seed)
    opened = np.sort(rng.integers(-50, 1_050, 300))
    closed = opened + rng.integers(1, 90, 300)
    cut = Combinatorial(equal_groups(0, 1_000, groups, 1), min(tested, groups - 1), embargo, lead)
    known = cut.known(opened, closed)
    for split in cut.splits():
        chosen_by = cut.trained_on(split, known, opened, closed)
        for group in split:
            test = cut.tested_in(group, opened)
            begin, end = cut.edges[group], max(cut.edges[group + 1], closed[test].max(initial=0))
            before, after = closed[chosen_by] <= begin - lead, opened[chosen_by] >= end + embargo
            assert (before | after).all()
            assert not (chosen_by & test).any()


@given(st.integers(0, 1_000), st.integers(0, 40))
def test_a_window_learns_what_a_fold_of_the_learner_learns(seed: int, embargo: int) -> None:
    """One rule of purging for fitted models and chosen configurations."""
    rng = np.random.default_rng(seed)
    known = np.sort(rng.choice(2_000, 200, replace=False))
    label_known = known + rng.integers(1, 60, 200)
    for fold in walk_forward(known, label_known, 4, embargo):
        window = Window(0, fold.cutoff - embargo, fold.cutoff, int(known[fold.judged[-1]]) + 1)
        assert np.flatnonzero(splits.trained_on(window, known, label_known)).tolist() == fold.fit.tolist()
        assert np.flatnonzero(splits.tested_on(window, known)).tolist() == fold.judged.tolist()


@given(st.integers(2, 10), st.integers(1, 9))
def test_each_path_tests_each_group_once(groups: int, tested: int) -> None:
    cut = Combinatorial(np.arange(groups + 1), min(tested, groups - 1))
    met = [
        (path, group)
        for split, paths in zip(cut.splits(), cut.path_groups(), strict=True)
        for group, path in zip(split, paths, strict=True)
    ]
    assert sorted(met) == [(path, group) for path in range(cut.paths) for group in range(groups)]


def test_test_ranges_follow_one_another_to_the_end() -> None:
    made = rolling(0, 100, train=30, test=20, embargo=5)
    assert made[:2] == [Window(0, 25, 30, 50), Window(20, 45, 50, 70)]
    assert made[2:] == [Window(40, 65, 70, 90), Window(60, 85, 90, 100)]
    assert [w.train_from for w in anchored(0, 100, train=30, test=20)] == [0, 0, 0, 0]
    assert rolling(0, 100, train=30, test=20, embargo=5, partial=False) == made[:3]


def test_groups_are_of_whole_days_and_of_about_one_length() -> None:
    edges = equal_groups(3 * DAY + 7, 61 * DAY + 5, 10)
    assert edges[0] == 3 * DAY + 7
    assert edges[-1] == 61 * DAY + 5
    assert (edges[1:-1] % DAY == 0).all()
    days = np.diff(np.append(3 * DAY, edges[1:-1])) // DAY
    assert set(days.tolist()) == {5, 6}


@pytest.mark.parametrize(
    ("until", "train", "test", "embargo", "message"),
    [
        (100, 100, 10, 0, "from 0 to 100: train 100, test 10, embargo 0: 0 windows, 1 to 1000 are possible"),
        (1_100, 99, 1, 0, "1001 windows, 1 to 1000"),
        (100, 10, 10, 10, "train 10, test 10, embargo 10: needs train > embargo"),
        (100, 10, 0, 0, "test 0"),
        (100, 10, 10, -1, "embargo -1"),
    ],
)
def test_windows_have_limits(until: int, train: int, test: int, embargo: int, message: str) -> None:
    with pytest.raises(BadSplits, match=message):
        anchored(0, until, train=train, test=test, embargo=embargo)
    assert len(rolling(0, 1_099, train=99, test=1)) == 1_000


@pytest.mark.parametrize(
    ("groups", "tested", "message"),
    [
        (51, 2, "51 groups .2 to 50."),
        (1, 1, "1 groups .2 to 50."),
        (6, 6, "6 of 6 groups tested at a time: 0 splits"),
        (6, 0, "0 of 6 groups tested"),
        (20, 5, "5 of 20 groups tested at a time: 15504 splits, 1 to 5000"),
    ],
)
def test_combinations_have_limits(groups: int, tested: int, message: str) -> None:
    with pytest.raises(BadSplits, match=message):
        Combinatorial(np.arange(groups + 1), tested)


def test_groups_need_units_and_rising_edges() -> None:
    with pytest.raises(BadSplits, match=f"3 groups .2 to 50. of 2 times {DAY} from 0 to {2 * DAY}"):
        equal_groups(0, 2 * DAY, 3)
    with pytest.raises(BadSplits, match=r"rising edges \[0, 5, 5\]"):
        Combinatorial(np.array([0, 5, 5]), 1)
    with pytest.raises(BadSplits, match="embargo -1, lead 0"):
        Combinatorial(np.array([0, 5, 6]), 1, embargo=-1)
