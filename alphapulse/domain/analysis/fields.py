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


INPUTS = 8  # how many are handed in
FIELDS = len(Field)

# As plain integers for compiled code.
TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, TAKER_BUY, TRADES, TYPICAL, TRUE_RANGE = range(FIELDS)
