"""What forecasts of a rise were worth, against saying the base rate: log loss, Brier score, AUC.

``skill`` is 1 - log loss / that of the base rate: 0 says nothing, below 0 harms. A model claims skill where
the lower bound of its interval is above 0; blocks longer than labels overlap are drawn, so that labels that
saw the same move do not count as many.
"""

from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.intervals import block_length, mean_interval

LEVEL = 0.95
_LEAST = 1e-12  # probabilities nearer to 0 or 1 count as this


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    rows: int
    base_rate: float
    log_loss: float
    base_log_loss: float
    brier: float
    base_brier: float
    auc: float
    skill: float
    skill_low: float
    skill_high: float

    @property
    def has_skill(self) -> bool:
        return self.skill_low > 0

    def as_metrics(self) -> dict[str, float]:
        """As a fitted model records them."""
        names = [name for name in self.__slots__ if name not in ("rows", "has_skill")]
        found = {f"out_of_fold_{name}": float(getattr(self, name)) for name in names}
        return {"out_of_fold_rows": float(self.rows), **found, "has_skill": float(self.has_skill)}


def worth(rises: Floats, forecast: Floats, base: Floats, *, overlapping: float, seed: int = 1) -> Worth:
    """Of ``forecast`` (n,) for ``rises`` (n,), 0 or 1, in order of time; ``base``: the rate known then.

    ``overlapping``: how many labels saw the same move. The interval is of the mean difference in log loss
    over the mean log loss of the base rate.

    Raises:
        BadSample: too few rows, or one that is not finite.
    """
    losses, based = _log_losses(rises, forecast), _log_losses(rises, base)
    block = block_length(len(rises), overlapping)
    low, high = mean_interval(based - losses, block=block, seed=seed, level=LEVEL)
    reference = float(based.mean())
    return Worth(
        rows=len(rises),
        base_rate=float(rises.mean()),
        log_loss=float(losses.mean()),
        base_log_loss=reference,
        brier=float(np.mean((forecast - rises) ** 2)),
        base_brier=float(np.mean((base - rises) ** 2)),
        auc=auc(rises, forecast),
        skill=float((reference - losses.mean()) / reference),
        skill_low=low / reference,
        skill_high=high / reference,
    )


def auc(rises: Floats, forecast: Floats) -> float:
    """How often a row that rose has a higher forecast than one that fell, ties half; 0.5 without both.

    Source: H. B. Mann, D. R. Whitney (1947).
    """
    ups = int(rises.sum())
    downs = len(rises) - ups
    if not ups or not downs:
        return 0.5
    _, place, times = np.unique(forecast, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[place]
    return float((ranks[rises == 1].sum() - ups * (ups + 1) / 2) / (ups * downs))


def _log_losses(rises: Floats, forecast: Floats) -> Floats:
    p = np.clip(forecast, _LEAST, 1 - _LEAST)
    return np.asarray(-np.log(np.where(rises == 1, p, 1 - p)))
