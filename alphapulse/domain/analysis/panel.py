"""Rolling state of many slots (an instrument in a timeframe each) at once: a bar in, all outputs out.

A ``Plan`` says which indicators, a ``Panel`` holds their state as a struct of arrays: a ring of the last
bars, rings of the indicators' own, and a few floats of each recursion. One bar costs the same however
long the history. However the bars are handed in, one by one, in chunks, some slots or all, restored from
a snapshot at any bar, the outputs are the same bytes.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from alphapulse.domain.analysis.candles import push_candles
from alphapulse.domain.analysis.compiled import (
    ROOM,
    View,
    call_kernel,
    copy,
    inner_piece,
    kernel_address,
    piece,
)
from alphapulse.domain.analysis.fact_words import lay_out, shape_for
from alphapulse.domain.analysis.fields import (
    CANDLE_FIELDS,
    CLOSE,
    FIELDS,
    HIGH,
    INPUTS,
    LOW,
    TRUE_RANGE,
    TYPICAL,
    Field,
    Floats,
    Int64s,
)
from alphapulse.domain.analysis.large_pages import side_by_side, whole_lines
from alphapulse.domain.analysis.registry import Spec

_LAYOUT = "fields by their reach"  # of a snapshot: what lies where
_HEAD = 2  # of a snapshot: which plan it is of, and how many bars were seen
_WIDE = 64  # slots from which on filling up the last line costs little
_DERIVED_FROM = {Field.HIGH, Field.LOW, Field.CLOSE}
_DERIVED = {Field.TYPICAL, Field.TRUE_RANGE}  # open to whoever declares what they are made of
_TILE = 32  # slots whose snapshots are written or read together


class BadSnapshot(ValueError):
    """Taken from another plan, or damaged."""


class Plan:
    """Indicators in a fixed order; ``columns`` names the outputs."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.specs = tuple(specs)
        self.columns = tuple(column for spec in self.specs for column in spec.columns)
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"an indicator stands twice in {', '.join(map(str, self.specs))}")
        counts = [
            (s.known.lines(s.params), s.known.carries(s.params), len(s.known.outputs)) for s in self.specs
        ]
        # Where the rings, carried floats and outputs of each indicator begin.
        self.edges: Int64s = np.zeros((len(counts) + 1, 3), dtype=np.int64)
        self.edges[1:] = np.cumsum(np.array(counts, dtype=np.int64).reshape(-1, 3), axis=0)
        self.lines, self.carries, self.outputs = self.edges[-1].tolist()
        derived = [field for s in self.specs for field in s.known.inputs if field >= FIELDS]
        self.fields = CANDLE_FIELDS if derived else FIELDS
        windows = [s.known.window(s.params) for s in self.specs]
        self.window = max([1, *windows])  # 1: for the true range
        self.reach = _reach(self.specs, self.fields)
        # Rows of each ring of the indicators' own.
        self.line_reach: Int64s = np.repeat(np.array(windows, np.int64), np.diff(self.edges[:, 0]))
        numbers = [(*s.known.fixed, *s.params) for s in self.specs]
        self.params: Floats = np.zeros((len(counts), max([1, *map(len, numbers)])))
        for i, row in enumerate(numbers):
            self.params[i, : len(row)] = row
        lookbacks = [bars for s in self.specs for bars in s.known.lookbacks(s.params)]
        self.lookbacks: Int64s = np.array(lookbacks, dtype=np.int64)

    @cached_property
    def kernels(self) -> Int64s:
        """Where the compiled functions begin."""
        return np.array([kernel_address(spec.known.kernel) for spec in self.specs], dtype=np.int64)

    @cached_property
    def identity(self) -> int:
        """Eight bytes that tell this plan, and the versions of its code, from others."""
        text = "\n".join([_LAYOUT, *(f"{spec} {spec.known.code_version}" for spec in self.specs)])
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)

    @cached_property
    def lookback(self) -> int:
        """Bars before every output has a value."""
        return max(self.lookbacks.tolist(), default=0)

    @cached_property
    def forgets(self) -> int | None:
        """Bars after which the first bar shows in no output; None: it always does."""
        bars: list[int | None] = [spec.known.forgets(spec.params) for spec in self.specs]
        return None if None in bars else max((b for b in bars if b is not None), default=1)

    @cached_property
    def floats(self) -> int:
        """In the snapshot of one slot."""
        return int(self.carries + self.reach.clip(0).sum() + self.line_reach.sum())


def _reach(specs: Sequence[Spec], fields: int) -> Int64s:
    """How many rows before this one are wanted of each field; -1: not even this one."""
    reach: Int64s = np.full(fields, -1)
    for spec in specs:
        wanted = {*spec.known.inputs}
        if wanted >= _DERIVED_FROM:
            wanted |= _DERIVED
        reach[list(wanted)] = np.maximum(reach[list(wanted)], spec.known.window(spec.params))
    if (reach[list(_DERIVED)] >= 0).any():
        reach[list(_DERIVED_FROM)] = np.maximum(reach[list(_DERIVED_FROM)], 0)
        reach[CLOSE] = max(reach[CLOSE], 1)  # for the true range
    return reach


class Panel:
    """The state of ``slots`` slots. Works on at most ``chunk`` rows at once: on history more is faster."""

    def __init__(self, plan: Plan, slots: int, *, chunk: int = 1) -> None:
        self.plan, self.slots, self.chunk = plan, slots, chunk
        rows = 1 << (plan.window + chunk - 1).bit_length()
        self.seen: Int64s = np.zeros(slots, dtype=np.int64)
        self._row: Int64s = np.zeros(slots, dtype=np.int64)  # where the next bar of a slot goes
        self._even = True  # all of them stand at the same row
        wide = slots if slots < _WIDE else whole_lines(slots)  # so that every row begins a line of the cache
        self._bars, self._lines, self._carry, self._out, self._room = side_by_side(
            (plan.fields, rows, wide),
            (plan.lines, rows, wide),
            (plan.carries, wide),
            (plan.outputs, chunk, wide),
            (ROOM, chunk * wide),
        )
        self._bars[:], self._lines[:], self._carry[:] = np.nan, np.nan, 0.0
        self._facts: Int64s = np.zeros(shape_for(slots if plan.fields > FIELDS else 0, chunk), dtype=np.int64)

    def advance(self, bars: Floats, lo: int = 0, hi: int | None = None) -> Floats:
        """Outputs of shape (outputs, T, hi - lo) for ``bars`` of shape (INPUTS, T, hi - lo), oldest first.

        Without ``lo`` and ``hi`` all slots take part. Row t of the result depends on the bars up to row t.
        NaN until an output has had the bars that it needs. The array is the caller's.
        """
        hi = self.slots if hi is None else hi
        inputs, count, width = bars.shape
        if inputs != INPUTS or width != hi - lo or not 0 <= lo <= hi <= self.slots:
            raise ValueError(f"bars of shape {bars.shape} for slots {lo} to {hi} of {self.slots}")
        result = np.empty((self.plan.outputs, count, width))
        runs = self._runs(lo, hi)
        for begin in range(0, count, self.chunk):
            end = min(begin + self.chunk, count)
            for a, b in runs:
                self._work(bars[:, begin:end, a - lo : b - lo], a, b)
            result[:, begin:end] = self._out[:, : end - begin, lo:hi]
        return result

    def step(self, bars: Floats) -> Floats:
        """Outputs (outputs, slots) of one bar a slot, (INPUTS, slots). The next call overwrites them."""
        if bars.shape != (INPUTS, self.slots):
            raise ValueError(f"bars of shape {bars.shape} for one bar of {self.slots} slots")
        for a, b in self._runs(0, self.slots):
            self._work(bars[:, None, a:b], a, b)
        return self._out[:, 0, : self.slots]

    def _runs(self, lo: int, hi: int) -> list[tuple[int, int]]:
        """Neighbouring slots whose rings stand at the same row: those can be worked on together."""
        if self._even or lo == hi:
            return [(lo, hi)] * (lo < hi)
        row = self._row
        cuts = np.flatnonzero(row[lo + 1 : hi] != row[lo : hi - 1])
        edges = [lo, *(cuts + lo + 1).tolist(), hi]
        return list(pairwise(edges))

    def is_even(self, slots: Sequence[int]) -> bool:
        """Whether the rings of ``slots`` stand at the same row, so that they go side by side."""
        return self._even or len(np.unique(self._row[list(slots)])) <= 1

    def _work(self, bars: Floats, lo: int, hi: int) -> None:
        plan, first = self.plan, int(self._row[lo])
        state = (
            self._bars,
            self._lines,
            self._carry,
            self._out,
            self.seen,
            self._facts,
            self._room,
            self._row,
        )
        _advance(
            plan.kernels, plan.params, plan.edges, plan.lookbacks, plan.reach, *state, bars, first, lo, hi
        )
        if (lo, hi) != (0, self.slots):
            self._even = False

    def snapshot(self, slot: int = 0) -> bytes:
        """All that ``slot`` has to know of its past; the same bytes wherever the slot stands."""
        return self.snapshot_all(slot, slot + 1)[0]

    def snapshot_all(self, lo: int = 0, hi: int | None = None) -> list[bytes]:
        """What ``snapshot`` gives, of the slots ``lo`` to ``hi``."""
        hi = self.slots if hi is None else hi
        found: list[bytes] = []
        for first in range(lo, hi, _TILE):
            count = min(_TILE, hi - first)
            records: Floats = np.empty((count, _HEAD + self.plan.floats), dtype="<f8")
            records.view("<i8")[:, 0] = self.plan.identity
            records.view("<i8")[:, 1] = self.seen[first : first + count]
            _gather(records, *self._state(), first)
            found += [record.tobytes() for record in records]
        return found

    def restore(self, snapshot: bytes, slot: int = 0) -> None:
        """Put ``slot`` where it was when ``snapshot`` was taken of one under the same plan.

        Raises:
            BadSnapshot: it is of another plan.
        """
        self.restore_all([snapshot], slot)

    def restore_all(self, snapshots: Sequence[bytes], lo: int = 0) -> None:
        """``restore`` of many, into the slots from ``lo`` on: all or none.

        Raises:
            BadSnapshot: one of them is of another plan.
        """
        size, head = (
            8 * (_HEAD + self.plan.floats),
            int(self.plan.identity).to_bytes(8, "little", signed=True),
        )
        for snapshot in snapshots:
            if len(snapshot) != size:
                raise BadSnapshot(f"{len(snapshot)} bytes, the plan takes {size}")
            if snapshot[:8] != head:
                raise BadSnapshot(f"of another plan than {', '.join(map(str, self.plan.specs))}")
        if not 0 <= lo <= lo + len(snapshots) <= self.slots:
            raise ValueError(f"snapshots for slots {lo} to {lo + len(snapshots)} of {self.slots}")
        for begin in range(0, len(snapshots), _TILE):
            tile, first = snapshots[begin : begin + _TILE], lo + begin
            records = np.frombuffer(b"".join(tile), dtype="<f8").reshape(len(tile), -1)
            self.seen[first : first + len(tile)] = records.view("<i8")[:, 1]
            _spread(records, *self._state(), first)

    def _state(self) -> tuple[Int64s, Int64s, Floats, Floats, Floats, Int64s]:
        plan = self.plan
        return plan.reach, plan.line_reach, self._carry, self._bars, self._lines, self._row


def compute(specs: Sequence[Spec], bars: Floats, *, chunk: int = 256) -> Floats:
    """Outputs (outputs, T) of one slot over its whole history ``bars`` of shape (INPUTS, T)."""
    return Panel(Plan(specs), 1, chunk=chunk).advance(bars[:, :, None])[:, :, 0]


@inner_piece
def _advance(
    kernels: Int64s,
    params: Floats,
    edges: Int64s,
    lookbacks: Int64s,
    reach: Int64s,
    bars: Floats,
    lines: Floats,
    carry: Floats,
    out: Floats,
    seen: Int64s,
    facts: Int64s,
    room: Floats,
    rows: Int64s,
    new: Floats,
    first: int,
    lo: int,
    hi: int,
) -> None:
    """Put ``new`` rows into the ring, run every kernel over them, and count them as seen."""
    count, mask = new.shape[1], bars.shape[1] - 1
    _push(new, reach, bars, first, lo, hi)
    if bars.shape[0] > FIELDS:
        lay_out(bars, first, first + count, lo, hi, facts)
    youngest, before, ahead = seen[lo], seen[lo:hi], rows[lo:hi]
    for i in range(before.shape[0]):
        youngest = before[i] if before[i] < youngest else youngest
    for k in range(len(kernels)):
        line, float_, value = edges[k]
        line_end, float_end, value_end = edges[k + 1]
        longest = lookbacks[value]
        for o in range(value, value_end):
            longest = max(longest, lookbacks[o])
        warm = youngest > longest
        view = View(bars, first, first + count, lo, hi, mask, seen, warm, facts, room)
        own = (lines[line:line_end], carry[float_:float_end], out[value:value_end])
        call_kernel(kernels[k], view, params[k], *own)
        if not warm:
            for o in range(value, value_end):
                for n in range(lo, hi):
                    for t in range(min(count, lookbacks[o] - seen[n])):
                        out[o, t, n] = np.nan
    for i in range(before.shape[0]):
        before[i] += count
        ahead[i] += count


@inner_piece
def _push(new: Floats, reach: Int64s, bars: Floats, first: int, lo: int, hi: int) -> None:
    """Put what is wanted of ``new`` rows into the ring, with what is derived from them."""
    mask = bars.shape[1] - 1
    for t in range(new.shape[1]):
        at, before = (first + t) & mask, (first + t - 1) & mask
        for field in range(INPUTS):
            if reach[field] >= 0:
                copy(new[field, t], bars[field, at, lo:hi])
        if reach[TYPICAL] >= 0 or reach[TRUE_RANGE] >= 0:
            _derive(bars, at, before, lo, hi)
        if bars.shape[0] > FIELDS:
            push_candles(bars, first + t, lo, hi)


@inner_piece
def _derive(bars: Floats, at: int, before: int, lo: int, hi: int) -> None:
    high, low, close = bars[HIGH, at, lo:hi], bars[LOW, at, lo:hi], bars[CLOSE, at, lo:hi]
    last = bars[CLOSE, before, lo:hi]
    typical, span = bars[TYPICAL, at, lo:hi], bars[TRUE_RANGE, at, lo:hi]
    for i in range(high.shape[0]):
        typical[i] = (high[i] + low[i] + close[i]) / 3.0
        # The first bar has none before it: last is NaN then, and so is the true range.
        top = high[i] if high[i] > last[i] else last[i]
        bottom = low[i] if low[i] < last[i] else last[i]
        span[i] = top - bottom


# A snapshot is a record of float64: its head, carried floats, last bars (field, row), last lines (line, row).
# Records lie by slot and the state by row: _TILE slots at a time, so that both stay in the cache.


@piece
def _gather(
    records: Floats,
    reach: Int64s,
    line_reach: Int64s,
    carry: Floats,
    bars: Floats,
    lines: Floats,
    rows: Int64s,
    lo: int,
) -> None:
    for i in range(carry.shape[0]):
        for n in range(records.shape[0]):
            records[n, _HEAD + i] = carry[i, lo + n]
    at = _HEAD + carry.shape[0]
    for cube, kept in ((bars, reach), (lines, line_reach)):
        mask = cube.shape[1] - 1
        for field in range(cube.shape[0]):
            for back in range(kept[field], 0, -1):
                for n in range(records.shape[0]):
                    records[n, at] = cube[field, (rows[lo + n] - back) & mask, lo + n]
                at += 1


@piece
def _spread(
    records: Floats,
    reach: Int64s,
    line_reach: Int64s,
    carry: Floats,
    bars: Floats,
    lines: Floats,
    rows: Int64s,
    lo: int,
) -> None:
    for i in range(carry.shape[0]):
        for n in range(records.shape[0]):
            carry[i, lo + n] = records[n, _HEAD + i]
    at = _HEAD + carry.shape[0]
    for cube, kept in ((bars, reach), (lines, line_reach)):
        mask = cube.shape[1] - 1
        for field in range(cube.shape[0]):
            for back in range(kept[field], 0, -1):
                for n in range(records.shape[0]):
                    cube[field, (rows[lo + n] - back) & mask, lo + n] = records[n, at]
                at += 1
