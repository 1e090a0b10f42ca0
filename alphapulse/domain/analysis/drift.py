"""How far a sample has moved from a reference: population stability index and Kolmogorov-Smirnov.

Samples are values of one feature, NaN left out: what is missing is a matter of quality, not of drift.
Neither figure depends on the order of the rows. Bars overlap in what their features look back at, so rows
are not independent and the p-value is too small: whoever judges by it asks for an effect as well.
"""

import math
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats

BINS = 10
EPSILON = 1e-4  # the share that an empty bin counts as, of reference and sample alike


@dataclass(frozen=True, slots=True)
class Ks:
    """``effect``: the largest distance of the two distributions, 0 to 1; ``p_value`` of no difference."""

    effect: float
    p_value: float


def present(sample: Floats) -> Floats:
    """What is there of ``sample``."""
    kept: Floats = sample[np.isfinite(sample)]
    return kept


def bin_edges(reference: Floats, bins: int = BINS) -> Floats:
    """The inner quantiles of ``reference`` that parts it into ``bins``; fewer where values repeat."""
    inner = np.quantile(reference, np.arange(1, bins) / bins)
    edges: Floats = np.unique(inner)
    return edges


def shares(sample: Floats, edges: Floats) -> Floats:
    """The share of ``sample`` in each bin (-inf, e1], (e1, e2] … (en, inf), at least EPSILON each."""
    counts = np.bincount(np.searchsorted(edges, sample, side="left"), minlength=len(edges) + 1)
    part: Floats = np.maximum(counts / len(sample), EPSILON)
    return part


def psi(reference: Floats, sample: Floats, *, bins: int = BINS) -> float:
    """Population stability index: sum of (s - r) ln(s / r) over the shares of quantile bins of ``reference``.

    0 when nothing moved; by convention 0.1 is a hint and 0.25 a shift. An empty bin counts as EPSILON.
    NaN when either is empty.

    Source: N. Siddiqi, Credit Risk Scorecards (2006).
    """
    reference, sample = present(reference), present(sample)
    if not len(reference) or not len(sample):
        return math.nan
    edges = bin_edges(reference, bins)
    r, s = shares(reference, edges), shares(sample, edges)
    return float(np.sum((s - r) * np.log(s / r)))


def ks(reference: Floats, sample: Floats) -> Ks:
    """The two-sample test of Kolmogorov and Smirnov, two-sided. NaN when either is empty.

    The p-value is the limit distribution with Stephens' correction for samples that are not large; ties
    make it too large, never too small.

    Source: M. A. Stephens, J. R. Stat. Soc. B 32 (1970), 115-122.
    """
    reference, sample = np.sort(present(reference)), np.sort(present(sample))
    n, m = len(reference), len(sample)
    if not n or not m:
        return Ks(math.nan, math.nan)
    both = np.concatenate((reference, sample))
    below_r = np.searchsorted(reference, both, side="right") / n
    below_s = np.searchsorted(sample, both, side="right") / m
    effect = float(np.max(np.abs(below_r - below_s)))
    root = math.sqrt(n * m / (n + m))
    return Ks(effect, kolmogorov((root + 0.12 + 0.11 / root) * effect))


def kolmogorov(x: float) -> float:
    """P(K > x) of the Kolmogorov distribution: 2 sum of (-1)**(k-1) exp(-2 k**2 x**2)."""
    if x < 0.2:  # the series needs many terms there, and 1 - P is below 1e-12
        return 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2.0 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, 2.0 * math.fsum(terms)))
