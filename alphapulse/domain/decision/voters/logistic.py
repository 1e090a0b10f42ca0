"""Votes of a logistic regression on features: the probability of a rise, as fitted on the log's own past.

A fitted model of kind ``logistic_votes`` holds in its parameters

    {"columns": ["rsi(period=14)", …], "means": […], "scales": […], "coefficients": […], "intercept": 0.01}

with one entry a column: the columns are those of ``FittedModel.features``, in that order, written as a
spec and its output. The probability of a rise is sigmoid(intercept + sum of coefficient * (value - mean) /
scale). ``logistic_model_parameters`` makes these, and refuses what no vote can come from.
"""

from collections.abc import Sequence
from math import isfinite, ldexp
from typing import Any

import numpy as np

from alphapulse.domain.analysis.features import BadFeatureSet
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.models import MAX_FEATURES, FittedModel
from alphapulse.domain.decision.rules import Number, Rule, seen, voter
from alphapulse.domain.decision.votes import BadVoter, BadVoterModel, View

MODEL_KIND = "logistic_votes"
MOST = 36.0  # log-odds: beyond, the probability is 0 or 1 in float64
NUMBERS = ("means", "scales", "coefficients")
NAMES = ("columns", *NUMBERS, "intercept")

_LN2_HIGH, _LN2_LOW = 3_048_493_539_143 / 2.0**42, 5.497923018708371e-14  # in two parts, as in logarithm.py


@voter(
    "statistical.logistic",
    "With a logistic regression on features, fitted on this log",
    model=MODEL_KIND,
    least=Number(0.02, 0, 0.5),
)
class Logistic(Rule):
    """Where the probability is ``least`` or more from one half, on rows of the timeframe it was fitted on.

    Score: twice that distance. Silent on rows that were known before all of the fit was.
    """

    def prepare(self) -> None:
        assert self.model is not None
        given = checked(self.model)
        self.inputs = tuple(seen(column) for column in given["columns"])
        self.means, self.scales, self.coefficients = (given[name] for name in NUMBERS)
        self.intercept = given["intercept"]

    def signed(self, view: View) -> Floats:
        assert self.model is not None
        if view.timeframe != self.model.timeframe:
            return np.zeros(len(view))
        signed = 2.0 * self.probability(view) - 1.0
        counts = (np.abs(signed) >= 2 * self.numbers["least"]) & (
            view.known_time > self.model.trained.known_time
        )
        return np.where(counts, signed, 0.0)

    def probability(self, view: View) -> Floats:
        """Of a rise, (R,); NaN where a feature is.

        Column by column: a matrix product sums in another order for one row than for many.
        """
        return sigmoid(sum(self.terms(view), np.full(len(view), self.intercept)))

    def terms(self, view: View) -> list[Floats]:
        """What each feature adds to the log-odds."""
        parts = zip(self.inputs, self.means, self.scales, self.coefficients, strict=True)
        return [c * ((view[f.name] - mean) / scale) for f, mean, scale, c in parts]

    def words(self, view: View, row: int) -> Sequence[str]:
        one = view.take(slice(row, row + 1))
        added = [float(term[0]) for term in self.terms(one)]
        found = [f"probability of a rise {self.probability(one)[0]:.4f}"]
        for i in sorted(range(len(added)), key=lambda i: -abs(added[i]))[:3]:
            name = self.inputs[i].name
            found.append(f"{name} {view[name][row]:.6g} adds {added[i]:+.4f} to the log-odds")
        return found


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), to a few units in the last place, the same bits on any machine.

    exp(x) is 2**k * exp(r) with r at most ln(2) / 2 in size; Taylor's sum up to r**13 leaves out less than
    1e-16 of it.
    """
    x = -np.clip(z, -MOST, MOST)
    k = np.rint(x / (_LN2_HIGH + _LN2_LOW))
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    power = np.ones(len(x))
    for n in range(13, 0, -1):
        power = 1.0 + power * r / n
    whole = np.nan_to_num(k).astype(np.int64)
    return np.asarray(1.0 / (1.0 + np.ldexp(power, whole)))


def sigmoid_of(z: float) -> float:
    """``sigmoid`` of one finite number, the same bits: a row of a live bar close is spared the arrays."""
    x = -min(max(z, -MOST), MOST)
    k = round(x / (_LN2_HIGH + _LN2_LOW))
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    power = 1.0
    for n in range(13, 0, -1):
        power = 1.0 + power * r / n
    return 1.0 / (1.0 + ldexp(power, k))


def logistic_model_parameters(
    columns: Sequence[str],
    means: Sequence[float],
    scales: Sequence[float],
    coefficients: Sequence[float],
    intercept: float,
) -> dict[str, Any]:
    """``FittedModel.parameters`` of these; see the module.

    Raises:
        BadVoter: widths that differ, a column that is no feature, a number that is not finite, a scale that
            is not above 0: with the values.
    """
    widths = len(columns), len(means), len(scales), len(coefficients)
    if len(set(widths)) > 1 or not 1 <= widths[0] <= MAX_FEATURES:
        raise BadVoter(
            "{} columns, {} means, {} scales, {} coefficients: need one of each, ".format(*widths)
            + f"1 to {MAX_FEATURES}"
        )
    for i, (column, scale) in enumerate(zip(columns, scales, strict=True)):
        _check_column(column)
        if not all(isfinite(x) for x in (means[i], scale, coefficients[i])) or scale <= 0:
            raise BadVoter(
                f"{column}: mean {means[i]}, scale {scale}, coefficient {coefficients[i]}: "
                "need finite numbers, and a scale above 0"
            )
    if len(set(columns)) < len(columns) or not isfinite(intercept):
        raise BadVoter(f"columns {list(columns)}, each once, with intercept {intercept}, a finite number")
    return {
        "columns": list(columns),
        "means": [float(x) for x in means],
        "scales": [float(x) for x in scales],
        "coefficients": [float(x) for x in coefficients],
        "intercept": float(intercept),
    }


def checked(model: FittedModel) -> dict[str, Any]:
    """The parameters of ``model``, as ``logistic_model_parameters`` gives them. Raises BadVoterModel."""
    given = model.parameters
    missing = [name for name in NAMES if name not in given]
    if missing:
        raise BadVoterModel(f"{model.name} has no {', '.join(missing)}: it holds {', '.join(sorted(given))}")
    try:
        made = logistic_model_parameters(**{name: given[name] for name in NAMES})
    except (TypeError, BadVoter) as error:
        raise BadVoterModel(f"{model.name}: {error}") from None
    if tuple(made["columns"]) != model.features:
        raise BadVoterModel(
            f"{model.name}: columns {made['columns']}, but its features are {list(model.features)}"
        )
    return made


def _check_column(column: str) -> None:
    try:
        seen(column)
    except BadFeatureSet as error:
        raise BadVoter(f"column {column!r}: {error}") from None
