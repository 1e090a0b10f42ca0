"""A learned voter on one row, against scikit-learn's own prediction by the same trees.

Ours is the whole call of ``Voter.vote`` on the row of a bar that has just closed: checks, conversion,
onnxruntime, the probability and the vote. Theirs is ``predict_proba`` of the model that was converted, on the
same row as an array, with one thread: with more, they wait for each other. The least of many
calls counts on both sides, and both must say the same on every row of the training and on every edge.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from alphapulse.adapters.boosted_onnx import boosted_edges, boosted_to_onnx
from alphapulse.domain.analysis.features import SetDefined, decide
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.models import FittedModel, Trained
from alphapulse.domain.decision.voters.learned import LOG_ODDS, MODEL_KIND, Learned, pinned_inputs
from alphapulse.domain.decision.votes import View, kind_of
from alphapulse.domain.versions import Versions
from alphapulse.processes import learned_models
from alphapulse.processes.defining import CORE
from alphapulse.processes.defining import core as core_set
from alphapulse.processes.learning import BoostRecipe, _boosted
from alphapulse.processes.lessons import inputs_of

ROWS, MARKETS = 20_000, 50
TURNS, CALLS, THEIR_CALLS = 40, 600, 15
GOAL = 100.0


def run() -> Iterator[dict[str, Any]]:
    inputs = inputs_of(_core())
    rows, rises = _lessons(len(inputs))
    with threadpool_limits(1):
        trees = _boosted(rows, rises, BoostRecipe())
        voter = _voter(inputs, boosted_to_onnx(trees, len(inputs)))
        apart = _apart(voter, trees, rows)
        one, many = _view(voter, rows[:1]), _view(voter, rows[:MARKETS])
        ours, theirs = _least(lambda: voter.vote(one), lambda: trees.predict_proba(rows[:1]), CALLS)
        together, theirs_together = _least(
            lambda: voter.vote(many), lambda: trees.predict_proba(rows[:MARKETS]), CALLS // 10
        )
    what = f"{BoostRecipe().trees} boosted trees on {len(inputs)} features"
    yield _result(f"vote on one row, {what}", "scikit-learn's predict_proba", ours, theirs, GOAL)
    name = f"votes on {MARKETS} rows at once, {what}"
    yield _result(name, "scikit-learn's predict_proba", together, theirs_together, None)
    yield {
        "name": f"largest difference in probability, {ROWS:,} rows and the edges of all cuts",
        "peer": "scikit-learn's predict_proba, at most 1e-6",
        "ours": apart,
        "theirs": 1e-6,
        "unit": "",
        "ratio": 1e-6 / apart,
        "goal": 1.0,
    }


def _core() -> SetDefined:
    (defined,) = decide(core_set("benchmark"), Versions())
    assert isinstance(defined, SetDefined)
    assert len(defined.features) == len(CORE)
    return defined


def _lessons(width: int) -> tuple[Floats, Floats]:
    """Rows of numbers in which some tell a little, as features do."""
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (ROWS, width)).astype(np.float32).astype(np.float64)
    odds = 0.4 * rows[:, 0] - 0.3 * rows[:, 1] * (rows[:, 2] > 0) + 0.2 * np.abs(rows[:, 3])
    return rows, (rng.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.float64)


def _voter(inputs: Any, artifact: bytes) -> Learned:
    model = FittedModel(
        name="benchmark", kind=MODEL_KIND, instrument="*", timeframe=15,
        features=tuple(feature.name for feature in inputs),
        recipe={"set": "core", "set_version": 1, "set_digest": "", "inputs": pinned_inputs(inputs)},
        trained=Trained(
            first_start=0, last_start=0, first_position=1, last_position=1, known_time=15 * 60 * 10**9, bars=1
        ),
        parameters={"output": LOG_ODDS, "base_rate": 0.5, "abstain": 0.0},
        artifact=artifact,
    )  # fmt: skip
    learned_models.wire()
    voter = kind_of("learned.onnx").made({}, model)
    assert isinstance(voter, Learned)
    return voter


def _apart(voter: Learned, trees: Any, rows: Floats) -> float:
    compared = np.concatenate([rows, boosted_edges(trees, rows)])
    found = voter.probability(compared)
    return float(np.abs(found - trees.predict_proba(compared)[:, 1]).max())


def _view(voter: Learned, rows: Floats) -> View:
    return View(
        timeframe=15,
        columns={feature.name: i for i, feature in enumerate(voter.inputs)},
        values=rows,
        bars=np.full((len(rows), 5), 100.0),
        context={},
        known_time=np.full(len(rows), 10**18),
    )


def _least(ours: Callable[[], object], theirs: Callable[[], object], calls: int) -> tuple[float, float]:
    """Seconds of the quickest call of each, in turns: a busy machine is busy for both."""
    best = [np.inf, np.inf]
    for _ in range(TURNS):
        for side, call, times in ((0, ours, calls), (1, theirs, THEIR_CALLS)):
            for _ in range(times):
                begin = time.perf_counter()
                call()
                best[side] = min(best[side], time.perf_counter() - begin)
    return float(best[0]), float(best[1])


def _result(name: str, peer: str, ours: float, theirs: float, goal: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "peer": peer,
        "ours": ours * 1e6,
        "theirs": theirs * 1e6,
        "unit": "µs",
        "ratio": theirs / ours,
        "goal": goal,
    }
