"""Logistic regression of a few columns by Newton's method, for targets that may lie between 0 and 1."""

import numpy as np

from alphapulse.domain.analysis.fields import Floats

MAX_STEPS = 100
MAX_HALVINGS = 40
_TOLERANCE = 1e-12  # of the loss, per unit of weight; the last step squares it
_SAME = 1e-6  # a column of which less is left, as a share, says nothing new
_RIDGE = 1e-12  # so that a curvature that rounds to 0 can be divided by


class NoFit(ValueError):
    """Newton's method did not come to rest within MAX_STEPS."""


def sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -700, 700))))


def log_loss(z: Floats, target: Floats, weight: Floats) -> float:
    """Sum of the cross entropy of sigmoid(z) and ``target``: log(1 + exp z) - target z, without overflow."""
    return float(np.sum(weight * (np.logaddexp(0, z) - target * z)))


def logistic(columns: Floats, target: Floats, weight: Floats) -> Floats:
    """Coefficients (k + 1,) of ``columns`` (n, k), the constant last, with the least log loss.

    A column that does not vary, or follows from those before it, has coefficient 0. Targets strictly
    between 0 and 1 make the optimum finite; a step that does not lessen the loss is halved.

    Raises:
        NoFit: it does not come to rest.

    Source: H.-T. Lin, C.-J. Lin, R. Weng, A note on Platt's probabilistic outputs for support vector
    machines (2007).
    """
    units, into = _independent(columns, weight)
    return into @ _newton(units, target, weight)


def _independent(columns: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Columns (n, j) of mean square 1, each at right angles to the others, the constant first; and the matrix
    (k + 1, j) that turns their coefficients into those of ``columns`` and the constant.

    Newton's method then meets no curvature near 0, whatever the units and however alike the columns are.
    """
    k = columns.shape[1]
    given = np.column_stack([columns, np.ones(len(columns))])
    basis: list[Floats] = []  # coefficients over ``given``
    for c in (k, *range(k)):
        vector = np.zeros(k + 1)
        vector[c] = 1.0
        size = _size(given @ vector, weight)
        for _ in range(2):  # the second time takes out what rounding left in
            for other in basis:
                vector -= other * np.average((given @ vector) * (given @ other), weights=weight)
        rest = _size(given @ vector, weight)
        if rest > _SAME * size:
            basis.append(vector / rest)
    into = np.column_stack(basis)
    return given @ into, into


def _size(values: Floats, weight: Floats) -> float:
    return float(np.sqrt(np.average(values * values, weights=weight)))


def _newton(columns: Floats, target: Floats, weight: Floats) -> Floats:
    mean, total = float(np.average(target, weights=weight)), float(weight.sum())
    at = np.zeros(columns.shape[1])
    at[0] = np.log(mean / (1 - mean))
    loss = log_loss(columns @ at, target, weight)
    for _ in range(MAX_STEPS):
        p = sigmoid(columns @ at)
        gradient = columns.T @ (weight * (p - target))
        curvature = (columns * (weight * p * (1 - p))[:, None]).T @ columns
        step = np.asarray(np.linalg.solve(curvature + _RIDGE * total * np.eye(len(at)), gradient), np.float64)
        if gradient @ step <= _TOLERANCE * total:  # twice the loss that is left to gain
            return at - step
        at, loss = _descend(columns, target, weight, at, step, loss)
    raise NoFit(f"after {MAX_STEPS} steps at {at.tolist()} with loss {loss} over {total}")


def _descend(
    columns: Floats, target: Floats, weight: Floats, at: Floats, step: Floats, loss: float
) -> tuple[Floats, float]:
    """``at`` less ``step``, halved until that lessens the loss."""
    for _ in range(MAX_HALVINGS):
        further = log_loss(columns @ (at - step), target, weight)
        if further < loss:
            return at - step, further
        step = step / 2
    raise NoFit(f"no step from {at.tolist()} lessens the loss {loss}")
