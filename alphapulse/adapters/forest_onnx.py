"""An isolation forest of scikit-learn as ONNX, and the proof that both say the same.

All trees become one TreeEnsembleRegressor whose leaves hold path lengths; the general converter makes a
graph of 27 nodes a tree, which takes 100 times as long for a row. onnx and scikit-learn come with the
extra ``train``.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.ports import Scorer

TOLERANCE = 1e-5  # of a score between 0 and 1: float32 sums of path lengths come within 1e-6
EDGE_ROWS = 20_000  # at most, compared in one receipt
STORED_ROWS = 48  # of the rows compared, kept in the receipt

_EULER = 0.5772156649015329
Narrow = NDArray[np.float32]


class NotTheSame(ValueError):
    """Two models that should be one give different scores: the message holds the row."""


def forest_to_onnx(forest: Any, features: int) -> bytes:
    """The fitted sklearn.ensemble.IsolationForest ``forest`` as ONNX: float32[n, features] to score[n, 1].

    The score is -score_samples: 2**(-mean path length / average path length of the sample). Thresholds are
    rounded down to float32: then x <= threshold says the same of every float32 x.
    """
    helper, onnx = import_module("onnx.helper"), import_module("onnx")
    attributes: dict[str, list[Any]] = {name: [] for name in (*_NODE, *_TARGET)}
    for number, (tree, used) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
        _add_tree(attributes, number, tree.tree_, used)
    count = len(forest.estimators_)
    scale = -1.0 / (count * float(average_path(np.array([forest.max_samples_]))[0]))
    nodes = [
        helper.make_node(
            "TreeEnsembleRegressor", ["features"], ["length"], domain="ai.onnx.ml", n_targets=1,
            aggregate_function="SUM", post_transform="NONE", **attributes,
        ),
        helper.make_node("Mul", ["length", "scale"], ["power"]),
        helper.make_node("Pow", ["two", "power"], ["score"]),
    ]  # fmt: skip
    number_ = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "isolation_forest",
        [helper.make_tensor_value_info("features", number_, [None, features])],
        [helper.make_tensor_value_info("score", number_, [None, 1])],
        [helper.make_tensor("scale", number_, [1], [scale]), helper.make_tensor("two", number_, [1], [2.0])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="alphapulse")
    onnx.checker.check_model(model)
    artifact: bytes = model.SerializeToString(deterministic=True)
    return artifact


def average_path(samples: NDArray[Any]) -> Floats:
    """Average path length of an unsuccessful search in a binary tree of each of ``samples``.

    Source: Liu, Ting, Zhou, Isolation Forest (2008), equation 1, with H(i) = ln(i) + Euler's constant.
    """
    n = np.maximum(samples.astype(np.float64), 3.0)
    long = 2 * (np.log(n - 1) + _EULER) - 2 * (n - 1) / n
    return np.where(samples > 2, long, np.where(samples == 2, 1.0, 0.0))


def edge_rows(forest: Any, rows: Floats, *, at_most: int = EDGE_ROWS) -> Floats:
    """Rows in which one feature lies exactly on a threshold, or on the float32 just below or above it.

    The other features are those of ``rows``, in turn. Every k-th threshold where there are too many.
    """
    cuts = [
        (int(used[tree.feature[node]]), float(tree.threshold[node]))
        for tree, used in _trees(forest)
        for node in np.flatnonzero(tree.children_left >= 0)
    ]
    return around(cuts, rows, at_most=at_most)


def around(cuts: Sequence[tuple[int, float]], rows: Floats, *, at_most: int = EDGE_ROWS) -> Floats:
    """``rows`` in turn, in each of which one feature lies on its cut, or just below or above it."""
    if not cuts:
        return np.empty((0, rows.shape[1]))
    cuts = cuts[:: -(-3 * len(cuts) // at_most)]
    made = np.repeat(rows[np.arange(len(cuts)) % len(rows)], 3, axis=0)
    for i, (feature, threshold) in enumerate(cuts):
        on = np.float32(threshold)
        below, above = (np.nextafter(on, np.float32(to)) for to in (-np.inf, np.inf))
        made[3 * i : 3 * i + 3, feature] = (on, below, above)
    return made


def parity(
    scorer: Scorer, expected: Floats, rows: Floats, *, tolerance: float = TOLERANCE, stored: int = STORED_ROWS
) -> dict[str, Any]:
    """A receipt: ``scorer`` gives each of ``rows`` the score ``expected``, within ``tolerance``.

    It holds the worst difference and some of the rows, so that anybody who opens the model can check it.

    Raises:
        NotTheSame: a score is farther off, or missing.
    """
    worst = compared(scorer, expected, rows, tolerance)
    kept = np.unique(np.linspace(0, len(rows) - 1, min(stored, len(rows))).astype(int))
    return {
        "rows_compared": len(rows),
        "worst_difference": worst,
        "tolerance": tolerance,
        "rows": rows[kept].tolist(),
        "scores": expected[kept].tolist(),
    }


def check_receipt(scorer: Scorer, receipt: dict[str, Any]) -> float:
    """The worst difference between ``scorer`` here and the scores in the receipt of its fitting.

    Raises:
        NotTheSame: it is over the receipt's tolerance.
    """
    rows = np.array(receipt["rows"], dtype=np.float64)
    return compared(scorer, np.array(receipt["scores"], dtype=np.float64), rows, receipt["tolerance"])


def compared(scorer: Scorer, expected: Floats, rows: Floats, tolerance: float) -> float:
    found = scorer.score(rows)
    apart = np.abs(found - expected)
    bad = ~(apart <= tolerance)  # NaN is bad too
    if bad.any():
        at = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
        raise NotTheSame(
            f"{scorer.name}: {int(bad.sum())} of {len(rows)} rows differ by over {tolerance:g}; the worst is "
            f"row {at}, {rows[at].tolist()}: {found[at]:.9g}, expected {expected[at]:.9g}"
        )
    return float(apart.max(initial=0.0))


def _trees(forest: Any) -> Sequence[tuple[Any, Any]]:
    pairs = zip(forest.estimators_, forest.estimators_features_, strict=True)
    return [(tree.tree_, used) for tree, used in pairs]


_NODE = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes",
    "nodes_truenodeids", "nodes_falsenodeids",
)  # fmt: skip
_TARGET = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


def _add_tree(attributes: dict[str, list[Any]], number: int, tree: Any, used: Any) -> None:
    """Append the nodes and leaves of one tree. A leaf weighs its depth and what its rows would still take."""
    count, leaf = tree.node_count, tree.children_left < 0
    depth = _depths(tree)
    columns: dict[str, Any] = {
        "nodes_treeids": [number] * count,
        "nodes_nodeids": range(count),
        "nodes_featureids": np.where(leaf, 0, np.asarray(used)[np.maximum(tree.feature, 0)]).tolist(),
        "nodes_values": np.where(leaf, 0.0, rounded_down(tree.threshold)).tolist(),
        "nodes_modes": ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf],
        "nodes_truenodeids": np.where(leaf, 0, tree.children_left).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, tree.children_right).tolist(),
        "target_treeids": [number] * int(leaf.sum()),
        "target_nodeids": np.flatnonzero(leaf).tolist(),
        "target_ids": [0] * int(leaf.sum()),
        "target_weights": (depth + average_path(tree.n_node_samples))[leaf].tolist(),
    }
    for name, values in columns.items():
        attributes[name].extend(values)


def _depths(tree: Any) -> Floats:
    """Cuts on the way to each node. Parents come before their children."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    return depth


def rounded_down(values: Floats) -> Floats:
    """The largest float32 at or below each value."""
    near = values.astype(np.float32)
    down = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > values, down, near).astype(np.float64)
