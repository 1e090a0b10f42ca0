"""All figures of a set of trades, each with its interval, its sample and, where it cannot be said, why.

docs/performance.md has the definition, unit, interval and source of each. The same trades, seed and number
of draws give the same bits.
"""

from collections.abc import Iterator

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import DRAWS, MAX_DRAWS, BadSample
from alphapulse.domain.performance import metrics
from alphapulse.domain.performance.daily_figures import (
    How,
    figures_of_days,
    figures_of_exposure,
    figures_of_market,
    made,
    nothing,
)
from alphapulse.domain.performance.deflation import (
    SharpeRecord,
    TrialCount,
    deflated_sharpe,
    expected_max_sharpe,
    least_days,
    probabilistic_sharpe,
)
from alphapulse.domain.performance.equity import Daily, daily_of, equity_of
from alphapulse.domain.performance.figures import Figure, Performance
from alphapulse.domain.performance.outcome_figures import figures_of_claims, figures_of_outcomes
from alphapulse.domain.performance.resampling import Interval
from alphapulse.domain.performance.series import curve_of, months_of
from alphapulse.domain.performance.trades import Trades

SEED = 20_140_714
NO_VARIANCE = "fewer than 3 days, or moments that leave no variance of the estimate"
CHANCE = (
    ("probabilistic_sharpe", "Probability that the Sharpe ratio is above 0", "probability"),
    ("least_days", "Days needed to be 95 % sure of that", "days"),
    ("trials", "Configurations tried", "count"),
    ("expected_max_sharpe", "Best Sharpe ratio of the trials by chance", "per_year"),
    ("deflated_sharpe", "Probability that it is above that", "probability"),
)


def performance_of(
    trades: Trades,
    *,
    of: str,
    risk_ratio: float,
    market: tuple[Int64s, Floats] | None = None,
    trials: TrialCount | None = None,
    until: int | None = None,
    year_days: float = 365.0,
    curve_points: int = 2_000,
    seed: int = SEED,
    draws: int = DRAWS,
) -> Performance:
    """What the trades were worth, for any number of them.

    ``of``: signals (by the sizes they had), candidates (all) or refused, both at a fixed risk of
    ``risk_ratio``, adding up. ``market``: days numbered from 1970-01-01 in UTC, and its return on each.
    ``until`` (ns): outcomes known later do not count, and days run up to it. ``draws`` 0: no bootstrap.

    Raises:
        BadSample: an argument out of range, an outcome before its decision, values that are not finite.
    """
    if not 0 < year_days < np.inf or not 0 <= draws <= MAX_DRAWS:
        raise BadSample(f"a year of {year_days} days, {draws} draws of at most {MAX_DRAWS}")
    how = How(year_days=year_days, seed=seed, draws=draws)
    equity = equity_of(trades, of=of, risk_ratio=risk_ratio, until=until)
    daily = daily_of(equity)
    claims, bins = figures_of_claims(equity, how)
    figures = (
        *figures_of_days(equity, daily, how),
        *figures_of_outcomes(equity, how),
        *figures_of_exposure(equity, daily, how),
        *figures_of_market(daily, market, how, is_ruined=equity.is_ruined),
        *_of_chance(daily, trials, how),
        *claims,
    )
    return Performance(
        of=of,
        trades=len(equity.trades),
        days=len(daily.day),
        first=equity.begin,
        last=int(equity.time[-1]) if len(equity.time) else 0,
        figures=figures,
        curve=curve_of(equity, points=curve_points),
        months=months_of(equity, daily),
        bins=bins,
    )


def daily_sharpe(returns: Floats) -> float | None:
    """Mean over standard deviation (n - 1) of daily returns (n,), not annualised.

    None: fewer than two days, returns that do not vary, or that are not finite.
    """
    if len(returns) < 2 or not np.isfinite(returns).all():
        return None
    sample = metrics.Sample(returns[None], compounds=True, year_days=1.0)
    spread = float(sample.spread[0])
    return float(sample.mean[0]) / spread if spread > 0 else None


def _of_chance(daily: Daily, trials: TrialCount | None, how: How) -> Iterator[Figure]:
    """What the Sharpe ratio is worth, given how long it was seen and how many were tried."""
    record, days = _record(daily), len(daily.day)
    why = "no Sharpe ratio" if record is None else ""
    probable, least, count, by_chance, deflated = CHANCE
    if record is None:
        yield from (nothing(*name, why, days) for name in (probable, least))
    else:
        yield _of_record(probable, probabilistic_sharpe(record), days, NO_VARIANCE)
        yield _of_record(least, least_days(record), days, "it is not above 0: no number of days is enough")
    if trials is None:
        yield from (nothing(*name, "their number is not known", days) for name in CHANCE[2:])
        return
    yield _of_record(count, trials.trials, int(trials.trials), "")
    best = expected_max_sharpe(trials) * np.sqrt(how.year_days)
    yield _of_record(by_chance, best, int(trials.trials), "")
    if record is None:
        yield nothing(*deflated, why, days)
    else:
        yield _of_record(deflated, deflated_sharpe(record, trials), days, NO_VARIANCE)


def _record(daily: Daily) -> SharpeRecord | None:
    sharpe = daily_sharpe(daily.returns)
    if sharpe is None:
        return None
    sample = metrics.Sample(daily.returns[None], compounds=True, year_days=1.0)
    return SharpeRecord(
        sharpe=sharpe,
        days=len(daily.day),
        skew=float(metrics.skew(sample)[0]),
        kurtosis=float(metrics.kurtosis(sample)[0]),
    )


def _of_record(name: tuple[str, str, str], value: float | None, sample: int, unbound: str) -> Figure:
    found = float("nan") if value is None else float(value)
    return made(*name, found, Interval(), sample, float(sample), unbound)
