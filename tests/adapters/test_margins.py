"""The picture of how early signals were committed: each point where it belongs, the same bytes each time."""

from matplotlib.figure import Figure

from alphapulse.adapters.reports.margins import Margin, margins_sheet
from alphapulse.adapters.reports.style import png_of, svg_of
from alphapulse.domain.provenance.timeliness import COMMITTED, LATE, NOT_ANCHORED, UNDECIDED

SECOND = 10**9
NOON = 1_700_000_000 * SECOND
MARGINS = [
    Margin(NOON, COMMITTED, 90 * SECOND),
    Margin(NOON + 3_600 * SECOND, LATE, -5 * SECOND),
    Margin(NOON + 7_200 * SECOND, NOT_ANCHORED, None),
    Margin(NOON + 7_300 * SECOND, UNDECIDED, 0),
]


def test_each_signal_is_a_point_of_its_kind() -> None:
    sheet = margins_sheet("first", MARGINS)
    figure = Figure()
    sheet.paint(figure)
    (axis,) = figure.axes
    heights = [offset[1] for points in axis.collections for offset in points.get_offsets().tolist()]
    assert heights == [90.0, -5.0, 0.0, 0.0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "committed before (1)",
        "late (1)",
        "not anchored (1)",
        "undecided (1)",
    ]
    labels = [axis.yaxis.get_major_formatter()(tick, 0) for tick in axis.get_yticks()]
    assert {"0 s", "1 min", "-10 s"} <= set(labels)
    assert "4 signals: 1 committed before, 1 late, 1 not anchored, 1 undecided." in sheet.caption


def test_the_same_record_gives_the_same_files() -> None:
    sheet = margins_sheet("first", MARGINS)
    assert svg_of(sheet) == svg_of(margins_sheet("first", MARGINS))
    assert png_of(sheet)[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_strategy_without_signals_has_a_picture_that_says_so() -> None:
    sheet = margins_sheet("first", [])
    assert sheet.blank
    assert b"<svg" in svg_of(sheet)
