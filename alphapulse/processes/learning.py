"""Train voters on the log: gradient-boosted trees as ONNX, and logistic regressions.

A fit is a function of lessons, recipe and seed. It is judged walk-forward, on rows that came after what it
was fitted on, and recorded with that, whatever it says; a model in ONNX only with a receipt that it scores
as scikit-learn does. The libraries come with the extra ``train``; voting needs none of them.
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from alphapulse.adapters.boosted_onnx import boosted_edges, boosted_to_onnx
from alphapulse.adapters.forest_onnx import NotTheSame, compared
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.models import BadModel, FittedModel
from alphapulse.domain.decision.voters.learned import LOG_ODDS, MODEL_KIND, pinned_inputs
from alphapulse.domain.decision.voters.logistic import MODEL_KIND as LOGISTIC_KIND
from alphapulse.domain.decision.voters.logistic import logistic_model_parameters, sigmoid
from alphapulse.domain.learning.folds import MAX_FOLDS, walk_forward
from alphapulse.domain.learning.worth import Worth, worth
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.ports import Scorer
from alphapulse.processes.fitting import TrainingMissing, Unfittable
from alphapulse.processes.learned_models import scorer_of
from alphapulse.processes.lessons import Lessons

TOLERANCE = 1e-6  # of a probability
LOGISTIC_TOLERANCE = 1e-9
LEAST_ROWS = 200  # lessons in a fit
STORED_VALUES = 800  # of features, in a receipt
MANY_MARKETS = "*"  # in place of venue:symbol

Forecast = Callable[[Floats], Floats]  # probabilities of a rise, (R,)
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostRecipe:
    """What the person chooses of the trees.

    Labels overlap, so that rows say far less than they are many: steps are small, leaves are large.
    """

    trees: int = 200
    leaves: int = 8
    rate: float = 0.01  # share of each tree's step that is taken
    least: int = 200  # rows in a leaf
    shrink: float = 1.0  # L2 penalty on leaves
    folds: int = 5
    embargo: int = 16  # bars
    abstain: float = 0.02  # from one half: nearer to it there is no vote
    seed: int = 1

    def __post_init__(self) -> None:
        """Raises BadModel when something is out of range."""
        _check_ranges(
            self,
            trees=(1, 1_000), leaves=(2, 64), rate=(0.001, 1), least=(1, 100_000), shrink=(0, 1e6),
            folds=(1, MAX_FOLDS), embargo=(0, 10_000), abstain=(0, 0.5), seed=(0, 2**31 - 1),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticRecipe:
    """``penalty``: L2, on coefficients of features in their standard deviations."""

    penalty: float = 100.0
    folds: int = 5
    embargo: int = 16
    seed: int = 1

    def __post_init__(self) -> None:
        """Raises BadModel when something is out of range."""
        _check_ranges(
            self, penalty=(1e-6, 1e6), folds=(1, MAX_FOLDS), embargo=(0, 10_000), seed=(0, 2**31 - 1)
        )


def train_boosted(
    taught: Lessons, recipe: BoostRecipe, name: str, *, tell: Tell = lambda _: None
) -> FittedModel:
    """Gradient-boosted trees of all of ``taught``, judged walk-forward. ``tell`` gets how many are fitted.

    Raises:
        TrainingMissing: scikit-learn or onnx is not installed.
        Unfittable: too few lessons, or all rose or all fell.
        NotTheSame: the ONNX form gives other probabilities. Nothing is to be recorded then.
    """
    libraries = training_libraries("sklearn.ensemble", "onnx.helper", "onnx.checker")

    def fit(values: Floats, rises: Floats) -> Any:
        return _boosted(values, rises, recipe)

    def judge(values: Floats, rises: Floats) -> Forecast:
        model = fit(values, rises)
        return lambda rows: _probabilities(model, rows)

    judged = out_of_fold(taught, judge, recipe, name, tell)
    model = fit(taught.values, taught.rises)
    tell(recipe.folds + 1)
    artifact = boosted_to_onnx(model, len(taught.inputs))
    scorer = scorer_of(artifact, name, tuple(feature.name for feature in taught.inputs))
    rows = np.concatenate([taught.values, boosted_edges(model, taught.values)])
    receipt = probability_receipt(scorer, _probabilities(model, rows), rows)
    return FittedModel(
        name=name,
        kind=MODEL_KIND,
        features=tuple(feature.name for feature in taught.inputs),
        recipe=asdict(recipe) | _pins(taught) | {"inputs": pinned_inputs(taught.inputs)},
        parameters={
            "output": LOG_ODDS,
            "base_rate": float(taught.rises.mean()),
            "abstain": recipe.abstain,
            "label": taught.barriers.as_data(),
            "receipt": receipt,
        },
        artifact=artifact,
        metrics=_metrics(taught, judged),
        libraries=libraries,
        seed=recipe.seed,
        **_facts(taught),
    )


def train_logistic(
    taught: Lessons, recipe: LogisticRecipe, name: str, *, tell: Tell = lambda _: None
) -> FittedModel:
    """A logistic regression on all of ``taught``, judged walk-forward.

    Raises:
        TrainingMissing: scikit-learn is not installed.
        Unfittable: as train_boosted; or a feature is of another timeframe, of an earlier bar, or constant.
        NotTheSame: the voter's formula gives other probabilities than scikit-learn.
    """
    libraries = training_libraries("sklearn.linear_model")
    columns = _columns(taught, name)

    def judge(values: Floats, rises: Floats) -> Forecast:
        parameters, _ = _logistic(columns, values, rises, recipe, name)
        return lambda rows: logistic_probability(parameters, rows)

    judged = out_of_fold(taught, judge, recipe, name, tell)
    parameters, model = _logistic(columns, taught.values, taught.rises, recipe, name)
    tell(recipe.folds + 1)
    units = (taught.values - np.array(parameters["means"])) / np.array(parameters["scales"])
    found = logistic_probability(parameters, taught.values)
    apart = float(np.abs(found - model.predict_proba(units)[:, 1]).max())
    if not apart <= LOGISTIC_TOLERANCE:
        raise NotTheSame(f"{name}: probabilities differ by {apart:g}, over {LOGISTIC_TOLERANCE:g}")
    return FittedModel(
        name=name,
        kind=LOGISTIC_KIND,
        features=tuple(columns),
        recipe=asdict(recipe) | _pins(taught),
        parameters=parameters | {"base_rate": float(taught.rises.mean()), "label": taught.barriers.as_data()},
        metrics=_metrics(taught, judged) | {"worst_difference": apart},
        libraries=libraries,
        seed=recipe.seed,
        **_facts(taught),
    )


def out_of_fold(
    taught: Lessons,
    judge: Callable[[Floats, Floats], Forecast],
    recipe: BoostRecipe | LogisticRecipe,
    name: str,
    tell: Tell = lambda _: None,
) -> Worth:
    """What fits on the past said of what came after, against the base rate of that past.

    Raises:
        Unfittable: a fold has too few lessons, or only rises or falls.
        BadFolds, BadSample: there are too few rows to judge.
    """
    embargo = recipe.embargo * taught.timeframe * MINUTE_NS
    forecast, base = np.full(len(taught), np.nan), np.full(len(taught), np.nan)
    for n, fold in enumerate(walk_forward(taught.known, taught.label_known, recipe.folds, embargo), 1):
        values, rises = taught.values[fold.fit], taught.rises[fold.fit]
        check_lessons(rises, f"{name}: fold {n}")
        forecast[fold.judged] = judge(values, rises)(taught.values[fold.judged])
        base[fold.judged] = rises.mean()
        tell(n)
    judged = np.isfinite(forecast)
    overlapping = float(taught.barriers.bars * max(1, len(taught.instruments)))
    return worth(
        taught.rises[judged], forecast[judged], base[judged], overlapping=overlapping, seed=recipe.seed
    )


def check_lessons(rises: Floats, where: str) -> None:
    """Raises Unfittable where a fit would mean nothing."""
    ups = int(rises.sum())
    if len(rises) < LEAST_ROWS or not 0 < ups < len(rises):
        raise Unfittable(f"{where}: {len(rises)} rows, {ups} of them rise: at least {LEAST_ROWS}, both ways")


def probability_receipt(scorer: Scorer, expected: Floats, rows: Floats) -> dict[str, Any]:
    """That ``scorer``, which gives log-odds, says the probabilities ``expected`` of ``rows``, (n,).

    It holds some of the rows with the log-odds here, so that any machine can check that it gives the same.

    Raises:
        NotTheSame: one differs by over TOLERANCE.
    """
    worst = compared(_Probabilities(scorer), expected, rows, TOLERANCE)
    kept = np.unique(
        np.linspace(0, len(rows) - 1, min(len(rows), STORED_VALUES // rows.shape[1] + 1)).astype(int)
    )
    return {
        "rows_compared": len(rows),
        "worst_difference": worst,
        "tolerance": TOLERANCE,
        "rows": rows[kept].tolist(),
        "scores": scorer.score(rows[kept]).tolist(),
    }


class _Probabilities:
    """A scorer of log-odds, as probabilities."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.name, self.features, self.digest = scorer.name, scorer.features, scorer.digest

    def score(self, rows: Floats) -> Floats:
        return sigmoid(self._scorer.score(rows))


def logistic_probability(parameters: dict[str, Any], rows: Floats) -> Floats:
    """As the voter computes it, column by column."""
    total = np.full(len(rows), parameters["intercept"])
    numbers = zip(parameters["means"], parameters["scales"], parameters["coefficients"], strict=True)
    for column, (mean, scale, coefficient) in enumerate(numbers):
        total = total + coefficient * ((rows[:, column] - mean) / scale)
    return sigmoid(total)


def training_libraries(*modules: str) -> dict[str, str]:
    """Versions of what does the fitting. Raises TrainingMissing."""
    try:
        for module in modules:
            import_module(module)
    except ImportError as error:
        raise TrainingMissing(
            f"training needs scikit-learn and onnx ({error}): pip install 'alphapulse[train]'"
        ) from error
    return {name: version(name) for name in ("scikit-learn", "onnxruntime", "numpy")}


def _boosted(values: Floats, rises: Floats, recipe: BoostRecipe) -> Any:
    check_lessons(rises, "trees")
    model = import_module("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=recipe.trees, max_leaf_nodes=recipe.leaves, learning_rate=recipe.rate,
        min_samples_leaf=recipe.least, l2_regularization=recipe.shrink, early_stopping=False,
        random_state=recipe.seed,
    )  # fmt: skip
    # Sums over rows are split among threads: with one, the same lessons give the same bytes anywhere.
    with import_module("threadpoolctl").threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(values, rises)


def _probabilities(model: Any, rows: Floats) -> Floats:
    with import_module("threadpoolctl").threadpool_limits(1):
        return np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)


def _logistic(
    columns: list[str], values: Floats, rises: Floats, recipe: LogisticRecipe, name: str
) -> tuple[dict[str, Any], Any]:
    """Parameters of the voter, and scikit-learn's model on features in standard deviations."""
    check_lessons(rises, name)
    means, scales = values.mean(axis=0), values.std(axis=0)
    for column, mean, scale in zip(columns, means, scales, strict=True):
        if not scale > 1e-9 * (1e-300 + abs(mean)):
            raise Unfittable(f"{name}: {column} is constant ({mean:g}) over {len(values)} rows: leave it out")
    model = import_module("sklearn.linear_model").LogisticRegression(
        C=1.0 / recipe.penalty, max_iter=1_000, tol=1e-8
    )
    with import_module("threadpoolctl").threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit((values - means) / scales, rises)
    parameters = logistic_model_parameters(
        columns, means.tolist(), scales.tolist(), model.coef_[0].tolist(), float(model.intercept_[0])
    )
    return parameters, model


def _columns(taught: Lessons, name: str) -> list[str]:
    """The features as the logistic voter names them."""
    for feature in taught.inputs:
        if feature.timeframe is not None or feature.lag:
            raise Unfittable(
                f"{name}: {feature.name} is of timeframe {feature.timeframe}, {feature.lag} bars before: "
                "a logistic voter looks at the row's own bar"
            )
    several = [len(feature.spec.known.outputs) > 1 for feature in taught.inputs]
    return [
        f"{feature.spec}.{feature.output}" if many else str(feature.spec)
        for feature, many in zip(taught.inputs, several, strict=True)
    ]


def _pins(taught: Lessons) -> dict[str, Any]:
    """Which lessons these are, the same for every refit under one name."""
    defined = taught.defined
    return {
        "set": defined.name,
        "set_version": defined.version,
        "set_digest": defined.digest,
        "instruments": list(taught.wished),
        "barriers": taught.barriers.as_data(),
    }


def _facts(taught: Lessons) -> dict[str, Any]:
    return {
        "instrument": taught.wished[0] if len(taught.wished) == 1 else MANY_MARKETS,
        "timeframe": taught.timeframe,
        "trained": taught.trained,
        "code_versions": {feature.rule: feature.code_version for feature in taught.inputs},
    }


def _metrics(taught: Lessons, judged: Worth) -> dict[str, float]:
    shares = {f"share_{name}": share for name, share in taught.shares.items()}
    return (
        judged.as_metrics() | shares | {"rows": float(len(taught)), "base_rate": float(taught.rises.mean())}
    )


def _check_ranges(recipe: object, **ranges: tuple[float, float]) -> None:
    for name, (low, high) in ranges.items():
        if not low <= getattr(recipe, name) <= high:
            raise BadModel(f"{name} {getattr(recipe, name)}: {low:g} to {high:g} are allowed")
