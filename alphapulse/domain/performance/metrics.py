"""Figures of daily returns, of many series at once: so one function gives the value and its bootstrap.

A series is a row of ``returns`` (k, n). NaN: undefined for that row (0 / 0). inf: without bound, as a ratio
to losses where there are none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alphapulse.domain.analysis.fields import Floats


@dataclass(frozen=True, eq=False)
class Returns:
    """``compounds``: the returns are shares of the equity before each; else of that at the beginning."""

    returns: Floats
    compounds: bool
    year_days: float

    @cached_property
    def ordered(self) -> Floats:
        """Ascending in each row."""
        return np.sort(self.returns, axis=1)

    @cached_property
    def mean(self) -> Floats:
        return np.asarray(self.returns.mean(axis=1))

    @cached_property
    def spread(self) -> Floats:
        """Standard deviations of the sample (n - 1), exactly 0 where nothing varies; NaN below two days."""
        count = self.returns.shape[1]
        if count < 2:
            return np.full(len(self.returns), np.nan)
        varies = self.returns.min(axis=1) != self.returns.max(axis=1)
        return np.where(varies, self.returns.std(axis=1, ddof=1), 0.0)

    @cached_property
    def path(self) -> Floats:
        """Equity (k, n) at the end of each day, 1 before the first."""
        return np.asarray(
            np.cumprod(1 + self.returns, axis=1) if self.compounds else 1 + np.cumsum(self.returns, axis=1)
        )

    @cached_property
    def drawdown(self) -> Floats:
        """The largest, by the ends of days."""
        peak = np.maximum(np.maximum.accumulate(self.path, axis=1), 1.0)
        fall = peak - self.path
        return np.asarray((fall / peak if self.compounds else fall).max(axis=1))

    @cached_property
    def days_below(self) -> Floats:
        """The longest run of days that ended below the highest end before."""
        day = np.arange(self.path.shape[1])
        peak = np.maximum(np.maximum.accumulate(self.path, axis=1), 1.0)
        last = np.maximum.accumulate(np.where(self.path >= peak, day, -1), axis=1)
        return np.asarray((day - last).max(axis=1), dtype=np.float64)

    @cached_property
    def moments(self) -> tuple[Floats, Floats]:
        """The third and fourth central moment over those powers of the standard deviation, all over n."""
        away = np.where(self.spread[:, None] == 0, 0.0, self.returns - self.mean[:, None])
        square = away * away
        variance, third, fourth = (m.mean(axis=1) for m in (square, square * away, square * square))
        return np.asarray(third / variance**1.5), np.asarray(fourth / variance**2)


def total_return(s: Returns) -> Floats:
    return np.asarray(s.path[:, -1] - 1)


def annual_return(s: Returns) -> Floats:
    """Growth per year at a constant rate; where returns add up, their mean times the days of a year."""
    if not s.compounds:
        return s.mean * s.year_days
    return np.asarray(s.path[:, -1] ** (s.year_days / s.returns.shape[1]) - 1)


def volatility(s: Returns) -> Floats:
    return np.asarray(s.spread * np.sqrt(s.year_days))


def sharpe(s: Returns) -> Floats:
    """Without a riskless rate. Source: W. F. Sharpe, The Sharpe ratio (1994)."""
    return np.asarray(daily_sharpe(s) * np.sqrt(s.year_days))


def daily_sharpe(s: Returns) -> Floats:
    return np.asarray(s.mean / s.spread)


def sortino(s: Returns) -> Floats:
    """The mean over the root of the mean squared loss, days without one counted as 0.

    Source: F. A. Sortino, L. N. Price, Performance measurement in a downside risk framework (1994).
    """
    losses = np.minimum(s.returns, 0.0)
    return np.asarray(s.mean / np.sqrt((losses * losses).mean(axis=1)) * np.sqrt(s.year_days))


def max_drawdown(s: Returns) -> Floats:
    """By the ends of days: a share of the peak, or of the equity at the beginning where returns add up."""
    return s.drawdown


def days_below(s: Returns) -> Floats:
    return s.days_below


def calmar(s: Returns) -> Floats:
    """Source: T. W. Young, Calmar ratio: a smoother tool (1991), over all days instead of 36 months."""
    return np.asarray(annual_return(s) / s.drawdown)


def quantile(ordered: Floats, share: float) -> Floats:
    """Of rows in ascending order, between neighbours in proportion (type 7 of Hyndman and Fan)."""
    place = share * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    return np.asarray(ordered[:, below] + (place - below) * (ordered[:, above] - ordered[:, below]))


def value_at_risk(tail: float) -> Callable[[Returns], Floats]:
    """The loss of a day that is exceeded on ``tail`` of the days; positive is a loss."""
    return lambda s: -quantile(s.ordered, tail)


def expected_shortfall(tail: float) -> Callable[[Returns], Floats]:
    """The mean loss of the worst ``tail`` of the days, the one at its edge included."""
    return lambda s: -s.ordered[:, : int((s.returns.shape[1] - 1) * tail) + 1].mean(axis=1)


def tail_ratio(s: Returns) -> Floats:
    """The 95th percentile of the days over the 5th, without signs."""
    return np.abs(quantile(s.ordered, 0.95)) / np.abs(quantile(s.ordered, 0.05))


def skew(s: Returns) -> Floats:
    return s.moments[0]


def kurtosis(s: Returns) -> Floats:
    """3 for a normal distribution."""
    return s.moments[1]


def correlation(own: Floats, market: Floats) -> Floats:
    """Pearson's, row by row."""
    both, own_square, market_square = _products(own, market)
    return both / np.sqrt(own_square * market_square)


def beta(own: Floats, market: Floats) -> Floats:
    """The slope of the least squares line of own returns over the market's, row by row."""
    both, _, market_square = _products(own, market)
    return both / market_square


def _products(own: Floats, market: Floats) -> tuple[Floats, Floats, Floats]:
    """Sums of products of distances from the means; exactly 0 for what does not vary."""
    x, y = (np.where(_varies(v), v - v.mean(axis=1, keepdims=True), 0.0) for v in (own, market))
    return (x * y).sum(axis=1), (x * x).sum(axis=1), (y * y).sum(axis=1)


def _varies(values: Floats) -> Floats:
    return np.asarray(values.min(axis=1, keepdims=True) != values.max(axis=1, keepdims=True))
