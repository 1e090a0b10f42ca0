"""Patterns of three candles without a gap, as TA-Lib defines them."""

from alphapulse.domain.analysis.patterns.catalogue import TALIB, pattern
from alphapulse.domain.analysis.patterns.language import (
    around,
    bare_bottom,
    bare_top,
    black,
    both,
    candles,
    equal,
    long,
    modest,
    short,
    up,
    white,
    within,
)

a, b, c = candles(3)

pattern(
    "three_inside",
    "Three inside up and down",
    both(
        black(a),
        long(a),
        modest(b),
        within(b),
        b.top < a.top,
        b.bottom > a.bottom,
        white(c),
        c.close > a.open,
    ),
    lookback=12,
    source=TALIB,
)
pattern(
    "three_outside",
    "Three outside up and down",
    both(black(a), white(b), around(b), b.close > a.open, b.open < a.close, c.close > b.close),
    lookback=3,
    source=TALIB,
)

rising = (white(a), white(b), white(c), c.close > b.close, b.close > a.close)
open_inside = (b.open > a.open, b.open <= a.close + a.near, c.open > b.open, c.open <= b.close + b.near)
pattern(
    "three_white_soldiers",
    "Three advancing white soldiers",
    up(
        *rising,
        *(bare_top(a), bare_top(b), bare_top(c)),
        *open_inside,
        *(b.body > a.body - a.far, c.body > b.body - b.far, c.body > c.usual_body),
    ),
    lookback=12,
    source=TALIB,
)
advance = (*rising, *open_inside, long(a), a.upper < 0.5 * a.usual_shadows)
fading = (c.body < b.body, b.body < a.body)
pattern(
    "advance_block",
    "Advance block",
    up(b.body < a.body - a.far, c.body < b.body + b.near, *advance, signal=-100),
    up(c.body < b.body - b.far, *advance, signal=-100),
    up(*fading, c.upper > 0.5 * c.usual_shadows, *advance, signal=-100),
    up(*fading, b.upper > 0.5 * b.usual_shadows, *advance, signal=-100),
    up(c.body < b.body, c.upper > c.body, *advance, signal=-100),
    lookback=12,
    source=TALIB,
)
pattern(
    "stalled_pattern",
    "Stalled pattern, or deliberation",
    up(
        *rising,
        *(long(a), long(b), bare_top(b), b.open > a.open, b.open <= a.close + a.near),
        *(short(c), c.open >= b.close - c.body - b.near),
        signal=-100,
    ),
    lookback=12,
    source=TALIB,
)

falling = (black(a), black(b), black(c), b.close < a.close, c.close < b.close)
bare_bottoms = (bare_bottom(a), bare_bottom(b), bare_bottom(c))
pattern(
    "identical_three_crows",
    "Identical three crows",
    up(
        *falling,
        *bare_bottoms,
        *(equal(b.open, a.close, a.hair), equal(c.open, b.close, b.hair)),
        signal=-100,
    ),
    lookback=12,
    source=TALIB,
)
before = candles(4)[0]
pattern(
    "three_black_crows",
    "Three black crows",
    up(
        *falling,
        *bare_bottoms,
        *(white(before), a.close < before.high),
        *(b.open < a.open, b.open > a.close, c.open < b.open, c.open > b.close),
        signal=-100,
    ),
    lookback=13,
    source=TALIB,
)

pattern(
    "three_stars_in_the_south",
    "Three stars in the south",
    up(
        *(black(a), black(b), black(c)),
        *(long(a), a.lower > a.body),
        *(b.body < a.body, b.open > a.close, b.open <= a.high, b.low < a.close, b.low >= a.low),
        *(b.lower > b.tiny, short(c), bare_bottom(c), bare_top(c), c.low > b.low, c.high < b.high),
    ),
    lookback=12,
    source=TALIB,
)
pattern(
    "stick_sandwich",
    "Stick sandwich",
    up(black(a), white(b), black(c), b.low > a.close, equal(c.close, a.close, a.hair)),
    lookback=7,
    source=TALIB,
)
pattern(
    "unique_three_river",
    "Unique three river",
    up(
        *(black(a), long(a), black(b), b.close > a.close, b.open <= a.open, b.low < a.low),
        *(white(c), short(c), c.open > b.low),
    ),
    lookback=12,
    source=TALIB,
)
