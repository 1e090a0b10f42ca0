"""Fit isolation forests on bars that were known by a moment, and apply what was recorded.

A fit is a function of the bars, the recipe and the seed; the model is recorded only with a receipt that its
ONNX form scores as scikit-learn does. The libraries come with the extra ``train``; applying a model needs
none of them.
"""

import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from alphapulse.adapters.forest_onnx import check_receipt, edge_rows, forest_to_onnx, parity
from alphapulse.adapters.onnx import OnnxScorer
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.isolation import KIND, ForestRecipe, Version, feature_rows
from alphapulse.domain.analysis.models import BadModel, FittedModel
from alphapulse.processes.fitting import TrainingMissing, Unfittable, trained_on

LEAST_ROWS = 64  # bars with all features, below which nothing is fitted
QUANTILES = (0.5, 0.9, 0.99, 0.999)  # of the scores of the training, to judge other scores by


def fit_isolation_forest(
    bars: Bars, recipe: ForestRecipe, name: str, *, until: int | None = None
) -> FittedModel:
    """The forest of the last ``recipe.window`` bars known at or before ``until`` (ns, the venue's clock).

    ``parameters["receipt"]`` says on which rows ONNX and scikit-learn were compared, and how far apart they
    were at most; ``metrics`` hold quantiles of the scores of the training.

    Raises:
        TrainingMissing: scikit-learn or onnx is not installed.
        Unfittable: too few bars have all features.
        NotTheSame: the ONNX form scores otherwise. Nothing is to be recorded then.
    """
    libraries = forest_libraries()
    known = bars if until is None else bars.take(slice(0, _count_known(bars, until)))
    begin = max(0, len(known) - recipe.window)
    rows = feature_rows(recipe.names, known)[begin:]
    used = rows[np.isfinite(rows).all(axis=1)].astype(np.float32).astype(np.float64)
    if len(used) < LEAST_ROWS:
        raise Unfittable(
            f"{name}: {len(used)} of {len(rows)} bars have all features, {LEAST_ROWS} are needed"
        )
    forest = _grow(used, recipe)
    artifact = forest_to_onnx(forest, len(recipe.names))
    scorer = OnnxScorer(artifact, name=name, features=recipe.names)
    compared = np.concatenate([used, edge_rows(forest, used)])
    receipt = parity(scorer, -forest.score_samples(compared), compared)
    return FittedModel(
        name=name,
        kind=KIND,
        instrument=bars.instrument,
        timeframe=bars.timeframe,
        features=recipe.names,
        recipe=dict(recipe.as_data()),
        trained=trained_on(known, slice(begin, len(known))),
        parameters={"receipt": receipt, "sample": int(forest.max_samples_)},
        artifact=artifact,
        metrics={"bars_used": float(len(used)), **_quantiles(scorer.score(used))},
        code_versions=recipe.code_versions(),
        libraries=libraries,
        seed=recipe.seed,
    )


def open_forest(model: FittedModel) -> OnnxScorer:
    """The scorer of a recorded model, after its receipt was checked on this machine.

    Raises:
        BadModel: it is no isolation forest.
        BadOnnx: its artifact is none.
        NotTheSame: it scores otherwise here than where it was fitted.
    """
    if model.kind != KIND:
        raise BadModel(f"{model.name} is a {model.kind}, no {KIND}")
    scorer = OnnxScorer(model.artifact, name=model.name, features=model.features)
    check_receipt(scorer, model.parameters["receipt"])
    return scorer


def versions_of(models: Sequence[tuple[int, FittedModel]]) -> list[Version]:
    """Recorded (version, model) pairs, opened for score_bars. Raises as open_forest."""
    return [Version(number, model.trained.known_time, open_forest(model)) for number, model in models]


def forest_libraries() -> dict[str, str]:
    """Versions of what does the fitting. Raises TrainingMissing."""
    try:
        for module in ("sklearn.ensemble", "onnx.helper", "onnx.checker"):
            import_module(module)
    except ImportError as error:
        raise TrainingMissing(
            f"fitting needs scikit-learn and onnx ({error}): pip install 'alphapulse[train]'"
        ) from error
    return {name: version(name) for name in ("scikit-learn", "onnx", "onnxruntime", "numpy")}


def model_name(instrument: str, label: str) -> str:
    """The name that a forest of ``instrument`` in timeframe ``label`` has unless another is given."""
    plain = instrument.lower().replace(":", ".").replace("/", "_")
    return f"forest-{plain}-{label}"


def _grow(rows: Floats, recipe: ForestRecipe) -> Any:
    forest = import_module("sklearn.ensemble").IsolationForest(
        n_estimators=recipe.trees, max_samples=min(recipe.sample, len(rows)), random_state=recipe.seed,
        n_jobs=1,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return forest.fit(rows)


def _count_known(bars: Bars, until: int) -> int:
    """How many bars there are before the first that was not known at ``until``."""
    late = np.flatnonzero(bars.known_time > until)
    return int(late[0]) if len(late) else len(bars)


def _quantiles(scores: Floats) -> dict[str, float]:
    return {f"score_quantile_{q:g}": float(np.quantile(scores, q)) for q in QUANTILES}
