"""Patterns of the literature that TA-Lib does not have. The source of each stands beside it.

Where a book gives no figure, the words of TA-Lib stand in: long, short, tiny, a hair.
"""

from itertools import pairwise

from alphapulse.domain.analysis.patterns.catalogue import pattern
from alphapulse.domain.analysis.patterns.language import (
    bare_bottom,
    black,
    both,
    candles,
    down,
    equal,
    long,
    similar,
    up,
    white,
)

NISON = "Nison, Japanese Candlestick Charting Techniques (1991)"
BULKOWSKI = "Bulkowski, Encyclopedia of Candlestick Charts (2008)"
CRABEL = "Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout (1990)"
WILLIAMS = "Williams, Long-Term Secrets to Short-Term Trading (1999)"
PRING = "Pring, Pring on Price Patterns (2005)"
EDWARDS = "Edwards and Magee, Technical Analysis of Stock Trends (1948)"

a, b = candles(2)

# Two candles that turn at the same price, the first of them long and on its way there.
tweezers = (black(a), long(a), white(b), equal(b.low, a.low, a.hair))
pattern("tweezer_bottom", "Tweezer bottom", up(*tweezers), lookback=11, source=NISON)
pattern("tweezer_top", "Tweezer top", down(*tweezers), lookback=11, source=NISON)

inside = (b.high < a.high, b.low > a.low)
outside = (b.high > a.high, b.low < a.low)
pattern("inside_bar", "Inside bar", up(*inside), lookback=1, source=CRABEL, neutral=True)
pattern(
    "outside_bar",
    "Outside bar that closes beyond the last one",
    both(*outside, b.close > a.high),
    lookback=1,
    source=WILLIAMS,
)
NOSE = 2 / 3  # of the range
# The nose lies: it sticks out of the last bar, and the body is in the far third of the range.
pattern(
    "pin_bar",
    "Pin bar, or Pinocchio bar",
    both(
        *(b.low < a.low, b.lower > 2.0 * b.body, b.lower >= NOSE * b.range),
        *(b.open > a.low, b.close > a.low, b.range > b.usual_range),
    ),
    lookback=11,
    source=PRING,
)
pattern(
    "railroad_tracks",
    "Railroad tracks, or two-bar reversal",
    both(
        *(black(a), white(b), long(a), long(b), a.body > 0.5 * a.range, b.body > 0.5 * b.range),
        *(similar(b.body, a.body, a.near), equal(b.open, a.close, a.near)),
    ),
    lookback=11,
    source=PRING,
)
pattern(
    "above_the_stomach",
    "Above and below the stomach",
    both(black(a), long(a), white(b), b.open > a.bottom + 0.5 * a.body, b.close > a.bottom + 0.5 * a.body),
    lookback=11,
    source=BULKOWSKI,
)
pattern(
    "oops",
    "Oops: an opening beyond the last bar that is taken back",
    both(black(a), b.open < a.low, b.close > a.low),
    lookback=1,
    source=WILLIAMS,
)
pattern(
    "smash_day",
    "Naked smash day: a close beyond the last bar, expected to fail",
    both(b.close < a.low),
    lookback=1,
    source=WILLIAMS,
)
pattern("window", "Rising and falling window", both(b.low > a.high), lookback=1, source=NISON)

a, b, c = candles(3)

pattern(
    "double_inside_bar",
    "Double inside bar",
    up(b.high < a.high, b.low > a.low, c.high < b.high, c.low > b.low),
    lookback=2,
    source=CRABEL,
    neutral=True,
)
pattern(
    "popgun",
    "Popgun: an outside bar after an inside bar",
    both(b.high < a.high, b.low > a.low, c.high > b.high, c.low < b.low, c.close > b.high),
    lookback=2,
    source="Farley, The Master Swing Trader (2000)",
)
pattern(
    "two_black_gapping_candles",
    "Two black gapping candles",
    up(black(b), b.high < a.low, black(c), c.high < b.high, signal=-100),
    lookback=2,
    source=BULKOWSKI,
)
pattern(
    "last_engulfing",
    "Last engulfing: an engulfing candle with the trend, as it ends",
    both(
        *(a.close > b.close, white(b), black(c)),
        *(c.open > b.close, c.close < b.open, c.low < a.low),
    ),
    lookback=2,
    source="Nison, Beyond Candlesticks (1994)",
)

a, b, c, d = candles(4)

pattern(
    "nr4",
    "NR4: the narrowest range of four",
    up(d.range < c.range, d.range < b.range, d.range < a.range),
    lookback=3,
    source=CRABEL,
    neutral=True,
)
pattern(
    "inside_nr4",
    "ID/NR4: an inside bar with the narrowest range of four",
    up(d.high < c.high, d.low > c.low, d.range < b.range, d.range < a.range),
    lookback=3,
    source=CRABEL,
    neutral=True,
)
pattern(
    "three_gaps",
    "San-ku: three windows in a row, a move near its end",
    both(b.high < a.low, c.high < b.low, d.high < c.low),
    lookback=3,
    source=NISON,
)
# Bulkowski asks less of the three candles than TA-Lib, and found that the fourth turns the trend.
pattern(
    "three_line_strike_reversal",
    "Three-line strike, read as a reversal",
    both(
        *(black(a), black(b), black(c), b.close < a.close, c.close < b.close),
        *(white(d), d.open < c.close, d.close > a.open),
    ),
    lookback=3,
    source=BULKOWSKI,
)
pattern(
    "opening_belt_hold",
    "Belt hold that opens with a gap, after a fall or rise",
    both(
        *(b.close < a.close, c.close < b.close, d.open < c.low),
        *(white(d), long(d), bare_bottom(d), d.close > c.close),
    ),
    lookback=13,
    source=NISON,
)

a, b, c, d, e, f, g = candles(7)

pattern(
    "nr7",
    "NR7: the narrowest range of seven",
    up(*(g.range < x.range for x in (f, e, d, c, b, a))),
    lookback=6,
    source=CRABEL,
    neutral=True,
)
pattern(
    "key_reversal",
    "Key reversal: a new extreme of seven bars, closed beyond the last bar's other end",
    both(*(g.low < x.low for x in (f, e, d, c, b, a)), g.close > f.high),
    lookback=6,
    source=EDWARDS,
)


# Up to four bars cut off on both sides: below the low of the bar before them and of the bar after them.
LONGEST_ISLAND = 4
islands = []
for length in range(1, LONGEST_ISLAND + 1):
    shore, *island, other_shore = candles(length + 2)
    cut_off = [x.high < side.low for x in island for side in (shore, other_shore)]
    islands.append(both(*cut_off))
pattern("island_reversal", "Island reversal", *islands, lookback=LONGEST_ISLAND + 1, source=EDWARDS)

nine = candles(9)
pattern(
    "eight_new_price_lines",
    "Eight new price lines: a move near its end",
    both(*(x.high < last.high for last, x in pairwise(nine))),
    lookback=8,
    source=NISON,
)
