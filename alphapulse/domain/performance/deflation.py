"""What a Sharpe ratio is worth after it was chosen among trials: probabilistic and deflated Sharpe ratios.

All Sharpe ratios here are per day, not annualised. Sources: D. H. Bailey, M. Lopez de Prado, The Sharpe
ratio efficient frontier (2012): the probabilistic ratio and the least length of a record; the same, The
deflated Sharpe ratio (2014): the expected maximum of trials. Skew and kurtosis (3 for a normal
distribution) are those of the daily returns.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from alphapulse.domain.decision.intervals import BadSample

EULER = 0.5772156649015329
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharpeRecord:
    """A Sharpe ratio and the daily returns that it was seen in."""

    sharpe: float
    days: int
    skew: float = 0.0
    kurtosis: float = 3.0

    @property
    def variance(self) -> float:
        """Of the estimate, times days - 1."""
        return 1 - self.skew * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCount:
    """How many configurations were tried, this one among them, and the variance of their Sharpe ratios.

    The variance is over those that have a ratio, n - 1; 0 for a single one.

    Raises:
        BadSample: fewer than one, or a variance that is none.
    """

    trials: float  # may be an effective number of independent ones
    sharpe_variance: float

    def __post_init__(self) -> None:
        if not 1 <= self.trials < math.inf or not 0 <= self.sharpe_variance < math.inf:
            raise BadSample(f"{self.trials} trials whose Sharpe ratios vary by {self.sharpe_variance}")


def expected_max_sharpe(count: TrialCount) -> float:
    """What the best of so many trials would show by chance if none were worth anything."""
    if count.trials == 1 or count.sharpe_variance == 0:
        return 0.0
    # Far out both probabilities round to 1: the lower tail still tells them apart.
    typical = -_NORMAL.inv_cdf(1 / count.trials)
    far = -_NORMAL.inv_cdf(1 / (count.trials * math.e))
    return math.sqrt(count.sharpe_variance) * ((1 - EULER) * typical + EULER * far)


def probabilistic_sharpe(record: SharpeRecord, *, benchmark: float = 0.0) -> float | None:
    """The probability that the true Sharpe ratio is above ``benchmark``.

    None: fewer than three days, or moments that leave the estimate no variance.
    """
    if record.days < 3 or record.variance <= 0:
        return None
    return normal_cdf((record.sharpe - benchmark) * math.sqrt((record.days - 1) / record.variance))


def deflated_sharpe(record: SharpeRecord, trials: TrialCount) -> float | None:
    """The probability that there is more than what the best of ``trials`` shows by chance; None as above."""
    return probabilistic_sharpe(record, benchmark=expected_max_sharpe(trials))


def least_days(record: SharpeRecord, *, benchmark: float = 0.0, probability: float = 0.95) -> float | None:
    """How many days like these make the probabilistic Sharpe ratio reach ``probability``; None: never."""
    if record.sharpe <= benchmark or record.variance <= 0:
        return None
    return 1 + record.variance * (_NORMAL.inv_cdf(probability) / (record.sharpe - benchmark)) ** 2


def normal_cdf(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2
