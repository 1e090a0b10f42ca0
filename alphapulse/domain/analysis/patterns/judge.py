"""One compiled kernel that finds any candlestick pattern: its rules come as numbers.

For every shape of a pattern a pass over the facts of the last candles marks the slots that may show it;
few do. Those are judged rule by rule. Where several shapes of a pattern fit, the first gives the signal
and the clearest of those with the same signal the strength.

Signal: TA-Lib's integer, 0 for none. Strength: 0 where there is no signal, else 0.1 + 0.9 * the mean of
how clearly each rule of the shape is met, 0 to 1. A rule x > y has the clearness

    margin / (margin + tolerance),  margin = x - y

where ``tolerance`` is, between lengths (bodies, shadows, ranges), the lesser one, y, so that the
clearness is 1 - y / x; between prices it is the range of the older bar of the two. A rule that two
values are equal within a slack has 1 - |x - y| / slack. Colours have no margin. So the strength rises
smoothly from 0.1, for a shape whose every rule is only just met, towards 1.
"""

from typing import Any

import numpy as np
from numba.cpython.unsafe import numbers as bit_tricks

from alphapulse.domain.analysis.compiled import View, inner_piece
from alphapulse.domain.analysis.fields import FACTS, Floats, Int64s
from alphapulse.domain.analysis.patterns.rules import AT_LEAST, AT_MOST, BELOW, DEPTH, EQUAL, SIMILAR

# Where things stand in the numbers: how many shapes, the shapes, the rules of each.
SHAPE = 3 + DEPTH  # signal, first rule, last rule + 1, the facts of the newest candles
RULE = 21  # relation, sign, x, y, two slacks of factor, its parameter and length, tolerance
X, Y, FIRST_SLACK, SECOND_SLACK, TOLERANCE = 2, 5, 8, 13, 18

LEAST = 0.1  # strength of a shape that is only just met
FAILED = -1.0
BLOCK = 63  # slots looked at together, a bit of an integer each

lowest_bit: Any = bit_tricks.trailing_zeros


def shapes(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Signal and strength of the pattern whose rules are ``params``, see ``encode`` in catalogue.py."""
    shown = view.bars[FACTS].view(np.int64)
    for row in range(view.first, view.last):
        signal, strength = out[0, row - view.first], out[1, row - view.first]
        for slot in range(view.lo, view.hi):
            signal[slot] = strength[slot] = 0.0
        for lo in range(view.lo, view.hi, BLOCK):
            hi = min(lo + BLOCK, view.hi)
            for shape in range(int(params[0])):
                at = 1 + shape * SHAPE
                candidates = _candidates(shown, row, view.mask, lo, hi, params, at + 3)
                while candidates != 0:
                    slot = lo + lowest_bit(candidates)
                    candidates &= candidates - 1
                    _judge(view.bars, row, view.mask, slot, params, at, signal, strength)


@inner_piece
def _candidates(shown: Int64s, row: int, mask: int, lo: int, hi: int, numbers: Floats, at: int) -> int:
    """Bit i: slot ``lo`` + i shows the facts at ``at``."""
    candidates = (1 << (hi - lo)) - 1
    for back in range(DEPTH):
        wanted = int(numbers[at + back])
        if wanted == 0:
            continue
        seen = shown[(row - back) & mask, lo:hi]
        fitting = 0
        for i in range(hi - lo):
            fitting |= (seen[i] & wanted == wanted) << i
        candidates &= fitting
        if candidates == 0:
            break
    return candidates


@inner_piece
def _judge(
    bars: Floats, row: int, mask: int, slot: int, numbers: Floats, at: int, signal: Floats, strength: Floats
) -> None:
    """Write down what ``slot`` shows if all rules of the shape at ``at`` are met."""
    found, first, last = numbers[at], int(numbers[at + 1]), int(numbers[at + 2])
    if signal[slot] != 0.0 and signal[slot] != found:
        return
    total = 0.0
    for rule in range(first, last, RULE):
        met = _met(bars, row, mask, slot, numbers, rule)
        if met < 0.0:
            return
        total += met
    clear = total * RULE / max(last - first, RULE)
    signal[slot] = found
    strength[slot] = max(strength[slot], LEAST + (1.0 - LEAST) * clear)


@inner_piece
def _met(bars: Floats, row: int, mask: int, slot: int, numbers: Floats, at: int) -> float:
    """How clearly the rule at ``at`` is met, 0 to 1, or FAILED."""
    relation, sign = int(numbers[at]), numbers[at + 1]
    x = sign * _value(bars, row, mask, slot, numbers, at + X)
    y = sign * _value(bars, row, mask, slot, numbers, at + Y)
    slack = _slack(bars, row, mask, slot, numbers, at + FIRST_SLACK)
    if relation == EQUAL:
        return _near(x, y, slack) if x <= y + slack and x >= y - slack else FAILED
    if relation == SIMILAR:
        return _near(x, y, slack) if abs(x - y) < slack else FAILED
    y = y + slack + _slack(bars, row, mask, slot, numbers, at + SECOND_SLACK)
    if relation in (BELOW, AT_MOST):
        x, y = y, x
    if x > y:
        between_lengths = numbers[at + TOLERANCE] < 0.0
        tolerance = y if between_lengths else _value(bars, row, mask, slot, numbers, at + TOLERANCE)
        clear: float = (x - y) / ((x - y) + max(tolerance, 0.0))
        return clear
    touches = x == y and relation in (AT_LEAST, AT_MOST)
    return 0.0 if touches else FAILED


@inner_piece
def _near(x: float, y: float, slack: float) -> float:
    """1 where they are equal, 0 where they differ by all of ``slack``."""
    return 1.0 if x == y else max(0.0, 1.0 - abs(x - y) / slack)


@inner_piece
def _slack(bars: Floats, row: int, mask: int, slot: int, numbers: Floats, at: int) -> float:
    """A multiple of a length, the factor times a parameter if there is one; 0 for none."""
    times, parameter = numbers[at], int(numbers[at + 1])
    if times == 0.0:
        return 0.0
    factor: float = times * numbers[parameter] if parameter >= 0 else times
    return factor * _value(bars, row, mask, slot, numbers, at + 2)


@inner_piece
def _value(bars: Floats, row: int, mask: int, slot: int, numbers: Floats, at: int) -> float:
    """A field of a bar, less another one of it if there is one; 0 for nothing."""
    plus, minus = int(numbers[at]), int(numbers[at + 1])
    if plus < 0:
        return 0.0
    then = (row - int(numbers[at + 2])) & mask
    value: float = bars[plus, then, slot]
    return value - bars[minus, then, slot] if minus >= 0 else value
