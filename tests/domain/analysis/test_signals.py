"""Each rule of a signal of analysis: a case that fires, one that only just does not, and the rule in words.

The shared contract is tested elsewhere for all of them. That the values inside are those of the indicators,
and that the kernels follow the rules over long series, is in test_signals_series.py.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import BadParameter, Spec
from alphapulse.domain.analysis.signals import reasons, share, signals

MONDAY = 19_723 * 1_440  # 2024-01-01 00:00 UTC, in minutes


def bars(
    close: Sequence[float],
    *,
    open_: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    low: Sequence[float] | None = None,
    volume: Sequence[float] | None = None,
    timeframe: int = 60,
) -> Floats:
    """Bars of these closes: open at the last close, without wicks, of volume 1, unless given."""
    closes = np.array(close, dtype=np.float64)
    opens = np.concatenate([closes[:1], closes[:-1]]) if open_ is None else np.array(open_, dtype=float)
    highs = np.maximum(opens, closes) if high is None else np.array(high, dtype=float)
    lows = np.minimum(opens, closes) if low is None else np.array(low, dtype=float)
    volumes = np.ones(len(closes)) if volume is None else np.array(volume, dtype=float)
    time = MONDAY + timeframe * np.arange(len(closes), dtype=float)
    return np.stack([time, opens, highs, lows, closes, volumes, volumes / 2, volumes])


def outputs(text: str, given: Floats) -> list[dict[str, float]]:
    """The outputs of a spec by name, for each bar."""
    spec = Spec.parse(text)
    names = [o.name for o in spec.known.outputs]
    return [dict(zip(names, row, strict=True)) for row in compute([spec], given).T.tolist()]


def last(text: str, given: Floats) -> dict[str, float]:
    return outputs(text, given)[-1]


def said(text: str, given: Floats) -> list[str]:
    """The reasons of the last bar."""
    spec = Spec.parse(text)
    params = dict(zip((p.name for p in spec.known.parameters), spec.params, strict=True))
    return reasons(spec.indicator, last(text, given), params)


RISE = bars([10, 11, 10.5, 12, 11.8, 13, 14, 13.9, 15])
FALL = bars([15, 13.9, 14, 13, 11.8, 12, 10.5, 11, 10])


@pytest.mark.parametrize(
    ("name", "value", "least", "most"),
    [
        ("rsi_extreme(period=4", "rsi", 0, 100),
        ("stoch_extreme(period=4,k=2,d=1", "k", 0, 100),
        ("willr_extreme(period=4", "willr", -100, 0),
        ("mfi_extreme(period=4", "mfi", 0, 100),
    ],
)
def test_beyond_a_threshold_is_extreme_and_on_it_is_not(name, value, least, most):
    over = last(f"{name})", bars([10, 11, 10.5, 12, 11.8, 13, 12.9, 13.1, 13.05]))[value]
    under = last(f"{name})", bars([13.05, 13.1, 12.9, 13, 11.8, 12, 10.5, 11, 10.2]))[value]
    rising = bars([10, 11, 10.5, 12, 11.8, 13, 12.9, 13.1, 13.05])
    falling = bars([13.05, 13.1, 12.9, 13, 11.8, 12, 10.5, 11, 10.2])
    assert last(f"{name},high={over!r})", rising)["signal"] == 0
    found = last(f"{name},high={over - 1})", rising)
    assert found["signal"] == -1
    assert found["strength"] == pytest.approx(1 / (most - over + 1))
    assert last(f"{name},low={under!r})", falling)["signal"] == 0
    found = last(f"{name},low={under + 1})", falling)
    assert found["signal"] == 1
    assert found["strength"] == pytest.approx(1 / (under + 1 - least))


def test_the_channel_index_reaches_half_of_the_way_between_its_thresholds_beyond_them():
    value = last("cci_extreme(period=5)", RISE)["cci"]
    assert last(f"cci_extreme(period=5,high={value!r})", RISE)["signal"] == 0
    found = last(f"cci_extreme(period=5,low=-100,high={value - 10!r})", RISE)
    assert (found["signal"], found["strength"]) == (-1, pytest.approx(10 / ((value - 10 + 100) / 2)))
    assert last("cci_extreme(period=5,low=-1)", FALL)["signal"] == 1


def test_a_close_on_a_bollinger_band_is_not_beyond_it():
    rise, fall = bars([10, 10, 10, 11]), bars([10, 10, 10, 9])
    # Of two closes the deviation is half their distance: the last close lies on a band of width 1.
    assert last("bbands_extreme(period=2,width=1)", rise)["signal"] == 0
    found = last("bbands_extreme(period=2,width=0.5)", rise)
    # 1.5 times the distance of the bands from the lower one: 0.5 beyond.
    assert (found["signal"], found["strength"], found["entered"]) == (-1, 1, 1)
    assert last("bbands_extreme(period=2,width=0.5)", fall)["signal"] == 1


def test_entered_marks_the_first_bar_beyond():
    rows = outputs("rsi_extreme(period=3)", bars([10, 11, 10, 11, 12, 13, 14, 13, 12, 11]))
    found = [(row["signal"], row["entered"]) for row in rows[4:]]
    assert found == [(-1, 1), (-1, 0), (-1, 0), (0, 0), (0, 0), (1, 1)]


@pytest.mark.parametrize(
    "name", ["rsi_extreme", "stoch_extreme", "willr_extreme", "mfi_extreme", "cci_extreme"]
)
def test_where_nothing_moves_nothing_is_extreme(name):
    spec = f"{name}(period=3)"
    assert last(spec, bars([10.0] * 20))["signal"] == 0
    # All the way down, and then still.
    still = bars([20, 18, 16, 14, 12, 10, *[9.0] * 12])
    assert last(spec, still)["signal"] == 0


def test_without_volume_no_money_flows_and_nothing_is_extreme():
    falling = [20, 18, 16, 14, 12, 10.0]
    assert last("mfi_extreme(period=3)", bars(falling))["signal"] == 1
    assert last("mfi_extreme(period=3)", bars(falling, volume=[0] * 6))["signal"] == 0


def test_an_unknown_volume_leaves_the_money_flow_unsaid_until_it_has_left_the_window():
    volume = [1, 1, 1, 1, math.nan, 1, 1, 1, 1, 1]
    rows = outputs("mfi_extreme(period=3)", bars([20, 19, 18, 17, 16, 15, 14, 13, 12, 11], volume=volume))
    assert [row["signal"] for row in rows[3:]] == [1, *[pytest.approx(math.nan, nan_ok=True)] * 3, 1, 1, 1]
    assert math.isnan(rows[5]["strength"])


def test_a_close_above_its_average_crosses_it_when_it_was_not_before():
    assert last("cross_sma(period=2,atr=1)", bars([10, 9, 8, 9]))["signal"] == 1
    assert last("cross_sma(period=2,atr=1)", bars([10, 9, 8, 8]))["signal"] == 0  # only touches
    assert last("cross_sma(period=2,atr=1)", bars([10, 9, 8, 8, 9]))["signal"] == 1  # and leaves
    assert last("cross_sma(period=2,atr=1)", bars([10, 9, 8, 9, 10]))["signal"] == 0  # was above already
    assert last("cross_sma(period=2,atr=1)", bars([8, 9, 10, 9]))["signal"] == -1


def test_a_crossing_is_as_strong_as_the_lines_moved_in_average_true_ranges():
    found = last("cross_sma(period=2,atr=1)", bars([10, 9, 8, 9], high=[10, 10, 9, 12], low=[10, 9, 8, 8]))
    # From 0.5 below to 0.5 above; this bar's range is 4.
    assert (found["distance"], found["atr"], found["strength"]) == (0.5, 4, 0.25)


def test_a_flat_market_stands_at_its_average_whatever_the_sums_are_rounded_to():
    flat = bars([0.3, 0.2, *[0.1] * 30])
    assert {row["signal"] for row in outputs("cross_sma(period=7,atr=1)", flat)[12:]} == {0.0}


def test_an_exponential_average_is_crossed_alike():
    assert last("cross_ema(period=3,atr=1)", bars([10, 9, 8, 7, 10]))["signal"] == 1
    assert last("cross_ema(period=3,atr=1)", bars([10, 9, 8, 7, 7.5]))["signal"] == 0
    assert last("cross_ema(period=3,atr=1)", bars([7, 8, 9, 10, 7]))["signal"] == -1


def test_a_golden_cross_is_the_fast_average_above_the_slow_one():
    spec = "cross_averages(fast=2,slow=3,atr=1)"
    assert last(spec, bars([10, 9, 8, 7, 10]))["signal"] == 1  # 8.5 against 8.33
    assert last(spec, bars([10, 9, 8, 7, 9]))["signal"] == 0  # 8 against 8
    assert last(spec, bars([7, 8, 9, 10, 7]))["signal"] == -1
    assert said(spec, bars([10, 9, 8, 7, 10]))[0] == (
        "golden cross: the average of 2 bars, 8.5, went above the average of 3 bars, 8.33333"
    )
    assert said(spec, bars([7, 8, 9, 10, 7]))[0].startswith("death cross")


def test_macd_crosses_its_signal_line_at_the_turn_and_not_along_a_trend():
    spec = "cross_macd(fast=2,slow=4,signal=2,atr=1)"
    turn = bars([20, 19, 18, 17, 16, 15, 14, 13, 16])
    assert last(spec, turn)["signal"] == 1
    assert last(spec, bars([20, 18.9, 17.7, 16.4, 15, 13.5, 11.9, 10.2, 8.4]))["signal"] == 0
    assert last(spec, bars([10, 11, 12, 13, 14, 15, 16, 17, 14]))["signal"] == -1
    assert said(spec, turn)[0].startswith("MACD ")


def test_the_directional_lines_cross_at_the_turn_and_not_along_a_trend():
    spec = "cross_di(period=2)"
    turn = bars([20, 19, 18, 17, 16, 19])
    assert last(spec, turn)["signal"] == 1
    assert last(spec, bars([20, 19, 18, 17, 16, 15]))["signal"] == 0
    assert last(spec, bars([10, 11, 12, 13, 14, 11]))["signal"] == -1
    assert said(spec, turn)[0].startswith("+DI ")


def channel(close: float) -> Floats:
    """Three bars from 9 to 11 and one that closes at ``close``."""
    closes = [10, 10, 10, close]
    return bars(closes, high=[11, 11, 11, max(11, close)], low=[9, 9, 9, min(9, close)])


def test_a_close_beyond_the_channel_breaks_out_and_one_on_it_does_not():
    spec = "breakout_donchian(period=3,atr=1)"
    assert last(spec, channel(11))["signal"] == 0
    assert last(spec, channel(9))["signal"] == 0
    found = last(spec, channel(12))
    assert (found["signal"], found["level"], found["strength"]) == (1, 11, pytest.approx(1 / 3))
    found = last(spec, channel(8))
    assert (found["signal"], found["level"], found["strength"]) == (-1, 9, pytest.approx(1 / 3))
    assert said(spec, channel(12)) == [
        "closed above the resistance 11, the highest high of the 3 bars before",
        "by 0.33 of an average true range of 3",
    ]


def test_a_channel_is_of_the_bars_before():
    spec = "breakout_donchian(period=2,atr=1)"
    closes = [10, 10, 10, 10, 10.5]
    with_old_high = bars(closes, high=[10, 12, 10, 10, 10.5])
    assert last(spec, with_old_high)["signal"] == 1
    assert last("breakout_donchian(period=3,atr=1)", with_old_high)["signal"] == 0


PEAK = [10, 11, 13, 11, 10, 11, 12]


def test_a_close_above_the_last_swing_high_breaks_it_once():
    spec = "breakout_swing(wing=2,reach=20,atr=1)"
    assert last(spec, bars([*PEAK, 13]))["signal"] == 0
    found = last(spec, bars([*PEAK, 13.5]))
    assert (found["signal"], found["level"], found["bars"]) == (1, 13, 5)
    assert last(spec, bars([*PEAK, 13.5, 14]))["signal"] == 0
    valley = bars([20 - c for c in (*PEAK, 13.5)])
    found = last(spec, valley)
    assert (found["signal"], found["level"]) == (-1, 7)
    assert said(spec, valley)[0] == "closed below the support 7, the last swing low, 5 bars ago"


def test_a_swing_that_is_not_confirmed_or_too_old_does_not_break():
    # Two bars after the peak only one has closed when the price comes back.
    assert last("breakout_swing(wing=3,atr=1)", bars([9, 10, 11, 13, 11, 13.5, 13, 14]))["signal"] == 0
    for reach, signal in ((5, 1), (4, 0)):
        spec = f"breakout_swing(wing=2,reach={reach},atr=1)"
        assert last(spec, bars([*PEAK, 13.5]))["signal"] == signal


def test_the_high_of_the_day_before_breaks_on_a_close_above_it():
    spec = "breakout_day(atr=1)"
    for close, signal in ((12, 0), (12.5, 1), (7.9, -1), (8, 0)):
        # Three days of four bars; the middle one ranges from 8 to 12.
        given = bars([10] * 4 + [10, 12, 8, 10] + [10, close], timeframe=360)
        assert last(spec, given)["signal"] == signal
    given = bars([10] * 4 + [10, 12, 8, 10] + [10, 12.5], timeframe=360)
    assert said(spec, given)[0] == "closed above the resistance 12, the high of the day before (UTC)"


def test_the_first_day_may_have_begun_before_and_is_no_day_before():
    assert last("breakout_day(atr=1)", bars([10, 12, 8, 10, 10, 12.5], timeframe=360))["signal"] == 0


def test_the_high_of_the_week_before_breaks_on_a_close_above_it():
    week = [10, 12, 8, 10, 10, 10, 10]
    for close, signal in ((12, 0), (12.5, 1), (7.9, -1)):
        given = bars([10] * 7 + week + [10, close], timeframe=1440)
        assert last("breakout_week(atr=1)", given)["signal"] == signal
    given = bars([10] * 7 + week + [10, 7.9], timeframe=1440)
    assert said("breakout_week", given)[0] == "closed below the support 8, the low of the week before (UTC)"


@pytest.mark.parametrize(
    ("before", "now", "signal", "level", "strength"),
    [
        (6580, 6600, 0, 0, 0),  # on it is not beyond it
        (6580, 6601, 1, 6600, 0.5),
        (6600, 6601, 1, 6600, 0.5),
        (6480, 6710, 1, 6500, 0.75),  # the roundest on the way
        (6980, 7210, 1, 7000, 1),
        (6520, 6500, 0, 0, 0),
        (6520, 6499, -1, 6500, 0.75),
        (10_050, 9_990, -1, 10_000, 1),
        (0.0299, 0.0301, 1, 0.03, 1),
        (6601, 6601, 0, 0, 0),
    ],
)
def test_a_round_number_breaks_on_a_close_beyond_it(before, now, signal, level, strength):
    found = last("breakout_round", bars([before, now]))
    assert (found["signal"], found["level"], found["strength"]) == (signal, level, strength)


def test_a_round_number_says_how_round_it_is():
    assert said("breakout_round", bars([6520, 6499])) == [
        "closed below the support 6500, a round number: a multiple of 100 that weighs 0.75"
    ]


def gapped(open_: float) -> Floats:
    """Three bars from 9 to 11, two ranges wide, and one that opens at ``open_`` and goes nowhere."""
    return bars(
        [10, 10, 10, open_], open_=[10, 10, 10, open_], high=[11, 11, 11, open_], low=[9, 9, 9, open_]
    )


def test_an_open_beyond_the_last_range_is_a_gap_from_its_least_size_on():
    spec = "gap(atr=2,least=0.5)"
    assert last(spec, gapped(11.9))["signal"] == 0
    found = last(spec, gapped(12))
    assert (found["signal"], found["size"], found["strength"], found["edge"]) == (1, 0.5, 0.5, 11)
    found = last(spec, gapped(6))
    assert (found["signal"], found["size"], found["strength"], found["edge"]) == (-1, 1.5, 1, 9)
    assert last("gap(atr=2,least=0)", gapped(11))["signal"] == 0
    assert said(spec, gapped(6)) == [
        "opened below the last low 9",
        "1.50 average true ranges beyond that low",
    ]


def after_gap(*then: tuple[float, float]) -> Floats:
    """A gap up from 11 to 13, and bars of these lows and highs after it."""
    opens = [10, 10, 10, 13, *(high for _, high in then)]
    return bars(
        opens,
        open_=opens,
        high=[11, 11, 11, 14, *(high for _, high in then)],
        low=[9, 9, 9, 12.5, *(low for low, _ in then)],
    )


def test_a_gap_is_filled_when_the_price_is_back_at_its_edge():
    spec = "gap_fill(atr=2,reach=3)"
    assert last(spec, after_gap((12, 14), (11.1, 12)))["signal"] == 0
    filled = after_gap((12, 14), (11, 12))
    found = last(spec, filled)
    assert (found["signal"], found["edge"], found["size"], found["bars"]) == (-1, 11, 1, 2)
    assert last(spec, after_gap((12, 14), (11, 12), (10.9, 11)))["signal"] == 0  # only once
    assert said(spec, filled) == [
        "came back down to 11, which a gap had left 2 bars before",
        "the gap was 1.00 average true ranges wide",
    ]


def test_a_gap_older_than_the_reach_is_forgotten():
    waiting = [(12.0, 13.0)] * 3
    assert last("gap_fill(atr=2,reach=4)", after_gap(*waiting, (11, 12)))["signal"] == -1
    assert last("gap_fill(atr=2,reach=3)", after_gap(*waiting, (11, 12)))["signal"] == 0


def test_a_gap_down_is_filled_from_below_and_by_its_own_bar_at_once():
    opens = [10, 10, 10, 7]
    down = bars(opens, open_=opens, high=[11, 11, 11, 9], low=[9, 9, 9, 7])
    found = last("gap_fill(atr=2)", down)
    assert (found["signal"], found["edge"], found["bars"]) == (1, 9, 0)


def pressed(last_close: float, still: int = 6) -> Floats:
    """Closes that hardly move inside wide bars, and one that moves."""
    closes = [100 + 0.1 * (-1) ** i for i in range(still + 5)] + [last_close]
    high = [max(c, 101) for c in closes]
    low = [min(c, 99) for c in closes]
    return bars(closes, high=high, low=low)


def test_a_squeeze_is_released_in_the_direction_of_the_close_from_its_mean():
    spec = "squeeze(period=5,width=2,ranges=1.5)"
    up, down = last(spec, pressed(110)), last(spec, pressed(90))
    assert (up["signal"], up["squeezed"], up["bars"]) == (1, 0, 6)
    assert (down["signal"], down["strength"]) == (-1, 1)
    assert said(spec, pressed(90))[0].endswith("after 6 bars inside")


def test_a_squeeze_that_holds_has_no_signal():
    found = last("squeeze(period=5,width=2,ranges=1.5)", pressed(100.2))
    assert (found["signal"], found["squeezed"], found["bars"], found["strength"]) == (0, 1, 7, 0)


def test_a_short_squeeze_is_a_weak_one():
    found = last("squeeze(period=20,width=2,ranges=1.5)", pressed(110, still=19))
    assert (found["bars"], found["strength"]) == (4, 4 / 20)


def test_bands_as_wide_as_the_channel_are_no_squeeze():
    given = pressed(100.2)
    half = last("squeeze(period=5,width=1)", given)["bollinger"]
    wide = last("squeeze(period=5,ranges=1)", given)["keltner"]
    narrow = f"squeeze(period=5,width={0.5 * wide / half!r},ranges=1)"
    assert last(narrow, given)["squeezed"] == 1
    assert last(f"squeeze(period=5,width={1.01 * wide / half!r},ranges=1)", given)["squeezed"] == 0


BEFORE = [20, 21, 20.5, 22]
SLOWER = [*BEFORE, 17, 16, 15, 16.5, 17.5, 19, 17.5, 16, 14.5, 16, 17, 18]
FASTER = [*BEFORE, 21, 19.5, 19, 20, 21, 23, 21, 17, 14, 16, 17, 18]


def test_a_lower_low_at_a_higher_value_of_the_indicator_is_a_bullish_divergence():
    spec = "divergence_rsi(period=3,wing=3,reach=6)"
    rows = outputs(spec, bars(SLOWER))
    assert rows[12]["rsi"] > outputs("rsi_extreme(period=3)", bars(SLOWER))[6]["rsi"]
    assert [row["signal"] for row in rows[9:]] == [0, 0, 0, 0, 0, 0, 1]  # known three bars after the low
    found = rows[-1]
    assert (found["hidden"], found["bars"], found["first_price"], found["second_price"]) == (0, 6, 15, 14.5)
    assert 0 < found["strength"] <= 1
    assert said(spec, bars(SLOWER))[0] == "regular bullish divergence: lows of 15, then 14.5"
    assert said(spec, bars(SLOWER))[2] == "6 bars apart, known 3 bars after the second"


def test_a_lower_low_at_a_lower_value_or_one_too_far_away_is_no_divergence():
    assert last("divergence_rsi(period=3,wing=3,reach=6)", bars(FASTER))["signal"] == 0
    assert last("divergence_rsi(period=3,wing=3,reach=5)", bars(SLOWER))["signal"] == 0


def test_a_higher_high_at_a_lower_value_is_a_bearish_divergence():
    mirrored = bars([40 - c for c in SLOWER])
    found = last("divergence_rsi(period=3,wing=3,reach=6)", mirrored)
    assert (found["signal"], found["hidden"], found["second_price"]) == (-1, 0, 25.5)


def test_a_higher_low_at_a_lower_value_is_a_hidden_bullish_divergence():
    # On-balance volume falls with the volumes of the second decline, whatever the price does.
    closes = [12, 11, 10, 9, 10, 11, 12, 11, 10, 9.5, 10, 11, 12]
    volume = [1] * 7 + [5] * 3 + [1] * 3
    spec = "divergence_obv(wing=3,reach=10)"
    found = last(spec, bars(closes, volume=volume))
    assert (found["signal"], found["hidden"]) == (1, 1)
    assert said(spec, bars(closes, volume=volume))[0].startswith("hidden bullish divergence")
    assert last(spec, bars(closes))["signal"] == 0


def test_an_unknown_volume_leaves_the_divergence_of_volume_unsaid():
    closes = [12, 11, 10, 9, 10, 11, 12, 11, 10, 9.5, 10, 11, 12]
    found = last("divergence_obv(wing=3)", bars(closes, volume=[1] * 5 + [math.nan] + [1] * 7))
    assert math.isnan(found["signal"])
    assert math.isnan(found["strength"])


def test_every_signal_can_say_why():
    assert len(signals()) >= 22
    for name in signals():
        spec = Spec.of(name)
        zeros = {o.name: 1.0 for o in spec.known.outputs}
        for signal in (1.0, -1.0):
            words = reasons(name, zeros | {"signal": signal})
            assert words
            assert all(isinstance(word, str) and word for word in words)
        assert reasons(name, zeros | {"signal": 0.0}) == []
        assert reasons(name, zeros | {"signal": math.nan}) == []


def test_reasons_hold_the_values_and_the_thresholds():
    found = {"signal": -1, "strength": 0.5, "entered": 1, "rsi": 81.26}
    assert reasons("rsi_extreme", found) == ["overbought: rsi 81.3 above 70", "since this bar"]
    assert reasons("rsi_extreme", found | {"entered": 0}, {"high": 80}) == ["overbought: rsi 81.3 above 80"]
    found = {"signal": 1, "strength": 0.5, "entered": 0, "k": 12.0, "d": 14.0}
    assert reasons("stoch_extreme", found) == ["oversold: k 12.0 below 20"]


def test_reasons_of_what_is_not_there_are_refused():
    with pytest.raises(BadParameter, match="no_such"):
        reasons("no_such", {"signal": 1})
    with pytest.raises(BadParameter, match="width"):
        reasons("rsi_extreme", {"signal": 1}, {"width": 2})
    with pytest.raises(KeyError):
        reasons("rsi", {"rsi": 2, "signal": 1})


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(1, 4, 0.25), (4, 4, 1), (5, 4, 1), (0, 4, 0), (-1, 4, 0), (1, 0, 1), (0, 0, 0)],
)
def test_a_share_stays_between_none_and_all(part, whole, expected):
    assert share(float(part), float(whole)) == expected
