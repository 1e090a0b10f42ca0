"""Signals over long series: the same as the rules written down again without kernels, on the same values."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from alphapulse.domain.analysis.divergence import divergences
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, TIME, VOLUME, Floats
from alphapulse.domain.analysis.panel import Plan, compute
from alphapulse.domain.analysis.prior import DAY, WEEK, prior
from alphapulse.domain.analysis.registry import Spec
from alphapulse.domain.analysis.signals import reasons, signals
from alphapulse.domain.analysis.swings import swings
from tests.domain.analysis.series import equal_highs, gaps, spikes, walk

SERIES = (walk, gaps, equal_highs, spikes)
SIZE = 4000

INSIDE = {  # signal -> the indicator whose values it stands on, and where they begin in the outputs
    "rsi_extreme": ("rsi", "rsi"),
    "stoch_extreme": ("stoch", "k"),
    "willr_extreme": ("willr", "willr"),
    "cci_extreme": ("cci", "cci"),
    "mfi_extreme": ("mfi", "mfi"),
    "bbands_extreme": ("bbands", "upper"),
    "cross_sma": ("sma(50)", "average"),
    "cross_ema": ("ema(50)", "average"),
    "cross_macd": ("macd", "macd"),
    "cross_di": ("adx", "adx"),
    "breakout_donchian": ("atr", "atr"),
    "breakout_swing": ("atr", "atr"),
    "breakout_day": ("atr", "atr"),
    "divergence_rsi": ("rsi", "rsi"),
    "divergence_macd": ("macd", "macd"),
    "divergence_mfi": ("mfi", "mfi"),
    "divergence_obv": ("obv", "obv"),
}


@cache
def hourly(made: Callable[[int], Floats]) -> Floats:
    """A series of hours, so that days and weeks pass."""
    bars = made(SIZE)
    bars[TIME] = bars[TIME, 0] + 60 * np.arange(SIZE)
    return bars


@cache
def all_of(made: Callable[[int], Floats]) -> dict[str, Floats]:
    """The outputs of all signals and of what they stand on, by column."""
    names = {*signals(), *(inner for inner, _ in INSIDE.values()), "keltner(20,20,1.5)", "sma(200)"}
    plan = Plan([Spec.parse(name) for name in sorted(names)])
    values = compute(plan.specs, hourly(made), chunk=SIZE)
    return dict(zip(plan.columns, values, strict=True))


def values(made: Callable[[int], Floats], name: str, output: str) -> Floats:
    spec = Spec.parse(name)
    several = len(spec.known.outputs) > 1
    return all_of(made)[f"{spec}.{output}" if several else str(spec)]


def same_signal(made: Callable[[int], Floats], name: str, expected: Floats) -> None:
    ours = values(made, name, "signal")
    known = ~np.isnan(ours)
    assert np.count_nonzero(expected[known]) > 0
    np.testing.assert_array_equal(ours[known], expected[known])


@pytest.mark.parametrize("name", INSIDE)
def test_the_values_of_a_signal_are_those_of_its_indicator(name):
    inner, first = INSIDE[name]
    spec, inside = Spec.of(name), Spec.parse(inner)
    at = [o.name for o in spec.known.outputs].index(first)
    for made in SERIES:
        for ours, theirs in zip(spec.columns[at:], inside.columns, strict=False):
            known = ~np.isnan(all_of(made)[ours])
            assert np.array_equal(all_of(made)[ours][known], all_of(made)[theirs][known]), ours


@pytest.mark.parametrize("name", signals())
def test_every_signal_speaks_both_ways_and_can_say_why(name):
    spec = Spec.of(name)
    made = gaps if name.startswith("gap") else walk
    rows = np.stack([all_of(made)[column] for column in spec.columns])
    signal, strength = rows[0], rows[1]
    assert {-1.0, 0.0, 1.0} == set(signal[~np.isnan(signal)].tolist())
    assert ((strength > 0) == (np.abs(signal) == 1)).all()
    for bar in np.flatnonzero(np.abs(signal) == 1)[:20]:
        outputs = dict(zip((o.name for o in spec.known.outputs), rows[:, bar].tolist(), strict=True))
        assert reasons(name, outputs)


def still(bars: Floats, name: str) -> Floats:
    """Bars in whose period nothing moved: no close for the RSI, no price at all for the stochastics."""
    closes = sliding_window_view(np.concatenate([[np.nan], bars[CLOSE]]), 15)
    ranges = (sliding_window_view(bars[i], 14) for i in (HIGH, LOW))
    if name == "rsi_extreme":
        quiet = np.ptp(closes, axis=1) == 0
    elif name == "mfi_extreme":
        typical = bars[HIGH] + bars[LOW] + bars[CLOSE]
        flow = np.abs(np.diff(typical, prepend=np.nan)) * bars[VOLUME] > 1e-9 * typical
        quiet = ~sliding_window_view(flow, 14).any(axis=1)
    elif name in ("stoch_extreme", "willr_extreme"):
        high, low = ranges
        quiet = high.max(axis=1) == low.min(axis=1)
    else:
        quiet = np.zeros(SIZE - 13, dtype=bool)
    return np.concatenate([np.zeros(13, dtype=bool), quiet])


@pytest.mark.parametrize("made", SERIES)
@pytest.mark.parametrize(
    ("name", "output", "low", "high"),
    [
        ("rsi_extreme", "rsi", 30, 70),
        ("stoch_extreme", "k", 20, 80),
        ("willr_extreme", "willr", -80, -20),
        ("cci_extreme", "cci", -100, 100),
        ("mfi_extreme", "mfi", 20, 80),
        ("bbands_extreme", "percent_b", 0, 1),
    ],
)
def test_extremes_are_what_lies_beyond_the_thresholds_where_something_moved(made, name, output, low, high):
    value = values(made, name, output)
    extreme = (value < low) * 1.0 - (value > high)
    same_signal(made, name, np.where(still(hourly(made), name), 0.0, extreme))


@pytest.mark.parametrize("made", SERIES)
@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("cross_sma", None, "average"),
        ("cross_ema", None, "average"),
        ("cross_averages", "fast", "slow"),
        ("cross_macd", "macd", "trigger"),
        ("cross_di", "plus_di", "minus_di"),
    ],
)
def test_crossings_are_where_the_difference_changes_its_sign(made, name, a, b):
    upper = hourly(made)[CLOSE] if a is None else values(made, name, a)
    lower = values(made, name, b)
    apart = upper - lower
    apart[np.abs(apart) <= 1e-12 * np.abs(lower)] = 0
    # The bar before the first value is hidden by the lookback: the indicators alone have it.
    start = int(np.flatnonzero(~np.isnan(apart))[0]) + 1
    ours = values(made, name, "signal")
    expected = (apart[start:] > 0) & (apart[start - 1 : -1] <= 0)
    down = (apart[start:] < 0) & (apart[start - 1 : -1] >= 0)
    assert expected.any()
    np.testing.assert_array_equal(ours[start:], expected * 1.0 - down)


def beyond(bars: Floats, support: Floats, resistance: Floats) -> Floats:
    close, last = bars[CLOSE], np.concatenate([[np.nan], bars[CLOSE, :-1]])
    up = (close > resistance) & (last <= resistance)
    return up * 1.0 - ((close < support) & (last >= support))


@pytest.mark.parametrize("made", SERIES)
def test_channels_break_as_loops_over_the_bars_before_say(made):
    bars = hourly(made)
    upper, lower = np.full(SIZE, np.nan), np.full(SIZE, np.nan)
    for t in range(20, SIZE):
        upper[t], lower[t] = bars[HIGH, t - 20 : t].max(), bars[LOW, t - 20 : t].min()
    same_signal(made, "breakout_donchian", beyond(bars, lower, upper))


@pytest.mark.parametrize("made", SERIES)
def test_swings_break_as_the_swing_points_say(made):
    bars = hourly(made)
    found = swings(bars[HIGH], bars[LOW], 5)
    ends = {}
    for side in (1, -1):
        of = found.of(side)
        level = np.full(SIZE, np.nan)
        for t in range(SIZE):
            known = int(np.searchsorted(of.known, t, side="left")) - 1  # a bar ago
            if known >= 0 and t - of.bars[known] <= 200:
                level[t] = of.prices[known]
        ends[side] = level
    same_signal(made, "breakout_swing", beyond(bars, ends[-1], ends[1]))


@pytest.mark.parametrize("made", SERIES)
@pytest.mark.parametrize(("name", "length"), [("breakout_day", DAY), ("breakout_week", WEEK)])
def test_days_and_weeks_break_as_the_periods_before_say(made, name, length):
    bars = hourly(made)
    past = prior(bars[TIME].astype(np.int64), bars[HIGH], bars[LOW], bars[CLOSE], length)
    same_signal(made, name, beyond(bars, past.low, past.high))


def roundest(last: float, close: float) -> tuple[int, float]:
    """In exact fractions of what is printed: the roundest multiple on the way, the last of those."""
    before, now = Fraction(repr(last)), Fraction(repr(close))
    power = Fraction(1)
    while power * 10 <= before:
        power *= 10
    while power > before:
        power /= 10
    for unit in (power, power / 2, power / 10):
        if now > before:
            level = (-(-now // unit) - 1) * unit
            if level >= before:
                return 1, float(level)
        elif now < before:
            level = (now // unit + 1) * unit
            if level <= before:
                return -1, float(level)
    return 0, 0.0


@pytest.mark.parametrize("made", SERIES)
def test_round_numbers_break_as_exact_fractions_say(made):
    bars = hourly(made).copy()
    closes = bars[CLOSE] = np.round(bars[CLOSE], 2)
    signal, _, level, _ = compute([Spec.of("breakout_round")], bars)
    closes = closes.tolist()
    for t in range(1, SIZE):
        assert (signal[t], level[t]) == roundest(closes[t - 1], closes[t])


def test_gaps_are_opens_beyond_the_last_range():
    bars, width = hourly(gaps), np.concatenate([[np.nan], values(gaps, "atr", "atr")[:-1]])
    up = (bars[OPEN, 1:] - bars[HIGH, :-1]) / width[1:]
    down = (bars[LOW, :-1] - bars[OPEN, 1:]) / width[1:]
    expected = np.concatenate([[0.0], ((up > 0) & (up >= 0.1)) * 1.0 - ((down > 0) & (down >= 0.1))])
    same_signal(gaps, "gap", expected)


def test_gaps_are_filled_as_a_walk_over_the_bars_says():
    bars, gap, edge = hourly(gaps), values(gaps, "gap", "signal"), values(gaps, "gap", "edge")
    expected, standing = np.zeros(SIZE), (0.0, 0.0, 0)
    for t in range(SIZE):
        if abs(gap[t]) == 1:
            standing = (gap[t], edge[t], t)
        side, price, since = standing
        back = bars[LOW, t] <= price if side > 0 else bars[HIGH, t] >= price
        if side and t - since <= 100 and back:
            expected[t], standing = -side, (0.0, 0.0, 0)
    same_signal(gaps, "gap_fill", expected)


@pytest.mark.parametrize("made", SERIES)
@pytest.mark.parametrize("name", ["rsi", "macd", "mfi", "obv"])
def test_divergences_are_those_of_the_function_over_whole_arrays(made, name):
    bars = hourly(made)
    found = divergences(bars[HIGH], bars[LOW], values(made, name, name), wing=3)
    expected = np.zeros((5, SIZE))
    for i in np.lexsort((found.direction, found.strength)):  # the strongest last, bullish after bearish
        row = (
            found.direction[i],
            found.strength[i],
            found.hidden[i],
            found.first_price[i],
            found.second_value[i],
        )
        expected[:, found.known[i]] = row
    names = ("signal", "strength", "hidden", "first_price", "second_value")
    ours = np.stack([values(made, f"divergence_{name}", n) for n in names])
    known = ~np.isnan(ours[0])
    assert np.count_nonzero(expected[0, known]) > 10
    np.testing.assert_array_equal(ours[:, known], expected[:, known])


@pytest.mark.parametrize("made", SERIES)
def test_squeezes_are_bands_inside_the_channel(made):
    bands = [values(made, "bbands", n) for n in ("upper", "lower")]
    channel = [values(made, "keltner(20,20,1.5)", n) for n in ("upper", "lower")]
    inside = (bands[0] < channel[0]) & (bands[1] > channel[1])
    np.testing.assert_array_equal(values(made, "squeeze", "squeezed")[20:], inside[20:])
    released = inside[20:-1] & ~inside[21:]
    away = hourly(made)[CLOSE] - values(made, "bbands", "middle")
    np.testing.assert_array_equal(values(made, "squeeze", "signal")[21:], released * np.sign(away[21:]))
    assert released.any()
