"""A calibrator as a table: knots (score, probability), straight lines between, the end knots' value beyond.

Whatever was fitted is frozen into one and *is* the table from then on: it fits into an event, its look-up
is one subtraction, division, multiplication and addition (each rounded in one way only, so the same bytes on
any machine, in numpy and in kernels), and it never claims more than it did at the ends of what was seen.
"""

import math
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece, piece
from alphapulse.domain.analysis.fields import Floats, Int64s

MAX_KNOTS = 65
LOWEST = 1e-6  # the surest claim of a loss
HIGHEST = 1 - LOWEST
FINE = 1e-3  # of a probability


class BadTable(ValueError):
    """Knots that are no rising curve of probabilities: the message says which."""


@dataclass(frozen=True, slots=True)
class Table:
    """At most MAX_KNOTS knots: ``x`` (log-odds) ascending, ``p`` never falling and LOWEST to HIGHEST."""

    x: tuple[float, ...]
    p: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raises BadTable."""
        if not 1 <= len(self.x) <= MAX_KNOTS or len(self.x) != len(self.p):
            raise BadTable(f"{len(self.x)} scores with {len(self.p)} probabilities: 1 to {MAX_KNOTS} knots")
        if not all(map(math.isfinite, self.x)) or any(
            a >= b for a, b in zip(self.x, self.x[1:], strict=False)
        ):
            raise BadTable(f"scores {self.x} do not ascend")
        if any(a > b for a, b in zip(self.p, self.p[1:], strict=False)):
            raise BadTable(f"probabilities {self.p} fall")
        if not all(LOWEST <= p <= HIGHEST for p in self.p):
            raise BadTable(f"probabilities {self.p} leave {LOWEST} to {HIGHEST}")

    def __call__(self, x: Floats) -> Floats:
        """The probabilities of scores (n,); NaN where a score is."""
        return lookup(np.array(self.x), np.array(self.p), x)

    def padded(self) -> tuple[Floats, Floats]:
        """(MAX_KNOTS,) each, the last knot repeated: rows of a matrix for kernels."""
        more = MAX_KNOTS - len(self.x)
        return np.array(self.x + self.x[-1:] * more), np.array(self.p + self.p[-1:] * more)


def lookup(table_x: Floats, table_p: Floats, x: Floats) -> Floats:
    """The table's probability at each of ``x``, NaN for NaN; ``lookup_at`` for many scores, the same bytes.

    ``table_x`` and ``table_p`` are the knots, the last one repeated as often as one likes.
    """
    x = np.asarray(x, dtype=np.float64)
    last = len(table_x) - 1
    left = np.clip(np.searchsorted(table_x, x, side="right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    inside = (x > table_x[0]) & (x < table_x[last])
    share = np.zeros(x.shape)
    np.divide(x - table_x[left], table_x[right] - table_x[left], out=share, where=inside)
    line = np.minimum(table_p[left] + share * (table_p[right] - table_p[left]), table_p[right])
    ends = np.where(x <= table_x[0], table_p[0], np.where(np.isnan(x), np.nan, table_p[last]))
    return np.where(inside, line, ends)


@inner_piece
def lookup_at(table_x: Floats, table_p: Floats, x: float) -> float:
    """The table's probability at ``x``, NaN for NaN; the last knot may be repeated."""
    last = table_x.shape[0] - 1
    if np.isnan(x):
        return np.nan
    if x <= table_x[0]:
        return table_p[0]  # type: ignore[no-any-return]
    if x >= table_x[last]:
        return table_p[last]  # type: ignore[no-any-return]
    left, right = 0, last
    while right - left > 1:
        middle = (left + right) // 2
        if table_x[middle] <= x:
            left = middle
        else:
            right = middle
    share = (x - table_x[left]) / (table_x[right] - table_x[left])
    p = table_p[left] + share * (table_p[right] - table_p[left])
    # Rounding may carry the line past its right end, and a higher score may not get less.
    return p if p < table_p[right] else table_p[right]  # type: ignore[no-any-return]


def tabulate(x: Floats, *curves: Floats) -> tuple[list[Table], list[float]]:
    """A table of each curve, all with the same scores, and the error of each.

    ``x`` (n,) ascends strictly, each curve (n,) never falls. Knots are points of the curves: the two ends,
    then again and again the score at which the first curve is farthest from its lines so far; once that is
    within FINE, the score at which any is; until none is off or there are MAX_KNOTS. An error is the largest
    distance, in probability, between a curve at any of ``x`` and its table; what is beyond LOWEST and
    HIGHEST is cut off first.

    Raises:
        BadTable: no points, or not such curves.
    """
    if len(x) == 0 or any(curve.shape != x.shape for curve in curves):
        raise BadTable(f"{x.shape} scores with {[curve.shape for curve in curves]} probabilities")
    wanted = np.clip(np.array(curves), LOWEST, HIGHEST)
    (knots, worst), off = np.empty((2, MAX_KNOTS), np.int64), np.empty(MAX_KNOTS)
    knots = knots[: _pick(x, wanted, knots, worst, off)]
    tables = [Table(tuple(x[knots].tolist()), tuple(p[knots].tolist())) for p in wanted]
    return tables, [float(np.abs(table(x) - p).max()) for table, p in zip(tables, wanted, strict=True)]


@piece
def _pick(x: Floats, curves: Floats, knots: Int64s, worst: Int64s, off: Floats) -> int:
    """Fill ``knots`` with the indices to keep, ascending, and return how many they are.

    ``worst`` and ``off``, as long, are worked in: for each knot the point before it that is farthest from the
    line to it, and how far. A new knot changes two lines, and all others stay as they are.
    """
    knots[0], count = 0, 1
    if len(x) > 1:
        knots[1], count = len(x) - 1, 2
        _seek(x, curves, knots, 1, 1, worst, off)
    only = 1  # of how many curves the error counts
    while count < len(knots):
        place, most = 0, 0.0
        for k in range(1, count):
            if off[k] > most:
                place, most = k, off[k]
        if most <= FINE and only < len(curves):
            only = len(curves)
            for k in range(1, count):
                _seek(x, curves, knots, k, only, worst, off)
        elif place == 0:
            break
        else:
            for k in range(count, place, -1):
                knots[k], worst[k], off[k] = knots[k - 1], worst[k - 1], off[k - 1]
            knots[place] = worst[place]
            count += 1
            _seek(x, curves, knots, place, only, worst, off)
            _seek(x, curves, knots, place + 1, only, worst, off)
    return count


@piece
def _seek(x: Floats, curves: Floats, knots: Int64s, k: int, only: int, worst: Int64s, off: Floats) -> None:
    """Between knot ``k - 1`` and knot ``k``: the first point where one of ``only`` curves is farthest off."""
    a, b = knots[k - 1], knots[k]
    worst[k], off[k] = a, 0.0
    for i in range(a + 1, b):
        share = (x[i] - x[a]) / (x[b] - x[a])
        for c in range(only):
            line = curves[c, a] + share * (curves[c, b] - curves[c, a])
            if abs(curves[c, i] - line) > off[k]:
                worst[k], off[k] = i, abs(curves[c, i] - line)
