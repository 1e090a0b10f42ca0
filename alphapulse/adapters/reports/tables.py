"""Tables of a report as HTML. Every text is escaped here, whoever wrote it."""

from collections.abc import Collection, Iterable, Sequence
from html import escape
from itertools import islice

from alphapulse.adapters.reports.words import UNITS, UNKNOWN, day, moment, number, share, signed
from alphapulse.domain.backtest.results import BacktestReport, MonteCarlo, WalkForward
from alphapulse.domain.performance.figures import Attribution, Performance

MAX_ROWS = 60  # of a table in the page; the JSON has all
Row = Sequence[str]


def table(head: Row, rows: Iterable[Row], *, words: Collection[int] = (0,)) -> str:
    """``words`` are the columns of text, others are flush right. Beyond MAX_ROWS it only says how many."""
    rows = list(rows)
    body = "".join(_row(row, "td", words) for row in islice(rows, MAX_ROWS))
    cut = (
        f"<p class=note>{len(rows) - MAX_ROWS} more rows are in report.json.</p>"
        if len(rows) > MAX_ROWS
        else ""
    )
    return (
        f"<div class=wide><table><thead>{_row(head, 'th', words)}</thead>"
        f"<tbody>{body}</tbody></table></div>{cut}"
    )


def _row(cells: Row, tag: str, words: Collection[int]) -> str:
    cells_ = (
        f"<{tag}{' class=n' if i not in words else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells)
    )
    return f"<tr>{''.join(cells_)}</tr>"


def figures(performance: Performance) -> str:
    rows = []
    for each in performance.figures:
        told = share if each.in_percent else number
        interval = f"{told(each.low)} to {told(each.high)}" if each.low is not None else UNKNOWN
        unit = "" if each.value is None or each.in_percent else UNITS.get(each.unit, each.unit)
        rows.append((
            each.title, f"{told(each.value)} {unit}".strip(), interval, number(each.sample),
            number(each.effective, 3) if each.effective else UNKNOWN, each.note,
        ))  # fmt: skip
    head = ("figure", "value", "95 % interval", "n", "n effective", "note")
    return table(head, rows, words=(0, 5))


def attribution(done: Attribution) -> str:
    rows = [
        (
            part.key, number(part.trades), signed(part.contribution, 3), share(part.share, 1),
            number(part.r, 3),
            f"{signed(part.low, 3)} to {signed(part.high, 3)}" if part.low is not None else UNKNOWN,
            signed(part.without, 3),
        )
        for part in done.parts
    ]  # fmt: skip
    total = ("sum", number(done.trades), signed(done.total, 3), "", number(done.total_r, 3), "", "")
    head = (done.by.replace("_", " "), "n", "contribution", "share", "R", "95 % interval", "leave-one-out")
    return table(head, [*rows[: MAX_ROWS - 1], total])


def folds(run: WalkForward) -> str:
    rows = [
        (
            f"{day(fold.train_from)} to {day(fold.train_until)}",
            f"{day(fold.test_from)} to {day(fold.test_until)}",
            fold.chosen or fold.note, number(fold.tried),
            number(fold.in_sample_trades), number(fold.in_sample, 3),
            number(fold.out_of_sample_trades), number(fold.out_of_sample, 3),
            signed(fold.out_of_sample_total, 3),
        )
        for fold in run.folds
    ]  # fmt: skip
    head = (
        "train", "test", "chosen", "tried", "n in sample", "Sharpe a day", "n out of sample", "Sharpe a day",
        "return",
    )  # fmt: skip
    return table(head, rows, words=(0, 1, 2))


def cells(report: BacktestReport) -> str:
    rows = [
        (cell.name, cell.trial[:16], number(cell.trades), number(cell.sharpe, 3), signed(cell.total, 3))
        for cell in report.search.cells
    ]
    return table(("configuration", "trial", "n", "Sharpe a day", "return"), rows, words=(0, 1))


def bands(runs: Sequence[MonteCarlo]) -> str:
    levels = sorted({level for run in runs for band in run.bands for level in band.quantiles}, key=float)
    rows = [
        (
            run.kind, band.name.replace("_", " "), number(run.runs), number(band.observed),
            *(number(band.quantiles.get(level)) for level in levels),
        )
        for run in runs
        for band in run.bands
    ]  # fmt: skip
    head = ("drawn anew", "what", "runs", "what happened", *(f"{float(level) * 100:g} %" for level in levels))
    return table(head, rows, words=(0, 1))


def refusals(report: BacktestReport) -> str:
    ordered = sorted(report.counts.refused.items(), key=lambda item: (-item[1], item[0]))
    rows = [
        (reason, number(count), share(count / max(report.counts.decisions, 1), 1))
        for reason, count in ordered
    ]
    return table(("reason", "candidates", "of all"), rows)


def sources(report: BacktestReport) -> str:
    rows = [(f.name, number(f.rows), number(f.bytes), f.sha256) for f in report.source.files]
    return table(("file", "rows", "bytes", "SHA-256"), rows)


def _range(since: int, until: int) -> str:
    begin = f"from {moment(since)} on, before that it only learns" if since else "from the beginning on"
    return f"{begin}; until {moment(until)}" if until else f"{begin}, to the end"


def facts(report: BacktestReport) -> str:
    source = report.source
    strategy = report.configuration
    risk = strategy.risk
    settings = ", ".join(f"{key} = {number(value)}" for key, value in sorted(report.settings.items()))
    rows = [
        ("strategy", f"{strategy.name}, version {strategy.version}, {strategy.label}"),
        ("trial", report.trial),
        ("source", source.name),
        ("markets", ", ".join(source.markets) or UNKNOWN),
        ("market data", f"{moment(source.first_time)} to {moment(source.last_time)}"),
        ("what counts", _range(source.since, source.until)),
        ("log positions", f"{number(source.first_position)} to {number(source.last_position)}"),
        ("bars", number(source.bars)),
        ("costs", f"fee {number(risk.fee_bps)} bps a side, slippage {number(risk.slippage_bps)} bps"),
        ("settings", settings or UNKNOWN),
        ("decisions, SHA-256", report.decisions_digest),
        ("outcomes, SHA-256", report.outcomes_digest),
        ("code", report.code_version or UNKNOWN),
        ("command", report.command or UNKNOWN),
    ]  # fmt: skip
    body = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in rows)
    return f"<div class=wide><table class=facts><tbody>{body}</tbody></table></div>"
