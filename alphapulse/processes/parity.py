"""Whether what is recorded follows from the log: a strategy's whole history derived again, and compared.

The log is replayed from its beginning through the same desk and book that recorded it, so that what had
been learnt is the same; events of a window (venue's clock) are compared with the recorded ones byte for byte.
Reads only. What follows from the end of the log may not be recorded yet: that is told, and is no difference.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from alphapulse.domain.decision.decisions import calibration_stream
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.ports import EventStore, NewEvent, StoredRecord
from alphapulse.domain.signals.entering import units
from alphapulse.processes.comparing import (
    Answers,
    Field,
    OwnBook,
    Pair,
    SharedBook,
    Shelf,
    fields_that_differ,
    same,
    writes_alone,
)
from alphapulse.processes.decide import replay, terms_of
from alphapulse.processes.deciding import Job
from alphapulse.processes.desks import jobs_of
from alphapulse.processes.scribe import Scribe

DAY_NS = 86_400_000_000_000
MAX_DIFFERENCES = 20  # told in full; all are counted
_PAGE = 500

KINDS = {
    "decision.made.v1": "decisions",
    "decision.parameters_adapted.v1": "adaptations",
    "calibration.fitted.v1": "calibrations",
    "outcome.recorded.v1": "outcomes",
    "signal.issued.v1": "signals issued",
    "signal.exit_recommended.v1": "exits recommended",
    "signal.closed.v1": "signals closed",
}
DIFFERS, MISSING, EXTRA = "differs", "missing in the log", "extra in the log"


class Counts(msgspec.Struct):
    """``waiting``: follows from the log, but the recorded streams end before it: not recorded yet."""

    identical: int = 0
    differing: int = 0
    missing: int = 0
    extra: int = 0
    waiting: int = 0

    @property
    def compared(self) -> int:
        return self.identical + self.differing


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """``position`` of the recorded event; where it is missing, of the market event that it follows from."""

    what: str
    kind: str
    stream: str
    version: int
    position: int
    fields: tuple[Field, ...] = ()


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """``first_time`` to ``last_time`` (ns, venue's clock, both included) was compared, up to ``position``."""

    strategy: str
    version: int
    first_time: int
    last_time: int
    position: int
    counts: dict[str, Counts]
    differences: tuple[Difference, ...]  # the first

    @property
    def differing(self) -> int:
        """How many events differ, are missing, or are one too many."""
        return sum(c.differing + c.missing + c.extra for c in self.counts.values())

    @property
    def is_identical(self) -> bool:
        return self.differing == 0


@dataclass(frozen=True, slots=True)
class Window:
    """Times in ns by the venue's clock, both included."""

    first: int
    last: int

    def has(self, time: int | None) -> bool:
        return time is not None and self.first <= time <= self.last


async def jobs_of_version(store: EventStore, name: str, version: int | None) -> Sequence[Job]:
    """The parts of a version; by default of the newest.

    Raises:
        UnknownStrategy: there is none.
    """
    jobs = [job for job in await jobs_of(store) if job.strategy.name == name]
    if not jobs:
        raise UnknownStrategy(f"no strategy {name!r} in the log")
    newest = max(job.strategy.version for job in jobs)
    found = [job for job in jobs if job.strategy.version == (version or newest)]
    if not found:
        raise UnknownStrategy(f"no strategy {name!r} version {version}: there are {newest} versions")
    return found


async def last_time(store: EventStore) -> int:
    """The newest time in the log by a venue's clock, ns; 0: it has no market events."""
    newest = 0
    for category in ("trades-", "bars-", "feed-"):
        for stream in await store.streams(category):
            for record in await store.read_stream(stream, after=await store.version(stream) - 1, limit=1):
                newest = max(newest, record.envelope.event_time or 0)
    return newest


async def parity(
    store: EventStore, jobs: Sequence[Job], window: Window, tell: Callable[[int], None], *, until: int
) -> Parity:
    """What a strategy version, of parts ``jobs``, recorded, beside what follows from the log up to ``until``.

    ``tell`` gets how many positions are behind us, all parts counted.

    Raises:
        CannotRun: this code cannot run the strategy.
    """
    strategy = jobs[0].strategy
    shelf, is_alone = Shelf(store), await writes_alone(store, strategy, until)
    report = _Report(window)
    for n, job in enumerate(jobs):
        await _compare(store, job, shelf, report, is_alone, until, _offset(tell, n * until))
    await _count_extra(store, strategy, report, is_alone, until)
    return Parity(
        strategy=strategy.name,
        version=strategy.version,
        first_time=window.first,
        last_time=window.last,
        position=until,
        counts={kind: report.counts[kind] for kind in KINDS.values()},
        differences=tuple(sorted(report.told, key=lambda each: (each.position, each.stream))),
    )


def _offset(tell: Callable[[int], None], behind: int) -> Callable[[int], None]:
    return lambda position: tell(behind + position)


async def _compare(
    store: EventStore,
    job: Job,
    shelf: Shelf,
    report: "_Report",
    is_alone: bool,
    until: int,
    tell: Callable[[int], None],
) -> None:
    """Hold one part of a strategy against the log."""
    part, scribe = _Part(report), Scribe(job.strategy, job.part)
    own = OwnBook(scribe, shelf, part.is_wanted) if is_alone else None
    shared = None if own else SharedBook(scribe, shelf, part.is_wanted)
    book: Answers = own or shared  # type: ignore[assignment]
    async for seat, outputs in replay(store, job, until):
        for unit in units(outputs):
            part.take(await book.answer(unit, terms_of(seat)), unit[0].position)
            report.ends.update({scribe.stream(output): output.ordinal for output in unit})
        tell(seat.desk.position)
    if own:
        report.ends[scribe.signals] = own.signals
    for record in shared.surplus if shared else ():
        report.surplus(record)
    part.close()


@dataclass
class _Report:
    """What has been found so far, of all parts."""

    window: Window
    counts: defaultdict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    told: list[Difference] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)  # the last version that was derived, by stream

    def compared(self, given: NewEvent, recorded: StoredRecord) -> None:
        counts = self.counts[KINDS[given.name]]
        if same(recorded, given):
            counts.identical += 1
            return
        counts.differing += 1
        if self._has_room:
            self._tell(DIFFERS, given, recorded.position, fields_that_differ(recorded, given))

    def missing(self, given: NewEvent, position: int) -> None:
        self.counts[KINDS[given.name]].missing += 1
        self._tell(MISSING, given, position)

    def surplus(self, record: StoredRecord) -> None:
        if record.name in KINDS and self.window.has(record.envelope.event_time):
            self.counts[KINDS[record.name]].extra += 1
            self._tell(EXTRA, record, record.position)

    @property
    def _has_room(self) -> bool:
        return len(self.told) < MAX_DIFFERENCES

    def _tell(self, what: str, event: NewEvent, position: int, fields: tuple[Field, ...] = ()) -> None:
        if self._has_room:
            told = Difference(
                what=what,
                kind=KINDS[event.name],
                stream=event.stream,
                version=event.version,
                position=position,
                fields=fields,
            )
            self.told.append(told)


@dataclass
class _Part:
    """One part's events in the order in which it records them: what follows a recorded one is no end."""

    report: _Report
    waiting: list[tuple[NewEvent, int]] = field(default_factory=list)  # with the position it follows from

    def is_wanted(self, event: NewEvent) -> bool:
        return self.report.window.has(event.envelope.event_time) or bool(self.waiting)

    def take(self, pairs: Sequence[Pair], position: int) -> None:
        """The next unit: its events are recorded together, or not yet."""
        if is_there := any(pair.recorded for pair in pairs):
            for event, at in self.waiting:
                self.report.missing(event, at)
            self.waiting = []
        for pair in pairs:
            if not self.report.window.has(pair.given.envelope.event_time):
                continue
            if pair.recorded:
                self.report.compared(pair.given, pair.recorded)
            elif is_there:
                self.report.missing(pair.given, position)
            else:
                self.waiting.append((replace(pair.given, state=b""), position))

    def close(self) -> None:
        for event, _ in self.waiting:
            self.report.counts[KINDS[event.name]].waiting += 1


async def _count_extra(
    store: EventStore, strategy: StrategyDefined, report: _Report, is_alone: bool, until: int
) -> None:
    """What is recorded behind the last event that was derived, of each stream of the version."""
    for stream in await streams_of_version(store, strategy, is_alone):
        version = report.ends.get(stream, 0)
        while records := await store.read_stream(stream, after=version, limit=_PAGE):
            version = records[-1].version
            for record in records:
                if record.position <= until:
                    report.surplus(record)


async def streams_of_version(store: EventStore, strategy: StrategyDefined, is_alone: bool) -> Sequence[str]:
    """Where events of the version are recorded."""
    suffix, scribe = f"{strategy.name}.{strategy.version}", Scribe(strategy)
    found = [s for s in await store.streams("decisions-") if s.split("-", 3)[3:] == [suffix]]
    found += [calibration_stream(strategy.name, strategy.version, part) for part in range(strategy.parts)]
    return [*found, *([scribe.signals] if is_alone else [])]
