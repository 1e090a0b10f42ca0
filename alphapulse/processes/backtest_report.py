"""A search and what it is worth, put together: the best configuration in full, and why not to believe it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np

from alphapulse import __version__
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.backtest import monte_carlo as mc
from alphapulse.domain.backtest.results import (
    ANCHORED,
    ROLLING,
    BacktestReport,
    Cell,
    CrossValidation,
    MonteCarlo,
    Scatter,
    Source,
    WalkForward,
)
from alphapulse.domain.backtest.results import Search as Belief
from alphapulse.domain.backtest.selection import (
    BadSelection,
    Ledgers,
    Rule,
    cross_validate,
    daily_returns,
    walk_forward,
)
from alphapulse.domain.backtest.splits import (
    DAY_NS,
    BadSplits,
    Combinatorial,
    Window,
    anchored,
    equal_groups,
    rolling,
)
from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.performance.attribution import DIMENSIONS, Shares, attribute, shares_of
from alphapulse.domain.performance.equity import equity_of
from alphapulse.domain.performance.feature_groups import groups_of
from alphapulse.domain.performance.figures import Attribution, Performance
from alphapulse.domain.performance.overfit import Overfit, overfit_of
from alphapulse.domain.performance.report import performance_of
from alphapulse.processes.backtest_files import Opened
from alphapulse.processes.backtesting import FOREVER, Run
from alphapulse.processes.searching import Search, Searched, TellDone, TellRun, runs_of, search
from alphapulse.processes.sweeping import Task, run_task
from alphapulse.processes.trials import Trials
from alphapulse.projections.trial_queries import Trials as Tried

FEW = 2  # configurations from which on there is something to choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """What is asked of a search besides the figures of its best configuration."""

    walk_forward: tuple[str, ...] = ()  # ROLLING, ANCHORED
    folds: int = 5
    train_ns: int | None = None  # None: two parts of the range, where each test is one
    embargo_ns: int = DAY_NS
    groups: tuple[int, int] | None = None  # of a combinatorial cross-validation, and how many are tested
    monte_carlo: int = 0  # runs of each kind
    rule: Rule = Rule()  # noqa: RUF009  frozen

    @property
    def choose(self) -> bool:
        """Whether configurations are compared trade by trade."""
        return bool(self.walk_forward) or self.groups is not None


async def report_of(
    plan: Search,
    doubts: Doubts,
    opened: Opened,
    trials: Trials,
    tell: TellRun,
    told: TellDone,
    *,
    command: str = "",
) -> BacktestReport:
    """Search, then look at the best configuration from all sides. See ``search`` for what it raises."""
    many = len(plan.variants) > 1
    plan = replace(plan, keeps=many or doubts.choose)
    done = await search(plan, opened, trials, tell, told)
    best = _best(done.cells)
    variant = plan.variants[done.cells.index(best)]
    run = done.run or await run_task(replace(plan.task(variant, opened), is_lean=False), opened, tell)
    risk, range_ = run.strategy.risk.risk_ratio, _range(run)
    ledgers = done.ledgers or {variant.name: run.trades.signals}
    tried = Tried(position=0, newest=[(0, trial) for trial in (await trials.known()).values()][::-1])
    overfit, notes = _overfit(ledgers, range_, risk), list(_notes(run, plan, done))
    walks = list[WalkForward]()
    for kind in doubts.walk_forward:
        with _noted(notes, f"no {kind} walk-forward"):
            walks.append(await _walked(kind, plan, doubts, opened, ledgers, run, told))
    crossed: CrossValidation | None = None
    with _noted(notes, "no cross-validation"):
        crossed = _crossed(doubts, ledgers, range_, overfit)
    return BacktestReport(
        trial=best.trial,
        configuration=run.strategy,
        source=_source(run, opened),
        settings=plan.settings,
        counts=run.counts,
        decisions_digest=run.decisions_digest,
        outcomes_digest=run.outcomes_digest,
        performance=_performance(run, "signals", tried),
        candidates=_performance(run, "candidates"),
        attribution=_attributions(run),
        trades=Scatter.of(run.trades),
        search=_belief(tried, done.cells, best, overfit),
        walk_forward=tuple(walks),
        cross_validation=crossed,
        monte_carlo=_drawn(run, doubts),
        code_version=__version__,
        command=command,
        notes=tuple(notes),
    )


@contextmanager
def _noted(notes: list[str], what: str) -> Iterator[None]:
    """What cannot be cut out of so short a history is said in the report: the search itself is done."""
    try:
        yield
    except (BadSplits, BadSelection) as error:
        notes.append(f"{what}: {error}")


def _best(cells: Sequence[Cell]) -> Cell:
    """The highest Sharpe ratio, the first of equals; the first of all where none has any."""
    known = [cell for cell in cells if cell.sharpe is not None]
    return max(known, key=lambda cell: cell.sharpe or 0.0) if known else cells[0]


def _range(run: Run) -> tuple[int, int]:
    """From when to when decisions could count and be resolved, ns."""
    return max(run.since, run.first_time), min(run.until, run.last_time)


def _source(run: Run, opened: Opened) -> Source:
    return Source(
        name=opened.name,
        files=opened.files,
        markets=run.markets,
        first_position=opened.first,
        last_position=opened.last,
        first_time=run.first_time,
        last_time=run.last_time,
        since=run.since,
        until=run.until if run.until < FOREVER else 0,
        bars=run.bars,
    )


def _performance(run: Run, of: str, tried: Tried | None = None) -> Performance:
    return performance_of(
        run.trades,
        of=of,
        risk_ratio=run.strategy.risk.risk_ratio,
        market=run.market,
        trials=tried.counted() if tried else None,
        since=run.since or None,
    )


def _attributions(run: Run) -> tuple[Attribution, ...]:
    equity = equity_of(run.trades, of="signals", risk_ratio=run.strategy.risk.risk_ratio)
    shares = Shares.of((made.decision, shares_of(made)) for made in run.issued)
    groups = groups_of([run.strategy])
    return tuple(attribute(equity, by, shares=shares, groups=groups) for by in DIMENSIONS)


def _belief(tried: Tried, cells: Sequence[Cell], best: Cell, overfit: Overfit | None) -> Belief:
    return Belief(
        trials=tried.count,
        cells=tuple(cells),
        best=best.name,
        best_sharpe=best.sharpe,
        expected_best=tried.expected_best,
        deflated=tried.deflated,
        overfit=overfit.probability if overfit else None,
        logits=_counted(overfit.logits) if overfit else (),
        note="" if overfit else "the probability of overfitting needs several configurations that traded",
    )


def _counted(values: Floats) -> tuple[tuple[float, int], ...]:
    """There are as many different ones as ranks, however many splits there were."""
    different, counts = np.unique(values, return_counts=True)
    return tuple(zip(different.tolist(), counts.tolist(), strict=True))


def _overfit(ledgers: Ledgers, range_: tuple[int, int], risk: float) -> Overfit | None:
    """Over the days of the range; None: too few configurations that traded, or too few days."""
    if sum(len(trades) > 0 for trades in ledgers.values()) < FEW:
        return None
    returns = daily_returns(ledgers, *range_, Rule(risk_ratio=risk))
    with suppress(BadSample):  # too few days, or too many configurations to compare
        return overfit_of(np.nan_to_num(returns))
    return None


async def _walked(
    kind: str,
    plan: Search,
    doubts: Doubts,
    opened: Opened,
    ledgers: Ledgers,
    run: Run,
    told: TellDone,
) -> WalkForward:
    windows = _windows(kind, doubts, _range(run))
    found: Mapping[Window, Ledgers] = dict.fromkeys(windows, ledgers)
    if kind == ROLLING:
        found = await _begun_anew(windows, plan, opened, told)
    done = walk_forward(windows, found.__getitem__, doubts.rule)
    return WalkForward(
        kind=kind,
        folds=done.folds,
        performance=performance_of(
            done.trades, of="signals", risk_ratio=run.strategy.risk.risk_ratio, market=run.market
        ),
        note=_HOW[kind],
    )


_HOW = {
    ANCHORED: "one run from the beginning: what is learnt is never forgotten",
    ROLLING: "a run of its own for each fold, which knows nothing from before its train range",
}


def _windows(kind: str, doubts: Doubts, range_: tuple[int, int]) -> Sequence[Window]:
    """Raises BadSplits."""
    whole = range_[1] - range_[0]
    train = doubts.train_ns or 2 * whole // (doubts.folds + 2)
    test = -(-(whole - train) // doubts.folds)
    cut = rolling if kind == ROLLING else anchored
    return cut(*range_, train=train, test=test, embargo=doubts.embargo_ns)


async def _begun_anew(
    windows: Sequence[Window], plan: Search, opened: Opened, told: TellDone
) -> Mapping[Window, Ledgers]:
    """What each configuration does in each window when it knows nothing from before it."""
    tasks: dict[str, Task] = {}
    for n, window in enumerate(windows):
        for variant in plan.variants:
            task = plan.task(variant, opened)
            tasks[f"{n} {variant.name}"] = replace(
                task, begin=window.train_from, since=window.train_from, until=window.test_until
            )
    runs = dict[str, Run]()
    async with aclosing(runs_of(tasks, opened, plan.jobs)) as done:
        async for name, run in done:
            runs[name] = run
            told(len(runs), len(tasks), sum(each.bars for each in runs.values()))
    return {
        window: {variant.name: runs[f"{n} {variant.name}"].trades for variant in plan.variants}
        for n, window in enumerate(windows)
    }


def _crossed(
    doubts: Doubts, ledgers: Ledgers, range_: tuple[int, int], overfit: Overfit | None
) -> CrossValidation | None:
    """Raises BadSplits."""
    if doubts.groups is None:
        return None
    groups, tested = doubts.groups
    embargo = doubts.embargo_ns
    cut = Combinatorial(equal_groups(*range_, groups), tested, embargo=embargo, lead=embargo)
    return cross_validate(ledgers, cut, doubts.rule, overfit=overfit.probability if overfit else None)


def _drawn(run: Run, doubts: Doubts) -> tuple[MonteCarlo, ...]:
    if not doubts.monte_carlo:
        return ()
    risk = run.strategy.risk.risk_ratio
    return tuple(mc.monte_carlo(run.trades, of="signals", risk_ratio=risk, runs=doubts.monte_carlo))


def _notes(run: Run, plan: Search, done: Searched) -> Iterator[str]:
    """What a reader must know, and would not see."""
    counts = run.counts
    if not counts.decisions:
        yield "no bar made a candidate: is there enough history, and do the voters have what they look at?"
    elif not counts.signals:
        most = ", ".join(f"{why} {n:,}" for why, n in sorted(counts.refused.items(), key=lambda i: -i[1])[:3])
        yield f"no candidate became a signal; refused: {most}"
    if counts.missed:
        yield (
            f"{counts.missed:,} of {counts.trades:,} signals were over before they could be filled, "
            f"{plan.latency_ns / 1e6:g} ms after the decision: they earned and cost nothing"
        )
    if run.skipped:
        yield f"{run.skipped:,} events of the log could not be read and were passed over"
    if done.passed:
        yield f"{done.passed:,} of {len(done.cells):,} configurations had been tried before, and were not run"
    if len(done.cells) > 1:
        yield "shown in full is the best of the configurations that were tried, chosen on the same data"
