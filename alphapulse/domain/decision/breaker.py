"""When a cell (strategy, regime, timeframe …) is muted because it wins less often than it claimed."""

import math

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.proportions import Z95

MIN_OUTCOMES = 30  # before that nothing is muted


def mutes(wins: float, outcomes: float, mean_claim: float) -> bool:
    """Whether the cell is to be silent: the upper Wilson bound (95 %) of its win rate lies below its claims.

    ``wins`` out of ``outcomes``, real-valued when outcomes overlap or decay; ``mean_claim`` is the mean of
    the probabilities that were claimed for them. Numbers that cannot be (NaN, more wins than outcomes) mute:
    who cannot count may not speak.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not (0.0 <= wins <= outcomes and 0.0 <= mean_claim <= 1.0):
        return True
    if outcomes < MIN_OUTCOMES:
        return False
    rate = wins / outcomes
    scale = 1.0 + Z95 * Z95 / outcomes
    middle = (rate + Z95 * Z95 / (2.0 * outcomes)) / scale
    half = Z95 / scale * math.sqrt(rate * (1.0 - rate) / outcomes + Z95 * Z95 / (4.0 * outcomes * outcomes))
    return not middle + half >= mean_claim  # so that NaN mutes


mutes_at = inner_piece(mutes)  # for kernels: the same result
