"""How unusual a value is among those before it: distance from their median in robust standard deviations.

Median and MAD (the median of the distances from the median) barely move when a few values are wild, so
that one outlier does not hide the next, as it does with mean and standard deviation. The last values are
kept in order; a new one takes the place of the oldest in one pass, vectorised over slots. Medians are
exact, and depend on the values in the window alone.

Sources: Hampel, The influence curve and its role in robust estimation (1974), for 1.4826 * MAD; Iglewicz and
Hoaglin, How to detect and handle outliers (1993), for the mean distance where the MAD is 0.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import Floats

LIMIT = 1000.0  # a score is cut here: beyond, it only says how nearly flat the window was
MAD_TO_DEVIATION = 1.4826  # MAD of a normal distribution to its standard deviation
MEAN_TO_DEVIATION = 1.2533141373155001  # sqrt(pi / 2): its mean distance to its standard deviation

WORKING = 3  # carried floats beyond those of the window, in which to work

_INF = float("inf")


@piece
def begin(ordered: Floats, view: View, row: int) -> None:
    """Empty the ``ordered`` values (rank, slot) of the slots whose first bar is ``row``."""
    if view.warm:
        return
    for i in range(ordered.shape[1]):
        if view.seen[view.lo + i] + (row - view.first) == 0:
            for rank in range(ordered.shape[0]):
                ordered[rank, i] = _INF


@piece
def replace_oldest(ordered: Floats, gone: Floats, come: Floats, scratch: Floats) -> None:
    """Take ``gone`` out of the ascending ``ordered`` (rank, slot) and put ``come`` in.

    Infinity stands for a missing value, at the end. ``scratch`` is left at infinity.
    """
    last = ordered.shape[0] - 1
    for i in range(scratch.shape[0]):
        scratch[i] = -_INF
    for rank in range(last):
        pair = ordered[rank : rank + 2]  # one view: with one a row the compiler gives up on vectors
        for i in range(scratch.shape[0]):
            # The value of this rank without the one that goes, and the one below it: what comes fits between.
            kept = pair[0, i] if pair[0, i] < gone[i] else pair[1, i]
            rest = kept if kept < come[i] else come[i]
            pair[0, i] = rest if rest > scratch[i] else scratch[i]
            scratch[i] = kept
    top = ordered[last]
    for i in range(scratch.shape[0]):
        kept = top[i] if top[i] < gone[i] else _INF
        rest = kept if kept < come[i] else come[i]
        top[i] = rest if rest > scratch[i] else scratch[i]
        scratch[i] = _INF


@piece
def _or_missing(values: Floats, into: Floats) -> None:
    for i in range(into.shape[0]):
        into[i] = values[i] if values[i] < _INF else _INF


@piece
def median_and_spread(ordered: Floats, median: Floats, spread: Floats, scratch: Floats) -> None:
    """The median of the ``ordered`` values of each slot, and its standard deviation from their MAD.

    Where more than half of the values are equal, the MAD is 0: the mean distance stands in for it. The
    spread of values that are all equal is 0. Meaningless where a value is missing (infinite).
    """
    count = ordered.shape[0]
    low, high = ordered[(count - 1) // 2], ordered[count // 2]
    for i in range(median.shape[0]):
        median[i] = (low[i] + high[i]) / 2
    _nth_distance(ordered, median, (count + 1) // 2, spread)
    if count % 2 == 0:
        _nth_distance(ordered, median, count // 2 + 1, scratch)
        for i in range(spread.shape[0]):
            spread[i] = (spread[i] + scratch[i]) / 2
    for i in range(spread.shape[0]):
        if spread[i] > 0:
            spread[i] *= MAD_TO_DEVIATION
        else:
            total = 0.0
            for rank in range(count):
                total += abs(ordered[rank, i] - median[i])
            spread[i] = total / count * MEAN_TO_DEVIATION


@piece
def _nth_distance(ordered: Floats, median: Floats, nth: int, into: Floats) -> None:
    """The ``nth`` smallest distance from the median: the nearest ``nth`` values are neighbours in order."""
    for i in range(into.shape[0]):
        into[i] = _INF
    for rank in range(ordered.shape[0] - nth + 1):
        bottom, top = ordered[rank], ordered[rank + nth - 1]
        for i in range(into.shape[0]):
            below, above = median[i] - bottom[i], top[i] - median[i]
            farther = below if below > above else above
            into[i] = farther if farther < into[i] else into[i]


@piece
def score(value: float, median: float, spread: float) -> float:
    """Distance of ``value`` from ``median`` in units of ``spread``, within +-LIMIT.

    Without any spread it is 0 for the median itself and +-LIMIT for everything else.
    """
    if value == median:
        return 0.0
    if not spread > 0:
        return LIMIT if value > median else -LIMIT
    return min(max((value - median) / spread, -LIMIT), LIMIT)


@piece
def judge(view: View, row: int, values: Floats, carry: Floats, median: Floats, into: Floats) -> None:
    """``into``: score of the value of ``row`` among those of the bars before it; NaN where one is missing.

    ``values`` is a ring [row & mask, slot]. ``carry`` has a row for each value of the window and WORKING
    more; the window is the bars just before ``row``, and afterwards this value has taken the place of the
    oldest. ``median`` is left with what its name says.
    """
    count = carry.shape[0] - WORKING
    begin(carry[:, view.lo : view.hi], view, row)
    ordered, scratch = carry[:count, view.lo : view.hi], carry[count, view.lo : view.hi]
    spread, come = carry[count + 1, view.lo : view.hi], carry[count + 2, view.lo : view.hi]
    value = values[row & view.mask, view.lo : view.hi]
    median_and_spread(ordered, median, spread, scratch)
    for i in range(into.shape[0]):
        known = ordered[count - 1, i] < _INF and value[i] < _INF
        into[i] = score(value[i], median[i], spread[i]) if known else float("nan")
    _or_missing(values[(row - count) & view.mask, view.lo : view.hi], spread)
    _or_missing(value, come)
    replace_oldest(ordered, spread, come, scratch)
    for i in range(into.shape[0]):
        spread[i], come[i] = _INF, _INF


def robust_scores(values: Floats, *, window: int) -> Floats:
    """Score of each value among the ``window`` before it; NaN for the first ``window``, and near NaN.

    ``values`` (n,), oldest first: spreads in basis points, say. Row i uses rows up to i only.

    Raises:
        ValueError: ``window`` is below 2, or ``values`` is not one row.
    """
    if window < 2 or values.ndim != 1:
        raise ValueError(f"values of shape {values.shape} in windows of {window}")
    clean = np.where(np.isfinite(values), values, np.nan)
    return np.asarray(_robust_scores(clean, window))


@piece
def _robust_scores(values: Floats, window: int) -> Floats:
    into = np.empty(values.shape[0])
    ordered = np.full((window, 1), _INF)
    median, spread, scratch = np.empty(1), np.empty(1), np.empty(1)
    gone, come = np.empty(1), np.empty(1)
    for row in range(values.shape[0]):
        median_and_spread(ordered, median, spread, scratch)
        known = ordered[window - 1, 0] < _INF and values[row] < _INF
        into[row] = score(values[row], median[0], spread[0]) if known else float("nan")
        gone[0] = _INF
        if row >= window:
            _or_missing(values[row - window : row - window + 1], gone)
        _or_missing(values[row : row + 1], come)
        replace_oldest(ordered, gone, come, scratch)
    return into
