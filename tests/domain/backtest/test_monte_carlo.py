"""Bands hold what could have come of the same trades; the same seed gives the same bits."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.backtest import monte_carlo as mc
from alphapulse.domain.backtest.monte_carlo import BadRuns, Noise, monte_carlo
from alphapulse.domain.backtest.results import Band, MonteCarlo
from alphapulse.domain.performance.equity import Equity, daily_of, equity_of
from alphapulse.domain.performance.trades import Trades
from tests.domain.backtest.ledgers import HOUR_NS, ledger, normal

KINDS = ("trades", "order", "blocks", "noise")


def of_signals(trades: Trades) -> Equity:
    return equity_of(trades, of="signals", risk_ratio=0.01)


def band(found: MonteCarlo, name: str) -> Band:
    return next(each for each in found.bands if each.name == name)


def one_by_one(seed: int, count: int = 60) -> Trades:
    """None overlaps another."""
    opened = np.arange(count) * 7 * HOUR_NS
    return ledger(opened, opened + 5 * HOUR_NS, np.random.default_rng(seed).normal(0.1, 1, count))


def test_the_same_seed_gives_the_same_bits_whatever_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trades = normal(1, days=40)
    found = monte_carlo(trades, runs=50, seed=3)
    assert tuple(each.kind for each in found) == KINDS
    assert monte_carlo(trades, runs=50, seed=3) == found
    assert monte_carlo(trades, runs=50, seed=4) != found
    monkeypatch.setattr(mc, "_AT_ONCE", 1_000)
    assert monte_carlo(trades, runs=50, seed=3) == found


@given(st.integers(0, 10_000), st.sampled_from(["signals", "candidates"]))
def test_another_order_ends_at_the_same_equity(seed: int, of: str) -> None:
    found = mc.reordered(equity_of(one_by_one(seed), of=of, risk_ratio=0.01), runs=40, seed=seed)
    ends = band(found, "final_equity")
    assert list(ends.quantiles.values()) == pytest.approx([ends.observed] * 5, rel=1e-12)
    assert len(set(band(found, "max_drawdown").quantiles.values())) > 1


@given(st.integers(0, 10_000))
def test_what_was_observed_is_the_equity_of_the_book(seed: int) -> None:
    """Where no trade overlaps another; else the book's sizes rest on an equity that is still open."""
    equity = of_signals(one_by_one(seed))
    for found in monte_carlo(equity.trades, runs=2, seed=1):
        assert band(found, "final_equity").observed == pytest.approx(equity.final, rel=1e-12)
        values = equity.value if found.kind != "blocks" else daily_of(equity).end
        path = np.concatenate([[1.0], values])
        peaks = np.maximum.accumulate(path)
        assert band(found, "max_drawdown").observed == pytest.approx((1 - path / peaks).max(), abs=1e-12)
        below = (path < peaks * (1 - 1e-13))[1:]
        assert band(found, "under_water").observed == pytest.approx(below.mean(), abs=2.1 / len(below))


def test_time_under_water_is_counted_from_peak_to_recovery() -> None:
    trades = ledger(
        np.arange(8) * HOUR_NS, np.arange(1, 9) * HOUR_NS, np.array([1.0, -1, -1, -1, 9, -1, 9, 1])
    )
    found = mc.reordered(of_signals(trades), runs=1)
    assert band(found, "under_water").observed == 4 / 8
    assert band(found, "longest_under_water").observed == 3 / 8


def test_bands_of_drawn_trades_are_those_of_the_theory() -> None:
    """A sum of n draws of one spread: its deviation is that times the square root of n."""
    trades = one_by_one(5, count=400)
    found = mc.resampled(equity_of(trades, of="candidates", risk_ratio=0.01), runs=4_000, seed=2)
    quantiles = band(found, "final_equity").quantiles
    deviation = 0.01 * trades.net_r.std() * math.sqrt(400)
    mean = 1 + 0.01 * trades.net_r.sum()
    assert quantiles["0.5"] == pytest.approx(mean, abs=4 * deviation / math.sqrt(4_000))
    assert quantiles["0.95"] - quantiles["0.05"] == pytest.approx(2 * 1.645 * deviation, rel=0.05)


def test_blocks_keep_good_and_bad_times_together() -> None:
    """Good and bad weeks at random: drawn day by day they even out sooner than they do."""
    opened = np.arange(420) * 24 * HOUR_NS
    weeks = np.random.default_rng(1).choice([-1.0, 1.0], 60)
    moods = ledger(opened, opened + HOUR_NS, np.repeat(weeks, 7))
    equity = of_signals(moods)

    def width(found: MonteCarlo) -> float:
        quantiles = band(found, "final_equity").quantiles
        return quantiles["0.95"] - quantiles["0.05"]

    blocks = mc.of_days(equity, runs=1_000)
    assert blocks.note == "blocks of 15 of 420 days"
    assert width(blocks) > 1.5 * width(mc.resampled(equity, runs=1_000))


def test_noise_costs_what_it_says() -> None:
    trades = one_by_one(6, count=300)
    equity = equity_of(trades, of="candidates", risk_ratio=0.01)
    none = mc.with_noise(equity, 20, 1, Noise(skipped=0, slippage_bps=0, scale=0))
    assert set(band(none, "final_equity").quantiles.values()) == {band(none, "final_equity").observed}
    missed = mc.with_noise(equity, 20, 1, Noise(skipped=1))
    assert set(band(missed, "final_equity").quantiles.values()) == {1.0}
    worse = mc.with_noise(equity, 2_000, 1, Noise(skipped=0, slippage_bps=10, scale=0))
    lost = equity.final - band(worse, "final_equity").quantiles["0.5"]
    assert lost == pytest.approx(equity.size.sum() * 5 / 1e4, rel=0.02), "5 bps of each on average"
    moved = mc.with_noise(equity, 2_000, 1, Noise(skipped=0, slippage_bps=0, scale=0.5))
    assert band(moved, "final_equity").quantiles["0.5"] == pytest.approx(equity.final, abs=0.01)


def test_what_is_lost_stays_lost() -> None:
    opened = np.arange(6) * HOUR_NS
    trades = ledger(opened, opened + HOUR_NS // 2, np.array([1.0, 1, -3, 1, 1, 1]), stop_bps=5_000, size=1.0)
    found = monte_carlo(trades, runs=30)
    assert [each.kind for each in found] == ["trades", "order", "noise"], "days after that have no returns"
    order = found[1]
    assert set(band(order, "final_equity").quantiles.values()) == {0.0}
    assert set(band(order, "max_drawdown").quantiles.values()) == {1.0}
    with pytest.raises(BadRuns, match="1 days, on one of which all was lost"):
        mc.of_days(of_signals(trades))


def test_a_fan_begins_at_1_and_ends_at_the_band() -> None:
    for count, points in ((2, 3), (50, 51), (1_000, 101)):
        found = mc.resampled(of_signals(one_by_one(1, count=count)), runs=20)
        fan = found.fan
        assert len(fan.shares) == len(fan.observed) == points
        assert (fan.shares[0], fan.shares[-1]) == (0.0, 1.0)
        assert sorted(fan.shares) == list(fan.shares)
        assert {q: line[-1] for q, line in fan.lines.items()} == band(found, "final_equity").quantiles
        assert {line[0] for line in fan.lines.values()} == {1.0}


def test_few_trades_make_no_bands() -> None:
    assert monte_carlo(one_by_one(1, count=1)) == ()
    assert monte_carlo(Trades.of([])) == ()
    with pytest.raises(BadRuns, match=r"1000 runs \(1 to 10000\) of 1 trades \(2 at least\)"):
        mc.resampled(of_signals(one_by_one(1, count=1)))
    with pytest.raises(BadRuns, match=r"1000 runs .* of 1 days"):
        mc.of_days(of_signals(one_by_one(1, count=2)))


def test_runs_have_limits() -> None:
    equity = of_signals(one_by_one(1))
    for runs in (0, mc.MAX_RUNS + 1):
        with pytest.raises(BadRuns, match=f"{runs} runs"):
            mc.reordered(equity, runs=runs)
    with pytest.raises(BadRuns, match=r"skipped=1\.5"):
        mc.with_noise(equity, noise=Noise(skipped=1.5))
    long = of_signals(one_by_one(1, count=5_001))
    with pytest.raises(BadRuns, match=r"10000 runs .* of 5001 trades .* 50,000,000 of both"):
        mc.resampled(long, runs=10_000)


def test_many_trades_have_fewer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mc, "MAX_STEPS", 700)
    assert [each.runs for each in monte_carlo(one_by_one(1, count=60), runs=20)] == [11, 11, 11, 11]
    assert [each.runs for each in monte_carlo(one_by_one(1, count=60), runs=5)] == [5, 5, 5, 5]


def test_memory_is_that_of_a_round() -> None:
    equity = of_signals(one_by_one(1, count=5_000))

    def peak(runs: int) -> int:
        tracemalloc.start()
        mc.with_noise(equity, runs=runs)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(1_600) - peak(400) < 1_200 * (200 * 8 * 3), "only what is shown of each run"
