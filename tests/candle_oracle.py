"""Bars by the book: slow, in Python's own integers and Decimals, one trade at a time.

Written against docs/candles.md and not against the fold, so that the two can disagree.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from alphapulse.domain.market.columns import TradeColumns

MINUTE = 60 * 10**9
TIMEFRAMES = (1, 5, 15, 60, 240, 1440, 10080)
MONDAY = 4 * 1440  # 1970-01-05, in minutes


@dataclass
class Bar:
    trades: list[tuple[int, int, Decimal, Decimal, int]] = field(
        default_factory=list
    )  # time id price size side
    minutes: set[int] = field(default_factory=set)
    flags: int = 0
    revision: int = 0
    position: int = 0

    def row(self) -> dict[str, object]:
        with localcontext(prec=200):
            first, last = min(self.trades), max(self.trades)
            return {
                "open": first[2],
                "high": max(t[2] for t in self.trades),
                "low": min(t[2] for t in self.trades),
                "close": last[2],
                "base_volume": sum((t[3] for t in self.trades), Decimal(0)),
                "quote_volume": sum((t[2] * t[3] for t in self.trades), Decimal(0)),
                "taker_buy_volume": sum((t[3] for t in self.trades if t[4] == 1), Decimal(0)),
                "trade_count": len(self.trades),
                "open_time": first[0],
                "open_id": first[1],
                "close_time": last[0],
                "close_id": last[1],
                "minutes": len(self.minutes),
                "revision": self.revision,
                "flags": self.flags,
                "position": self.position,
            }


def start_of(minute: int, timeframe: int) -> int:
    return minute - (minute - MONDAY) % timeframe if timeframe == 10080 else minute - minute % timeframe


def trades_of(columns: TradeColumns) -> Iterable[tuple[int, int, Decimal, Decimal, int, int]]:
    with localcontext(prec=200):
        for i in range(len(columns)):
            yield (
                int(columns.time[i]),
                int(columns.id[i]),
                Decimal(int(columns.price[i])).scaleb(-columns.price_exponent),
                Decimal(int(columns.size[i])).scaleb(-columns.size_exponent),
                int(columns.side[i]),
                int(columns.flags[i]),
            )


def bars_of(log: Sequence[tuple[int, TradeColumns | int]]) -> dict[tuple[int, int], dict[str, object]]:
    """(timeframe, first minute) to row, from one instrument's log: positions with trades or watermarks."""
    bars: dict[tuple[int, int], Bar] = {}
    high_water = 0
    for position, event in log:
        if isinstance(event, int):
            high_water = max(high_water, event)
            continue
        touched = set()
        times = [high_water]
        for time, ident, price, size, side, flags in trades_of(event):
            times.append(time)
            for timeframe in TIMEFRAMES:
                key = (timeframe, start_of(time // MINUTE, timeframe))
                touched.add(key)
                bar = bars.setdefault(key, Bar())
                bar.trades.append((time, ident, price, size, side))
                bar.minutes.add(time // MINUTE)
                bar.flags |= flags
                bar.position = max(bar.position, position)
        for timeframe, start in touched:
            if (start + timeframe) * MINUTE <= high_water:
                bars[timeframe, start].revision += 1
        high_water = max(times)
    return {key: bar.row() for key, bar in bars.items()}
