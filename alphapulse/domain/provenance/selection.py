"""What an export is asked for: every condition that is given must hold.

Positions are from first to last, both included; leaves from ``lo`` to ``hi``, that one not included, as in
the lines of gaps. Times recorded are µs since 1970 UTC by the store's clock, times of events ns by the
venue's, from the first included to the second not included; None leaves that side open.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.leaf import microseconds

Span = tuple[int | None, int | None]


class AsOf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last checkpoint that holds nothing after this; at most one is given, neither is now."""

    position: int | None = None
    recorded: int | None = None  # µs since 1970 UTC


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing given selects the whole log."""

    positions: Span | None = None
    leaves: Span | None = None
    streams: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    signal: str | None = None  # <strategy>/<number> or the id of a decision
    strategy: str | None = None
    recorded: Span | None = None
    event_time: Span | None = None
    as_of: AsOf | None = None
    withhold_open: bool = False

    def admits(self, record: StoredRecord) -> bool:
        """Whether the columns of ``record`` fit; of its leaf, its signal and its strategy this says nothing."""
        envelope = record.envelope
        return (
            (not self.streams or record.stream in self.streams)
            and (not self.names or record.name in self.names)
            and (not self.actors or envelope.actor in self.actors)
            and (self.positions is None or _from_to(self.positions, record.position))
            and (self.recorded is None or _within(self.recorded, microseconds(record.recorded_at)))
            and (self.event_time is None or _within(self.event_time, envelope.event_time))
        )

    def told(self) -> Mapping[str, Any]:
        """As the manifest says it: only what was given, times of events as digits."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        if self.event_time is not None:
            found["event_time"] = [None if t is None else str(t) for t in self.event_time]
        return found


def _from_to(span: Span, value: int) -> bool:
    first, last = span
    return (first is None or first <= value) and (last is None or value <= last)


def _within(span: Span, value: int | None) -> bool:
    lo, hi = span
    return value is not None and (lo is None or lo <= value) and (hi is None or value < hi)


def positions_of(asked: Selection, last: int) -> tuple[int, int]:
    """What to read of a log that is sealed up to position ``last``: after the first, up to the second."""
    first, until = asked.positions or (None, None)
    return max((first or 1) - 1, 0), last if until is None else min(until, last)


def columns_asked(asked: Selection) -> Sequence[str]:
    """The conditions that were given, by name."""
    return sorted(asked.told())
