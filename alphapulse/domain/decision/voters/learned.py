"""Votes of any model in ONNX that gives a row of features the chance of a rise.

A fitted model of kind ``onnx_votes`` pins what it looks at: its ``recipe`` holds the feature set that it was
trained on (``set``, ``set_version``, ``set_digest``) and in ``inputs`` each feature in full, code version
included, in the order of the model's columns. Its ``parameters`` hold

    {"output": "log_odds" or "probability", "base_rate": 0.49, "abstain": 0.02, "receipt": {…}, …}

Who opens an artifact is handed in at start-up by ``register_learned``: nothing here knows of a runtime.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.features import Feature
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.analysis.registry import BadParameter
from alphapulse.domain.decision.rules import Number, Rule, voter
from alphapulse.domain.decision.voters.logistic import sigmoid, sigmoid_of
from alphapulse.domain.decision.votes import ABSTAINS, LONG, SHORT, BadVoterModel, View, Vote
from alphapulse.domain.ports import Scorer

MODEL_KIND = "onnx_votes"
LOG_ODDS, PROBABILITY = "log_odds", "probability"
OUTPUTS = (LOG_ODDS, PROBABILITY)
PINS = ("set", "set_version", "set_digest", "inputs")

Opener = Callable[[FittedModel], Scorer]


class NotWired(RuntimeError):
    """Nobody said what opens a model: ``register_learned`` comes before anything decides."""


_openers: list[Opener] = []


def register_learned(opener: Opener) -> None:
    """From now on ``opener`` makes the scorer of a model's artifact; it raises ValueError where it cannot."""
    _openers[:] = [opener]


@voter(
    "learned.onnx",
    "With a model in ONNX that was trained on this log, or brought along",
    model=MODEL_KIND,
    least=Number(0, 0, 0.5),
)
class Learned(Rule):
    """Where the probability is ``least``, or what the model itself asks for, or more from one half.

    Score: twice that distance. Only on rows of the timeframe that it was trained on, and of bars that were
    known later than all of its training.
    """

    def prepare(self) -> None:
        assert self.model is not None
        self.inputs = checked(self.model)
        self._scorer = _opened(self.model)
        self._is_log_odds = self.model.parameters["output"] == LOG_ODDS
        self._dead = 2 * max(self.numbers["least"], self.model.parameters["abstain"])
        self._since, self._timeframe = self.model.trained.known_time, self.model.timeframe
        self._places: tuple[Mapping[str, int], NDArray[np.intp] | None] = ({}, None)

    def vote(self, view: View) -> Vote:
        if len(view) == 1:
            return self._vote_on_one(view)
        return super().vote(view)

    def signed(self, view: View) -> Floats:
        found = np.full(len(view), np.nan)
        if view.timeframe != self._timeframe:
            return found
        rows = np.flatnonzero(view.known_time > self._since)
        found[rows] = 2.0 * self.probability(self._inputs_of(view)[rows]) - 1.0
        return np.where(np.abs(found) >= self._dead, found, 0.0)

    def probability(self, rows: Floats) -> Floats:
        """Of a rise, for each of ``rows`` of inputs; NaN where one is missing or the model gives no such."""
        scores = self._scorer.score(rows)
        if self._is_log_odds:
            return np.where(np.isfinite(scores), sigmoid(scores), np.nan)
        return np.where((scores >= 0) & (scores <= 1), scores, np.nan)

    def words(self, view: View, row: int) -> Sequence[str]:
        assert self.model is not None
        inputs = self._inputs_of(view)[row]
        probability = float(self.probability(inputs[None])[0])
        base = self.model.parameters["base_rate"]
        values = [f"{f.name} {value:.6g}" for f, value in zip(self.inputs, inputs, strict=True)]
        return [
            f"probability of a rise {probability:.4f}, where {base:.4f} of the training rose",
            f"from {len(values)} features, the first: {', '.join(values[:3])}",
        ]

    def _inputs_of(self, view: View) -> Floats:
        """(R, inputs): the columns of the view, as they are where it has no others."""
        columns, places = self._places
        if columns is not view.columns:
            wanted = [view.columns[f.name] for f in self.inputs]
            is_all = wanted == list(range(view.values.shape[1]))
            places = None if is_all else np.array(wanted, dtype=np.intp)
            self._places = view.columns, places
        return view.values if places is None else view.values[:, places]

    def _vote_on_one(self, view: View) -> Vote:
        """The same numbers for one row without the arrays: what a live market asks for."""
        if view.timeframe != self._timeframe or view.known_time[0] <= self._since:
            return Vote(direction=_ABSTAINS, score=_NOTHING, reasons=_silent, version=self.version)
        score = float(self._scorer.score(self._inputs_of(view))[0])
        if self._is_log_odds:
            signed = 2.0 * sigmoid_of(score) - 1.0 if isfinite(score) else 0.0
        else:
            signed = 2.0 * score - 1.0 if 0 <= score <= 1 else 0.0
        if signed == 0.0 or abs(signed) < self._dead:
            return Vote(direction=_ABSTAINS, score=_NOTHING, reasons=_silent, version=self.version)
        return Vote(
            direction=_RISES if signed > 0 else _FALLS,
            score=np.array([abs(signed)]),
            reasons=lambda row: self.words(view, row),
            version=self.version,
        )


def checked(model: FittedModel) -> tuple[Feature, ...]:
    """The features that ``model`` looks at, in order.

    Raises:
        BadVoterModel: something is missing, not finite or out of range, or a feature is defined otherwise by
            this code: with the values.
    """
    missing = [name for name in PINS if name not in model.recipe]
    if missing:
        raise BadVoterModel(
            f"{model.name} does not say its {', '.join(missing)}: it has {sorted(model.recipe)}"
        )
    _check_numbers(model)
    inputs = _inputs(model)
    names = tuple(feature.name for feature in inputs)
    if names != model.features or len(set(names)) < len(names):
        raise BadVoterModel(
            f"{model.name}: inputs {list(names)}, but its features are {list(model.features)}"
        )
    for feature in inputs:
        _check_feature(model.name, feature)
    return inputs


def pinned_inputs(inputs: Sequence[Feature]) -> list[dict[str, Any]]:
    """``inputs`` as a recipe holds them."""
    return [msgspec.to_builtins(feature) for feature in inputs]


def _inputs(model: FittedModel) -> tuple[Feature, ...]:
    try:
        return msgspec.convert(model.recipe["inputs"], tuple[Feature, ...])
    except msgspec.ValidationError as error:
        raise BadVoterModel(f"{model.name}: inputs: {error}") from None


def _check_feature(name: str, feature: Feature) -> None:
    pin = f"{name}: {feature.name}"
    try:
        known = feature.spec.known
    except BadParameter as error:
        raise BadVoterModel(f"{pin}: {error}") from None
    if feature.output not in [output.name for output in known.outputs]:
        raise BadVoterModel(f"{pin}: {feature.rule} has no output {feature.output!r}")
    if known.code_version != feature.code_version:
        raise BadVoterModel(
            f"{pin}: trained with code version {feature.code_version} of {feature.rule}, this code has "
            f"version {known.code_version}: train it again"
        )


def _check_numbers(model: FittedModel) -> None:
    given = model.parameters
    if given.get("output") not in OUTPUTS:
        raise BadVoterModel(f"{model.name}: output {given.get('output')!r} is none of {', '.join(OUTPUTS)}")
    for name, most in (("base_rate", 1.0), ("abstain", 0.5)):
        value = given.get(name)
        if not isinstance(value, int | float) or not 0 <= value <= most:  # NaN is not either
            raise BadVoterModel(f"{model.name}: {name} {value!r} is no number from 0 to {most:g}")


def _opened(model: FittedModel) -> Scorer:
    if not _openers:
        raise NotWired(f"{model.name}: nothing here opens models: see register_learned")
    try:
        scorer = _openers[0](model)
    except ValueError as error:
        raise BadVoterModel(str(error)) from None
    if tuple(scorer.features) != model.features:
        raise BadVoterModel(
            f"{model.name}: opened for {list(scorer.features)}, its features are {list(model.features)}"
        )
    return scorer


def _silent(_row: int) -> Sequence[str]:
    return ()


def _fixed(values: NDArray[Any]) -> NDArray[Any]:
    """``values``, which nobody may change from now on: many votes share it."""
    values.setflags(write=False)
    return values


_RISES, _FALLS, _ABSTAINS = (_fixed(np.array([side], dtype=np.int8)) for side in (LONG, SHORT, ABSTAINS))
_NOTHING = _fixed(np.zeros(1))
