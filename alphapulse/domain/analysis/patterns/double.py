"""Patterns of two candles, as TA-Lib defines them."""

from alphapulse.domain.analysis.patterns.catalogue import PENETRATION, TALIB, pattern, penetration
from alphapulse.domain.analysis.patterns.language import (
    around,
    bare_bottom,
    bare_top,
    black,
    both,
    candles,
    doji,
    down,
    equal,
    long,
    modest,
    up,
    white,
    within,
)

a, b = candles(2)

# TA-Lib gives 80 where one end of the two bodies is the same.
pattern(
    "engulfing",
    "Engulfing",
    both(black(a), white(b), around(b), b.close > a.open, b.open < a.close),
    both(black(a), white(b), around(b), b.close > a.open, b.open <= a.close, signal=80),
    both(black(a), white(b), around(b), b.close >= a.open, b.open < a.close, signal=80),
    lookback=2,
    source=TALIB,
)
for name, title, little in (("harami", "Harami", modest(b)), ("harami_cross", "Harami cross", doji(b))):
    pattern(
        name,
        title,
        both(black(a), long(a), little, within(b), b.top < a.top, b.bottom > a.bottom),
        both(black(a), long(a), little, within(b), b.top <= a.top, b.bottom >= a.bottom, signal=80),
        lookback=11,
        source=TALIB,
    )
pattern(
    "piercing",
    "Piercing line",
    up(
        *(black(a), long(a), white(b), long(b)),
        *(b.open < a.low, b.close < a.open, b.close > a.close + 0.5 * a.body),
    ),
    lookback=11,
    source=TALIB,
)
pattern(
    "dark_cloud_cover",
    "Dark cloud cover",
    down(
        *(black(a), long(a), white(b)),
        *(b.open < a.low, b.close < a.open, b.close > a.close + PENETRATION * a.body),
    ),
    lookback=11,
    source=TALIB,
    parameters=(penetration(0.5),),
)
pattern(
    "doji_star",
    "Doji star",
    both(black(a), long(a), doji(b), b.top < a.bottom),
    lookback=11,
    source=TALIB,
)
pattern(
    "counterattack",
    "Counterattack, or meeting lines",
    both(black(a), long(a), white(b), long(b), equal(b.close, a.close, a.hair)),
    lookback=11,
    source=TALIB,
)
pattern(
    "separating_lines",
    "Separating lines",
    both(black(a), white(b), long(b), bare_bottom(b), equal(b.open, a.open, a.hair)),
    lookback=11,
    source=TALIB,
)
pattern(
    "homing_pigeon",
    "Homing pigeon",
    up(black(a), black(b), long(a), modest(b), b.open < a.open, b.close > a.close),
    lookback=11,
    source=TALIB,
)
pattern(
    "matching_low",
    "Matching low",
    up(black(a), black(b), equal(b.close, a.close, a.hair)),
    lookback=6,
    source=TALIB,
)

# A white candle that does not get far after a long black one: the fall goes on.
weak_answer = (black(a), long(a), white(b), b.open < a.low)
pattern(
    "in_neck",
    "In neck",
    up(*weak_answer, b.close <= a.close + a.hair, b.close >= a.close, signal=-100),
    lookback=11,
    source=TALIB,
)
pattern(
    "on_neck",
    "On neck",
    up(*weak_answer, equal(b.close, a.low, a.hair), signal=-100),
    lookback=11,
    source=TALIB,
)
pattern(
    "thrusting",
    "Thrusting",
    up(*weak_answer, b.close > a.close + a.hair, b.close <= a.close + 0.5 * a.body, signal=-100),
    lookback=11,
    source=TALIB,
)

full = (long(a), bare_top(a), bare_bottom(a), long(b), bare_top(b), bare_bottom(b))
kick = (black(a), white(b), *full, b.low > a.high)
pattern("kicking", "Kicking", both(*kick), lookback=11, source=TALIB)
pattern(
    "kicking_by_length",
    "Kicking, the longer candle says whereto",
    both(*kick, b.body > a.body),
    both(*kick, b.body <= a.body, signal=-100),
    lookback=11,
    source=TALIB,
)
