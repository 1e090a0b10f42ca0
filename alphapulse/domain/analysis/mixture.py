"""Which of a few hidden states the market is in, by a fitted Gaussian mixture or hidden Markov model.

Inference only, forwards only: the probabilities of a bar come from this bar and those before it. What was
fitted is in ``FittedModel.parameters``; fitting.py does that. All sums run in a fixed order and no row
looks at another, except through the filter's state: then no chunking changes a bit.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats

MAX_STATES = 8
MAX_DIMENSIONS = 16

_LOG_2PI = math.log(2 * math.pi)


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
        with np.errstate(over="ignore", invalid="ignore"):  # a value too far out becomes infinite, or NaN
            units = (rows - self.center) / self.scale
            each = [_log_density(units, m, f) for m, f in zip(self.means, self.factors, strict=True)]
            return np.stack(each, axis=1)


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
        """Probabilities (n, K) given each row alone; NaN where a value is missing or too far out."""
        joint = self.gaussians.log_densities(rows) + self.log_weights
        joint[~np.isfinite(joint).any(axis=1)] = np.nan
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
        bar. A row with a missing value, or one too far out for its density to be told, says nothing: the
        probabilities are those expected before it.
        """
        densities = self.gaussians.log_densities(rows)
        densities[~np.isfinite(densities).all(axis=1)] = 0.0
        first = state is None
        now = np.array(self.log_start if state is None else state)
        _filter(densities, self.log_transition, first, now)
        return np.exp(densities), state if first and not len(rows) else now


Hidden = Mixture | Markov

KINDS: dict[str, type[Mixture] | type[Markov]] = {"regime_gmm": Mixture, "regime_hmm": Markov}


def hidden(kind: str, parameters: dict[str, Any]) -> Hidden:
    """The model of ``kind`` with fitted ``parameters``. Raises BadMixture."""
    if kind not in KINDS:
        raise BadMixture(f"{kind!r} is none of {', '.join(KINDS)}")
    return KINDS[kind].of(parameters)


@piece
def _filter(densities: Floats, log_transition: Floats, first: bool, state: Floats) -> None:
    """Turn log ``densities`` (n, K) into log probabilities, carrying ``state`` along.

    Before the ``first`` bar ``state`` is that of the start: nothing has changed yet.
    """
    count, states = densities.shape
    before, terms = state.copy(), np.empty(states)
    for i in range(count):
        if i > 0 or not first:
            for k in range(states):
                for j in range(states):
                    terms[j] = state[j] + log_transition[j, k]
                before[k] = _log_total(terms)
        for k in range(states):
            terms[k] = before[k] + densities[i, k]
        total = _log_total(terms)
        for k in range(states):
            state[k] = terms[k] - total
            densities[i, k] = state[k]


@piece
def _log_total(terms: Floats) -> float:
    """log of the sum of exp of ``terms``: the largest is taken out first, unless all are -inf."""
    top = terms.max()
    if top == -math.inf:
        return top  # type: ignore[no-any-return]
    total = 0.0
    for term in terms:
        total += math.exp(term - top)
    return math.log(total) + float(top)


def _log_density(units: Floats, mean: Floats, factor: Floats) -> Floats:
    """Of one normal distribution, (n,): by forward substitution, so that no row depends on the others."""
    white: list[Floats] = []
    total = np.full(len(units), -0.5 * len(mean) * _LOG_2PI)
    for i in range(len(mean)):
        rest = units[:, i] - mean[i]
        for j in range(i):
            rest = rest - factor[i, j] * white[j]
        white.append(rest / factor[i, i])
        total = total - (0.5 * white[i] * white[i] + math.log(factor[i, i]))
    return total


def _log_sum(joint: Floats) -> Floats:
    """log of the sum of exp over the last axis, (n,) for (n, K): the largest is taken out first."""
    top = joint.max(axis=1)
    total = np.zeros(len(joint))
    for k in range(joint.shape[1]):
        total = total + np.exp(joint[:, k] - top)
    return np.asarray(np.log(total) + top)


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
    if array.ndim != dimensions or not all(math.isfinite(x) for x in array.ravel().tolist()):
        raise BadMixture(f"{name} {array.tolist()} needs {dimensions} dimensions of finite numbers")
    return array


def _shares(array: Floats, shape: tuple[int, ...], name: str) -> Floats:
    """``array`` when each of its rows is a distribution."""
    if array.shape != shape or (array < 0).any() or (abs(array.sum(axis=-1) - 1) > 1e-9).any():
        raise BadMixture(f"{name} {array.tolist()} of shape {array.shape} are no shares of shape {shape}")
    return array
