"""When a cell (strategy, regime, timeframe …) is muted because it wins less often than it claimed."""

import math

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.proportions import Z95

MIN_OUTCOMES = 30  # before that nothing is muted


def upper_bound(wins: float, outcomes: float) -> float:
    """Of the win rate: the upper bound of its Wilson interval (95 %); NaN where that cannot be told.

    Counts are real-valued when outcomes overlap or decay.
    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not (0.0 <= wins <= outcomes and 0.0 < outcomes < math.inf):
        return math.nan
    rate, z = wins / outcomes, Z95 * Z95 / outcomes
    half = Z95 * math.sqrt(rate * (1.0 - rate) / outcomes + z / (4.0 * outcomes))
    return (rate + z / 2.0 + half) / (1.0 + z)


def mutes(wins: float, outcomes: float, mean_claim: float, least: float = MIN_OUTCOMES) -> bool:
    """Whether the cell is to be silent: the upper bound of its win rate lies below its mean claim.

    ``wins`` out of ``outcomes``; ``mean_claim`` is the mean of the probabilities claimed for them. Fewer
    than ``least`` outcomes never mute. Numbers that cannot be (NaN, more wins than outcomes, a claim above
    1) do: who cannot count may not speak.
    """
    if not (0.0 <= wins <= outcomes and 0.0 <= mean_claim <= 1.0):
        return True
    return outcomes >= least and not upper_bound(wins, outcomes) >= mean_claim


# For kernels, with the same results.
upper_bound_at = inner_piece(upper_bound)


@inner_piece
def mutes_at(wins: float, outcomes: float, mean_claim: float, least: float) -> bool:
    if not (0.0 <= wins <= outcomes and 0.0 <= mean_claim <= 1.0):
        return True
    return outcomes >= least and not upper_bound_at(wins, outcomes) >= mean_claim
