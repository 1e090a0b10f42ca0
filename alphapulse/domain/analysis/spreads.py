"""Unusual spreads between the best bid and the best ask, over whatever looks at a book one has.

No indicator yet: bars hold no book. A look without both sides, or with the bid at or above the ask, has no
spread, and says nothing about those after it.
"""

from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.robust import robust_scores


@dataclass(frozen=True, slots=True, eq=False)
class Spreads:
    """For n looks at a book: the spread, how unusual it is among those before, and 1 where it stands out."""

    spread_bps: Floats  # of the mid; NaN where there is none
    score: Floats
    flag: Floats  # 1 unusually wide, -1 unusually narrow, 0 neither; NaN where nobody can tell


def unusual_spreads(bid: Floats, ask: Floats, *, window: int = 100, threshold: float = 5.0) -> Spreads:
    """Spreads of best ``bid`` and ``ask`` (n,), oldest first, judged as robust.robust_scores does.

    Windows count looks that have a spread. Row i depends on rows up to i only.

    Raises:
        ValueError: the arrays differ in length, ``window`` is below 2, or ``threshold`` not positive.
    """
    if bid.shape != ask.shape or bid.ndim != 1 or not threshold > 0:
        raise ValueError(f"bids {bid.shape}, asks {ask.shape}, threshold {threshold}")
    sound = (bid > 0) & (ask > bid) & np.isfinite(ask)
    spread, score, flag = (np.full(len(bid), np.nan) for _ in range(3))
    low, high = bid[sound], ask[sound]
    spread[sound] = (high - low) / ((high + low) / 2) * 10_000
    score[sound] = robust_scores(spread[sound], window=window)
    known = np.isfinite(score)
    flag[known] = np.where(np.abs(score[known]) >= threshold, np.sign(score[known]), 0.0)
    return Spreads(spread, score, flag)
