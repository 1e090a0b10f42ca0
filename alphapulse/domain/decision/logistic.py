"""Logistic regression of a few columns by Newton's method, for targets that may lie between 0 and 1."""

import numpy as np

from alphapulse.domain.analysis.fields import Floats

MAX_STEPS = 100
MAX_HALVINGS = 40
_TOLERANCE = 1e-10  # of the gradient, per unit of weight
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

    A column that does not vary has coefficient 0. Targets strictly between 0 and 1 make the optimum finite;
    a step that does not lessen the loss is halved.

    Raises:
        NoFit: it does not come to rest.

    Source: H.-T. Lin, C.-J. Lin, R. Weng, A note on Platt's probabilistic outputs for support vector
    machines (2007).
    """
    center = np.average(columns, axis=0, weights=weight)
    spread = np.sqrt(np.average((columns - center) ** 2, axis=0, weights=weight))
    varies = spread > 1e-12 * (1 + np.abs(center))
    units = (columns[:, varies] - center[varies]) / spread[varies]
    found = _newton(np.column_stack([units, np.ones(len(units))]), target, weight)
    slopes = np.zeros(len(spread))
    slopes[varies] = found[:-1] / spread[varies]
    return np.append(slopes, found[-1] - slopes @ center)


def _newton(columns: Floats, target: Floats, weight: Floats) -> Floats:
    mean = float(np.average(target, weights=weight))
    at = np.zeros(columns.shape[1])
    at[-1] = np.log(mean / (1 - mean))
    loss, total = log_loss(columns @ at, target, weight), float(weight.sum())
    gradient = np.full(len(at), np.inf)
    for _ in range(MAX_STEPS):
        p = sigmoid(columns @ at)
        gradient = columns.T @ (weight * (p - target))
        if np.abs(gradient).max() <= _TOLERANCE * total:
            return at
        curvature = (columns * (weight * p * (1 - p))[:, None]).T @ columns
        step = np.linalg.solve(curvature + _RIDGE * total * np.eye(len(at)), gradient)
        for _ in range(MAX_HALVINGS):
            further = log_loss(columns @ (at - step), target, weight)
            if further <= loss:
                break
            step = step / 2
        else:
            return at  # the loss cannot be lessened in float64
        at, loss = at - step, further
    raise NoFit(f"after {MAX_STEPS} steps at {at.tolist()} with gradient {gradient.tolist()}")
