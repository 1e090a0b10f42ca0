"""Many series through one plan, side by side: the n-th bar of one with the n-th bar of the others.

A panel is fast where many slots that stand at the same row of their rings take a step together. Here come
pieces of history, of every series its own length; what comes out does not depend on the pieces.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import INPUTS, Floats
from alphapulse.domain.analysis.panel import Panel, Plan

CHUNK = 256  # rows that a panel works on at once
BLOCK = 256  # rows that are laid side by side at once: more would not stay in the cache


class Lockstep:
    """``slots`` series under one plan."""

    def __init__(self, plan: Plan, slots: int, *, chunk: int = CHUNK, block: int = BLOCK) -> None:
        self._plan, self._chunk, self._block = plan, chunk, block
        self._panel = Panel(plan, slots, chunk=chunk)

    def advance(self, bars: Mapping[int, Floats]) -> dict[int, Floats]:
        """Outputs (outputs, n) of each slot for its next ``bars`` (INPUTS, n), oldest first."""
        counts = {slot: values.shape[1] for slot, values in sorted(bars.items()) if values.shape[1]}
        place = {slot: i for i, slot in enumerate(counts)}
        found = np.empty((len(counts), self._plan.outputs, max(counts.values(), default=0)))
        at = 0
        while active := [slot for slot, count in counts.items() if count > at]:
            rows = min([self._block, *(counts[slot] - at for slot in active)])
            for lo, hi in _runs(active):
                side_by_side = np.empty((INPUTS, rows, hi - lo))
                for slot in range(lo, hi):
                    _gather(bars[slot], at, slot - lo, side_by_side)
                out = self._panel.advance(side_by_side, lo, hi)
                _scatter(out, found[place[lo] : place[lo] + hi - lo], at)
            at += rows
        if len(set(counts.values())) > 1 or len(counts) < self._panel.slots:
            self._panel = self._aligned()
        return {slot: found[place[slot], :, :count] for slot, count in counts.items()}

    def _aligned(self) -> Panel:
        """The same state with all slots at one row, so that they can go on together."""
        panel = Panel(self._plan, self._panel.slots, chunk=self._chunk)
        for slot in range(panel.slots):
            panel.restore(self._panel.snapshot(slot), slot)
        return panel


def _runs(slots: Sequence[int]) -> Iterator[tuple[int, int]]:
    """``slots``, ascending, as spans of neighbours."""
    cuts = [i for i, (a, b) in enumerate(pairwise(slots), 1) if b != a + 1]
    for a, b in pairwise([0, *cuts, len(slots)]):
        yield slots[a], slots[b - 1] + 1


@piece
def _gather(bars: Floats, at: int, lane: int, into: Floats) -> None:
    """``into[:, t, lane]``: bars from ``at`` on."""
    for field in range(into.shape[0]):
        for t in range(into.shape[1]):
            into[field, t, lane] = bars[field, at + t]


@piece
def _scatter(out: Floats, into: Floats, at: int) -> None:
    """``into[lane, o, at + t] = out[o, t, lane]``, in pieces that stay in the cache."""
    outputs, rows, lanes = out.shape
    for o in range(outputs):
        for begin in range(0, rows, 32):
            end = min(begin + 32, rows)
            for lane in range(lanes):
                for t in range(begin, end):
                    into[lane, o, at + t] = out[o, t, lane]
