"""Figures of outcomes and of claims, named and with what they rest on."""

from collections.abc import Iterator

import numpy as np

from alphapulse.domain.performance.claims import Claims
from alphapulse.domain.performance.daily_figures import NO_TRADES, How, made, nothing
from alphapulse.domain.performance.equity import Equity
from alphapulse.domain.performance.figures import Figure, ReliabilityBin
from alphapulse.domain.performance.outcomes import Outcomes, net_bounds
from alphapulse.domain.performance.resampling import Interval

HOUR_NS = 3_600 * 1_000_000_000
Named = tuple[str, str, str]  # name, title, unit

WIN_RATES: tuple[Named, ...] = (
    ("win_rate", "Win rate", "probability"),
    ("win_rate_worst", "Win rate if every doubt went against us", "probability"),
    ("win_rate_best", "Win rate if every doubt went our way", "probability"),
)
RATIOS: tuple[Named, ...] = (
    ("profit_factor", "Profit factor", "ratio"),
    ("payoff_ratio", "Payoff ratio", "ratio"),
)
MEANS: tuple[Named, ...] = (
    ("expectancy_bps", "Expectancy, net", "bps"),
    ("expectancy_worst_bps", "Expectancy if every doubt went against us", "bps"),
    ("expectancy_best_bps", "Expectancy if every doubt went our way", "bps"),
    ("expectancy_r", "Expectancy, net, over risk", "r"),
    ("holding_hours", "Mean holding time", "hours"),
)
CLAIMS: tuple[Named, ...] = (
    ("mean_claim", "Mean claimed probability", "probability"),
    ("brier", "Brier score", "ratio"),
    ("brier_skill", "Brier skill", "ratio"),
    ("calibration_error", "Expected calibration error (ECE)", "probability"),
    ("calibration_error_by_chance", "ECE of exact claims, by chance", "probability"),
)


def figures_of_outcomes(equity: Equity, how: How) -> Iterator[Figure]:
    trades = equity.trades
    if not len(trades):
        yield from (nothing(*name, NO_TRADES) for name in (*WIN_RATES, *RATIOS, *MEANS))
        return
    outcomes = Outcomes(trades, how.seed, how.draws)
    sample, effective = len(trades), outcomes.effective
    for name, wins in zip(WIN_RATES, (trades.is_win, trades.worst_win, trades.best_win), strict=True):
        yield made(*name, *outcomes.win_rate(wins), sample, effective, "")
    ratios = (outcomes.profit_factor(equity.contribution), outcomes.payoff_ratio())
    without = ("no losses", "no losses, or no gains")
    for name, found, unbound in zip(RATIOS, ratios, without, strict=True):
        yield made(*name, *found, sample, effective, unbound)
    worst, best = net_bounds(trades)
    held = (trades.closed - trades.opened) / HOUR_NS
    for name, values in zip(MEANS, (trades.net_bps, worst, best, trades.net_r, held), strict=True):
        yield made(*name, *outcomes.mean(values), sample, effective, "")


def figures_of_claims(equity: Equity, how: How) -> tuple[list[Figure], tuple[ReliabilityBin, ...]]:
    """Over the trades for which something was claimed."""
    known = np.isfinite(equity.trades.confidence)
    trades = equity.trades.take(known)
    if not len(trades):
        why = "nothing was claimed" if len(equity.trades) else NO_TRADES
        return [nothing(*name, why) for name in CLAIMS], ()
    outcomes = Outcomes(trades, how.seed, how.draws)
    claims = Claims(outcomes)
    by_chance = claims.error_by_chance(), Interval()
    found = (claims.mean(), claims.brier(), claims.skill(), claims.error(), by_chance)
    notes = ("", "", "", "draws add chance of their own: the interval lies a little high", "")
    sample, effective = len(trades), outcomes.effective
    figures = [
        made(*name, *each, sample, effective, "all ended alike", note)
        for name, each, note in zip(CLAIMS, found, notes, strict=True)
    ]
    return figures, claims.bins()
