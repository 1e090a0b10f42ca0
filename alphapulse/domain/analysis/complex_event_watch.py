"""Where complex events match: a state machine over many slots, one pass over the bars.

A match is found at the bar that completes it, from that bar and those before. The state is a bar for each
step of each beginning of the event, and the last values (for what crosses): no history is kept.
"""

import operator
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.columns import Column, column_values
from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.complex_events import (
    And,
    BadEvent,
    Comparison,
    ComplexEvent,
    Condition,
    Not,
    Operand,
    Or,
)
from alphapulse.domain.analysis.fields import Field, Floats, Int64s

Flags = NDArray[np.bool_]
Values = Mapping[Field | Column, Floats]

_MAGIC = b"APE1"
_COMPARE: Mapping[str, Callable[[Floats, Floats], Flags]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "crosses above": operator.gt,
    "crosses below": operator.lt,
}


class Matches(NamedTuple):
    """``bars[step, t, slot]``: the bar of each step, counted from the first one; -1 without a match."""

    matched: Flags  # (T, slots)
    bars: Int64s  # (steps, T, slots)


class Watch:
    """The rolling state of one event over ``slots`` slots: bounded, and the same however bars come in."""

    def __init__(self, event: ComplexEvent, slots: int = 1) -> None:
        self.event, self.slots = event, slots
        steps = len(event.steps)
        self._within: Int64s = np.array([step.within for step in event.steps], dtype=np.int64)
        self._seen = 0
        self._last: Floats = np.full((len(event.operands), slots), np.nan)
        # chains[i, :i + 1]: the bars of steps 0 to i, when these have been seen; else -1.
        self._chains: Int64s = np.full((steps, steps, slots), -1, dtype=np.int64)

    def advance(self, values: Floats) -> Matches:
        """Matches at the T bars of ``values`` (operands, T, slots), oldest first.

        Raises:
            BadEvent: the shape is another.
        """
        operands, count, slots = values.shape
        if operands != len(self.event.operands) or slots != self.slots:
            raise BadEvent(
                f"values of shape {values.shape} for {len(self._last)} operands, {self.slots} slots"
            )
        rows = np.concatenate([self._last[:, None], values], axis=1)
        at = dict(zip(self.event.operands, rows, strict=True))
        true = np.stack([_truth(condition, at)[0][1:] for condition in self.event.conditions])
        steps = len(self.event.steps)
        holds = true[steps] if self.event.throughout is not None else np.ones((count, slots), dtype=np.bool_)
        bars = np.full((steps, count, slots), -1, dtype=np.int64)
        _run(true[:steps], holds, self._within, self._seen, self._chains, bars)
        self._seen += count
        self._last = rows[:, -1].copy()
        return Matches(bars[0] >= 0, bars)

    def snapshot(self) -> bytes:
        """All that has to be known of the past."""
        seen = np.array([self._seen], dtype="<i8")
        parts = (seen, self._chains.astype("<i8"), self._last.astype("<f8"))
        return _MAGIC + b"".join(part.tobytes() for part in parts)

    def restore(self, snapshot: bytes) -> None:
        """Go back to where ``snapshot`` was taken. Raises BadEvent when it is of another event."""
        chains, last = self._chains, self._last
        size = len(_MAGIC) + 8 * (1 + chains.size + last.size)
        if snapshot[:4] != _MAGIC or len(snapshot) != size:
            raise BadEvent(f"a snapshot of {len(snapshot)} bytes, this event takes {size}")
        numbers = np.frombuffer(snapshot, dtype="<i8", offset=4, count=1 + chains.size)
        self._seen = int(numbers[0])
        self._chains = numbers[1:].reshape(chains.shape).astype(np.int64)
        floats = np.frombuffer(snapshot, dtype="<f8", offset=4 + 8 * (1 + chains.size))
        self._last = floats.reshape(last.shape).astype(np.float64)


def operand_values(event: ComplexEvent, bars: Floats) -> Floats:
    """(operands, T, 1): what ``event`` looks at, over one slot's ``bars`` of shape (INPUTS, T)."""
    columns = [o for o in event.operands if isinstance(o, Column)]
    computed = iter(column_values(columns, bars))
    rows = [next(computed) if isinstance(o, Column) else bars[o] for o in event.operands]
    return np.stack(rows)[:, :, None] if rows else np.empty((0, bars.shape[1], 1))


def find_events(event: ComplexEvent, bars: Floats) -> list[tuple[int, ...]]:
    """The matches over one slot's history ``bars`` (INPUTS, T): for each the bars of its steps."""
    found = Watch(event).advance(operand_values(event, bars))
    return [tuple(found.bars[:, t, 0].tolist()) for t in np.flatnonzero(found.matched[:, 0])]


def _truth(condition: Condition, at: Values) -> tuple[Flags, Flags]:
    """Where ``condition`` is true and where it is false; with a missing value it is neither."""
    match condition:
        case Comparison():
            return _compare(condition, at)
        case Not(of=of):
            true, false = _truth(of, at)
            return false, true
        case And(parts=parts):
            each = [_truth(part, at) for part in parts]
            return np.all([t for t, _ in each], axis=0), np.any([f for _, f in each], axis=0)
        case Or(parts=parts):
            each = [_truth(part, at) for part in parts]
            return np.any([t for t, _ in each], axis=0), np.all([f for _, f in each], axis=0)


def _compare(comparison: Comparison, at: Values) -> tuple[Flags, Flags]:
    left, right = np.broadcast_arrays(_values(comparison.left, at), _values(comparison.right, at))
    known = ~(np.isnan(left) | np.isnan(right))
    true = _COMPARE[comparison.operator](left, right) & known
    if comparison.operator.startswith("crosses"):
        before = np.roll(known & ~true, 1, axis=0)
        known = known & np.roll(known, 1, axis=0)
        true = true & before
    return true, known & ~true


def _values(operand: Operand, at: Values) -> Floats:
    return np.asarray(operand) if isinstance(operand, float) else at[operand]


@piece
def _run(true: Flags, holds: Flags, within: Int64s, seen: int, chains: Int64s, bars: Int64s) -> None:
    """Bring ``chains`` up to date bar by bar, and write the ``bars`` of each match.

    The later a step was seen, the longer what follows may take: so of each beginning only the latest counts.
    """
    steps, count, slots = true.shape
    for t in range(count):
        for n in range(slots):
            if not holds[t, n]:
                chains[:, :, n] = -1
                continue
            for i in range(steps - 1, -1, -1):
                if not true[i, t, n]:
                    continue
                if i > 0:
                    before = chains[i - 1, i - 1, n]
                    if before < 0 or seen + t - before > within[i]:
                        continue
                    chains[i, :i, n] = chains[i - 1, :i, n]
                chains[i, i, n] = seen + t
                if i == steps - 1:
                    bars[:, t, n] = chains[i, :, n]
                    chains[:, :, n] = -1
                    break
