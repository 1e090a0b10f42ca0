"""Each pattern that TA-Lib does not have: one drawn by hand that is it, and a near miss that is not."""

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.patterns.catalogue import patterns
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.pattern_markets import Drawn, drawn, mirrored
from tests.domain.analysis.test_patterns_talib import TALIB

LONG_BLACK = (110, 110.5, 103.5, 104)
STEPS_DOWN = ((110, 110.5, 107.5, 108), (108, 108.5, 105.5, 106), (106, 106.5, 103.5, 104))
NINE_LOWER = [(118 - n, 120 - n, 115 - n, 117 - n) for n in range(9)]

# Name: the candles, the signal at the last of them, and that last candle a little otherwise.
EXAMPLES: dict[str, tuple[Drawn, int, tuple[float, float, float, float]]] = {
    "tweezer_bottom": (((105, 105.5, 99.5, 100), (100.5, 104, 99.6, 103.5)), 100, (100.5, 104, 99.8, 103.5)),
    "tweezer_top": (((95, 100.5, 94.5, 100), (99.5, 100.4, 96, 96.5)), -100, (99.5, 100.2, 96, 96.5)),
    "inside_bar": (((100, 104, 96, 101), (100, 103, 97, 101)), 100, (100, 104, 97, 101)),
    "outside_bar": (((101, 102, 98, 99), (98, 104, 97, 103)), 100, (98, 104, 97, 102)),
    "pin_bar": (((101, 102, 98, 99), (100, 101, 94, 100.5)), 100, (100, 104, 94, 100.5)),
    "railroad_tracks": ((LONG_BLACK, (104.2, 110.6, 103.9, 110)), 100, (105, 110.6, 103.9, 110)),
    "above_the_stomach": ((LONG_BLACK, (107.5, 109, 106.5, 108.5)), 100, (107, 109, 106.5, 108.5)),
    "oops": (((104, 104.5, 99.5, 100), (99, 101.5, 98.5, 101)), 100, (99.5, 101.5, 98.5, 101)),
    "smash_day": (((101, 102, 98, 99), (99, 99.5, 97, 97.5)), 100, (99, 99.5, 97, 98)),
    "window": (((101, 102, 98, 99), (103, 105, 102.5, 104)), 100, (103, 105, 102, 104)),
    "double_inside_bar": (
        ((100, 105, 95, 101), (100, 104, 96, 101), (100, 103, 97, 101)),
        100,
        (100, 103, 96, 101),
    ),
    "popgun": (
        ((100, 105, 95, 101), (100, 103, 97, 101), (98, 104, 96.5, 103.5)),
        100,
        (98, 104, 96.5, 103),
    ),
    "two_black_gapping_candles": (
        ((110, 111, 108, 109), (107, 107.5, 105, 106), (106, 107, 104, 105)),
        -100,
        (106, 107.5, 104, 105),
    ),
    "last_engulfing": (
        ((104, 105, 101, 102), (99, 101, 98.5, 100.5), (101, 101.5, 97, 98)),
        100,
        (100.5, 101.5, 97, 98),
    ),
    "nr4": (((100, 103, 98, 101), (100, 102, 98, 101), (100, 101.5, 98.5, 101)), 100, (100, 102, 98, 101)),
    "inside_nr4": (((100, 103, 97, 101), (100, 101.5, 98.5, 101)), 100, (101, 103, 100.2, 102)),
    "three_gaps": (
        ((110, 111, 109, 110), (107, 108, 106, 107), (104, 105, 103, 104), (101, 102, 100, 101)),
        100,
        (101, 103, 100, 101),
    ),
    "three_line_strike_reversal": (
        (*STEPS_DOWN, (103.5, 111, 103, 110.5)),
        100,
        (103.5, 111, 103, 110),
    ),
    "opening_belt_hold": ((*STEPS_DOWN, (103, 108, 103, 107.5)), 100, (103, 108, 102, 107.5)),
    "nr7": (((100, 101.5, 98.5, 101),), 100, (100, 102, 98, 101)),
    "key_reversal": (((98.5, 103.5, 97, 103),), 100, (98.5, 103.5, 98, 103)),
    "island_reversal": (
        ((110, 111, 109, 110), (105, 106, 104, 105), (104, 105, 103, 104), (108, 111, 107, 110)),
        100,
        (108, 111, 106, 110),
    ),
    "eight_new_price_lines": (NINE_LOWER, 100, (110, 113, 107, 109)),
}


def last(name: str, bars: Floats) -> tuple[float, float]:
    """Signal and strength of the last bar."""
    signal, strength = compute([Spec.of(name)], bars)[:, -1]
    return float(signal), float(strength)


def test_every_pattern_that_talib_does_not_have_is_drawn_here() -> None:
    assert set(EXAMPLES) == set(patterns()) - set(TALIB)
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_drawn_pattern_is_found_and_the_near_miss_is_not(name: str) -> None:
    shape, expected, miss = EXAMPLES[name]
    signal, strength = last(name, drawn(shape))
    assert signal == expected
    assert 0.1 <= strength <= 1
    assert last(name, drawn((*shape[:-1], miss))) == (0, 0)


@pytest.mark.parametrize("name", [n for n in EXAMPLES if patterns()[n].direction == "both"])
def test_upside_down_it_says_the_opposite_as_clearly(name: str) -> None:
    shape, expected, miss = EXAMPLES[name]
    _, strength = last(name, drawn(shape))
    turned, as_strong = last(name, mirrored(drawn(shape)))
    assert turned == -expected
    assert as_strong == pytest.approx(strength, rel=1e-12)
    assert last(name, mirrored(drawn((*shape[:-1], miss)))) == (0, 0)


def test_an_island_may_be_one_bar_long_but_not_five() -> None:
    shore, bar, other = (110, 111, 109, 110), (105, 106, 104, 105), (108, 111, 107, 110)
    found = [last("island_reversal", drawn((shore, *[bar] * n, other)))[0] for n in range(6)]
    assert found == [0, 100, 100, 100, 100, 0]


def test_bars_that_stand_still_are_no_signal() -> None:
    still = drawn([(100, 100, 100, 100)] * 20)
    for name in EXAMPLES:
        signal, strength = compute([Spec.of(name)], still)[:, -5:]
        assert not signal.any(), name
        assert not np.any(strength), name
