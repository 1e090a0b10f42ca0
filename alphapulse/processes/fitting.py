"""Fit models of hidden states walk-forward and record each refit as an event.

scikit-learn and hmmlearn do the fitting; they come with the extra ``train`` and are imported when they are
needed. Applying what was fitted needs neither (domain/analysis/mixture.py). A run that was killed goes
on where it stopped: cutoffs that the stream knows are not fitted again.
"""

import asyncio
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.hidden_regimes import Recipe
from alphapulse.domain.analysis.mixture import BadMixture, hidden
from alphapulse.domain.analysis.models import (
    MAX_PARTS,
    FittedModel,
    RecordModel,
    Trained,
    check,
    check_recipe,
    model_decider,
    stream_of,
)
from alphapulse.domain.ports import EventStore, Recorded
from alphapulse.processes.transact import load, transact

_LEAST_VARIANCE = 1e-6  # of a state, in units of the training: keeps a state from closing in on one bar


class TrainingMissing(Exception):
    """The libraries that fit models are not installed."""


class Unfittable(Exception):
    """A training from which no model comes: the message says why. The version before goes on."""


@dataclass(slots=True)
class Fitting:
    """What a run did so far."""

    trainings: int = 0  # that the bars allow
    done: int = 0  # of these: known before, fitted or skipped
    cutoff: int = -1  # ns: of the last version; what was known by then is not fitted again
    recorded: list[tuple[int, FittedModel]] = field(default_factory=list)  # (version, model)
    skipped: list[str] = field(default_factory=list)  # why no model came of a training


Progress = Callable[[Fitting], None]


async def fit_regimes(
    store: EventStore, bars: Bars, recipe: Recipe, name: str, *, progress: Progress = lambda _: None
) -> Fitting:
    """Fit ``recipe`` at each of its cutoffs in ``bars`` that model ``name`` does not know, and record it.

    Raises:
        TrainingMissing: scikit-learn or hmmlearn is not installed.
        BadModel: the name is none, or was used with another recipe.
        See transact for what the store raises.
    """
    libraries()
    known, _ = await load(store, model_decider, stream_of(name))
    check_recipe(known, name, _of_the_name(bars, recipe))
    trainings = list(recipe.trainings(len(bars)))
    so_far = Fitting(trainings=len(trainings), cutoff=known.last.trained.known_time if known.last else -1)
    rows = await asyncio.to_thread(recipe.feature_rows, bars)
    for training in trainings:
        await _one(store, bars, rows, recipe, name, training, so_far)
        so_far.done += 1
        progress(so_far)
    return so_far


async def _one(
    store: EventStore,
    bars: Bars,
    rows: Floats,
    recipe: Recipe,
    name: str,
    training: slice,
    so_far: Fitting,
) -> None:
    if trained_on(bars, training).known_time <= so_far.cutoff:
        return
    try:
        model = await asyncio.to_thread(fit, bars, rows, recipe, name, training)
    except Unfittable as error:
        so_far.skipped.append(str(error))
        return
    so_far.cutoff = model.trained.known_time
    for recorded in await record_model(store, model):
        so_far.recorded.append((recorded.event.version, model))


async def record_model(store: EventStore, model: FittedModel, *, actor: str = "system") -> list[Recorded]:
    """Record ``model`` as the next version of its stream, part by part; what this call wrote.

    Called again after a crash it writes the parts that are missing; for a version that is complete, none.

    Raises:
        BadModel: see models.decide.
    """
    check(model)
    written: list[Recorded] = []
    for _ in range(MAX_PARTS + 1):
        new = await transact(store, model_decider, stream_of(model.name), RecordModel(model), actor=actor)
        if not new:
            break
        written += new
    return written


def walk_forward(bars: Bars, recipe: Recipe, name: str) -> Iterator[FittedModel]:
    """The models that ``fit_regimes`` would record over a log without any; unfittable trainings give none."""
    rows, cutoff = recipe.feature_rows(bars), -1
    for training in recipe.trainings(len(bars)):
        if trained_on(bars, training).known_time <= cutoff:
            continue
        try:
            model = fit(bars, rows, recipe, name, training)
        except Unfittable:
            continue
        cutoff = model.trained.known_time
        yield model


def trained_on(bars: Bars, training: slice) -> Trained:
    used = bars.take(training)
    start = used.start
    return Trained(
        first_start=int(start[0]),
        last_start=int(start[-1]),
        first_position=int(used.position.min()),
        last_position=int(used.position.max()),
        known_time=int(used.known_time.max()),
        bars=len(used),
    )


def fit(bars: Bars, rows: Floats, recipe: Recipe, name: str, training: slice) -> FittedModel:
    """The model of the bars in ``training``; ``rows`` are the features of all ``bars``, (T, D).

    Raises:
        Unfittable: too many values are missing, a feature is constant, or no start led to a model.
    """
    used = rows[training]
    used = used[np.isfinite(used).all(axis=1)]
    where = f"{name}: bars {training.start} to {training.stop}"
    if len(used) < recipe.window // 2:
        raise Unfittable(f"{where}: {len(used)} have all features, {recipe.window // 2} are needed")
    center, scale = used.mean(axis=0), used.std(axis=0)
    if not (scale > 1e-12 * (1e-300 + abs(center))).all():
        raise Unfittable(f"{where}: deviations of the features are {scale.tolist()}")
    # On matrices this small, threads wait for each other longer than they work.
    with import_module("threadpoolctl").threadpool_limits(1):
        found, metrics = _FITS[recipe.kind]((used - center) / scale, recipe, where)
    parameters = {"center": center.tolist(), "scale": scale.tolist(), **found}
    check_usable(recipe.kind, parameters, where)
    return FittedModel(
        name=name,
        **_of_the_name(bars, recipe),
        trained=trained_on(bars, training),
        parameters=parameters,
        metrics=metrics,
        code_versions=recipe.code_versions(),
        libraries=libraries(),
        seed=recipe.seed,
    )


def check_usable(kind: str, parameters: dict[str, Any], where: str) -> None:
    """A model that cannot be applied (a covariance that rounding made singular) is none."""
    try:
        hidden(kind, parameters)
    except BadMixture as error:
        raise Unfittable(f"{where}: {error}") from error


def _of_the_name(bars: Bars, recipe: Recipe) -> dict[str, Any]:
    """What all versions of a name have in common."""
    return {
        "kind": recipe.kind,
        "instrument": bars.instrument,
        "timeframe": bars.timeframe,
        "features": tuple(str(column) for column in recipe.columns),
        "recipe": dict(recipe.as_data()),
    }


def libraries() -> dict[str, str]:
    """Versions of what does the fitting. Raises TrainingMissing."""
    try:
        import_module("sklearn.mixture")
        import_module("hmmlearn.hmm")
        # It warns of each start that did not converge: that is in the metrics of the one that was kept.
        logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    except ImportError as error:
        raise TrainingMissing(
            f"fitting needs scikit-learn and hmmlearn ({error}): pip install 'alphapulse[train]'"
        ) from error
    return {name: version(name) for name in ("scikit-learn", "hmmlearn", "numpy")}


Found = tuple[dict[str, Any], dict[str, float]]  # parameters and metrics


def _fit_mixture(units: Floats, recipe: Recipe, where: str) -> Found:
    """A Gaussian mixture by expectation-maximisation, the most likely of the starts."""
    library = import_module("sklearn.mixture")
    model = library.GaussianMixture(
        recipe.states, n_init=recipe.starts, max_iter=recipe.iterations, random_state=recipe.seed,
        reg_covar=_LEAST_VARIANCE,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is in the metrics
        try:
            model.fit(units)
        except ValueError as error:
            raise Unfittable(f"{where}: {error}") from error
    order = np.argsort(model.means_[:, 0], kind="stable")
    parameters = {
        "weights": _shares(model.weights_[order]),
        "means": model.means_[order].tolist(),
        "covariances": model.covariances_[order].tolist(),
    }
    return parameters, _metrics(units, float(model.score(units)), model.converged_, model.bic(units))


def _fit_markov(units: Floats, recipe: Recipe, where: str) -> Found:
    """A Gaussian hidden Markov model by Baum-Welch, the most likely of the starts."""
    fits = [f for start in range(recipe.starts) if (f := _start_markov(units, recipe, start)) is not None]
    if not fits:
        raise Unfittable(f"{where}: none of {recipe.starts} starts led to a model")
    likelihood, model = max(fits, key=lambda found: found[0])
    order = np.argsort(model.means_[:, 0], kind="stable")
    parameters = {
        "start": _shares(model.startprob_[order]),
        "transition": [_shares(row) for row in model.transmat_[order][:, order]],
        "means": model.means_[order].tolist(),
        "covariances": model.covars_[order].tolist(),
    }
    return parameters, _metrics(units, likelihood / len(units), model.monitor_.converged, model.bic(units))


def _start_markov(units: Floats, recipe: Recipe, start: int) -> tuple[float, Any] | None:
    """Likelihood and model from one seeded start; None where it broke down."""
    model = import_module("hmmlearn.hmm").GaussianHMM(
        recipe.states, covariance_type="full", n_iter=recipe.iterations, tol=1e-4,
        random_state=recipe.seed + start, min_covar=_LEAST_VARIANCE,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            likelihood = float(model.fit(units).score(units))
        except ValueError:  # a state lost all its bars: its shares are NaN
            return None
    degenerate = not np.isfinite(likelihood) or (np.linalg.eigvalsh(model.covars_) <= 0).any()
    return None if degenerate or (model.transmat_.sum(axis=1) < 0.5).any() else (likelihood, model)


_FITS: dict[str, Callable[[Floats, Recipe, str], Found]] = {
    "regime_gmm": _fit_mixture,
    "regime_hmm": _fit_markov,
}


def _shares(values: Floats) -> list[float]:
    """``values`` as a distribution: the libraries leave sums off one by 1e-9 or so."""
    clean = np.maximum(values, 0.0)
    return [float(x) for x in clean / clean.sum()]


def _metrics(units: Floats, likelihood: float, converged: bool, bic: float) -> dict[str, float]:
    return {
        "log_likelihood_per_bar": float(likelihood),
        "bic": float(bic),
        "converged": float(converged),
        "bars_used": float(len(units)),
    }
