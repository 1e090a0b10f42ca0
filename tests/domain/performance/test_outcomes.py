"""Figures of outcomes and claims: values, doubt, overlap, and what their intervals cover."""

import numpy as np
import pytest

from alphapulse.domain.analysis.proportions import wilson
from alphapulse.domain.decision.intervals import effective_size
from alphapulse.domain.performance.claims import Claims
from alphapulse.domain.performance.figures import Figure
from alphapulse.domain.performance.outcomes import Outcomes
from alphapulse.domain.performance.report import performance_of
from alphapulse.domain.performance.resampling import interval_of, sums_of_draws
from alphapulse.domain.performance.trades import Trade, Trades
from tests.domain.performance.ledgers import generated, trade


def figures(rows: list[Trade] | Trades, of: str = "signals", draws: int = 300) -> dict[str, Figure]:
    trades = rows if isinstance(rows, Trades) else Trades.of(rows)
    found = performance_of(trades, of=of, risk_ratio=0.01, draws=draws)
    return {figure.name: figure for figure in found.figures}


def apart(*results: float, **changes: object) -> list[Trade]:
    """Trades that do not overlap."""
    return [trade(f"d{i:02}", 10 * i, 10 * i + 5, net, **changes) for i, net in enumerate(results)]


def test_values_are_what_a_hand_finds() -> None:
    found = figures(apart(200, -100, 300, -100))
    values = {
        name: found[name].value for name in ("win_rate", "expectancy_bps", "expectancy_r", "holding_hours")
    }
    assert values == {
        "win_rate": 0.5,
        "expectancy_bps": 75,
        "expectancy_r": 0.375,
        "holding_hours": 5,
    }
    assert found["payoff_ratio"].value == pytest.approx(2.5)


def test_the_payoff_ratio_is_of_means_so_one_loss_and_two_gains_are_compared_as_one_and_one() -> None:
    assert figures(apart(200, -100, 300))["payoff_ratio"].value == pytest.approx(2.5)


def test_the_profit_factor_is_of_contributions_so_a_large_position_counts_for_more() -> None:
    rows = [trade("a", 0, 1, 100, size_ratio=0.8), trade("b", 0, 2, -100, size_ratio=0.2)]
    assert figures(rows)["profit_factor"].value == pytest.approx(4.0)
    assert figures(rows, of="candidates")["profit_factor"].value == pytest.approx(1.0)


def test_a_trade_without_a_result_is_neither_a_gain_nor_a_loss() -> None:
    assert figures(apart(200, 0, -100))["payoff_ratio"].value == pytest.approx(2.0)


def test_the_win_rate_has_wilsons_interval_on_the_number_that_do_not_overlap() -> None:
    trades = generated(200, days=20)
    effective = effective_size(trades.opened, trades.closed)
    assert effective < 150
    found = figures(trades)["win_rate"]
    rate = float(trades.is_win.mean())
    low, high = wilson(np.array([rate]), np.array([effective]))
    assert (found.value, found.low, found.high) == pytest.approx((rate, low[0], high[0]))
    assert found.sample == 200
    assert found.effective == pytest.approx(effective)


def test_doubtful_outcomes_bound_the_win_rate_and_the_expectancy() -> None:
    """Booked at the stop; it may have been the target. Costs are 10 bps as for the rest."""
    doubtful = trade(
        "d", 100, 105, -210, gross_bps=-200, worst_win=False, best_win=True, worst_bps=-200, best_bps=150
    )
    found = figures([*apart(90, 90, -110), doubtful])
    rates = [found[name].value for name in ("win_rate_worst", "win_rate", "win_rate_best")]
    assert rates == [0.5, 0.5, 0.75]
    means = [found[name].value for name in ("expectancy_worst_bps", "expectancy_bps", "expectancy_best_bps")]
    assert means == pytest.approx([-35, -35, (90 + 90 - 110 + 140) / 4])


def test_without_doubt_all_three_are_the_same() -> None:
    found = figures(apart(90, 90, -110))
    assert found["win_rate_worst"].value == found["win_rate"].value == found["win_rate_best"].value
    assert found["expectancy_worst_bps"].value == found["expectancy_best_bps"].value


def test_ratios_to_losses_have_no_value_without_any_and_say_so() -> None:
    found = figures(apart(100, 200, 300))
    assert (found["profit_factor"].value, found["profit_factor"].note) == (None, "no losses")
    assert (found["payoff_ratio"].value, found["payoff_ratio"].note) == (None, "no losses, or no gains")
    assert found["win_rate"].value == 1
    assert found["win_rate"].low is not None
    assert found["win_rate"].low < 0.5


def test_draws_without_a_loss_leave_the_profit_factor_without_an_upper_bound() -> None:
    """One loss in eight: about a third of the draws have none."""
    found = figures(apart(100, 100, 100, -100, 100, 100, 100, 100))["profit_factor"]
    assert found.value == pytest.approx(7, rel=0.05)
    assert found.low is not None
    assert found.high is None
    assert "open to one side" in found.note


def test_what_overlaps_widens_the_interval_of_the_mean() -> None:
    """The same results, but each of 20 that run together ends alike."""
    results = np.random.default_rng(1).normal(5, 100, 30)
    alone = [
        trade(f"a{i:03}", 10 * i, 10 * i + 5, float(np.roll(results, i // 30)[i % 30])) for i in range(600)
    ]
    together = [
        trade(f"b{i:03}", 10 * (i // 20), 10 * (i // 20) + 5, float(results[i // 20])) for i in range(600)
    ]
    one, other = figures(alone)["expectancy_bps"], figures(together)["expectancy_bps"]
    assert one.low is not None and one.high is not None  # noqa: PT018
    assert other.low is not None and other.high is not None  # noqa: PT018
    assert other.high - other.low > 2.5 * (one.high - one.low)
    assert (round(one.effective), round(other.effective)) == (600, 30)


def test_blocks_are_as_long_as_twice_what_overlaps() -> None:
    trades = generated(400, days=3)
    effective = effective_size(trades.opened, trades.closed)
    assert 400 / effective > 10
    found = performance_of(trades, of="signals", risk_ratio=0.01, seed=3, draws=100).figure("expectancy_bps")
    sums = sums_of_draws(trades.net_bps[None], overlapping=400 / effective, seed=3, draws=100)
    assert (found.low, found.high) == pytest.approx(interval_of(sums[0] / 400)[:2])
    short = sums_of_draws(trades.net_bps[None], overlapping=1.0, seed=3, draws=100)
    assert interval_of(short[0] / 400).low != pytest.approx(found.low)


def test_intervals_cover_the_truth_in_about_95_of_100_worlds() -> None:
    """The truth is that of a ledger of 300,000 trades."""
    truth = figures(generated(300_000, seed=10_000, days=2_000, hours=0.01), draws=0)
    hits = dict.fromkeys(("expectancy_bps", "profit_factor", "brier_skill", "mean_claim"), 0)
    for seed in range(150):
        found = figures(generated(300, seed=seed, days=100, hours=0.5), draws=200)
        for name in hits:
            low, high, true = found[name].low, found[name].high, truth[name].value
            assert low is not None
            assert high is not None
            assert true is not None
            hits[name] += low <= true <= high
    assert all(0.88 <= hit / 150 <= 0.99 for hit in hits.values()), hits


@pytest.mark.parametrize("lift", [0.0, 0.05, 0.15])
def test_the_interval_of_the_calibration_error_covers_the_true_one(lift: float) -> None:
    """Of exact claims it is 0; of claims that all say 0.15 too little it is 0.15."""
    hits = 0
    for seed in range(60):
        found = figures(generated(400, seed=seed, days=200, hours=0.5, lift=lift), draws=200)
        error, true = found["calibration_error"], lift
        assert error.low is not None
        assert error.high is not None
        hits += error.low <= true <= error.high
    assert hits >= 56


def test_what_exact_claims_show_by_chance_is_what_they_show_on_average() -> None:
    found = [figures(generated(400, seed=s, days=400, hours=0.1), draws=0) for s in range(40)]
    shown = np.mean([f["calibration_error"].value or 0.0 for f in found])
    chance = np.mean([f["calibration_error_by_chance"].value or 0.0 for f in found])
    assert chance == pytest.approx(shown, rel=0.1)


def test_claims_better_than_the_share_of_wins_have_skill_and_bins_on_the_diagonal() -> None:
    trades = generated(20_000, days=2_000, hours=0.1)
    claims = Claims(Outcomes(trades, seed=1, draws=0))
    assert claims.skill()[0] > 0.02
    assert len(claims.bins) == 10
    for each in claims.bins:
        assert each.won_low - 0.01 < each.claimed < each.won_high + 0.01


def test_trades_without_a_claim_do_not_count_for_the_claims() -> None:
    rows = [*apart(100, -100, 100, -100), trade("n", 200, 201, 100, confidence=float("nan"))]
    found = figures(rows)
    assert found["brier"].sample == 4
    assert found["win_rate"].sample == 5
    none = figures(apart(100, -100, confidence=float("nan")))
    assert (none["brier"].value, none["brier"].note) == (None, "nothing was claimed")


def test_skill_has_no_value_where_all_ended_alike() -> None:
    found = figures(apart(100, 100, 100))
    assert (found["brier_skill"].value, found["brier_skill"].note) == (None, "all ended alike")
    assert found["brier"].value == pytest.approx(0.04)
