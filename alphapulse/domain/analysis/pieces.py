"""Bars in exact integers on their way to float64: one at a time as a Piece, many at once as a table.

Prices and sums are mantissas in units of 10**-exponent, of any size. The crossing to float64 happens
here, once a value, correctly rounded: the nearest float64 to the exact decimal.
"""

from dataclasses import dataclass, replace
from functools import reduce
from math import gcd
from operator import itemgetter, or_

import msgspec
import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.candles import Table, wide
from alphapulse.domain.market.columns import BACK_FILLED, RECEIVE_TIME, TradeColumns
from alphapulse.domain.market.timeframes import MINUTE_NS

# Flags of a piece besides columns.RECEIVE_TIME and BACK_FILLED; they add up by "or".
SIDED = 128  # of some trade it is known what the taker did
SUPPLIED = 1 << 8
NO_COUNT = 1 << 9
NO_VOLUME = 1 << 10
NO_SIDE = 1 << 11  # bars of a venue have no taker side
OF_TRADES = RECEIVE_TIME | BACK_FILLED | SIDED

VALUES = 7  # open, high, low, close, volume, taker_buy, trades
_EXACT = 1 << 53  # integers up to here are float64s, and so are powers of ten up to 10**22
_EXACT_POWER = 22
_NAN = float("nan")


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A bar, or what there is of it so far. ``first`` and ``last`` are positions of events in it."""

    start: int  # minutes
    base: int  # minutes of the bars it is made of
    open: int
    open_time: int
    open_id: int
    high: int
    low: int
    close: int
    close_time: int
    close_id: int
    volume: int
    taker_buy: int
    trades: int
    flags: int
    price_exponent: int
    size_exponent: int
    first: int
    last: int

    def at(self, start: int) -> "Piece":
        """The same as the beginning of a larger bar."""
        return msgspec.structs.replace(self, start=start)

    def scaled(self, price_exponent: int, size_exponent: int) -> "Piece":
        """The same in units at least as fine."""
        if price_exponent == self.price_exponent and size_exponent == self.size_exponent:
            return self
        price = 10 ** (price_exponent - self.price_exponent)
        size = 10 ** (size_exponent - self.size_exponent)
        return msgspec.structs.replace(
            self,
            price_exponent=price_exponent,
            size_exponent=size_exponent,
            open=self.open * price,
            high=self.high * price,
            low=self.low * price,
            close=self.close * price,
            volume=self.volume * size,
            taker_buy=self.taker_buy * size,
        )

    def reduced(self) -> "Piece":
        """The same in the coarsest units that hold it: one form a value, whatever it was merged with."""
        prices = gcd(self.open, self.high, self.low, self.close)
        sizes = gcd(self.volume, self.taker_buy)
        price, size = _zeros(prices, self.price_exponent), _zeros(sizes, self.size_exponent)
        if price == size == 0:
            return self
        return msgspec.structs.replace(
            self,
            price_exponent=self.price_exponent - price,
            size_exponent=self.size_exponent - size,
            open=self.open // 10**price,
            high=self.high // 10**price,
            low=self.low // 10**price,
            close=self.close // 10**price,
            volume=self.volume // 10**size,
            taker_buy=self.taker_buy // 10**size,
        )

    def merged(self, other: "Piece") -> "Piece":
        """Both together, as the bar that this one stands for. The order inside is (time, id)."""
        price_exponent = max(self.price_exponent, other.price_exponent)
        size_exponent = max(self.size_exponent, other.size_exponent)
        a, b = self.scaled(price_exponent, size_exponent), other.scaled(price_exponent, size_exponent)
        opens = a if (a.open_time, a.open_id) <= (b.open_time, b.open_id) else b
        closes = a if (a.close_time, a.close_id) >= (b.close_time, b.close_id) else b
        return Piece(
            start=a.start,
            base=a.base,
            open=opens.open,
            open_time=opens.open_time,
            open_id=opens.open_id,
            high=max(a.high, b.high),
            low=min(a.low, b.low),
            close=closes.close,
            close_time=closes.close_time,
            close_id=closes.close_id,
            volume=a.volume + b.volume,
            taker_buy=a.taker_buy + b.taker_buy,
            trades=a.trades + b.trades,
            flags=a.flags | b.flags,
            price_exponent=price_exponent,
            size_exponent=size_exponent,
            first=min(a.first, b.first),
            last=max(a.last, b.last),
        )

    def values(self) -> list[float]:
        """Open, high, low, close, volume, taker_buy, trades."""
        price, size = 10**self.price_exponent, 10**self.size_exponent
        volume = _NAN if self.flags & NO_VOLUME else self.volume / size
        knows_side = self.flags & SIDED and not self.flags & (NO_SIDE | NO_VOLUME)
        return [
            self.open / price,
            self.high / price,
            self.low / price,
            self.close / price,
            volume,
            self.taker_buy / size if knows_side else _NAN,
            _NAN if self.flags & NO_COUNT else float(self.trades),
        ]


Trade = tuple[int, int, int, int, int, int]  # time, id, price, size, side, flags
_WHEN = itemgetter(0, 1)


def pieces_of(columns: TradeColumns, position: int) -> list[Piece]:
    """The 1m bars of the trades of one event, by start. Exact; for a few trades, faster than a table."""
    c, minutes = columns, dict[int, list[Trade]]()
    arrays = (c.time, c.id, c.price, c.size, c.side, c.flags)
    for trade in zip(*(array.tolist() for array in arrays), strict=True):
        minutes.setdefault(trade[0] // MINUTE_NS, []).append(trade)
    return [_minute(start, minutes[start], columns, position) for start in sorted(minutes)]


def _minute(start: int, trades: list[Trade], columns: TradeColumns, position: int) -> Piece:
    opens, closes = min(trades, key=_WHEN), max(trades, key=_WHEN)
    _, _, prices, sizes, sides, flags = zip(*trades, strict=True)
    return Piece(
        start=start,
        base=1,
        open=opens[2],
        open_time=opens[0],
        open_id=opens[1],
        high=max(prices),
        low=min(prices),
        close=closes[2],
        close_time=closes[0],
        close_id=closes[1],
        volume=sum(sizes),
        taker_buy=sum(size for size, side in zip(sizes, sides, strict=True) if side == 1),
        trades=len(trades),
        flags=reduce(or_, flags, SIDED if any(sides) else 0),
        price_exponent=columns.price_exponent,
        size_exponent=columns.size_exponent,
        first=position,
        last=position,
    )


def with_piece(bars: list[Piece], piece: Piece) -> list[Piece]:
    """``bars``, in ascending order, and ``piece``; a bar of the same start becomes one with it."""
    after = next((i for i, bar in enumerate(bars) if bar.start >= piece.start), len(bars))
    if after < len(bars) and bars[after].start == piece.start:
        return [*bars[:after], piece.merged(bars[after]), *bars[after + 1 :]]
    return [*bars[:after], piece, *bars[after:]]


@dataclass(frozen=True, slots=True)
class Stack:
    """Bars of one timeframe as a table in ascending order; ``first`` as in Piece."""

    table: Table
    first: Int64s
    base: int
    price_exponent: int
    size_exponent: int

    def __len__(self) -> int:
        return len(self.table)

    @property
    def start(self) -> Int64s:
        return self.table[:, k.MINUTE]

    def take(self, rows: slice) -> "Stack":
        return replace(self, table=self.table[rows], first=self.first[rows])

    def piece(self, row: int) -> Piece:
        bar = self.table[row].tolist()
        return Piece(
            start=bar[k.MINUTE],
            base=self.base,
            open=bar[k.OPEN],
            open_time=bar[k.OPEN_TIME],
            open_id=bar[k.OPEN_ID],
            high=bar[k.HIGH],
            low=bar[k.LOW],
            close=bar[k.CLOSE],
            close_time=bar[k.CLOSE_TIME],
            close_id=bar[k.CLOSE_ID],
            volume=wide(bar, k.BASE_HI),
            taker_buy=wide(bar, k.BUY_HI),
            trades=bar[k.COUNT],
            flags=bar[k.FLAGS],
            price_exponent=self.price_exponent,
            size_exponent=self.size_exponent,
            first=int(self.first[row]),
            last=bar[k.POSITION],
        )

    def rolled(self, timeframe: int, origin: int) -> "Stack":
        """Bars of ``timeframe`` minutes made of these; one begins at the minute ``origin``."""
        coarser = np.empty_like(self.table)
        used = k.roll_up(self.table, timeframe, origin, _NONE_LATE, coarser)
        coarser = coarser[:used]
        first = self.first[np.searchsorted(self.start, coarser[:, k.MINUTE])]
        return replace(self, table=coarser, first=first)

    def values(self) -> Floats:
        """Shape (VALUES, n), as Piece.values."""
        out = np.empty((VALUES, len(self.table)))
        fits = max(self.price_exponent, self.size_exponent) <= _EXACT_POWER
        price, size = 10.0**self.price_exponent, 10.0**self.size_exponent
        if not fits or not _divided(self.table, price, size, out):
            for row in range(len(self.table)):
                out[:, row] = self.piece(row).values()
        return out


@piece
def _divided(table: Table, price: float, size: float, out: Floats) -> bool:
    """Write the values of all bars into ``out``; False where a number is no float64 without rounding.

    Of two such numbers a division rounds once: correctly.
    """
    for i in range(table.shape[0]):
        bar, flags = table[i], table[i, k.FLAGS]
        volume, taker_buy = bar[k.BASE_LO], bar[k.BUY_LO]
        largest = max(bar[k.HIGH], -bar[k.LOW], volume, -volume, taker_buy, -taker_buy)
        if largest > _EXACT or bar[k.BASE_HI] != volume >> 63 or bar[k.BUY_HI] != taker_buy >> 63:
            return False
        out[0, i], out[1, i] = bar[k.OPEN] / price, bar[k.HIGH] / price
        out[2, i], out[3, i] = bar[k.LOW] / price, bar[k.CLOSE] / price
        out[4, i] = _NAN if flags & NO_VOLUME else volume / size
        sided = flags & SIDED and not flags & (NO_SIDE | NO_VOLUME)
        out[5, i] = taker_buy / size if sided else _NAN
        out[6, i] = _NAN if flags & NO_COUNT else bar[k.COUNT]
    return True


_NONE_LATE: NDArray[np.int64] = np.empty((0, 3), dtype=np.int64)


def _zeros(number: int, most: int) -> int:
    """How many zeros ``number`` ends in, at most ``most``."""
    count = 0
    while count < most and number % 10 == 0:
        number, count = number // 10, count + 1
    return count
