"""All of TA-Lib's candlestick patterns against TA-Lib: the same first bar, the same integers."""

from functools import cache

import numpy as np
import pytest
import talib
from talib import abstract

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, Floats
from alphapulse.domain.analysis.panel import Panel, Plan
from alphapulse.domain.analysis.registry import Spec, everything
from tests.domain.analysis.klines import KLINES, klines
from tests.domain.analysis.pattern_markets import RARE, drawn, gappy, mirrored, opening_where_it_closed
from tests.domain.analysis.series import ADVERSARIAL

TALIB = {
    "abandoned_baby": "CDLABANDONEDBABY",
    "advance_block": "CDLADVANCEBLOCK",
    "belt_hold": "CDLBELTHOLD",
    "breakaway": "CDLBREAKAWAY",
    "closing_marubozu": "CDLCLOSINGMARUBOZU",
    "concealing_baby_swallow": "CDLCONCEALBABYSWALL",
    "counterattack": "CDLCOUNTERATTACK",
    "dark_cloud_cover": "CDLDARKCLOUDCOVER",
    "doji": "CDLDOJI",
    "doji_star": "CDLDOJISTAR",
    "dragonfly_doji": "CDLDRAGONFLYDOJI",
    "engulfing": "CDLENGULFING",
    "evening_doji_star": "CDLEVENINGDOJISTAR",
    "evening_star": "CDLEVENINGSTAR",
    "gap_side_by_side_white": "CDLGAPSIDESIDEWHITE",
    "gap_three_methods": "CDLXSIDEGAP3METHODS",
    "gravestone_doji": "CDLGRAVESTONEDOJI",
    "hammer": "CDLHAMMER",
    "hanging_man": "CDLHANGINGMAN",
    "harami": "CDLHARAMI",
    "harami_cross": "CDLHARAMICROSS",
    "high_wave": "CDLHIGHWAVE",
    "hikkake": "CDLHIKKAKE",
    "homing_pigeon": "CDLHOMINGPIGEON",
    "identical_three_crows": "CDLIDENTICAL3CROWS",
    "in_neck": "CDLINNECK",
    "inverted_hammer": "CDLINVERTEDHAMMER",
    "kicking": "CDLKICKING",
    "kicking_by_length": "CDLKICKINGBYLENGTH",
    "ladder_bottom": "CDLLADDERBOTTOM",
    "long_legged_doji": "CDLLONGLEGGEDDOJI",
    "long_line": "CDLLONGLINE",
    "marubozu": "CDLMARUBOZU",
    "mat_hold": "CDLMATHOLD",
    "matching_low": "CDLMATCHINGLOW",
    "modified_hikkake": "CDLHIKKAKEMOD",
    "morning_doji_star": "CDLMORNINGDOJISTAR",
    "morning_star": "CDLMORNINGSTAR",
    "on_neck": "CDLONNECK",
    "piercing": "CDLPIERCING",
    "rickshaw_man": "CDLRICKSHAWMAN",
    "rise_fall_three_methods": "CDLRISEFALL3METHODS",
    "separating_lines": "CDLSEPARATINGLINES",
    "shooting_star": "CDLSHOOTINGSTAR",
    "short_line": "CDLSHORTLINE",
    "spinning_top": "CDLSPINNINGTOP",
    "stalled_pattern": "CDLSTALLEDPATTERN",
    "stick_sandwich": "CDLSTICKSANDWICH",
    "takuri": "CDLTAKURI",
    "tasuki_gap": "CDLTASUKIGAP",
    "three_black_crows": "CDL3BLACKCROWS",
    "three_inside": "CDL3INSIDE",
    "three_line_strike": "CDL3LINESTRIKE",
    "three_outside": "CDL3OUTSIDE",
    "three_stars_in_the_south": "CDL3STARSINSOUTH",
    "three_white_soldiers": "CDL3WHITESOLDIERS",
    "thrusting": "CDLTHRUSTING",
    "tristar": "CDLTRISTAR",
    "two_crows": "CDL2CROWS",
    "unique_three_river": "CDLUNIQUE3RIVER",
    "upside_gap_two_crows": "CDLUPSIDEGAP2CROWS",
}


@cache
def plan() -> Plan:
    return Plan([Spec.of(name) for name in TALIB])


def signals(bars: Floats) -> Floats:
    """(patterns, T), in the order of TALIB."""
    return Panel(plan(), 1, chunk=4096).advance(np.ascontiguousarray(bars[:, :, None]))[::2, :, 0]


def differences(bars: Floats) -> list[tuple[str, int, float]]:
    """Where TA-Lib, run over all of ``bars``, says something else than we do: pattern, row, our signal."""
    found = []
    prices = tuple(np.ascontiguousarray(bars[field]) for field in (OPEN, HIGH, LOW, CLOSE))
    for (name, function), ours in zip(TALIB.items(), signals(bars), strict=True):
        theirs = getattr(talib, function)(*prices)
        rows = np.flatnonzero((ours != theirs) & ~np.isnan(ours))
        found += [(name, int(row), float(ours[row])) for row in rows]
    return found


def says(name: str, bars: Floats, row: int) -> float:
    """What TA-Lib says of ``row`` when it begins as late as it can, so that its sums are fresh."""
    known = everything()[name]
    first = row - known.lookbacks([p.default for p in known.parameters])[0]
    prices = (np.ascontiguousarray(bars[field, first : row + 1]) for field in (OPEN, HIGH, LOW, CLOSE))
    return float(getattr(talib, TALIB[name])(*prices)[-1])


def assert_talib_agrees_unless_with_itself_it_does_not(bars: Floats) -> None:
    """TA-Lib keeps running sums, and what it adds it never takes off exactly.

    So at a bar that lies just on a limit (a body as long as the mean body) its answer depends on where it
    began. There we must say what it says when it begins anew.
    """
    found = differences(bars)
    assert len(found) <= 1e-3 * len(TALIB) * bars.shape[1]
    assert not (wrong := [d for d in found if says(d[0], bars, d[1]) != d[2]]), wrong


def test_all_of_talibs_patterns_are_here() -> None:
    every = talib.get_functions()  # type: ignore[no-untyped-call]
    functions = {name for name in every if name.startswith("CDL")}
    assert len(functions) == 61
    assert set(TALIB.values()) == functions


def test_the_first_judged_bar_is_talibs() -> None:
    for name, function in TALIB.items():
        known = everything()[name]
        defaults = [p.default for p in known.parameters]
        assert known.lookbacks(defaults) == (getattr(abstract, function).lookback,) * 2, name


@pytest.mark.parametrize("seed", [1, 2])
def test_a_market_full_of_gaps_gives_talibs_integers(seed: int) -> None:
    assert not differences(gappy(40_000, seed))


def test_bars_whose_open_lies_outside_their_range_give_talibs_integers() -> None:
    bars = opening_where_it_closed(gappy(40_000, 1))
    assert (bars[OPEN] > bars[HIGH]).sum() > 1_000
    assert not differences(bars)


@pytest.mark.parametrize("name", RARE)
def test_rare_shapes_give_talibs_integers(name: str) -> None:
    assert not differences(drawn(RARE[name]))
    assert not differences(mirrored(drawn(RARE[name])))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_nasty_series_give_talibs_integers(name: str) -> None:
    assert_talib_agrees_unless_with_itself_it_does_not(ADVERSARIAL[name](3_000))


@pytest.mark.parametrize("name", KLINES)
def test_real_klines_give_talibs_integers(name: str) -> None:
    assert_talib_agrees_unless_with_itself_it_does_not(klines(name, 2_000))


@pytest.mark.long
@pytest.mark.parametrize("name", KLINES)
def test_whole_files_of_real_klines_give_talibs_integers(name: str) -> None:
    assert_talib_agrees_unless_with_itself_it_does_not(klines(name))


@pytest.mark.parametrize("penetration", [0.0, 0.15, 0.9])
def test_the_penetration_asked_for_is_talibs(penetration: float) -> None:
    bars = gappy(20_000, 3)
    prices = tuple(np.ascontiguousarray(bars[field]) for field in (OPEN, HIGH, LOW, CLOSE))
    with_it = [name for name in TALIB if everything()[name].parameters]
    assert len(with_it) == 7
    specs = [Spec.of(name, {"penetration": penetration}) for name in with_it]
    ours = Panel(Plan(specs), 1, chunk=4096).advance(np.ascontiguousarray(bars[:, :, None]))[::2, :, 0]
    for name, mine in zip(with_it, ours, strict=True):
        theirs = getattr(talib, TALIB[name])(*prices, penetration=penetration)
        np.testing.assert_array_equal(mine[~np.isnan(mine)], theirs[~np.isnan(mine)], err_msg=name)


def test_a_sum_that_talib_carries_along_is_what_sets_us_apart() -> None:
    """A spike stays in its running sums as rounding: bodies of 0.01 then differ from their own mean."""
    bars = ADVERSARIAL["spikes"](3_000)
    assert differences(bars), "nothing to forgive: drop the excuse"
