"""Rows of a file or a feed, parsed but not yet judged: the normaliser decides what is accepted.

A field that could not be parsed carries a status instead of an exception, so a column is parsed in
one pass. Decimals are exact and canonical: ``mantissa * 10**-exponent`` without trailing zeros, so
equal values have equal pairs. Times are nanoseconds since 1970 UTC. All arrays have shape (n,).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.market.columns import Int8s, Int64s, UInt8s
from alphapulse.domain.market.instrument import Instrument

# Status of one field of one row.
OK, BLANK, MALFORMED, NOT_A_NUMBER, TOO_LARGE, TOO_FINE = range(6)

BAD_SIDE = 2  # in a side column: a word that is neither buy nor sell


@dataclass(frozen=True, slots=True, eq=False)
class Decimals:
    """Exact numbers: ``mantissa * 10**-exponent``, exponent 0 to 18, no trailing zeros."""

    mantissa: Int64s
    exponent: Int8s
    status: UInt8s

    def take(self, rows: NDArray[np.intp]) -> "Decimals":
        return Decimals(self.mantissa[rows], self.exponent[rows], self.status[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Integers:
    """Whole numbers (ids, times, counts)."""

    value: Int64s
    status: UInt8s

    def take(self, rows: NDArray[np.intp]) -> "Integers":
        return Integers(self.value[rows], self.status[rows])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RawTrades:
    """n rows of one instrument, in file order.

    ``raw(i)`` is the whole row i as text, ``text(i, field)`` one field of it; both are for messages.
    """

    instrument: Instrument
    refusal: str | None  # why every row here must be refused, such as a symbol that was not asked for
    row: Int64s  # 1-based data row of the file
    whole: NDArray[np.bool_]  # False: the row has too few or too many fields
    time: Integers
    received: Integers | None  # parsed where the time is blank, elsewhere blank
    price: Decimals
    size: Decimals
    side: Int8s  # BUY, SELL, UNKNOWN or BAD_SIDE
    id: Integers | None
    raw: Callable[[int], str]
    text: Callable[[int, str], str]

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RawBars:
    """n bars as a venue's file gives them, in file order; see RawTrades."""

    instrument: Instrument
    refusal: str | None
    row: Int64s
    whole: NDArray[np.bool_]
    start: Integers
    open: Decimals
    high: Decimals
    low: Decimals
    close: Decimals
    volume: Decimals
    trade_count: Integers | None
    raw: Callable[[int], str]
    text: Callable[[int, str], str]

    def __len__(self) -> int:
        return len(self.row)
