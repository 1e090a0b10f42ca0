"""Around a detection: the trend before it, its volume, other timeframes, and the levels nearby.

All arrays have one value a bar, (T,), NaN until there is one; row t depends on what was known at bar t.
Trends are in average true ranges (ATR): how far a straight line through the closes rose over its window,
by the ATR of its last bar. A trend of 1 is one ordinary bar's range in all of the window, a weak one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.alignment import known_rows, seen
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import CLOSE, VOLUME, Floats
from alphapulse.domain.analysis.nearby import finite, nearest_levels

MAX_WINDOW = 2_000  # bars


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRules:
    """What the context looks at, and from where on it takes a side."""

    trend_bars: int = 20
    volume_bars: int = 20
    wing: int = 5  # bars to either side of a swing
    reach: int = 500  # bars: older swings are no level any more
    strong: float = 1.5  # ATR over the window: from here on a trend speaks for or against
    loud: float = 1.5  # times the mean volume: speaks for
    quiet: float = 0.7  # speaks against

    def __post_init__(self) -> None:
        windows = (self.trend_bars, self.volume_bars, self.reach)
        if not all(2 <= n <= MAX_WINDOW for n in windows) or not 0 < self.quiet <= self.loud:
            raise ValueError(
                f"windows {windows} need 2 to {MAX_WINDOW} bars, quiet {self.quiet:g} 0 to loud {self.loud:g}"
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Context:
    """What lies around each bar, (T,) each."""

    trend: Floats  # ATR, of the closes before the bar
    volume_ratio: Floats  # its volume by the mean of those before it
    support: Floats  # ATR down to the next level, 0 or more
    resistance: Floats  # ATR up to the next level, more than 0
    others: Mapping[int, Floats]  # timeframe in minutes: that one's trend, as known at the bar

    def row(self, t: int) -> "Around":
        return Around(
            trend=float(self.trend[t]),
            volume_ratio=float(self.volume_ratio[t]),
            support=float(self.support[t]),
            resistance=float(self.resistance[t]),
            others={timeframe: float(trend[t]) for timeframe, trend in self.others.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """One bar of a Context."""

    trend: float
    volume_ratio: float
    support: float
    resistance: float
    others: Mapping[int, float]


def context(
    bars: Bars,
    atr: Floats,
    others: Sequence[tuple[Bars, Floats]] = (),
    rules: ContextRules | None = None,
) -> Context:
    """The context of every bar of ``bars``; ``others`` are other timeframes of it, each with its ATR."""
    rules = rules or ContextRules()
    closes = bars.values[CLOSE]
    support, resistance = nearest_levels(bars, atr, wing=rules.wing, reach=rules.reach)
    return Context(
        trend=before(trend(closes, atr, rules.trend_bars)),
        volume_ratio=volume_ratio(bars.values[VOLUME], rules.volume_bars),
        support=support,
        resistance=resistance,
        others={
            other.timeframe: seen(
                trend(other.values[CLOSE], its_atr, rules.trend_bars), known_rows(bars, other)
            )
            for other, its_atr in others
        },
    )


def trend(closes: Floats, atr: Floats, count: int) -> Floats:
    """How far the least-squares line through the last ``count`` closes rises over them, in ATR of the bar."""
    result = np.full(len(closes), np.nan)
    rows = max(len(closes) - count + 1, 0)
    away = np.arange(count) - (count - 1) / 2
    weights = away * ((count - 1) / float(away @ away))
    rise = np.zeros(rows)
    # One after the other, so that later bars change no bit; and against the first close of each window, so
    # that a large price costs no digits.
    for i in range(1, count):
        rise += weights[i] * (closes[i : i + rows] - closes[:rows])
    result[len(closes) - rows :] = rise
    with np.errstate(divide="ignore", invalid="ignore"):
        return finite(result / atr)


def before(values: Floats) -> Floats:
    """Each bar's value of the bar before it."""
    return np.concatenate([[np.nan], values[:-1]])[: len(values)]


def volume_ratio(volumes: Floats, count: int) -> Floats:
    """Each volume by the mean of the ``count`` before it; NaN where one is unknown, or none was traded."""
    rows = max(len(volumes) - count, 0)
    before_it, result = np.zeros(rows), np.full(len(volumes), np.nan)
    for i in range(count):
        before_it += volumes[i : i + rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        result[len(volumes) - rows :] = volumes[len(volumes) - rows :] / (before_it / count)
    return finite(result)
