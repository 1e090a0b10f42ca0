"""Votes by what returns say about returns: AR(1) scaled by GARCH(1,1), estimated bar by bar (ar_garch.py)."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from alphapulse.domain.analysis.features import Feature
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.rules import Number, Rule, seen, share, side, voter
from alphapulse.domain.decision.votes import View

PERIOD, BARS = 200, 20
PHI, DEVIATION, SURPRISE, FORECAST = (
    f"ar_garch_200_0.05_0.9.{output}" for output in ("phi", "deviation", "surprise", "forecast")
)
MOVE = "log_return_20"
PHI_ERROR = 1 / sqrt(PERIOD)  # of the coefficient of returns that have none, about


def garch(*outputs: str) -> tuple[Feature, ...]:
    return tuple(seen(f"ar_garch(200,0.05,0.9).{output}") for output in outputs)


@voter(
    "statistical.forecast",
    "With the forecast of the next return from the last one, by its autocorrelation",
    sure=Number(2, 0, 10),
    least=Number(0.1, 0, 10),
    full=Number(0.5, 0.01, 10),
)
class Forecast(Rule):
    """Where the coefficient is ``sure`` standard errors from 0 and the forecast ``least`` deviations.

    Score: the forecast in deviations of the next return, all of it at ``full``. A coefficient above 0 is
    momentum, below 0 reversion.
    """

    inputs = garch("phi", "forecast", "deviation")

    def signed(self, view: View) -> Floats:
        forecast = view[FORECAST]
        counts = np.abs(view[PHI]) >= self.numbers["sure"] * PHI_ERROR
        counts = counts & (np.abs(forecast) >= self.numbers["least"])
        return np.where(counts, side(forecast) * share(np.abs(forecast), self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        return [
            f"returns repeat {view[PHI][row]:+.3f} of themselves (error about {PHI_ERROR:.3f})",
            f"so {view[FORECAST][row]:+.2f} deviations of {view[DEVIATION][row]:.6g} are expected next",
        ]


@voter(
    "statistical.momentum",
    "With the move of the last 20 bars, where it is large for their volatility",
    least=Number(1, 0, 10),
    full=Number(3, 0.1, 100),
)
class ScaledMomentum(Rule):
    """The log return of 20 bars in forecast deviations of 20 bars: ``least`` or more, full at ``full``.

    Silent where returns revert: a coefficient two standard errors below 0.
    """

    inputs = (*garch("deviation", "phi"), seen("log_return(20)"))

    def signed(self, view: View) -> Floats:
        scaled = view[MOVE] / (view[DEVIATION] * sqrt(BARS))
        counts = (np.abs(scaled) >= self.numbers["least"]) & (view[PHI] > -2 * PHI_ERROR)
        return np.where(counts, side(scaled) * share(np.abs(scaled), self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        move, deviation = view[MOVE][row], view[DEVIATION][row]
        return [
            f"moved {move:+.4%} in 20 bars (log): {move / deviation / sqrt(BARS):+.2f} times what they do",
            f"at {deviation:.6g} a bar, as forecast",
            f"returns repeat {view[PHI][row]:+.3f} of themselves: no reversion",
        ]


@voter(
    "statistical.reversion",
    "Against a last return that is large for its forecast deviation, unless returns repeat",
    least=Number(2.5, 0.1, 100),
    full=Number(5, 0.1, 1000),
)
class ScaledReversion(Rule):
    """Against a surprise of ``least`` deviations or more, full at ``full``.

    Silent where returns repeat: a coefficient two standard errors above 0.
    """

    inputs = garch("surprise", "deviation", "phi")

    def signed(self, view: View) -> Floats:
        surprise = view[SURPRISE]
        counts = (np.abs(surprise) >= self.numbers["least"]) & (view[PHI] < 2 * PHI_ERROR)
        return np.where(counts, -side(surprise) * share(np.abs(surprise), self.numbers["full"]), 0.0)

    def words(self, view: View, row: int) -> Sequence[str]:
        return [
            f"the last return was {view[SURPRISE][row]:+.2f} deviations from what was expected",
            f"returns repeat {view[PHI][row]:+.3f} of themselves: no momentum",
        ]
