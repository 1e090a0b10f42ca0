"""A picture as PNG or SVG, drawn by matplotlib without a display.

Bars stand side by side, whatever time lies between them; where bars are missing a dotted line says so.
The same picture gives the same file: nothing in it tells when or where it was drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from alphapulse.adapters.charts.picture import LevelLine, Mark, Pane, Picture
from alphapulse.domain.analysis.bars import AFTER_GAP
from alphapulse.domain.analysis.fields import Floats

UP, DOWN, INK, GRID = "#26a69a", "#ef5350", "#22262f", "#e4e7ec"
_LINES = ("#2962ff", "#ff6d00", "#7b1fa2", "#00838f", "#c2185b", "#558b2f", "#5d4037")
_REGIMES = {"trend_up": "#26a69a", "trend_down": "#ef5350", "turbulence": "#ffb300", "range": "#90a4ae"}
_WIDTH_IN, _PRICE_IN, _PANE_IN, _VOLUME_IN = 15.0, 6.0, 1.7, 1.2
MAX_MARKS = 100  # more would hide the bars: the strongest are shown
MAX_LABELS = 30  # and the strongest of those are named


def draw(picture: Picture, file: Path, *, dpi: int = 110) -> None:
    """Write ``picture`` to ``file``, whose suffix says the format: .png or .svg."""
    with matplotlib.rc_context({"svg.hashsalt": "alphapulse", "font.size": 9, "axes.titlesize": 11}):
        figure = figure_of(picture)
        metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
        figure.savefig(file, dpi=dpi, format=file.suffix[1:], metadata=metadata)


def figure_of(picture: Picture) -> Figure:
    heights = [_PRICE_IN, _VOLUME_IN, *(_PANE_IN for _ in picture.panes)]
    figure = Figure(figsize=(_WIDTH_IN, sum(heights) + 1.0), layout="constrained", facecolor="white")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _prices(axes[0], picture)
    _volumes(axes[1], picture)
    for axis, pane in zip(axes[2:], picture.panes, strict=True):
        _pane(axis, pane)
    for axis in axes:
        axis.grid(color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.yaxis.tick_right()
        axis.ticklabel_format(axis="y", style="plain", useOffset=False)
        for side in ("top", "left"):
            axis.spines[side].set_visible(False)
        for row in np.flatnonzero(picture.bars.flags & AFTER_GAP).tolist():
            axis.axvline(row - 0.5, color="#9aa3b2", linewidth=0.6, linestyle=":")
    axes[-1].set_xlim(-1, len(picture.bars))
    axes[-1].xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes[-1].xaxis.set_major_formatter(FuncFormatter(_times(picture)))
    if picture.notes:
        figure.supxlabel("   ".join(picture.notes), fontsize=8, color="#667085", x=0.01, ha="left")
    return figure


def _prices(axis: Any, picture: Picture) -> None:
    axis.set_title(picture.title, loc="left", color=INK)
    _shade(axis, picture.regimes)
    _candles(axis, picture)
    x = np.arange(len(picture.bars))
    for i, line in enumerate(picture.overlays):
        axis.plot(x, line.values, color=_LINES[i % len(_LINES)], linewidth=1.1, label=line.name)
    _levels(axis, picture.levels)
    _marks(axis, picture)
    if picture.overlays or picture.regimes:
        axis.legend(loc="upper left", fontsize=8, frameon=False, ncols=4)


def _candles(axis: Any, picture: Picture) -> None:
    x = np.arange(len(picture.bars))
    rises = picture.close >= picture.open
    colours = np.where(rises, UP, DOWN).tolist()
    wicks = np.stack([np.stack([x, picture.low], 1), np.stack([x, picture.high], 1)], 1)
    axis.add_collection(LineCollection(list(wicks), colors=colours, linewidths=0.8, zorder=2))
    top, bottom = np.maximum(picture.open, picture.close), np.minimum(picture.open, picture.close)
    corners = [
        ((i - 0.35, b), (i - 0.35, t), (i + 0.35, t), (i + 0.35, b))
        for i, b, t in zip(x.tolist(), bottom.tolist(), top.tolist(), strict=True)
    ]
    # An edge keeps a body without height visible.
    axis.add_collection(
        PolyCollection(corners, facecolors=colours, edgecolors=colours, linewidths=0.6, zorder=3)
    )
    axis.autoscale_view()


def _shade(axis: Any, regimes: Sequence[str]) -> None:
    named: set[str] = set()
    for name, begin, end in _runs(regimes):
        if colour := _REGIMES.get(name):
            label = None if name in named else name.replace("_", " ")
            named.add(name)
            axis.axvspan(begin - 0.5, end - 0.5, color=colour, alpha=0.09, linewidth=0, label=label)


def _runs(names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    begin = 0
    for name, same in groupby(names):
        end = begin + len(list(same))
        yield name, begin, end
        begin = end


def _levels(axis: Any, levels: Sequence[LevelLine]) -> None:
    bottom, top = axis.get_ylim()
    named = top + (top - bottom)
    for level in sorted(levels, key=lambda level: -level.price):
        alpha = 0.25 + 0.5 * level.strength
        axis.axhline(level.price, color="#667085", linewidth=0.9, linestyle="--", alpha=alpha)
        # Where lines lie close together the highest one is named.
        if named - level.price > (top - bottom) * 0.022:
            named = level.price
            axis.annotate(
                level.text, (0.002, level.price), xycoords=("axes fraction", "data"), fontsize=7,
                color="#667085", va="bottom",
            )  # fmt: skip


def _marks(axis: Any, picture: Picture) -> None:
    span = float(picture.high.max() - picture.low.min()) or 1.0
    groups = _grouped(picture.marks)
    strongest = sorted(groups, key=lambda m: (-m.strength, m.row))
    named = set(strongest[:MAX_LABELS])
    for mark in sorted(strongest[:MAX_MARKS], key=lambda m: m.row):
        below = mark.direction > 0
        y = picture.low[mark.row] - span * 0.015 if below else picture.high[mark.row] + span * 0.015
        _mark(axis, mark, y, below, named=mark in named)


def _grouped(marks: Sequence[Mark]) -> list[Mark]:
    """One mark for each bar and direction: the strongest, with the number of the others."""
    at: dict[tuple[int, int], list[Mark]] = {}
    for mark in marks:
        at.setdefault((mark.row, mark.direction), []).append(mark)
    best = [(max(group, key=lambda m: m.strength), len(group) - 1) for group in at.values()]
    return [replace(mark, text=f"{mark.text} +{others}") if others else mark for mark, others in best]


def _mark(axis: Any, mark: Mark, y: float, below: bool, *, named: bool) -> None:
    colour = {1: UP, -1: DOWN}.get(mark.direction, "#667085")
    marker = {1: "^", -1: "v"}.get(mark.direction, "o")
    axis.plot([mark.row], [y], marker, color=colour, markersize=3 + 3 * mark.strength, alpha=0.9)
    if named:
        axis.annotate(
            mark.text, (mark.row, y), xytext=(0, -6 if below else 6), textcoords="offset points",
            ha="center", va="top" if below else "bottom", fontsize=6.5, color=colour, rotation=90,
        )  # fmt: skip


def _volumes(axis: Any, picture: Picture) -> None:
    colours = np.where(picture.close >= picture.open, UP, DOWN).tolist()
    known: Floats = np.nan_to_num(picture.volume)
    axis.bar(np.arange(len(picture.bars)), known, width=0.7, color=colours, alpha=0.6)
    axis.set_title("volume", loc="left", fontsize=8, color=INK)


def _pane(axis: Any, pane: Pane) -> None:
    for guide in pane.guides:
        axis.axhline(guide, color="#98a2b3", linewidth=0.7, linestyle="--")
    for i, line in enumerate(pane.lines):
        x = np.arange(len(line.values))
        if line.name.endswith("histogram"):
            axis.bar(
                x, line.values, width=0.7, color=np.where(line.values >= 0, UP, DOWN).tolist(), alpha=0.6
            )
        else:
            axis.plot(x, line.values, color=_LINES[i % len(_LINES)], linewidth=1.0, label=line.name)
    axis.set_title(pane.title, loc="left", fontsize=8, color=INK)
    if len(pane.lines) > 1:
        axis.legend(loc="upper left", fontsize=7, frameon=False, ncols=4)


def _times(picture: Picture) -> Any:
    starts = picture.bars.start
    form = "%Y-%m-%d" if picture.bars.timeframe >= 1440 else "%Y-%m-%d\n%H:%M"

    def text(value: float, _: int | None = None) -> str:
        row = round(value)
        if not 0 <= row < len(starts):
            return ""
        return datetime.fromtimestamp(int(starts[row]) * 60, UTC).strftime(form)

    return text
