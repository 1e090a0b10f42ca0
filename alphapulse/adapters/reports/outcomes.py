"""The picture of every outcome by itself: what it made of its risk, by what was claimed of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alphapulse.adapters.reports.belief import NEAR, claims_between
from alphapulse.adapters.reports.style import (
    AMBER,
    BAD,
    GOOD,
    GREY,
    MUTED,
    OTHER,
    Sheet,
    dated,
    nothing,
    percent,
)  # fmt: skip
from alphapulse.adapters.reports.words import number, plural, share
from alphapulse.domain.backtest.results import Scatter

MANY = 200  # from so many refused ones on their dots are small
# Colour and shape say the same twice.
_REASONS = {
    "target": (GOOD, "^"), "gap_target": (GOOD, ">"), "stop": (BAD, "v"), "gap_stop": (BAD, "<"),
    "ambiguous": (AMBER, "D"), "expiry": (GREY, "o"), "unseen_expiry": (OTHER, "s"),
}  # fmt: skip


def scatter_sheet(trades: Scatter, *, name: str = "outcomes") -> Sheet:
    """Each outcome in units of its risk, by its claim; by its day where claims do not tell them apart."""
    title = "Outcomes: claim and net result"
    if not trades.net_r:
        return nothing(name, title, "No candidate whose outcome is known: nothing to draw.")
    claims = [claim for claim in trades.confidence if claim is not None]
    by_claim = len(claims) > 0 and max(claims) - min(claims) >= NEAR
    drawn = [i for i, claim in enumerate(trades.confidence) if claim is not None or not by_claim]
    signals = [i for i in drawn if trades.number[i] > 0]
    refused = [i for i in drawn if trades.number[i] == 0]

    def paint(figure: Figure) -> None:
        _scatter(figure.subplots(), trades, refused, signals, by_claim=by_claim)

    issued = sum(each > 0 for each in trades.number)
    caption = (
        f"{plural(issued, 'signal')} and {plural(len(trades.number) - issued, 'refused candidate')} whose "
        "outcome is known, net of fees and slippage, 1 R = what the stop risked. Filled: signals; faint: "
        "refused."
    )
    return Sheet(name, title, f"{caption}{_why(trades, claims, by_claim)}", paint, height_in=5.2)


def _why(trades: Scatter, claims: Sequence[float], by_claim: bool) -> str:
    said = ""
    if by_claim and len(claims) < len(trades.net_r):
        said += f" {number(len(trades.net_r) - len(claims))} that claimed nothing are not drawn."
    if not by_claim:
        what = "None of them claimed a confidence"
        if claims:
            what = f"All {number(len(claims))} that claimed anything claimed {share(claims[0], 1)}"
        said += f" {what}, so they lie by the day of their decision."
    if trades.left_out:
        said += f" {number(trades.left_out)} more are not held in the report: those here lie evenly in time."
    return said


def _scatter(
    axis: Any, trades: Scatter, refused: Sequence[int], signals: Sequence[int], *, by_claim: bool
) -> None:
    axis.axhline(0.0, color=MUTED, linewidth=0.8, linestyle="--")
    every = trades.confidence if by_claim else np.array(trades.opened, "datetime64[ns]")
    _dots(axis, trades, every, refused, alpha=0.28, size=9 if len(refused) > MANY else 22)
    _dots(axis, trades, every, signals, alpha=0.9, size=24)
    axis.set_ylabel("net result (R)")
    if by_claim:
        axis.set_xlabel("claimed P(target before stop)")
        claims = [claim for i in (*refused, *signals) if (claim := trades.confidence[i]) is not None]
        axis.set_xlim(*claims_between(claims, claims))
        percent(axis, "x")
    else:
        axis.set_xlabel("decided (UTC)")
        dated(axis)
    _legend(axis)


def _dots(axis: Any, trades: Scatter, every: Any, which: Sequence[int], *, alpha: float, size: float) -> None:
    for reason, (colour, marker) in _REASONS.items():
        if rows := [i for i in which if trades.reason[i] == reason]:
            axis.scatter(
                [every[i] for i in rows], [trades.net_r[i] for i in rows], s=size, c=colour, marker=marker,
                alpha=alpha, linewidths=0, label=reason.replace("_", " "),
            )  # fmt: skip


def _legend(axis: Any) -> None:
    handles, names = axis.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    legend = axis.legend(
        once.values(), once, loc="upper left", bbox_to_anchor=(1.0, 1.0), title="ended by", title_fontsize=8
    )
    for handle in legend.legend_handles:
        handle.set_alpha(0.9)
        handle.set_sizes([22])
