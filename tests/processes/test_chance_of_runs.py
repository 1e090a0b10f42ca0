"""Configurations of the engine itself on a market without an edge: the best is chance; with one it is not."""

from collections.abc import Mapping

import pytest

from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.backtest.selection import Rule, daily_returns
from alphapulse.domain.decision.strategy import Gate, Geometry, Learning, Risk, StrategyDefined
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.performance.deflation import TrialCount
from alphapulse.domain.performance.overfit import overfit_of
from alphapulse.domain.performance.report import performance_of
from alphapulse.domain.performance.trades import Trades
from alphapulse.processes.backtesting import run_backtest
from tests.decided_log import append_bars
from tests.domain.signals.engine_world import START, bar_events, closes_and_volumes, seat, strategy

DAYS = 28


def configurations() -> Mapping[str, StrategyDefined]:
    """Without costs, and with a gate that lets everything through: what is left is what the voters know."""
    found = {}
    for stop, target in ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0)):
        for lag, least in ((0.0, 0.6), (0.0, 0.7), (1.0, 1.40), (1.0, 1.45)):
            found[f"stop {stop:g} target {target:g} least {least:g} lag {lag:g}"] = strategy(
                seat("a", least=least, lag=lag, noise=0.5),
                geometries=(Geometry(stop_atr=stop, target_atr=target, horizon_bars=15),),
                quorum=1.0,
                min_consensus=1e-6,
                gate=Gate(threshold=1e-9, margin=-1e6, breaker_outcomes=1_000_000, breaker_window=1),
                learning=Learning(least=1, refit_ratio=5.0, prior_weight=1e9, window=500),
                risk=Risk(
                    fee_bps=0.0,
                    slippage_bps=0.0,
                    risk_ratio=0.001,
                    max_drawdown_ratio=1.0,
                    daily_loss_ratio=1.0,
                    cooldown_bars=0,
                ),
            )
    return found


async def ledgers(edge: float) -> Mapping[str, Trades]:
    store = MemoryEventStore()
    closes, volumes = closes_and_volumes(3, DAYS * 1_440, edge=edge)
    upto = await append_bars(store, bar_events("W", closes, volumes, size=1_440))
    return {
        name: (await run_backtest(store, defined, upto=upto, candidates=False)).trades
        for name, defined in configurations().items()
    }


async def best_of(edge: float) -> tuple[float, float, float, float]:
    """Sharpe ratio of the best, the probability that it is above 0, deflated; that of overfitting."""
    found = await ledgers(edge)
    returns = daily_returns(found, START, START + DAYS * 1_440 * MINUTE_NS, Rule())
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    trials = TrialCount(trials=len(found), sharpe_variance=float(sharpes.var(ddof=1)))
    best = list(found.values())[int(sharpes.argmax())]
    assert len(best) > 100
    performance = performance_of(best, of="signals", risk_ratio=0.01, trials=trials, draws=0, curve_points=0)
    names = ("sharpe", "probabilistic_sharpe", "deflated_sharpe")
    sharpe, naive, deflated = (performance.figure(name).value for name in names)
    assert sharpe is not None
    assert naive is not None
    assert deflated is not None
    return sharpe, naive, deflated, overfit_of(returns, blocks=10).probability


@pytest.mark.long
async def test_the_best_configuration_on_a_random_walk_is_chance() -> None:
    """Of overfitting one history of so few rules, which look at one market, tells little (test_chance.py)."""
    sharpe, naive, deflated, _ = await best_of(edge=0.0)
    assert sharpe > 3
    assert naive > 0.95, "without counting the others it would have passed"
    assert deflated < 0.95


@pytest.mark.long
async def test_the_best_configuration_of_a_market_with_an_edge_is_not() -> None:
    sharpe, naive, deflated, overfit = await best_of(edge=3e-4)
    assert sharpe > 10
    assert naive > 0.99
    assert deflated > 0.95
    assert overfit < 0.05
