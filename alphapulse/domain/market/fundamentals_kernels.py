"""Decayed sums over windows of rows, oldest to newest: the same rows give the same bits, whatever else is
kept. ``decay[i]`` is what is left at row i of a weight of one at row i - 1; compiled at first use.
"""

# The types are those of numba, which reads the annotations of none of this.
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def window_statistics(x, decay, first, begin, mean, std):
    """Weighted mean and population deviation of rows ``first[i]..i``, for rows from ``begin`` on."""
    for i in range(begin, len(x)):
        total = weight = square = 0.0
        for j in range(first[i], i + 1):
            total = total * decay[j] + x[j]
            weight = weight * decay[j] + 1.0
        mean[i] = total / weight
        for j in range(first[i], i + 1):
            square = square * decay[j] + (x[j] - mean[i]) * (x[j] - mean[i])
        std[i] = np.sqrt(square / weight) if i > first[i] else np.nan


@njit(cache=True, nogil=True)
def window_means(x, decay, first, end, mean):
    """Weighted mean of the rows ``first[i]..end[i] - 1`` that are numbers; NaN where there is none."""
    for i in range(len(first)):
        total = weight = 0.0
        for j in range(first[i], end[i]):
            total *= decay[j]
            weight *= decay[j]
            if not np.isnan(x[j]):
                total += x[j]
                weight += 1.0
        mean[i] = total / weight if weight > 0.0 else np.nan
