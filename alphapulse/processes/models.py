"""Models into the log and out of it: train and record, register a file, list and show."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.adapters.onnx import MAX_BYTES, BadOnnx, OnnxScorer
from alphapulse.adapters.store.codec import decode
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.features import Feature, SetDefined
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.models import (
    BadModel,
    FittedModel,
    Trained,
    check,
    check_recipe,
    model_decider,
    stream_of,
)
from alphapulse.domain.decision.voters.learned import (
    LOG_ODDS,
    MODEL_KIND,
    OUTPUTS,
    PROBABILITY,
    pinned_inputs,
)
from alphapulse.domain.decision.voters.logistic import sigmoid
from alphapulse.domain.learning.labels import Barriers
from alphapulse.domain.ports import EventStore
from alphapulse.processes.fitting import record_model
from alphapulse.processes.learned_models import scorer_of
from alphapulse.processes.learning import (
    MANY_MARKETS,
    STORED_VALUES,
    TOLERANCE,
    BoostRecipe,
    LogisticRecipe,
    train_boosted,
    train_logistic,
    training_libraries,
)
from alphapulse.processes.lessons import Wish, inputs_of, lessons, pinned_set
from alphapulse.processes.transact import load
from alphapulse.projections.feature_queries import feature_instruments, feature_rows
from alphapulse.projections.model_log import fitted_models

MAX_LISTED = 10_000  # models
TRIED_ROWS = 1_000  # of each market, that a registered file is tried on

_PREFIX = "model-"

Tell = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


class UnknownModel(LookupError):
    """There is no model of that name or version."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The newest version of a model."""

    name: str
    versions: int
    model: FittedModel


async def train(
    store: EventStore,
    db: AsyncConnection[Any],
    wish: Wish,
    barriers: Barriers,
    recipe: BoostRecipe | LogisticRecipe,
    name: str,
    *,
    tell: Tell = lambda *_: None,
) -> tuple[int, FittedModel]:
    """Train on the log and record the next version. Done again on the same rows, it writes nothing.

    Raises:
        BadModel: the name is none, or was used with another recipe or for later bars.
        See lessons, train_boosted and train_logistic. Nothing is recorded then.
    """
    stream_of(name)
    training_libraries("sklearn.ensemble", "sklearn.linear_model", "onnx.helper", "onnx.checker")
    markets = len(wish.instruments) or 1
    taught = await lessons(db, wish, barriers, tell=lambda n: tell("reading markets", n, max(n, markets)))
    folds = recipe.folds + 1

    def told(n: int) -> None:
        tell("fitting folds", n, folds)

    if isinstance(recipe, BoostRecipe):
        model = await asyncio.to_thread(train_boosted, taught, recipe, name, tell=told)
    else:
        model = await asyncio.to_thread(train_logistic, taught, recipe, name, tell=told)
    return await _recorded(store, model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A file that somebody brings along, and what it is said to be.

    ``wish.until``: what it was trained on was known by then; it votes on later rows only.
    """

    path: Path
    name: str
    wish: Wish
    output: str = PROBABILITY
    base_rate: float = 0.5
    abstain: float = 0.02


async def register_file(
    store: EventStore, db: AsyncConnection[Any], brought: Brought
) -> tuple[int, FittedModel]:
    """Record an ONNX file as the next version of its model, after it was tried on rows of the log.

    Raises:
        BadOnnx: it is no model in ONNX, takes another number of features, or gives other than one number.
        BadModel: it gives a row no probability (or log-odds), or the name was used with another recipe.
        UnknownFeatureSet, BadFeatureSet: there is no such set, it is retired, or has no such rows.
        OSError: it cannot be read.
    """
    stream_of(brought.name)
    if brought.output not in OUTPUTS:
        raise BadModel(f"output {brought.output!r} is none of {', '.join(OUTPUTS)}")
    artifact = await asyncio.to_thread(_read, brought.path)
    wish = brought.wish
    defined = await pinned_set(db, wish.set, wish.version, wish.timeframe, as_of=wish.as_of)
    inputs = inputs_of(defined, wish.features or defined.columns)
    scorer = scorer_of(artifact, brought.name, tuple(feature.name for feature in inputs))
    tried = await _rows(db, wish, defined)
    model = _registered(brought, artifact, defined, inputs, scorer, tried)
    return await _recorded(store, model)


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadOnnx(f"{path}: {size} bytes, at most {MAX_BYTES}")
    return path.read_bytes()


async def _rows(db: AsyncConnection[Any], wish: Wish, defined: SetDefined) -> Sequence[FeatureRows]:
    """The last rows of each market that were known by ``wish.until``."""
    found = []
    for instrument in sorted(wish.instruments or await feature_instruments(db)):
        _, rows = await feature_rows(
            db, defined.name, defined.version, instrument, wish.timeframe,
            last=TRIED_ROWS, known_by=wish.until, as_of=wish.as_of,
        )  # fmt: skip
        found += [rows] if len(rows) else []
    return found


def _registered(
    brought: Brought,
    artifact: bytes,
    defined: SetDefined,
    inputs: Sequence[Feature],
    scorer: OnnxScorer,
    tried: Sequence[FeatureRows],
) -> FittedModel:
    wish, columns = brought.wish, [defined.columns.index(feature.name) for feature in inputs]
    if not tried:
        raise BadModel(
            f"{brought.name}: the log has no row of {defined.name} to try it on: see --trained-until"
        )
    rows = np.concatenate([each.values[:, columns] for each in tried])
    rows = rows[np.isfinite(rows.astype(np.float32)).all(axis=1)]
    receipt = _tried(brought, scorer, rows)
    known = max(int(each.known_time.max()) for each in tried)
    return FittedModel(
        name=brought.name,
        kind=MODEL_KIND,
        instrument=wish.instruments[0] if len(wish.instruments) == 1 else MANY_MARKETS,
        timeframe=wish.timeframe,
        features=tuple(feature.name for feature in inputs),
        recipe={
            "registered": True,
            "set": defined.name,
            "set_version": defined.version,
            "set_digest": defined.digest,
            "instruments": sorted(wish.instruments),
            "inputs": pinned_inputs(inputs),
        },
        trained=Trained(
            first_start=min(int(each.start[0]) for each in tried),
            last_start=max(int(each.start[-1]) for each in tried),
            first_position=min(int(each.position.min()) for each in tried),
            last_position=max(int(each.position.max()) for each in tried),
            known_time=max(known, wish.until or 0),
            bars=sum(len(each) for each in tried),
        ),
        parameters={
            "output": brought.output,
            "base_rate": brought.base_rate,
            "abstain": brought.abstain,
            "sha256": sha256(artifact).hexdigest(),
            "receipt": receipt,
        },
        artifact=artifact,
        metrics={"rows_tried": float(len(rows))},
        code_versions={feature.rule: feature.code_version for feature in inputs},
    )


def _tried(brought: Brought, scorer: OnnxScorer, rows: Floats) -> dict[str, Any]:
    """Some of the rows, and what the model says of them here.

    Raises:
        BadModel: no row has all features, or it gives one something else than it should.
    """
    if not len(rows):
        raise BadModel(
            f"{brought.name}: no row has all of {', '.join(scorer.features)}: nothing to try it on"
        )
    scores = scorer.score(rows)
    chances = sigmoid(scores) if brought.output == LOG_ODDS else scores
    bad = np.flatnonzero(~((chances >= 0) & (chances <= 1)))
    if len(bad):
        at = int(bad[0])
        raise BadModel(
            f"{brought.name}: {len(bad)} of {len(rows)} rows get no {brought.output}; the first, "
            f"{rows[at].tolist()}, gets {scores[at]:g}"
        )
    few = min(len(rows), STORED_VALUES // rows.shape[1] + 1)
    kept = np.unique(np.linspace(0, len(rows) - 1, few).astype(int))
    return {"tolerance": TOLERANCE, "rows": rows[kept].tolist(), "scores": scores[kept].tolist()}


async def _recorded(store: EventStore, model: FittedModel) -> tuple[int, FittedModel]:
    """``model`` and its version, once it is in the log."""
    check(model)
    state, _ = await load(store, model_decider, stream_of(model.name))
    check_recipe(state, model.name, {"kind": model.kind})
    await record_model(store, model)
    for version, recorded in await fitted_models(store, decode, model.name):
        if recorded.digest == model.digest:
            return version, recorded
    raise AssertionError(f"{model.name}: version {model.digest} was recorded and is not there")


async def listed(store: EventStore) -> Sequence[Listed]:
    """Every model, by name. Those whose parts are not all there yet are left out."""
    found = []
    for stream in (await store.streams(_PREFIX))[:MAX_LISTED]:
        state, _ = await load(store, model_decider, stream)
        if state.last is not None:
            found.append(Listed(stream.removeprefix(_PREFIX), state.count, state.last))
    return found


async def shown(store: EventStore, name: str, version: int | None = None) -> tuple[int, FittedModel]:
    """One version of a model, the newest if none is named. Raises UnknownModel."""
    models = await fitted_models(store, decode, name)
    for number, model in reversed(models):
        if version in (None, number):
            return number, model
    there = f"it has {len(models)} versions" if models else "`alphapulse models list` shows those there are"
    raise UnknownModel(f"no model {name!r}{'' if version is None else f' version {version}'}: {there}")
