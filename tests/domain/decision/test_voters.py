"""What each voter makes of the market that it is about: the vote, why, and where it just does not vote."""

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest

from alphapulse.domain.analysis.fields import HIGH, LOW, OPEN, VOLUME, Floats
from alphapulse.domain.decision.voters.forecasts import PHI_ERROR
from alphapulse.domain.decision.voters.logistic import logistic_model_parameters, sigmoid, sigmoid_of
from alphapulse.domain.decision.votes import BadVoter, View, kind_of
from tests.domain.decision.voter_worlds import (
    LOGISTIC,
    TIMEFRAME,
    logistic_model,
    made,
    row_view,
    steady,
    view_of,
)


def signed(name: str, view: View, **numbers: float) -> Floats:
    vote = made(kind_of(name), **numbers).vote(view)
    return vote.direction * vote.score


def on(name: str, bars: Floats, **numbers: float) -> Floats:
    """Votes on every bar."""
    voter = made(kind_of(name), **numbers)
    vote = voter.vote(view_of([voter], bars))
    return vote.direction * vote.score


def one(name: str, bar: tuple[float, ...] = (100, 101, 99, 100, 5), **values: float) -> float:
    """The vote on one row of these values, with default numbers."""
    return float(signed(name, row_view(bar, **values))[0])


def said(name: str, bar: tuple[float, ...] = (100, 101, 99, 100, 5), **values: float) -> list[str]:
    return list(made(kind_of(name)).vote(row_view(bar, **values)).reasons(0))


def wobbling(count: int, drift: float, seed: int = 4) -> Floats:
    """Closes that drift by so much a bar, with noise."""
    noise = np.random.default_rng(seed).normal(0, 5e-4, count)
    return 1_000 * np.exp(np.cumsum(drift + noise))


RISE, FALL = steady(wobbling(3_000, 1e-3)), steady(wobbling(3_000, -1e-3))


@pytest.mark.parametrize("name", ["technical.trend", "technical.alignment", "statistical.momentum"])
def test_a_long_rise_is_bought_and_a_long_fall_sold(name):
    late = slice(2_000, None)
    assert (on(name, RISE)[late] > 0).mean() > 0.4
    assert not (on(name, RISE)[late] < 0).any()
    assert (on(name, FALL)[late] < 0).mean() > 0.4
    assert not (on(name, FALL)[late] > 0).any()


DI = {"adx_14__plus_di": 30.0, "adx_14__minus_di": 10.0}
UP = {**DI, "adx_14__adx": 25.0, "macd_12_26_9__histogram": 0.5, "supertrend_10_3__trend": 1.0}


def test_a_trend_counts_by_its_strength_where_all_three_agree():
    assert one("technical.trend", **UP) == 0.5
    assert one("technical.trend", **{**UP, "adx_14__adx": 80}) == 1
    assert one("technical.trend", **{**UP, "adx_14__adx": 19.9}) == 0
    assert one("technical.trend", **{**UP, "macd_12_26_9__histogram": -0.5}) == 0
    assert one("technical.trend", **{**UP, "supertrend_10_3__trend": -1}) == 0
    assert "+DI 30.0 over -DI 10.0, ADX 25.0" in said("technical.trend", **UP)


def test_lines_that_crossed_speak_once_each_for_its_third():
    before = {"adx_14__plus_di__lag1": 30.0, "adx_14__minus_di__lag1": 10.0}
    averages = {"ema_20": 101.0, "ema_50": 100.0, "ema_20__lag1": 101.0, "ema_50__lag1": 100.0}
    still = {**DI, **before, **averages, "adx_14__adx": 25.0, "atr_14": 1.0}
    calm = {"macd_12_26_9__histogram": 0.05, "macd_12_26_9__histogram__lag1": 0.04}
    assert one("technical.crossing", **still, **calm) == 0
    turned = {**calm, "macd_12_26_9__histogram__lag1": -0.01}
    assert one("technical.crossing", **still, **turned) == pytest.approx(0.5 / 3)
    both = {**still, "adx_14__plus_di__lag1": 5.0}
    assert one("technical.crossing", **both, **turned) == pytest.approx(1 / 3)
    all_three = {**both, "ema_20__lag1": 100.0}  # they touched
    assert one("technical.crossing", **all_three, **turned) == pytest.approx(2 / 3)
    assert said("technical.crossing", **all_three, **turned) == [
        "EMA of 20 less that of 50 from 0 to 1",
        "MACD histogram from -0.01 to 0.05",
        "+DI less -DI from -5 to 20",
        "ATR 1, ADX 25.0",
    ]
    # Crossings to either side weigh against each other.
    apart = {**both, "adx_14__plus_di": 5.0, "adx_14__plus_di__lag1": 30.0}
    assert one("technical.crossing", **apart, **turned) == pytest.approx(0.0)


EXTREME = {"rsi_extreme_14_30_70__signal": 1.0, "stoch_14_3_3__k": 10.0, **DI, "adx_14__adx": 15.0}


def test_an_oversold_market_is_bought_unless_a_strong_trend_presses_it_down():
    values = {**EXTREME, "rsi_extreme_14_30_70__rsi": 15.0}
    assert one("technical.momentum", **values) == pytest.approx(0.5)
    falling = {**values, "adx_14__plus_di": 5.0}
    assert one("technical.momentum", **falling) == pytest.approx(0.5)
    assert one("technical.momentum", **{**falling, "adx_14__adx": 30.0}) == 0
    assert one("technical.momentum", **{**values, "adx_14__adx": 30.0}) == pytest.approx(0.5)
    # The stochastic alone is nothing.
    assert one("technical.momentum", **{**values, "rsi_extreme_14_30_70__rsi": 30.0}) == 0


def test_an_overbought_money_flow_is_sold():
    values = {**DI, "adx_14__adx": 15.0, "mfi_extreme_14_20_80__signal": -1.0}
    assert one("technical.money_flow", **values, mfi_extreme_14_20_80__mfi=90.0) == pytest.approx(-0.5)


@pytest.mark.parametrize("name", ["technical.momentum", "technical.money_flow", "technical.levels"])
def test_where_nothing_ever_moved_there_is_no_extreme(name):
    bars = steady(np.full(600, 100.0))
    bars[[HIGH, LOW]] = 100.0
    assert not on(name, bars).any()


def stepping(up: bool) -> Floats:
    """A quiet range of some days, then a bar far beyond it on ten times the volume."""
    closes = 100 + 0.2 * np.sin(np.arange(3_000) / 9)
    closes[-1] = 103 if up else 97
    bars = steady(closes)
    bars[VOLUME, -1] = 100
    return bars


@pytest.mark.parametrize(("up", "way"), [(True, 1), (False, -1)])
def test_a_breakout_of_several_levels_on_volume_is_followed(up, way):
    votes = on("technical.breakout", stepping(up))
    # Three levels (no whole week is over), and beyond by more than an average true range.
    assert votes[-1] == way * (3 / 8 + 1 / 2)
    quiet = stepping(up)
    quiet[VOLUME, -1] = 10
    assert on("technical.breakout", quiet)[-1] == 0


def test_a_breakout_needs_as_many_levels_as_are_asked_for():
    bars = stepping(True)[:, -100:]  # no whole day or week before
    assert on("technical.breakout", bars, levels=2)[-1] > 0
    assert on("technical.breakout", bars, levels=3)[-1] == 0


def test_a_bar_of_unusual_volume_is_followed_the_way_it_went():
    score = {"volume_breakout_50_10__score": 10.0, "volume_breakout_50_10__ratio": 5.0}
    assert one("technical.volume", (100, 101, 99, 101, 50), **score) == pytest.approx(0.25)
    assert one("technical.volume", (101, 101, 99, 99.5, 50), **score) == pytest.approx(-0.375)
    assert one("technical.volume", (100, 101, 99, 100.5, 50), **score) == 0  # its body is small
    assert one("technical.volume", (100, 100, 100, 100, 50), **score) == 0


SWINGS = {"last_swings_5_200__high": 110.0, "last_swings_5_200__low": 99.0, "atr_14": 2.0}


def test_a_bar_that_is_turned_back_from_a_level_is_followed_away_from_it():
    name = "technical.levels"
    assert one(name, (100, 101, 98.8, 100.9, 5), **SWINGS) == pytest.approx(2.0 / 2.2)
    assert one(name, (100, 101, 98.8, 99.2, 5), **SWINGS) == 0  # closed at its low
    assert one(name, (100, 101, 98.4, 100.9, 5), **SWINGS) == 0  # 0.3 ATR beyond
    assert one(name, (100, 110.3, 105, 105.5, 5), **SWINGS) < 0
    assert one(name, (100, 110.3, 98.9, 105.5, 5), **SWINGS) == 0  # both
    assert one(name, (100, 101, 98.8, 100.9, 5), **{**SWINGS, "last_swings_5_200__low": 0.0}) == 0
    assert "last swing low 99" in said(name, (100, 101, 98.8, 100.9, 5), **SWINGS)[0]


def test_round_numbers_turn_the_price_by_how_round_they_are():
    name, values = "technical.round_number", {"breakout_round__step": 10.0, "atr_14": 5.0}
    assert one(name, (506, 512, 500.2, 511, 5), **values) == pytest.approx((10.8 - 1) / 11.8)
    assert one(name, (556, 562, 550.2, 561, 5), **values) == pytest.approx(0.75 * (10.8 - 1) / 11.8)
    assert one(name, (536, 542, 530.2, 541, 5), **values) == 0  # 530 is not round enough
    assert one(name, (506, 512, 501.2, 511, 5), **values) == 0


def diverging(**changes: float) -> dict[str, float]:
    rules = ("divergence_rsi_14_3_60", "divergence_macd_12_26_9_3_60", "divergence_obv_3_60")
    values = {"signal": 0.0, "strength": 0.0, "hidden": 0.0}
    values |= {"first_price": 10.0, "second_price": 9.0, "first_value": 20.0, "second_value": 30.0}
    return {f"{rule}__{name}": value for rule in rules for name, value in values.items()} | changes


def test_divergences_weigh_a_third_each_and_hidden_ones_half_of_that():
    name, rsi, obv = "technical.divergence", "divergence_rsi_14_3_60__", "divergence_obv_3_60__"
    bullish = {f"{rsi}signal": 1.0, f"{rsi}strength": 0.6}
    assert one(name, **diverging()) == 0
    assert one(name, **diverging(**bullish)) == pytest.approx(0.2)
    assert one(name, **diverging(**bullish, **{f"{rsi}hidden": 1.0})) == pytest.approx(0.1)
    bearish = {f"{obv}signal": -1.0, f"{obv}strength": 0.9}
    assert one(name, **diverging(**bullish, **bearish)) == pytest.approx(-0.1)
    assert one(name, **diverging(**{f"{rsi}signal": 1.0, f"{rsi}strength": 0.05})) == 0
    assert said(name, **diverging(**bullish)) == [
        "regular bullish divergence of strength 0.60: lows 10, then 9, RSI 20, then 30"
    ]


def test_patterns_are_believed_once_enough_of_their_outcomes_are_known():
    prefix = "patterns_double_5_200_30__"
    values = {"score": -0.4, "pattern": 1.0, "hit_rate": 0.6, "base_rate": 0.48, "outcomes": 40.0}
    given = {prefix + name: value for name, value in values.items()}
    assert one("technical.patterns_double", **given) == pytest.approx(-0.4)
    assert one("technical.patterns_double", **{**given, f"{prefix}outcomes": 19.0}) == 0
    assert said("technical.patterns_double", **given)[0].startswith("engulfing: right 0.600 of the time")


def frames(adx: float = 30.0, plus: float = 30.0) -> dict[str, float]:
    own = {**DI, "adx_14__adx": 10.0}
    hour = {"adx_14__adx__60m": 25.0, "adx_14__plus_di__60m": 20.0, "adx_14__minus_di__60m": 10.0}
    four = {"adx_14__adx__240m": adx, "adx_14__plus_di__240m": plus, "adx_14__minus_di__240m": 15.0}
    return own | hour | four


def test_larger_timeframes_must_all_have_the_trend_of_the_row():
    name = "technical.alignment"
    assert one(name, **frames()) == pytest.approx((0.5 + 0.6) / 2)
    assert one(name, **frames(plus=10.0)) == 0
    assert one(name, **frames(adx=19.0)) == 0
    assert [each.split(":")[0] for each in said(name, **frames())] == ["own bars", "1h", "4h"]


def test_timeframes_that_do_not_ascend_or_are_none_of_ours_are_refused():
    with pytest.raises(BadVoter, match=r"timeframes \[240, 60\] need to ascend"):
        made(kind_of("technical.alignment"), first=240, second=60)
    with pytest.raises(BadVoter, match=r"timeframes \[7, 240\] need to ascend and be of 1, 5"):
        made(kind_of("technical.alignment"), first=7)


def garch(phi: float, surprise: float = 0.0, forecast: float = 0.0) -> Mapping[str, float]:
    values = {"phi": phi, "surprise": surprise, "forecast": forecast, "deviation": 0.01}
    return {f"ar_garch_200_0__05_0__9__{name}": value for name, value in values.items()}


def test_a_forecast_counts_where_the_coefficient_is_sure():
    name = "statistical.forecast"
    assert one(name, **garch(0.2, forecast=0.25)) == pytest.approx(0.5)
    assert one(name, **garch(-0.2, forecast=-0.25)) == pytest.approx(-0.5)
    assert one(name, **garch(1.99 * PHI_ERROR, forecast=0.25)) == 0
    assert one(name, **garch(0.2, forecast=0.09)) == 0


def test_a_large_surprise_is_taken_back_unless_returns_repeat():
    name = "statistical.reversion"
    assert one(name, **garch(0.0, surprise=4.0)) == pytest.approx(-0.8)
    assert one(name, **garch(0.0, surprise=-2.4)) == 0
    assert one(name, **garch(0.2, surprise=4.0)) == 0


def test_a_move_that_is_large_for_its_volatility_is_followed_unless_returns_revert():
    name = "statistical.momentum"
    move = 2 * 0.01 * np.sqrt(20)
    assert one(name, log_return_20=-move, **garch(0.0)) == pytest.approx(-2 / 3)
    assert one(name, log_return_20=move * 0.49, **garch(0.0)) == 0
    assert one(name, log_return_20=move, **garch(-0.2)) == 0


def test_what_the_reference_does_not_explain_is_bet_against():
    name = "statistical.pair"
    assert one(name, reference_residual=2.5, reference_beta=1.0) == pytest.approx(-0.5)
    assert one(name, reference_residual=-10.0, reference_beta=1.0) == 1
    assert one(name, reference_residual=1.9, reference_beta=1.0) == 0
    assert one(name, reference_residual=2.5, reference_beta=0.1) == 0
    assert one(name, reference_residual=2.5) == 0


def test_the_side_that_pays_far_more_than_usual_is_bet_against():
    name = "fundamental.funding"
    usual = {"funding_mean": 1e-4, "funding_deviation": 1e-4}
    assert one(name, funding_rate=4e-4, **usual) == pytest.approx(-0.75)
    assert one(name, funding_rate=-4e-4, **usual) == 1
    assert one(name, funding_rate=2.9e-4, **usual) == 0
    # Longs pay less than usual: no shorts are crowded.
    assert one(name, funding_rate=1e-5, funding_mean=4e-4, funding_deviation=1e-4) == 0
    # A rate that never moved has a deviation of 0: a hair beside it is no crowd.
    assert one(name, funding_rate=1.01e-4, funding_mean=1e-4, funding_deviation=0.0) == 0
    assert said(name, funding_rate=4e-4, **usual) == [
        "longs pay shorts 0.040000% for 8 hours, +3.00 deviations from +0.010000%"
    ]


def test_headlines_count_where_there_are_enough_and_absent_ones_are_no_vote():
    name = "fundamental.sentiment"
    assert one(name, sentiment=-0.4, headlines=3.0) == pytest.approx(-0.4)
    assert one(name, sentiment=-0.4, headlines=2.0) == 0
    assert one(name, sentiment=0.1, headlines=9.0) == 0
    assert one(name) == one("fundamental.funding") == 0


def test_a_regression_votes_by_its_probability_on_bars_of_its_timeframe():
    values = {"rsi_14": 20.0, "adx_14__plus_di": 28.0}
    log_odds = 0.05 + 0.6 * 2 + 0.2 * 1
    assert one("statistical.logistic", **values) == pytest.approx(2 / (1 + np.exp(-log_odds)) - 1, rel=1e-12)
    assert "rsi_14 20 adds +1.2000 to the log-odds" in said("statistical.logistic", **values)
    assert signed("statistical.logistic", row_view(timeframe=60, **values))[0] == 0
    assert signed("statistical.logistic", row_view(**values), least=0.5)[0] == 0


def test_the_sigmoid_is_exact_to_the_last_digits_and_the_same_for_one_and_for_many():
    z = np.concatenate([np.linspace(-40, 40, 2_001), np.random.default_rng(1).normal(0, 5, 2_000)])
    exact = 1 / (1 + np.exp(-np.clip(z, -36, 36)))
    np.testing.assert_allclose(sigmoid(z), exact, rtol=1e-15, atol=0)
    assert np.isnan(sigmoid(np.array([np.nan]))[0])
    assert [float(sigmoid(z[i : i + 1])[0]) for i in range(0, 4_000, 37)] == sigmoid(z)[:4_000:37].tolist()
    assert [sigmoid_of(x) for x in z.tolist()] == sigmoid(z).tolist()


GIVEN = {
    "columns": list(LOGISTIC),
    "means": [50.0, 20.0],
    "scales": [15.0, 8.0],
    "coefficients": [-0.6, 0.2],
    "intercept": 0.05,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"means": [50.0]}, "2 columns, 1 means, 2 scales, 2 coefficients: need one of each"),
        ({"coefficients": [float("nan"), 0.2]}, r"rsi\(period=14\): mean 50.0, scale 15.0, coefficient nan"),
        ({"scales": [15.0, 0.0]}, r"scale 0.0, coefficient 0.2: need finite numbers, and a scale above 0"),
        ({"columns": ["rsi(period=14)", "nonsense(3)"]}, r"column 'nonsense\(3\)': no indicator is called"),
        ({"columns": ["rsi(period=14)"] * 2}, "each once"),
        ({"intercept": float("inf")}, "intercept inf"),
    ],
)
def test_parameters_that_no_vote_can_come_from_are_refused_with_their_values(change, words):
    with pytest.raises(BadVoter, match=words):
        logistic_model_parameters(**{**GIVEN, **change})


def test_a_model_of_another_make_is_refused():
    kind, model = kind_of("statistical.logistic"), logistic_model()

    def changed(**changes: object) -> object:
        return kind.made({}, msgspec.structs.replace(model, **changes))

    with pytest.raises(BadVoter, match="needs a model of kind logistic_votes, there is none"):
        kind.made({})
    with pytest.raises(BadVoter, match="there is logistic of kind regime_gmm"):
        changed(kind="regime_gmm")
    with pytest.raises(BadVoter, match="logistic has no scales, intercept: it holds coefficients"):
        changed(parameters={n: v for n, v in GIVEN.items() if n not in ("scales", "intercept")})
    with pytest.raises(BadVoter, match=r"but its features are \['rsi\(period=14\)'\]"):
        changed(features=("rsi(period=14)",))
    with pytest.raises(BadVoter, match="logistic: "):
        changed(parameters={**GIVEN, "means": 5})
    assert changed() is not None
    assert model.timeframe == TIMEFRAME


def test_a_forecast_trades_a_series_that_reverts_against_its_moves():
    """Returns with a coefficient of -0.5: after a rise it says fall, and is right more often than not."""
    rng = np.random.default_rng(2)
    returns = np.zeros(3_000)
    for t in range(1, 3_000):
        returns[t] = -0.5 * returns[t - 1] + rng.normal(0, 1e-3)
    closes = 100 * np.exp(np.cumsum(returns))
    bars = steady(closes)
    votes = on("statistical.forecast", bars)[:-1]
    after = np.sign(np.diff(bars[OPEN + 3]))
    decided = votes != 0
    assert decided.mean() > 0.3
    assert (np.sign(votes[decided]) == after[decided]).mean() > 0.6
