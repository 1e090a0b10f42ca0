"""From a raw score to a probability: four ways to learn it from resolved candidates.

Scores are in log-odds. Every calibrator never falls with the score. ``fit`` takes scores, outcomes (1 won,
0 lost) and weights of rows, in any order; ``curve`` gives the points that its table is made of.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.logistic import logistic, sigmoid
from alphapulse.domain.decision.rows import Rows

CURVE_POINTS = 1_025  # of a smooth calibrator, from which the knots of its table are picked


@dataclass(frozen=True, slots=True)
class Platt:
    """sigmoid(a x + b). Source: J. Platt, Probabilistic outputs for support vector machines (1999)."""

    a: float  # >= 0
    b: float
    low: float  # the scores it was fitted on
    high: float

    @classmethod
    def fit(cls, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> "Platt":
        """Least log loss to Platt's smoothed targets with a >= 0. Raises BadRows."""
        rows = Rows.of(x, y, weight)
        target = rows.smoothed()
        a, b = logistic(rows.x[:, None], target, rows.weight)
        if a < 0:  # the loss is convex: then the best of what is allowed lies at a = 0
            a, b = logistic(np.zeros((len(rows.x), 1)), target, rows.weight)
        return cls(float(a), float(b), float(rows.x[0]), float(rows.x[-1]))

    def predict(self, x: Floats) -> Floats:
        return sigmoid(self.a * np.asarray(x, dtype=np.float64) + self.b)

    def curve(self) -> tuple[Floats, Floats]:
        x = grid(self.low, self.high)
        return x, self.predict(x)


def grid(low: float, high: float) -> Floats:
    """CURVE_POINTS scores from ``low`` to ``high``; one if they are equal."""
    return np.unique(np.linspace(low, high, CURVE_POINTS))
