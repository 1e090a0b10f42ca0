"""ONNX models behind the Scorer port, and isolation forests that score as scikit-learn's do."""

from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.ensemble import IsolationForest

from alphapulse.adapters import onnx as adapter
from alphapulse.adapters.forest_onnx import (
    NotTheSame,
    average_path,
    check_receipt,
    edge_rows,
    forest_to_onnx,
    parity,
)
from alphapulse.adapters.onnx import MAX_BATCH, BadOnnx, OnnxScorer
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.ports import Scorer


def model(
    inputs: int = 1,
    outputs: int = 1,
    *,
    columns: int = 2,
    width: int = 1,
    rows: int | None = None,
    type_: int = TensorProto.FLOAT,
) -> bytes:
    """ONNX that sums each row: [rows, columns] in, [rows, width] out."""
    shapes = [rows, columns], [rows, width]
    nodes = [helper.make_node("ReduceSum", ["x0", "axis"], [f"y{i}"], keepdims=1) for i in range(outputs)]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info(f"x{i}", type_, shapes[0]) for i in range(inputs)],
        [helper.make_tensor_value_info(f"y{i}", type_, shapes[1]) for i in range(outputs)],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def summing() -> Scorer:
    return OnnxScorer(model(), name="sum", features=("a", "b"))


def test_each_row_has_its_score() -> None:
    assert summing().score(np.array([[1.0, 2], [3, 4], [-1, 0.5]])).tolist() == [3, 7, -0.5]
    assert summing().score(np.empty((0, 2))).tolist() == []


def test_a_row_with_a_missing_value_has_no_score_and_the_others_theirs() -> None:
    rows = np.array([[1.0, np.nan], [3, 4], [np.inf, 0], [1e300, 0]])
    assert np.array_equal(summing().score(rows), [np.nan, 7, np.nan, np.nan], equal_nan=True)


def test_more_rows_than_a_batch_are_scored_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).normal(size=(2 * MAX_BATCH + 3, 2)).astype(np.float32).astype(np.float64)
    at_once = summing().score(rows)
    monkeypatch.setattr(adapter, "MAX_BATCH", 7)
    assert np.array_equal(summing().score(rows), at_once)
    assert np.array_equal(summing().score(rows[:7]), at_once[:7])
    assert np.array_equal(summing().score(rows[:8]), at_once[:8])


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (3, 2, 1)])
def test_rows_have_one_value_a_feature(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"sum: rows of shape .* features are a, b"):
        summing().score(np.ones(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": 2}, {"outputs": 2}, {"columns": 3}, {"width": 2}, {"rows": 5},
        {"type_": TensorProto.DOUBLE},
    ],
    ids=str,
)  # fmt: skip
def test_a_model_of_another_contract_is_refused_when_it_is_opened(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadOnnx, match=r"odd: has \[.*wanted float \[n, 2\] in and float \[n, 1\] out"):
        OnnxScorer(model(**wrong), name="odd", features=("a", "b"))


@pytest.mark.parametrize("data", [b"", b"no model", model()[:-9]], ids=["empty", "text", "cut"])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(BadOnnx, match=f"odd: .*{len(data)} bytes|odd: has"):
        OnnxScorer(data, name="odd", features=("a", "b"))


def test_a_model_may_be_so_large(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(model())
    monkeypatch.setattr(adapter, "MAX_BYTES", size)
    assert OnnxScorer(model(), name="m", features=("a", "b")).score(np.ones((1, 2))) == 2
    monkeypatch.setattr(adapter, "MAX_BYTES", size - 1)
    with pytest.raises(BadOnnx, match=f"m: {size} bytes, at most {size - 1}"):
        OnnxScorer(model(), name="m", features=("a", "b"))


def test_the_digest_is_that_of_the_bytes() -> None:
    same, other = OnnxScorer(model(), name="x", features=("a", "b")), model(columns=3)
    assert same.digest == summing().digest
    assert OnnxScorer(other, name="sum", features=("a", "b", "c")).digest != same.digest


# -- isolation forests ---------------------------------------------------------------------------------


def grown(rows: Floats, *, trees: int = 20, sample: int = 64, seed: int = 3, part: float = 1.0) -> Any:
    forest = IsolationForest(
        n_estimators=trees, max_samples=sample, random_state=seed, max_features=part, n_jobs=1
    )
    return forest.fit(rows)


def float32_rows(count: int, features: int, seed: int = 1) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(count, features))
    return rows.astype(np.float32).astype(np.float64)


def opened(forest: Any, features: int) -> OnnxScorer:
    names = [f"f{i}" for i in range(features)]
    return OnnxScorer(forest_to_onnx(forest, features), name="forest", features=names)


@pytest.mark.parametrize(
    ("features", "settings"),
    [(1, {}), (5, {}), (5, {"sample": 1000}), (4, {"part": 0.5}), (3, {"trees": 1, "sample": 2})],
)
def test_a_forest_scores_as_scikit_learn_says(features: int, settings: dict[str, Any]) -> None:
    rows = float32_rows(1_000, features)
    forest = grown(rows, **settings)
    scorer = opened(forest, features)
    compared = np.concatenate([rows, edge_rows(forest, rows)])
    assert np.abs(scorer.score(compared) + forest.score_samples(compared)).max() < 2e-6


def test_features_that_take_few_values_make_thresholds_that_equal_them() -> None:
    rows = np.round(float32_rows(500, 2), 0)
    forest = grown(rows)
    compared = np.concatenate([rows, edge_rows(forest, rows)])
    assert np.abs(opened(forest, 2).score(compared) + forest.score_samples(compared)).max() < 2e-6


def test_the_general_converter_says_the_same() -> None:
    from skl2onnx import to_onnx

    rows = float32_rows(400, 3)
    forest = grown(rows)
    general = to_onnx(
        forest,
        rows[:1].astype(np.float32),
        options={id(forest): {"score_samples": True}},
        target_opset={"": 21, "ai.onnx.ml": 3},
    )
    import onnxruntime

    session = onnxruntime.InferenceSession(general.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(["score_samples"], {"X": rows.astype(np.float32)})[0][:, 0]
    assert np.abs(opened(forest, 3).score(rows) + theirs).max() < 2e-6


def test_a_score_does_not_depend_on_the_other_rows() -> None:
    rows = float32_rows(300, 3)
    scorer = opened(grown(rows), 3)
    at_once = scorer.score(rows)
    assert np.array_equal(np.concatenate([scorer.score(rows[i : i + 1]) for i in range(300)]), at_once)
    assert np.array_equal(scorer.score(rows[::-1]), at_once[::-1])


def test_the_same_forest_gives_the_same_bytes() -> None:
    rows = float32_rows(300, 3)
    assert forest_to_onnx(grown(rows), 3) == forest_to_onnx(grown(rows), 3)
    assert forest_to_onnx(grown(rows), 3) != forest_to_onnx(grown(rows, seed=4), 3)


@pytest.mark.parametrize("samples", [1, 2, 3, 10, 256])
def test_average_path_is_that_of_random_search_trees(samples: int) -> None:
    """Exact by the recurrence; the paper's formula takes ln(i) + Euler's constant for the harmonic number."""
    exact = 2 * sum(1 / k for k in range(2, samples + 1)) if samples > 1 else 0.0
    found = float(average_path(np.array([samples]))[0])
    assert found == pytest.approx(exact, abs=1 / (samples - 1) if samples > 2 else 0)


def test_edges_lie_on_thresholds_and_right_beside_them() -> None:
    rows = float32_rows(200, 2)
    forest = grown(rows, trees=3)
    made = edge_rows(forest, rows)
    cuts = {
        float(t.tree_.threshold[n]) for t in forest.estimators_ for n in np.flatnonzero(t.tree_.feature >= 0)
    }
    assert len(made) == 3 * len(cuts)
    on = {float(np.float32(cut)) for cut in cuts}
    assert sum(any(float(v) in on for v in row) for row in made[::3]) == len(cuts)
    assert len(edge_rows(forest, rows, at_most=30)) <= 30


def test_a_forest_without_cuts_has_no_edges() -> None:
    rows = np.ones((64, 2))
    assert edge_rows(grown(rows), rows).shape == (0, 2)
    assert opened(grown(rows), 2).score(rows) == pytest.approx(-grown(rows).score_samples(rows))


def doctored(artifact: bytes, feature: int = 0, by: float = 0.25) -> bytes:
    """The same model with one threshold of the first tree moved: that of its root."""
    proto = onnx.load_from_string(artifact)
    attributes = {a.name: a for a in proto.graph.node[0].attribute}
    attributes["nodes_values"].floats[0] += by
    data: bytes = proto.SerializeToString()
    return data


def test_a_doctored_model_gets_no_receipt_and_the_row_is_named() -> None:
    rows = float32_rows(500, 2)
    forest = grown(rows)
    expected = -forest.score_samples(rows)
    wrong = OnnxScorer(doctored(forest_to_onnx(forest, 2)), name="forest", features=("a", "b"))
    with pytest.raises(
        NotTheSame, match=r"forest: \d+ of 500 rows differ by over 1e-05; the worst is row"
    ) as error:
        parity(wrong, expected, rows)
    at = int(str(error.value).split("worst is row ")[1].split(",")[0])
    assert abs(wrong.score(rows)[at] - expected[at]) == np.abs(wrong.score(rows) - expected).max()
    assert str(rows[at].tolist()) in str(error.value)


def test_a_threshold_rounded_the_other_way_is_found_at_its_edge_alone() -> None:
    """Ordinary rows do not tell: this is why edges are compared."""
    rows = float32_rows(300, 2)
    forest = grown(rows, trees=1)
    root = np.float32(forest.estimators_[0].tree_.threshold[0])
    step = float(np.nextafter(root, np.float32(np.inf)) - root)
    wrong = OnnxScorer(doctored(forest_to_onnx(forest, 2), by=2 * step), name="forest", features=("a", "b"))
    assert parity(wrong, -forest.score_samples(rows), rows)["worst_difference"] < 1e-5
    edges = edge_rows(forest, rows)
    with pytest.raises(NotTheSame):
        parity(wrong, -forest.score_samples(edges), edges)


def test_a_receipt_can_be_checked_by_whoever_opens_the_model() -> None:
    rows = float32_rows(500, 2)
    forest = grown(rows)
    scorer = opened(forest, 2)
    receipt = parity(scorer, -forest.score_samples(rows), rows)
    assert receipt["rows_compared"] == 500
    assert len(receipt["rows"]) == 48
    assert check_receipt(scorer, receipt) <= receipt["worst_difference"]
    receipt["scores"][7] += 1e-3
    with pytest.raises(NotTheSame, match=r"1 of 48 rows .* the worst is row 7"):
        check_receipt(scorer, receipt)


def test_a_missing_score_is_no_parity() -> None:
    rows = np.array([[1.0, np.nan]])
    with pytest.raises(NotTheSame, match="row 0"):
        parity(summing(), np.array([1.0]), rows)


@cache
def one_forest() -> tuple[Any, OnnxScorer]:
    forest = grown(float32_rows(200, 2))
    return forest, opened(forest, 2)


@given(row=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_any_row_that_float32_holds_scores_as_scikit_learn_says(row: list[float]) -> None:
    forest, scorer = one_forest()
    one = np.array([row])
    assert scorer.score(one)[0] == pytest.approx(-forest.score_samples(one)[0], abs=2e-6)
