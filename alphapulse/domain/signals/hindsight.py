"""All that was ever recorded of a market, in its own order: what an idea would have met, had it been known.

Trades by (time, id), each known at its own time; venue's bars of the smallest timeframe, the last version of
each; what was not seen, less what was fetched later. Slow and plain, for one idea at a time.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.market.coverage import FOREVER, Intervals, subtract
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals.darkness import Pair
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.ticks import BAR, CLOCK, SEEN, TRADE, Ticks

Prices = tuple[float, float, float, float]  # open, high, low, close
Row = tuple[tuple[int, int, int], int, int, int, Prices]  # order, kind, start, position, prices

_NONE = (np.nan,) * 4


def hindsight(idea: Idea, events: Sequence[tuple[int, Fed]]) -> Ticks:
    """All ticks, in the order of the market.

    A bar in which trades were recorded gives way to them, except where it reaches a level of the idea that
    none of them does: then some are missing.
    """
    trades, bars = sorted(_trades(events)), _bars(events)
    times = [trade[2] for trade in trades]
    kept = [bar for bar in bars if not _is_told(idea, bar, trades, times)]
    rows = sorted(chain(trades, kept, _clocks(events)))
    return _ticks(rows, Intervals.of(unseen(events)).pairs())


def unseen(events: Sequence[tuple[int, Fed]]) -> list[Pair]:
    """When nobody saw the market, less the gaps that were filled. A feed that is still lost is for ever."""
    pairs, alive = list[Pair](), 0
    lost: int | None = None
    connected: int | None = None
    for _, event in events:
        match event:
            case FeedConnected(time=time):
                if lost is not None:
                    pairs.append((lost, time))
                elif connected is not None:  # a process died unheard
                    pairs.append((max(alive, connected), time))
                lost, connected = None, time
            case FeedLost(time=time):
                lost, connected = time if lost is None else min(lost, time), None
            case GapClosed(start=start, end=end, back_filled=filled):
                if lost is not None and end > lost:
                    pairs.append((lost, end))
                    lost = None
                pairs = subtract(pairs, start, end) if filled else [*pairs, (start, end)]
            case _:
                alive = max(alive, _reach(event))
    return pairs if lost is None else [*pairs, (lost, FOREVER)]


def _reach(event: Fed) -> int:
    """How far the market's clock had come by this trade, bar or watermark."""
    match event:
        case TradesObserved(columns=trades) if len(trades):
            return int(trades.time.max())
        case BarsObserved(columns=bars, timeframe_minutes=timeframe) if len(bars):
            return int(bars.start.max()) + timeframe * MINUTE_NS
        case WatermarkPassed(time=time):
            return time
    return 0


def _trades(events: Sequence[tuple[int, Fed]]) -> Iterator[Row]:
    for position, event in events:
        if isinstance(event, TradesObserved):
            c = event.columns
            for time, id_, mantissa in zip(c.time.tolist(), c.id.tolist(), c.price.tolist(), strict=True):
                price = mantissa / 10**c.price_exponent
                yield (time, 1, id_), TRADE, time, position, (price, price, price, price)


def _bars(events: Sequence[tuple[int, Fed]]) -> list[Row]:
    """Those of the smallest timeframe, the last version of each, in order."""
    supplied = [(position, event) for position, event in events if isinstance(event, BarsObserved)]
    smallest = min((event.timeframe_minutes for _, event in supplied), default=0)
    last = dict[int, Row]()
    for position, event in supplied:
        if event.timeframe_minutes == smallest:
            c = event.columns
            for row, start in enumerate(c.start.tolist()):
                prices = [
                    int(field[row]) / 10**c.price_exponent for field in (c.open, c.high, c.low, c.close)
                ]
                open_, high, low, close = prices
                end = start + smallest * MINUTE_NS
                last[start] = (end, 0, 0), BAR, start, position, (open_, high, low, close)
    return [last[start] for start in sorted(last)]


def _clocks(events: Sequence[tuple[int, Fed]]) -> Iterator[Row]:
    for position, event in events:
        if isinstance(event, WatermarkPassed):
            yield (event.time, 2, position), CLOCK, event.time, position, _NONE


def _is_told(idea: Idea, bar: Row, trades: Sequence[Row], times: Sequence[int]) -> bool:
    """Whether trades tell what happened in ``bar``."""
    inside = trades[bisect_left(times, bar[2]) : bisect_left(times, bar[0][0])]
    return bool(inside) and (not _reaches(idea, bar) or any(_reaches(idea, trade) for trade in inside))


def _reaches(idea: Idea, row: Row) -> bool:
    _, high, low, _ = row[4]
    return low <= min(idea.stop, idea.target) or high >= max(idea.stop, idea.target)


def _ticks(rows: Sequence[Row], holes: Sequence[Pair]) -> Ticks:
    """``rows`` with what was not seen before each."""
    numbers, seen_until = list[tuple[int, ...]](), 0
    for (moment, _, _), kind, start, position, _prices in rows:
        between = (max(since, seen_until) for since, until in holes if since < start and until > seen_until)
        numbers.append((kind, start, moment, min(between, default=SEEN), position))
        if kind != CLOCK:
            seen_until = max(seen_until, moment)
    prices = np.array([row[4] for row in rows]).reshape(-1, 4)
    return Ticks(np.array(numbers, dtype=np.int64).reshape(-1, 5).T, prices.T)
