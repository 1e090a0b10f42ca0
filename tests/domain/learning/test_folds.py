"""Folds go forward in time, and nothing that a fit learns from was still open when its fold began."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.learning.folds import MAX_FOLDS, BadFolds, walk_forward


@given(st.integers(0, 1_000), st.integers(1, 8), st.integers(20, 300), st.integers(0, 30))
def test_a_fit_knows_nothing_of_its_fold(seed: int, folds: int, count: int, embargo: int) -> None:
    rng = np.random.default_rng(seed)
    known = np.sort(rng.integers(0, 500, count))
    label_known = known + rng.integers(1, 60, count)
    made = list(walk_forward(known, label_known, folds, embargo))
    judged = np.concatenate([fold.judged for fold in made])
    assert len(set(judged.tolist())) == len(judged), "each row is judged once"
    assert judged.tolist() == list(range(judged[0], count)), "and all after the first block"
    for fold in made:
        assert (known[fold.fit] < fold.cutoff).all()
        assert (label_known[fold.fit] + embargo <= fold.cutoff).all()
        assert (known[fold.judged] >= fold.cutoff).all()
        left_out = np.setdiff1d(np.flatnonzero(known < fold.cutoff), fold.fit)
        assert (label_known[left_out] + embargo > fold.cutoff).all(), "what may be learnt from is"


def test_rows_of_one_moment_are_never_parted() -> None:
    known = np.repeat(np.arange(10), 7)
    folds = list(walk_forward(known, known + 1, 4, 0))
    for fold in folds:
        assert len(set(known[fold.judged]) & set(known[fold.fit])) == 0
        assert (known[: fold.judged[0]] < known[fold.judged[0]]).all()


@pytest.mark.parametrize(
    ("folds", "count", "embargo"), [(0, 100, 0), (MAX_FOLDS + 1, 1_000, 0), (10, 21, 0), (2, 100, -1)]
)
def test_folds_have_limits(folds: int, count: int, embargo: int) -> None:
    known = np.arange(count)
    with pytest.raises(
        BadFolds, match=f"{folds} folds .1 to 50. of {count} rows, an embargo of {embargo} ns"
    ):
        list(walk_forward(known, known + 1, folds, embargo))
    assert len(list(walk_forward(np.arange(22), np.arange(22) + 1, 10, 0))) == 10
