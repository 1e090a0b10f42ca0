"""Which of a few hidden states the market is in, by a fitted Gaussian mixture or hidden Markov model.

Inference only, forwards only: the probabilities of a bar come from this bar and those before it. What was
fitted is in ``FittedModel.parameters``; fitting.py does that. All sums run in a fixed order and no row
looks at another, except through the filter's state: then no chunking changes a bit.
"""

from dataclasses import dataclass
from math import isfinite, log, pi
from typing import Any, Self

import numpy as np

from alphapulse.domain.analysis.fields import Floats

MAX_STATES = 8
MAX_DIMENSIONS = 16

_LOG_2PI = log(2 * pi)


class BadMixture(ValueError):
    """Parameters that are no probabilities, covariances or shapes that fit: the message says which."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Gaussians:
    """K normal distributions of D values; these are first put into units: (x - center) / scale."""

    center: Floats  # (D,)
    scale: Floats  # (D,)
    means: Floats  # (K, D)
    factors: Floats  # (K, D, D): lower Cholesky factors of the covariances

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Self:
        """From ``center``, ``scale``, ``means``, ``covariances``. Raises BadMixture."""
        center, scale = _array(parameters, "center", 1), _array(parameters, "scale", 1)
        means, covariances = _array(parameters, "means", 2), _array(parameters, "covariances", 3)
        k, d = means.shape
        if not (1 <= k <= MAX_STATES and 1 <= d <= MAX_DIMENSIONS):
            raise BadMixture(f"{k} states of {d} values: at most {MAX_STATES} of {MAX_DIMENSIONS}")
        if center.shape != (d,) or scale.shape != (d,) or covariances.shape != (k, d, d):
            raise BadMixture(
                f"means {means.shape} with center {center.shape}, scale {scale.shape}, "
                f"covariances {covariances.shape}"
            )
        if not (scale > 0).all():
            raise BadMixture(f"scale {scale.tolist()} is not positive")
        try:
            factors: Floats = np.asarray(np.linalg.cholesky(covariances), dtype=np.float64)
        except np.linalg.LinAlgError:
            raise BadMixture(f"covariances {covariances.tolist()} are not positive definite") from None
        return cls(center=center, scale=scale, means=means, factors=factors)

    @property
    def states(self) -> int:
        return len(self.means)

    def log_densities(self, rows: Floats) -> Floats:
        """(n, K) for ``rows`` (n, D), of the values in units of the training; NaN where a value is."""
        units = (rows - self.center) / self.scale
        return np.stack(
            [_log_density(units, m, f) for m, f in zip(self.means, self.factors, strict=True)], axis=1
        )


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Bars are drawn one by one: a bar's state says nothing of the next."""

    gaussians: Gaussians
    log_weights: Floats  # (K,)

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Self:
        gaussians = Gaussians.of(parameters)
        weights = _shares(_array(parameters, "weights", 1), (gaussians.states,), "weights")
        return cls(gaussians, _log(weights))

    def advance(self, rows: Floats, state: Floats | None = None) -> tuple[Floats, Floats | None]:
        """Probabilities (n, K) of the states given each row alone; NaN where a value is missing."""
        joint = self.gaussians.log_densities(rows) + self.log_weights
        return np.exp(joint - _log_sum(joint)[:, None]), state


@dataclass(frozen=True, slots=True, eq=False)
class Markov:
    """A hidden state that stays or changes from bar to bar."""

    gaussians: Gaussians
    log_start: Floats  # (K,)
    log_transition: Floats  # (K, K): from row to column

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Self:
        gaussians = Gaussians.of(parameters)
        k = gaussians.states
        start = _shares(_array(parameters, "start", 1), (k,), "start")
        transition = _shares(_array(parameters, "transition", 2), (k, k), "transition")
        return cls(gaussians, _log(start), _log(transition))

    def advance(self, rows: Floats, state: Floats | None = None) -> tuple[Floats, Floats | None]:
        """Probabilities (n, K) of the states given the rows so far, and the state to go on from.

        Forward algorithm in logarithms: Rabiner, A tutorial on hidden Markov models (1989), scaled every
        bar. A row with a missing value says nothing: the probabilities are those expected before it.
        """
        densities = self.gaussians.log_densities(rows)
        densities[np.isnan(densities).any(axis=1)] = 0.0
        out = np.empty_like(densities)
        for i, density in enumerate(densities):
            before = self.log_start if state is None else _step(state, self.log_transition)
            joint = before + density
            state = joint - _log_sum(joint[None])[0]
            out[i] = state
        return np.exp(out), state


Hidden = Mixture | Markov

KINDS: dict[str, type[Mixture] | type[Markov]] = {"regime_gmm": Mixture, "regime_hmm": Markov}


def hidden(kind: str, parameters: dict[str, Any]) -> Hidden:
    """The model of ``kind`` with fitted ``parameters``. Raises BadMixture."""
    if kind not in KINDS:
        raise BadMixture(f"{kind!r} is none of {', '.join(KINDS)}")
    return KINDS[kind].of(parameters)


def _step(state: Floats, log_transition: Floats) -> Floats:
    return _log_sum((state[:, None] + log_transition).T)


def _log_density(units: Floats, mean: Floats, factor: Floats) -> Floats:
    """Of one normal distribution, (n,): by forward substitution, so that no row depends on the others."""
    white: list[Floats] = []
    total = np.full(len(units), -0.5 * len(mean) * _LOG_2PI)
    for i in range(len(mean)):
        rest = units[:, i] - mean[i]
        for j in range(i):
            rest = rest - factor[i, j] * white[j]
        white.append(rest / factor[i, i])
        total = total - (0.5 * white[i] * white[i] + log(factor[i, i]))
    return total


def _log_sum(joint: Floats) -> Floats:
    """log of the sum of exp over the last axis, (n,) for (n, K): the largest is taken out first."""
    top = joint.max(axis=1)
    # Where every state is impossible, -inf, nothing can be taken out.
    shift = np.where(np.isinf(top), 0.0, top)
    total = np.zeros(len(joint))
    for k in range(joint.shape[1]):
        total = total + np.exp(joint[:, k] - shift)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(total) + shift)


def _log(shares: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(shares))


def _array(parameters: dict[str, Any], name: str, dimensions: int) -> Floats:
    try:
        array = np.array(parameters[name], dtype=np.float64)
    except KeyError:
        raise BadMixture(f"no {name!r} among {', '.join(parameters)}") from None
    except (TypeError, ValueError):
        raise BadMixture(f"{name} {parameters[name]!r} is no array of numbers") from None
    if array.ndim != dimensions or not all(isfinite(x) for x in array.ravel().tolist()):
        raise BadMixture(f"{name} {array.tolist()} needs {dimensions} dimensions of finite numbers")
    return array


def _shares(array: Floats, shape: tuple[int, ...], name: str) -> Floats:
    """``array`` when each of its rows is a distribution."""
    if array.shape != shape or (array < 0).any() or (abs(array.sum(axis=-1) - 1) > 1e-9).any():
        raise BadMixture(f"{name} {array.tolist()} of shape {array.shape} are no shares of shape {shape}")
    return array
