"""Boosted trees in ONNX say what scikit-learn says, on rows, edges and whatever else float32 can hold."""

import re
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from alphapulse.adapters.boosted_onnx import boosted_edges, boosted_to_onnx
from alphapulse.adapters.onnx import MAX_BATCH, OnnxScorer
from alphapulse.adapters.onnx_operators import NotProtobuf, is_row_by_row, operators
from alphapulse.domain.analysis.fields import Floats
from tests.domain.decision.learned_models import dense, trees

FEATURES = ("a", "b", "c")


@cache
def fitted(trees_: int = 60, seed: int = 1) -> tuple[Any, Floats]:
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.normal(0, 1, 2_000), rng.integers(0, 4, 2_000), rng.lognormal(0, 3, 2_000)])
    rows = rows.astype(np.float32).astype(np.float64)
    rises = rng.random(2_000) < 1 / (1 + np.exp(-rows[:, 0] - (rows[:, 1] == 2)))
    model = HistGradientBoostingClassifier(
        max_iter=trees_, max_leaf_nodes=8, early_stopping=False, random_state=seed
    )
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(rows, rises), rows


@cache
def scorer(trees_: int = 60) -> OnnxScorer:
    return OnnxScorer(boosted_to_onnx(fitted(trees_)[0], 3), name="boosted", features=FEATURES)


def probability(scores: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-scores)))


def assert_alike(rows: Floats) -> None:
    with threadpool_limits(1):  # else threads wait for each other longer than they work
        expected = fitted()[0].predict_proba(rows)[:, 1]
    assert np.abs(probability(scorer().score(rows)) - expected).max() <= 1e-6


def test_rows_of_the_training_and_the_edges_of_every_cut_agree() -> None:
    model, rows = fitted()
    edges = boosted_edges(model, rows)
    assert len(edges) > 1_000
    assert_alike(np.concatenate([rows, edges]))


def test_values_beyond_all_cuts_agree() -> None:
    far = np.array([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1e30, -1e30])
    assert_alike(np.stack(np.meshgrid(far, far, far), -1).reshape(-1, 3).astype(np.float32).astype(float))


@given(st.lists(st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 3), min_size=1))
def test_any_row_that_float32_can_hold_agrees(rows: list[tuple[float, ...]]) -> None:
    assert_alike(np.array(rows))


def test_a_row_has_one_score_whatever_it_comes_with() -> None:
    """Also in runs of other sizes, and with more trees than a run takes at once."""
    rows = fitted()[1]
    rows = np.concatenate([rows] * 3)[: MAX_BATCH + 50]
    for trees_ in (60, 300):
        together = scorer(trees_).score(rows)
        alone = np.concatenate([scorer(trees_).score(row[None]) for row in rows[:400]])
        assert alone.tobytes() == together[:400].tobytes()
        assert scorer(trees_).score(rows[::-1])[::-1].tobytes() == together.tobytes()


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, 1e39, 1e300, -1e300])
def test_one_row_and_many_agree_on_what_is_missing(missing: float) -> None:
    rows = np.array([[0.5, 1.0, missing], [0.5, 1.0, 2.0]])
    assert np.isnan(scorer().score(rows)).tolist() == [True, False]
    assert np.isnan(scorer().score(rows[:1])).tolist() == [True]


def test_rows_that_are_slices_of_others_are_scored_as_they_are() -> None:
    wide = np.random.default_rng(2).normal(size=(50, 6))
    for rows in (wide[:, ::2], wide[:1, ::2], np.asfortranarray(wide[:, :3]), wide[7:8, 3:]):
        assert scorer().score(rows).tobytes() == scorer().score(np.ascontiguousarray(rows)).tobytes()


def test_alone_means_one_run_a_row() -> None:
    rows = np.random.default_rng(3).normal(size=(1_000, 2))
    one_by_one = OnnxScorer(dense(), name="dense", features=("a", "b"), alone=True)
    alone = np.concatenate([one_by_one.score(row[None]) for row in rows])
    assert one_by_one.score(rows).tobytes() == alone.tobytes()


def test_the_same_model_gives_the_same_bytes() -> None:
    assert boosted_to_onnx(fitted()[0], 3) == boosted_to_onnx(fitted()[0], 3)
    assert boosted_to_onnx(fitted()[0], 3) != boosted_to_onnx(fitted(60, 2)[0], 3)


def test_operators_are_read_without_the_package() -> None:
    assert operators(boosted_to_onnx(fitted()[0], 3)) == {"TreeEnsembleRegressor"}
    assert operators(dense()) == {"MatMul", "Tanh", "Sigmoid"}
    assert is_row_by_row(trees())
    assert not is_row_by_row(dense())
    assert not is_row_by_row(b""), "nothing is known of nothing"


def test_a_custom_operator_of_a_known_name_is_not_trusted() -> None:
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["z"], domain="elsewhere")
    number = TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "m", [helper.make_tensor_value_info("x", number, [None, 2])],
        [helper.make_tensor_value_info("z", number, [None, 1])],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("elsewhere", 1)])
    assert not is_row_by_row(made.SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(NotProtobuf):
        assert isinstance(operators(data), frozenset)


@given(st.integers(0, 3_000), st.integers(0, 255))
def test_a_damaged_model_is_read_or_refused(at: int, byte: int) -> None:
    data = bytearray(trees() * 2)
    data[at % len(data)] = byte
    with suppress(NotProtobuf):
        assert is_row_by_row(bytes(data)) in (True, False)


PAGE = Path(__file__).parents[2] / "docs" / "learned-voters.md"


@pytest.mark.parametrize("classifier", [LogisticRegression(), RandomForestClassifier(10, random_state=1)])
def test_the_way_to_bring_a_classifier_that_the_page_shows_works(classifier: Any) -> None:
    rows = fitted()[1][:400]
    given = {"classifier": classifier.fit(rows, rows[:, 0] > 0), "rows": rows}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(code, given)
    brought = OnnxScorer(given["artifact"], name="brought", features=FEATURES, alone=True)
    expected = classifier.predict_proba(rows)[:, 1]
    assert np.abs(brought.score(rows) - expected).max() <= 1e-5
