"""All figures of a set of trades, each with its interval, its sample and, where it cannot be said, why.

docs/performance.md has the definition, unit, interval and source of each. The same trades, seed and number
of draws give the same bits.
"""

import math

from alphapulse.domain.decision.intervals import DRAWS, MAX_DRAWS, BadSample
from alphapulse.domain.performance.chance_figures import figures_of_chance
from alphapulse.domain.performance.daily_figures import figures_of_days
from alphapulse.domain.performance.deflation import TrialCount
from alphapulse.domain.performance.equity import daily_of, equity_of
from alphapulse.domain.performance.figures import Performance
from alphapulse.domain.performance.market_figures import Market, figures_of_exposure, figures_of_market
from alphapulse.domain.performance.outcome_figures import figures_of_claims, figures_of_outcomes
from alphapulse.domain.performance.outcomes import Outcomes
from alphapulse.domain.performance.said import How
from alphapulse.domain.performance.series import curve_of, months_of
from alphapulse.domain.performance.trades import Trades

SEED = 20_140_714


def performance_of(
    trades: Trades,
    *,
    of: str,
    risk_ratio: float,
    market: Market | None = None,
    trials: TrialCount | None = None,
    since: int | None = None,
    until: int | None = None,
    year_days: float = 365.0,
    curve_points: int = 800,
    seed: int = SEED,
    draws: int = DRAWS,
) -> Performance:
    """What the trades were worth, for any number of them.

    ``of``: signals (by the sizes they had), candidates (all) or refused, both at a fixed risk of
    ``risk_ratio``, adding up. ``market``: days numbered from 1970-01-01 in UTC, and its return on each.
    ``since`` (ns): days begin there, where that is before the first opening. ``until``: outcomes known later
    do not count, and days run up to it. ``draws`` 0: no bootstrap.

    Raises:
        BadSample: an argument out of range, an outcome before its decision, values that are not finite.
    """
    if not 0 < year_days < math.inf or not 0 <= draws <= MAX_DRAWS:
        raise BadSample(f"a year of {year_days} days, {draws} draws of at most {MAX_DRAWS}")
    how = How(year_days=year_days, seed=seed, draws=draws)
    equity = equity_of(trades, of=of, risk_ratio=risk_ratio, since=since, until=until)
    daily = daily_of(equity)
    outcomes = Outcomes(equity.trades, seed, draws)
    claims, bins = figures_of_claims(outcomes, how)
    return Performance(
        of=of,
        trades=len(equity.trades),
        days=len(daily.day),
        first=equity.begin,
        last=int(equity.time[-1]) if len(equity.time) else 0,
        figures=(
            *figures_of_days(equity, daily, how),
            *figures_of_outcomes(equity, outcomes),
            *figures_of_exposure(equity, daily, how),
            *figures_of_market(daily, market, how),
            *figures_of_chance(daily, trials, how),
            *claims,
        ),
        curve=curve_of(equity, points=curve_points),
        months=months_of(equity, daily),
        bins=bins,
    )
