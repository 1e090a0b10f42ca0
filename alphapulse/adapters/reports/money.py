"""Pictures of what was earned: equity with its drawdown, and the months."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from alphapulse.adapters.reports.style import BAD, LINE, MUTED, PAPER, Sheet, dated, nothing, percent
from alphapulse.adapters.reports.words import day, number, plural, share, signed
from alphapulse.domain.performance.figures import Month, Performance, Point

MAX_POINTS = 800  # drawn of a curve: its extremes are always among them
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "year")
_DIVERGING = ("#e2534f", "#f4f1ec", "#2a9f90")  # the same in light and dark: the text over them is dark


def compounds(performance: Performance) -> bool:
    """Sizes of signals follow the equity. What had no size is given the same risk each time, and added up."""
    return performance.of == "signals"


def equity_sheet(performance: Performance, *, name: str = "equity", whose: str = "") -> Sheet:
    """Equity after each close, and beneath how far it lies under its last peak."""
    what = whose or performance.of
    title = f"Equity and drawdown of {what}" if compounds(performance) else f"Sum of the results of {what}"
    if len(performance.curve) < 1:
        return nothing(name, title, without(performance))
    last = performance.curve[-1].equity
    deepest = share(max(point.drawdown for point in performance.curve))
    begin = (
        f"{plural(performance.trades, 'trade')} between {day(performance.first)} and "
        f"{day(performance.last)} (UTC), after fees and slippage; what was open is not in it."
    )
    caption = (
        f"{begin} Equity begins at 1 and is {number(last, 5)} at the end; deepest drawdown {deepest}."
        if compounds(performance)
        else f"{begin} What was refused had no size: each is given the same risk, a share of the equity at "
        "the beginning, and they are added up, so losses may exceed it. At the end "
        f"{signed(last - 1)}, deepest drawdown {deepest} of the equity at the beginning. Nobody traded this."
    )
    return Sheet(name, title, caption, lambda figure: _equity(figure, performance), height_in=5.4)


def months_sheet(performance: Performance, *, name: str = "months") -> Sheet:
    title = f"Return by month, {performance.of}"
    if not performance.months:
        return nothing(name, title, without(performance))
    rule = (
        "Equity at the end of a month (UTC) over that at its beginning, less 1; years compound their months"
        if compounds(performance)
        else "Results added up in a month (UTC), a share of the equity at the beginning; a year is their sum"
    )
    caption = (
        f"{rule}. After fees and slippage; in brackets the trades that closed in it. "
        f"{plural(len(performance.months), 'month')}, {plural(performance.trades, 'trade')}."
    )
    height = 1.3 + 0.55 * len({month.year for month in performance.months})
    return Sheet(name, title, caption, lambda figure: _months(figure, performance), height)


def without(performance: Performance) -> str:
    if performance.trades:
        return f"All was lost by one of {plural(performance.trades, 'trade')}: there are no returns to draw."
    if performance.of == "candidates":
        return "No candidate whose outcome is known: nothing to draw."
    return "No signals that were resolved: nothing to draw. What was refused is among the candidates."


def _equity(figure: Figure, performance: Performance) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    points = thinned(performance.curve)
    times = np.array([point.time for point in points], "datetime64[ns]")
    from_zero = 0.0 if compounds(performance) else 1.0
    above.axhline(1.0 - from_zero, color=MUTED, linewidth=0.8, linestyle="--")
    equity = [point.equity - from_zero for point in points]
    above.plot(times, equity, color=LINE, linewidth=1.3, drawstyle="steps-post")
    if compounds(performance):
        above.set_ylabel("equity (1 = beginning)")
        above.ticklabel_format(axis="y", style="plain", useOffset=False)
    else:
        above.set_ylabel("sum (of the equity at the beginning)")
        percent(above)
    fallen = [-point.drawdown for point in points]
    below.fill_between(times, fallen, 0.0, step="post", color=BAD, alpha=0.45, linewidth=0)
    below.set_ylabel("drawdown")
    below.set_ylim(min(min(fallen) * 1.08, -1e-4), 0.0)
    percent(below)
    dated(below)


def thinned(points: Sequence[Point], most: int = MAX_POINTS) -> Sequence[Point]:
    """At most ``most`` of them, in order: first, last, and of every stretch its highest and its deepest."""
    if len(points) <= most:
        return points
    edges = np.linspace(0, len(points), (most - 2) // 2 + 1).astype(int).tolist()
    kept = {0, len(points) - 1}
    for begin, end in pairwise(edges):
        kept.add(max(range(begin, end), key=lambda i: points[i].equity))
        kept.add(max(range(begin, end), key=lambda i: points[i].drawdown))
    return [points[i] for i in sorted(kept)]


def _months(figure: Figure, performance: Performance) -> None:
    months: Sequence[Month] = performance.months
    axis = figure.subplots()
    years = sorted({month.year for month in months})
    values = np.full((len(years), 13), np.nan)
    trades = np.zeros((len(years), 13), int)
    for month in months:
        row = years.index(month.year)
        values[row, month.month - 1] = month.value
        trades[row, month.month - 1] = month.trades
    compounded = np.nanprod(1 + values[:, :12], axis=1) - 1
    values[:, 12] = compounded if compounds(performance) else np.nansum(values[:, :12], axis=1)
    trades[:, 12] = trades[:, :12].sum(axis=1)
    _heat(axis, values)
    axis.set_xticks(range(13), _MONTHS)
    axis.set_yticks(range(len(years)), [str(year) for year in years])
    for row, column in np.argwhere(~np.isnan(values)).tolist():
        text = f"{signed(values[row, column])}\n({trades[row, column]})"
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color="#101317")


def _heat(axis: Any, values: Any) -> None:
    most = float(np.nanmax(np.abs(values[:, :12]))) or 1e-9
    colours = LinearSegmentedColormap.from_list("returns", _DIVERGING)
    axis.pcolormesh(
        np.arange(14) - 0.5, np.arange(len(values) + 1) - 0.5, np.ma.masked_invalid(values), cmap=colours,
        vmin=-most, vmax=most, edgecolors=PAPER, linewidth=1.5,
    )  # fmt: skip
    axis.axvline(11.5, color=MUTED, linewidth=1.2)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
