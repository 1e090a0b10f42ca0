"""Figures of outcomes one by one: how often they won, and what they earned.

Intervals are of blocks of neighbours in the order of closing, as long as twice what overlaps at a time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.intervals import uniqueness, win_rate_interval
from alphapulse.domain.performance.resampling import Interval, interval_of, sums_of_draws
from alphapulse.domain.performance.trades import Bools, Trades


@dataclass(frozen=True, eq=False)
class Outcomes:
    """``draws`` 0: no intervals but those of win rates."""

    trades: Trades
    seed: int
    draws: int

    @cached_property
    def unique(self) -> Floats:
        """What each counts beside those it overlaps, (n,)."""
        return uniqueness(self.trades.opened, self.trades.closed)

    @cached_property
    def effective(self) -> float:
        return float(self.unique.sum())

    def sums(self, *columns: Floats) -> Floats | None:
        """Sums (k, draws) of columns over the same draws; None: too few outcomes."""
        count = len(self.trades)
        if self.draws == 0 or count < 2:
            return None
        overlapping = count / self.effective
        return sums_of_draws(np.stack(columns), overlapping=overlapping, seed=self.seed, draws=self.draws)

    def win_rate(self, wins: Bools) -> tuple[float, Interval]:
        """Wilson's interval on the number that do not overlap."""
        rate = float(wins.mean())
        low, high = win_rate_interval(min(rate * self.effective, self.effective), self.effective)
        return rate, Interval(low, high, is_drawn=False)

    def means(self, *columns: Floats) -> list[tuple[float, Interval]]:
        values, sums = [float(column.mean()) for column in columns], self.sums(*columns)
        if sums is None:
            return [(value, Interval()) for value in values]
        return [(v, interval_of(s / len(self.trades))) for v, s in zip(values, sums, strict=True)]

    def profit_factor(self, contribution: Floats) -> tuple[float, Interval]:
        """What was won over what was lost, net of costs."""
        return self._ratio(*_won_and_lost(contribution))

    def payoff_ratio(self) -> tuple[float, Interval]:
        """The mean gain over the mean loss, in bps."""
        net = self.trades.net_bps
        won, lost = _won_and_lost(net)
        return self._ratio(won, lost, (net > 0).astype(float), (net < 0).astype(float))

    def _ratio(self, won: Floats, lost: Floats, *counts: Floats) -> tuple[float, Interval]:
        def of(sums: Floats) -> Floats:
            ratio = sums[0] / sums[1]
            return np.asarray(ratio if len(sums) == 2 else ratio * sums[3] / sums[2])

        columns = (won, lost, *counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(of(np.array([[c.mean()] for c in columns]))[0])
            sums = self.sums(*columns)
            return value, Interval() if sums is None else interval_of(of(sums))


def _won_and_lost(net: Floats) -> tuple[Floats, Floats]:
    return np.maximum(net, 0.0), np.maximum(-net, 0.0)


def net_bounds(trades: Trades) -> tuple[Floats, Floats]:
    """The worst and the best net bps (n,), for all that is known: costs as booked, the exit in doubt."""
    costs = trades.gross_bps - trades.net_bps
    worst = np.where(np.isnan(trades.worst_bps), trades.gross_bps, trades.worst_bps)
    best = np.where(np.isnan(trades.best_bps), trades.gross_bps, trades.best_bps)
    return worst - costs, best - costs
