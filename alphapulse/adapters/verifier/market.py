"""Committed events of one market to ticks: what is evidence of where its prices went, in order of the log.

Events are as a bundle writes them, decoded: prices as decimal strings, times as digits. Each trade is a tick;
so is each bar of the smallest timeframe that the venue supplied so far, where it begins at or after the end
of the last one and holds no minute in which a trade was observed. A watermark that moves the clock is a tick
without a price, and so is a hole that became known after the market was seen again. Dark time after the last
price that was seen is *pending*: the next tick says since when. Times are the venue's clock in nanoseconds.

Standard library only, Python 3.8 and later: this becomes a part of verify.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

MINUTE_NS = 60_000_000_000
ALWAYS_NS = (1 << 63) - 1
SEEN_NS = ALWAYS_NS  # of a tick before which nothing was missed
MAX_TRADED_RUNS = 1_024  # what is dropped and all before it counts as traded
MAX_DARK_STRETCHES = 64  # the earliest of more are taken for one
WAS_BACK_FILLED = 2  # bit of a trade's flags

TRADES_NAME, BARS_NAME = "market.trades_observed.", "market.bars_observed."
CONNECTED_NAME, LOST_NAME = "feed.connected.", "feed.lost."
GAP_NAME, WATERMARK_NAME = "feed.gap_closed.", "feed.watermark_passed."
MARKET_NAMES = (TRADES_NAME, BARS_NAME, CONNECTED_NAME, LOST_NAME, GAP_NAME, WATERMARK_NAME)

TRADE_TICK, BAR_TICK, CLOCK_TICK, HOLE_TICK, LATE_TICK = "trade", "bar", "clock", "hole", "late"


class Tick(NamedTuple):
    """``start`` is its own time, ``moment`` when it was known, ``unseen`` since when nothing was seen."""

    kind: str
    start: int
    moment: int
    unseen: int
    position: int
    prices: tuple[float, float, float, float] | None  # open, high, low, close


class MarketFact(NamedTuple):
    """A committed event with its payload."""

    position: int
    stream: str
    name: str
    event: dict[str, Any]


def market_ticks_of(facts: Sequence[MarketFact]) -> Iterator[Tick]:
    """All ticks of ``facts`` of one instrument, which are in order of their positions.

    Raises:
        ValueError, KeyError, TypeError: a payload is not what its name says.
    """
    sight = MarketSight()
    for fact in facts:
        yield from sight.take(fact)


class MarketSight:
    """What is known of one market so far."""

    def __init__(self) -> None:
        self.clock = 0  # of trades and watermarks
        self.alive = 0  # the last sign of life: the clock, and the ends of bars
        self.timeframe = 0  # ns, the smallest of the venue's bars so far
        self.bars_until = 0  # the end of the last bar that is evidence
        self.traded: list[tuple[int, int]] = []  # runs of minutes with trades
        self.dark = DarkTime()

    def take(self, fact: MarketFact) -> Iterator[Tick]:
        if fact.name.startswith(TRADES_NAME):
            yield from self._trades(fact)
        elif fact.name.startswith(BARS_NAME):
            yield from self._bars(fact)
        elif fact.name.startswith(WATERMARK_NAME):
            yield from self._watermark(fact)
        elif fact.name.startswith((CONNECTED_NAME, LOST_NAME, GAP_NAME)):
            yield from self._feed(fact)
        else:
            raise ValueError(f"{fact.name} at position {fact.position} is no event of a market")

    def _trades(self, fact: MarketFact) -> Iterator[Tick]:
        columns = fact.event["columns"]
        times, prices, flags = columns["time"], columns["price"], columns["flags"]
        minutes = set()
        for row in range(len(times)):
            time, price = int(times[row]), float(prices[row])
            self.clock = max(self.clock, time)
            kind, unseen = self.dark.trade(time, bool(int(flags[row]) & WAS_BACK_FILLED))
            minutes.add(time // MINUTE_NS)
            yield Tick(kind, time, self.clock, unseen, fact.position, (price, price, price, price))
        self.alive = max(self.alive, self.clock)
        fresh = [(minute * MINUTE_NS, (minute + 1) * MINUTE_NS) for minute in minutes]
        self.traded = joined_pairs(self.traded + fresh, MAX_TRADED_RUNS, begins=0)

    def _bars(self, fact: MarketFact) -> Iterator[Tick]:
        columns, length = fact.event["columns"], bar_length(fact)
        starts = [int(start) for start in columns["start"]]
        if not starts:
            return
        self.alive = max(self.alive, starts[-1] + length)
        if self.timeframe and length > self.timeframe:
            return
        self.timeframe = length
        traded, is_any = self.traded, False
        for row, start in enumerate(starts):
            end = start + length
            if start < self.bars_until or any(a < end and b > start for a, b in traded):
                continue
            self.bars_until, is_any = end, True
            unseen = self.dark.bar(start, end)
            values = [float(columns[name][row]) for name in ("open", "high", "low", "close")]
            prices = (values[0], values[1], values[2], values[3])
            yield Tick(BAR_TICK, start, end, unseen, fact.position, prices)
        if is_any:
            self.traded = [run for run in self.traded if run[1] > self.bars_until]

    def _watermark(self, fact: MarketFact) -> Iterator[Tick]:
        time = int(fact.event["time"])
        if time > self.clock:
            self.clock = time
            self.alive = max(self.alive, time)
            yield Tick(CLOCK_TICK, time, time, self.dark.since(), fact.position, None)

    def _feed(self, fact: MarketFact) -> Iterator[Tick]:
        event = fact.event
        if fact.name.startswith(CONNECTED_NAME):
            self.dark.connect(int(event["time"]), self.alive)
        elif fact.name.startswith(LOST_NAME):
            self.dark.lose(int(event["time"]))
        else:
            start, end = int(event["start"]), int(event["end"])
            self.dark.close_gap(start, end, bool(event["back_filled"]))
            known = min(end, self.dark.seen_until)
            if not event["back_filled"] and start < known:
                yield Tick(HOLE_TICK, start, known, start, fact.position, None)


class DarkTime:
    """When the market was not seen, after ``seen_until``: the latest trade or end of a bar that was seen."""

    def __init__(self) -> None:
        self.seen_until = 0
        self.connected: int | None = None
        self.lost: int | None = None
        self.stretches: list[tuple[int, int]] = []

    def pending(self) -> list[tuple[int, int]]:
        """In order; what is still lost lasts for ever."""
        if self.lost is None:
            return self.stretches
        return joined_pairs([*self.stretches, (max(self.lost, self.seen_until), ALWAYS_NS)])

    def since(self) -> int:
        pending = self.pending()
        return pending[0][0] if pending else SEEN_NS

    def trade(self, time: int, was_fetched: bool) -> tuple[str, int]:
        """The kind of tick that a trade is, and since when nothing was seen before it."""
        pending = self.pending()
        if not pending:
            self.see(time)
            return TRADE_TICK, SEEN_NS
        since, until = pending[0][0], pending[-1][1]
        if time <= since or (was_fetched and time < until):
            return LATE_TICK, since
        self.see(time)
        return TRADE_TICK, since

    def bar(self, start: int, end: int) -> int:
        """Since when nothing was seen before a bar."""
        since = self.since()
        if since == SEEN_NS or end > since:
            self.see(end)
        return since if start > since else SEEN_NS

    def see(self, until: int) -> None:
        """After a price of ``until``."""
        if until > self.seen_until:
            self.seen_until = until
            self.stretches = sorted(without_pair(self.stretches, 0, until))

    def connect(self, time: int, alive: int) -> None:
        if self.lost is not None:
            self._darken([(self.lost, time)])
        elif self.connected is not None:  # a process died unheard
            self._darken([(max(alive, self.connected), time)])
        self.connected, self.lost = time, None

    def lose(self, time: int) -> None:
        self.connected = None
        self.lost = time if self.lost is None else min(self.lost, time)

    def close_gap(self, start: int, end: int, was_filled: bool) -> None:
        fresh = []
        if self.lost is not None and end > self.lost:
            fresh.append((self.lost, end))
            self.lost = None
        if not was_filled:
            fresh.append((start, end))
        self._darken(fresh)
        if was_filled:
            self.stretches = sorted(without_pair(self.stretches, start, end))

    def _darken(self, fresh: list[tuple[int, int]]) -> None:
        after = [(max(since, self.seen_until), until) for since, until in fresh]
        self.stretches = joined_pairs(self.stretches + after, MAX_DARK_STRETCHES)


def bar_length(fact: MarketFact) -> int:
    """Of the bars of an event, in nanoseconds."""
    return int(fact.event["timeframe_minutes"]) * MINUTE_NS


def joined_pairs(
    pairs: Sequence[tuple[int, int]], most: int = 0, *, begins: int | None = None
) -> list[tuple[int, int]]:
    """The union of ``pairs``, in order, what touches as one.

    Of over ``most`` the earliest become one, which ``begins`` there, or where they do.
    """
    found: list[tuple[int, int]] = []
    for start, end in sorted(pair for pair in pairs if pair[0] < pair[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    extra = len(found) - most if most else 0
    if extra > 0:
        found = [(found[0][0] if begins is None else begins, found[extra][1]), *found[extra + 1 :]]
    return found


def without_pair(pairs: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """``pairs`` without what lies from ``start`` to ``end``."""
    left = [(a, min(b, start)) for a, b in pairs]
    right = [(max(a, end), b) for a, b in pairs]
    return [pair for pair in left + right if pair[0] < pair[1]]
