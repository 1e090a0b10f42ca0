"""How instruments move together: correlation matrices, and rolling beta and correlation to a base.

All of it is about log returns over one bar. A bar has a return only when the bar just before it is there
too: a quiet minute is no return of 0, and a return over a hole would be compared with one over a minute.
Two instruments are compared on the bars that both have a return for (pairwise), by open time. Nothing
that was not known by the cutoff takes part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import CLOSE, Floats, Int64s
from alphapulse.domain.analysis.logarithm import logs

MAX_INSTRUMENTS = 200
MAX_CELLS = 50_000_000  # instruments times bars
MIN_SAMPLE = 30
METHODS = ("pearson", "spearman")


class NotComparable(ValueError):
    """These instruments cannot be put side by side: the message says which and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Returns:
    """Log returns (instruments, n) at ``start`` (n,), minutes since 1970 UTC; NaN where there is none."""

    instruments: tuple[str, ...]
    timeframe: int  # minutes
    start: Int64s
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Correlations:
    """``values[i, j]`` from ``count[i, j]`` returns that both have; NaN from too few or without movement."""

    instruments: tuple[str, ...]
    method: str
    values: Floats
    count: Int64s


@dataclass(frozen=True, slots=True, eq=False)
class Rolling:
    """Over the last ``window`` common returns up to ``start`` (n,): NaN before there are as many.

    ``beta`` is how far the instrument moves with one unit of the base; NaN where the base did not move.
    """

    start: Int64s
    beta: Floats
    correlation: Floats


def aligned_returns(
    bars: Mapping[str, Bars], *, known_by: int | None = None, last: int | None = None
) -> Returns:
    """Log returns of ``bars`` by instrument, known at or before ``known_by`` (ns, the venue's clock).

    ``last`` keeps that many of the open times at which anybody has a bar.

    Raises:
        NotComparable: none or too many instruments, several timeframes, or too many bars in all.
    """
    timeframe = _check(bars)
    kept = {name: b.take(_known(b, known_by)) for name, b in bars.items()}
    starts = np.unique(np.concatenate([b.start for b in kept.values()])).astype(np.int64)
    starts = starts if last is None else starts[max(0, len(starts) - last) :]
    if len(starts) * len(bars) > MAX_CELLS:
        raise NotComparable(f"{len(starts)} bars of {len(bars)} instruments: at most {MAX_CELLS} in all")
    values = np.full((len(kept), len(starts)), np.nan)
    for row, b in zip(values, kept.values(), strict=True):
        at, returns = _returns(b, timeframe)
        inside = np.isin(at, starts)
        row[np.searchsorted(starts, at[inside])] = returns[inside]
    return Returns(tuple(kept), timeframe, starts, values)


def correlations(
    returns: Returns, *, method: str = "pearson", minimum: int = MIN_SAMPLE, shrinkage: float = 0.0
) -> Correlations:
    """Pairwise correlations. The diagonal is 1 where an instrument has the minimum and moved.

    Spearman's is Pearson's of the ranks among the returns that both have, ties at their mean rank. A matrix
    from pairs need not be positive definite: ``shrinkage`` (0 to 1) draws everything off the diagonal
    towards 0, which makes it so when large enough.

    Raises:
        ValueError: no such method, ``minimum`` below 2, ``shrinkage`` out of range.

    Source of the shrinkage towards the identity: Ledoit and Wolf, A well-conditioned estimator for
    large-dimensional covariance matrices (2004), with the intensity given, not estimated.
    """
    if method not in METHODS or minimum < 2 or not 0 <= shrinkage <= 1:
        raise ValueError(f"method {method!r} of {METHODS}, minimum {minimum}, shrinkage {shrinkage}")
    n = len(returns.instruments)
    values, count = np.full((n, n), np.nan), np.zeros((n, n), dtype=np.int64)
    known = np.isfinite(returns.values)
    for i in range(n):
        count[i, i] = known[i].sum()
        mine = returns.values[i, known[i]]
        if count[i, i] >= minimum and (mine != mine[0]).any():
            values[i, i] = 1.0
    for i, j in combinations(range(n), 2):
        both = known[i] & known[j]
        count[i, j] = count[j, i] = both.sum()
        if count[i, j] >= minimum:
            x, y = returns.values[i, both], returns.values[j, both]
            pair = (ranks(x), ranks(y)) if method == "spearman" else (x, y)
            values[i, j] = values[j, i] = _pearson(*pair) * (1 - shrinkage)
    return Correlations(returns.instruments, method, values, count)


def rolling_beta(returns: Returns, instrument: str, base: str, *, window: int) -> Rolling:
    """Beta and correlation of ``instrument`` to ``base`` over the last ``window`` returns that both have.

    Means first, then products of the distances from them, oldest to newest: no running sums, so a value
    depends on its window alone.

    Raises:
        NotComparable: one of them is not there.
        ValueError: ``window`` is below 2.
    """
    for name in (instrument, base):
        if name not in returns.instruments:
            raise NotComparable(f"{name} is none of {', '.join(returns.instruments)}")
    if window < 2:
        raise ValueError(f"a window of {window} returns")
    y, x = (returns.values[returns.instruments.index(name)] for name in (instrument, base))
    both = np.isfinite(x) & np.isfinite(y)
    beta, correlation = np.full(both.sum(), np.nan), np.full(both.sum(), np.nan)
    _roll(x[both], y[both], window, beta, correlation)
    return Rolling(returns.start[both], beta, correlation)


def ranks(values: Floats) -> Floats:
    """The rank of each value from 1 on; equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.concatenate([begins[1:], [len(values)]])
    shared = np.repeat((begins + ends + 1) / 2, ends - begins)
    ranked = np.empty(len(values))
    ranked[order] = shared
    return ranked


def _check(bars: Mapping[str, Bars]) -> int:
    """The timeframe that all have."""
    timeframes: Sequence[int] = sorted({b.timeframe for b in bars.values()})
    if not 1 <= len(bars) <= MAX_INSTRUMENTS:
        raise NotComparable(f"{len(bars)} instruments: 1 to {MAX_INSTRUMENTS} can be compared")
    if len(timeframes) > 1:
        raise NotComparable(f"bars of {', '.join(map(str, timeframes))} minutes")
    return timeframes[0]


def _known(bars: Bars, known_by: int | None) -> slice:
    """The bars before the first that was not known yet. Bars become known in their order."""
    if known_by is None:
        return slice(None)
    late: NDArray[np.intp] = np.flatnonzero(bars.known_time > known_by)
    return slice(0, int(late[0]) if len(late) else None)


def _returns(bars: Bars, timeframe: int) -> tuple[Int64s, Floats]:
    """Open times and log returns of the bars that come right after another one."""
    start, close = bars.start, bars.values[CLOSE]
    follows = start[1:] - start[:-1] == timeframe
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (close[1:] / close[:-1])[follows]
    returns = np.empty_like(ratio)
    logs(ratio, returns)
    fine = np.isfinite(returns)
    return start[1:][follows][fine], returns[fine]


@piece
def _moments(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Sums of squares and of products of the distances from the means."""
    mean_x, mean_y = 0.0, 0.0
    for i in range(x.shape[0]):
        mean_x += x[i]
        mean_y += y[i]
    mean_x /= x.shape[0]
    mean_y /= x.shape[0]
    xx, yy, xy = 0.0, 0.0, 0.0
    for i in range(x.shape[0]):
        dx, dy = x[i] - mean_x, y[i] - mean_y
        xx += dx * dx
        yy += dy * dy
        xy += dx * dy
    return xx, yy, xy


@piece
def _still(x: Floats) -> bool:
    """Whether all values are the same: rounding may leave them some variance."""
    return bool((x == x[0]).all())


@piece
def _pearson(x: Floats, y: Floats) -> float:
    if _still(x) or _still(y):
        return float("nan")
    xx, yy, xy = _moments(x, y)
    scale = np.sqrt(xx) * np.sqrt(yy)
    return min(max(xy / scale, -1.0), 1.0) if scale > 0 else float("nan")


@piece
def _roll(x: Floats, y: Floats, window: int, beta: Floats, correlation: Floats) -> None:
    for end in range(window, x.shape[0] + 1):
        a, b = x[end - window : end], y[end - window : end]
        if not _still(a):
            xx, _, xy = _moments(a, b)
            beta[end - 1] = xy / xx if xx > 0 else float("nan")
            correlation[end - 1] = _pearson(a, b)
