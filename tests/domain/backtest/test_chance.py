"""A thousand random strategies on a random walk: the best of them is reported as chance, an edge is not.

The whole way of a search: ledgers, daily returns, the number of trials and how their Sharpe ratios vary, the
deflated ratio of the best one, and the probability of backtest overfitting. The latter is about one half
only over several histories (its deviation from one to the next is about 0.14 where each strategy tosses its
own coin, and 0.23 with rules that look at one market): the halves of a history share its one path.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.backtest.selection import (
    Rule,
    cross_validate,
    daily_returns,
    daily_sharpe,
    walk_forward,
)
from alphapulse.domain.backtest.splits import DAY_NS, Combinatorial, equal_groups, rolling
from alphapulse.domain.performance.deflation import TrialCount
from alphapulse.domain.performance.figures import Performance
from alphapulse.domain.performance.overfit import overfit_of
from alphapulse.domain.performance.report import performance_of
from alphapulse.domain.performance.trades import Trades
from tests.domain.backtest.random_strategies import EDGE, ledgers, rules, walk

SHARPE = Rule(criterion=daily_sharpe)


@dataclass
class Searched:
    ledgers: Mapping[str, Trades]
    returns: Floats  # (days, configurations)
    best: str
    performance: Performance  # of the best, with all of them as trials
    overfit: float

    def figure(self, name: str) -> float:
        value = self.performance.figure(name).value
        assert value is not None
        return value


def searched(seed: int, *, count: int, days: int, drift: float = 0.0, blocks: int = 16) -> Searched:
    found = ledgers(walk(seed, days, drift), rules(seed, count, tossed=True), with_edge=drift > 0)
    returns = daily_returns(found, 0, days * DAY_NS)
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = list(found)[int(sharpes.argmax())]
    trials = TrialCount(trials=len(found), sharpe_variance=float(sharpes.var(ddof=1)))
    performance = performance_of(
        found[best], of="signals", risk_ratio=0.01, trials=trials, draws=0, curve_points=0
    )
    return Searched(found, returns, best, performance, overfit_of(returns, blocks=blocks).probability)


def test_the_best_of_random_strategies_is_chance() -> None:
    """A slice: eight walks of a year, 100 strategies each."""
    all_found = [searched(seed, count=100, days=365, blocks=10) for seed in range(8)]
    for found in all_found:
        assert found.figure("trials") == 100
        assert found.figure("sharpe") > 1.0, "it looks good"
        assert found.figure("deflated_sharpe") < 0.95, "and is what the best of so many shows by chance"
    naive = [found.figure("probabilistic_sharpe") for found in all_found]
    assert np.mean(np.array(naive) > 0.95) > 0.5, "which one who does not count the trials takes for skill"
    assert 0.35 < np.mean([found.overfit for found in all_found]) < 0.65


def test_a_planted_edge_passes() -> None:
    for seed in range(2):
        found = searched(seed, count=100, days=365, drift=0.2, blocks=10)
        assert found.best == EDGE
        assert found.figure("deflated_sharpe") > 0.95
        assert found.overfit < 0.1


@pytest.mark.long
def test_the_best_of_a_thousand_random_strategies_is_chance() -> None:
    """Three years of hours, a thousand strategies of some hundreds of trades each, on six walks."""
    all_found = [searched(seed, count=1_000, days=1_095) for seed in range(6)]
    for found in all_found:
        assert found.figure("trials") == 1_000
        assert found.figure("deflated_sharpe") < 0.95
    assert all(found.figure("probabilistic_sharpe") > 0.95 for found in all_found)
    overfit = [found.overfit for found in all_found]
    assert 0.35 < np.mean(overfit) < 0.65
    assert 0.1 < min(overfit) < max(overfit) < 0.9


@pytest.mark.long
def test_an_edge_planted_among_a_thousand_passes() -> None:
    found = searched(0, count=1_000, days=1_095, drift=0.12)
    assert found.best == EDGE
    assert found.figure("deflated_sharpe") > 0.99
    assert found.overfit < 0.01


def test_choosing_among_random_strategies_earns_nothing_out_of_sample() -> None:
    """In sample it looks like an edge in every fold; over all folds and walks together there is none."""
    inside, outside, paths = [], [], []
    for seed in range(4):
        found = ledgers(walk(seed, 365), rules(seed, 30, tossed=False))
        windows = rolling(0, 365 * DAY_NS, train=120 * DAY_NS, test=49 * DAY_NS, embargo=DAY_NS)
        for fold in walk_forward(windows, lambda _, its=found: its, SHARPE).folds:
            inside.append(fold.in_sample)
            outside.append(fold.out_of_sample)
        cut = Combinatorial(equal_groups(0, 365 * DAY_NS, 6), 2, embargo=DAY_NS, lead=DAY_NS)
        paths += cross_validate(found, cut, SHARPE).sharpes
    assert min(inside) > 0.05
    error = np.std(outside, ddof=1) / np.sqrt(len(outside))
    assert abs(np.mean(outside)) < 2.5 * error
    assert np.mean(inside) > np.mean(outside) + 3 * error
    assert abs(np.median(paths)) < 0.05


def test_a_planted_edge_is_found_again_out_of_sample() -> None:
    found = ledgers(walk(3, 365, 0.25), rules(3, 30, tossed=False), with_edge=True)
    windows = rolling(0, 365 * DAY_NS, train=120 * DAY_NS, test=49 * DAY_NS, embargo=DAY_NS)
    folds = walk_forward(windows, lambda _: found, SHARPE).folds
    assert {fold.chosen for fold in folds} == {EDGE}
    assert all(fold.out_of_sample > 0 for fold in folds)
    cut = Combinatorial(equal_groups(0, 365 * DAY_NS, 6), 2, embargo=DAY_NS, lead=DAY_NS)
    validated = cross_validate(found, cut, SHARPE)
    assert set(validated.chosen) == {EDGE}
    assert min(validated.sharpes) > 0.1
