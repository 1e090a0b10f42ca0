"""Features of many markets side by side: one step costs little more for fifty than for one.

Live markets go bar by bar, history many bars at once. A market alone goes through SetPlan; the rows are the
same, byte for byte: a market may be loaded and unloaded at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.closing import NEVER, Closed
from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.feature_rows import (
    END,
    FIRST,
    FLAGS,
    INPUT,
    INSIDE_FIRST,
    INSIDE_FLAGS,
    POSITION,
    Carried,
    FeatureRows,
    SetPlan,
    SlotPlan,
    Slots,
)
from alphapulse.domain.analysis.features import NOT_SETTLED, OUT_OF_ORDER, WARMING
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.panel import Panel

FIRST_ROOM = 8  # markets; it doubles
LAID = 128  # bars of each whose outputs are laid beside those of the bars before at once
CHUNK = 16  # bars of each that a panel works on at once: with more, what it works in leaves the cache


class Stack:
    """The bars of one timeframe of many markets under one SlotPlan.

    Of each it keeps one bar more than SlotPlan carries: a row may still ask for the one before the newest.
    """

    def __init__(self, slot: SlotPlan) -> None:
        self.slot = slot
        self.panel = Panel(slot.plan, FIRST_ROOM, chunk=CHUNK)
        self._empty = Panel(slot.plan, 1).snapshot()
        self.seen: Int64s = np.zeros(FIRST_ROOM, dtype=np.int64)
        self.inside: Int64s = np.zeros((FIRST_ROOM, 2, slot.window - 1), dtype=np.int64)
        self.bars: Int64s = np.zeros((FIRST_ROOM, 5, slot.keep + 1), dtype=np.int64)
        self.outputs: Floats = np.zeros((FIRST_ROOM, slot.plan.outputs, slot.keep + 1))

    def put(self, place: int, carried: Carried | None) -> None:
        while place >= len(self.seen):
            self._grow()
        known = carried or self.slot.nothing
        self.panel.restore(known.snapshot or self._empty, place)
        self.lay(place, known)

    def lay(self, place: int, known: Carried) -> None:
        """Put what is carried beside the panel."""
        self.seen[place] = known.seen
        self.inside[place] = known.inside
        self.bars[place, :, 0], self.bars[place, :, 1:] = NEVER, known.bars
        self.outputs[place, :, 0], self.outputs[place, :, 1:] = np.nan, known.outputs

    def get(self, place: int) -> Carried:
        return self._carried(place, self.panel.snapshot(place))

    def beside(self, place: int) -> Carried:
        """What is carried without the panel's own."""
        return self._carried(place, b"")

    def _carried(self, place: int, snapshot: bytes) -> Carried:
        return Carried(
            snapshot=snapshot,
            seen=int(self.seen[place]),
            inside=self.inside[place].copy(),
            bars=self.bars[place, :, 1:].copy(),
            outputs=self.outputs[place, :, 1:].copy(),
        )

    def _grow(self) -> None:
        self._renew(2 * len(self.seen))
        for name in ("seen", "inside", "bars", "outputs"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))

    def _renew(self, room: int) -> None:
        """A panel with ``room`` in which all stand at the same row again, so that they go side by side."""
        panel = Panel(self.slot.plan, room, chunk=CHUNK)
        panel.restore_all(self.panel.snapshot_all())
        self.panel = panel

    def run(self, places: Sequence[int], values: Sequence[Floats]) -> list[Floats]:
        """The panel's outputs (outputs, T) of bars ``values`` (inputs, T) of the markets at ``places``."""
        if not self.panel.is_even(places):
            self._renew(len(self.seen))
        together = min(v.shape[1] for v in values)
        found: list[Floats] = [np.empty(0)] * len(places)
        for run in _neighbours(places):
            first, side_by_side = (
                int(places[run[0]]),
                np.stack([values[n][:, :together] for n in run], axis=2),
            )
            room = np.empty((len(run), self.slot.plan.outputs, together))
            for begin in range(0, together, LAID):
                bars = side_by_side[:, begin : begin + LAID]
                _lay(self.panel.advance(bars, first, first + len(run)), room, begin)
            found[run.start : run.stop] = room
        for n, place in enumerate(places):
            if values[n].shape[1] > together:
                rest = self.panel.advance(values[n][:, together:, None], place, place + 1)[:, :, 0]
                found[n] = np.concatenate([found[n], rest], axis=1)
        return found

    def step(self, places: Int64s, closed: Sequence[Closed]) -> None:
        """One more bar each of the markets at ``places``, which ascend."""
        values = np.concatenate([c.bars.values for c in closed], axis=1)
        new = np.array(
            [
                (
                    c.bars.values[0, 0] + c.bars.timeframe,
                    c.bars.position[0],
                    c.first_position[0],
                    c.bars.input_position[0],
                    c.bars.flags[0],
                )
                for c in closed
            ],
            dtype=np.int64,
        )
        inside = np.concatenate([self.inside[places], new[:, [FIRST, FLAGS], None]], axis=2)
        self.inside[places] = inside[:, :, 1:]
        self.seen[places] += 1
        new[:, FIRST] = inside[:, INSIDE_FIRST].min(axis=1)
        new[:, FLAGS] = np.bitwise_or.reduce(inside[:, INSIDE_FLAGS], axis=1)
        new[:, FLAGS] |= (self.seen[places] <= self.slot.warming) * WARMING
        new[:, FLAGS] |= (self.seen[places] <= self.slot.settling) * NOT_SETTLED
        outputs = self._panel_outputs(places, values)
        self.bars[places] = np.concatenate([self.bars[places][:, :, 1:], new[:, :, None]], axis=2)
        self.outputs[places] = np.concatenate([self.outputs[places][:, :, 1:], outputs[:, :, None]], axis=2)

    def _panel_outputs(self, places: Int64s, values: Floats) -> Floats:
        """(M, outputs)"""
        found = np.empty((len(places), self.slot.plan.outputs))
        for run in _neighbours(places):
            a, b, lo = run.start, run.stop, int(places[run.start])
            found[a:b] = self.panel.advance(values[:, None, a:b], lo, lo + b - a)[:, 0].T
        return found


@piece
def _lay(outputs: Floats, room: Floats, begin: int) -> None:
    """``room[m, o, begin + t] = outputs[o, t, m]``, by eight bars: a line of the cache of each market."""
    for o in range(outputs.shape[0]):
        for first in range(0, outputs.shape[1], 8):
            last = min(first + 8, outputs.shape[1])
            for m in range(room.shape[0]):
                for t in range(first, last):
                    room[m, o, begin + t] = outputs[o, t, m]


@dataclass(slots=True, eq=False)
class Deck:
    """One set of features on rows of one timeframe, of all markets that were loaded."""

    plan: SetPlan
    timeframe: int
    stacks: dict[int, Stack] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)

    def load(self, instrument: str, slots: Slots) -> None:
        """Take over what is carried of a market."""
        if not self.stacks:
            self.stacks = {timeframe: Stack(slot) for timeframe, slot in self.plan.slots.items()}
        place = self.free.pop() if self.free else len(self.places)
        self.places[instrument] = place
        for timeframe, stack in self.stacks.items():
            stack.put(place, slots.get(timeframe))

    def carried(self, instrument: str) -> dict[int, Carried]:
        """What is carried of a market that was loaded."""
        place = self.places[instrument]
        return {timeframe: stack.get(place) for timeframe, stack in self.stacks.items()}

    def unload(self, instrument: str) -> dict[int, Carried]:
        """Give it back."""
        slots = self.carried(instrument)
        self.free.append(self.places.pop(instrument))
        return slots

    def run(self, closed: Mapping[str, Mapping[int, Closed]]) -> dict[str, list[FeatureRows]]:
        """The rows of markets, all loaded, of which any number of bars has closed."""
        order = sorted(closed, key=self.places.__getitem__)
        outputs: dict[str, dict[int, Floats]] = {instrument: {} for instrument in order}
        for timeframe, stack in self.stacks.items():
            its = [i for i in order if timeframe in closed[i]]
            if its:
                values = [closed[i][timeframe].bars.values for i in its]
                found = stack.run([self.places[i] for i in its], values)
                for instrument, mine in zip(its, found, strict=True):
                    outputs[instrument][timeframe] = mine
        return {
            instrument: self._follow(instrument, closed[instrument], outputs[instrument])
            for instrument in order
        }

    def _follow(
        self, instrument: str, closed: Mapping[int, Closed], outputs: Mapping[int, Floats]
    ) -> list[FeatureRows]:
        place = self.places[instrument]
        before = {timeframe: stack.beside(place) for timeframe, stack in self.stacks.items()}
        slots, made = self.plan.advance(before, closed, outputs)
        for timeframe in outputs:
            self.stacks[timeframe].lay(place, slots[timeframe])
        return made

    def step(self, closed: Mapping[str, Mapping[int, Closed]]) -> dict[str, FeatureRows]:
        """The rows of markets, all loaded, of which at most one bar in each timeframe has closed."""
        order = sorted(closed, key=self.places.__getitem__)
        for timeframe, stack in self.stacks.items():
            its = [i for i in order if timeframe in closed[i]]
            if its:
                places = np.array([self.places[i] for i in its], dtype=np.int64)
                stack.step(places, [closed[i][timeframe] for i in its])
        having = [i for i in order if self.timeframe in closed[i]]
        if not having:
            return {}
        return self._rows(having, [closed[i][self.timeframe] for i in having])

    def _rows(self, instruments: Sequence[str], closed: Sequence[Closed]) -> dict[str, FeatureRows]:
        places = np.array([self.places[i] for i in instruments], dtype=np.int64)
        own = self.stacks[self.timeframe]
        new = own.bars[places, :, -1]
        first, inputs, flags = new[:, FIRST].copy(), new[:, INPUT].copy(), new[:, FLAGS].copy()
        latest: dict[int, tuple[Int64s, NDArray[np.bool_]]] = {}
        for source, stack in self.stacks.items():
            if source != self.timeframe:
                at, usable = _latest(stack.bars[places], new)
                latest[source] = at, usable
                seen = stack.bars[places, :, at]
                first = np.where(usable, np.minimum(first, seen[:, FIRST]), first)
                inputs = np.where(usable, np.maximum(inputs, seen[:, INPUT]), inputs)
                flags |= np.where(usable, seen[:, FLAGS], OUT_OF_ORDER | WARMING)
        values = np.empty((len(places), len(self.plan.defined.features)))
        for i, (source, output, lag) in enumerate(self.plan.columns_of(self.timeframe)):
            outputs = self.stacks[source].outputs
            if source == self.timeframe:
                values[:, i] = outputs[places, output, -1 - lag]
            else:
                at, usable = latest[source]
                values[:, i] = np.where(usable, outputs[places, output, np.maximum(at - lag, 0)], np.nan)
        return {
            instrument: FeatureRows(
                instrument=instrument,
                timeframe=self.timeframe,
                start=its.bars.start,
                values=values[n : n + 1],
                known_time=its.bars.known_time,
                position=its.bars.position,
                first_position=first[n : n + 1],
                input_position=inputs[n : n + 1],
                flags=flags[n : n + 1],
            )
            for n, (instrument, its) in enumerate(zip(instruments, closed, strict=True))
        }


def _neighbours(places: "Sequence[int] | Int64s") -> list[range]:
    """Which of ``places``, which ascend, follow each other without a hole."""
    cuts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    return [range(a, b) for a, b in pairwise(cuts)]


def _latest(bars: Int64s, new: Int64s) -> tuple[Int64s, NDArray[np.bool_]]:
    """As feature_rows._latest for one row each: its place among the bars (M, 5, n), and whether one is.

    The rows are of later events than all bars but the newest, so that none but that one can be too late.
    """
    end, position = new[:, END, None], new[:, POSITION, None]
    by_end = (bars[:, END] <= end).sum(axis=1)
    by_position = (bars[:, POSITION] <= position).sum(axis=1)
    before = (bars[:, POSITION] < position).sum(axis=1)
    ends = np.where(before > 0, bars[np.arange(len(bars)), END, np.maximum(before - 1, 0)], NEVER)
    return np.maximum(np.minimum(by_end, by_position) - 1, 0), ends <= new[:, END]
