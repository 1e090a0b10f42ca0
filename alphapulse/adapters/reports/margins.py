"""The picture of a provable track record: how long before its outcome each signal was committed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from alphapulse.adapters.reports.style import AMBER, BAD, GOOD, GREY, MUTED, Sheet, dated, nothing
from alphapulse.domain.provenance.timeliness import COMMITTED, LATE, NOT_ANCHORED, TIMELINESS, UNDECIDED

_COLOURS = {COMMITTED: GOOD, LATE: BAD, NOT_ANCHORED: GREY, UNDECIDED: AMBER}
_MARKS = {COMMITTED: "o", LATE: "v", NOT_ANCHORED: "x", UNDECIDED: "D"}
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_TICKS_S = (1.0, 10.0, 60.0, 600.0, 3_600.0, 43_200.0, 432_000.0, 4_320_000.0, 43_200_000.0, 432_000_000.0)


class Margin(NamedTuple):
    """Of one signal: when it was decided (ns), how timely, and by how much (ns); None: no anchor says."""

    time: int
    state: str
    margin_ns: int | None


def margins_sheet(strategy: str, margins: Sequence[Margin]) -> Sheet:
    """Points over the time of decision: above zero committed in time, below too late."""
    title = f"{strategy}: how long before the outcome could be known"
    if not margins:
        return nothing("margins", title, f"No signals of {strategy} yet: nothing to draw.")
    counts = {state: sum(each.state == state for each in margins) for state in TIMELINESS}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    caption = (
        f"{len(margins)} signals: {told}. Each point is a signal at the time of its decision; its height is "
        "from the earliest anchor's own time to when the outcome could have been known by the venue's clock. "
        "On the line at zero, crossed: not anchored. The scale is logarithmic beyond a second."
    )
    return Sheet("margins", title, caption, lambda figure: _paint(figure, margins))


def _paint(figure: Figure, margins: Sequence[Margin]) -> None:
    axis = figure.subplots()
    axis.axhline(0, color=MUTED, linewidth=0.8)
    for state in TIMELINESS:
        its = [each for each in margins if each.state == state]
        if its:
            times: Any = [datetime.fromtimestamp(each.time / 1e9, UTC) for each in its]
            heights = [(each.margin_ns or 0) / 1e9 for each in its]
            label = f"{state} ({len(its)})"
            axis.scatter(times, heights, s=16, c=_COLOURS[state], marker=_MARKS[state], label=label)
    axis.set_yscale("symlog", linthresh=1.0)
    most = max([1.0, *(abs(each.margin_ns or 0) / 1e9 for each in margins)])
    steps = [step for step in _TICKS_S if step <= 10 * most]
    axis.set_yticks([-step for step in reversed(steps)] + [0.0] + steps, minor=False)
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(_duration))
    axis.set_ylabel("in time by (too late by, below zero)")
    axis.legend(loc="best")
    dated(axis)


def _duration(seconds: float, _: Any = None) -> str:
    """Such as 90 -> 1.5 min."""
    for length, unit in _STEPS:
        if abs(seconds) >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
