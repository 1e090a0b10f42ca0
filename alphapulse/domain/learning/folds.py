"""Walk-forward folds: fitted on the past, judged on what came after, nothing shared between the two.

Rows are in order of their known time. A row may be learnt from only when its label is known (purging), and
``embargo`` later still: labels overlap, so that what is known just before a fold looks into it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Int64s

MAX_FOLDS = 50
Rows = NDArray[np.intp]


class BadFolds(ValueError):
    """A number of folds out of range, or more than there are rows for: the message holds the values."""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """``fit``: rows to learn from; ``judged``: the rows after. ``cutoff``: ns, where those begin."""

    fit: Rows
    judged: Rows
    cutoff: int


def walk_forward(known: Int64s, label_known: Int64s, folds: int, embargo: int) -> Iterator[Fold]:
    """``folds`` folds of rows with ``known`` (ns, ascending) and ``label_known`` times.

    The rows make ``folds`` + 1 blocks of about one size: the first is only learnt from. Rows of one moment
    are never parted: they would know of each other.

    Raises:
        BadFolds.
    """
    count = len(known)
    if not 1 <= folds <= MAX_FOLDS or count < 2 * (folds + 1) or embargo < 0:
        raise BadFolds(f"{folds} folds (1 to {MAX_FOLDS}) of {count} rows, an embargo of {embargo} ns")
    assert (np.diff(known) >= 0).all(), "in order of known time"
    # Each block begins with the first row of its moment.
    edges = [
        int(np.searchsorted(known, known[count * block // (folds + 1)])) for block in range(1, folds + 1)
    ]
    for begin, end in zip(edges, [*edges[1:], count], strict=True):
        if begin < end:
            cutoff = int(known[begin])
            fit = np.flatnonzero(settled(known, label_known, cutoff, embargo))
            yield Fold(fit, np.arange(begin, end), cutoff)


def settled(known: Int64s, label_known: Int64s, cutoff: int, embargo: int) -> NDArray[np.bool_]:
    """Which rows (n,) may be learnt from at ``cutoff``: their labels were known ``embargo`` before it."""
    return (known < cutoff) & (label_known <= cutoff - embargo)
