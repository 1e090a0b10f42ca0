"""Hikkake: a break out of an inside bar that fails, and is confirmed within three bars.

The only patterns that look back at their own past: the signal is 100 where the trap is set and 200 where
a later close confirms it. Whether it did so already is read off the bars, so the result knows no start.
"""

import numpy as np

from alphapulse.domain.analysis.candles import (
    HIGHER_HIGH,
    HIGHER_LOW,
    INSIDE,
    LOWER_HIGH,
    LOWER_LOW,
)
from alphapulse.domain.analysis.compiled import View, inner_piece
from alphapulse.domain.analysis.fact_words import BEFORE, FEW, keep_showing, listed, lowest_bit, words_of
from alphapulse.domain.analysis.fields import CLOSE, FACTS, HIGH, LOW, NEAR_MEAN, Floats
from alphapulse.domain.analysis.patterns.catalogue import TALIB, Pattern, join
from alphapulse.domain.analysis.patterns.judge import LEAST, blank

PATIENCE = 3  # bars within which it may be confirmed
SLOTS, FOUND = 0, 1  # rows of the room

assert PATIENCE + 2 <= BEFORE


def hikkakes(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Hikkake and, with ``params[0]`` = 2 inside bars one after the other, its modified form."""
    insides, slots = int(params[0]), view.room[SLOTS].view(np.int64)
    blank(view, out)
    for row in range(view.first, view.last):
        signal, strength = out[0, row - view.first], out[1, row - view.first]
        for k in range(_candidates(view, row, insides)):
            signal[slots[k]], strength[slots[k]] = _judged(view, row, slots[k], insides)


@inner_piece
def _candidates(view: View, row: int, insides: int) -> int:
    """How many slots may have a false break after inside bars within PATIENCE; they go into the room."""
    slots, wide = view.room[SLOTS].view(np.int64), words_of(view.lo, view.hi)
    if view.hi - view.lo < FEW:
        for n in range(view.hi - view.lo):
            slots[n] = view.lo + n
        return view.hi - view.lo
    words, found = slots[:wide], view.room[FOUND].view(np.int64)[:wide]
    for w in range(wide):
        found[w] = 0
    for ago in range(PATIENCE + 1):
        for high, low in ((LOWER_HIGH, LOWER_LOW), (HIGHER_HIGH, HIGHER_LOW)):
            for w in range(wide):
                words[w] = -1
            keep_showing(view, row - ago, lowest_bit(high), words)
            keep_showing(view, row - ago, lowest_bit(low), words)
            for back in range(ago + 1, ago + insides + 1):
                keep_showing(view, row - back, lowest_bit(LOWER_HIGH), words)
                keep_showing(view, row - back, lowest_bit(HIGHER_LOW), words)
            for w in range(wide):
                found[w] |= words[w]
    return listed(view, found, slots)


@inner_piece
def _judged(view: View, row: int, slot: int, insides: int) -> tuple[float, float]:
    """Signal and strength."""
    for ago in range(PATIENCE + 1):
        sign = _trap(view, row - ago, slot, insides)
        if sign == 0.0:
            continue
        if ago == 0:
            return 100.0 * sign, _clear(view, row, slot, insides, sign, 0.0, 0)
        if not _first_break(view, row, ago, slot, sign):
            break
        margin = _break(view, row, row - ago, slot, sign)
        return 200.0 * sign, _clear(view, row - ago, slot, insides, sign, margin, 1)
    return 0.0, 0.0


@inner_piece
def _trap(view: View, row: int, slot: int, insides: int) -> float:
    """1 for a false break downwards at ``row``, -1 for one upwards, 0 for none."""
    shown = view.bars.view(np.int64)[FACTS]
    for back in range(1, insides + 1):
        if shown[(row - back) & view.mask, slot] & INSIDE != INSIDE:
            return 0.0
    now = shown[row & view.mask, slot]
    if now & (LOWER_HIGH | LOWER_LOW) == LOWER_HIGH | LOWER_LOW:
        sign = 1.0
    elif now & (HIGHER_HIGH | HIGHER_LOW) == HIGHER_HIGH | HIGHER_LOW:
        sign = -1.0
    else:
        return 0.0
    return sign if insides == 1 or _closes_near_its_end(view, row - 2, slot, sign) else 0.0


@inner_piece
def _closes_near_its_end(view: View, row: int, slot: int, sign: float) -> bool:
    """The first inside bar of the modified form closes near its low, or, before a fall, its high."""
    at = row & view.mask
    close, near = view.bars[CLOSE, at, slot], 0.2 * view.bars[NEAR_MEAN, at, slot]
    low, high = view.bars[LOW, at, slot], view.bars[HIGH, at, slot]
    return bool(close <= low + near if sign > 0 else close >= high - near)


@inner_piece
def _break(view: View, row: int, trap: int, slot: int, sign: float) -> float:
    """By how much the close of ``row`` lies beyond the bar before the ``trap``: above 0 confirms it."""
    end = HIGH if sign > 0 else LOW
    level: float = view.bars[end, (trap - 1) & view.mask, slot]
    close: float = view.bars[CLOSE, row & view.mask, slot]
    return sign * (close - level)


@inner_piece
def _first_break(view: View, row: int, ago: int, slot: int, sign: float) -> bool:
    """``row`` confirms the trap set ``ago`` bars before, and no bar between them did."""
    for back in range(1, ago):
        if _break(view, row - back, row - ago, slot, sign) > 0:
            return False
    return _break(view, row, row - ago, slot, sign) > 0


@inner_piece
def _clear(
    view: View, trap: int, slot: int, insides: int, sign: float, confirmation: float, confirmed: int
) -> float:
    """Strength as in judge.py: of both ends of each inside bar, of the break, and of its ``confirmation``."""
    high, low, mask = view.bars[HIGH], view.bars[LOW], view.mask
    end = LOW if sign > 0 else HIGH
    total = 0.0
    margin: float
    for back in range(1, insides + 1):
        at, outer = (trap - back) & mask, (trap - back - 1) & mask
        span = high[outer, slot] - low[outer, slot]
        for margin in (high[outer, slot] - high[at, slot], low[at, slot] - low[outer, slot]):
            total += margin / (margin + span)
    at = (trap - 1) & mask
    span = high[at, slot] - low[at, slot]
    margin = sign * (view.bars[end, at, slot] - view.bars[end, trap & mask, slot])
    total += margin / (margin + span) + (confirmation / (confirmation + span) if confirmed else 0.0)
    clear: float = total / (2 * insides + 1 + confirmed)
    return LEAST + (1.0 - LEAST) * clear


SIGNALS = (-200, -100, 100, 200)
join(Pattern("hikkake", 3, SIGNALS, False), hikkakes, (1,), title="Hikkake", lookback=5, source=TALIB)
join(
    Pattern("modified_hikkake", 4, SIGNALS, False),
    hikkakes,
    (2,),
    title="Modified hikkake",
    lookback=10,
    source=TALIB,
)
