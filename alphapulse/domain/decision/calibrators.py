"""From a raw score to a probability: four ways to learn it from resolved candidates.

Scores are in log-odds. No calibrator ever falls with the score. ``fit`` takes scores, outcomes (1 won, 0
lost) and weights of rows, in any order, and raises BadRows; ``curve`` gives the scores that a table of the
calibrator is made from, and the probabilities there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.logistic import log_loss, logistic, sigmoid
from alphapulse.domain.decision.pooling import isotonic, venn_abers
from alphapulse.domain.decision.rows import Rows
from alphapulse.domain.decision.table import lookup

CURVE_POINTS = 1_025  # of a smooth calibrator, from which the knots of its table are picked


class Calibrator(Protocol):
    @classmethod
    def fit(cls, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> Self: ...

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """``fit`` on rows that are checked already."""
        ...

    def predict(self, x: Floats) -> Floats: ...

    def curve(self) -> tuple[Floats, Floats]: ...

    @property
    def parameters(self) -> dict[str, float]:
        """What a reader wants to know beside the table."""
        ...


@dataclass(frozen=True, slots=True)
class Platt:
    """sigmoid(a x + b). Source: J. Platt, Probabilistic outputs for support vector machines (1999)."""

    a: float  # >= 0
    b: float
    low: float  # the scores it was fitted on
    high: float

    @classmethod
    def fit(cls, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> Self:
        """Least log loss to Platt's smoothed targets with a >= 0."""
        return cls.of(Rows.of(x, y, weight))

    @classmethod
    def of(cls, rows: Rows) -> Self:
        (a,), b = _rising(rows.x[:, None], rows)
        return cls(a, b, float(rows.x[0]), float(rows.x[-1]))

    def predict(self, x: Floats) -> Floats:
        return sigmoid(self.a * np.asarray(x, dtype=np.float64) + self.b)

    def curve(self) -> tuple[Floats, Floats]:
        x = _grid(self.low, self.high)
        return x, self.predict(x)

    @property
    def parameters(self) -> dict[str, float]:
        return {"a": self.a, "b": self.b}


@dataclass(frozen=True, slots=True)
class Beta:
    """sigmoid(a ln s - b ln(1 - s) + c) with s = sigmoid(x): bends otherwise at the top than at the bottom.

    Source: M. Kull, T. Silva Filho, P. Flach, Beta calibration (AISTATS 2017).
    """

    a: float  # >= 0
    b: float  # >= 0
    c: float
    low: float  # the scores it was fitted on
    high: float

    @classmethod
    def fit(cls, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> Self:
        """Least log loss to Platt's smoothed targets with a, b >= 0."""
        return cls.of(Rows.of(x, y, weight))

    @classmethod
    def of(cls, rows: Rows) -> Self:
        (a, b), c = _rising(_log_shares(rows.x), rows)
        return cls(a, b, c, float(rows.x[0]), float(rows.x[-1]))

    def predict(self, x: Floats) -> Floats:
        columns = _log_shares(np.asarray(x, dtype=np.float64))
        return sigmoid(self.a * columns[:, 0] + self.b * columns[:, 1] + self.c)

    def curve(self) -> tuple[Floats, Floats]:
        x = _grid(self.low, self.high)
        return x, np.maximum.accumulate(self.predict(x))

    @property
    def parameters(self) -> dict[str, float]:
        return {"a": self.a, "b": self.b, "c": self.c}


@dataclass(frozen=True, slots=True, eq=False)
class Isotonic:
    """A rising step function, straight lines between the steps.

    It begins with one win at the lowest score and one loss at the highest, so that a few wins at the top
    are no certainty (Laplace's rule, at both ends).
    """

    x: Floats  # the distinct scores
    p: Floats

    @classmethod
    def fit(cls, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> Self:
        return cls.of(Rows.of(x, y, weight))

    @classmethod
    def of(cls, rows: Rows) -> Self:
        scores, wins, weights = rows.levels()
        wins[0] += 1
        weights[0] += 1
        weights[-1] += 1
        return cls(scores, isotonic(wins, weights))

    def predict(self, x: Floats) -> Floats:
        return lookup(self.x, self.p, x)

    def curve(self) -> tuple[Floats, Floats]:
        return self.x, self.p

    @property
    def parameters(self) -> dict[str, float]:
        return {"steps": float(len(np.unique(self.p)))}


@dataclass(frozen=True, slots=True, eq=False)
class VennAbers:
    """Two probabilities a score, from isotonic fits with a new row there that lost or won: one is right.

    ``predict`` merges them into p1 / (1 - p0 + p1), the least regret in log loss. Beyond the scores seen, p1
    is 1 and p0 is 0; its ``curve`` (and so its table) stops at the ends, and claims less.

    Sources: V. Vovk, I. Petej, Venn-Abers predictors (2014), and as in pooling.py.
    """

    x: Floats  # the distinct scores
    p0: Floats
    p1: Floats

    @classmethod
    def fit(cls, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> Self:
        """The new row has weight 1."""
        return cls.of(Rows.of(x, y, weight))

    @classmethod
    def of(cls, rows: Rows) -> Self:
        scores, wins, weights = rows.levels()
        return cls(scores, *venn_abers(wins, weights))

    def interval(self, x: Floats) -> tuple[Floats, Floats]:
        """p0 and p1 of each score; NaN for NaN."""
        x = np.asarray(x, dtype=np.float64)
        p0 = np.concatenate([[0.0], self.p0])[np.searchsorted(self.x, x, side="right")]
        p1 = np.concatenate([self.p1, [1.0]])[np.searchsorted(self.x, x, side="left")]
        return np.where(np.isnan(x), np.nan, p0), np.where(np.isnan(x), np.nan, p1)

    def predict(self, x: Floats) -> Floats:
        p0, p1 = self.interval(x)
        return p1 / (1 - p0 + p1)

    def curve(self) -> tuple[Floats, Floats]:
        return self.x, np.maximum.accumulate(self.predict(self.x))

    @property
    def parameters(self) -> dict[str, float]:
        return {"widest": float((self.p1 - self.p0).max())}


METHODS: Mapping[str, type[Calibrator]] = {
    "platt": Platt,
    "beta": Beta,
    "venn_abers": VennAbers,
    "isotonic": Isotonic,
}


def _grid(low: float, high: float) -> Floats:
    """CURVE_POINTS scores from ``low`` to ``high``; fewer where floats do not lie that close."""
    return np.unique(np.linspace(low, high, CURVE_POINTS))


def _log_shares(x: Floats) -> Floats:
    """(n, 2): ln s and -ln(1 - s) of s = sigmoid(x), both rising with x."""
    return np.column_stack([-np.logaddexp(0, -x), np.logaddexp(0, x)])


def _rising(columns: Floats, rows: Rows) -> tuple[list[float], float]:
    """Slopes >= 0 of ``columns`` and the constant, with the least log loss to the smoothed targets.

    The loss is convex. So if the best slopes are not all allowed, the best allowed ones have some at 0.
    """
    target = rows.smoothed()
    found = logistic(columns, target, rows.weight)
    if (found[:-1] >= 0).all():
        return found[:-1].tolist(), float(found[-1])
    without = [_without(columns, k, rows) for k in range(columns.shape[1])]
    return min(without, key=lambda fit: log_loss(columns @ fit[0] + fit[1], target, rows.weight))


def _without(columns: Floats, k: int, rows: Rows) -> tuple[list[float], float]:
    """The same with the slope of column ``k`` at 0."""
    if columns.shape[1] == 1:
        return [0.0], float(logistic(np.zeros_like(columns), rows.smoothed(), rows.weight)[-1])
    slopes, constant = _rising(np.delete(columns, k, axis=1), rows)
    return [*slopes[:k], 0.0, *slopes[k:]], constant
