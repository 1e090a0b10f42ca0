"""The facts of candles by the word: one integer says of 64 slots which of them show a fact.

All patterns ask the same facts of the same few bars, and each asks them of all slots. Laid out this way, an
answer for 64 slots is one bit operation. It is made once a bar from the ring, where one number holds all
facts of a slot: a matrix of 64 slots and the bits of two bars is turned over its diagonal, by exchanging
ever smaller parts of it (Warren, Hacker's Delight, second edition, section 7-3).

Bit b of word w is slot ``lo`` + b * words + w: then every exchange is between neighbours in memory, and the
loops run in vector registers.
"""

from typing import Any

import numpy as np
from numba.cpython.unsafe import numbers as bit_tricks

from alphapulse.domain.analysis.compiled import View, inner_piece
from alphapulse.domain.analysis.fields import FACTS, Floats, Int64s

BEFORE = 5  # bars before the first that is judged whose facts are at hand
WORD = 64  # slots
FEW = 32  # slots for which words are not worth their while, and not laid out
HALF = 32  # bits that a bar takes of a slot, of which two make a word
_LOW_HALF = (1 << HALF) - 1

lowest_bit: Any = bit_tricks.trailing_zeros


def shape_for(slots: int, chunk: int) -> tuple[int, int]:
    """Of the array that ``lay_out`` fills: pairs of bars, and the words of their facts."""
    return (BEFORE + chunk + 1) // 2, WORD * ((slots + WORD - 1) // WORD)


@inner_piece
def words_of(lo: int, hi: int) -> int:
    return (hi - lo + WORD - 1) // WORD


@inner_piece
def lay_out(bars: Floats, first: int, last: int, lo: int, hi: int, into: Int64s) -> None:
    """The facts of the rows ``first`` - BEFORE to ``last`` (excluded), as ``keep_showing`` reads them."""
    if hi - lo < FEW:
        return
    mask, ring = bars.shape[1] - 1, bars[FACTS].view(np.int64)
    for pair in range((BEFORE + last - first + 1) // 2):
        row = first - BEFORE + 2 * pair
        _side_by_side(ring[row & mask, lo:hi], ring[(row + 1) & mask, lo:hi], into[pair])
        _turn(into[pair], words_of(lo, hi))


@inner_piece
def _side_by_side(one: Int64s, other: Int64s, into: Int64s) -> None:
    """A word a slot: the facts of ``one`` bar in the low half, of the ``other`` in the high one."""
    for i in range(one.shape[0]):
        into[i] = (one[i] & _LOW_HALF) | (other[i] << HALF)
    for i in range(one.shape[0], WORD * words_of(0, one.shape[0])):
        into[i] = 0


@inner_piece
def _turn(block: Int64s, words: int) -> None:
    """Bit b of ``block[f * words + w]`` becomes what bit f of ``block[b * words + w]`` was."""
    size, kept = HALF, _LOW_HALF
    while size > 0:
        run = size * words
        for at in range(0, WORD * words, 2 * run):
            low, high = block[at : at + run], block[at + run : at + 2 * run]
            for i in range(low.shape[0]):
                apart = ((low[i] >> size) ^ high[i]) & kept
                high[i] ^= apart
                low[i] ^= apart << size
        size >>= 1
        kept ^= kept << size


@inner_piece
def keep_showing(view: View, row: int, fact: int, words: Int64s) -> None:
    """Leave in ``words`` the slots that show bit ``fact`` at ``row``, no older than BEFORE."""
    nth = row - view.first + BEFORE
    at = ((nth & 1) * HALF + fact) * words.shape[0]
    showing = view.facts[nth >> 1, at : at + words.shape[0]]
    for w in range(words.shape[0]):
        words[w] &= showing[w]


@inner_piece
def listed(view: View, words: Int64s, slots: Int64s) -> int:
    """How many slots stand in ``words``; they begin ``slots``."""
    count = 0
    for w in range(words.shape[0]):
        word = words[w]
        while word != 0:
            slot = view.lo + w + words.shape[0] * lowest_bit(word)
            word &= word - 1
            if slot < view.hi:
                slots[count] = slot
                count += 1
    return count
