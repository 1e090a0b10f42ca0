"""Rows of a feature set computed from the log: the same bits that the live read model holds.

Many instruments take each step together, a page of events of each at a time, so memory does not grow with
history. The read models are neither asked nor touched. However many processes share the instruments and
wherever their events are cut, the rows are the same: see docs/decisions/0105.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.closing import Closed, Closing, Fed, close_bars
from alphapulse.domain.analysis.feature_rows import FeatureRows, SetPlan, Slots
from alphapulse.domain.analysis.features import (
    BadFeatureSet,
    SetDefined,
    SetRetired,
    UnknownFeatureSet,
    problem_of,
    stream_of,
)
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.lockstep import Lockstep
from alphapulse.domain.analysis.row_bytes import (
    WHOLE,
    Buffer,
    RowsDigest,
    Series,
    packed,
    series_of,
    whole_digest,
)
from alphapulse.domain.ports import EventStore, StoredRecord, UndecodableEvent, UnknownEvent
from alphapulse.processes.instrument_log import InstrumentLog, open_logs

log = logging.getLogger(__name__)

GROUP = 64  # instruments that take steps together: more would only take memory
MAX_SKIPPED = 1_000  # events that could not be folded; beyond that something else is wrong

# The names that bars are made of, as in the live read model.
NAMES = frozenset(
    {
        "market.trades_observed.v1",
        "market.bars_observed.v1",
        "feed.connected.v1",
        "feed.lost.v1",
        "feed.gap_closed.v1",
        "feed.watermark_passed.v1",
    }
)

Sink = Callable[[FeatureRows, Buffer], None]  # rows, and the same packed
Report = Callable[[int], None]  # so many events more are done


class AheadOfLog(ValueError):
    """The position lies behind the end of the log."""


class TooManySkipped(Exception):
    """So many events cannot be folded that the rows would say little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows. Bars of the whole log up to ``until`` go into them; these bounds choose what comes out."""

    defined: SetDefined
    until: int  # position: rows of bars that were known later are not there
    instruments: tuple[str, ...] | None = None  # None: all that the log has
    timeframes: tuple[int, ...] | None = None  # None: those of the set
    first_start: int | None = None  # minutes since 1970 UTC; bars that begin before are left out
    end_start: int | None = None  # and those that begin then or later
    known_by: int | None = None  # ns, the venue's clock; rows known later are left out

    def chosen(self, rows: FeatureRows) -> FeatureRows:
        """Those of ``rows`` that are wanted."""
        keep = np.ones(len(rows), dtype=np.bool_)
        if self.first_start is not None:
            keep &= rows.start >= self.first_start
        if self.end_start is not None:
            keep &= rows.start < self.end_start
        if self.known_by is not None:
            keep &= rows.known_time <= self.known_by
        if keep.all():
            return rows
        columns = {name: getattr(rows, name)[keep] for name in WHOLE}
        return replace(rows, values=rows.values[keep], **columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What came out: rows and their hash by series, and events that no bar could be made of."""

    parts: Mapping[Series, tuple[int, str]]
    bars: int = 0  # that went in, of all timeframes that the set looks at
    skipped: Sequence[int] = ()  # their positions
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(count for count, _ in self.parts.values())

    @property
    def digest(self) -> str:
        """Of all rows, whatever the workers and batch sizes were."""
        return whole_digest(self.parts.items())

    def joined(self, other: "Computed") -> "Computed":
        return Computed(
            parts={**self.parts, **other.parts},
            bars=self.bars + other.bars,
            skipped=sorted([*self.skipped, *other.skipped]),
            seconds=max(self.seconds, other.seconds),
        )


async def defined_set(
    store: EventStore, name: str, version: int | None = None, *, until: int | None = None
) -> tuple[SetDefined, int | None]:
    """Version ``version`` of a set (by default the newest that is not retired), and where it was retired.

    With ``until`` the log is seen as cut there.

    Raises:
        UnknownFeatureSet: there is none; the message names those there are.
    """
    defined: dict[int, SetDefined] = {}
    retired: dict[int, int] = {}
    after = 0
    while records := await store.read_stream(stream_of(name), after=after):
        after = records[-1].version
        for record in records:
            if until is not None and record.position > until:
                continue
            match codec.decode(record).event:
                case SetDefined() as event:
                    defined[event.version] = event
                case SetRetired() as event:
                    retired.setdefault(event.version, record.position)
    usable = [v for v in defined if (v not in retired if version is None else v == version)]
    if not usable:
        there = ", ".join(f"{v}{' (retired)' if v in retired else ''}" for v in sorted(defined)) or "none"
        wanted = name if version is None else f"{name}@{version}"
        raise UnknownFeatureSet(f"no feature set {wanted}: the versions of {name} are {there}")
    return defined[max(usable)], retired.get(max(usable))


async def wanted_rows(
    store: EventStore,
    name: str,
    version: int | None = None,
    *,
    until: int | None = None,
    instruments: Sequence[str] | None = None,
    timeframes: Sequence[int] | None = None,
    first_start: int | None = None,
    end_start: int | None = None,
    known_by: int | None = None,
) -> Wanted:
    """What to compute, checked against the log as of ``until`` (by default its end).

    Raises:
        AheadOfLog: the log does not reach so far.
        UnknownFeatureSet: no such set or version.
        BadFeatureSet: this code cannot make its values, or it has no rows in one of ``timeframes``.
    """
    head = await store.head()
    until = head if until is None else until
    if not 0 <= until <= head:
        raise AheadOfLog(f"position {until} was asked for, the log ends at {head}")
    defined, retired = await defined_set(store, name, version, until=until)
    if problem := problem_of(defined):
        raise BadFeatureSet(f"{name}@{defined.version}: {problem}")
    if strange := sorted(set(timeframes or ()) - set(defined.timeframes)):
        raise BadFeatureSet(f"{name}@{defined.version} has no rows in timeframes {strange} (minutes)")
    return Wanted(
        defined=defined,
        until=until if retired is None else min(until, retired),
        instruments=None if instruments is None else tuple(sorted(set(instruments))),
        timeframes=None if timeframes is None else tuple(sorted(set(timeframes))),
        first_start=first_start,
        end_start=end_start,
        known_by=known_by,
    )


async def compute(
    store: EventStore,
    wanted: Wanted,
    sink: Sink | None = None,
    *,
    logs: Sequence[InstrumentLog] | None = None,
    report: Report = lambda _: None,
    group: int = GROUP,
) -> Computed:
    """Compute ``wanted`` in this process; ``sink`` gets the rows, series by series in order of their bars.

    ``logs`` limits the work to some instruments' logs (``open_logs``). One year of 1m bars of 50
    instruments is read from the log at disk and decoding speed; the kernels run side by side.

    Raises:
        TooManySkipped: more than 1,000 events cannot be folded.
        StoreUnavailable: see EventStore.
    """
    began = time.perf_counter()
    logs = await open_logs(store, wanted.until, wanted.instruments) if logs is None else logs
    digest = RowsDigest()

    def give(rows: FeatureRows) -> None:
        data = packed(rows)
        digest.add_packed(series_of(rows), len(rows), data)
        if sink is not None:
            sink(rows, data)

    found = Computed(parts={})
    for first in range(0, len(logs), group):
        work = _Group(wanted, logs[first : first + group], give)
        await work.run(store, report)
        found = found.joined(Computed(parts={}, bars=work.bars, skipped=work.skipped))
    return replace(found, parts=digest.parts(), seconds=time.perf_counter() - began)


@dataclass(slots=True)
class _Group:
    """Instruments that go through the plan side by side."""

    wanted: Wanted
    logs: Sequence[InstrumentLog]
    give: Callable[[FeatureRows], None]
    plan: SetPlan = field(init=False)
    panels: Mapping[int, Lockstep] = field(init=False)
    states: list[Closing] = field(init=False)
    slots: list[Slots] = field(init=False)
    bars: int = 0
    skipped: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = SetPlan(self.wanted.defined)
        self.panels = {t: Lockstep(slot.plan, len(self.logs)) for t, slot in self.plan.slots.items()}
        self.states = [Closing()] * len(self.logs)
        self.slots = [{} for _ in self.logs]

    async def run(self, store: EventStore, took: Report) -> None:
        pages = await self._pull(store)
        while any(pages):
            # While these are computed, the next ones are read.
            coming = asyncio.ensure_future(self._pull(store))
            try:
                await asyncio.to_thread(self._step, pages)
            except BaseException:
                coming.cancel()
                raise
            took(sum(len(page) for page in pages))
            pages = await coming

    async def _pull(self, store: EventStore) -> Sequence[Sequence[StoredRecord]]:
        return await asyncio.gather(*(log.pull(store) for log in self.logs))

    def _step(self, pages: Sequence[Sequence[StoredRecord]]) -> None:
        closed = [self._closed(i, page) for i, page in enumerate(pages)]
        outputs: dict[int, dict[int, Floats]] = {}
        for timeframe, panel in self.panels.items():
            values = {i: c[timeframe].bars.values for i, c in enumerate(closed) if timeframe in c}
            outputs[timeframe] = panel.advance(values)
            self.bars += sum(v.shape[1] for v in values.values())
        for i, bars in enumerate(closed):
            if bars:
                own = {t: outputs[t][i] for t in self.panels if t in bars}
                self.slots[i], rows = self.plan.advance(self.slots[i], bars, own)
                self._give(rows)

    def _give(self, rows: Sequence[FeatureRows]) -> None:
        for piece in rows:
            if self.wanted.timeframes is not None and piece.timeframe not in self.wanted.timeframes:
                continue
            chosen = self.wanted.chosen(piece)
            if len(chosen):
                self.give(chosen)

    def _closed(self, i: int, page: Sequence[StoredRecord]) -> Mapping[int, Closed]:
        events = list(self._decoded(page))
        return self._close(i, events) if events else {}

    def _close(self, i: int, events: Sequence[tuple[int, Fed]]) -> Mapping[int, Closed]:
        """As in the live read model: an event that cannot be folded is passed over, the others count."""
        try:
            self.states[i], closed = close_bars(self.logs[i].instrument, self.states[i], events)
            return closed
        except Exception as error:  # whatever it is, the live read model parks such an event
            if len(events) == 1:
                self._skip(events[0][0], error)
                return {}
        middle = len(events) // 2
        return _one_after_the_other(self._close(i, events[:middle]), self._close(i, events[middle:]))

    def _decoded(self, page: Sequence[StoredRecord]) -> Iterator[tuple[int, Fed]]:
        for record in page:
            if record.name not in NAMES:
                continue
            try:
                yield record.position, codec.decode(record).event
            except (UnknownEvent, UndecodableEvent) as error:
                self._skip(record.position, error)

    def _skip(self, position: int, error: Exception) -> None:
        log.warning("position %d is passed over: %s: %s", position, type(error).__name__, error)
        self.skipped.append(position)
        if len(self.skipped) > MAX_SKIPPED:
            raise TooManySkipped(f"{len(self.skipped)} events up to position {position} cannot be folded")


def _one_after_the_other(first: Mapping[int, Closed], second: Mapping[int, Closed]) -> Mapping[int, Closed]:
    both = {t: _joined(first[t], second[t]) for t in first.keys() & second.keys()}
    return {**first, **second, **both}


def _joined(first: Closed, second: Closed) -> Closed:
    a, b = first.bars, second.bars
    bars = replace(
        a,
        values=np.concatenate([a.values, b.values], axis=1),
        known_time=np.concatenate([a.known_time, b.known_time]),
        position=np.concatenate([a.position, b.position]),
        input_position=np.concatenate([a.input_position, b.input_position]),
        flags=np.concatenate([a.flags, b.flags]),
    )
    return Closed(bars, np.concatenate([first.first_position, second.first_position]))
