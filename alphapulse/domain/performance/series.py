"""What is shown of an equity over time: its curve, its drawdowns, its months, its exposure by day."""

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.performance.equity import Daily, Equity
from alphapulse.domain.performance.figures import Month, Point
from alphapulse.domain.signals.idea import DAY_NS

LEAST_POINTS = 10
_KEPT = 5  # of each stretch of a thinned curve: first, last, lowest, highest, deepest below the peak


def drawdowns(equity: Equity) -> Floats:
    """How far below its peak so far the equity is after each close, (m,); the beginning counts as one.

    A share of the peak, or of the equity at the beginning where contributions add up.
    """
    peak = np.maximum(np.maximum.accumulate(equity.value), 1.0)
    fall = peak - equity.value
    return np.asarray(fall / peak if equity.compounds else fall)


def longest_drawdown(equity: Equity) -> int:
    """The longest time, in ns, from a peak to the next one as high, or to the end if there was none."""
    times = np.concatenate([[equity.begin], equity.time, [equity.end]])
    value = np.concatenate([[1.0], equity.value, [equity.final]])
    peaks = np.flatnonzero(value >= np.maximum.accumulate(value))
    until = np.append(peaks[1:], len(value) - 1)
    # A stretch without a close between two peaks is none below them; the last point repeats the one before.
    below = np.diff(np.append(peaks, len(value))) > 1
    return int((times[until] - times[peaks])[below].max(initial=0))


def curve_of(equity: Equity, *, points: int) -> tuple[Point, ...]:
    """The beginning, then after each close; at most ``points``, of which the extremes are always kept.

    0: none.

    Raises:
        BadSample: a number of points that is neither 0 nor at least LEAST_POINTS.
    """
    if points != 0 and points < LEAST_POINTS:
        raise BadSample(f"{points} points: 0, or at least {LEAST_POINTS}")
    if points == 0 or not len(equity.trades):
        return ()
    time = np.concatenate([[equity.begin], equity.time])
    value = np.concatenate([[1.0], equity.value])
    below = np.concatenate([[0.0], drawdowns(equity)])
    kept = _kept(value, below, points)
    rows = zip(time[kept].tolist(), value[kept].tolist(), below[kept].tolist(), strict=True)
    return tuple(Point(time=t, equity=e, drawdown=d) for t, e, d in rows)


def _kept(value: Floats, below: Floats, points: int) -> Int64s:
    if len(value) <= points:
        return np.arange(len(value))
    stretches = np.array_split(np.arange(len(value)), points // _KEPT)
    kept = [
        (s[0], s[-1], s[value[s].argmin()], s[value[s].argmax()], s[below[s].argmax()]) for s in stretches
    ]
    return np.unique(np.array(kept))


def months_of(equity: Equity, daily: Daily) -> tuple[Month, ...]:
    """Each month from the first day to the last; none once all is lost."""
    if not len(daily.day) or equity.is_ruined:
        return ()
    months = daily.day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    last = np.flatnonzero(np.append(np.diff(months) > 0, [True]))
    ends = daily.end[last]
    before = np.concatenate([[1.0], ends[:-1]])
    values = ends / before - 1 if equity.compounds else ends - before
    closed = (equity.trades.closed // DAY_NS).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    trades = np.bincount(closed - months[0], minlength=len(last))
    return tuple(
        Month(year=1970 + month // 12, month=month % 12 + 1, value=value, trades=count)
        for month, value, count in zip(months[last].tolist(), values.tolist(), trades.tolist(), strict=True)
    )


def exposure_of(equity: Equity, daily: Daily) -> tuple[Floats, Floats, Floats]:
    """By day (n,): days' worth of notional over equity, of any position open, and of time that counts.

    The first and last day count from the first opening and to the end. Sums of the first two over that of
    the third are time-weighted means. NaN where all was lost.
    """
    trades = equity.trades
    times = np.concatenate([trades.opened, trades.closed])
    order = np.argsort(times, kind="stable")
    change = np.concatenate([np.ones(len(trades), np.int64), np.full(len(trades), -1)])
    open_now = np.cumsum(change[order])
    notional = np.cumsum((np.concatenate([equity.notional, -equity.notional]))[order])
    worth = equity.at(times[order]) if equity.compounds else np.ones(len(times))
    held = np.where((open_now > 0) & (worth > 0), notional / np.where(worth > 0, worth, 1.0), 0.0)
    since = (times[order] - equity.begin) / DAY_NS
    edges = np.concatenate([daily.day * DAY_NS, [(daily.day[-1] + 1) * DAY_NS]])
    edges = (np.clip(edges, equity.begin, max(equity.end, equity.begin)) - equity.begin) / DAY_NS
    return (
        np.diff(_integral(since, held, edges)),
        np.diff(_integral(since, (open_now > 0).astype(float), edges)),
        np.diff(edges),
    )


def _integral(since: Floats, level: Floats, edges: Floats) -> Floats:
    """Up to each of ``edges``, of what stands at ``level`` from each of ``since`` on, 0 after the last."""
    total = np.concatenate([[0.0], np.cumsum(np.diff(since) * level[:-1])])
    return np.asarray(np.interp(edges, since, total))
