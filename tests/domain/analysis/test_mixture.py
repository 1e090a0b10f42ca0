"""Inference in hidden states: equal to the libraries that fit them, and blind to what comes later."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.mixture import (
    MAX_DIMENSIONS,
    MAX_STATES,
    BadMixture,
    Hidden,
    Markov,
    Mixture,
    hidden,
)


def parameters(seed: int, k: int = 3, d: int = 2) -> dict[str, Any]:
    """Any mixture and Markov model at once: each takes what it needs."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(0, 1, (k, d, d))
    return {
        "center": rng.normal(0, 5, d).tolist(),
        "scale": rng.uniform(0.1, 9, d).tolist(),
        "means": rng.normal(0, 2, (k, d)).tolist(),
        "covariances": (roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)).tolist(),
        "weights": rng.dirichlet(np.ones(k)).tolist(),
        "start": rng.dirichlet(np.ones(k)).tolist(),
        "transition": rng.dirichlet(np.ones(k), k).tolist(),
    }


def rows_for(found: dict[str, Any], seed: int, n: int) -> Floats:
    rng = np.random.default_rng(seed + 1)
    units = rng.normal(0, 3, (n, len(found["center"])))
    return np.asarray(units * found["scale"] + found["center"])


def both(found: dict[str, Any]) -> tuple[Mixture, Markov]:
    return Mixture.of(found), Markov.of(found)


def by_sklearn(found: dict[str, Any], rows: Floats) -> Floats:
    covariances = np.array(found["covariances"])
    oracle = GaussianMixture(len(found["weights"]))
    oracle.weights_, oracle.means_ = np.array(found["weights"]), np.array(found["means"])
    oracle.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(covariances)).transpose(0, 2, 1)
    return np.asarray(oracle.predict_proba((rows - found["center"]) / found["scale"]))


def hmm(found: dict[str, Any]) -> GaussianHMM:
    oracle = GaussianHMM(len(found["start"]), covariance_type="full")
    oracle.startprob_, oracle.transmat_ = np.array(found["start"]), np.array(found["transition"])
    oracle.means_, oracle.covars_ = np.array(found["means"]), np.array(found["covariances"])
    return oracle


@given(seed=st.integers(0, 10_000), k=st.integers(1, MAX_STATES), d=st.integers(1, 5))
def test_a_mixture_gives_what_scikit_learn_gives(seed: int, k: int, d: int) -> None:
    found = parameters(seed, k, d)
    rows = rows_for(found, seed, 20)
    got, _ = Mixture.of(found).advance(rows)
    np.testing.assert_allclose(got, by_sklearn(found, rows), rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 5), d=st.integers(1, 4))
def test_a_markov_model_gives_what_hmmlearn_gives_at_the_end_of_each_prefix(
    seed: int, k: int, d: int
) -> None:
    """hmmlearn smooths; what it says of the last row of a prefix is what a filter says."""
    found = parameters(seed, k, d)
    rows = rows_for(found, seed, 25)
    oracle, units = hmm(found), (rows - found["center"]) / found["scale"]
    expected = [oracle.predict_proba(units[: end + 1])[-1] for end in range(len(rows))]
    got, _ = Markov.of(found).advance(rows)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_a_long_filter_is_the_plain_recursion_of_products() -> None:
    found = parameters(4)
    rows = rows_for(found, 4, 2_000)
    units = (rows - found["center"]) / found["scale"]
    inverse = [np.linalg.inv(c) for c in found["covariances"]]
    scale = [np.sqrt(np.linalg.det(c)) for c in found["covariances"]]
    state, transition = np.array(found["start"]), np.array(found["transition"])
    got, _ = Markov.of(found).advance(rows)
    for i, unit in enumerate(units):
        away = unit - np.array(found["means"])
        density = np.array(
            [np.exp(-0.5 * a @ v @ a) / s for a, v, s in zip(away, inverse, scale, strict=True)]
        )
        state = (state if i == 0 else state @ transition) * density
        state /= state.sum()
        np.testing.assert_allclose(got[i], state, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_chunks_of_any_size_give_the_same_bytes(seed: int, cuts: list[int]) -> None:
    found = parameters(seed)
    rows = rows_for(found, seed, 60)
    for model in both(found):
        whole, end = model.advance(rows)
        state, parts = None, []
        edges = [0, *sorted(cuts), 60]
        for a, b in pairwise(edges):
            part, state = model.advance(rows[a:b], state)
            parts.append(part)
        assert np.concatenate(parts).tobytes() == whole.tobytes()
        assert (state is None and end is None) or state.tobytes() == end.tobytes()


@given(seed=st.integers(0, 10_000), t=st.integers(0, 49))
def test_what_comes_after_a_bar_changes_nothing_up_to_it(seed: int, t: int) -> None:
    found = parameters(seed)
    rows = rows_for(found, seed, 50)
    poisoned = rows.copy()
    poisoned[t + 1 :] = np.random.default_rng(seed).choice([1e9, -1e9, np.nan], (49 - t, 2))
    for model in both(found):
        assert model.advance(rows)[0][: t + 1].tobytes() == model.advance(poisoned)[0][: t + 1].tobytes()


def test_probabilities_far_out_are_still_probabilities() -> None:
    found = parameters(1)
    far = np.array([[1e9, -1e9], [1e150, 1e150], [0.0, 0.0]])
    for model in both(found):
        got, _ = model.advance(far)
        np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-12)


def test_a_missing_value_leaves_a_mixture_silent_and_a_markov_model_with_its_expectation() -> None:
    found = parameters(2)
    rows = rows_for(found, 2, 3)
    rows[1, 0] = np.nan
    mixture, markov = both(found)
    assert np.isnan(mixture.advance(rows)[0]).all(axis=1).tolist() == [False, True, False]
    got, _ = markov.advance(rows)
    np.testing.assert_allclose(got[1], got[0] @ np.array(found["transition"]), rtol=1e-12)


def test_a_value_too_far_out_to_be_told_says_nothing_like_one_that_is_missing() -> None:
    found = parameters(2)
    rows = rows_for(found, 2, 4)
    rows[1] = 1e200
    rows[2] = -np.inf
    mixture, markov = both(found)
    assert np.isnan(mixture.advance(rows)[0]).all(axis=1).tolist() == [False, True, True, False]
    got, _ = markov.advance(rows)
    transition = np.array(found["transition"])
    np.testing.assert_allclose(got[2], got[0] @ transition @ transition, rtol=1e-12)


def test_a_state_that_cannot_begin_or_change_stays_impossible() -> None:
    found = {**parameters(3, 2), "start": [1.0, 0.0], "transition": [[1.0, 0.0], [0.0, 1.0]]}
    got, _ = Markov.of(found).advance(rows_for(found, 3, 30))
    assert (got == [1.0, 0.0]).all()


def test_the_kind_says_which_model_it_is() -> None:
    kinds: dict[str, type[Hidden]] = {"regime_gmm": Mixture, "regime_hmm": Markov}
    assert {kind: type(hidden(kind, parameters(1))) for kind in kinds} == kinds
    with pytest.raises(BadMixture, match="'svm' is none of regime_gmm, regime_hmm"):
        hidden("svm", parameters(1))


@pytest.mark.parametrize(("change", "message"), [
    ({"weights": [0.5, 0.6]}, r"weights \[0.5, 0.6\] of shape \(2,\) are no shares"),
    ({"weights": [1.5, -0.5]}, "are no shares"),
    ({"weights": [1.0]}, r"of shape \(1,\) are no shares of shape \(2,\)"),
    ({"scale": [1.0, 0.0]}, r"scale \[1.0, 0.0\] is not positive"),
    ({"scale": [1.0]}, r"scale \(1,\)"),
    ({"means": [[float("nan"), 0.0], [0.0, 0.0]]}, "means .*nan.* needs 2 dimensions of finite numbers"),
    ({"means": "x"}, "means 'x' is no array of numbers"),
    ({"covariances": [[[1.0, 2.0], [2.0, 1.0]]] * 2}, "are not positive definite"),
    ({"means": [[0.0] * (MAX_DIMENSIONS + 1)] * 2}, "2 states of 17 values: at most 8 of 16"),
    ({"means": [[0.0, 0.0]] * (MAX_STATES + 1)}, "9 states of 2 values"),
])  # fmt: skip
def test_what_is_no_model_is_refused_with_its_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadMixture, match=message):
        Mixture.of({**parameters(1, 2), **change})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadMixture, match="no 'transition' among center"):
        Markov.of({name: value for name, value in parameters(1).items() if name != "transition"})
