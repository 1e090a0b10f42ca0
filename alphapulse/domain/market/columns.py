"""Trades as a struct of arrays: exact integers, one exponent a column.

``price[i] * 10**-price_exponent`` is the exact price in quote currency, ``size`` likewise in base
units. ``time`` is the venue's clock in nanoseconds. ``id`` is the venue's trade id; rows of a file
without ids get one made of the file's hash and the row number, with bit 62 set (``ROW_ID_BIT``).
The order inside a bar is (time, id).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Int8s = NDArray[np.int8]
UInt8s = NDArray[np.uint8]

MAX_ROWS = 10_000  # in one stored event
MAX_EXPONENT = 18
ROW_ID_BIT = 1 << 62

BUY, SELL, UNKNOWN = 1, -1, 0  # side of the taker; unknown in auctions and where a venue is silent

RECEIVE_TIME = 1  # flag: the venue gave no time, this is when the row was received
BACK_FILLED = 2  # flag: fetched after a gap, not seen live


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TradeColumns:
    """n trades; every array has shape (n,). Rows are ordered by id."""

    time: Int64s
    price: Int64s
    size: Int64s
    side: Int8s
    id: Int64s
    flags: UInt8s
    price_exponent: int
    size_exponent: int

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "TradeColumns":
        """The same columns, only ``rows``."""
        return TradeColumns(
            time=self.time[rows],
            price=self.price[rows],
            size=self.size[rows],
            side=self.side[rows],
            id=self.id[rows],
            flags=self.flags[rows],
            price_exponent=self.price_exponent,
            size_exponent=self.size_exponent,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TradeColumns):
            return NotImplemented
        arrays = ("time", "price", "size", "side", "id", "flags")
        return (
            self.price_exponent == other.price_exponent
            and self.size_exponent == other.size_exponent
            and all(np.array_equal(getattr(self, a), getattr(other, a)) for a in arrays)
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BarColumns:
    """n bars that a venue supplied; arrays of shape (n,), ordered by ``start``.

    ``start`` is the open time in nanoseconds. ``volume`` is in ``volume_unit`` of the event; a bar has
    no quote volume, taker side or trade count unless its venue gave one (-1 = not given).
    """

    start: Int64s
    open: Int64s
    high: Int64s
    low: Int64s
    close: Int64s
    volume: Int64s
    trade_count: Int64s
    price_exponent: int
    volume_exponent: int

    def __len__(self) -> int:
        return len(self.start)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BarColumns):
            return NotImplemented
        arrays = ("start", "open", "high", "low", "close", "volume", "trade_count")
        return (
            self.price_exponent == other.price_exponent
            and self.volume_exponent == other.volume_exponent
            and all(np.array_equal(getattr(self, a), getattr(other, a)) for a in arrays)
        )
