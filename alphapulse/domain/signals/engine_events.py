"""What an engine puts out: its kind, place and numbers at once, its event when somebody asks for it.

Most candidates are refused, and who replays years of them wants numbers: an event with its words costs a
hundred times as much as the decision did. So ``Engine.advance`` and ``Desk.take`` give ``Outputs``, a
sequence of ``Output``. Of each, ``kind``, ``position``, ``instrument`` and ``ordinal`` cost nothing, and
``event`` is made on first access, the same as if it had been made at once. For thousands together
``Outputs.kinds``, ``positions`` and ``ordinals`` are arrays; engine_columns.py gives what was decided and
what became of it as columns, and engine_digest.py a digest of every number. None of them makes an event.

An output holds copies of what its event is made of, some 2 kB a decision: who keeps outputs for longer than
it takes to look at them keeps the columns instead.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Protocol, overload

import msgspec
import numpy as np

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.decision import decisions as d
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals.signal import OutcomeRecorded

# Kinds of outputs: those of the kernel's notes, and one more.
OUTCOME, ADAPTED, DECISION, EXIT, FITTED = k.OUTCOME, k.ADAPTED, k.DECISION, k.EXIT, 4


class ExitSuggested(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate on the other side of one that passed the gate and is still open: once for each."""

    decision: str  # that is open
    against: str  # the decision that speaks against it
    instrument: str
    time: int
    price: float
    consensus: float
    reasons: tuple[str, ...]


Event = d.DecisionMade | d.ParametersAdapted | d.CalibrationFitted | OutcomeRecorded | ExitSuggested

_KINDS: dict[type, int] = {
    OutcomeRecorded: OUTCOME,
    d.ParametersAdapted: ADAPTED,
    d.DecisionMade: DECISION,
    ExitSuggested: EXIT,
    d.CalibrationFitted: FITTED,
}


class Block(Protocol):
    """Outputs of one instrument that came together. ``kinds``, ``positions``, ``ordinals``: (n,)."""

    @property
    def instrument(self) -> str: ...

    @property
    def kinds(self) -> Int64s: ...

    @property
    def positions(self) -> Int64s: ...

    @property
    def ordinals(self) -> Int64s: ...

    def event(self, at: int) -> Event: ...

    def decision(self, at: int) -> str:
        """The id of the decision that it is or that it closes; empty for other kinds."""
        ...


class Told:
    """A block of one event that was there before its output."""

    def __init__(self, position: int, instrument: str, ordinal: int, event: Event) -> None:
        self.instrument, self._event = instrument, event
        self.kinds, self.positions, self.ordinals = (
            np.array([number], dtype=np.int64) for number in (_KINDS.get(type(event), -1), position, ordinal)
        )

    def event(self, at: int) -> Event:
        assert at == 0, at
        return self._event

    def decision(self, at: int) -> str:
        return _decision_of(self.event(at))


class Output:
    """What follows from the log at ``position``.

    ``ordinal`` counts from 1 in the stream of the event: that of the decisions on ``instrument``, or (for
    CalibrationFitted, where ``instrument`` is empty) that of the calibrations. An ExitSuggested is in
    neither: it has the ordinal of the decision that it comes from. ``kind`` is one of the above.
    """

    __slots__ = ("_event", "_source", "instrument", "kind", "ordinal", "position")

    def __init__(
        self,
        position: int,
        instrument: str,
        ordinal: int,
        event: Event | None = None,
        *,
        kind: int = -1,
        source: tuple[Block, int] | None = None,
    ) -> None:
        """With its ``event``; or, of ``kind``, with a block and the place there that its event is made of."""
        self.position, self.instrument, self.ordinal = position, instrument, ordinal
        self.kind = kind if event is None else _KINDS.get(type(event), -1)
        self._event, self._source = event, source

    @property
    def event(self) -> Event:
        if self._event is None:
            assert self._source is not None
            block, at = self._source
            self._event = block.event(at)
        return self._event

    @property
    def decision(self) -> str:
        """The id of the decision that it is or that it closes; empty for other kinds. Makes no event."""
        if self._source is not None:
            block, at = self._source
            return block.decision(at)
        return _decision_of(self.event)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Output):
            return NotImplemented
        mine = self.position, self.instrument, self.ordinal, self.kind
        return (
            mine == (other.position, other.instrument, other.ordinal, other.kind)
            and self.event == other.event
        )

    def __hash__(self) -> int:
        return hash((self.position, self.instrument, self.ordinal))

    def __repr__(self) -> str:
        return f"Output({self.position}, {self.instrument!r}, {self.ordinal}, {self.event!r})"


class Outputs(Sequence[Output]):
    """Outputs in their order: the ``at``-th of block number ``which`` each, with its ordinal."""

    def __init__(self, blocks: Sequence[Block], which: Int64s, at: Int64s, ordinals: Int64s) -> None:
        self.blocks, self.which, self.at, self.ordinals = blocks, which, at, ordinals

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> "Outputs":
        """All of ``blocks``."""
        counts = np.array([len(block.kinds) for block in blocks], dtype=np.int64)
        which = np.repeat(np.arange(len(blocks)), counts)
        at = np.arange(len(which)) - (np.cumsum(counts) - counts)[which]
        return cls(blocks, which, at, _joined(block.ordinals for block in blocks))

    @cached_property
    def kinds(self) -> Int64s:
        """(n,) codes of what each is."""
        return self._each(block.kinds for block in self.blocks)

    @cached_property
    def positions(self) -> Int64s:
        """(n,) of the events that each follows from."""
        return self._each(block.positions for block in self.blocks)

    def _each(self, columns: Iterable[Int64s]) -> Int64s:
        counts = np.array([len(block.kinds) for block in self.blocks], dtype=np.int64)
        return np.asarray(_joined(columns)[(np.cumsum(counts) - counts)[self.which] + self.at])

    def take(self, rows: "Int64s | slice", ordinals: Int64s | None = None) -> "Outputs":
        """Those at ``rows``, with other ``ordinals`` where there are any."""
        its = self.ordinals[rows] if ordinals is None else ordinals
        return Outputs(self.blocks, self.which[rows], self.at[rows], its)

    def told(self) -> "Outputs":
        """The same, with all events made: blocks keep those that were."""
        for which, at in zip(self.which.tolist(), self.at.tolist(), strict=True):
            self.blocks[which].event(at)
        return self

    def __len__(self) -> int:
        return len(self.which)

    @overload
    def __getitem__(self, place: int) -> Output: ...

    @overload
    def __getitem__(self, place: slice) -> "Outputs": ...

    def __getitem__(self, place: int | slice) -> "Output | Outputs":
        if isinstance(place, slice):
            return self.take(place)
        block = self.blocks[self.which[place]]
        return Output(
            int(self.positions[place]),
            block.instrument,
            int(self.ordinals[place]),
            kind=int(self.kinds[place]),
            source=(block, int(self.at[place])),
        )

    def __iter__(self) -> Iterator[Output]:
        columns = (self.which, self.at, self.kinds, self.positions, self.ordinals)
        for which, at, kind, position, ordinal in zip(*(c.tolist() for c in columns), strict=True):
            block = self.blocks[which]
            yield Output(position, block.instrument, ordinal, kind=kind, source=(block, at))

    def __add__(self, other: "Outputs") -> "Outputs":
        return Outputs(
            [*self.blocks, *other.blocks],
            np.concatenate([self.which, other.which + len(self.blocks)]),
            np.concatenate([self.at, other.at]),
            np.concatenate([self.ordinals, other.ordinals]),
        )


def _joined(columns: Iterable[Int64s]) -> Int64s:
    return np.concatenate([np.empty(0, dtype=np.int64), *columns])


def _decision_of(event: Event) -> str:
    return event.decision if isinstance(event, d.DecisionMade | OutcomeRecorded) else ""


NO_OUTPUTS = Outputs.of(())
