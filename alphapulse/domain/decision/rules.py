"""A voter as one small class: its numbers, the features that it looks at, a signed number a row, its reasons.

    @voter("mine.calm", "Buys where it is calm", least=Number(0.2, 0, 1))
    class Calm(Rule):
        inputs = (seen("rsi(14)"),)

        def signed(self, view: View) -> Floats:
            return np.where(view["rsi_14"] < 30, self.numbers["least"], 0.0)

        def words(self, view: View, row: int) -> Sequence[str]:
            return [f"RSI {view['rsi_14'][row]:.1f} is under 30"]

Only what IEEE 754 rounds in one way (+ - * / and square roots, comparisons) keeps row i the same whichever
rows it comes with, on any machine: no exp, no log, no matrix product.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.features import Feature, feature_of
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.decision.votes import BadVoter, Kind, View, Vote, register

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Number:
    """What a person may choose of a rule: its default, and from where to where."""

    default: float
    low: float
    high: float
    whole: bool = False

    def check(self, value: float, owner: str) -> float:
        """Raises BadVoter, with ``owner`` and the value, when it is out of range (or NaN)."""
        if not self.low <= value <= self.high or (self.whole and value != int(value)):
            kind = "a whole number" if self.whole else "a number"
            raise BadVoter(f"{owner} {value:g} needs {kind} from {self.low:g} to {self.high:g}")
        return float(value)


class Rule(ABC):
    """A voter that gives one signed number a row: see the module. ``version`` goes up with every change."""

    version: int = 1
    inputs: Sequence[Feature] = ()
    name: ClassVar[str] = ""
    takes: ClassVar[Mapping[str, Number]] = {}

    def __init__(self, numbers: Mapping[str, float], model: FittedModel | None = None) -> None:
        """
        Raises:
            BadVoter: a number is out of its range, or they do not go together.
        """
        self.numbers = {n: self.takes[n].check(value, f"{self.name}: {n}") for n, value in numbers.items()}
        self.model = model
        self.prepare()

    def prepare(self) -> None:
        """What is worked out once, before any vote. Raises BadVoter."""
        return

    @abstractmethod
    def signed(self, view: View) -> Floats:
        """(R,) from -1, sure of a fall, to 1, sure of a rise; 0 and NaN abstain."""

    @abstractmethod
    def words(self, view: View, row: int) -> Sequence[str]:
        """Why, with the values, where the vote is not an abstention."""

    def vote(self, view: View) -> Vote:
        with np.errstate(all="ignore"):
            signed = self.signed(view)

        def reasons(row: int) -> Sequence[str]:
            # Of what was signed, not of the vote: that would hold itself, and rows of years wait to be freed.
            return self.words(view, row) if abs(signed[row]) > 0.0 else ()

        return Vote.of(signed, reasons, self.version)


def voter(name: str, title: str, *, model: str = "", **takes: Number) -> Callable[[type[Rule]], type[Rule]]:
    """Register a class of Rule as a kind of voter. ``model``: the kind of fitted model that it needs."""

    def join(rule: type[Rule]) -> type[Rule]:
        rule.name, rule.takes = name, takes
        defaults = {n: number.default for n, number in takes.items()}
        kind = Kind(name=name, title=title, parameters=defaults, model=model, version=rule.version, make=rule)
        register(kind)
        return rule

    return join


def seen(text: str, *, timeframe: int | None = None, lag: int = 0) -> Feature:
    """The feature written as ``adx(14).plus_di``, called ``adx_14.plus_di``, or ``adx_14.plus_di.60m.lag1``.

    ``timeframe`` (minutes) and ``lag`` (bars) as Feature has them.

    Raises:
        BadFeatureSet: there is no such rule, parameter or output.
    """
    plain = feature_of(text)
    name = plain.name + (f".{timeframe}m" if timeframe else "") + (f".lag{lag}" if lag else "")
    output = plain.output or plain.spec.known.outputs[0].name
    return msgspec.structs.replace(plain, name=name, output=output, timeframe=timeframe, lag=lag)


def share(part: Floats, whole: Floats | float) -> Floats:
    """``part / whole``, at most 1; NaN (so no vote) where either is, or 0 of 0."""
    return np.minimum(part / whole, 1.0)


def side(values: Floats) -> Floats:
    """1 above 0, -1 below, 0 at it; NaN where there is none."""
    return np.sign(values)
