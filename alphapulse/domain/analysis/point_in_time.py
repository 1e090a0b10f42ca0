"""Point-in-time joins: to each moment the latest row that was known then, and nothing that came later.

A row is known from ``known_time`` on (ns, the venue's clock) and stands at ``position`` of the log. A moment
is a time and, where its maker says so, a position of the log as a second limit that can only take rows
away. There is no way to ask for rows by the time that they are about: training, backtest and live see
the same. ``KnownCursor`` is the same rule for code that walks through time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats, Int64s

FOREVER = (1 << 63) - 1
MISSING = -1  # no row was known, or only one that was too old


class MovesBackwards(ValueError):
    """A cursor was told to go back, where what it handed out would have been the future."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownRows:
    """R rows of S series (an instrument in a timeframe, say), in the order in which they became known.

    Make it with ``of``. ``origin[i]`` is where row i stood in what the caller gave.
    """

    edges: Int64s  # (S + 1,): series s has the rows edges[s] to edges[s + 1]
    known_time: Int64s  # (R,) ns
    position: Int64s  # (R,)
    origin: Int64s  # (R,)
    # Of the rows from here on, the least position: a binary search finds the last that a limit lets through.
    least_ahead: Int64s = field(repr=False)

    @classmethod
    def of(cls, series: Int64s, known_time: Int64s, position: Int64s, *, order: Int64s | None = None) -> Self:
        """Rows in any order. ``series``: the series of each, 0 to S - 1.

        ``order`` decides among rows that became known at once: the greater is the later (a bar's start).

        Raises:
            ValueError: the arrays differ in length, or a series is negative.
        """
        order = np.zeros_like(known_time) if order is None else order
        lengths = {len(series), len(known_time), len(position), len(order)}
        if len(lengths) > 1 or series.min(initial=0) < 0:
            raise ValueError(f"rows with columns of {sorted(lengths)}, least series {series.min(initial=0)}")
        origin = np.lexsort((order, position, known_time, series)).astype(np.int64)
        sorted_series = series[origin]
        edges = np.searchsorted(sorted_series, np.arange(series.max(initial=-1) + 2)).astype(np.int64)
        ahead = np.ascontiguousarray(position[origin])
        least = _least_ahead(ahead, edges)
        return cls(edges, np.ascontiguousarray(known_time[origin]), ahead, origin, least)

    @property
    def series(self) -> int:
        return len(self.edges) - 1

    def latest(
        self,
        series: Int64s,
        time: Int64s,
        *,
        position: Int64s | None = None,
        max_age_ns: int | None = None,
    ) -> Int64s:
        """For each of n moments the caller's row that was known last by then; MISSING where there is none.

        ``series``: of each moment; one that has no rows, or -1, finds none. A row is taken when its known
        time is at or before ``time`` and its position at or before ``position``. With ``max_age_ns`` a row
        that has been known for longer is stale and becomes MISSING: an older one is never taken instead.

        Raises:
            ValueError: the arrays differ in length, or the age is negative.
        """
        limit = np.full(len(time), FOREVER, dtype=np.int64) if position is None else position
        lengths = {len(series), len(time), len(limit)}
        if len(lengths) > 1 or (max_age_ns is not None and max_age_ns < 0):
            raise ValueError(f"moments with columns of {sorted(lengths)}, age at most {max_age_ns}")
        found = np.empty(len(time), dtype=np.int64)
        age = -1 if max_age_ns is None else max_age_ns
        rows = (self.edges, self.known_time, self.position, self.least_ahead)
        _latest(*rows, _plain(series), _plain(time), _plain(limit), age, found)
        return np.where(found == MISSING, MISSING, self.origin[found] if len(self.origin) else MISSING)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FeatureTable:
    """R rows of one feature set in one timeframe; ``values[r, f]`` is feature ``columns[f]``."""

    columns: tuple[str, ...]
    instrument: Sequence[str]  # (R,)
    start: Int64s  # (R,) minutes since 1970 UTC
    known_time: Int64s
    position: Int64s
    values: Floats  # (R, F)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Labels:
    """n moments at which somebody wants to know: ``position`` is the log's end then, where that is known."""

    instrument: Sequence[str]
    time: Int64s  # ns
    position: Int64s | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """To each label its row: ``row`` in the table or MISSING, and then NaN as ``values``."""

    columns: tuple[str, ...]
    row: Int64s  # (n,)
    values: Floats  # (n, F)

    @property
    def missing_ratio(self) -> float:
        return float(np.mean(self.row == MISSING)) if len(self.row) else 0.0


def join(table: FeatureTable, labels: Labels, *, max_age_ns: int | None = None) -> Joined:
    """The features that were known at each label. See ``KnownRows.latest`` for what counts as known."""
    codes: dict[str, int] = {}
    series = np.array([codes.setdefault(i, len(codes)) for i in table.instrument], dtype=np.int64)
    rows = KnownRows.of(series, table.known_time, table.position, order=table.start)
    wanted = np.array([codes.get(i, MISSING) for i in labels.instrument], dtype=np.int64)
    found = rows.latest(wanted, labels.time, position=labels.position, max_age_ns=max_age_ns)
    values = np.full((len(found), len(table.columns)), np.nan)
    values[found != MISSING] = table.values[found[found != MISSING]]
    return Joined(table.columns, found, values)


class KnownCursor:
    """A walk through time that hands out only what was known by then.

    It goes forward only, and gives copies: from none of them a way leads to rows that are not known yet.
    """

    __slots__ = ("__rows", "__values", "_position", "_time")

    def __init__(self, rows: KnownRows, values: Floats, *, time: int = 0, position: int = FOREVER) -> None:
        """``values[r]`` belongs to the caller's row r. ``position``: the end of the log as seen so far."""
        if len(values) != len(rows.origin):
            raise ValueError(f"{len(values)} values for {len(rows.origin)} rows")
        self.__rows, self.__values = rows, values
        self._time, self._position = time, position

    @property
    def time(self) -> int:
        return self._time

    @property
    def position(self) -> int:
        return self._position

    def advance(self, time: int, position: int | None = None) -> None:
        """Go to ``time``, with the log ending at ``position`` (where it ended before, if not given).

        Raises:
            MovesBackwards: either lies before where the cursor stands.
        """
        position = self._position if position is None else position
        if time < self._time or position < self._position:
            raise MovesBackwards(f"from {self._time}, {self._position} to {time}, {position}")
        self._time, self._position = time, position

    def latest(self, series: int) -> Floats | None:
        """The values of the row of ``series`` that was known last; None when none is known yet."""
        history = self.history(series, 1)
        return history[0] if len(history) else None

    def history(self, series: int, count: int) -> Floats:
        """The last ``count`` known rows of ``series`` or fewer, oldest first, shape (n, …)."""
        rows = self.__rows
        if not 0 <= series < rows.series or count < 1:
            return np.empty((0, *self.__values.shape[1:]))
        lo, hi = int(rows.edges[series]), int(rows.edges[series + 1])
        known = np.searchsorted(rows.known_time[lo:hi], self._time, side="right")
        recorded = np.searchsorted(rows.least_ahead[lo:hi], self._position, side="right")
        end = lo + int(min(known, recorded))
        begin = max(lo, end - count)
        if (rows.position[begin:end] > self._position).any():  # known in another order than recorded: rare
            begin = lo
        inside = np.flatnonzero(rows.position[begin:end] <= self._position)[-count:] + begin
        return self.__values[rows.origin[inside]]  # a copy, as indexing by an array is


def _plain(column: Int64s) -> Int64s:
    return np.ascontiguousarray(column, dtype=np.int64)


@piece
def _least_ahead(position: Int64s, edges: Int64s) -> Int64s:
    least = position.copy()
    for s in range(len(edges) - 1):
        for i in range(edges[s + 1] - 2, edges[s] - 1, -1):
            least[i] = min(least[i], least[i + 1])
    return least


@piece
def _after(column: Int64s, lo: int, hi: int, limit: int) -> int:
    """The first row of ``lo`` to ``hi``, where ``column`` never falls, with a value over ``limit``."""
    while lo < hi:
        middle = (lo + hi) // 2
        if column[middle] <= limit:
            lo = middle + 1
        else:
            hi = middle
    return lo


@piece
def _latest(
    edges: Int64s,
    known_time: Int64s,
    position: Int64s,
    least_ahead: Int64s,
    series: Int64s,
    time: Int64s,
    limit: Int64s,
    age: int,
    found: Int64s,
) -> None:
    for i in range(len(series)):
        found[i] = -1
        s = series[i]
        if s < 0 or s >= len(edges) - 1:
            continue
        lo = edges[s]
        row = _after(known_time, lo, edges[s + 1], time[i]) - 1
        row = min(row, _after(least_ahead, lo, edges[s + 1], limit[i]) - 1)
        # Only where rows became known in another order than they were recorded is there a step to take.
        while row >= lo and position[row] > limit[i]:
            row -= 1
        # A difference of int64 that wraps around, below 0, is older than any age.
        if row >= lo and (age < 0 or 0 <= time[i] - known_time[row] <= age):
            found[i] = row
