"""Figures of outcomes and of claims, named and with what they rest on."""

from collections.abc import Iterator

import numpy as np

from alphapulse.domain.performance.claims import Claims
from alphapulse.domain.performance.equity import Equity
from alphapulse.domain.performance.figures import Figure, ReliabilityBin
from alphapulse.domain.performance.outcomes import Outcomes, net_bounds
from alphapulse.domain.performance.resampling import Interval
from alphapulse.domain.performance.said import NO_TRADES, How, Named, Sample, nothing, said

HOUR_NS = 3_600 * 1_000_000_000

WIN_RATES = (
    Named("win_rate", "Win rate", "probability"),
    Named("win_rate_worst", "Win rate if every doubt went against us", "probability"),
    Named("win_rate_best", "Win rate if every doubt went our way", "probability"),
)
RATIOS = (Named("profit_factor", "Profit factor", "ratio"), Named("payoff_ratio", "Payoff ratio", "ratio"))
MEANS = (
    Named("expectancy_bps", "Expectancy, net", "bps"),
    Named("expectancy_worst_bps", "Expectancy if every doubt went against us", "bps"),
    Named("expectancy_best_bps", "Expectancy if every doubt went our way", "bps"),
    Named("expectancy_r", "Expectancy, net, over risk", "r"),
    Named("holding_hours", "Mean holding time", "hours"),
)
CLAIMS = (
    Named("mean_claim", "Mean claimed probability", "probability"),
    Named("brier", "Brier score", "ratio"),
    Named("brier_skill", "Brier skill", "ratio"),
    Named("calibration_error", "Expected calibration error (ECE)", "probability"),
    Named("calibration_error_by_chance", "ECE of exact claims, by chance", "probability"),
)
UNBOUND = ("no losses", "no losses, or no gains")


def figures_of_outcomes(equity: Equity, outcomes: Outcomes) -> Iterator[Figure]:
    """``outcomes`` are those of ``equity``."""
    trades = equity.trades
    if not len(trades):
        yield from (nothing(named, NO_TRADES) for named in (*WIN_RATES, *RATIOS, *MEANS))
        return
    sample = Sample(len(trades), outcomes.effective)
    for named, wins in zip(WIN_RATES, (trades.is_win, trades.worst_win, trades.best_win), strict=True):
        yield said(named, *outcomes.win_rate(wins), sample)
    ratios = (outcomes.profit_factor(equity.contribution), outcomes.payoff_ratio())
    for named, found, unbound in zip(RATIOS, ratios, UNBOUND, strict=True):
        yield said(named, *found, sample, unbound=unbound)
    worst, best = net_bounds(trades)
    held = (trades.closed - trades.opened) / HOUR_NS
    columns = (trades.net_bps, worst, best, trades.net_r, held)
    for named, found in zip(MEANS, outcomes.means(*columns), strict=True):
        yield said(named, *found, sample)


def figures_of_claims(outcomes: Outcomes, how: How) -> tuple[list[Figure], tuple[ReliabilityBin, ...]]:
    """Over the trades for which something was claimed."""
    known = np.isfinite(outcomes.trades.confidence)
    if not known.any():
        why = "nothing was claimed" if len(known) else NO_TRADES
        return [nothing(named, why) for named in CLAIMS], ()
    of = outcomes if known.all() else Outcomes(outcomes.trades.take(known), how.seed, how.draws)
    claims, sample = Claims(of), Sample(len(of.trades), of.effective)
    by_chance = claims.error_by_chance(), Interval()
    found = (claims.mean(), claims.brier(), claims.skill(), claims.error(), by_chance)
    figures = [
        said(named, *each, sample, unbound="all ended alike")
        for named, each in zip(CLAIMS, found, strict=True)
    ]
    return figures, claims.bins
