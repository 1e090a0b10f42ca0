"""How good claims were: proper scores, and whether what was claimed is what happened.

``p`` (n,) are claimed probabilities, ``y`` (n,) outcomes (1 won, 0 lost), ``weight`` (n,) what each counts.
"""

from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.intervals import BadSample, win_rate_interval

BINS = 10
MAX_BINS = 100


def log_losses(p: Floats, y: Floats) -> Floats:
    """-ln of what was claimed of the outcome that came, (n,). Claims lie strictly between 0 and 1."""
    return np.asarray(-np.where(y == 1, np.log(p), np.log1p(-p)))


def brier(p: Floats, y: Floats, weight: Floats | None = None) -> float:
    """Mean squared error of claims. Source: G. W. Brier, Verification of forecasts (1950).

    Raises:
        BadSample: no claims, lengths that differ, or values out of range.
    """
    _check(p, y, weight)
    return float(np.average((p - y) ** 2, weights=weight))


def brier_skill(p: Floats, y: Floats, base: Floats | None = None, weight: Floats | None = None) -> float:
    """1 - brier / brier of the ``base`` claims: 0 is no better than those, below it worse.

    Without a base it is the share of wins, known in hindsight. 0 where the base makes no error. Raises
    BadSample.
    """
    own = brier(p, y, weight)
    reference = brier(np.full(len(y), np.average(y, weights=weight)) if base is None else base, y, weight)
    return 1 - own / reference if reference > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Claims from ``low`` to ``high``: their mean, and how often they came true, with its Wilson interval."""

    low: float
    high: float
    count: float  # weight, or effective number
    claimed: float
    won: float
    won_low: float
    won_high: float


def reliability_bins(
    p: Floats, y: Floats, weight: Floats | None = None, *, bins: int = BINS
) -> tuple[Bin, ...]:
    """At most ``bins`` bins of about the same number of claims, ascending.

    Equal claims are in one bin: so there may be fewer. With ``uniqueness`` as weight the intervals count
    overlapping outcomes for what they are worth.

    Raises:
        BadSample: no claims, lengths that differ, values out of range, or not 1 to MAX_BINS bins.
    """
    _check(p, y, weight)
    if not 1 <= bins <= MAX_BINS:
        raise BadSample(f"{bins} bins: 1 to {MAX_BINS} are allowed")
    edges = np.sort(p)[np.arange(1, bins) * len(p) // bins]
    which = np.searchsorted(np.unique(edges), p, side="right")
    counts = np.ones(len(p)) if weight is None else weight
    return tuple(_bin(p[which == b], y[which == b], counts[which == b]) for b in np.unique(which).tolist())


def _bin(p: Floats, y: Floats, weight: Floats) -> Bin:
    count, won = float(weight.sum()), float(np.average(y, weights=weight))
    won_low, won_high = win_rate_interval(min(won * count, count), count)
    return Bin(
        low=float(p.min()),
        high=float(p.max()),
        count=count,
        claimed=float(np.average(p, weights=weight)),
        won=won,
        won_low=won_low,
        won_high=won_high,
    )


def calibration_error(p: Floats, y: Floats, weight: Floats | None = None, *, bins: int = BINS) -> float:
    """Expected calibration error: the mean distance of claims and wins over ``reliability_bins``.

    It is above 0 even for perfect claims, by chance, the more the smaller the bins. Source of bins of equal
    mass: K. Nguyen, B. O'Connor, Posterior calibration and exploratory analysis (EMNLP 2015).
    """
    found = reliability_bins(p, y, weight, bins=bins)
    return sum(b.count * abs(b.claimed - b.won) for b in found) / sum(b.count for b in found)


def _check(p: Floats, y: Floats, weight: Floats | None) -> None:
    if p.ndim != 1 or len(p) == 0 or p.shape != y.shape or (weight is not None and weight.shape != p.shape):
        raise BadSample(f"{p.shape} claims, {y.shape} outcomes, weights {getattr(weight, 'shape', 'none')}")
    if not ((p >= 0) & (p <= 1)).all() or not ((y == 0) | (y == 1)).all():
        raise BadSample(f"claims from {p.min()} to {p.max()}, outcomes from {y.min()} to {y.max()}")
    if weight is not None and not ((weight > 0) & (weight < np.inf)).all():
        raise BadSample(f"weights from {weight.min()} to {weight.max()}")
