"""One compiled kernel that finds any candlestick pattern: its rules come as numbers.

For every shape of a pattern the facts of the last candles, 64 slots a word, leave the slots that may show it;
few do. Those are judged rule by rule, one rule of all of them after the other: what a rule means is then
looked up once, and the slots that fail it are gone before the next. Where several shapes of a pattern fit,
the first gives the signal and the clearest of those with the same signal the strength.

Signal: TA-Lib's integer, 0 for none. Strength: 0 where there is no signal, else 0.1 + 0.9 * the mean of
how clearly each rule of the shape is met, 0 to 1. A rule x > y has the clearness

    margin / (margin + tolerance),  margin = x - y

where ``tolerance`` is, between lengths (bodies, shadows, ranges), the lesser one, y, so that the
clearness is 1 - y / x; between prices it is the range of the older bar of the two. A rule that two
values are equal within a slack has 1 - |x - y| / slack. Colours have no margin. So the strength rises
smoothly from 0.1, for a shape whose every rule is only just met, towards 1.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import View, inner_piece
from alphapulse.domain.analysis.fact_words import FEW, keep_showing, listed, lowest_bit, words_of
from alphapulse.domain.analysis.fields import FACTS, Floats
from alphapulse.domain.analysis.patterns.rules import AT_LEAST, AT_MOST, BELOW, DEPTH, EQUAL, SIMILAR

# Where things stand in the numbers: how many shapes, the shapes, the rules of each.
SHAPE = 3 + DEPTH  # signal, first rule, last rule + 1, the facts of the newest candles
RULE = 21  # relation, sign, x, y, two slacks of factor, its parameter and length, tolerance
X, Y, FIRST_SLACK, SECOND_SLACK, TOLERANCE = 2, 5, 8, 13, 18
LENGTH = 2  # of a slack: where what is multiplied stands

LEAST = 0.1  # strength of a shape that is only just met
ROWS, SLOTS, TOTALS = range(3)  # of the room: which bars are in question, and how clearly they met the rules


def shapes(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Signal and strength of the pattern whose rules are ``params``, see ``encode`` in catalogue.py."""
    blank(view, out)
    for shape in range(int(params[0])):
        at = 1 + shape * SHAPE
        few = view.hi - view.lo < FEW
        count = _one_by_one(view, params, at) if few else _by_the_word(view, params, at)
        if count > 0:
            _judge(view, params, at, count, out)


@inner_piece
def blank(view: View, out: Floats) -> None:
    """Nothing is shown, as is usual."""
    for o in range(out.shape[0]):
        for row in range(view.first, view.last):
            values = out[o, row - view.first, view.lo : view.hi]
            for i in range(values.shape[0]):
                values[i] = 0.0


# Both give how many bars show the facts of the shape at ``at``, and put these into the room.


@inner_piece
def _one_by_one(view: View, numbers: Floats, at: int) -> int:
    rows, slots = view.room[ROWS].view(np.int64), view.room[SLOTS].view(np.int64)
    facts, count = view.bars[FACTS].view(np.int64), 0
    for row in range(view.first, view.last):
        for slot in range(view.lo, view.hi):
            fits = True
            for back in range(DEPTH):
                wanted = int(numbers[at + 3 + back])
                if facts[(row - back) & view.mask, slot] & wanted != wanted:
                    fits = False
                    break
            rows[count], slots[count] = row, slot
            count += fits
    return count


@inner_piece
def _by_the_word(view: View, numbers: Floats, at: int) -> int:
    rows, slots = view.room[ROWS].view(np.int64), view.room[SLOTS].view(np.int64)
    words, count = view.room[TOTALS].view(np.int64)[: words_of(view.lo, view.hi)], 0
    for row in range(view.first, view.last):
        for w in range(words.shape[0]):
            words[w] = -1
        for back in range(DEPTH):
            wanted = int(numbers[at + 3 + back])
            while wanted != 0:
                keep_showing(view, row - back, lowest_bit(wanted), words)
                wanted &= wanted - 1
        more = listed(view, words, slots[count:])
        for k in range(count, count + more):
            rows[k] = row
        count += more
    return count


@inner_piece
def _judge(view: View, numbers: Floats, at: int, count: int, out: Floats) -> None:
    """Write down what the first ``count`` bars in the room show if all rules of the shape are met."""
    found, first, last = numbers[at], int(numbers[at + 1]), int(numbers[at + 2])
    rows, slots = view.room[ROWS].view(np.int64), view.room[SLOTS].view(np.int64)
    signal, strength, totals = out[0], out[1], view.room[TOTALS]
    count = _unsettled(view, count, found, signal)
    for rule in range(first, last, RULE):
        if int(numbers[rule]) in (EQUAL, SIMILAR):
            count = _near(view, numbers, rule, count)
        else:
            count = _apart(view, numbers, rule, count)
    for k in range(count):
        t, slot = rows[k] - view.first, slots[k]
        clear = totals[k] * RULE / max(last - first, RULE)
        signal[t, slot] = found
        strength[t, slot] = max(strength[t, slot], LEAST + (1.0 - LEAST) * clear)


# Those that follow ask something of the first ``count`` bars in the room, move those that pass to its front
# and give their number.


@inner_piece
def _unsettled(view: View, count: int, found: float, signal: Floats) -> int:
    """No other signal than ``found`` yet."""
    rows, slots = view.room[ROWS].view(np.int64), view.room[SLOTS].view(np.int64)
    totals, kept = view.room[TOTALS], 0
    for k in range(count):
        row, slot = rows[k], slots[k]
        rows[kept], slots[kept], totals[kept] = row, slot, 0.0
        before = signal[row - view.first, slot]
        kept += before == 0.0 or before == found
    return kept


@inner_piece
def _apart(view: View, numbers: Floats, at: int, count: int) -> int:
    """By the rule at ``at``, one value is larger, or at least as large."""
    rows, slots = view.room[ROWS].view(np.int64), view.room[SLOTS].view(np.int64)
    bars, totals, k, kept = view.bars, view.room[TOTALS], 0, 0
    relation, sign = int(numbers[at]), numbers[at + 1]
    turned = relation in (BELOW, AT_MOST)
    touching = relation in (AT_LEAST, AT_MOST)
    once, twice = _factor(numbers, at + FIRST_SLACK), _factor(numbers, at + SECOND_SLACK)
    while k < count:
        row = rows[k]
        left, right = _operand(view, row, numbers, at + X), _operand(view, row, numbers, at + Y)
        much = _operand(view, row, numbers, at + FIRST_SLACK + LENGTH)
        more = _operand(view, row, numbers, at + SECOND_SLACK + LENGTH)
        against = _operand(view, row, numbers, at + TOLERANCE)
        end = k + 1
        while end < count and rows[end] == row:
            end += 1
        for i in range(k, end):
            slot = slots[i]
            x, y = sign * _value(bars, left, slot), sign * _value(bars, right, slot)
            y = y + once * _value(bars, much, slot) + twice * _value(bars, more, slot)
            larger, lesser = (y, x) if turned else (x, y)
            margin = larger - lesser
            tolerance = lesser if against[0] < 0 else _value(bars, against, slot)
            # Divided whether it is met or not, which is as good as chance: a wrong guess takes longer.
            whole = margin + max(tolerance, 0.0)
            clear = margin / (1.0 if whole == 0.0 else whole)
            rows[kept], slots[kept], totals[kept] = row, slot, totals[i] + clear
            kept += (larger > lesser) | ((larger == lesser) & touching)
        k = end
    return kept


@inner_piece
def _near(view: View, numbers: Floats, at: int, count: int) -> int:
    """By the rule at ``at``, two values are as good as equal: hardly so if all of the slack is between."""
    rows, slots = view.room[ROWS].view(np.int64), view.room[SLOTS].view(np.int64)
    bars, totals, kept = view.bars, view.room[TOTALS], 0
    similar, sign, times = int(numbers[at]) == SIMILAR, numbers[at + 1], _factor(numbers, at + FIRST_SLACK)
    for k in range(count):
        row, slot = rows[k], slots[k]
        x = sign * _value(bars, _operand(view, row, numbers, at + X), slot)
        y = sign * _value(bars, _operand(view, row, numbers, at + Y), slot)
        slack = times * _value(bars, _operand(view, row, numbers, at + FIRST_SLACK + LENGTH), slot)
        apart = abs(x - y)
        met = apart < slack if similar else x <= y + slack and x >= y - slack
        clear = 1.0 if x == y else max(0.0, 1.0 - apart / slack)
        rows[kept], slots[kept], totals[kept] = row, slot, totals[k] + clear
        kept += met
    return kept


@inner_piece
def _factor(numbers: Floats, at: int) -> float:
    """What a length is multiplied by: a number, times a parameter if there is one; 0 for no slack."""
    times, parameter = numbers[at], int(numbers[at + 1])
    factor: float = times * numbers[parameter] if parameter >= 0 else times
    return factor


@inner_piece
def _operand(view: View, row: int, numbers: Floats, at: int) -> tuple[int, int, int]:
    """A field, the field that is taken off it, and of which bar."""
    return int(numbers[at]), int(numbers[at + 1]), (row - int(numbers[at + 2])) & view.mask


@inner_piece
def _value(bars: Floats, operand: tuple[int, int, int], slot: int) -> float:
    """A field of a bar, less another one of it if there is one; 0 for nothing."""
    plus, minus, then = operand
    if plus < 0:
        return 0.0
    value: float = bars[plus, then, slot]
    return value - bars[minus, then, slot] if minus >= 0 else value
