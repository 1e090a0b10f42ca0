"""Notes of many blocks as one column, in the order of their outputs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.signals.engine_events import Block, Outputs
from alphapulse.domain.signals.engine_noted import Noted

_WIDEST = 64  # columns of a table without rows: no less than any table has


class Picked:
    """The outputs of one kind, and columns of their notes: one row for each, in their order."""

    def __init__(self, outputs: Outputs, kind: int) -> None:
        self.rows = np.flatnonzero(outputs.kinds == kind)
        which, at = outputs.which[self.rows], outputs.at[self.rows]
        used, self._block = np.unique(which, return_inverse=True)
        self.blocks = [_noted(outputs.blocks[number]) for number in used.tolist()]
        counts = [len(block.kinds) for block in self.blocks]
        order = _joined([block.notes.order for block in self.blocks])
        self._n = np.asarray(order[_begins(counts)[self._block] + at, 1], dtype=np.int64)

    def whole(self, column: Callable[[Noted], Int64s]) -> Int64s:
        """Rows of ``column``, which has one for each note of the kind of a block."""
        return np.asarray(self._picked(column), dtype=np.int64)

    def floats(self, column: Callable[[Noted], Floats]) -> Floats:
        return np.asarray(self._picked(column), dtype=np.float64)

    def _picked(self, column: Callable[[Noted], Any]) -> Any:
        parts = [column(block) for block in self.blocks]
        return _joined(parts)[_begins([len(part) for part in parts])[self._block] + self._n]

    def timeframes(self, slots: Int64s) -> Int64s:
        """Minutes."""
        known = self.blocks[0].clerk.timeframes if self.blocks else ()
        return np.array(known, dtype=np.int64)[slots]

    def each(self, of_block: Callable[[Noted], Any], dtype: Any = np.object_) -> Any:
        """What is the same for all notes of a block."""
        found = np.empty(len(self.blocks), dtype=dtype)
        for number, block in enumerate(self.blocks):
            found[number] = of_block(block)
        return found[self._block]


def _noted(block: Block) -> Noted:
    """Raises TypeError."""
    if not isinstance(block, Noted):
        raise TypeError(f"outputs of {block.instrument!r} were not given by an engine")
    return block


def _begins(counts: Sequence[int]) -> Int64s:
    sizes = np.array(counts, dtype=np.int64)
    return np.cumsum(sizes) - sizes


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if parts else np.empty((0, _WIDEST))
