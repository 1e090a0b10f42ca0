"""Small models in ONNX for voters: two trees made by hand, one on RSI and one on +DI."""

from typing import Any

import msgspec
from onnx import TensorProto, helper

from alphapulse.domain.analysis.features import DefineSet, Feature, SetDefined, decide
from alphapulse.domain.analysis.models import FittedModel, Trained
from alphapulse.domain.decision.rules import seen
from alphapulse.domain.decision.voters.learned import LOG_ODDS, MODEL_KIND, pinned_inputs, register_learned
from alphapulse.domain.versions import Versions
from alphapulse.processes.learned_models import open_learned

TIMEFRAME = 5
RULES = ("rsi(14)", "adx(14).plus_di")

register_learned(open_learned)


def trees(width: int = 2, outputs: int = 1) -> bytes:
    """Log-odds: 0.8 where feature 0 is under 40, -0.8 over 60; 0.05 or -0.05 by the last one."""
    nodes: dict[str, list[Any]] = {
        "nodes_treeids": [0] * 5 + [1] * 3,
        "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
        "nodes_featureids": [0, 0, 0, 0, 0, width - 1, 0, 0],
        "nodes_values": [40.0, 0.0, 60.0, 0.0, 0.0, 20.0, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 3, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 4, 0, 0, 2, 0, 0],
        "target_treeids": [0, 0, 0, 1, 1],
        "target_nodeids": [1, 3, 4, 1, 2],
        "target_ids": [0] * 5,
        "target_weights": [0.8, 0.01, -0.8, 0.05, -0.05],
    }
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["z"], domain="ai.onnx.ml", n_targets=outputs, **nodes
    )
    return graph_of([node], width, outputs)


def dense(width: int = 2, hidden: int = 24) -> bytes:
    """A layer of matrix products and a sigmoid: it may sum in another order for one row than for many."""
    import numpy as np
    from onnx import numpy_helper

    rng = np.random.default_rng(5)
    weights = {
        "a": rng.normal(0, 0.05, (width, hidden)).astype(np.float32),
        "b": rng.normal(0, 1, (hidden, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "b"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["z"]),
    ]
    return graph_of(nodes, width, 1, [numpy_helper.from_array(w, name) for name, w in weights.items()])


def graph_of(nodes: list[Any], width: int, outputs: int, constants: Any = ()) -> bytes:
    number = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "model",
        [helper.make_tensor_value_info("x", number, [None, width])],
        [helper.make_tensor_value_info("z", number, [None, outputs])],
        list(constants),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 3)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def complete(features: list[Feature], timeframe: int = TIMEFRAME) -> tuple[Feature, ...]:
    """With code versions, as a set that is defined holds them."""
    command = DefineSet(name="s", owner="", description="", timeframes=(timeframe,), features=features)
    (defined,) = decide(command, Versions())
    assert isinstance(defined, SetDefined)
    return defined.features


def learned_model(**changes: Any) -> FittedModel:
    """Rises where the RSI is low, falls where it is high; ``changes`` of parameters and recipe by name."""
    inputs = complete([msgspec.structs.replace(seen(rule), name=f"l.{rule[:3]}") for rule in RULES])
    recipe = {"set": "s", "set_version": 1, "set_digest": "d", "inputs": pinned_inputs(inputs)}
    parameters = {"output": LOG_ODDS, "base_rate": 0.5, "abstain": 0.02}
    model = FittedModel(
        name="learned",
        kind=MODEL_KIND,
        instrument="test:BTC_USD",
        timeframe=TIMEFRAME,
        features=tuple(feature.name for feature in inputs),
        recipe=recipe | {k: v for k, v in changes.items() if k in recipe},
        trained=Trained(
            first_start=0, last_start=10, first_position=1, last_position=2, known_time=10**15, bars=10
        ),
        parameters=parameters | {k: v for k, v in changes.items() if k in parameters},
        artifact=trees(),
    )
    whole = {k: v for k, v in changes.items() if k not in recipe and k not in parameters}
    return msgspec.structs.replace(model, **whole)
