"""Pictures of who is credited with what: shares that sum to the whole, and beside them leave-one-out."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from alphapulse.adapters.reports.style import BAD, GOOD, INK, MUTED, OTHER, Sheet, nothing, percent, printable
from alphapulse.adapters.reports.words import plural, sentence, signed
from alphapulse.domain.performance.figures import Attribution, Part, at_most

MAX_PARTS = 24  # drawn: those with the largest contributions either way; the others are summed
BY = {
    "voter": "voter (Shapley shares)", "pattern": "pattern", "feature_group": "feature group",
    "regime": "regime", "timeframe": "timeframe (minutes)", "venue": "venue", "instrument": "instrument",
    "hour": "hour of the opening (UTC)", "version": "strategy version",
}  # fmt: skip


def attribution_sheet(attribution: Attribution, *, name: str = "") -> Sheet:
    name = name or f"attribution-{attribution.by}"
    title = f"Attribution by {BY.get(attribution.by, attribution.by)}"
    if not attribution.parts:
        return nothing(name, title, "No signals that were resolved: there is nothing to credit anybody with.")
    parts = at_most(_in_order(attribution), MAX_PARTS)
    caption = (
        f"{plural(attribution.trades, 'trade')}; the bars sum to {signed(attribution.total)} of the equity "
        "at the beginning, after fees and slippage. Lines: 95 % intervals."
    )
    if any(part.without is not None for part in attribution.parts):
        caption += " Diamonds: what the whole would lose without it (leave-one-out); these need not sum."
    if len(attribution.parts) > MAX_PARTS:
        others = len(attribution.parts) - MAX_PARTS + 1
        caption += f" The {others} smallest are summed in the last bar."
    caption += sentence(attribution.note)
    height = 1.3 + 0.3 * len(parts)
    return Sheet(name, title, caption, lambda figure: _bars(figure, parts), height)


def _in_order(attribution: Attribution) -> Sequence[Part]:
    """Hours stand by the clock; else what earned most comes first."""
    if attribution.by == "hour":
        return sorted(attribution.parts, key=lambda part: part.key.zfill(2))
    return attribution.parts


def _label(part: Part) -> str:
    return f"{printable(part.key)}  (n {part.trades:,})" if part.trades else printable(part.key)


def _bars(figure: Figure, parts: Sequence[Part]) -> None:
    axis = figure.subplots()
    rows = np.arange(len(parts))
    values = [part.contribution for part in parts]
    axis.barh(rows, values, height=0.62, color=[GOOD if value >= 0 else BAD for value in values], alpha=0.75)
    for row, part in enumerate(parts):
        if part.low is not None and part.high is not None:
            axis.plot([part.low, part.high], [row, row], color=INK, linewidth=1.1, marker="|", markersize=5)
    without = [(part.without, row) for row, part in enumerate(parts) if part.without is not None]
    if without:
        x, y = zip(*without, strict=True)
        axis.scatter(
            x, y, marker="D", s=20, facecolors="none", edgecolors=OTHER, linewidths=1.2, zorder=3,
            label="leave-one-out",
        )  # fmt: skip
        axis.legend(loc="lower right")
    axis.axvline(0.0, color=MUTED, linewidth=0.9)
    axis.set_yticks(rows, [_label(part) for part in parts])
    axis.set_ylim(len(parts) - 0.4, -0.6)
    axis.set_xlabel("contribution (share of the equity at the beginning)")
    axis.margins(x=0.08)
    percent(axis, "x")
