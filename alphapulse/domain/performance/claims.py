"""How good the claimed probabilities were, each claim counted for what its outcome has for itself."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.scores import brier, brier_skill, calibration_error, reliability_bins
from alphapulse.domain.performance.figures import ReliabilityBin
from alphapulse.domain.performance.outcomes import Outcomes
from alphapulse.domain.performance.resampling import LEVEL, Interval, interval_of
from alphapulse.domain.performance.trades import Bools


@dataclass(frozen=True, eq=False)
class Claims:
    """Of ``outcomes``, all of which have a claim; at least one."""

    outcomes: Outcomes

    @property
    def claimed(self) -> Floats:
        return self.outcomes.trades.confidence

    @cached_property
    def won(self) -> Floats:
        return self.outcomes.trades.is_win.astype(float)

    @property
    def weight(self) -> Floats:
        return self.outcomes.unique

    def mean(self) -> tuple[float, Interval]:
        return self._ratio_of_sums(self.weight * self.claimed)

    def brier(self) -> tuple[float, Interval]:
        value = brier(self.claimed, self.won, self.weight)
        return value, self._ratio_of_sums(self.weight * (self.claimed - self.won) ** 2)[1]

    def skill(self) -> tuple[float, Interval]:
        """Against the share of wins, known in hindsight: of each draw its own. NaN where all ended alike."""
        if self.won.min() == self.won.max():
            return float("nan"), Interval()
        value = brier_skill(self.claimed, self.won, weight=self.weight)
        error = self.weight * (self.claimed - self.won) ** 2
        sums = self.outcomes.sums(error, self.weight * self.won, self.weight)
        if sums is None:
            return value, Interval()
        share = np.clip(sums[1] / sums[2], 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            skills = np.where(share * (1 - share) > 0, 1 - sums[0] / sums[2] / (share * (1 - share)), np.nan)
        return value, interval_of(skills)

    def error(self) -> tuple[float, Interval]:
        """Expected calibration error, over the bins of the whole.

        Its draws lie above it, as it lies above what is true: chance adds to distances. So the interval is
        as wide as 95 % of the draws move the bins, all distances together: |a| and |b| differ by no more
        than |a - b|. It covers at least as often as it says, and reaches 0 unless chance is ruled out.
        """
        value = calibration_error(self.claimed, self.won, self.weight)
        away = self.weight * (self.claimed - self.won)
        by_bin = np.stack([np.where(inside, away, 0.0) for inside in self._inside()])
        sums = self.outcomes.sums(*by_bin, self.weight)
        if sums is None:
            return value, Interval()
        found = by_bin.sum(axis=1) / self.weight.sum()
        moved = np.abs(sums[:-1] / sums[-1] - found[:, None]).sum(axis=0)
        most = float(np.quantile(moved, LEVEL))
        return value, Interval(max(value - most, 0.0), min(value + most, 1.0))

    def error_by_chance(self) -> float:
        """What the calibration error would be on average if every claim were exact.

        The distance in a bin is then near to normal, with the variance of its outcomes: sum of w p (1 - p),
        w its effective number. The mean of such a distance is sqrt(2 / pi) of its standard deviation.
        """
        variance = self.weight * self.claimed * (1 - self.claimed)
        away = sum(float(np.sqrt(2 / np.pi * variance[inside].sum())) for inside in self._inside())
        return away / float(self.weight.sum())

    @cached_property
    def bins(self) -> tuple[ReliabilityBin, ...]:
        found = reliability_bins(self.claimed, self.won, self.weight)
        return tuple(
            ReliabilityBin(
                low=b.low,
                high=b.high,
                count=b.count,
                claimed=b.claimed,
                won=b.won,
                won_low=b.won_low,
                won_high=b.won_high,
            )
            for b in found
        )

    def _inside(self) -> list[Bools]:
        """Which claims are in each bin: its bounds are claims, and no claim is in two."""
        return [(self.claimed >= b.low) & (self.claimed <= b.high) for b in self.bins]

    def _ratio_of_sums(self, weighted: Floats) -> tuple[float, Interval]:
        value = float(weighted.sum() / self.weight.sum())
        sums = self.outcomes.sums(weighted, self.weight)
        return value, Interval() if sums is None else interval_of(sums[0] / sums[1])
