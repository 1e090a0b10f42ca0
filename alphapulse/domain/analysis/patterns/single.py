"""Patterns of one candle, as TA-Lib defines them."""

from alphapulse.domain.analysis.patterns.catalogue import TALIB, pattern
from alphapulse.domain.analysis.patterns.language import (
    bare_bottom,
    bare_top,
    both,
    candles,
    doji,
    long,
    short,
    up,
    white,
)

(c,) = candles(1)

little_shadows = (c.upper < 0.5 * c.usual_shadows, c.lower < 0.5 * c.usual_shadows)
bare = (bare_top(c), bare_bottom(c))

pattern("belt_hold", "Belt hold", both(white(c), long(c), bare_bottom(c)), lookback=10, source=TALIB)
pattern("marubozu", "Marubozu", both(white(c), long(c), *bare), lookback=10, source=TALIB)
pattern(
    "closing_marubozu",
    "Closing marubozu",
    both(white(c), long(c), bare_top(c)),
    lookback=10,
    source=TALIB,
)
pattern("long_line", "Long line candle", both(white(c), long(c), *little_shadows), lookback=10, source=TALIB)
pattern(
    "short_line", "Short line candle", both(white(c), short(c), *little_shadows), lookback=10, source=TALIB
)
pattern(
    "spinning_top",
    "Spinning top",
    both(white(c), short(c), c.upper > c.body, c.lower > c.body),
    lookback=10,
    source=TALIB,
    neutral=True,
)
pattern(
    "high_wave",
    "High-wave candle",
    both(white(c), short(c), c.upper > 2.0 * c.body, c.lower > 2.0 * c.body),
    lookback=10,
    source=TALIB,
    neutral=True,
)

pattern("doji", "Doji", up(doji(c)), lookback=10, source=TALIB, neutral=True)
pattern(
    "dragonfly_doji",
    "Dragonfly doji",
    up(doji(c), bare_top(c), c.lower > c.tiny),
    lookback=10,
    source=TALIB,
)
pattern(
    "gravestone_doji",
    "Gravestone doji",
    up(doji(c), bare_bottom(c), c.upper > c.tiny),
    lookback=10,
    source=TALIB,
    neutral=True,
)
pattern(
    "long_legged_doji",
    "Long-legged doji",
    up(doji(c), c.lower > c.body),
    up(doji(c), c.upper > c.body),
    lookback=10,
    source=TALIB,
    neutral=True,
)
pattern(
    "rickshaw_man",
    "Rickshaw man",
    up(
        doji(c),
        c.lower > c.body,
        c.upper > c.body,
        c.bottom <= c.low + 0.5 * c.range + c.near,
        c.top >= c.low + 0.5 * c.range - c.near,
    ),
    lookback=10,
    source=TALIB,
    neutral=True,
)
pattern(
    "takuri",
    "Takuri: a dragonfly doji with a very long lower shadow",
    up(doji(c), bare_top(c), c.lower > 2.0 * c.body),
    lookback=10,
    source=TALIB,
)

# Candles whose meaning depends on where the one before stood.
a, b = candles(2)
hammer_shape = (short(b), b.lower > b.body, bare_top(b))
inverted_shape = (short(b), b.upper > b.body, bare_bottom(b))

pattern("hammer", "Hammer", up(*hammer_shape, b.bottom <= a.low + a.near), lookback=11, source=TALIB)
pattern(
    "hanging_man",
    "Hanging man",
    up(*hammer_shape, b.bottom >= a.high - a.near, signal=-100),
    lookback=11,
    source=TALIB,
)
pattern(
    "inverted_hammer", "Inverted hammer", up(*inverted_shape, b.top < a.bottom), lookback=11, source=TALIB
)
pattern(
    "shooting_star",
    "Shooting star",
    up(*inverted_shape, b.bottom > a.top, signal=-100),
    lookback=11,
    source=TALIB,
)
