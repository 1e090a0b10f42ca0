"""A report becomes files: all is drawn before the first is written, and each appears whole or not at all."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from alphapulse.adapters.files.atomic import AtomicFile
from alphapulse.adapters.reports.belief import reliability_sheet
from alphapulse.adapters.reports.credit import attribution_sheet
from alphapulse.adapters.reports.doubt import (
    cross_validation_sheet,
    monte_carlo_sheets,
    overfit_sheet,
    walk_forward_sheets,
)  # fmt: skip
from alphapulse.adapters.reports.money import equity_sheet, months_sheet
from alphapulse.adapters.reports.outcomes import scatter_sheet
from alphapulse.adapters.reports.page import attribution_page, performance_page, report_page
from alphapulse.adapters.reports.style import Sheet, nothing, png_of, svg_of
from alphapulse.domain.backtest.results import BacktestReport
from alphapulse.domain.performance.figures import Attribution, Performance

# Pictures of which a report has as many as there are kinds.
_OURS = re.compile(r"(attribution|equity|monte-carlo|walk-forward)(-[a-z_]+)?")
DIGITS = 7  # of a figure in report.json: no interval is so narrow that more would say anything
_SET = ("configuration", "settings")
SUFFIXES = (".png", ".svg", ".html")


def write_report(report: BacktestReport, directory: Path) -> Sequence[Path]:
    """Write report.html, report.json and a PNG of each picture; the same report gives the same files.

    ``directory`` is made where it is not there; what an earlier report left in it is replaced or removed.

    Returns: their paths, report.html first.
    """
    sheets = sheets_of(report)
    files = {"report.html": report_page(report, sheets).encode(), "report.json": json_of(report)}
    files |= {f"{sheet.name}.png": png_of(sheet) for sheet in sheets}
    directory.mkdir(parents=True, exist_ok=True)
    # The page last: when it is new, so is all beside it.
    for name, content in reversed(files.items()):
        _write(directory / name, content)
    for path in directory.glob("*.png"):
        if path.name not in files and _OURS.fullmatch(path.stem):
            path.unlink()
    return [directory / name for name in files]


def json_of(report: BacktestReport) -> bytes:
    """The whole report, a line for each of its fields, in their order; mappings are sorted by their keys.

    What was measured is rounded to DIGITS significant ones; what was set is as it was set.
    """
    encode = msgspec.json.Encoder(order="deterministic").encode
    facts = {
        name: value if name in _SET else _rounded(value)
        for name, value in msgspec.to_builtins(report).items()
    }
    lines = (encode(name) + b": " + encode(value) for name, value in facts.items())
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case dict():
            return {key: _rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case _:
            return value


def sheets_of(report: BacktestReport) -> Sequence[Sheet]:
    """Every picture of a report, also of what there is nothing to draw of."""
    out_of_sample = [
        equity_sheet(
            run.performance, name=f"equity-{run.kind}", whose=f"the {run.kind} walk-forward, out of sample"
        )
        for run in report.walk_forward
    ]
    return [
        equity_sheet(report.performance),
        equity_sheet(report.candidates, name="equity-candidates"),
        months_sheet(report.performance),
        months_sheet(report.candidates, name="months-candidates"),
        reliability_sheet(report.performance),
        reliability_sheet(report.candidates, name="reliability-candidates"),
        scatter_sheet(report.trades),
        *_attributions(report.attribution),
        *walk_forward_sheets(report.walk_forward),
        *out_of_sample,
        cross_validation_sheet(report.cross_validation),
        *monte_carlo_sheets(report.monte_carlo),
        overfit_sheet(report.search),
    ]


def _attributions(done: Sequence[Attribution]) -> Sequence[Sheet]:
    if any(each.parts for each in done):
        return [attribution_sheet(each) for each in done]
    return [nothing("attribution", "Attribution", "No signals that were resolved: nobody to credit.")]


def draw_performance(performance: Performance, path: Path) -> None:
    """Equity with its drawdown to a .png or .svg; as .html with figures, months and reliability.

    Raises:
        ValueError: another suffix.
    """
    sheets = [equity_sheet(performance), months_sheet(performance), reliability_sheet(performance)]
    if _form(path) == ".html":
        _write(path, performance_page(performance, sheets).encode())
    else:
        _write(path, _image(sheets[0], path))


def draw_attribution(attribution: Attribution, path: Path) -> None:
    """Its bars to a .png or .svg; as .html with their table.

    Raises:
        ValueError: another suffix.
    """
    sheet = attribution_sheet(attribution)
    if _form(path) == ".html":
        _write(path, attribution_page(attribution, sheet).encode())
    else:
        _write(path, _image(sheet, path))


def _image(sheet: Sheet, path: Path) -> bytes:
    return png_of(sheet) if _form(path) == ".png" else svg_of(sheet)


def _form(path: Path) -> str:
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path.name} ends in {path.suffix or 'nothing'}, not in {', '.join(SUFFIXES)}")
    return path.suffix.lower()


def _write(path: Path, content: bytes) -> None:
    with AtomicFile(path) as file:
        file.temporary.write_bytes(content)
        file.commit()
