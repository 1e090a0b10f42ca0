"""How much of the equity a signal takes: what the strategy's way of sizing wants, and what bounds it.

Sizes are notionals as shares of the equity; costs in basis points of the price.
"""

from collections.abc import Callable, Mapping

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import Risk

DEPTH_BPS = 10.0  # so far from the price the depth of a book is counted


def stop_ratio(decision: DecisionMade) -> float:
    """Share of the notional that is lost at the stop, before costs."""
    return abs(decision.entry - decision.stop) / decision.entry


def target_ratio(decision: DecisionMade) -> float:
    return abs(decision.target - decision.entry) / decision.entry


def cost_ratio(risk: Risk) -> float:
    """Both fees and the slippage, of the notional."""
    return (2 * risk.fee_bps + risk.slippage_bps) / 1e4


def fixed_fractional(decision: DecisionMade, risk: Risk) -> float:
    """The stop costs ``risk_ratio`` of the equity, before fees."""
    return risk.risk_ratio / stop_ratio(decision)


def volatility_target(decision: DecisionMade, risk: Risk) -> float:
    """One average true range moves the equity by ``volatility_ratio``; 0 where the range is none."""
    if not decision.average_true_range > 0:
        return 0.0
    return risk.volatility_ratio / (decision.average_true_range / decision.entry)


def kelly(decision: DecisionMade, risk: Risk) -> float:
    """``kelly_cap`` of the share that makes the logarithm of the equity grow fastest; 0 where nothing pays.

    With p the calibrated confidence and b what a win pays for each unit that a loss costs, both after
    costs, the best stake is (p b - (1 - p)) / b; a loss costs the stop and not the notional, so the notional
    is the stake over that. Other open signals are not looked at: the cap is there for that.

    Source: J. L. Kelly, A new interpretation of information rate, Bell System Technical Journal (1956).
    """
    cost = cost_ratio(risk)
    win, loss = target_ratio(decision) - cost, stop_ratio(decision) + cost
    if win <= 0:
        return 0.0
    p, b = decision.claim.confidence, win / loss
    return max(risk.kelly_cap * (p * b - (1 - p)) / b / loss, 0.0)


WAYS: Mapping[str, Callable[[DecisionMade, Risk], float]] = {
    "fixed_fractional": fixed_fractional,
    "volatility_target": volatility_target,
    "kelly": kelly,
}


def wanted(decision: DecisionMade, risk: Risk, factor: float = 1.0) -> float:
    """What the strategy's way gives times ``factor``, up to its largest size."""
    return min(WAYS[risk.sizing](decision, risk) * factor, risk.max_size_ratio)


def depth_limit(risk: Risk, equity: float, depth: float) -> float:
    """The largest size that takes no more than its share of ``depth``, quote notional within DEPTH_BPS."""
    return risk.depth_ratio * depth / (equity * risk.capital_quote)


def slippage_bps(notional: float, depth: float) -> float:
    """What a market order of ``notional`` pays beyond the price on average, by ``depth`` within DEPTH_BPS.

    The orders of the book are taken as spread evenly over those basis points: the last part of ours pays
    DEPTH_BPS * notional / depth, all of it half of that on average.
    """
    return DEPTH_BPS * notional / depth / 2
