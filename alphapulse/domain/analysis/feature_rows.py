"""Bars to rows of features, batch by batch: the same rows however the bars are cut.

One slot is one instrument and timeframe under one set. It carries a snapshot of its panel, and of its
last bars as much as windows and lags need. A row is known when its bar is. A feature of a larger timeframe
takes the latest bar of that timeframe that has ended by then and is known by then: in the order of (event,
end of the bar, larger timeframe first).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.closing import NEVER, Closed
from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.features import NOT_SETTLED, OUT_OF_ORDER, WARMING, Feature, SetDefined
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.panel import Panel, Plan
from alphapulse.domain.analysis.registry import Spec

CHUNK = 256  # bars that a panel works on at once
MARK = 128  # bars; so often it is worth writing down what a slot carries
_LAST = (1 << 63) - 1

# Rows of ``Carried.bars``, and of ``Advanced.bars``.
END, POSITION, FIRST, INPUT, FLAGS = range(5)
# Rows of ``Carried.inside``.
INSIDE_FIRST, INSIDE_FLAGS = range(2)


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """What a slot has to know of its past.

    ``inside``: (2, window - 1), first position and flags of the last bars as they came. ``bars`` (5, keep)
    and ``outputs`` (outputs, keep): of the last bars what a row may still ask for. Before there were any they
    hold NEVER and NaN.
    """

    snapshot: bytes  # of the panel; empty before the first bar
    seen: int
    inside: Int64s
    bars: Int64s
    outputs: Floats

    def packed(self) -> bytes:
        parts = (self.inside, self.bars, self.outputs)
        head = (len(self.snapshot), self.seen)
        numbers = b"".join(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in parts)
        return b"".join(n.to_bytes(8, "little") for n in head) + self.snapshot + numbers

    @classmethod
    def unpacked(cls, data: bytes, slot: "SlotPlan") -> "Carried":
        size, seen = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")
        numbers = data[16 + size :]
        inside, bars = 2 * (slot.window - 1), 5 * slot.keep
        whole = np.frombuffer(numbers, dtype="<i8", count=inside + bars).astype(np.int64)
        floats = np.frombuffer(numbers, dtype="<f8", offset=8 * len(whole)).astype(np.float64)
        return cls(
            snapshot=data[16 : 16 + size],
            seen=seen,
            inside=whole[:inside].reshape(2, slot.window - 1),
            bars=whole[inside:].reshape(5, slot.keep),
            outputs=floats.reshape(slot.plan.outputs, slot.keep),
        )


@dataclass(frozen=True, eq=False)
class Advanced:
    """``keep`` carried bars, then the new ones: (5, keep + n), (outputs, keep) and (outputs, n)."""

    bars: Int64s
    carried: Floats
    new: Floats

    @cached_property
    def outputs(self) -> Floats:
        """(outputs, keep + n): most rows ask for the new ones alone, and are spared the copy."""
        return np.concatenate([self.carried, self.new], axis=1)

    def last(self, count: int) -> Floats:
        """The outputs of the last ``count`` bars."""
        if self.new.shape[1] >= count:
            return self.new[:, self.new.shape[1] - count :].copy()
        return self.outputs[:, self.outputs.shape[1] - count :].copy()


class SlotPlan:
    """What one timeframe of a set computes. ``features``: those that look at its bars."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.plan = Plan(sorted({feature.spec for feature in features}))
        specs = [(feature.spec, feature.lag) for feature in features]
        self.keep = max((lag for _, lag in specs), default=0) + 1
        self.window = max((_window(spec) + lag for spec, lag in specs), default=1)
        self.warming = max((max(spec.known.lookbacks(spec.params)) + lag for spec, lag in specs), default=0)
        self.settling = max((_settling(spec) + lag for spec, lag in specs), default=0)

    def column(self, feature: Feature) -> int:
        """Where the feature stands in the plan's outputs."""
        spec = feature.spec
        at = self.plan.specs.index(spec)
        return int(self.plan.edges[at, 2]) + [o.name for o in spec.known.outputs].index(feature.output)

    @property
    def nothing(self) -> Carried:
        bars = np.full((5, self.keep), NEVER, dtype=np.int64)
        bars[FIRST], bars[INPUT], bars[FLAGS] = _LAST, 0, WARMING | NOT_SETTLED
        inside = np.zeros((2, self.window - 1), dtype=np.int64)
        inside[INSIDE_FIRST] = _LAST
        return Carried(b"", 0, inside, bars, np.full((self.plan.outputs, self.keep), np.nan))

    @cached_property
    def panel(self) -> Panel:
        """To work with; its state is that of whichever slot was the last."""
        return Panel(self.plan, 1, chunk=CHUNK)

    @cached_property
    def _fresh(self) -> bytes:
        return Panel(self.plan, 1).snapshot()

    def advance(self, carried: Carried, closed: Closed) -> tuple[Carried, Advanced]:
        """The slot after the bars of ``closed``. Not to be called by two threads at once."""
        self.panel.restore(carried.snapshot or self._fresh)
        outputs = self.panel.advance(closed.bars.values[:, :, None])[:, :, 0]
        return self.follow(carried, closed, outputs, self.panel.snapshot())

    def follow(
        self, carried: Carried, closed: Closed, outputs: Floats, snapshot: bytes = b""
    ) -> tuple[Carried, Advanced]:
        """The same, where a panel has given ``outputs`` (outputs, n) already and keeps its own state."""
        bars, count = closed.bars, len(closed.bars)
        inside = np.concatenate([carried.inside, np.stack([closed.first_position, bars.flags])], axis=1)
        first, flags = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        _reach(inside, self.window, first, flags)
        number = carried.seen + 1 + np.arange(count)
        flags |= (number <= self.warming) * WARMING | (number <= self.settling) * NOT_SETTLED
        end = bars.start + bars.timeframe
        new = np.stack([end, bars.position, first, bars.input_position, flags])
        everything = Advanced(np.concatenate([carried.bars, new], axis=1), carried.outputs, outputs)
        kept = Carried(
            snapshot=snapshot,
            seen=carried.seen + count,
            inside=inside[:, count:].copy(),
            bars=everything.bars[:, count:].copy(),
            outputs=everything.last(self.keep),
        )
        return kept, everything

    def advance_marked(self, carried: Carried, closed: Closed) -> tuple[Carried, Advanced, Carried | None]:
        """As ``advance``; and the slot as it was after a whole number of ``MARK`` bars, the last among these.

        Where the bars are cut does not show in it, and what came after can be made anew from it.
        """
        count = len(closed.bars)
        reach = (carried.seen + count) // MARK * MARK - carried.seen
        if reach <= 0:
            return *self.advance(carried, closed), None
        marked, one = self.advance(carried, closed.take(slice(reach)))
        if reach == count:
            return marked, one, marked
        after, two = self.advance(marked, closed.take(slice(reach, None)))
        bars = np.concatenate([one.bars, two.bars[:, self.keep :]], axis=1)
        new = np.concatenate([one.new, two.new], axis=1)
        return after, Advanced(bars, one.carried, new), marked


def _window(spec: Spec) -> int:
    """Bars that the windows of ``spec`` hold, the present one included."""
    return max(spec.known.window(spec.params), *spec.known.lookbacks(spec.params), 0) + 1


def _settling(spec: Spec) -> int:
    """Bars until the start has been forgotten; what never forgets it is not waited for."""
    return spec.known.forgets(spec.params) or 0


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """R rows of one set, instrument and timeframe, oldest first. ``values``: (R, features)."""

    instrument: str
    timeframe: int
    start: Int64s
    values: Floats
    known_time: Int64s
    position: Int64s
    first_position: Int64s
    input_position: Int64s
    flags: Int64s

    def __len__(self) -> int:
        return len(self.start)


Slots = Mapping[int, Carried]  # by timeframe


class SetPlan:
    """One version of a set, ready to make rows. Holds room to work in: one thread at a time."""

    def __init__(self, defined: SetDefined) -> None:
        self.defined = defined
        self.slots = {timeframe: SlotPlan(looking) for timeframe, looking in _looking(defined).items()}
        self._columns = {t: [self._column(f, t) for f in defined.features] for t in defined.timeframes}
        # By feature the output of its own rows; another one's features are put over the first one.
        self._outputs = {
            t: np.array([output if source == t else 0 for source, output, _ in columns], dtype=np.int64)
            for t, columns in self._columns.items()
        }

    def _column(self, feature: Feature, timeframe: int) -> tuple[int, int, int]:
        """Timeframe, output and lag of a feature in rows of ``timeframe``."""
        source = feature.timeframe or timeframe
        return source, self.slots[source].column(feature), feature.lag

    def columns_of(self, timeframe: int) -> Sequence[tuple[int, int, int]]:
        """For each feature in rows of ``timeframe``: of which timeframe it is, which output, which lag."""
        return self._columns[timeframe]

    def advance(
        self,
        slots: Slots,
        closed: Mapping[int, Closed],
        outputs: Mapping[int, Floats] | None = None,
        marks: dict[int, Carried] | None = None,
    ) -> tuple[Slots, list[FeatureRows]]:
        """The slots of one instrument after ``closed`` (whole events), and the rows that they make.

        ``outputs``: of the panels, by timeframe, where they run elsewhere; else those of the slots do, and
        ``marks`` takes what is worth writing down.
        """
        after, advanced = dict(slots), dict[int, Advanced]()
        for timeframe, slot in self.slots.items():
            carried = slots.get(timeframe) or slot.nothing
            if timeframe not in closed:
                advanced[timeframe] = Advanced(carried.bars, carried.outputs, carried.outputs[:, :0])
            elif outputs is not None:
                after[timeframe], advanced[timeframe] = slot.follow(
                    carried, closed[timeframe], outputs[timeframe]
                )
            else:
                after[timeframe], advanced[timeframe], marked = slot.advance_marked(
                    carried, closed[timeframe]
                )
                if marks is not None and marked is not None:
                    marks[timeframe] = marked
        rows = [self._rows(t, closed[t], advanced) for t in self.defined.timeframes if t in closed]
        return after, rows

    def _rows(self, timeframe: int, closed: Closed, advanced: Mapping[int, Advanced]) -> FeatureRows:
        own, bars = advanced[timeframe], closed.bars
        keep, count = self.slots[timeframe].keep, len(closed.bars)
        new = own.bars[:, keep:]
        first, inputs, flags = new[FIRST].copy(), new[INPUT].copy(), new[FLAGS].copy()
        at: dict[int, Int64s] = {}
        for source in sorted({column[0] for column in self._columns[timeframe]} - {timeframe}):
            at[source], usable = _latest(advanced[source].bars, new[END], new[POSITION])
            seen = advanced[source].bars[:, at[source]]
            first = np.where(usable, np.minimum(first, seen[FIRST]), first)
            inputs = np.where(usable, np.maximum(inputs, seen[INPUT]), inputs)
            flags |= np.where(usable, seen[FLAGS], OUT_OF_ORDER | WARMING)
            at[source] = np.where(usable, at[source], -1)
        # The outputs of a panel lie one after the other, and so do the features that are read from them.
        if len(own.new):
            columns = np.take(own.new, self._outputs[timeframe], axis=0)
        else:  # all features are of other timeframes
            columns = np.empty((len(self.defined.features), count))
        for i, (source, output, lag) in enumerate(self._columns[timeframe]):
            if source != timeframe:
                outputs = advanced[source].outputs[output]
                columns[i] = np.where(at[source] < 0, np.nan, outputs[at[source] - lag])
            elif lag:
                columns[i] = own.outputs[output, keep - lag : keep - lag + count]
        return FeatureRows(
            instrument=bars.instrument,
            timeframe=timeframe,
            start=bars.start,
            values=columns.T,
            known_time=bars.known_time,
            position=bars.position,
            first_position=first,
            input_position=inputs,
            flags=flags,
        )


def _looking(defined: SetDefined) -> Mapping[int, list[Feature]]:
    """The features that look at bars of each timeframe."""
    found: dict[int, list[Feature]] = {}
    for feature in defined.features:
        for timeframe in (feature.timeframe,) if feature.timeframe else defined.timeframes:
            found.setdefault(timeframe, []).append(feature)
    # Rows need the bars of their timeframe also where no feature does.
    for timeframe in defined.timeframes:
        found.setdefault(timeframe, [])
    return dict(sorted(found.items()))


def _latest(bars: Int64s, ends: Int64s, positions: Int64s) -> tuple[Int64s, NDArray[np.bool_]]:
    """For each row the last of ``bars`` that has ended and is known by then.

    Where an earlier event brought bars that end after the row, its past is not at hand any more: then
    there is none. Any cutting into batches finds the same.
    """
    by_end = np.searchsorted(bars[END], ends, side="right")
    by_position = np.searchsorted(bars[POSITION], positions, side="right")
    before = np.searchsorted(bars[POSITION], positions, side="left")
    usable = bars[END, before - 1] <= ends
    return np.maximum(np.minimum(by_end, by_position) - 1, 0), usable


@piece
def _reach(inside: Int64s, window: int, first: Int64s, flags: Int64s) -> None:
    """For each bar the least first position and all flags of the last ``window`` bars.

    Blocks of ``window`` bars, each gathered from its end to its start: a window is the tail of one block and
    the head of the next, whatever its length (van Herk 1992, Gil and Werman 1993).
    """
    count, total = first.shape[0], inside.shape[1]
    least, union = inside[0].copy(), inside[1].copy()
    for i in range(total - 2, -1, -1):
        if (i + 1) % window:
            least[i] = min(least[i], least[i + 1])
            union[i] |= union[i + 1]
    head_least, head_union = inside[0, 0], inside[1, 0]
    for j in range(total):
        if j % window == 0:
            head_least, head_union = inside[0, j], inside[1, j]
        else:
            head_least = min(head_least, inside[0, j])
            head_union |= inside[1, j]
        i = j - window + 1
        if i >= 0 and i < count:
            first[i], flags[i] = min(least[i], head_least), union[i] | head_union
