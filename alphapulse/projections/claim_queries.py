"""How well claims were met: reliability bins, Brier skill and calibration error of resolved candidates.

Read from ``decisions`` and ``outcomes``; a candidate counts from the position at which its outcome was known.
Overlapping outcomes are counted for what they are worth: ``effective``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.decision.intervals import effective_size, uniqueness
from alphapulse.domain.decision.scores import Bin, brier, brier_skill, calibration_error, reliability_bins
from alphapulse.projections.decision_queries import Wanted, resolved

_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``skill`` is against the share of wins, known in hindsight. None where there is no claim yet."""

    position: int
    claims: int
    wins: int
    effective: float
    mean_claim: float | None
    win_rate: float | None
    brier: float | None
    skill: float | None
    error: float | None
    bins: Sequence[Bin]


async def judged_claims(
    conn: AsyncConnection[Any], wanted: Wanted, *, as_of: int | None = None, bins: int = 10
) -> Judged:
    """How well the claims of ``wanted`` were met. Raises NotYetFolded."""
    position, found = await resolved(conn, wanted, as_of=as_of)
    # Claims that only rounding tells apart are one: else they would fall into bins of their own.
    p = np.asarray(np.round(found.confidence, _DIGITS), dtype=np.float64)
    y = np.array(found.is_win, dtype=np.float64)
    if not len(p):
        return Judged(
            position=position,
            claims=0,
            wins=0,
            effective=0.0,
            mean_claim=None,
            win_rate=None,
            brier=None,
            skill=None,
            error=None,
            bins=(),
        )
    decided, closed = np.array(found.decided, dtype=np.int64), np.array(found.closed, dtype=np.int64)
    weight = uniqueness(decided, closed)
    return Judged(
        position=position,
        claims=len(p),
        wins=int(y.sum()),
        effective=effective_size(decided, closed),
        mean_claim=float(p.mean()),
        win_rate=float(y.mean()),
        brier=brier(p, y),
        skill=brier_skill(p, y),
        error=calibration_error(p, y, bins=bins),
        bins=reliability_bins(p, y, weight, bins=bins),
    )
