"""Open ideas of one instrument against its ticks, compiled: which tick closes which, why, and at what price.

What counts as evidence, and what it means, tick by tick (the order is that of the log):

- A tick is a trade, a venue's bar, a clock (a watermark: no price) or a hole (see ticks.py). ``start`` is its
  own time, ``moment`` when it was known: a trade's is the venue's clock by then, a bar's is its end.
- It counts for an idea if it began after the decision: a trade's own time > decided, a bar's start >=
  decided. It lies within the horizon if its moment < horizon_end, a bar also where it ends just then.
- A tick that opens at or beyond a level closes there: a trade at the stop at its own price (never better than
  the stop), at the target at the target, which rests in the market as a limit. A bar that opens beyond a
  level has jumped it: GAP_STOP, GAP_TARGET, at the open. A bar that reaches one level later closes at that
  level. One that reaches both is AMBIGUOUS: booked at the stop, with both as bounds.
- ``moment`` >= horizon_end: EXPIRY, at the last price that counted, else the entry.
- ``unseen_from``: nothing is known between then and this tick (SEEN: no such hole). The idea is suspended for
  that time. The first price after it closes what it finds at or beyond a level, as a gap. Where the horizon
  ended in it, nothing is concluded until that price: UNSEEN_EXPIRY at it. Whatever closes an idea that was
  ever suspended, it may have been closed unseen: the bounds hold both levels.

State is four arrays: a row of ``ideas_f`` and one of ``ideas_i`` an idea, the open ones first; in
``around_f`` and ``around_i`` what they share. Ticks that can touch no idea cost no look at each idea: their
extremes are kept together until one might.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece, larger, piece, smaller
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.signals import ticks as tick
from alphapulse.domain.signals.outcome import (
    AMBIGUOUS,
    EXPIRY,
    GAP_STOP,
    GAP_TARGET,
    OPEN,
    STOP,
    TARGET,
    UNSEEN_EXPIRY,
)

# ideas_f[slot]: prices
F_ROWS = 9
ENTRY, STOP_AT, TARGET_AT = 0, 1, 2
LAST = 3  # the last price that counted before the horizon; at first the entry
HIGHEST, LOWEST = 4, 5  # of the ticks that counted; at first the entry
EXIT, WORST, BEST = 6, 7, 8  # once it is closed

# ideas_i[slot]: times in ns
I_ROWS = 9
NUMBER, SIDE, DECIDED, HORIZON = 0, 1, 2, 3  # NUMBER: the caller's name for it
UNSEEN_FROM, UNSEEN_UNTIL = 4, 5  # the market was not seen for some of this time; 0, 0: never
REASON, MOMENT, POSITION = 6, 7, 8  # once it is closed; POSITION of the event that did

# around_f: no tick between FLOOR and CEILING closes anything; RUN_*: of the ticks since the last look at each
AROUND_F = 5
CEILING, FLOOR, RUN_HIGH, RUN_LOW, RUN_LAST = 0, 1, 2, 3, 4

# around_i: the open ideas are in slots 0 to COUNT, those of the last tick that closed any in the CLOSED after
AROUND_I = 4
COUNT, CLOSED, LAST_DECIDED, FIRST_HORIZON = 0, 1, 2, 3

NEVER = 1 << 62


@inner_piece
def open_idea(
    ideas_f: Floats,
    ideas_i: Int64s,
    around_f: Floats,
    around_i: Int64s,
    number: int,
    side: int,
    decided: int,
    horizon_end: int,
    entry: float,
    stop: float,
    target: float,
) -> bool:
    """Watch one more, from the next tick on; False, and nothing done, where there is no room.

    The results of ideas that the last tick closed are overwritten: take them before. The idea has passed
    ``idea.check``.
    """
    slot = around_i[COUNT]
    if slot == ideas_f.shape[0]:
        return False
    _catch_up(ideas_f, around_f, slot)
    f, i = ideas_f[slot], ideas_i[slot]
    f[ENTRY], f[STOP_AT], f[TARGET_AT] = entry, stop, target
    f[LAST], f[HIGHEST], f[LOWEST] = entry, entry, entry
    f[EXIT], f[WORST], f[BEST] = np.nan, np.nan, np.nan
    i[NUMBER], i[SIDE], i[DECIDED], i[HORIZON] = number, side, decided, horizon_end
    i[UNSEEN_FROM], i[UNSEEN_UNTIL] = 0, 0
    i[REASON], i[MOMENT], i[POSITION] = OPEN, 0, 0
    around_i[COUNT], around_i[CLOSED] = slot + 1, 0
    _reckon(ideas_f, ideas_i, around_f, around_i)
    return True


@inner_piece
def watch_tick(
    ideas_f: Floats,
    ideas_i: Int64s,
    around_f: Floats,
    around_i: Int64s,
    kind: int,
    start: int,
    moment: int,
    unseen_from: int,
    position: int,
    open_: float,
    high: float,
    low: float,
    close: float,
) -> int:
    """How many ideas this tick closed.

    They are in slots COUNT to COUNT + CLOSED (COUNT is without them), each with EXIT, WORST, BEST, REASON,
    MOMENT, POSITION, until the next tick that closes any or the next idea. ``position`` is of the event
    that the tick is from. Prices of a CLOCK or a HOLE are NaN.
    """
    count = around_i[COUNT]
    if count == 0:
        return 0
    quiet = moment < around_i[FIRST_HORIZON]
    if quiet and low > around_f[FLOOR] and high < around_f[CEILING]:
        if start > around_i[LAST_DECIDED] and unseen_from == tick.SEEN:
            around_f[RUN_HIGH] = larger(around_f[RUN_HIGH], high)
            around_f[RUN_LOW] = smaller(around_f[RUN_LOW], low)
            around_f[RUN_LAST] = close
            return 0
    elif quiet and kind == tick.CLOCK:
        return 0
    return _look(
        ideas_f,
        ideas_i,
        around_f,
        around_i,
        kind,
        start,
        moment,
        unseen_from,
        position,
        open_,
        high,
        low,
        close,
    )


@inner_piece
def _look(
    ideas_f: Floats,
    ideas_i: Int64s,
    around_f: Floats,
    around_i: Int64s,
    kind: int,
    start: int,
    moment: int,
    unseen_from: int,
    position: int,
    open_: float,
    high: float,
    low: float,
    close: float,
) -> int:
    """What the tick means for each open idea; those that it closes change places with the last ones."""
    count = around_i[COUNT]
    _catch_up(ideas_f, around_f, count)
    slot = 0
    while slot < count:
        f, i = ideas_f[slot], ideas_i[slot]
        if kind == tick.HOLE:
            _suspend(i, unseen_from, moment)
            closes = False
        else:
            closes = _closes(f, i, kind, start, moment, unseen_from, open_, high, low, close)
        if closes:
            i[MOMENT], i[POSITION] = moment, position
            _bound(f, i)
            count -= 1
            _swap(ideas_f, ideas_i, slot, count)
        else:
            slot += 1
    closed: int = around_i[COUNT] - count
    if closed > 0:
        around_i[COUNT], around_i[CLOSED] = count, closed
        _reckon(ideas_f, ideas_i, around_f, around_i)
    return closed


@inner_piece
def _closes(
    f: Floats,
    i: Int64s,
    kind: int,
    start: int,
    moment: int,
    unseen_from: int,
    open_: float,
    high: float,
    low: float,
    close: float,
) -> bool:
    """Whether the tick closes the idea: then REASON and EXIT say how, and the extremes hold the exit."""
    bar, decided, horizon = kind == tick.BAR, i[DECIDED], i[HORIZON]
    counts = kind != tick.CLOCK and (start > decided or (bar and start == decided))
    inside = counts and (moment < horizon or (bar and moment == horizon))
    again = counts and unseen_from != tick.SEEN and kind <= tick.BAR
    if again:
        _suspend(i, unseen_from, start)
    if inside:
        reason = _hit(i[SIDE], f[STOP_AT], f[TARGET_AT], bar, again, open_, high, low)
        if reason != OPEN:
            if bar:
                _stretch(f, open_, open_)
            _leave(f, i, reason, _exit_price(f, i[SIDE], reason, open_))
            return True
        _stretch(f, high, low)
        f[LAST] = close
    if moment < horizon:
        return False
    if inside or unseen_from >= horizon:
        _leave(f, i, EXPIRY, f[LAST])
    elif again:
        _leave(f, i, UNSEEN_EXPIRY, open_)
    else:
        return False  # nobody knows what happened until the horizon: wait for a price
    return True


@inner_piece
def _hit(
    side: int, stop: float, target: float, bar: bool, again: bool, open_: float, high: float, low: float
) -> int:
    """The reason for which a tick closes an idea, as far as levels go; OPEN: none."""
    if side > 0:
        past_stop, past_target = stop - open_, open_ - target
        reaches_stop, reaches_target = low <= stop, high >= target
    else:
        past_stop, past_target = open_ - stop, target - open_
        reaches_stop, reaches_target = high >= stop, low <= target
    if past_stop >= 0:
        return GAP_STOP if again or (bar and past_stop > 0) else STOP
    if past_target >= 0:
        return GAP_TARGET if again or (bar and past_target > 0) else TARGET
    if reaches_stop:
        return AMBIGUOUS if reaches_target else STOP
    return TARGET if reaches_target else OPEN


@inner_piece
def _exit_price(f: Floats, side: int, reason: int, open_: float) -> float:
    if reason == TARGET:
        open_ = f[TARGET_AT]
    elif reason == AMBIGUOUS:
        open_ = f[STOP_AT]
    elif reason == STOP:
        open_ = smaller(f[STOP_AT], open_) if side > 0 else larger(f[STOP_AT], open_)
    return open_


@inner_piece
def _stretch(f: Floats, high: float, low: float) -> None:
    f[HIGHEST] = larger(f[HIGHEST], high)
    f[LOWEST] = smaller(f[LOWEST], low)


@inner_piece
def _leave(f: Floats, i: Int64s, reason: int, price: float) -> None:
    i[REASON], f[EXIT] = reason, price
    _stretch(f, price, price)


@inner_piece
def _bound(f: Floats, i: Int64s) -> None:
    """WORST and BEST: what the exit may have been, for all that is known."""
    f[WORST] = f[BEST] = f[EXIT]
    if i[REASON] == AMBIGUOUS or i[UNSEEN_FROM] > 0:
        below, above = f[STOP_AT], f[TARGET_AT]
        if i[SIDE] > 0:
            f[WORST], f[BEST] = smaller(f[EXIT], below), larger(f[EXIT], above)
        else:
            f[WORST], f[BEST] = larger(f[EXIT], below), smaller(f[EXIT], above)


@inner_piece
def _suspend(i: Int64s, unseen_from: int, until: int) -> None:
    """Mark the idea: the market was not seen from ``unseen_from`` to ``until``."""
    begin = max(unseen_from, i[DECIDED])
    if begin >= until:
        return
    if i[UNSEEN_FROM] == 0 or begin < i[UNSEEN_FROM]:
        i[UNSEEN_FROM] = begin
    i[UNSEEN_UNTIL] = max(until, i[UNSEEN_UNTIL])


@inner_piece
def _catch_up(ideas_f: Floats, around_f: Floats, count: int) -> None:
    """Tell each open idea of the ticks since the last look, which touched none of them."""
    last = around_f[RUN_LAST]
    if np.isnan(last):
        return
    for slot in range(count):
        f = ideas_f[slot]
        _stretch(f, around_f[RUN_HIGH], around_f[RUN_LOW])
        f[LAST] = last
    around_f[RUN_HIGH], around_f[RUN_LOW], around_f[RUN_LAST] = -np.inf, np.inf, np.nan


@inner_piece
def _reckon(ideas_f: Floats, ideas_i: Int64s, around_f: Floats, around_i: Int64s) -> None:
    """Between which prices, after which decision and before which horizon nothing closes."""
    ceiling, floor, decided, horizon = np.inf, -np.inf, 0, NEVER
    for slot in range(around_i[COUNT]):
        f, i = ideas_f[slot], ideas_i[slot]
        ceiling = smaller(ceiling, larger(f[STOP_AT], f[TARGET_AT]))
        floor = larger(floor, smaller(f[STOP_AT], f[TARGET_AT]))
        decided, horizon = max(decided, i[DECIDED]), min(horizon, i[HORIZON])
    around_f[CEILING], around_f[FLOOR] = ceiling, floor
    around_i[LAST_DECIDED], around_i[FIRST_HORIZON] = decided, horizon


@inner_piece
def _swap(ideas_f: Floats, ideas_i: Int64s, a: int, b: int) -> None:
    for row in range(F_ROWS):
        ideas_f[a, row], ideas_f[b, row] = ideas_f[b, row], ideas_f[a, row]
    for row in range(I_ROWS):
        ideas_i[a, row], ideas_i[b, row] = ideas_i[b, row], ideas_i[a, row]


@piece
def watch_ticks(
    ideas_f: Floats,
    ideas_i: Int64s,
    around_f: Floats,
    around_i: Int64s,
    numbers: Int64s,
    prices: Floats,
    begin: int,
    end: int,
) -> int:
    """Watch columns ``begin`` to ``end`` of Ticks, up to the first that closes any: the column after it.

    ``around_i[CLOSED]`` says how many it closed, 0 where the end was reached without.
    """
    around_i[CLOSED] = 0
    if around_i[COUNT] == 0:
        return end
    for t in range(begin, end):
        if watch_tick(
            ideas_f,
            ideas_i,
            around_f,
            around_i,
            numbers[tick.KIND, t],
            numbers[tick.START, t],
            numbers[tick.MOMENT, t],
            numbers[tick.UNSEEN, t],
            numbers[tick.POSITION, t],
            prices[tick.OPEN, t],
            prices[tick.HIGH, t],
            prices[tick.LOW, t],
            prices[tick.CLOSE, t],
        ):
            return t + 1
    return end
