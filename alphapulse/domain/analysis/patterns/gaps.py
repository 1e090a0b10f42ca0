"""Patterns of three candles with a gap, and stars, as TA-Lib defines them."""

from alphapulse.domain.analysis.patterns.catalogue import PENETRATION, TALIB, pattern, penetration
from alphapulse.domain.analysis.patterns.language import (
    black,
    both,
    candles,
    doji,
    down,
    equal,
    long,
    modest,
    similar,
    up,
    white,
)

a, b, c = candles(3)

# Stars: a long candle, a little one apart from it, and one that comes back far into the first.
end = (white(c), long(c), c.close > a.close + PENETRATION * a.body)
star = (black(a), long(a), modest(b), b.top < a.bottom, *end)
doji_star = (black(a), long(a), doji(b), b.top < a.bottom, *end)
baby = (black(a), long(a), doji(b), b.high < a.low, c.low > b.high, *end)
for name, title, shapes in (
    ("morning_star", "Morning star", up(*star)),
    ("evening_star", "Evening star", down(*star)),
    ("morning_doji_star", "Morning doji star", up(*doji_star)),
    ("evening_doji_star", "Evening doji star", down(*doji_star)),
    ("abandoned_baby", "Abandoned baby", both(*baby)),
):
    pattern(name, title, shapes, lookback=12, source=TALIB, parameters=(penetration(0.3),))

pattern(
    "tristar",
    "Tristar",
    both(
        *(a.body <= a.tiny, b.body <= a.tiny, c.body <= a.tiny),
        *(b.top < a.bottom, c.bottom > b.bottom),
    ),
    lookback=12,
    source=TALIB,
)
crows = (white(a), long(a), black(b), b.bottom > a.top, black(c))
pattern(
    "two_crows",
    "Two crows",
    up(
        *crows,
        *(c.open < b.open, c.open > b.close, c.close > a.open, c.close < a.close),
        signal=-100,
    ),
    lookback=12,
    source=TALIB,
)
pattern(
    "upside_gap_two_crows",
    "Upside gap two crows",
    up(*crows, modest(b), c.open > b.open, c.close < b.close, c.close > a.close, signal=-100),
    lookback=12,
    source=TALIB,
)
pattern(
    "tasuki_gap",
    "Tasuki gap",
    both(
        *(b.bottom > a.top, white(b), black(c), c.open < b.close, c.open > b.open),
        *(c.close < b.open, c.close > a.top, similar(b.body, c.body, b.near)),
    ),
    lookback=7,
    source=TALIB,
)
pattern(
    "gap_three_methods",
    "Upside and downside gap three methods",
    both(
        *(white(a), white(b), b.bottom > a.top, black(c)),
        *(c.open < b.top, c.open > b.bottom, c.close < a.top, c.close > a.bottom),
    ),
    lookback=2,
    source=TALIB,
)
side_by_side = (
    *(white(b), white(c)),
    *(equal(c.body, b.body, b.near), equal(c.open, b.open, b.hair)),
)
pattern(
    "gap_side_by_side_white",
    "Up and down gap side-by-side white lines",
    up(*side_by_side, b.bottom > a.top, c.bottom > a.top),
    up(*side_by_side, b.top < a.bottom, c.top < a.bottom, signal=-100),
    lookback=7,
    source=TALIB,
)
