"""Curve, drawdowns, months and exposure over time."""

from bisect import bisect_right
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.performance.equity import Equity, daily_of, equity_of
from alphapulse.domain.performance.series import curve_of, drawdowns, exposure_of, longest_drawdown, months_of
from alphapulse.domain.performance.trades import Trade, Trades
from alphapulse.domain.signals.idea import DAY_NS
from tests.domain.performance.ledgers import HOUR_NS, START, generated, trade

RESULTS = st.lists(st.integers(-500, 500), min_size=1, max_size=40)


def signals(rows: list[Trade], until: int | None = None) -> Equity:
    return equity_of(Trades.of(rows), of="signals", risk_ratio=0.01, until=until)


def one_after_another(results: list[int]) -> Equity:
    return signals([trade(f"d{i:02}", 10 * i, 10 * i + 5, float(net)) for i, net in enumerate(results)])


@given(RESULTS)
def test_the_drawdown_is_the_distance_to_the_highest_equity_before(results: list[int]) -> None:
    equity = one_after_another(results)
    path = [1.0, *equity.value.tolist()]
    expected = [1 - path[i] / max(path[: i + 1]) for i in range(1, len(path))]
    assert drawdowns(equity).tolist() == pytest.approx(expected, abs=1e-12)


@given(RESULTS)
def test_the_longest_drawdown_lasts_from_a_peak_until_one_as_high_or_the_end(results: list[int]) -> None:
    equity = one_after_another(results)
    times, path = [equity.begin, *equity.time.tolist()], [1.0, *equity.value.tolist()]
    longest = 0
    for i, top in enumerate(path):
        later = next((j for j in range(i + 1, len(path)) if path[j] >= top), None)
        falls = i + 1 < len(path) and path[i + 1] < top
        if falls:
            longest = max(longest, (equity.end if later is None else times[later]) - times[i])
    assert longest_drawdown(equity) == longest


def test_a_drawdown_that_has_not_ended_lasts_up_to_the_end_asked_for() -> None:
    equity = signals([trade("a", 0, 10, 100), trade("b", 20, 30, -100)], until=START + 100 * HOUR_NS)
    assert longest_drawdown(equity) == 90 * HOUR_NS


def test_the_drawdown_of_a_fixed_risk_is_a_share_of_the_equity_at_the_beginning() -> None:
    rows = [trade("a", 0, 1, 4_000), trade("b", 2, 3, -2_000)]
    equity = equity_of(Trades.of(rows), of="candidates", risk_ratio=0.1)
    assert equity.value.tolist() == pytest.approx([3.0, 2.0])
    assert drawdowns(equity).tolist() == pytest.approx([0.0, 1.0])


def test_a_curve_begins_at_the_first_opening_and_has_a_point_after_each_time_of_a_close() -> None:
    curve = curve_of(
        signals([trade("a", 1, 5, 1_000), trade("b", 2, 5, 1_000), trade("c", 3, 6, -2_000)]), points=100
    )
    assert [(p.time - START) / HOUR_NS for p in curve] == [1, 5, 6]
    assert [p.equity for p in curve] == pytest.approx([1, 1.1, 1.0])
    assert [p.drawdown for p in curve] == pytest.approx([0, 0, 1 - 1 / 1.1])


@pytest.mark.parametrize("points", [10, 11, 200, 1_999])
def test_a_thinned_curve_keeps_its_ends_its_extremes_and_its_deepest_drawdown(points: int) -> None:
    equity = equity_of(generated(3_000), of="signals", risk_ratio=0.01)
    curve = curve_of(equity, points=points)
    assert len(curve) <= points
    assert max(p.equity for p in curve) == max(1.0, equity.value.max())
    assert min(p.equity for p in curve) == min(1.0, equity.value.min())
    assert max(p.drawdown for p in curve) == drawdowns(equity).max()
    assert (curve[0].time, curve[-1].time) == (equity.begin, equity.time[-1])
    assert curve[-1].equity == equity.final
    assert [p.time for p in curve] == sorted({p.time for p in curve})


def test_a_thinned_curve_keeps_a_deepest_drawdown_that_is_no_extreme_of_the_equity() -> None:
    """Down to 0.5, up to 2, down to 0.8 and up again, within one stretch: 0.8 is 60 % below the peak."""
    values = [1.0, 0.8, 0.5, 0.9, 2.0, 1.3, 0.8, 1.1, 1.5, 1.6, *np.linspace(1.61, 1.9, 30).tolist()]
    nets = [1e4 * (b - a) / a for a, b in pairwise([1.0, *values])]
    rows = [trade(f"d{i:02}", 2 * i, 2 * i + 1, net, size_ratio=1.0) for i, net in enumerate(nets)]
    curve = curve_of(signals(rows), points=10)
    assert len(curve) <= 10
    assert max(p.drawdown for p in curve) == pytest.approx(0.6)


def test_nothing_is_left_of_positions_that_are_closed() -> None:
    """Sums and differences of 0.1, 0.2 and 0.3 leave a rounding: time out of the market has none."""
    sizes = (0.1, 0.2, 0.3)
    rows = [trade(f"d{i}", i, 10 + i, 0.0, size_ratio=size) for i, size in enumerate(sizes)]
    equity = signals([*rows, trade("e", 100, 110, 0.0)])
    held, _, _ = exposure_of(equity, daily_of(equity))
    assert held[2] == 0


def test_a_curve_of_fewer_points_than_its_extremes_need_is_refused_and_none_is_none() -> None:
    with pytest.raises(BadSample, match="9 points: 0, or at least 10"):
        curve_of(one_after_another([1]), points=9)
    assert curve_of(one_after_another([1]), points=0) == ()


def test_months_multiply_to_the_final_equity_and_count_the_trades_that_closed_in_them() -> None:
    equity = equity_of(generated(500), of="signals", risk_ratio=0.01)
    months = months_of(equity, daily_of(equity))
    assert float(np.prod([1 + m.value for m in months])) == pytest.approx(equity.final, rel=1e-12)
    assert sum(m.trades for m in months) == 500
    assert [(m.year, m.month) for m in months] == [(2022, i) for i in range(1, 13)] + [(2023, 1)]


def test_a_month_without_a_close_is_in_the_table() -> None:
    equity = signals([trade("a", 0, 24 * 70, 1_000)])
    months = months_of(equity, daily_of(equity))
    assert [(m.month, m.trades, round(m.value, 9)) for m in months] == [(1, 0, 0), (2, 0, 0), (3, 1, 0.05)]


def test_months_of_a_fixed_risk_add_up() -> None:
    equity = equity_of(generated(300, is_refused=True), of="refused", risk_ratio=0.01)
    assert sum(m.value for m in months_of(equity, daily_of(equity))) == pytest.approx(equity.final - 1)


def test_exposure_is_the_notional_over_the_equity_for_the_time_that_it_was_held() -> None:
    """Half the equity for 12 of 36 hours, then, of 1.05 after a close, 0.5 of it for another 12."""
    equity = signals([trade("a", 0, 12, 1_000), trade("b", 24, 36, 0)])
    held, inside, counted = exposure_of(equity, daily_of(equity))
    assert held.tolist() == pytest.approx([0.5 * 0.5, 0.5 * 0.5])
    assert inside.tolist() == pytest.approx([0.5, 0.5])
    assert counted.tolist() == pytest.approx([1.0, 0.5])


@given(
    st.lists(
        st.tuples(st.integers(0, 90), st.integers(0, 60), st.integers(-300, 300)), min_size=1, max_size=10
    )
)
def test_exposure_is_what_a_look_at_every_hour_finds(rows: list[tuple[int, int, int]]) -> None:
    equity = signals([trade(f"d{i}", o, o + h, float(net)) for i, (o, h, net) in enumerate(rows)])
    held, inside, counted = exposure_of(equity, daily_of(equity))
    total, busy = 0.0, 0
    trades = equity.trades
    for hour in range((equity.end - equity.begin) // HOUR_NS):
        now = equity.begin + hour * HOUR_NS
        is_open = (trades.opened <= now) & (trades.closed > now)
        worth = [1.0, *equity.value.tolist()][bisect_right(equity.time.tolist(), now)]
        total += float(equity.notional[is_open].sum()) / worth / 24
        busy += bool(is_open.any())
    assert float(held.sum()) == pytest.approx(total, abs=1e-9)
    assert float(inside.sum()) == pytest.approx(busy / 24, abs=1e-9)
    assert float(counted.sum()) == pytest.approx((equity.end - equity.begin) / DAY_NS)


def test_time_after_the_last_close_counts_as_out_of_the_market() -> None:
    equity = signals([trade("a", 0, 12, 100)], until=START + 2 * DAY_NS)
    _, inside, counted = exposure_of(equity, daily_of(equity))
    assert (inside.sum(), counted.sum()) == pytest.approx((0.5, 2.0))
