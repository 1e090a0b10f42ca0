"""Pictures of what was claimed against what became of it: reliability, and every outcome by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alphapulse.adapters.reports.money import without
from alphapulse.adapters.reports.style import (
    AMBER,
    BAD,
    GOOD,
    GREY,
    LINE,
    MUTED,
    OTHER,
    Sheet,
    dated,
    nothing,
    percent,
)  # fmt: skip
from alphapulse.adapters.reports.words import number, plural
from alphapulse.domain.backtest.results import Scatter
from alphapulse.domain.decision.intervals import win_rate_interval
from alphapulse.domain.performance.figures import Performance, ReliabilityBin

MAX_DOTS = 1_000  # drawn of the refused ones; signals are all drawn up to as many
NEAR = 0.004  # claims that lie so close together are one point in a picture
# Colour and shape say the same twice.
_REASONS = {
    "target": (GOOD, "^"), "gap_target": (GOOD, ">"), "stop": (BAD, "v"), "gap_stop": (BAD, "<"),
    "ambiguous": (AMBER, "D"), "expiry": (GREY, "o"), "unseen_expiry": (OTHER, "s"),
}  # fmt: skip


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
    below.set_xlim(*_claims([each.low for each in bins], [each.high for each in bins]))
    percent(above, digits=0)
    percent(below, "x")


def _claims(low: Sequence[float], high: Sequence[float]) -> tuple[float, float]:
    """The claims that there are, with some room: they often lie close together."""
    room = max((max(high) - min(low)) * 0.08, 0.05)
    return max(min(low) - room, -0.02), min(max(high) + room, 1.02)


def scatter_sheet(trades: Scatter, *, name: str = "outcomes") -> Sheet:
    """Each outcome in units of its risk, by its claim; by its day where nothing was claimed."""
    title = "Outcomes: claim and net result"
    if not trades.net_r:
        return nothing(name, title, "No candidate whose outcome is known: nothing to draw.")
    signals = [i for i, number_ in enumerate(trades.number) if number_ > 0]
    refused = [i for i, number_ in enumerate(trades.number) if number_ == 0]
    claimed = [i for i, value in enumerate(trades.confidence) if value is not None]
    by_claim = len(claimed) > 0
    known = set(claimed) if by_claim else set(range(len(trades.net_r)))
    drawn_signals = _spread([i for i in signals if i in known])
    drawn_refused = _spread([i for i in refused if i in known])
    caption = (
        f"{plural(len(signals), 'signal')} and {plural(len(refused), 'refused candidate')} whose outcome is "
        "known, net of fees and slippage, 1 R = what the stop risked. Filled: signals; faint: refused. "
        f"Drawn: {number(len(drawn_signals))} signals, {number(len(drawn_refused))} refused, evenly in time."
    )
    if by_claim and len(claimed) < len(trades.net_r):
        caption += f" {number(len(trades.net_r) - len(claimed))} that claimed nothing are not drawn."
    if not by_claim:
        caption += " None of them claimed a confidence, so they lie by the day of their decision."
    if trades.left_out:
        caption += f" {number(trades.left_out)} more are not held in the report."

    def paint(figure: Figure) -> None:
        _scatter(figure.subplots(), trades, drawn_refused, drawn_signals, by_claim=by_claim)

    return Sheet(name, title, caption, paint, height_in=5.2)


def _spread(which: Sequence[int]) -> Sequence[int]:
    if len(which) <= MAX_DOTS:
        return which
    return [which[i] for i in np.linspace(0, len(which) - 1, MAX_DOTS).astype(int).tolist()]


def _scatter(
    axis: Any, trades: Scatter, refused: Sequence[int], signals: Sequence[int], *, by_claim: bool
) -> None:
    axis.axhline(0.0, color=MUTED, linewidth=0.8, linestyle="--")
    every = trades.confidence if by_claim else np.array(trades.opened, "datetime64[ns]")
    named: set[str] = set()
    small = 9 if len(refused) > MAX_DOTS // 5 else 22
    for which, alpha, size in ((refused, 0.28, small), (signals, 0.9, 24)):
        for reason, (colour, marker) in _REASONS.items():
            rows = [i for i in which if trades.reason[i] == reason]
            if not rows:
                continue
            label = "" if reason in named else reason.replace("_", " ")
            named.add(reason)
            axis.scatter(
                [every[i] for i in rows], [trades.net_r[i] for i in rows], s=size, c=colour, marker=marker,
                alpha=alpha, linewidths=0, label=label or None,
            )  # fmt: skip
    axis.set_ylabel("net result (R)")
    if by_claim:
        axis.set_xlabel("claimed P(target before stop)")
        claims = [claim for i in (*refused, *signals) if (claim := trades.confidence[i]) is not None]
        axis.set_xlim(*_claims(claims, claims))
        percent(axis, "x")
    else:
        axis.set_xlabel("decided (UTC)")
        dated(axis)
    legend = axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="ended by", title_fontsize=8)
    for handle in legend.legend_handles:
        handle.set_alpha(0.9)
        handle.set_sizes([22])
