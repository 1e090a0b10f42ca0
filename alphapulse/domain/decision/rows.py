"""What a calibrator is fitted on: scores of candidates and whether they won, checked and in one order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alphapulse.domain.analysis.fields import Floats

MIN_ROWS = 20  # below that no calibrator is fitted
MAX_LOG_ODDS = 100.0  # a score beyond is a bug: the odds are 1 to 10**43


class BadRows(ValueError):
    """Scores, outcomes or weights that are missing, out of range or of different lengths."""


class TooFewRows(BadRows):
    """Fewer than MIN_ROWS rows of positive weight."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Checked rows, ascending by score, outcome, weight: in which order they came is forgotten."""

    x: Floats  # raw score, log-odds
    y: Floats  # 1 won, 0 lost
    weight: Floats  # > 0

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> "Rows":
        """Rows of weight 0 are left out; without weights all have 1. A weight of 2 is the row twice.

        Raises:
            BadRows: see there.
        """
        xs, ys, ws = checked(x, y, weight)
        kept = ws > 0
        if np.count_nonzero(kept) < MIN_ROWS:
            raise TooFewRows(f"{np.count_nonzero(kept)} rows of positive weight, {MIN_ROWS} are needed")
        xs, ys, ws = xs[kept], ys[kept], ws[kept]
        order = np.lexsort((ws, ys, xs))
        return cls(xs[order], ys[order], ws[order])

    def smoothed(self) -> Floats:
        """Platt's targets: (wins + 1) / (wins + 2) for a win, 1 / (losses + 2) for a loss, counts by weight.

        They are what a Bayesian expects who starts from one win and one loss, so that no fit runs off to
        infinity. Source: J. Platt, Probabilistic outputs for support vector machines (1999).
        """
        wins = float(self.weight[self.y == 1].sum())
        losses = float(self.weight[self.y == 0].sum())
        return np.where(self.y == 1, (wins + 1) / (wins + 2), 1 / (losses + 2))

    def levels(self) -> tuple[Floats, Floats, Floats]:
        """The distinct scores, the weight of wins at each, and all weight at each."""
        distinct, first = np.unique(self.x, return_index=True)
        wins = np.add.reduceat(self.weight * self.y, first)
        return distinct, wins, np.add.reduceat(self.weight, first)


def checked(x: ArrayLike, y: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Scores, outcomes and weights (1 where there are none) as arrays (n,). Raises BadRows."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    ws = np.ones(xs.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape or xs.shape != ws.shape:
        raise BadRows(f"scores {xs.shape}, outcomes {ys.shape} and weights {ws.shape} need one length")
    refuse(xs, ~(np.abs(xs) <= MAX_LOG_ODDS), f"score is not from -{MAX_LOG_ODDS} to {MAX_LOG_ODDS}")
    refuse(ys, (ys != 0) & (ys != 1), "outcome is not 0 or 1")
    refuse(ws, ~((ws >= 0) & (ws < np.inf)), "weight is negative or not finite")
    return xs, ys, ws


def refuse(values: NDArray[Any], bad: NDArray[np.bool_], why: str) -> None:
    """Raises BadRows with the first of ``values`` that is ``bad``."""
    if bad.any():
        row = int(np.argmax(bad))
        raise BadRows(f"row {row} of {len(values)}: {values[row]} as {why}")
