"""Which of several configurations is chosen on one part of a history, and what it then makes on another.

Each configuration has its trades over the same history, under its name. Those of the chosen ones, each from
the range on which it was measured, are what choosing would have earned: out of sample.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.backtest.results import CrossValidation, Fold
from alphapulse.domain.backtest.splits import DAY_NS, Combinatorial, Window, tested_on, trained_on
from alphapulse.domain.decision.intervals import block_length, effective_size, mean_interval
from alphapulse.domain.performance.chance_figures import daily_sharpe as sharpe_of
from alphapulse.domain.performance.equity import SETS, Equity, daily_of, equity_of
from alphapulse.domain.performance.trades import Trades

LEAST_TRADES = 30
MAX_CONFIGURATIONS = 5_000

Ledgers = Mapping[str, Trades]  # by the name of the configuration


class BadSelection(ValueError):
    """No configurations, or too many: the message holds the values."""


@dataclass(frozen=True)
class Sample:
    """Trades that count, and the ``days`` (n,) since 1970 on which they may have earned something."""

    trades: Trades
    days: Int64s
    of: str  # one of equity.SETS
    risk_ratio: float  # of each candidate, where ``of`` is not signals

    @cached_property
    def equity(self) -> Equity:
        return equity_of(self.trades, of=self.of, risk_ratio=self.risk_ratio)

    @cached_property
    def returns(self) -> Floats:
        """Of each day (n,), 0 where nothing was closed; NaN: all was lost at some time."""
        daily = daily_of(self.equity)
        found = np.zeros(len(self.days))
        if len(daily.day):
            place = np.clip(self.days - daily.day[0], 0, len(daily.day) - 1)
            within = daily.day[place] == self.days
            found[within] = daily.returns[place[within]]
        return found

    @property
    def sharpe(self) -> float | None:
        """Per day, not annualised; None: fewer than two days, all alike, or all was lost."""
        return sharpe_of(self.returns)

    @property
    def total(self) -> float:
        """Return on the equity at the beginning."""
        return self.equity.final - 1.0


Criterion = Callable[[Sample], float | None]  # the more the better; None: cannot be said


def lower_mean_r(sample: Sample, *, seed: int = 1) -> float | None:
    """The lower bound of the mean net return in units of the risk, by a block bootstrap; None: too few."""
    trades = sample.trades
    if len(trades) < 2:
        return None
    order = np.lexsort((trades.closed, trades.opened))
    overlapping = len(trades) / effective_size(trades.opened, trades.closed)
    block = min(block_length(len(trades), overlapping), len(trades) // 2)
    return mean_interval(trades.net_r[order], block=block, seed=seed)[0]


def daily_sharpe(sample: Sample) -> float | None:
    return sample.sharpe


CRITERIA: dict[str, Criterion] = {"lower_mean_r": lower_mean_r, "daily_sharpe": daily_sharpe}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a configuration is chosen. One with fewer than ``least`` trades that count is not."""

    criterion: Criterion = lower_mean_r
    least: int = LEAST_TRADES
    of: str = "signals"
    risk_ratio: float = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class OutOfSample:
    """``trades``: those of the test ranges, each of the configuration that was chosen before it."""

    folds: tuple[Fold, ...]
    trades: Trades


def walk_forward(
    windows: Sequence[Window], ledgers: Callable[[Window], Ledgers], rule: Rule | None = None
) -> OutOfSample:
    """Choose on each train range, measure on the test range after it.

    ``ledgers``: of the configurations, over the train and the test range at least; one history for all
    windows, or a run anew for each of them.

    Raises:
        BadSelection; what ``ledgers`` raises.
    """
    rule = rule or Rule()
    steps = [_step(window, _of(rule, ledgers(window)), rule) for window in windows]
    return OutOfSample(tuple(fold for fold, _ in steps), _together(trades for _, trades in steps))


def _step(window: Window, ledgers: Ledgers, rule: Rule) -> tuple[Fold, Trades]:
    days = _days(window.train_from, window.train_until)
    samples = {
        name: _sample(trades.take(trained_on(window, trades.opened, trades.closed)), days, rule)
        for name, trades in ledgers.items()
    }
    chosen, figure, note = _best(samples, rule)
    tested = _nothing_of(ledgers) if chosen is None else ledgers[chosen]
    tested = tested.take(tested_on(window, tested.opened))
    measured = _sample(tested, _until_closed(window.test_from, window.test_until, tested), rule)
    fold = Fold(
        train_from=window.train_from,
        train_until=window.train_until,
        test_from=window.test_from,
        test_until=window.test_until,
        chosen=chosen or "",
        tried=len(ledgers),
        figure=figure,
        in_sample=samples[chosen].sharpe if chosen else None,
        out_of_sample=measured.sharpe if chosen else None,
        in_sample_trades=len(samples[chosen].trades) if chosen else 0,
        out_of_sample_trades=len(tested),
        out_of_sample_total=measured.total if chosen else None,
        note=note,
    )
    return fold, tested


def cross_validate(
    ledgers: Ledgers, cut: Combinatorial, rule: Rule | None = None, *, overfit: float | None = None
) -> CrossValidation:
    """Choose on each combination of groups, measure on the groups left out; a path tests each group once.

    ``overfit``: the probability of backtest overfitting of the same ledgers, as it is handed on.

    Raises:
        BadSelection.
    """
    rule = rule or Rule()
    ledgers = _of(rule, ledgers)
    known = np.max([cut.known(trades.opened, trades.closed) for trades in ledgers.values()], axis=0)
    parts: list[list[Trades]] = [[] for _ in range(cut.paths)]
    chosen: list[str] = []
    for split, paths in zip(cut.splits(), cut.path_groups(), strict=True):
        name, _, _ = _best(_samples(ledgers, cut, split, known, rule), rule)
        chosen.append(name or "")
        if name is not None:
            for group, path in zip(split, paths, strict=True):
                trades = ledgers[name]
                parts[path].append(trades.take(cut.tested_in(group, trades.opened)))
    none = chosen.count("")
    return CrossValidation(
        groups=cut.groups,
        tested=cut.tested,
        splits=len(chosen),
        sharpes=tuple(_path_sharpe(cut, part, rule) for part in parts),
        overfit=overfit,
        chosen=tuple(chosen),
        note=f"nothing chosen in {none} of {len(chosen)} splits: too few trades" if none else "",
    )


def daily_returns(ledgers: Ledgers, first: int, until: int, rule: Rule | None = None) -> Floats:
    """(days, configurations) from ``first`` to ``until`` or the last close, for overfit_of; NaN: see Sample.

    ``ledgers``: one at least.
    """
    rule = rule or Rule()
    chosen = [SETS[rule.of](trades) for trades in ledgers.values()]
    days = _days(first, max(until, *(int(trades.closed.max(initial=0)) + 1 for trades in chosen)))
    return np.stack([_sample(trades, days, rule).returns for trades in chosen], axis=1)


def _samples(
    ledgers: Ledgers, cut: Combinatorial, split: Sequence[int], known: Int64s, rule: Rule
) -> Mapping[str, Sample]:
    groups = (g for g in range(cut.groups) if g not in split)
    days = np.unique(np.concatenate([_days(int(cut.edges[g]), int(cut.edges[g + 1])) for g in groups]))
    return {
        name: _sample(trades.take(cut.trained_on(split, known, trades.opened, trades.closed)), days, rule)
        for name, trades in ledgers.items()
    }


def _path_sharpe(cut: Combinatorial, parts: Sequence[Trades], rule: Rule) -> float | None:
    trades = _together(parts)
    if not len(trades):
        return None
    days = _until_closed(int(cut.edges[0]), int(cut.edges[-1]), trades)
    return _sample(trades, days, rule).sharpe


def _best(samples: Mapping[str, Sample], rule: Rule) -> tuple[str | None, float | None, str]:
    """Name and figure of the best (the first of equals), and why there is none."""
    enough = {name: sample for name, sample in samples.items() if len(sample.trades) >= rule.least}
    figures = {name: rule.criterion(sample) for name, sample in enough.items()}
    said = {name: figure for name, figure in figures.items() if figure is not None and figure == figure}
    if said:
        best = max(said, key=said.__getitem__)
        return best, said[best], ""
    few = f"{len(enough)} of {len(samples)} configurations have {rule.least} trades that count"
    return None, None, f"nothing chosen: {few}" + (", none of them a figure" if enough else "")


def _of(rule: Rule, ledgers: Ledgers) -> Ledgers:
    if not 1 <= len(ledgers) <= MAX_CONFIGURATIONS:
        raise BadSelection(f"{len(ledgers)} configurations, 1 to {MAX_CONFIGURATIONS} can be compared")
    return {name: SETS[rule.of](trades) for name, trades in ledgers.items()}


def _sample(trades: Trades, days: Int64s, rule: Rule) -> Sample:
    return Sample(trades, days, rule.of, rule.risk_ratio)


def _days(first: int, until: int) -> Int64s:
    return np.arange(first // DAY_NS, -(-until // DAY_NS))


def _until_closed(first: int, until: int, trades: Trades) -> Int64s:
    return _days(first, max(until, int(trades.closed.max(initial=0)) + 1))


def _nothing_of(ledgers: Ledgers) -> Trades:
    return next(iter(ledgers.values())).take(slice(0, 0))


def _together(parts: Iterable[Trades]) -> Trades:
    return Trades.of(chain.from_iterable(part.rows() for part in parts))
