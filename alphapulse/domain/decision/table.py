"""A calibrator as a table: knots (score, probability), straight lines between, the end knots' value beyond.

Whatever was fitted is frozen into one and *is* the table from then on: it fits into an event, its look-up
is one subtraction, division, multiplication and addition (each rounded in one way only, so the same bytes on
any machine, in numpy and in kernels), and it never claims more than it did at the ends of what was seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import Floats

MAX_KNOTS = 65
LOWEST = 1e-6  # the surest claim of a loss
HIGHEST = 1 - LOWEST


class BadTable(ValueError):
    """Knots that are no rising curve of probabilities: the message says which."""


@dataclass(frozen=True, slots=True)
class Table:
    """At most MAX_KNOTS knots: ``x`` (log-odds) strictly ascending, ``p`` never falling, LOWEST to HIGHEST."""

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


def tabulate(x: Sequence[float] | Floats, p: Sequence[float] | Floats) -> tuple[Table, float]:
    """The table of a curve through points (``x`` strictly ascending, ``p`` never falling), and its error.

    Knots are points of the curve: the two ends, then again and again the point that lies farthest from the
    lines so far, until none is off or there are MAX_KNOTS. The error is the largest distance, in
    probability, that any of the points has from the table; the cut to LOWEST and HIGHEST counts as part of
    the curve.

    Raises:
        BadTable: no points, or not such a curve.
    """
    xs, ps = np.asarray(x, dtype=np.float64), np.clip(np.asarray(p, dtype=np.float64), LOWEST, HIGHEST)
    if len(xs) == 0 or xs.shape != ps.shape:
        raise BadTable(f"{xs.shape} scores with {ps.shape} probabilities make no curve")
    knots = sorted({0, len(xs) - 1})
    while True:
        off = np.abs(lookup(xs[knots], ps[knots], xs) - ps)
        worst = int(np.argmax(off))
        if len(knots) == min(MAX_KNOTS, len(xs)) or not off[worst] > 0:
            table = Table(tuple(xs[knots].tolist()), tuple(ps[knots].tolist()))
            return table, float(off[worst])
        knots = sorted({*knots, worst})
