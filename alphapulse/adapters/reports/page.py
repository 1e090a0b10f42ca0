"""A report as one HTML file: pictures inside it, nothing from outside, light or dark as the reader has it."""

from collections.abc import Sequence
from html import escape

import msgspec

from alphapulse.adapters.reports import tables
from alphapulse.adapters.reports.findings import findings, verdict
from alphapulse.adapters.reports.inline import rules_of
from alphapulse.adapters.reports.style import PALETTE, Sheet, inline_of
from alphapulse.adapters.reports.words import sentence
from alphapulse.domain.backtest.results import BacktestReport
from alphapulse.domain.performance.figures import Attribution, Performance

_ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing from anywhere
_STYLE = """
body{margin:0 auto;max-width:1080px;padding:16px 20px 60px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:8px 0}h2{font-size:17px;margin:34px 0 8px;border-bottom:1px solid var(--grid)}
h3{font-size:15px;margin:20px 0 4px}
.verdict{border-left:4px solid var(--line);padding:6px 14px;font-size:17px}
figure{margin:14px 0 6px}figure svg{width:100%;height:auto;display:block}
figcaption,.note{color:var(--muted);font-size:13px}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;margin:6px 0}
th,td{padding:3px 10px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.facts td{overflow-wrap:anywhere}.facts th{white-space:nowrap;font-weight:normal;color:var(--muted)}
pre{overflow-x:auto;font-size:12px;border:1px solid var(--grid);padding:8px}summary{cursor:pointer}
@media print{details{display:none}}
"""


def report_page(report: BacktestReport, sheets: Sequence[Sheet]) -> str:
    """``sheets`` as of writing.sheets_of."""
    strategy = report.configuration
    notes = [sentence(note).strip() for note in report.notes]
    said = "".join(f"<li>{escape(each)}</li>" for each in [*findings(report), *notes])
    pictures, rules = _pictures(sheets)
    body = f"""<h1>Backtest of {escape(strategy.name)}, version {strategy.version}</h1>
<p class=verdict>{escape(verdict(report))}</p><ul>{said}</ul>
<h2>What was run</h2>{tables.facts(report)}{tables.sources(report) if report.source.files else ""}
<h2>Figures of the signals</h2>{_figures(report.performance)}
<h2>Figures of all candidates, gate or no gate</h2>
<p class=note>Not traded, and not claimed: it is what the gate chose from.</p>{_figures(report.candidates)}
<h2>Pictures</h2>{pictures}
{_attributions(report.attribution)}{_walks(report)}{_search(report)}
<h2>Why candidates were refused</h2>
<p class=note>A candidate may have several reasons.</p>{tables.refusals(report)}
<h2>The configuration</h2><details><summary>all of it, as JSON</summary>
<pre>{escape(_json(strategy))}</pre></details>"""
    return _page(f"Backtest of {strategy.name}", body, rules)


def performance_page(performance: Performance, sheets: Sequence[Sheet]) -> str:
    title = f"Performance of {performance.of}"
    pictures, rules = _pictures(sheets)
    return _page(title, f"<h1>{escape(title)}</h1>{_figures(performance)}{pictures}", rules)


def attribution_page(attribution: Attribution, sheet: Sheet) -> str:
    picture, rules = _pictures([sheet])
    body = f"<h1>{escape(sheet.title)}</h1>{picture}{tables.attribution(attribution)}"
    return _page(sheet.title, body, rules)


def _page(title: str, body: str, rules: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">
<link rel="icon" href="data:,"><meta name="color-scheme" content="light dark">
<style>:root{{{_colours(0)}}}
@media (prefers-color-scheme: dark){{:root{{{_colours(1)}}}}}{_STYLE}{rules}</style></head>
<body>{body}</body></html>
"""


def _colours(which: int) -> str:
    return "".join(f"--{name}:{shown[which]};" for name, shown in PALETTE.items())


def _pictures(sheets: Sequence[Sheet]) -> tuple[str, str]:
    """All of them, and the style sheet that they need together."""
    classes = dict[str, str]()
    drawn = "".join(_picture(sheet, classes) for sheet in sheets)
    return drawn, rules_of(classes)


def _picture(sheet: Sheet, classes: dict[str, str]) -> str:
    title, caption = escape(sheet.title), escape(sheet.caption)
    begin = f'<figure id="{escape(sheet.name)}"><h3>{title}</h3>'
    if sheet.blank:
        return f"{begin}<p>{caption}</p></figure>"
    drawing = inline_of(sheet, classes).replace(
        "<svg ", f'<svg role="img" aria-label="{title}. {caption}" ', 1
    )
    return f"{begin}{drawing}<figcaption>{caption}</figcaption></figure>"


def _figures(performance: Performance) -> str:
    if not performance.figures:
        return "<p>No figures: no outcome is known.</p>"
    if performance.trades == 0:
        why = f"None of {len(performance.figures)} figures can be said: no trades."
        return f"<details><summary>{why}</summary>{tables.figures(performance)}</details>"
    return tables.figures(performance)


def _attributions(done: Sequence[Attribution]) -> str:
    held = [each for each in done if each.parts]
    parts = "".join(
        f"<h3>by {escape(each.by.replace('_', ' '))}</h3>{tables.attribution(each)}" for each in held
    )
    return f"<h2>Attribution</h2>{parts}" if held else ""


def _walks(report: BacktestReport) -> str:
    parts = "".join(
        f"<h3>{escape(run.kind)}</h3>{tables.folds(run)}<details><summary>figures of its out-of-sample trades"
        f"</summary>{_figures(run.performance)}</details>"
        for run in report.walk_forward
    )
    return f"<h2>Walk-forward</h2>{parts}" if parts else ""


def _search(report: BacktestReport) -> str:
    parts = ""
    if report.search.cells:
        parts += f"<h2>Configurations that were tried</h2>{tables.cells(report)}"
    if any(run.bands for run in report.monte_carlo):
        parts += f"<h2>Monte Carlo</h2>{tables.bands(report.monte_carlo)}"
    return parts


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode()
