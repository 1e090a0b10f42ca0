"""Figures of chance: what a Sharpe ratio is worth, given how long it was seen and how many were tried."""

from collections.abc import Iterator

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.performance import metrics
from alphapulse.domain.performance.deflation import (
    SharpeRecord,
    TrialCount,
    deflated_sharpe,
    expected_max_sharpe,
    least_days,
    probabilistic_sharpe,
)
from alphapulse.domain.performance.equity import Daily
from alphapulse.domain.performance.figures import Figure
from alphapulse.domain.performance.resampling import Interval
from alphapulse.domain.performance.said import How, Named, Sample, nothing, said

PROBABLE = Named("probabilistic_sharpe", "Probability that the Sharpe ratio is above 0", "probability")
LEAST = Named("least_days", "Days needed to be 95 % sure of that", "days")
COUNT = Named("trials", "Configurations tried", "count")
BY_CHANCE = Named("expected_max_sharpe", "Best Sharpe ratio of the trials, by chance", "per_year")
DEFLATED = Named("deflated_sharpe", "Probability that the Sharpe ratio is above that", "probability")

NO_RECORD = "no Sharpe ratio"
NO_COUNT = "how many were tried is not known"
NO_VARIANCE = "fewer than 3 days, or moments that leave no variance of the estimate"
NEVER = "not above 0: no number of days like these is enough"


def daily_sharpe(returns: Floats) -> float | None:
    """Mean over standard deviation (n - 1) of daily returns (n,), not annualised.

    None: fewer than two days, returns that do not vary, or that are not finite.
    """
    record = record_of(returns)
    return None if record is None else record.sharpe


def record_of(returns: Floats) -> SharpeRecord | None:
    """The same with the moments that its error depends on; None as above."""
    if len(returns) < 2 or not np.isfinite(returns).all():
        return None
    one = metrics.Returns(returns[None], compounds=True, year_days=1.0)
    if one.spread[0] == 0:
        return None
    sharpe, skew, kurtosis = (float(of(one)[0]) for of in (metrics.sharpe, metrics.skew, metrics.kurtosis))
    return SharpeRecord(sharpe=sharpe, days=len(returns), skew=skew, kurtosis=kurtosis)


def figures_of_chance(daily: Daily, trials: TrialCount | None, how: How) -> Iterator[Figure]:
    record, days = record_of(daily.returns), len(daily.day)
    if record is None:
        yield from (nothing(named, NO_RECORD, days) for named in (PROBABLE, LEAST))
    else:
        yield _said(PROBABLE, probabilistic_sharpe(record), days, NO_VARIANCE)
        yield _said(LEAST, least_days(record), days, NEVER)
    if trials is None:
        yield from (nothing(named, NO_COUNT, days) for named in (COUNT, BY_CHANCE, DEFLATED))
        return
    tried, best = int(trials.trials), expected_max_sharpe(trials) * np.sqrt(how.year_days)
    yield _said(COUNT, trials.trials, tried)
    yield _said(BY_CHANCE, best, tried)
    if record is None:
        yield nothing(DEFLATED, NO_RECORD, days)
    else:
        yield _said(DEFLATED, deflated_sharpe(record, trials), days, NO_VARIANCE)


def _said(named: Named, value: float | None, sample: int, unbound: str = "") -> Figure:
    found = float("nan") if value is None else float(value)
    return said(named, found, Interval(), Sample(sample, float(sample)), unbound=unbound)
