"""A trivial strategy through the whole engine has the orders and the equity of vectorbt's portfolio.

Every fortieth bar it is long above the mean of fifty closes and short below it, with half of the equity, for
twenty bars, whatever happens. vectorbt lives in the environment of the benchmarks; it runs by subprocess.

Without costs the equity is equal. With them theirs pays each fee on what changes hands, ours both on the
notional at the opening (so do venues whose fee is told with the signal): they differ by the fee on what a
trade gained, which is checked as well.
"""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.decision.strategy import Gate, Geometry, Learning, Risk, StrategyDefined
from alphapulse.domain.performance.equity import Equity, equity_of
from alphapulse.processes.backtesting import run_backtest
from tests.decided_log import append_bars
from tests.domain.signals.engine_world import MINUTE, START, bar_events, seat, strategy
from tests.launch import ROOT

PYTHON = ROOT / ".venv-bench" / "bin" / "python"
BARS, EVERY, MEAN, HELD = 2_000, 40, 50, 20
FEE_BPS = 7.5

Arrays = dict[str, np.ndarray[Any, Any]]


def rule(closes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The side to open at each bar; 0: none."""
    means = np.convolve(closes, np.ones(MEAN) / MEAN, mode="valid")
    sides = np.zeros(BARS, np.int64)
    places = np.arange(EVERY * 10, BARS - HELD - 1, EVERY)
    sides[places] = np.where(closes[places] > means[places - MEAN + 1], 1, -1)
    return sides


def trivial(fee_bps: float) -> StrategyDefined:
    """Hears the volume of the bar alone, lets everything pass, and never meets its levels."""
    return strategy(
        seat("rule", least=0.5),
        geometries=(Geometry(stop_atr=500.0, target_atr=500.0, horizon_bars=HELD),),
        quorum=1.0,
        min_consensus=1e-6,
        gate=Gate(threshold=1e-9, margin=-1e6, breaker_outcomes=1_000_000, breaker_window=1),
        learning=Learning(least=1, refit_ratio=1.0, prior_weight=1e9, window=2_000),
        risk=Risk(
            fee_bps=fee_bps,
            slippage_bps=0.0,
            risk_ratio=1.0,
            max_size_ratio=0.5,
            max_open=1,
            daily_loss_ratio=1.0,
            max_drawdown_ratio=1.0,
            cooldown_bars=0,
        ),
    )


async def ours(closes: np.ndarray[Any, Any], sides: np.ndarray[Any, Any], fee_bps: float) -> Equity:
    store = MemoryEventStore()
    upto = await append_bars(store, bar_events("T", closes, 1_000.0 + 100.0 * sides))
    run = await run_backtest(store, trivial(fee_bps), upto=upto)
    assert set(run.trades.reason.tolist()) == {"expiry"}
    return equity_of(run.trades, of="signals", risk_ratio=0.01)


def theirs(folder: Path, *cases: tuple[str, float, Arrays]) -> list[Arrays]:
    given = {f"{name}{n}": values for n, (*_, its) in enumerate(cases) for name, values in its.items()}
    np.savez(folder / "given.npz", **given)
    script = [str(PYTHON), str(Path(__file__).with_name("vectorbt_portfolio.py"))]
    files = [str(folder / "given.npz"), str(folder / "found.npz")]
    kinds = [text for size_type, fee, _ in cases for text in (size_type, str(fee))]
    subprocess.run([*script, *files, *kinds], check=True, capture_output=True, timeout=300)
    found = np.load(folder / "found.npz")
    return [{name: found[f"{name}{n}"] for name in ("equity", "bar")} for n in range(len(cases))]


def market() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    walk = 100 * np.exp(np.cumsum(np.random.default_rng(4).normal(0.0, 5e-4, BARS)))
    closes = np.round(walk, 4)  # as they are in the log
    return closes, rule(closes)


def signals_of(equity: Equity, closes: np.ndarray[Any, Any], size: np.ndarray[Any, Any]) -> Arrays:
    """What vectorbt is given: the rule from our first signal on, which waits for the first claim."""
    first = bar_of(equity.trades.opened.min())
    sides = np.where(np.arange(BARS) < first, 0, rule(closes))
    exits = np.zeros(BARS, np.int64)
    exits[HELD:] = sides[:-HELD]
    return {"close": closes, "side": sides, "exits": exits, "size": size}


def bar_of(time: Any) -> Any:
    """The bar at whose end this is."""
    return (time - START) // MINUTE - 1


@pytest.mark.long
@pytest.mark.skipif(not PYTHON.exists(), reason="make .venv-bench/.installed makes the environment")
async def test_orders_and_equity_are_those_of_vectorbt(tmp_path: Path) -> None:
    closes, sides = market()
    free, paid = await ours(closes, sides, 0.0), await ours(closes, sides, FEE_BPS)
    sizes = np.zeros(BARS)
    sizes[bar_of(paid.trades.opened)] = paid.notional
    their_free, their_paid = theirs(
        tmp_path,
        ("percent", 0.0, signals_of(free, closes, np.full(BARS, 0.5))),
        ("value", FEE_BPS / 1e4, signals_of(paid, closes, sizes)),
    )
    for equity, found in ((free, their_free), (paid, their_paid)):
        trades = equity.trades
        assert len(trades) > 30
        assert set(trades.side.tolist()) == {1, -1}
        bars = np.sort(np.concatenate([bar_of(trades.opened), bar_of(trades.closed)]))
        assert bars.tolist() == found["bar"].tolist(), "two orders a trade, at the same bars"
    assert np.abs(free.value - their_free["equity"][bar_of(free.time)]).max() < 1e-12
    assert abs(free.final - 1) > 1e-3
    # They charge the exit on its own value, notional * (1 + side * gain); ours charges the notional.
    gains = paid.trades.side * paid.notional * paid.trades.gross_bps / 1e4
    more = np.cumsum(gains) * FEE_BPS / 1e4
    assert np.abs(paid.value - more - their_paid["equity"][bar_of(paid.time)]).max() < 1e-12
    assert np.abs(more).max() > 1e-6
