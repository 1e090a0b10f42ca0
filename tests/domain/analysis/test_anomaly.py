"""Anomalies and volume signals against slow formulas of numpy, and what they say of markets made for them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.fields import (
    CLOSE,
    HIGH,
    INPUTS,
    LOW,
    OPEN,
    TAKER_BUY,
    TIME,
    TRADES,
    VOLUME,
    Floats,
)
from alphapulse.domain.analysis.logarithm import logs
from alphapulse.domain.analysis.panel import Panel, Plan, compute
from alphapulse.domain.analysis.registry import BadParameter, Spec
from alphapulse.domain.analysis.robust import LIMIT, robust_scores
from tests.domain.analysis.series import ADVERSARIAL, walk

COUNT = 700


def outputs(text: str, bars: Floats) -> Floats:
    return compute([Spec.parse(text)], bars)


def slow_score(value: float, window: Floats) -> float:
    """The definition, by sorting."""
    if not np.isfinite([value, *window]).all():
        return math.nan
    median = np.median(window)
    distances = np.abs(np.sort(window) - median)
    spread = float(np.median(distances)) * 1.4826
    if spread == 0:
        spread = sum(distances.tolist()) / len(window) * math.sqrt(math.pi / 2)
    if value == median:
        return 0.0
    return (
        float(np.clip((value - median) / spread, -1000, 1000))
        if spread
        else math.copysign(1000, value - median)
    )


def slow_scores(values: Floats, window: int) -> Floats:
    scores = [slow_score(values[i], values[i - window : i]) for i in range(window, len(values))]
    return np.array([math.nan] * window + scores)


def log_of(ratio: Floats) -> Floats:
    """Our own logarithm, which has a test of its own: numpy's may differ in the last bit."""
    into = np.empty_like(ratio)
    logs(ratio, into)
    return into


def observed(bars: Floats) -> dict[str, Floats]:
    """What each anomaly looks at."""
    last = np.concatenate([[math.nan], bars[CLOSE, :-1]])
    return {
        "price_anomaly": log_of(bars[CLOSE] / last),
        "range_anomaly": log_of(bars[HIGH] / bars[LOW]),
        "volume_anomaly": bars[VOLUME],
        "trade_rate_anomaly": bars[TRADES],
    }


@pytest.mark.parametrize("period", [8, 33])
@pytest.mark.parametrize("series", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_scores_equal_the_definition_in_every_bit(series: object, period: int) -> None:
    bars = ADVERSARIAL[series.__name__](COUNT)  # type: ignore[attr-defined]
    for name, values in observed(bars).items():
        score, flag = outputs(f"{name}(period={period},threshold=4)", bars)
        expected = slow_scores(values, period)
        if name == "price_anomaly":
            assert np.isnan(score[: period + 1]).all()
        assert np.array_equal(score, expected, equal_nan=True), name
        with np.errstate(invalid="ignore"):
            signs = np.where(np.abs(expected) >= 4, np.sign(expected), 0.0)
        assert np.array_equal(flag, np.where(np.isnan(expected), np.nan, signs), equal_nan=True), name


def test_one_wild_bar_is_flagged_and_does_not_hide_the_next() -> None:
    bars = walk(400)
    bars[VOLUME, 300] *= 1e6
    bars[VOLUME, 310] = bars[VOLUME, 200:300].max() * 100
    _, flag = outputs("volume_anomaly", bars)
    assert flag[300] == 1
    assert flag[310] == 1


def test_a_fall_is_flagged_with_its_sign() -> None:
    bars = walk(300)
    bars[CLOSE, 250] = bars[CLOSE, 249] * 0.5
    score, flag = outputs("price_anomaly", bars)
    assert score[250] < -5
    assert flag[250] == -1
    assert flag[251] == 1  # and back up


def flat_bars(count: int = 120) -> Floats:
    bars = np.ones((INPUTS, count))
    bars[TIME] = np.arange(count)
    return bars


def test_in_a_flat_window_the_same_again_scores_0_and_anything_else_the_limit() -> None:
    bars = flat_bars()
    bars[VOLUME, 100], bars[VOLUME, 110] = 1 + 1e-12, 1 - 1e-12
    score, flag = outputs("volume_anomaly(period=8)", bars)
    assert score[[99, 100, 109, 110]].tolist() == [0, LIMIT, 0, -LIMIT]
    assert flag[[99, 100, 109, 110]].tolist() == [0, 1, 0, -1]


def test_where_most_values_are_equal_the_mean_distance_is_the_measure() -> None:
    bars = flat_bars()
    bars[VOLUME, 100] = 9.0  # 1 of 8 differs by 8: mean distance 1
    score, _ = outputs("volume_anomaly(period=8)", bars)
    assert score[100] == LIMIT
    assert score[101] == 0
    bars[VOLUME, 104] = 3.0
    score, _ = outputs("volume_anomaly(period=8)", bars)
    assert score[104] == pytest.approx(2 / math.sqrt(math.pi / 2), rel=1e-15)


def test_a_missing_value_is_no_anomaly_and_neither_are_the_bars_that_would_look_at_it() -> None:
    bars = walk(200)
    bars[TRADES, 100] = np.nan
    score, flag = outputs("trade_rate_anomaly(period=20)", bars)
    assert np.isnan(score[100:121]).all()
    assert np.isnan(flag[100:121]).all()
    assert np.isfinite(score[20:100]).all()
    assert np.isfinite(score[121:]).all()


def test_volumes_that_nobody_says_give_no_score_at_all() -> None:
    bars = walk(200)
    bars[TRADES] = np.nan
    assert np.isnan(outputs("trade_rate_anomaly(period=20)", bars)).all()


def test_the_bar_itself_is_not_in_its_window() -> None:
    bars = walk(200)
    score, _ = outputs("volume_anomaly(period=20)", bars)
    bars[VOLUME, 150] *= 2
    louder, _ = outputs("volume_anomaly(period=20)", bars)
    assert np.array_equal(score[20:150], louder[20:150])
    assert louder[150] > score[150]


@pytest.mark.parametrize("period", [7, 1001])
def test_windows_have_limits(period: int) -> None:
    with pytest.raises(BadParameter, match=f"period {period} needs a whole number from 8 to 1000"):
        Spec.parse(f"price_anomaly(period={period})")


def test_the_longest_window_works() -> None:
    bars = walk(1100)
    score, _ = outputs("volume_anomaly(period=1000)", bars)
    assert np.array_equal(score, slow_scores(bars[VOLUME], 1000), equal_nan=True)


def test_slots_that_begin_at_different_bars_do_not_disturb_each_other() -> None:
    plan = Plan([Spec.parse("volume_anomaly(period=9)")])
    bars = np.stack([walk(80, seed) for seed in (1, 2, 3)], axis=2)
    panel, found = Panel(plan, 3, chunk=5), np.full((2, 80, 3), np.nan)
    for slot, begin in enumerate((0, 13, 30)):
        found[:, begin:40, slot] = panel.advance(bars[:, begin:40, slot : slot + 1], slot, slot + 1)[:, :, 0]
    found[:, 40:] = panel.advance(bars[:, 40:])
    for slot, begin in enumerate((0, 13, 30)):
        alone = outputs("volume_anomaly(period=9)", bars[:, begin:, slot])
        assert np.array_equal(found[:, begin:, slot], alone, equal_nan=True)


finite = st.floats(-1e6, 1e6, allow_subnormal=False)
coarse = st.integers(-3, 3).map(float)
rows_of_numbers = st.lists(finite, max_size=60) | st.lists(coarse, max_size=60)
holes = st.lists(st.integers(0, 59), max_size=2)


@given(values=rows_of_numbers, missing=holes, window=st.integers(2, 12))
def test_scores_of_any_row_of_numbers_equal_the_definition(
    values: list[float], missing: list[int], window: int
) -> None:
    row = np.array(values, dtype=np.float64)
    row[[at for at in missing if at < len(row)]] = np.nan
    expected = slow_scores(row, window)[: len(row)]
    assert np.allclose(robust_scores(row, window=window), expected, rtol=1e-12, atol=0, equal_nan=True)


def test_a_spread_that_widens_at_once_stands_out() -> None:
    rng = np.random.default_rng(1)
    spreads = rng.gamma(20, 0.1, 300)  # basis points
    spreads[250] = 25
    scores = robust_scores(spreads, window=100)
    assert np.nanargmax(scores) == 250
    assert scores[250] > 10


@pytest.mark.parametrize(("values", "window"), [(np.ones(5), 1), (np.ones((2, 5)), 3)])
def test_scores_need_one_row_and_a_window(values: Floats, window: int) -> None:
    with pytest.raises(ValueError, match=f"in windows of {window}"):
        robust_scores(values, window=window)


# -- volume --------------------------------------------------------------------------------------------


def test_a_volume_breakout_says_how_unusual_and_how_many_times_the_median() -> None:
    bars = walk(300)
    bars[VOLUME, 200] = 40 * np.median(bars[VOLUME, 150:200])
    score, ratio, breakout = outputs("volume_breakout", bars)
    assert breakout[200] == 1
    assert ratio[200] == pytest.approx(40)
    assert np.array_equal(score, slow_scores(bars[VOLUME], 50), equal_nan=True)
    assert np.array_equal(breakout[50:], (score[50:] >= 10).astype(float))


def test_a_dry_spell_is_no_breakout() -> None:
    bars = flat_bars()
    bars[VOLUME] = 5 + np.arange(120) % 3
    bars[VOLUME, 100] = 0
    score, ratio, breakout = outputs("volume_breakout", bars)
    assert score[100] < -3
    assert (ratio[100], breakout[100]) == (0, 0)


def test_volume_after_none_at_all_is_at_the_limit() -> None:
    bars = flat_bars()
    bars[VOLUME] = 0
    bars[VOLUME, 100] = 1
    score, ratio, breakout = outputs("volume_breakout", bars)
    assert (score[100], ratio[100], breakout[100]) == (LIMIT, LIMIT, 1)
    assert (score[99], ratio[99], breakout[99]) == (0, 1, 0)


def moves(volume: float, change: float) -> list[float]:
    """Move, volume ratio and confirmation of a bar that closes ``change`` up after bars with a range of 2."""
    bars = flat_bars(60)
    bars[OPEN : CLOSE + 1] = 100
    bars[HIGH], bars[LOW], bars[VOLUME] = 101, 99, 10
    bars[CLOSE, 50], bars[VOLUME, 50] = 100 + change, volume
    bars[HIGH, 50] = max(101, 100 + change)
    bars[LOW, 50] = min(99, 100 + change)
    found: list[float] = outputs("volume_confirmation(period=20,move=1,ratio=1.5)", bars)[:, 50].tolist()
    return found


@pytest.mark.parametrize(
    ("volume", "change", "expected"),
    [
        (15, 2, [1, 1.5, 1]),
        (15, -2, [-1, 1.5, 1]),
        (14.9, 2, [1, 1.49, 0]),
        (6.5, 3, [1.5, 0.65, -1]),
        (6.5, -3, [-1.5, 0.65, -1]),
        (100, 1.9, [0.95, 10, 0]),  # no move to confirm
    ],
)
def test_a_move_is_confirmed_by_much_volume_and_contradicted_by_little(
    volume: float, change: float, expected: list[float]
) -> None:
    assert moves(volume, change) == pytest.approx(expected)


def test_a_move_after_bars_without_any_range_is_at_the_limit() -> None:
    bars = flat_bars(60)
    bars[CLOSE, 50] = bars[HIGH, 50] = 1.5
    move, ratio, confirmed = outputs("volume_confirmation", bars)[:, 50]
    assert (move, ratio, confirmed) == (LIMIT, 1, 0)


def test_confirmation_equals_the_definition() -> None:
    bars = walk(300)
    move, ratio, confirmed = outputs("volume_confirmation(period=14)", bars)
    last = bars[CLOSE, :-1]
    reach = np.maximum(bars[HIGH, 1:], last) - np.minimum(bars[LOW, 1:], last)
    for t in range(15, 300):
        atr, usual = reach[t - 15 : t - 1].mean(), bars[VOLUME, t - 14 : t].mean()
        assert move[t] == pytest.approx((bars[CLOSE, t] - bars[CLOSE, t - 1]) / atr, rel=1e-12)
        assert ratio[t] == pytest.approx(bars[VOLUME, t] / usual, rel=1e-12)
    assert set(confirmed[15:].tolist()) == {-1.0, 0.0, 1.0}


def test_without_volume_a_move_is_known_and_its_confirmation_is_not() -> None:
    bars = walk(100)
    bars[VOLUME, 50] = np.nan
    move, ratio, confirmed = outputs("volume_confirmation(period=10)", bars)
    assert np.isfinite(move[11:]).all()
    assert np.isnan(ratio[50:61]).all()
    assert np.isnan(confirmed[50:61]).all()
    assert np.isfinite(ratio[61:]).all()


def test_cumulative_delta_is_what_takers_bought_less_what_they_sold() -> None:
    bars = walk(200)
    delta, ratio = outputs("cumulative_delta(period=30)", bars)
    net = 2 * bars[TAKER_BUY] - bars[VOLUME]
    for t in range(29, 200):
        window = slice(t - 29, t + 1)
        assert delta[t] == pytest.approx(net[window].sum(), abs=1e-9)
        assert ratio[t] == pytest.approx(net[window].sum() / bars[VOLUME, window].sum(), abs=1e-12)


def test_takers_who_only_buy_or_only_sell_are_at_the_ends() -> None:
    bars = flat_bars()
    assert outputs("cumulative_delta(period=10)", bars)[:, 50].tolist() == [10, 1]
    bars[TAKER_BUY] = 0
    assert outputs("cumulative_delta(period=10)", bars)[:, 50].tolist() == [-10, -1]
    bars[VOLUME] = 0
    assert outputs("cumulative_delta(period=10)", bars)[:, 50].tolist() == [0, 0]


def test_the_delta_of_a_session_begins_anew_at_its_anchor() -> None:
    bars = flat_bars(200)
    bars[TAKER_BUY] = 0.75
    delta = outputs("session_delta(session=60,anchor=15)", bars)[0]
    assert delta[14] == 7.5
    assert delta[15] == 0.5
    assert delta[74] == 30
    assert delta[75] == 0.5


def test_a_session_in_which_somebody_was_silent_has_no_delta_any_more() -> None:
    bars = flat_bars(200)
    bars[TAKER_BUY, 70] = np.nan
    delta = outputs("session_delta(session=60)", bars)[0]
    assert np.isfinite(delta[:70]).all()
    assert np.isnan(delta[70:120]).all()
    assert delta[120] == 1


def test_an_anchor_lies_within_its_session() -> None:
    with pytest.raises(BadParameter, match="anchor 60 needs to be below session 60"):
        Spec.parse("session_delta(session=60,anchor=60)")
