"""The record of a feature set's quality: when a check began to breach, and when it was good again.

Stream ``quality-{set}-v{version}``. Only changes are events, so looking again adds nothing. Looks carry
the position of the log that they saw: one that saw less than was recorded before changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from alphapulse.domain.analysis.quality import Finding
from alphapulse.domain.decider import Decider

Key = tuple[str, int, str, str]  # instrument, timeframe, feature (empty: the row), check


class _Judged(msgspec.Struct, frozen=True, kw_only=True):
    set_name: str
    set_version: int
    instrument: str  # venue:symbol
    timeframe: int  # minutes
    feature: str  # empty: about rows as such
    check: str  # psi, ks, missing, range, stale
    value: float
    threshold: float
    rows: int
    reference_rows: int
    detail: str
    clock: int  # ns, the venue's
    seen_position: int  # how far the log had been folded

    @property
    def key(self) -> Key:
        return self.instrument, self.timeframe, self.feature, self.check


class QualityBreached(_Judged, frozen=True, kw_only=True):
    """From now on this check is over its threshold."""


class QualityRecovered(_Judged, frozen=True, kw_only=True):
    """The check is good again."""


Event = QualityBreached | QualityRecovered


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All findings of one look at a set, with the log folded up to ``seen_position``."""

    set_name: str
    set_version: int
    seen_position: int
    clocks: Mapping[str, int]  # ns, of each instrument's venue
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Record:
    """What is in breach, and how much of the log the last event was based on."""

    open: frozenset[Key] = field(default_factory=frozenset)
    seen_position: int = 0


def stream_of(set_name: str, set_version: int) -> str:
    return f"quality-{set_name}-v{set_version}"


def decide(look: Look, record: Record) -> Sequence[Event]:
    """An event for each check whose verdict changed. What could not be judged changes nothing."""
    if look.seen_position < record.seen_position:
        return []
    events: list[Event] = []
    for finding in look.findings:
        was = finding.key in record.open
        if finding.breached is None or finding.breached == was:
            continue
        assert finding.value is not None, f"a verdict without a value: {finding}"
        kind = QualityBreached if finding.breached else QualityRecovered
        events.append(
            kind(
                set_name=look.set_name,
                set_version=look.set_version,
                instrument=finding.instrument,
                timeframe=finding.timeframe,
                feature=finding.feature,
                check=finding.check,
                value=finding.value,
                threshold=finding.threshold,
                rows=finding.rows,
                reference_rows=finding.reference_rows,
                detail=finding.detail,
                clock=look.clocks.get(finding.instrument, 0),
                seen_position=look.seen_position,
            )
        )
    return events


def evolve(record: Record, event: Event) -> Record:
    now = record.open | {event.key} if isinstance(event, QualityBreached) else record.open - {event.key}
    return Record(now, max(record.seen_position, event.seen_position))


quality_decider: Decider[Look, Record, Event] = Decider(Record(), decide, evolve)
