"""Candlestick patterns that count for what they were worth: each by its own record, as of the bar.

A family of patterns is judged on every bar. ``horizon`` bars after one was seen its outcome is known: a
hit when the close went its way, as in reliability.py; how often closes go that way anyway is the base
rate. Only what is resolved counts, and older outcomes fade. A pattern without a record, or with one that
is not better than the base rate by more than its error, says nothing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from alphapulse.domain.analysis.compiled import View, inner_piece
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.patterns.catalogue import INPUTS
from alphapulse.domain.analysis.patterns.judge import shapes
from alphapulse.domain.analysis.registry import Indicator, Output, Parameter, find, indicator

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "single": (
        *("hammer", "hanging_man", "inverted_hammer", "shooting_star"),
        *("belt_hold", "pin_bar", "takuri", "closing_marubozu"),
    ),
    "double": (
        *("engulfing", "harami", "piercing", "dark_cloud_cover"),
        *("tweezer_bottom", "tweezer_top", "counterattack", "outside_bar"),
    ),
    "star": (
        *("morning_star", "evening_star", "morning_doji_star", "evening_doji_star"),
        *("abandoned_baby", "three_inside", "three_outside", "tristar"),
    ),
    "continuation": (
        *("three_white_soldiers", "three_black_crows", "rise_fall_three_methods", "separating_lines"),
        *("mat_hold", "tasuki_gap", "gap_three_methods", "matching_low"),
    ),
}

FULL = 0.05  # so far above the base rate, after the error, a pattern counts in full
BASE_MEMORY = 10.0  # the base rate remembers so many bars for each outcome that a pattern remembers

# Of each pattern and side: outcomes, and hits among them. Behind those of all: bars, rises, falls.
_COUNT, _HITS = range(2)

# A digit of the line: 0 for nothing, 1 to SHARES bullish by strength, then as many bearish. 8 fit in 2**53.
BASE, SHARES = 64, 31

OUTPUTS = (
    Output("score", "ratio", low=-1, high=1),
    Output(
        "pattern", "code", low=0, high=8
    ),  # of those in the score the one with most outcomes, from 1; 0: none
    Output("hit_rate", "ratio", low=0, high=1),
    Output("base_rate", "ratio", low=0, high=1),
    Output("outcomes", "bars", low=0),
)

shapes_of = inner_piece(shapes)


def members(family: str) -> list[Indicator]:
    return [find(name) for name in FAMILIES[family]]


def numbers(known: Sequence[Indicator]) -> Iterator[float]:
    """How many patterns, the lookback of all, where each begins and the last ends; then the patterns."""
    blocks = [(*each.fixed, *(p.default for p in each.parameters)) for each in known]
    ends = np.cumsum([3 + len(blocks), *map(len, blocks)])
    yield from (len(blocks), warm(known), *map(float, ends))
    for block in blocks:
        yield from block


def warm(known: Sequence[Indicator]) -> int:
    """Bars before the first that all of them judge."""
    return max(max(each.lookbacks([p.default for p in each.parameters])) for each in known)


def records(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """See the module. The line holds what was seen on a bar: a digit of base 64 for each pattern."""
    count, lookback = int(params[0]), params[1]
    own = params[int(params[2 + count]) :]
    look(view, params, lines, carry, out)
    for row in range(view.first, view.last):
        t = row - view.first
        for n in range(view.lo, view.hi):
            for k in range(5):
                out[k, t, n] = 0.0
            if view.seen[n] + t >= lookback + own[0]:
                resolve(view, row, n, count, own, lines[0], carry[:, n])
            digits, p = int(lines[0, row & view.mask, n]), 0
            while digits > 0:
                if digits % BASE > 0:
                    weigh(p, digits % BASE, count, own[2], carry[:, n], out[:, t, n])
                digits, p = digits // BASE, p + 1


@inner_piece
def look(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Fill the line, pattern by pattern; the first two outputs serve as room to work in."""
    digit = 1.0
    for p in range(int(params[0])):
        shapes_of(view, params[int(params[2 + p]) : int(params[3 + p])], lines, carry, out[:2])
        for row in range(view.first, view.last):
            t, seen = row - view.first, lines[0, row & view.mask]
            for n in range(view.lo, view.hi):
                if p == 0:
                    seen[n] = 0.0
                if out[0, t, n] != 0.0 and view.seen[n] + t >= params[1]:
                    side = 0.0 if out[0, t, n] > 0.0 else float(SHARES)
                    seen[n] += digit * (1.0 + side + math.floor(out[1, t, n] * (SHARES - 1)))
        digit *= BASE


@inner_piece
def resolve(view: View, row: int, n: int, count: int, own: Floats, seen: Floats, kept: Floats) -> None:
    """Take the outcome of the bar ``horizon`` bars ago into the records."""
    before = (row - int(own[0])) & view.mask
    move = view.bars[CLOSE, row & view.mask, n] - view.bars[CLOSE, before, n]
    fade, of_base = 1.0 - 1.0 / own[1], 1.0 - 1.0 / (BASE_MEMORY * own[1])
    base = kept[4 * count :]
    for k in range(3):
        base[k] *= of_base
    base[0] += 1.0
    base[1] += 1.0 if move > 0.0 else 0.0
    base[2] += 1.0 if move < 0.0 else 0.0
    digits, p = int(seen[before, n]), 0
    while digits > 0:
        if digits % BASE > 0:
            side = (digits % BASE - 1) // SHARES
            record = kept[4 * p + 2 * side : 4 * p + 2 * side + 2]
            hit = move > 0.0 if side == 0 else move < 0.0
            record[_COUNT] = record[_COUNT] * fade + 1.0
            record[_HITS] = record[_HITS] * fade + (1.0 if hit else 0.0)
        digits, p = digits // BASE, p + 1


@inner_piece
def weigh(p: int, digit: int, count: int, prior: float, kept: Floats, out: Floats) -> None:
    """Add what pattern ``p`` says to the score; note the one with most outcomes."""
    side, strength = (digit - 1) // SHARES, ((digit - 1) % SHARES + 1.0) / SHARES
    bars = kept[4 * count]
    outcomes = kept[4 * p + 2 * side + _COUNT]
    if not (bars > 0.0 and outcomes > 0.0):
        return
    base = kept[4 * count + 1 + side] / bars
    rate = (kept[4 * p + 2 * side + _HITS] + prior * base) / (outcomes + prior)
    error = math.sqrt(rate * (1.0 - rate) / (outcomes + prior))
    says = strength * min((rate - base - error) / FULL, 1.0)
    if not says > 0.0:
        return
    out[0] = min(max(out[0] + (says if side == 0 else -says), -1.0), 1.0)
    if outcomes > out[4] or out[1] == 0.0:
        out[1], out[2], out[3], out[4] = p + 1.0, rate, base, outcomes


def _join(family: str, title: str) -> None:
    known = members(family)
    lookback = warm(known)
    indicator(
        name=f"patterns_{family}",
        title=title,
        kind="momentum",
        inputs=INPUTS,
        parameters=(
            Parameter("horizon", 5, 1, 100, doc="bars after which an outcome is known"),
            Parameter("memory", 200, 10, 10_000, doc="outcomes after which one counts a third"),
            Parameter("prior", 30, 1, 10_000, doc="outcomes at the base rate that every record starts with"),
        ),
        outputs=OUTPUTS,
        lookback=lambda _: lookback,
        window=lambda p: max(lookback, int(p[0]), 10),
        forgets=lambda _: None,  # an outcome fades with those after it, and there may never be one
        carries=lambda _: 4 * len(known) + 3,
        lines=lambda _: 1,
        source=f"{', '.join(FAMILIES[family])}: score is the sum of side * strength * (hit rate - base "
        f"rate - error) / {FULL:g} where that is above 0; rates fade by 1 / memory with each outcome",
        fixed=tuple(numbers(known)),
    )(records)


_join("single", "Patterns of one candle, by their record")
_join("double", "Patterns of two candles, by their record")
_join("star", "Patterns of three candles that turn, by their record")
_join("continuation", "Patterns that go on, by their record")
