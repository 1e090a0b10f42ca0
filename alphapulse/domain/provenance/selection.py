"""What an export is asked for: every condition that is given must hold.

Positions are from the first to the last, both included; leaves from ``lo`` to ``hi``, that one not included,
as in the lines of gaps. Times recorded are µs since 1970 UTC by the store's clock, times of events ns by the
venue's, from the first, included, to the second, not included. None leaves a side open.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.leaf import microseconds

MAX_NAMED = 100  # streams, names or actors
MAX_TEXT = 1_000

Span = tuple[int | None, int | None]


class BadSelection(ValueError):
    """Nothing can be selected so; says which condition is wrong."""


class AsOf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last checkpoint that holds nothing after a position, or after what was recorded by a time."""

    position: int | None = None
    recorded: int | None = None


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing given selects the whole log."""

    positions: Span | None = None
    leaves: Span | None = None
    streams: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    signal: str | None = None  # <strategy>/<number>, or the id of a decision
    strategy: str | None = None
    recorded: Span | None = None
    event_time: Span | None = None
    as_of: AsOf | None = None
    withhold_open: bool = False

    def __post_init__(self) -> None:
        for name in ("positions", "leaves", "recorded", "event_time"):
            _check_span(name, getattr(self, name))
        for name in ("streams", "names", "actors"):
            found = getattr(self, name)
            if len(found) > MAX_NAMED or not all(0 < len(text) <= MAX_TEXT for text in found):
                raise BadSelection(f"{len(found)} {name}: at most {MAX_NAMED}, none of them empty")
        for name in ("signal", "strategy"):
            if (text := getattr(self, name)) is not None and not 0 < len(text) <= MAX_TEXT:
                raise BadSelection(f"a {name} of {len(text)} characters")
        if self.as_of and (self.as_of.position is None) == (self.as_of.recorded is None):
            raise BadSelection("as of is either a position or a recorded time")

    def admits(self, record: StoredRecord) -> bool:
        """Whether the columns of ``record`` fit; its leaf, signal and strategy are for others to look at."""
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
            found["event_time"] = [None if time is None else str(time) for time in self.event_time]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _from_to(span: Span, value: int) -> bool:
    first, last = span
    return (first is None or first <= value) and (last is None or value <= last)


def _within(span: Span, value: int | None) -> bool:
    lo, hi = span
    return value is not None and (lo is None or lo <= value) and (hi is None or value < hi)


def _check_span(name: str, span: Span | None) -> None:
    if span is None:
        return
    first, second = span
    if first is not None and second is not None and first > second:
        raise BadSelection(f"{name} from {first} to {second}: the other way round")
    if name in ("positions", "leaves") and any(bound is not None and bound < 0 for bound in span):
        raise BadSelection(f"{name} begin at {'1' if name == 'positions' else '0'}: {first} to {second}")
