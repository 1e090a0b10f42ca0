"""Gradient-boosted trees of scikit-learn as ONNX: one TreeEnsembleRegressor that gives log-odds.

The probability is made of them outside, in float64 (domain/decision/voters/learned.py): a sum of leaves is
the same on any machine, an exponential is not. onnx and scikit-learn come with the extra ``train``.
"""

from importlib import import_module
from typing import Any

import numpy as np

from alphapulse.adapters.forest_onnx import around, rounded_down
from alphapulse.domain.analysis.fields import Floats

EDGE_ROWS = 20_000  # at most, compared in one receipt


def boosted_to_onnx(model: Any, features: int) -> bytes:
    """The fitted binary HistGradientBoostingClassifier ``model``: float32[n, features] to log_odds[n, 1].

    Thresholds are rounded down to float32: then x <= threshold says the same of every float32 x. Where a
    value is missing it goes where it went in the training.
    """
    helper, onnx = import_module("onnx.helper"), import_module("onnx")
    attributes: dict[str, list[Any]] = {}
    for number, nodes in enumerate(_trees(model)):
        for name, values in _columns(number, nodes).items():
            attributes.setdefault(name, []).extend(values)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["features"], ["log_odds"], domain="ai.onnx.ml", n_targets=1,
        aggregate_function="SUM", post_transform="NONE",
        base_values=[float(np.ravel(model._baseline_prediction)[0])],  # noqa: SLF001  as skl2onnx reads it
        **attributes,
    )  # fmt: skip
    number_ = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "boosted_trees",
        [helper.make_tensor_value_info("features", number_, [None, features])],
        [helper.make_tensor_value_info("log_odds", number_, [None, 1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="alphapulse")
    onnx.checker.check_model(made)
    artifact: bytes = made.SerializeToString(deterministic=True)
    return artifact


def boosted_edges(model: Any, rows: Floats, *, at_most: int = EDGE_ROWS) -> Floats:
    """Rows in which one feature lies exactly on a threshold, or on the float32 just below or above it."""
    cuts = [
        (int(node["feature_idx"]), float(node["num_threshold"]))
        for nodes in _trees(model)
        for node in nodes[nodes["is_leaf"] == 0]
    ]
    return around(cuts, rows, at_most=at_most)


def _trees(model: Any) -> list[Any]:
    """The nodes of each tree, a structured array: the leaves hold what they add to the log-odds."""
    return [trees[0].nodes for trees in model._predictors]  # noqa: SLF001  as skl2onnx reads them


def _columns(number: int, nodes: Any) -> dict[str, list[Any]]:
    """The attributes of one tree."""
    leaf, count = nodes["is_leaf"] != 0, len(nodes)
    assert not nodes["is_categorical"].any(), "all features are numbers"
    return {
        "nodes_treeids": [number] * count,
        "nodes_nodeids": list(range(count)),
        "nodes_featureids": np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        "nodes_values": np.where(
            leaf, 0.0, rounded_down(np.where(leaf, 0.0, nodes["num_threshold"]))
        ).tolist(),
        "nodes_modes": ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf],
        "nodes_truenodeids": np.where(leaf, 0, nodes["left"]).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, nodes["right"]).tolist(),
        "nodes_missing_value_tracks_true": np.where(leaf, 0, nodes["missing_go_to_left"]).tolist(),
        "target_treeids": [number] * int(leaf.sum()),
        "target_nodeids": np.flatnonzero(leaf).tolist(),
        "target_ids": [0] * int(leaf.sum()),
        "target_weights": nodes["value"][leaf].tolist(),
    }
