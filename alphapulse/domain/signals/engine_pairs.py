"""Which outcome closes which decision, for thousands of outputs at once, without the ids of either."""

from collections.abc import Mapping

import numpy as np

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals.engine_events import DECISION, EXIT, OUTCOME, Outputs
from alphapulse.domain.signals.engine_picked import Picked

_STARTS = 1 << 36  # minutes: far beyond any clock
_SLOTS = 64  # timeframes of a strategy, at most


def codes_of(outputs: Outputs, known: Mapping[str, int]) -> Int64s:
    """(n,) the number of the instrument of each."""
    numbers = [known[block.instrument] for block in outputs.blocks]
    return np.array(numbers, dtype=np.int64)[outputs.which]


def keys_of(outputs: Outputs, codes: Int64s) -> Int64s:
    """(n,) one number for each decision, the same for its outcome; -1 for outputs of other kinds."""
    keys = np.full(len(outputs), -1, dtype=np.int64)
    decided, closed = Picked(outputs, DECISION), Picked(outputs, OUTCOME)
    rows, own = decided.whole(lambda b: b.decided.whole), closed.whole(lambda b: b.notes.outcome_mine_i)
    for picked, slots, starts in (
        (decided, rows[:, k.SLOT], rows[:, k.START]),
        (closed, own[:, k.ITS_SLOT], own[:, k.ITS_START]),
    ):
        keys[picked.rows] = (codes[picked.rows] * _SLOTS + slots) * _STARTS + starts
    return keys


def ordinals_of(kinds: Int64s, codes: Int64s, last: Int64s) -> Int64s:
    """(n,) the ordinals of outputs of ``kinds`` on markets ``codes``; ``last`` of each market before them.

    Advice has that of the decision before it. ``last`` then is that of the last one.
    """
    order = np.argsort(codes, kind="stable")
    total = np.cumsum(kinds[order] != EXIT)
    market = codes[order]
    begins = np.flatnonzero(np.diff(market, prepend=-1))
    before = np.repeat(total[begins] - (kinds[order][begins] != EXIT), np.diff(begins, append=len(market)))
    ordinals = np.empty(len(codes), dtype=np.int64)
    ordinals[order] = last[market] + total - before
    np.maximum.at(last, codes, ordinals)
    return ordinals
