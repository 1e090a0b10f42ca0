"""What the kernel noted down of one market: copies that are kept after it has gone on.

Nothing is said here; the clerk makes events of it when they are asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals.engine_said import Said

if TYPE_CHECKING:
    from alphapulse.domain.signals.engine_clerk import Clerk
    from alphapulse.domain.signals.engine_events import Event


class Table(NamedTuple):
    """The calibration that claims followed: its number (0: none), what is asked, when the next is due."""

    number: int
    asks_base: bool
    due_at: int
    x: Floats
    p: Floats

    @classmethod
    def of(cls, part: k.Part) -> Self:
        counters = part.counters
        return cls(
            number=int(counters[k.CALIBRATION]),
            asks_base=bool(counters[k.ASKS_BASE]),
            due_at=int(counters[k.DUE_AT]),
            x=part.table_x.copy(),
            p=part.table_p.copy(),
        )


class Rows(NamedTuple):
    """Rows of steps: as the kernel took them, and their lineage (first and input position, flags)."""

    whole: Int64s
    floats: Floats
    lineage: Int64s

    def take(self, rows: Int64s) -> "Rows":
        return Rows(self.whole[rows], self.floats[rows], self.lineage[rows])


@dataclass(eq=False)
class Noted:
    """A Block of outputs. ``decided`` and ``adapted`` are the rows of notes of these kinds."""

    clerk: "Clerk"
    instrument: str
    ordinals: Int64s
    notes: k.Notes
    decided: Rows
    adapted: Rows
    table: Table
    said: Mapping[int, Said]  # by slot

    @classmethod
    def of(
        cls,
        clerk: "Clerk",
        instrument: str,
        ordinal: int,
        notes: k.Notes,
        rows: Rows,
        table: Table,
        said: Mapping[int, Said],
    ) -> "Noted":
        """A copy of ``notes``, of which the last before had ``ordinal``. ``rows``: those of the steps."""
        kept = _copied(notes)
        return cls(
            clerk=clerk,
            instrument=instrument,
            ordinals=ordinal + np.cumsum(kept.order[:, 0] != k.EXIT),
            notes=kept,
            decided=rows.take(kept.decision_i[:, k.ROW]),
            adapted=rows.take(kept.adapted[:, 0]),
            table=table,
            said=said,
        )

    @property
    def kinds(self) -> Int64s:
        return self.notes.order[:, 0]

    @property
    def positions(self) -> Int64s:
        return self.notes.order[:, 2]

    def event(self, at: int) -> "Event":
        if at not in self._events:
            kind, n, _ = self.notes.order[at].tolist()
            self._events[at] = self.clerk.event(self, kind, n)
        return self._events[at]

    @cached_property
    def _events(self) -> "dict[int, Event]":
        return {}

    def decision(self, at: int) -> str:
        kind, n, _ = self.notes.order[at].tolist()
        if kind == k.DECISION:
            row = self.decided.whole[n]
            return self.clerk.decision_id(self.instrument, int(row[k.SLOT]), int(row[k.START]))
        if kind == k.OUTCOME:
            own = self.notes.outcome_mine_i[n]
            return self.clerk.decision_id(self.instrument, int(own[k.ITS_SLOT]), int(own[k.ITS_START]))
        return ""


def _copied(notes: k.Notes) -> k.Notes:
    """Only what was written."""
    outcomes, adapted, decisions, exits, everything = notes.counts.tolist()
    return k.Notes(
        order=notes.order[:everything].copy(),
        counts=notes.counts.copy(),
        outcome_f=notes.outcome_f[:outcomes].copy(),
        outcome_i=notes.outcome_i[:outcomes].copy(),
        outcome_mine_f=notes.outcome_mine_f[:outcomes].copy(),
        outcome_mine_i=notes.outcome_mine_i[:outcomes].copy(),
        adapted=notes.adapted[:adapted].copy(),
        decision_i=notes.decision_i[:decisions].copy(),
        decision_f=notes.decision_f[:decisions].copy(),
        of_voters=notes.of_voters[:decisions].copy(),
        proposed=notes.proposed[:decisions].copy(),
        horizons=notes.horizons[:decisions].copy(),
        exits=notes.exits[:exits].copy(),
    )
