"""Figures of being in the market: how much and how often, and how alike the days were to the market's."""

from collections.abc import Callable, Iterator

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.performance import metrics
from alphapulse.domain.performance.daily_figures import places_of_days
from alphapulse.domain.performance.equity import Daily, Equity
from alphapulse.domain.performance.figures import Figure
from alphapulse.domain.performance.resampling import Interval, effective_days, interval_of, sums_of_draws
from alphapulse.domain.performance.said import NO_TRADES, RUINED, How, Named, Sample, nothing, said
from alphapulse.domain.performance.series import exposure_of
from alphapulse.domain.signals.idea import DAY_NS

Market = tuple[Int64s, Floats]  # days, numbered from 1970-01-01 in UTC, and the return of each
LEAST_DAYS = 3  # in common: two always lie on a line

EXPOSURE = (
    Named("exposure", "Exposure: notional over equity", "ratio"),
    Named("time_in_market", "Share of the time with a position", "ratio"),
    Named("turnover", "Turnover: bought and sold over equity", "per_year"),
)
AGAINST: tuple[tuple[Named, Callable[[Floats, Floats], Floats]], ...] = (
    (Named("correlation", "Correlation with the market", "ratio"), metrics.correlation),
    (Named("beta", "Beta to the market", "ratio"), metrics.beta),
)


def figures_of_exposure(equity: Equity, daily: Daily, how: How) -> Iterator[Figure]:
    """Over the time from the first opening to the end; turnover over days."""
    why = RUINED if equity.is_ruined else "" if len(daily.day) else NO_TRADES
    if why:
        yield from (nothing(named, why, len(daily.day)) for named in EXPOSURE)
        return
    held, inside, counted = exposure_of(equity, daily)
    day = equity.trades.opened // DAY_NS - daily.day[0]
    traded = np.bincount(day, 2 * equity.size, minlength=len(daily.day)).astype(np.float64)
    over = (counted, counted, np.full(len(daily.day), 1 / how.year_days))
    for named, top, bottom in zip(EXPOSURE, (held, inside, traded), over, strict=True):
        yield _ratio_of_days(named, top, bottom, how)


def figures_of_market(daily: Daily, market: Market | None, how: How) -> Iterator[Figure]:
    """Over the days for which both have a finite return."""
    own, other = _common(daily, market)
    why = _why_not(daily, market, len(own))
    if why:
        yield from (nothing(named, why, len(own)) for named, _ in AGAINST)
        return
    sample = Sample(len(own), effective_days(own, seed=how.seed, draws=how.draws))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for named, function in AGAINST:
            value = float(function(own[None], other[None])[0])
            drawn = [function(own[at], other[at]) for at in places_of_days(len(own), how)]
            interval = interval_of(np.concatenate(drawn)) if drawn else Interval()
            yield said(named, value, interval, sample, unbound="one of them does not vary")


def _ratio_of_days(named: Named, top: Floats, bottom: Floats, how: How) -> Figure:
    sample = Sample(len(top), effective_days(top, seed=how.seed, draws=how.draws))
    interval = Interval()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.divide(top.sum(), bottom.sum()))
        if how.draws and len(top) >= 2:
            sums = sums_of_draws(np.stack([top, bottom]), overlapping=1.0, seed=how.seed, draws=how.draws)
            interval = interval_of(sums[0] / sums[1])
    return said(named, value, interval, sample, unbound="no time passed")


def _common(daily: Daily, market: Market | None) -> tuple[Floats, Floats]:
    if market is None:
        return np.empty(0), np.empty(0)
    days, returns = (column[np.isfinite(market[1])] for column in market)
    known = np.isfinite(daily.returns)
    _, mine, theirs = np.intersect1d(daily.day[known], days, return_indices=True)
    return daily.returns[known][mine], returns[theirs].astype(np.float64)


def _why_not(daily: Daily, market: Market | None, common: int) -> str:
    if market is None:
        return "no market to compare with"
    if not len(daily.day):
        return NO_TRADES
    if not np.isfinite(daily.returns).all():
        return RUINED
    return f"{common} days in common with the market, of {LEAST_DAYS}" if common < LEAST_DAYS else ""
