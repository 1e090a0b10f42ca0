"""The whole report: it says all it can of any ledger, and why not where it cannot."""

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.intervals import MAX_DRAWS, BadSample
from alphapulse.domain.performance.chance_figures import daily_sharpe
from alphapulse.domain.performance.deflation import TrialCount, expected_max_sharpe
from alphapulse.domain.performance.equity import daily_of, equity_of
from alphapulse.domain.performance.figures import Performance
from alphapulse.domain.performance.report import performance_of
from alphapulse.domain.performance.trades import Trade, Trades
from alphapulse.domain.signals.idea import DAY_NS
from tests.domain.performance.ledgers import FIRST_DAY, HOUR_NS, START, generated, trade

NAMES = [
    "total_return",
    "annual_return",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "days_below_peak",
    "var_95",
    "var_99",
    "es_95",
    "es_99",
    "tail_ratio",
    "skew",
    "kurtosis",
    "max_drawdown_by_close",
    "longest_drawdown",
    "win_rate",
    "win_rate_worst",
    "win_rate_best",
    "profit_factor",
    "payoff_ratio",
    "expectancy_bps",
    "expectancy_worst_bps",
    "expectancy_best_bps",
    "expectancy_r",
    "holding_hours",
    "exposure",
    "time_in_market",
    "turnover",
    "correlation",
    "beta",
    "probabilistic_sharpe",
    "least_days",
    "trials",
    "expected_max_sharpe",
    "deflated_sharpe",
    "mean_claim",
    "brier",
    "brier_skill",
    "calibration_error",
    "calibration_error_by_chance",
]
MARKET = np.arange(FIRST_DAY, FIRST_DAY + 365), np.random.default_rng(4).normal(0, 0.03, 365)
TRIALS = TrialCount(trials=20, sharpe_variance=0.002)


def report(trades: Trades, of: str = "signals", draws: int = 100) -> Performance:
    return performance_of(trades, of=of, risk_ratio=0.01, market=MARKET, trials=TRIALS, draws=draws)


def assert_honest(found: Performance) -> None:
    assert [figure.name for figure in found.figures] == NAMES
    for f in found.figures:
        numbers = [x for x in (f.value, f.low, f.high, f.effective) if x is not None]
        assert all(math.isfinite(x) for x in numbers), f
        assert all(math.copysign(1, x) == 1 for x in numbers if x == 0), f
        assert f.value is not None or (f.note and f.low is None and f.high is None), f
        assert f.low is None or f.high is None or f.low <= f.high, f
        assert 0 <= f.effective <= f.sample * (1 + 1e-9), f
    everything = msgspec.json.decode(msgspec.json.encode(found), type=Performance)
    assert everything == found


LEDGERS = st.lists(
    st.builds(
        lambda i, opened, held, net, size, claim, number: trade(
            f"d{i}",
            opened,
            opened + held,
            net,
            size_ratio=size,
            confidence=claim,
            number=number,
            net_r=net / 150,
        ),
        st.integers(0, 99),
        st.integers(0, 500),
        st.integers(0, 100),
        st.sampled_from([0.0, 1e-9, 50.0, -75.0, 3_000.0, -12_000.0]),
        st.sampled_from([0.0, 0.1, 1.0]),
        st.sampled_from([float("nan"), 0.0, 0.5, 0.9, 1.0]),
        st.integers(0, 1),
    ),
    max_size=12,
)


@given(LEDGERS, st.sampled_from(["signals", "refused", "candidates"]))
def test_no_ledger_gives_a_nan_or_an_infinity_and_what_has_no_value_has_a_reason(
    rows: list[Trade], of: str
) -> None:
    assert_honest(report(Trades.of(rows), of, draws=20))


def test_nothing_is_said_of_no_trades_but_why() -> None:
    found = report(Trades.of([]))
    assert_honest(found)
    assert (found.trades, found.days, found.first, found.last) == (0, 0, 0, 0)
    assert (found.curve, found.months, found.bins) == ((), (), ())
    known = {f.name for f in found.figures if f.value is not None}
    assert known == {"trials", "expected_max_sharpe"}
    assert found.figure("sharpe").note == "no trades"
    assert found.figure("win_rate").note == "no trades"


def test_of_one_trade_on_one_day_there_is_a_result_and_no_ratio() -> None:
    found = report(Trades.of([trade("a", 1, 2, 100)]))
    assert_honest(found)
    assert found.days == 1
    assert found.figure("total_return").value == pytest.approx(0.005)
    assert found.figure("sharpe").note == "fewer than 2 days"
    assert found.figure("expectancy_bps").value == 100
    assert found.figure("expectancy_bps").low is None
    assert found.figure("win_rate").low is not None
    assert found.figure("correlation").note == "1 days in common with the market, of 3"


def test_of_two_trades_ratios_have_values_and_the_intervals_say_how_little_they_rest_on() -> None:
    found = report(Trades.of([trade("a", 1, 2, 100), trade("b", 1_001, 1_002, -100)]))
    assert_honest(found)
    assert found.figure("sharpe").value is not None
    assert found.figure("sharpe").effective <= 2
    assert "no interval: undefined in" in found.figure("sharpe").note
    assert "worth fewer than 20" in found.figure("expectancy_bps").note
    assert "42 days: fewer than ten of them are in the tail" in found.figure("var_99").note
    assert "42 days: they say little of a year" in found.figure("annual_return").note


def test_once_all_is_lost_nothing_is_said_of_returns() -> None:
    """A loss of 120 % of a position of the whole equity; what can be counted still is."""
    found = report(Trades.of([trade("a", 1, 30, -12_000, size_ratio=1.0), trade("b", 40, 50, 100)]))
    assert_honest(found)
    assert found.figure("sharpe").note.startswith("all was lost")
    assert found.figure("exposure").note.startswith("all was lost")
    assert found.figure("correlation").note.startswith("all was lost")
    assert found.figure("win_rate").value == 0.5
    assert found.figure("max_drawdown_by_close").value is not None
    assert found.months == ()


def test_a_full_ledger_has_all_figures_with_their_samples() -> None:
    found = report(generated(800, lift=0.1))
    assert_honest(found)
    assert all(f.value is not None for f in found.figures)
    drawn = [
        f for f in found.figures if f.name in ("sharpe", "profit_factor", "exposure", "beta", "brier_skill")
    ]
    assert all(f.low is not None and f.high is not None for f in drawn)
    assert all(f.sample == 800 for f in found.figures if f.name in ("win_rate", "expectancy_r", "brier"))
    assert all(f.sample == found.days for f in found.figures if f.name in ("sharpe", "var_95", "turnover"))


def test_the_same_seed_gives_the_same_bits_and_another_one_other_intervals() -> None:
    trades = generated(300)
    first, again = (performance_of(trades, of="signals", risk_ratio=0.01, draws=100) for _ in range(2))
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    other = performance_of(trades, of="signals", risk_ratio=0.01, draws=100, seed=7)
    assert other.figure("sharpe").value == first.figure("sharpe").value
    assert other.figure("sharpe").low != first.figure("sharpe").low


def test_without_draws_values_are_the_same_and_only_win_rates_have_bounds() -> None:
    trades = generated(300)
    drawn, plain = report(trades), report(trades, draws=0)
    assert [f.value for f in drawn.figures] == [f.value for f in plain.figures]
    bounded = {f.name for f in plain.figures if f.low is not None}
    assert bounded == {"win_rate", "win_rate_worst", "win_rate_best"}


def test_the_deflated_ratio_needs_the_number_of_trials_and_falls_with_it() -> None:
    trades = generated(300)
    unknown = performance_of(trades, of="signals", risk_ratio=0.01, draws=0)
    assert unknown.figure("deflated_sharpe").note == "how many were tried is not known"
    values = [
        performance_of(
            trades,
            of="signals",
            risk_ratio=0.01,
            draws=0,
            trials=TrialCount(trials=count, sharpe_variance=0.02),
        )
        .figure("deflated_sharpe")
        .value
        for count in (1, 10, 1_000)
    ]
    assert values[0] == unknown.figure("probabilistic_sharpe").value
    assert values == sorted(values, key=lambda v: -(v or 0))
    assert values[0] != values[2]


def test_what_chance_shows_is_annualised_as_the_sharpe_ratio_is() -> None:
    found = report(generated(300), draws=0)
    assert found.figure("expected_max_sharpe").value == pytest.approx(expected_max_sharpe(TRIALS) * 365**0.5)
    assert found.figure("trials").value == 20


def test_the_turnover_counts_what_is_bought_and_what_is_sold() -> None:
    """Half the equity, twice, in two days: in and out."""
    found = report(Trades.of([trade("a", 1, 2), trade("b", 25, 26)]), draws=0)
    assert found.figure("turnover").value == pytest.approx(2 * (0.5 + 0.5) / 2 * 365)


def test_the_sharpe_ratio_of_a_trial_is_that_of_the_report_by_day() -> None:
    trades = generated(300)
    daily = daily_of(equity_of(trades, of="signals", risk_ratio=0.01))
    by_day = daily_sharpe(daily.returns)
    assert by_day is not None
    assert by_day * math.sqrt(365) == pytest.approx(report(trades, draws=0).figure("sharpe").value)
    assert daily_sharpe(np.zeros(9)) is None


def test_the_market_counts_on_the_days_that_both_have() -> None:
    trades = generated(300, days=50)
    days = np.arange(FIRST_DAY + 10, FIRST_DAY + 500)
    returns = np.random.default_rng(1).normal(0, 0.02, len(days))
    returns[3] = np.nan
    found = performance_of(trades, of="signals", risk_ratio=0.01, market=(days, returns), draws=0)
    assert found.figure("beta").sample == found.days - 10 - 1
    own = daily_of(equity_of(trades, of="signals", risk_ratio=0.01))
    at = np.arange(10, found.days) != 13
    expected = np.corrcoef(own.returns[10:][at], returns[: found.days - 10][at])[0, 1]
    assert found.figure("correlation").value == pytest.approx(expected)


def test_a_longer_end_adds_days_without_a_return() -> None:
    trades = generated(100, days=30)
    found = performance_of(trades, of="signals", risk_ratio=0.01, until=START + 100 * DAY_NS, draws=0)
    assert found.days == 101 - (trades.opened.min() // DAY_NS - FIRST_DAY)
    assert found.last == trades.closed.max()


def test_an_earlier_beginning_adds_days_without_a_return_and_time_out_of_the_market() -> None:
    rows = Trades.of([trade("a", 240, 252, 100), trade("b", 260, 262, -50)])
    late = performance_of(rows, of="signals", risk_ratio=0.01, draws=0)
    early = performance_of(rows, of="signals", risk_ratio=0.01, draws=0, since=START)
    assert (late.days, early.days) == (1, 11)
    assert early.first == START
    assert early.figure("total_return").value == late.figure("total_return").value
    assert early.figure("time_in_market").value == pytest.approx(14 / 262)
    assert early.figure("sharpe").value is not None
    after = performance_of(rows, of="signals", risk_ratio=0.01, draws=0, since=START + 300 * HOUR_NS)
    assert after == late


def test_a_beginning_of_nothing_is_nothing() -> None:
    found = performance_of(Trades.of([]), of="signals", risk_ratio=0.01, since=START)
    assert (found.days, found.first) == (0, 0)


def test_what_was_not_known_at_the_end_does_not_change_the_report() -> None:
    trades = generated(300)
    until = START + 200 * DAY_NS
    later = trades.closed > until
    changed = replace(trades, net_bps=np.where(later, 5_000.0, trades.net_bps))
    one, other = (
        performance_of(each, of="signals", risk_ratio=0.01, until=until, draws=50)
        for each in (trades, changed)
    )
    assert later.any()
    assert one == other


def test_a_hundred_thousand_candidates_fit_in_bounded_memory() -> None:
    trades = generated(100_000, days=1_000, is_refused=True)
    tracemalloc.start()
    found = performance_of(trades, of="refused", risk_ratio=0.0001, draws=50)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_honest(found)
    assert len(found.curve) <= 800
    assert most < 200e6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"year_days": 0.0}, "a year of 0"),
        ({"year_days": math.inf}, "a year of inf"),
        ({"draws": -1}, "-1 draws"),
        ({"draws": MAX_DRAWS + 1}, "100001 draws of at most 100000"),
        ({"curve_points": 3}, "3 points"),
        ({"risk_ratio": 1.5}, "a risk of 1.5"),
        ({"of": "all"}, "all is none of"),
    ],
)
def test_arguments_out_of_range_are_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(BadSample, match=says):
        performance_of(generated(5), **{"of": "signals", "risk_ratio": 0.01, **given})  # type: ignore[arg-type]


def test_every_figure_is_defined_on_its_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "performance.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []
