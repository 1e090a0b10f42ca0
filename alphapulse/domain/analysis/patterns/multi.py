"""Patterns of four and five candles, as TA-Lib defines them."""

from alphapulse.domain.analysis.patterns.catalogue import PENETRATION, TALIB, pattern, penetration
from alphapulse.domain.analysis.patterns.language import (
    bare_bottom,
    bare_top,
    black,
    both,
    candles,
    long,
    short,
    up,
    white,
)

a, b, c, d = candles(4)

pattern(
    "three_line_strike",
    "Three-line strike",
    both(
        *(white(a), white(b), white(c), black(d), d.close < a.open),
        *(b.open >= a.bottom - a.near, b.open <= a.top + a.near),
        *(c.open >= b.bottom - b.near, c.open <= b.top + b.near),
        *(b.close > a.close, c.close > b.close, d.open > c.close),
    ),
    lookback=8,
    source=TALIB,
)
pattern(
    "concealing_baby_swallow",
    "Concealing baby swallow",
    up(
        *(black(a), black(b), black(c), black(d)),
        *(bare_top(a), bare_bottom(a), bare_top(b), bare_bottom(b)),
        *(c.top < b.bottom, c.upper > c.tiny, c.high > b.close, d.high > c.high, d.low < c.low),
    ),
    lookback=13,
    source=TALIB,
)

a, b, c, d, e = candles(5)

pattern(
    "breakaway",
    "Breakaway",
    both(
        *(long(a), black(a), black(b), black(d), white(e)),
        *(b.top < a.bottom, c.high < b.high, c.low < b.low, d.high < c.high, d.low < c.low),
        *(e.close > b.open, e.close < a.close),
    ),
    lookback=14,
    source=TALIB,
)
pattern(
    "ladder_bottom",
    "Ladder bottom",
    up(
        *(black(a), black(b), black(c), black(d), white(e)),
        *(b.open < a.open, c.open < b.open, b.close < a.close, c.close < b.close),
        *(d.upper > d.tiny, e.open > d.open, e.close > d.high),
    ),
    lookback=14,
    source=TALIB,
)
pattern(
    "mat_hold",
    "Mat hold",
    up(
        *(long(a), short(b), short(c), short(d), white(a), black(b), white(e), b.bottom > a.top),
        *(c.bottom < a.close, d.bottom < a.close),
        *(c.bottom > a.close - PENETRATION * a.body, d.bottom > a.close - PENETRATION * a.body),
        *(c.top < b.open, d.top < c.top),
        *(e.open > d.close, e.close > b.high, e.close > c.high, e.close > d.high),
    ),
    lookback=14,
    source=TALIB,
    parameters=(penetration(0.5),),
)
held = tuple(rule for x in (b, c, d) for rule in (short(x), black(x), x.bottom < a.high, x.top > a.low))
pattern(
    "rise_fall_three_methods",
    "Rising and falling three methods",
    both(
        *(long(a), white(a), *held, long(e), white(e)),
        *(c.close < b.close, d.close < c.close, e.open > d.close, e.close > a.close),
    ),
    lookback=14,
    source=TALIB,
)
