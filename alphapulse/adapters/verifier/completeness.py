"""Whether a bundle holds what was asked for, as far as that can be shown.

What the filter of the manifest says is the word of whoever made the bundle. By it alone can be told that
leaves are missing in a range, versions in a stream, and signals of a strategy. Nobody can tell from a bundle
whether an event that is not in it had a certain actor, name or time.
"""

from __future__ import annotations

from typing import Any, Mapping

from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event
from alphapulse.adapters.verifier.manifest import Manifest

_ISSUED_NAMES, _SIGNAL_STREAMS = "signal.issued.", "signals-"
_CHOICES = {"as_of", "withhold_open"}  # of a checkpoint, of what is shown: they select no events
_MAX_STRATEGIES = 100_000


class Completeness:
    """Watches the lines of a bundle go by."""

    def __init__(self, manifest: Manifest, found: Findings) -> None:
        self._manifest, self._found = manifest, found
        self._asked = manifest.asked
        asked = set(self._asked) - _CHOICES
        self._wants_all = not asked and manifest.kind == "export"
        self._leaves = _span(self._asked.get("leaves")) if asked == {"leaves"} else None
        self._positions = _span(self._asked.get("positions")) if asked == {"positions"} else None
        self._versions: dict[str, int] = {}
        if asked <= {"streams", "positions", "leaves"}:
            self._versions = dict.fromkeys(_texts(self._asked.get("streams")), 0)
        self._from_the_first = asked == {"streams"}
        self._wants_signals = asked == {"strategy"}
        self._last_position = 0
        self._gap: tuple[int, int] | None = None  # before the next event, if it counts by positions
        self._has_gaps = False
        self.signals: dict[str, int] = {}  # of each strategy, among the events here

    def event(self, event: Event) -> None:
        if self._gap is not None:
            self._settle(event.position)
        self._last_position = event.position
        if event.stream in self._versions:
            self._follow(event)
        if event.name.startswith(_ISSUED_NAMES) and event.stream.startswith(_SIGNAL_STREAMS):
            strategy = event.stream[len(_SIGNAL_STREAMS) :]
            if strategy in self.signals or len(self.signals) < _MAX_STRATEGIES:
                self.signals[strategy] = self.signals.get(strategy, 0) + 1
        if self._asked and not _fits(event, self._asked):
            self._found.fault(
                "it is not what was asked for, by the filter in the manifest", event.leaf, "filter"
            )

    def gap(self, lo: int, hi: int) -> None:
        self._has_gaps = True
        if self._wants_all:
            self._missing(lo, hi)
        elif self._leaves is not None:
            first, last = self._leaves
            lo, hi = max(lo, first or 0), hi if last is None else min(hi, last)
            if lo < hi:
                self._missing(lo, hi)
        elif self._positions is not None:
            self._gap = (self._gap[0] if self._gap else lo, hi)

    def end(self, counts: Mapping[str, int] | None) -> None:
        """``counts`` is what the checkpoint commits to; None where that could not be read."""
        if self._gap is not None:
            self._settle(self._manifest.position + 1)
        if counts is None:
            return
        for strategy, here in sorted(self.signals.items()):
            if here > counts.get(strategy, 0):
                self._found.fault(
                    f"{here} signals of {strategy} are here, the checkpoint counts {counts.get(strategy, 0)}",
                    None,
                    "signals.txt",
                )
        for strategy in sorted(counts if not self._has_gaps else self._strategies_asked()):
            here, committed = self.signals.get(strategy, 0), counts.get(strategy, 0)
            if here < committed and not self._has_gaps:
                self._found.fault(
                    f"all leaves are here with {here} signals of {strategy}, the checkpoint says {committed}",
                    None,
                    "signals.txt",
                )
            elif here < committed:
                self._found.miss(f"{committed - here} of {committed} signals of {strategy}")

    def _strategies_asked(self) -> list[str]:
        if self._wants_signals:
            return _texts([self._asked.get("strategy")])
        streams = _texts(self._asked.get("streams")) if self._from_the_first else []
        return [s[len(_SIGNAL_STREAMS) :] for s in streams if s.startswith(_SIGNAL_STREAMS)]

    def _follow(self, event: Event) -> None:
        last = self._versions[event.stream]
        if event.version != last + 1 and (last or self._from_the_first):
            versions = (
                f"version {last + 1}"
                if event.version == last + 2
                else f"versions {last + 1} to {event.version - 1}"
            )
            self._found.miss(f"{versions} of {event.stream}", event.leaf)
        self._versions[event.stream] = event.version

    def _settle(self, position: int) -> None:
        """A gap between two positions that were both asked for lacks what was asked for."""
        assert self._positions is not None
        first, last = self._positions
        if self._last_position + 1 >= (first or 1) and (last is None or position <= last + 1):
            self._missing(*(self._gap or (0, 0)))
        self._gap = None

    def _missing(self, lo: int, hi: int) -> None:
        self._found.miss(f"leaf {lo}" if hi == lo + 1 else f"leaves {lo} to {hi - 1}", lo)


def _fits(event: Event, asked: Mapping[str, Any]) -> bool:
    """Whether the columns of ``event`` are as the filter says, in what can be told of one event."""
    return (
        (not asked.get("streams") or event.stream in asked["streams"])
        and (not asked.get("names") or event.name in asked["names"])
        and (not asked.get("actors") or event.actor in asked["actors"])
        and _within(asked.get("positions"), event.position, 1)
        and _within(asked.get("leaves"), event.leaf, 0)
        and _within(asked.get("recorded"), event.recorded_at, 0)
        and _within(asked.get("event_time"), event.event_time, 0)
    )


def _within(span: Any, value: int | None, last_counts: int) -> bool:
    if span is None:
        return True
    lo, hi = _span(span)
    return value is not None and (lo is None or lo <= value) and (hi is None or value < hi + last_counts)


def _span(span: Any) -> tuple[int | None, int | None]:
    """From and to; times of events are digits. A filter that says nothing sensible limits nothing."""
    if type(span) is not list or len(span) != 2:
        return None, None
    lo, hi = (
        int(v) if type(v) is int or (type(v) is str and v.lstrip("-").isdecimal()) else None for v in span
    )
    return lo, hi


def _texts(found: Any) -> list[str]:
    return [text for text in found if type(text) is str] if type(found) is list else []
