"""A search: each configuration is run, written down as a trial, and passed over when it is there already.

Signals of every run lie in the folder of the search, if it has one, so that whoever goes on with it can
choose among all of them again.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import msgspec
import numpy as np

from alphapulse import __version__
from alphapulse.adapters.files.atomic import AtomicFile
from alphapulse.domain.backtest import trials as t
from alphapulse.domain.backtest.results import Cell
from alphapulse.domain.backtest.trials import TrialRecorded
from alphapulse.domain.backtest.variants import Variant
from alphapulse.domain.performance.chance_figures import daily_sharpe
from alphapulse.domain.performance.equity import daily_of, equity_of
from alphapulse.domain.performance.report import performance_of
from alphapulse.domain.performance.trades import Trades
from alphapulse.processes.backtest_files import FileSource, LogSource, Opened
from alphapulse.processes.backtesting import FOREVER, Progress, Run, untold
from alphapulse.processes.sweeping import Task, process_pool, run_task, sweep
from alphapulse.processes.trials import Trials

RUNS = "runs"  # folder of what is kept of each run

TellRun = Callable[[Progress], None]
TellDone = Callable[[int, int, int], None]  # configurations done, of how many, bars decided on so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is tried, and on what. ``keeps``: the trades of all are wanted, not just their figures."""

    source: LogSource | FileSource
    variants: Sequence[Variant]
    since: int | None = None
    until: int | None = None
    latency_ns: int = 0
    jobs: int = 1
    folder: Path | None = None
    again: bool = False
    keeps: bool = False

    @property
    def settings(self) -> dict[str, float]:
        return {"latency_ms": self.latency_ns / 1e6}

    def task(self, variant: Variant, opened: Opened) -> Task:
        return Task(
            source=self.source,
            strategy=variant.strategy,
            upto=opened.last,
            since=self.since,
            until=self.until,
            latency_ns=self.latency_ns,
        )

    def trial(self, variant: Variant, opened: Opened) -> str:
        """The id of what is tried."""
        data = [file.sha256 for file in opened.files] or [opened.name]
        return t.id_of(
            variant.strategy,
            source=[*data, opened.first, opened.last],
            since=self.since or 0,
            until=FOREVER if self.until is None else self.until,
            settings=self.settings,
            code_version=__version__,
        )


@dataclass(slots=True)
class Searched:
    """``cells`` in the order of the variants; ``ledgers``: signals by the name of each, where they are kept.

    ``passed`` counts what was tried before. ``run``: in full, where there is a single configuration.
    """

    cells: list[Cell] = field(default_factory=list)
    ledgers: dict[str, Trades] = field(default_factory=dict)
    passed: int = 0
    run: Run | None = None


async def search(plan: Search, opened: Opened, trials: Trials, tell: TellRun, told: TellDone) -> Searched:
    """Run what was not tried before. Every configuration that is done is written down at once.

    Raises:
        SweepFailed, CannotRun, StoreUnavailable: run it again, it goes on where it stopped.
    """
    ids = {plan.trial(variant, opened): variant for variant in plan.variants}
    group = t.group_of(ids)
    done = _Done(plan, ids)
    if len(ids) > 1 and not plan.again:
        done.remember(await trials.known())
    passed, bars, last = len(done.cells), 0, None
    told(passed, len(ids), bars)
    tasks = {trial: plan.task(ids[trial], opened) for trial in ids if trial not in done.cells}
    if len(ids) == 1:
        tasks = {trial: replace(task, is_lean=False) for trial, task in tasks.items()}
    async with aclosing(runs_of(tasks, opened, plan.jobs, tell)) as runs:
        async for trial, run in runs:
            made = trial_of(run, trial, group, plan, opened, kind="backtest" if len(ids) == 1 else "sweep")
            _keep(plan, made, run.trades.signals)
            await trials.add(made)
            done.take(made, run.trades.signals)
            bars, last = bars + run.bars, run
            told(len(done.cells), len(ids), bars)
    return done.result(passed, last if len(ids) == 1 else None)


class _Done:
    """What is known of the configurations of a search so far."""

    def __init__(self, plan: Search, ids: Mapping[str, Variant]) -> None:
        self._plan, self._ids = plan, ids
        self.cells: dict[str, Cell] = {}
        self._ledgers: dict[str, Trades] = {}

    def remember(self, known: Mapping[str, TrialRecorded]) -> None:
        """What was tried before, where all that is wanted of it is still there."""
        for trial in self._ids.keys() & known.keys():
            kept = _kept(self._plan, known[trial]) if self._plan.keeps else None
            if kept is not None or not self._plan.keeps:
                self.take(known[trial], kept)

    def take(self, trial: TrialRecorded, signals: Trades | None) -> None:
        self.cells[trial.trial] = _cell_of(trial, self._ids[trial.trial].name)
        if self._plan.keeps and signals is not None:
            self._ledgers[trial.trial] = signals

    def result(self, passed: int, run: Run | None) -> Searched:
        ledgers = {
            self._ids[trial].name: self._ledgers[trial] for trial in self._ids if trial in self._ledgers
        }
        return Searched([self.cells[trial] for trial in self._ids], ledgers, passed, run)


async def runs_of(
    tasks: Mapping[str, Task], opened: Opened, jobs: int, tell: TellRun = untold
) -> AsyncGenerator[tuple[str, Run], None]:
    """The run of each task, in this process one after the other, or in ``jobs`` others."""
    jobs = min(jobs, len(tasks))
    if jobs < 2:
        for name, task in tasks.items():
            yield name, await run_task(task, opened, tell)
        return
    with process_pool(jobs) as pool:
        async with aclosing(sweep(tasks, pool, jobs)) as done:
            async for found in done:
                yield found


def trial_of(run: Run, trial: str, group: str, plan: Search, opened: Opened, *, kind: str) -> TrialRecorded:
    """What is written down of ``run``."""
    risk = run.strategy.risk.risk_ratio
    since = run.since or None
    daily = daily_of(equity_of(run.trades, of="signals", risk_ratio=risk, since=since))
    performance = performance_of(run.trades, of="signals", risk_ratio=risk, since=since, draws=0)
    return TrialRecorded(
        strategy=run.strategy.name,
        trial=trial,
        kind=kind,
        group=group,
        configuration=run.strategy,
        source=opened.name,
        sha256=tuple(file.sha256 for file in opened.files),
        first_position=opened.first,
        last_position=opened.last,
        first_time=max(run.since, run.first_time),
        last_time=min(run.until, run.last_time),
        settings=plan.settings,
        decisions=run.counts.decisions,
        signals=run.counts.signals,
        trades=run.counts.trades,
        decisions_digest=run.decisions_digest,
        outcomes_digest=run.outcomes_digest,
        days=len(daily.day),
        sharpe=daily_sharpe(daily.returns),
        figures={figure.name: figure.value for figure in performance.figures},
        code_version=__version__,
    )


def _cell_of(trial: TrialRecorded, name: str) -> Cell:
    return Cell(
        trial=trial.trial,
        name=name,
        trades=trial.trades,
        sharpe=trial.sharpe,
        total=trial.figures.get("total_return"),
    )


class _Kept(msgspec.Struct, frozen=True):
    """Columns of the signals of a run, and the digest of what they came from."""

    outcomes_digest: str
    columns: dict[str, list[object]]


def _path(plan: Search, trial: str) -> Path | None:
    return None if plan.folder is None else plan.folder / RUNS / f"{trial}.msgpack"


def _keep(plan: Search, trial: TrialRecorded, trades: Trades) -> None:
    path = _path(plan, trial.trial)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {f.name: getattr(trades, f.name).tolist() for f in fields(Trades)}
    with AtomicFile(path) as file:
        file.temporary.write_bytes(msgspec.msgpack.encode(_Kept(trial.outcomes_digest, columns)))
        file.commit()


def _kept(plan: Search, trial: TrialRecorded) -> Trades | None:
    """The signals of an earlier run of ``trial``, if they are there and of that run."""
    path = _path(plan, trial.trial)
    with suppress(FileNotFoundError, msgspec.DecodeError, KeyError):
        kept = msgspec.msgpack.decode(path.read_bytes() if path else b"", type=_Kept)
        if kept.outcomes_digest == trial.outcomes_digest:
            empty = Trades.of([])
            return Trades(
                *(np.array(kept.columns[f.name], dtype=getattr(empty, f.name).dtype) for f in fields(Trades))
            )
    return None
