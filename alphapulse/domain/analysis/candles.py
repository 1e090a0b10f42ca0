"""What candlestick patterns share, worked out once a bar: averages of the bars before, and facts as bits.

The averages are TA-Lib's candle settings: what is long, short or near depends on the bars before the one
in question. A fact is a comparison of one bar with these or with the bar before it. A pattern begins
with the facts that it cannot do without: they rule out nearly all slots in a few vector instructions,
and only the others are judged by all of its rules.

Source of the settings: TA-Lib 0.8, candle settings (ta_global.c), described at https://ta-lib.org.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import (
    BODY_MEAN,
    BOTTOM,
    CLOSE,
    FACTS,
    HIGH,
    LOW,
    NEAR_MEAN,
    OPEN,
    RANGE_MEAN,
    SHADOW_MEAN,
    TOP,
    Floats,
    Int64s,
)

AVERAGED = 10  # bars before this one that "long", "short", "tiny" are measured against
NEARBY = 5  # and those that "near", "far", "equal" are

TINY = 0.1  # of the mean range: a doji's body, a shadow that hardly shows

# Facts that are their own mirror image.
LONG, MODEST, SHORT, DOJI, WITHIN, AROUND = (1 << n for n in range(6))
# Facts in pairs: each is the mirror image of its neighbour.
WHITE, BLACK = 1 << 6, 1 << 7  # close >= open, close < open
UPPER_TINY, LOWER_TINY = 1 << 8, 1 << 9
UPPER_LONG, LOWER_LONG = 1 << 10, 1 << 11  # longer than the body
UPPER_SHORT, LOWER_SHORT = 1 << 12, 1 << 13
RISES, FALLS = 1 << 14, 1 << 15  # the close, against the last
BODY_ABOVE, BODY_BELOW = 1 << 16, 1 << 17  # the whole body, against the last
GAP_UP, GAP_DOWN = 1 << 18, 1 << 19  # the whole bar, against the last
HIGHER_HIGH, LOWER_LOW = 1 << 20, 1 << 21
LOWER_HIGH, HIGHER_LOW = 1 << 22, 1 << 23

CLOSES_ABOVE, CLOSES_BELOW = 1 << 24, 1 << 25  # the close, against the last high and low
OPENS_ABOVE, OPENS_BELOW = 1 << 26, 1 << 27
NARROWER = 1 << 28  # the range, against the last; its own mirror image

# A float64 from 2**52 on holds an integer in its lowest bits: ring.view(int64) & bits needs no conversion.
BLANK = int(np.float64(2.0**52).view(np.int64))

INSIDE = LOWER_HIGH | HIGHER_LOW
OUTSIDE = HIGHER_HIGH | LOWER_LOW
_PAIRS, _FIRST_OF_PAIR = ((1 << 28) - 1) ^ 63, sum(1 << n for n in range(6, 28, 2))


def mirrored(facts: int) -> int:
    """The same facts of the bar upside down."""
    pairs = facts & _PAIRS
    return facts & ~_PAIRS | (pairs & _FIRST_OF_PAIR) << 1 | (pairs & ~_FIRST_OF_PAIR) >> 1


@inner_piece
def push_candles(bars: Floats, row: int, lo: int, hi: int) -> None:
    """Derive what patterns share for ``row``, whose prices are in the ring, and slots ``lo`` to ``hi``."""
    mask = bars.shape[1] - 1
    at, before = row & mask, (row - 1) & mask
    open_, close = bars[OPEN, at, lo:hi], bars[CLOSE, at, lo:hi]
    top, bottom = bars[TOP, at, lo:hi], bars[BOTTOM, at, lo:hi]
    for i in range(open_.shape[0]):
        top[i] = open_[i] if open_[i] > close[i] else close[i]
        bottom[i] = close[i] if open_[i] > close[i] else open_[i]
    _average(bars, row, lo, hi)
    facts = bars[FACTS].view(np.int64)[at, lo:hi]
    _shape(bars, at, lo, hi, facts)
    _shadows(bars, at, lo, hi, facts)
    _closes(bars, at, before, lo, hi, facts)
    _bodies(bars, at, before, lo, hi, facts)
    _ends(bars, at, before, lo, hi, facts)


@inner_piece
def _average(bars: Floats, row: int, lo: int, hi: int) -> None:
    """Sums run from the oldest bar to the newest, then are divided: TA-Lib's order, so its very values."""
    mask = bars.shape[1] - 1
    at = row & mask
    body_mean, range_mean = bars[BODY_MEAN, at, lo:hi], bars[RANGE_MEAN, at, lo:hi]
    near_mean, shadow_mean = bars[NEAR_MEAN, at, lo:hi], bars[SHADOW_MEAN, at, lo:hi]
    for i in range(body_mean.shape[0]):
        body_mean[i] = range_mean[i] = near_mean[i] = shadow_mean[i] = 0.0
    for back in range(AVERAGED, 0, -1):
        then = (row - back) & mask
        high, low = bars[HIGH, then, lo:hi], bars[LOW, then, lo:hi]
        top, bottom = bars[TOP, then, lo:hi], bars[BOTTOM, then, lo:hi]
        for i in range(high.shape[0]):
            body_mean[i] += top[i] - bottom[i]
        for i in range(high.shape[0]):
            range_mean[i] += high[i] - low[i]
        for i in range(high.shape[0]):
            shadow_mean[i] += (high[i] - top[i]) + (bottom[i] - low[i])
        if back <= NEARBY:
            for i in range(high.shape[0]):
                near_mean[i] += high[i] - low[i]
    for i in range(body_mean.shape[0]):
        body_mean[i] /= AVERAGED
        range_mean[i] /= AVERAGED
    for i in range(body_mean.shape[0]):
        shadow_mean[i] /= AVERAGED
        near_mean[i] /= NEARBY


# A loop for few comparisons at a time: one that reads more rows than these would not use vector registers, as
# the compiler gives up proving that what it writes is none of what it reads.


@inner_piece
def _shape(bars: Floats, at: int, lo: int, hi: int, facts: Int64s) -> None:
    """The body against the averages, and its colour."""
    open_, close = bars[OPEN, at, lo:hi], bars[CLOSE, at, lo:hi]
    top, bottom = bars[TOP, at, lo:hi], bars[BOTTOM, at, lo:hi]
    usual, usual_range = bars[BODY_MEAN, at, lo:hi], bars[RANGE_MEAN, at, lo:hi]
    for i in range(facts.shape[0]):
        body, mean = top[i] - bottom[i], usual[i]
        found = (body > mean) * LONG | (body <= mean) * MODEST | (body < mean) * SHORT
        found |= (body <= TINY * usual_range[i]) * DOJI
        facts[i] = BLANK | found | (WHITE if close[i] >= open_[i] else BLACK)


@inner_piece
def _shadows(bars: Floats, at: int, lo: int, hi: int, facts: Int64s) -> None:
    """The shadows against the averages and the body."""
    high, low = bars[HIGH, at, lo:hi], bars[LOW, at, lo:hi]
    top, bottom = bars[TOP, at, lo:hi], bars[BOTTOM, at, lo:hi]
    usual_range, usual_shadows = bars[RANGE_MEAN, at, lo:hi], bars[SHADOW_MEAN, at, lo:hi]
    for i in range(facts.shape[0]):
        body, upper, lower = top[i] - bottom[i], high[i] - top[i], bottom[i] - low[i]
        tiny, short = TINY * usual_range[i], 0.5 * usual_shadows[i]
        found = (upper < tiny) * UPPER_TINY | (lower < tiny) * LOWER_TINY
        found |= (upper > body) * UPPER_LONG | (lower > body) * LOWER_LONG
        facts[i] |= found | (upper < short) * UPPER_SHORT | (lower < short) * LOWER_SHORT


# Against the bar before: none for the first bar, whose last is NaN.


@inner_piece
def _closes(bars: Floats, at: int, before: int, lo: int, hi: int, facts: Int64s) -> None:
    open_, close, last = bars[OPEN, at, lo:hi], bars[CLOSE, at, lo:hi], bars[CLOSE, before, lo:hi]
    last_high, last_low = bars[HIGH, before, lo:hi], bars[LOW, before, lo:hi]
    for i in range(facts.shape[0]):
        found = (close[i] > last[i]) * RISES | (close[i] < last[i]) * FALLS
        found |= (close[i] > last_high[i]) * CLOSES_ABOVE | (close[i] < last_low[i]) * CLOSES_BELOW
        facts[i] |= found | (open_[i] > last_high[i]) * OPENS_ABOVE | (open_[i] < last_low[i]) * OPENS_BELOW


@inner_piece
def _bodies(bars: Floats, at: int, before: int, lo: int, hi: int, facts: Int64s) -> None:
    top, bottom = bars[TOP, at, lo:hi], bars[BOTTOM, at, lo:hi]
    last_top, last_bottom = bars[TOP, before, lo:hi], bars[BOTTOM, before, lo:hi]
    for i in range(facts.shape[0]):
        found = ((top[i] <= last_top[i]) & (bottom[i] >= last_bottom[i])) * WITHIN
        found |= ((top[i] >= last_top[i]) & (bottom[i] <= last_bottom[i])) * AROUND
        facts[i] |= found | (bottom[i] > last_top[i]) * BODY_ABOVE | (top[i] < last_bottom[i]) * BODY_BELOW


@inner_piece
def _ends(bars: Floats, at: int, before: int, lo: int, hi: int, facts: Int64s) -> None:
    high, low = bars[HIGH, at, lo:hi], bars[LOW, at, lo:hi]
    last_high, last_low = bars[HIGH, before, lo:hi], bars[LOW, before, lo:hi]
    for i in range(facts.shape[0]):
        found = (low[i] > last_high[i]) * GAP_UP | (high[i] < last_low[i]) * GAP_DOWN
        found |= (high[i] > last_high[i]) * HIGHER_HIGH | (low[i] < last_low[i]) * LOWER_LOW
        found |= (high[i] < last_high[i]) * LOWER_HIGH | (low[i] > last_low[i]) * HIGHER_LOW
        facts[i] |= found | (high[i] - low[i] < last_high[i] - last_low[i]) * NARROWER
