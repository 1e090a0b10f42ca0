"""Runs what ``alphapulse backtest`` was asked for, and tells what came of it."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

SHOWN = 20  # configurations in the table
TRIALS = "trials.jsonl"  # in the folder of the report, where there is no log


class NowhereToWrite(Exception):
    """A trial must be written down somewhere: the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """``definition`` None: the strategy ``name`` of the log. ``how``: fields of Search."""

    definition: Any
    name: str
    version: int | None
    texts: Sequence[str]
    without: Sequence[str]
    files: tuple[Any, ...]
    upto: int | None
    how: dict[str, Any]
    doubts: Any


async def run(wish: Wish, *, show: bool) -> Any:
    """The report. Raises what ``report_of`` and the parsing of configurations do."""
    from alphapulse.domain.backtest.variants import Axis, variants
    from alphapulse.processes.backtest_files import FileSource, LogSource
    from alphapulse.processes.backtest_report import report_of
    from alphapulse.processes.searching import Search
    from alphapulse.settings import load

    axes = [Axis.parse(text) for text in wish.texts]
    settings = load()
    async with _database(settings, is_needed=not wish.files or not wish.definition) as store:
        base = wish.definition or await _defined(store, wish.name, wish.version)
        trials = _trials(store, base.name, wish.how["folder"])
        tried = variants(base, axes, wish.without)
        minutes = gcd(*(minutes for variant in tried for minutes in variant.strategy.timeframes))
        source = FileSource(wish.files, minutes) if wish.files else LogSource(settings.database(), wish.upto)
        plan = Search(source=source, variants=tried, **wish.how)
        with _watch(len(plan.variants), show=show) as watch:
            async with source.opened(watch.file) as opened:
                watch.upto(opened.last)
                return await report_of(
                    plan, wish.doubts, opened, trials, watch.run, watch.done, command=_command()
                )


@asynccontextmanager
async def _database(settings: Any, *, is_needed: bool) -> AsyncIterator[Any]:
    """The log; None: there is none, and it can be done without."""
    from alphapulse.processes.wiring import event_store

    if settings.database_url is None and not is_needed:
        yield None
        return
    async with event_store(settings) as store:
        yield store


async def _defined(store: Any, name: str, version: int | None) -> Any:
    """Raises UnknownStrategy."""
    from alphapulse.domain.decision.strategy_decider import UnknownStrategy
    from alphapulse.processes.desks import jobs_of

    jobs = [job for job in await jobs_of(store) if job.strategy.name == name]
    found = [
        job.strategy
        for job in jobs
        if job.strategy.version == version or (version is None and job.retired is None)
    ]
    if not found:
        which = f"version {version} of it" if version else "it in use"
        known = (
            f"there are {len({job.strategy.version for job in jobs})} versions" if jobs else "none is defined"
        )
        raise UnknownStrategy(f"no strategy {name!r}, or not {which}: {known}")
    return found[-1]


def _trials(store: Any, strategy: str, folder: Path | None) -> Any:
    """Where it is written down that something was tried. Raises NowhereToWrite."""
    from alphapulse.processes.trials import FileTrials, LogTrials

    if store is not None:
        return LogTrials(store, strategy)
    if folder is None:
        raise NowhereToWrite(
            "every configuration that is tried is written down, and there is no log: say --out FOLDER, "
            "or set ALPHAPULSE_DATABASE_URL"
        )
    return FileTrials(folder / TRIALS)


def _command() -> str:
    import shlex

    return shlex.join(["alphapulse", *sys.argv[1:]])


class _Watch:
    """What a progress bar is told; ``show`` is called with a text and the part that is done."""

    def __init__(self, configurations: int, show: Callable[[str, float], None]) -> None:
        self._many, self._show, self._upto, self._last = configurations > 1, show, 1, 1

    def upto(self, last: int) -> None:
        self._last = max(last, 1)

    def file(self, name: str, ratio: float) -> None:
        self._show(f"reading {name}", ratio)

    def run(self, progress: Any) -> None:
        if not self._many:
            self._show(f"{progress.bars:,} bars", progress.position / self._last)

    def done(self, done: int, total: int, bars: int) -> None:
        if total > 1:
            self._many = True
            self._show(f"{done:,} of {total:,} configurations, {bars:,} bars", done / total)


@contextmanager
def _watch(configurations: int, *, show: bool) -> Iterator[_Watch]:
    """With bars a second and how long it will take."""
    import time

    from alphapulse.cli.progress import file_progress

    began = time.monotonic()

    def told(tell: Callable[[str, float], None]) -> Callable[[str, float], None]:
        def shown(text: str, ratio: float) -> None:
            words = text.split()
            seconds = time.monotonic() - began
            if words[-1] == "bars" and seconds > 1:
                text += f", {int(words[-2].replace(',', '')) / seconds:,.0f}/s"
            tell(text, ratio)

        return shown

    with file_progress("backtest", show=show) as tell:
        yield _Watch(configurations, told(tell))


def tell(report: Any, folder: Path | None, as_json: bool) -> None:
    """Write the report's files, and print what a person or a program asks for."""
    from alphapulse.adapters.reports.writing import json_of, write_report

    if folder is not None:
        page, *_ = write_report(report, folder)
        sys.stderr.write(f"alphapulse: the report is {page}\n")
    if as_json:
        sys.stdout.buffer.write(json_of(report))
        sys.stdout.flush()
    else:
        _show(report)


def _show(report: Any) -> None:
    from alphapulse.cli.performance import show_performance
    from alphapulse.cli.signals import when

    source, counts, strategy = report.source, report.counts, report.configuration
    out = sys.stdout.write
    if len(report.search.cells) > 1:
        _show_cells(report.search)
    markets = ", ".join(source.markets) or "no market"
    out(f"{strategy.name}.{strategy.version} ({strategy.label}) on {source.name}: {markets}\n")
    out(
        f"  {source.bars:,} bars, {when(source.first_time)} to {when(source.last_time)}: "
        f"{counts.decisions:,} candidates, {counts.signals:,} signals, {counts.trades:,} of them resolved\n"
    )
    show_performance(report.performance)
    _show_walks(report)
    _show_belief(report)
    out(f"  decisions {report.decisions_digest[:16]}, outcomes {report.outcomes_digest[:16]}\n")
    for note in report.notes:
        out(f"  note: {note}\n")


def _show_cells(search: Any) -> None:
    from alphapulse.cli.console import say_table

    ordered = sorted(search.cells, key=lambda cell: -(cell.sharpe if cell.sharpe is not None else -1e9))
    rows = [
        (cell.name, f"{cell.trades:,}", _text(cell.sharpe), _text(cell.total, "{:.2%}")) for cell in ordered
    ]
    say_table(("configuration", "signals", "Sharpe a day", "return"), rows[:SHOWN])
    if len(rows) > SHOWN:
        sys.stdout.write(f"  and {len(rows) - SHOWN:,} more\n")


def _show_walks(report: Any) -> None:
    from alphapulse.cli.console import say_table
    from alphapulse.cli.signals import when

    for walk in report.walk_forward:
        rows = [
            (
                f"{when(fold.test_from)[:10]} to {when(fold.test_until)[:10]}",
                fold.chosen or fold.note,
                _text(fold.in_sample),
                _text(fold.out_of_sample),
                f"{fold.out_of_sample_trades:,}",
                _text(fold.out_of_sample_total, "{:.2%}"),
            )
            for fold in walk.folds
        ]
        header = (f"{walk.kind}: tested", "chosen", "Sharpe in sample", "out of it", "signals", "return")
        say_table(header, rows)


def _show_belief(report: Any) -> None:
    search, out = report.search, sys.stdout.write
    out(f"  {search.trials:,} configurations were tried")
    if search.deflated is not None:
        out(
            f": the best Sharpe ratio by chance is {search.expected_best:.4f} a day, the best of these is "
            f"more than that with probability {search.deflated:.1%}"
        )
    out("\n")
    if search.overfit is not None:
        out(f"  probability of overfitting {search.overfit:.1%}\n")
    if report.cross_validation is not None:
        known = [each for each in report.cross_validation.sharpes if each is not None]
        spread = f"{min(known):.4f} to {max(known):.4f} a day" if known else "nowhere"
        out(f"  {len(report.cross_validation.sharpes)} paths out of sample: Sharpe ratio {spread}\n")
    for kind in report.monte_carlo:
        for band in kind.bands[:2]:
            quantiles = ", ".join(f"{share}: {value:.4g}" for share, value in band.quantiles.items())
            out(f"  chance of {kind.kind}, {band.name}: {quantiles}; it was {band.observed:.4g}\n")


def _text(value: float | None, form: str = "{:.4f}") -> str:
    return "" if value is None else form.format(value)
