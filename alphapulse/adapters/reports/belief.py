"""The picture of what was claimed against what became of it, by bins of claims."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from alphapulse.adapters.reports.money import without
from alphapulse.adapters.reports.style import LINE, MUTED, Sheet, nothing, percent
from alphapulse.adapters.reports.words import number, plural
from alphapulse.domain.decision.intervals import win_rate_interval
from alphapulse.domain.performance.figures import Performance, ReliabilityBin

NEAR = 0.004  # claims that lie so close together are one point in a picture


def reliability_sheet(performance: Performance, *, name: str = "reliability") -> Sheet:
    title = f"Reliability: claimed and won, {performance.of}"
    given = [each for each in performance.bins if each.count > 0]
    bins = apart(given)
    if performance.trades == 0:
        return nothing(name, title, without(performance))
    if not bins:
        why = (
            f"None of {plural(performance.trades, 'trade')} claimed a confidence: there is nothing to "
            "compare with what was won. Nothing is claimed before enough outcomes are known to calibrate it."
        )
        return nothing(name, title, why)
    counted = sum(each.count for each in bins)
    near = " (joined where they are too near to be told apart)" if len(bins) < len(given) else ""
    caption = (
        f"{plural(performance.trades, 'trade')}, worth {number(counted, 3)} that do not overlap, in "
        f"{plural(len(bins), 'bin')}{near}. A point is the share that reached the target before the "
        "stop, against the mean of what was claimed; its line is the 95 % interval for so many independent "
        "ones. On the dashed line claims are true; a bin of few says little, however far it lies from it."
    )
    return Sheet(name, title, caption, lambda figure: _reliability(figure, bins), height_in=5.6)


def apart(bins: Sequence[ReliabilityBin]) -> Sequence[ReliabilityBin]:
    """``bins`` in their order, those that claim nearly the same as the one before joined with it."""
    joined: list[ReliabilityBin] = []
    for each in bins:
        if joined and each.claimed - joined[-1].claimed < NEAR:
            each = _both(joined.pop(), each)
        joined.append(each)
    return joined


def _both(a: ReliabilityBin, b: ReliabilityBin) -> ReliabilityBin:
    count = a.count + b.count
    claimed = (a.claimed * a.count + b.claimed * b.count) / count
    won = (a.won * a.count + b.won * b.count) / count
    low, high = win_rate_interval(min(won * count, count), count)
    return ReliabilityBin(
        low=a.low, high=b.high, count=count, claimed=claimed, won=won, won_low=low, won_high=high
    )


def _reliability(figure: Figure, bins: Sequence[ReliabilityBin]) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    above.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=0.9, label="claims are true")
    claimed = np.array([each.claimed for each in bins])
    won = np.array([each.won for each in bins])
    low = np.maximum(won - [each.won_low for each in bins], 0)
    high = np.maximum([each.won_high for each in bins] - won, 0)
    above.errorbar(
        claimed, won, yerr=np.stack([low, high]), fmt="o", color=LINE, ecolor=LINE, elinewidth=1.1, capsize=3,
        markersize=5, label="won, with 95 % interval",
    )  # fmt: skip
    above.set_ylabel("won (target before stop)")
    above.set_ylim(-0.03, 1.03)
    above.legend(loc="upper left")
    counts = [each.count for each in bins]
    # A bin of claims that are all alike is as wide as can be seen.
    widths = [max(each.high - each.low, NEAR) for each in bins]
    middles = [(each.low + each.high) / 2 for each in bins]
    below.bar(middles, counts, width=widths, color=LINE, alpha=0.45)
    for each, middle in zip(bins, middles, strict=True):
        below.annotate(
            number(each.count, 3), (middle, each.count), xytext=(0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=7,
        )  # fmt: skip
    below.set_ylim(0, max(counts) * 1.3)
    below.set_ylabel("count (n eff.)")
    below.set_xlabel("claimed P(target before stop)")
    below.set_xlim(*claims_between([each.low for each in bins], [each.high for each in bins]))
    percent(above, digits=0)
    percent(below, "x")


def claims_between(low: Sequence[float], high: Sequence[float]) -> tuple[float, float]:
    """The claims that there are, with some room: they often lie close together."""
    room = max((max(high) - min(low)) * 0.08, 0.05)
    return max(min(low) - room, -0.02), min(max(high) + room, 1.02)
