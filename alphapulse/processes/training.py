"""Fit isolation forests on bars that were known by a moment, and apply what was recorded.

A fit is a function of the bars, the recipe and the seed; the model is recorded only with a receipt that its
ONNX form scores as scikit-learn does. The libraries come with the extra ``train``; applying a model needs
none of them.
"""

import asyncio
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.adapters.forest_onnx import check_receipt, edge_rows, forest_to_onnx, parity
from alphapulse.adapters.onnx import OnnxScorer
from alphapulse.adapters.store.codec import decode
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.columns import Column, plan_of
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.isolation import KIND, ForestRecipe, Scored, Version, feature_rows, score_bars
from alphapulse.domain.analysis.models import BadModel, FittedModel
from alphapulse.domain.ports import EventStore
from alphapulse.processes.fitting import TrainingMissing, Unfittable, record_model, trained_on
from alphapulse.projections.known_bars import MAX_KNOWN_BARS, known_bars
from alphapulse.projections.model_log import fitted_models

LEAST_ROWS = 64  # bars with all features, below which nothing is fitted
_LATE = 1_000  # bars that may have begun before a cutoff and become known after it
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
    count = len(bars) if until is None else _count_known(bars, until)
    # No earlier bar than the features need: then a longer history gives the same model.
    known = bars.take(slice(max(0, count - _reach(recipe.names, recipe.window)), count))
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


async def fit_from_log(
    store: EventStore,
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    recipe: ForestRecipe,
    name: str,
    *,
    until: int | None = None,
    as_of: int | None = None,
) -> tuple[int, FittedModel]:
    """Fit a forest on bars of the log known by ``until`` (ns) and recorded by ``as_of``, and record it.

    Done again, it writes nothing and says the version of the first time.

    Raises:
        See fit_isolation_forest; BadModel when the name was used with another recipe or for later bars;
        NotYetFolded, QueryTooLarge: see known_bars.
    """
    forest_libraries()
    reach = min(_reach(recipe.names, recipe.window) + _LATE, MAX_KNOWN_BARS)
    bars = await known_bars(conn, instrument, timeframe, end=until, last=reach, as_of=as_of)
    model = await asyncio.to_thread(fit_isolation_forest, bars, recipe, name, until=until)
    await record_model(store, model)
    for version_, recorded in await fitted_models(store, decode, name):
        if recorded.digest == model.digest:
            return version_, recorded
    raise AssertionError(f"{name}: version {model.digest} was recorded and is not there")


async def score_from_log(
    store: EventStore,
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    name: str,
    *,
    last: int = 500,
    as_of: int | None = None,
) -> tuple[Bars, Scored]:
    """The ``last`` bars and how unusual each was to the version of ``name`` that could speak for it.

    Raises:
        BadModel: nobody fitted ``name``, or for another market.
        See versions_of and known_bars.
    """
    models = await fitted_models(store, decode, name, as_of=as_of)
    if not models:
        raise BadModel(f"no model is called {name}: fit it with `alphapulse anomalies fit`")
    made_for = (models[0][1].instrument, models[0][1].timeframe)
    if made_for != (instrument, timeframe):
        raise BadModel(f"{name} was fitted on {made_for[0]}, {made_for[1]} minutes")
    reach = _reach(models[0][1].features, last)
    bars = await known_bars(conn, instrument, timeframe, last=reach, as_of=as_of)
    scored = await asyncio.to_thread(_score, models, bars, last)
    return bars.take(slice(max(0, len(bars) - last), None)), scored


def _score(models: Sequence[tuple[int, FittedModel]], bars: Bars, last: int) -> Scored:
    """Scores of the ``last`` of ``bars``. Versions that no bar is old enough for stay closed."""
    begin = max(0, len(bars) - last)
    first = int(bars.known_time[begin]) if len(bars) else 0
    older = sum(model.trained.known_time < first for _, model in models)
    scored = score_bars(versions_of(models[max(0, older - 1) :]), bars, since=begin)
    return Scored(scored.version[begin:], scored.score[begin:])


def _reach(features: Sequence[str], count: int) -> int:
    """How many bars give the features of the last ``count`` of them their values."""
    plan = plan_of([Column.parse(text) for text in features])
    lead = MAX_KNOWN_BARS if plan.forgets is None else plan.forgets
    return min(count + lead, MAX_KNOWN_BARS)


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
