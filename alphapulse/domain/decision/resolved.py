"""Resolved candidates in order of time, and which of them may teach what about which.

Times are ns by the venue's clock. A candidate may teach a fold only if its outcome was known an embargo
before the fold's first decision: else it would tell of prices that the fold's candidates are about.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.rows import MAX_LOG_ODDS, BadRows, checked, refuse

MAX_CANDIDATES = 200_000
MAX_FOLDS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """(n,) each, by time and then by all else: in which order they came is forgotten."""

    x: Floats  # raw score, log-odds
    y: Floats  # 1 won, 0 lost
    weight: Floats  # > 0
    time: Int64s  # of the decision
    until: Int64s  # when the outcome was known
    base: Floats  # log-odds without any edge; empty where nobody says

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        y: ArrayLike,
        time: ArrayLike,
        until: ArrayLike,
        base: ArrayLike | None,
        weight: ArrayLike | None,
    ) -> Self:
        """Checked, without those of weight 0. Raises BadRows."""
        xs, ys, ws = checked(x, y, weight)
        times, ends = _times(time, len(xs)), _times(until, len(xs))
        refuse(ends, ends < times, "end lies before the decision")
        odds = np.empty(0) if base is None else np.asarray(base, dtype=np.float64)
        if base is not None and odds.shape != xs.shape:
            raise BadRows(f"{odds.shape} odds of the base for {len(xs)} candidates")
        refuse(odds, ~(np.abs(odds) <= MAX_LOG_ODDS), "odds of the base are no log-odds")
        if len(xs) > MAX_CANDIDATES:
            raise BadRows(f"{len(xs)} candidates: at most {MAX_CANDIDATES}")
        more = () if base is None else (odds,)
        order = np.lexsort((ws, *more, ys, xs, ends, times))
        return cls(xs, ys, ws, times, ends, odds).take(order[ws[order] > 0])

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: "NDArray[np.bool_] | NDArray[np.int64] | slice") -> Self:
        base = self.base[rows] if len(self.base) else self.base
        return type(self)(
            self.x[rows], self.y[rows], self.weight[rows], self.time[rows], self.until[rows], base
        )

    def seed(self, *more: int) -> int:
        """A number from all that is in here and ``more``: for draws that are the same for the same rows."""
        digest = hashlib.sha256(repr((len(self), more)).encode())
        for values in (self.x, self.y, self.weight, self.base):
            digest.update(values.astype("<f8").tobytes())
        for times in (self.time, self.until):
            digest.update(times.astype("<i8").tobytes())
        return int.from_bytes(digest.digest()[:6], "little")  # a float64 holds it, and so does JSON

    def folds(self, count: int, embargo: int) -> Iterator[tuple[Self, Self]]:
        """What is known, and what is to be claimed from it: ``count`` times, in order of time.

        Time is cut into ``count`` + 1 parts of about as many candidates, never between two of one time.
        Each part but the first is claimed from candidates resolved ``embargo`` ns before its first decision.
        """
        cuts = np.arange(1, count + 1) * len(self) // (count + 1)
        begins = np.unique(np.searchsorted(self.time, self.time[cuts], side="left")) if len(self) else cuts
        for begin, end in zip(begins, [*begins[1:], len(self)], strict=True):
            first = self.time[begin] if end > begin else 0
            known = (self.time < first) & (self.until <= first - embargo)
            yield self.take(known), self.take(slice(begin, end))


def _times(values: ArrayLike, count: int) -> Int64s:
    times = np.asarray(values)
    if times.shape != (count,) or (count and times.dtype.kind not in "iu"):
        raise BadRows(
            f"{times.shape} times of {times.dtype} for {count} candidates: ns as integers are needed"
        )
    return times.astype(np.int64)
