"""Many series through one plan, side by side: the n-th bar of one with the n-th bar of the others.

A panel is fast where many slots take a step together. Bars come in pieces of any length, a series at a
time; they wait here until a block of them can go. What comes out does not depend on the pieces.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from alphapulse.domain.analysis.fields import INPUTS, Floats
from alphapulse.domain.analysis.panel import Panel, Plan

CHUNK = 256  # rows that a panel works on at once
BLOCK = 2_048  # rows of outputs that exist at once, of every series


class Lockstep:
    """``slots`` series under one plan. Best when those that end first come last."""

    def __init__(self, plan: Plan, slots: int, *, chunk: int = CHUNK, block: int = BLOCK) -> None:
        self._panel, self._chunk, self._block = Panel(plan, slots, chunk=chunk), chunk, max(chunk, block)
        self._waiting: list[list[Floats]] = [[] for _ in range(slots)]
        self._counts = [0] * slots

    def push(self, slot: int, values: Floats) -> None:
        """The next bars of ``slot``, (INPUTS, n)."""
        if values.shape[1]:
            self._waiting[slot].append(values)
            self._counts[slot] += values.shape[1]

    def waiting(self, slot: int) -> int:
        """How many bars of ``slot`` have not gone yet."""
        return self._counts[slot]

    def outputs(self, *, final: bool = False) -> Iterator[tuple[int, Floats]]:
        """Slot and outputs (n, outputs) of bars that can go, oldest first; with ``final`` all that wait.

        Fewer than a chunk of a slot stay back until there are more: a step of few rows or few slots costs
        nearly as much as one of many.
        """
        least = 1 if final else self._chunk
        while ready := [slot for slot, count in enumerate(self._counts) if count >= least]:
            rows = min(self._block, *(self._counts[slot] for slot in ready))
            for lo, hi in _runs(ready):
                out = self._panel.advance(self._taken(lo, hi, rows), lo, hi)
                for slot in range(lo, hi):
                    yield slot, out[:, :, slot - lo].T

    def _taken(self, lo: int, hi: int, rows: int) -> Floats:
        """The next ``rows`` bars of the slots ``lo`` to ``hi``, (INPUTS, rows, hi - lo)."""
        block = np.empty((INPUTS, rows, hi - lo))
        for slot in range(lo, hi):
            self._take(slot, rows, block[:, :, slot - lo])
        return block

    def _take(self, slot: int, rows: int, into: Floats) -> None:
        at, pieces = 0, self._waiting[slot]
        while at < rows:
            piece = pieces[0]
            count = min(rows - at, piece.shape[1])
            into[:, at : at + count] = piece[:, :count]
            if count == piece.shape[1]:
                pieces.pop(0)
            else:
                pieces[0] = piece[:, count:]
            at += count
        self._counts[slot] -= rows


def _runs(slots: Sequence[int]) -> Iterator[tuple[int, int]]:
    """``slots``, ascending, as spans of neighbours."""
    cuts = [i for i, (a, b) in enumerate(pairwise(slots), 1) if b != a + 1]
    for a, b in pairwise([0, *cuts, len(slots)]):
        yield slots[a], slots[b - 1] + 1
