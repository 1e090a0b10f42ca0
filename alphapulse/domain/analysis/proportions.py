"""Shares and how sure one may be of them: intervals of a rate, of a difference, and of many at once.

Sample sizes may be fractions: outcomes that overlap in time count for less than one each. All functions
work element by element on arrays.
"""

import math
from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats

Z95 = 1.959963984540054  # standard deviations that hold 95 % of a normal distribution


def wilson(rate: Floats, count: Floats, z: float = Z95) -> tuple[Floats, Floats]:
    """Lower and upper bound of a rate seen in ``count`` trials; NaN where there are none.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 + z * z / count
        middle = (rate + z * z / (2 * count)) / scale
        half = z / scale * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def newcombe(
    rate: Floats, count: Floats, other: Floats, other_count: Floats, z: float = Z95
) -> tuple[Floats, Floats]:
    """Bounds of ``rate - other``, from the Wilson intervals of both.

    Source: R. G. Newcombe, Interval estimation for the difference between independent proportions (1998),
    method 10.
    """
    low, high = wilson(rate, count, z)
    other_low, other_high = wilson(other, other_count, z)
    lift = rate - other
    return lift - np.hypot(rate - low, other_high - other), lift + np.hypot(high - rate, other - other_low)


def equal_rates(rate: float, count: float, other: float, other_count: float) -> float:
    """Two-sided p-value of the score test that both rates are one; NaN where one has no trials.

    With a continuity correction of half a trial: without it a handful of lucky trials looks significant.
    """
    if not (count > 0 and other_count > 0):
        return math.nan
    pooled = (rate * count + other * other_count) / (count + other_count)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / count + 1 / other_count))
    distance = max(0.0, abs(rate - other) - 0.5 / count)
    return math.erfc(distance / spread / math.sqrt(2)) if spread > 0 else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted for all of them: those <= q hold together with an error of at most q.

    Valid whatever the tests have to do with each other. NaN stands for no test, stays NaN and costs nothing.
    Source: S. Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=p_values.__getitem__)
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
