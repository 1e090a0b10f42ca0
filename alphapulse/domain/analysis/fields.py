"""The fields of a bar in an analysis: float64, one row a field, in the order of ``bars[field, row, slot]``.

Prices are in quote currency, volumes in base units. ``TIME`` is the bar's open time in minutes since 1970
UTC (a float64 holds it exactly). What a venue did not say is NaN. The first eight are handed in; the
others are derived from them once a bar, because many indicators want them.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


class Field(IntEnum):
    TIME = 0
    OPEN = 1
    HIGH = 2
    LOW = 3
    CLOSE = 4
    VOLUME = 5  # base units
    TAKER_BUY = 6  # of that volume, what takers bought; NaN where nobody says
    TRADES = 7  # how many; NaN where nobody says
    TYPICAL = 8  # (high + low + close) / 3
    TRUE_RANGE = 9  # max(high, last close) - min(low, last close); NaN for the first bar
    # What candlestick patterns share: kept only where a plan has one. Means are over the bars before this.
    TOP = 10  # max(open, close)
    BOTTOM = 11  # min(open, close)
    BODY_MEAN = 12  # |close - open|, 10 bars
    RANGE_MEAN = 13  # high - low, 10 bars
    NEAR_MEAN = 14  # high - low, 5 bars
    SHADOW_MEAN = 15  # both shadows together, 10 bars
    FACTS = 16  # bits, see candles.py


INPUTS = 8  # how many are handed in
FIELDS = 10  # how many every panel keeps
CANDLE_FIELDS = len(Field)  # how many a panel keeps whose plan has a pattern

# As plain integers for compiled code.
TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, TAKER_BUY, TRADES, TYPICAL, TRUE_RANGE = range(FIELDS)
TOP, BOTTOM, BODY_MEAN, RANGE_MEAN, NEAR_MEAN, SHADOW_MEAN, FACTS = range(FIELDS, CANDLE_FIELDS)
