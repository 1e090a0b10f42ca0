"""What became of an idea, by definition: from raw events, in exact decimals, without a state or an array.

Every question ("was it dark then?", "was there a trade in this bar?") is asked of the whole log before it.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.signals.idea import Idea

MINUTE = 60 * 10**9
ALWAYS = (1 << 63) - 1

Log = Sequence[tuple[int, Any]]


class Fact(NamedTuple):
    """One thing that the log says, in its order."""

    what: str  # trade, bar, clock, hole
    start: int
    known: int
    dark_since: int | None  # nothing pending: None
    first_seen: bool  # it is the first price after dark time
    position: int
    prices: tuple[Decimal, ...]  # open, high, low, close


def dark_at(x: int, feed: Sequence[tuple[Any, int]]) -> bool:
    """Whether the market is dark at ``x`` by ``feed``: facts, and the last sign of life before each."""
    dark, lost, connected = False, None, None
    since: int | None
    for event, alive in feed:
        if isinstance(event, FeedConnected):
            since = lost if lost is not None else None if connected is None else max(alive, connected)
            if since is not None and since <= x < event.time:
                dark = True
            lost, connected = None, event.time
        elif isinstance(event, FeedLost):
            lost, connected = event.time if lost is None else min(lost, event.time), None
        else:
            if lost is not None and event.end > lost:
                dark = dark or lost <= x < event.end
                lost = None
            if event.start <= x < event.end:
                dark = not event.back_filled
    return dark or (lost is not None and x >= lost)


def pending(seen: int, feed: Sequence[tuple[Any, int]]) -> tuple[int, int] | None:
    """Where dark time at or after ``seen`` begins, and where the last of it ends."""
    edges = {seen, ALWAYS}
    for event, alive in feed:
        edges |= {alive} | ({event.start, event.end} if isinstance(event, GapClosed) else {event.time})
    edges = {edge for edge in edges if edge >= seen}
    begins = [edge for edge in edges if edge < ALWAYS and dark_at(edge, feed)]
    ends = [edge for edge in edges if edge > seen and dark_at(edge - 1, feed)]
    return (min(begins), max(ends)) if begins else None


def facts(log: Log) -> Iterator[Fact]:
    feed, seen, clock, alive = list[tuple[Any, int]](), 0, 0, 0
    trade_times, smallest, bars_end = list[int](), None, 0
    for position, event in log:
        if isinstance(event, TradesObserved):
            c = event.columns
            for time, price, flags in zip(c.time.tolist(), c.price.tolist(), c.flags.tolist(), strict=True):
                clock = max(clock, time)
                alive = max(alive, clock)
                trade_times.append(time)
                dark = pending(seen, feed) if feed else None
                since = None if dark is None else dark[0]
                late = dark is not None and (time <= dark[0] or (flags & 2 and time < dark[1]))
                exact = Decimal(price).scaleb(-c.price_exponent)
                yield Fact("trade", time, clock, since, dark is not None and not late, position, (exact,) * 4)
                if not late:
                    seen = max(seen, time)
        elif isinstance(event, BarsObserved):
            c, length = event.columns, event.timeframe_minutes * MINUTE
            if len(c):
                alive = max(alive, int(c.start[-1]) + length)
            if smallest is not None and length > smallest:
                continue
            smallest = length
            for row, start in enumerate(c.start.tolist()):
                end = start + length
                if start < bars_end or any(start <= time < end for time in trade_times):
                    continue
                bars_end = end
                dark = pending(seen, feed) if feed else None
                after = dark is not None and start > dark[0]
                exact4 = tuple(
                    Decimal(int(column[row])).scaleb(-c.price_exponent)
                    for column in (c.open, c.high, c.low, c.close)
                )
                since = dark[0] if dark is not None and after else None
                yield Fact("bar", start, end, since, after, position, exact4)
                if dark is None or end > dark[0]:
                    seen = max(seen, end)
        elif isinstance(event, WatermarkPassed):
            if event.time > clock:
                clock = event.time
                alive = max(alive, clock)
                dark = pending(seen, feed) if feed else None
                yield Fact("clock", clock, clock, None if dark is None else dark[0], False, position, ())
        else:
            feed.append((event, alive))
            if isinstance(event, GapClosed) and not event.back_filled and event.start < min(event.end, seen):
                yield Fact("hole", event.start, min(event.end, seen), event.start, False, position, ())


def exact(price: float) -> Decimal:
    return Decimal(repr(price))


def verdict(idea: Idea, told: Iterable[Fact]) -> dict[str, Any] | None:
    """The fields of an Outcome by the facts of a log; None where the idea is still open."""
    entry, stop, target = exact(idea.entry), exact(idea.stop), exact(idea.target)
    long = idea.side == 1
    visited, dark, last = [entry], list[tuple[int, int]](), entry

    def closed(fact: Fact, reason: str, price: Decimal) -> dict[str, Any]:
        visited.append(price)
        won = reason in ("target", "gap_target")
        either = [price, stop, target] if reason == "ambiguous" or dark else [price]
        ahead = (max(visited) - entry, entry - min(visited))
        mfe, mae = ahead if long else ahead[::-1]
        slip = Decimal(repr(idea.slippage_bps)) / 10_000
        paid = entry * (1 + slip) if long else entry * (1 - slip)
        got = price if won else price * (1 - slip) if long else price * (1 + slip)
        gross = price - entry if long else entry - price
        net = (got - paid if long else paid - got) - 2 * entry * Decimal(repr(idea.fee_bps)) / 10_000
        return {
            "reason": reason,
            "label": int(won),
            "worst_label": 0 if len(either) > 1 else int(won),
            "best_label": 1 if len(either) > 1 else int(won),
            "exit_price": price,
            "fill_price": got,
            "worst_price": min(either) if long else max(either),
            "best_price": max(either) if long else min(either),
            "gross_bps": gross / entry * 10_000,
            "net_bps": net / entry * 10_000,
            "r_multiple": gross / abs(entry - stop),
            "net_r_multiple": net / abs(entry - stop),
            "mfe_bps": mfe / entry * 10_000,
            "mae_bps": mae / entry * 10_000,
            "holding_ns": fact.known - idea.decided,
            "closed_at": fact.known,
            "unseen_from": min((a for a, _ in dark), default=0),
            "unseen_until": max((b for _, b in dark), default=0),
            "position": fact.position,
        }

    for fact in told:
        bar = fact.what == "bar"
        if fact.what == "hole" or (fact.first_seen and fact.start + bar > idea.decided):
            since = max(fact.dark_since or 0, idea.decided)
            until = fact.known if fact.what == "hole" else fact.start
            if since < until:
                dark.append((since, until))
        if fact.what == "hole":
            continue
        evidence = bool(fact.prices) and fact.start + bar > idea.decided
        in_time = evidence and fact.known - bar < idea.horizon_end
        if in_time:
            found = _found(fact, long, stop, target)
            if found:
                visited += [fact.prices[0]] if bar else []
                return closed(fact, *found)
            visited += fact.prices
            last = fact.prices[3]
        if fact.known < idea.horizon_end:
            continue
        if in_time or fact.dark_since is None or fact.dark_since >= idea.horizon_end:
            return closed(fact, "expiry", last)
        if evidence and fact.first_seen:
            return closed(fact, "unseen_expiry", fact.prices[0])
    return None


def _found(fact: Fact, long: bool, stop: Decimal, target: Decimal) -> tuple[str, Decimal] | None:
    """Reason and price, where the fact reaches a level."""
    opened, high, low, _ = fact.prices
    jumps = fact.first_seen or fact.what == "bar"
    if (opened <= stop) if long else (opened >= stop):
        return ("gap_stop" if jumps and (fact.first_seen or opened != stop) else "stop"), opened
    if (opened >= target) if long else (opened <= target):
        if jumps and (fact.first_seen or opened != target):
            return "gap_target", opened
        return "target", target
    # It came from its open, which of BitMEX's bars may lie outside of what was traded.
    met = (low <= stop, high >= target) if long else (high >= stop, low <= target)
    reason = {(True, True): "ambiguous", (True, False): "stop", (False, True): "target"}.get(met)
    return None if reason is None else (reason, target if reason == "target" else stop)
