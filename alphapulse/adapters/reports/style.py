"""How every picture of a report looks, and how it becomes a file.

The same sheet gives the same bytes: nothing in a file tells when or where it was drawn. Each colour stands
for one of the page's own, so that a picture inside a page follows light and dark.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib import dates
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import PercentFormatter
from PIL import Image

from alphapulse.adapters.reports.inline import inlined

PAPER, INK, MUTED, GRID = "#fdfdfc", "#22262f", "#667085", "#e4e7ec"
LINE, OTHER, GOOD, BAD, AMBER, GREY = "#2962ff", "#8e24aa", "#1f9d8f", "#e5484d", "#f5a300", "#8a99a8"
# By name: as it is drawn, and what a page shows instead of it in the dark.
PALETTE = {
    "paper": (PAPER, "#14171d"), "ink": (INK, "#d8dce4"), "muted": (MUTED, "#98a2b3"),
    "grid": (GRID, "#2b313c"), "line": (LINE, "#6d97ff"), "other": (OTHER, "#c77dd8"),
    "good": (GOOD, "#2bb5a5"), "bad": (BAD, "#f0696c"), "amber": (AMBER, "#ffbe3d"),
    "grey": (GREY, "#8a99a8"),
}  # fmt: skip
WIDTH_IN, DPI = 10.0, 120
MAX_NAME = 44  # characters of a name that are drawn
_CAPTION_WIDTH = 168  # characters
_LOOK: Any = {
    "svg.hashsalt": "alphapulse", "path.simplify": True, "font.size": 9, "font.family": "DejaVu Sans",
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titlecolor": INK,
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.facecolor": "none", "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "grid.color": GRID,
    "grid.linewidth": 0.6, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "legend.frameon": False, "legend.fontsize": 8,
    "timezone": "UTC",
    "text.parse_math": False,  # a name may hold dollar signs
}  # fmt: skip

Paint = Callable[[Figure], None]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A picture before it is drawn. ``blank``: there is nothing to draw, and ``caption`` says why."""

    name: str  # of its file, without a suffix
    title: str
    caption: str  # units, sample sizes, and what it does not show
    paint: Paint
    height_in: float = 4.6
    blank: bool = False


def nothing(name: str, title: str, why: str) -> Sheet:
    """The sheet of what cannot be drawn: it says why, in place of an empty axis."""

    def paint(figure: Figure) -> None:
        figure.text(
            0.5,
            0.5,
            textwrap.fill(printable(why, 600), 100),
            ha="center",
            va="center",
            color=MUTED,
            fontsize=11,
        )

    return Sheet(name, title, why, paint, height_in=1.6, blank=True)


def png_of(sheet: Sheet) -> bytes:
    return _in_few_colours(_drawn(sheet, "png", titled=True))


def svg_of(sheet: Sheet) -> bytes:
    return _drawn(sheet, "svg", titled=True)


def inline_of(sheet: Sheet, classes: dict[str, str]) -> str:
    """An svg element for a page that has title and caption itself: its colours are the page's variables.

    Its ids begin with the sheet's name, so that many of them can stand in one page. ``classes``: see inlined.
    """
    colours = {light: f"var(--{name})" for name, (light, _) in PALETTE.items()}
    return inlined(_drawn(sheet, "svg", titled=False, fonts="none"), sheet.name, colours, classes)


def _drawn(sheet: Sheet, form: str, *, titled: bool, fonts: str = "path") -> bytes:
    with matplotlib.rc_context({**_LOOK, "svg.fonttype": fonts}):
        room = 0.75 if titled else 0.0
        figure = Figure(figsize=(WIDTH_IN, sheet.height_in + room), layout="constrained", facecolor=PAPER)
        sheet.paint(figure)
        if titled:
            figure.suptitle(printable(sheet.title, 110), x=0.01, ha="left", fontsize=12, color=INK)
            caption = (
                ""
                if sheet.blank
                else textwrap.fill(
                    printable(sheet.caption, 900).replace(" %", "\N{NO-BREAK SPACE}%"), _CAPTION_WIDTH
                )
            )
            figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color=MUTED)
        out = BytesIO()
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(out, format=form, dpi=DPI, metadata=metadata)
        return out.getvalue()


def _in_few_colours(png: bytes) -> bytes:
    """The same picture in 256 colours, which nobody can tell from it: half as large or less."""
    out = BytesIO()
    with Image.open(BytesIO(png)) as drawn:
        few = drawn.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(out, "png", optimize=True)
    return out.getvalue()


def printable(text: str, most: int = MAX_NAME) -> str:
    """``text`` on one line, at most ``most`` characters long, a box for each that the font lacks."""
    known = _characters()
    line = "".join(c if ord(c) in known else "□" for c in " ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def percent(axis: Any, which: str = "y", digits: int | None = None) -> None:
    """Ratios on that axis are shown as percentages."""
    getattr(axis, f"{which}axis").set_major_formatter(PercentFormatter(1.0, decimals=digits))


def dated(axis: Any) -> None:
    """Time runs along x: few labels, UTC."""
    locator: Any = dates.AutoDateLocator(minticks=3, maxticks=10)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
