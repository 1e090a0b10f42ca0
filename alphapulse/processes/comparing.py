"""What is derived beside what is recorded: the n-th event of a stream beside its n-th, byte for byte.

Two books answer for proposals. Where one part of one version fills the stream of signals, its book is
derived like all the rest. Where several do, who came first is known from the log alone: the book is then the
recorded one, as it was when the answer was recorded.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import (
    EventStore,
    NewEvent,
    StoredRecord,
    UndecodableEvent,
    UnknownEvent,
    partition_of,
)
from alphapulse.domain.signals.book import Book, book_of_signals
from alphapulse.domain.signals.engine_events import Output
from alphapulse.domain.signals.entering import Entered, TermsOf, entered
from alphapulse.domain.signals.signal import SignalIssued
from alphapulse.processes.scribe import Scribe

_PAGE = 200
MAX_OLDER = 1_000  # books that an answer of one of several desks may have been given by
_SHOWN = 300  # characters of a value

Wanted = Callable[[NewEvent], bool]


@dataclass(frozen=True, slots=True)
class Pair:
    """An event that follows from the log, and what is recorded in its place; None: nothing is."""

    given: NewEvent
    recorded: StoredRecord | None

    @property
    def is_same(self) -> bool:
        return self.recorded is not None and same(self.recorded, self.given)


def same(recorded: StoredRecord, given: NewEvent) -> bool:
    """Whether name, id and state are equal, byte by byte."""
    return (recorded.name, recorded.envelope.event_id, recorded.state) == (
        given.name,
        given.envelope.event_id,
        given.state,
    )


class Field(msgspec.Struct, frozen=True):
    """One field that differs, and both its values."""

    name: str
    recorded: str
    derived: str


def fields_that_differ(recorded: StoredRecord, given: NewEvent) -> tuple[Field, ...]:
    """Every one, by its path in the event. At least one where they are not the same."""
    found = []
    if recorded.name != given.name:
        found.append(Field("(name)", recorded.name, given.name))
    if recorded.envelope.event_id != given.envelope.event_id:
        found.append(Field("(id)", str(recorded.envelope.event_id), str(given.envelope.event_id)))
    try:
        was = msgspec.to_builtins(codec.read(recorded.name, recorded.state))
    except (UnknownEvent, UndecodableEvent) as error:
        return (*found, Field("(state)", _shown(f"{error}"), _shown(given.state)))
    found += _differing("", was, msgspec.to_builtins(codec.read(given.name, given.state)))
    if not found:  # alike to us, and still other bytes
        found.append(Field("(state)", _shown(recorded.state), _shown(given.state)))
    return tuple(found)


def _differing(path: str, was: Any, now: Any) -> Iterator[Field]:
    if isinstance(was, dict) and isinstance(now, dict):
        for name in (*was, *(new for new in now if new not in was)):
            yield from _differing(f"{path}.{name}" if path else name, was.get(name), now.get(name))
    elif isinstance(was, list | tuple) and isinstance(now, list | tuple) and len(was) == len(now):
        for i, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _differing(f"{path}[{i}]", one, other)
    elif was != now or type(was) is not type(now):
        yield Field(path, _shown(was), _shown(now))


def _shown(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


class Shelf:
    """Recorded events of many streams, each read forwards in pages."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._pages: dict[str, dict[int, StoredRecord]] = {}

    async def at(self, stream: str, version: int) -> StoredRecord | None:
        """The event with this version; None: there is none."""
        page = self._pages.get(stream)
        if page is None or version not in page:
            records = await self._store.read_stream(stream, after=version - 1, limit=_PAGE)
            page = self._pages[stream] = {record.version: record for record in records}
        return page.get(version)


class Answers(Protocol):
    """A book that answers for the units of one part, in their order."""

    async def answer(self, unit: Sequence[Output], terms: TermsOf) -> Sequence[Pair]:
        """The events of ``unit`` that are wanted, beside what is recorded."""
        ...


@dataclass
class OwnBook:
    """Nobody else writes the stream of signals: its book is derived."""

    scribe: Scribe
    shelf: Shelf
    is_wanted: Wanted
    book: Book = field(default_factory=Book)
    signals: int = 0

    async def answer(self, unit: Sequence[Output], terms: TermsOf) -> Sequence[Pair]:
        found = entered(unit, self.book, self.scribe.strategy, terms)
        own, caused = _written(self.scribe, found, self.signals)
        self.book, self.signals = found.book, self.signals + len(caused)
        return [
            Pair(event, await self.shelf.at(event.stream, event.version))
            for event in (*own, *caused)
            if self.is_wanted(event)
        ]


def _written(scribe: Scribe, found: Entered, version: int) -> tuple[list[NewEvent], list[NewEvent]]:
    return [event for entry in found.entries for event in scribe.own(entry)], list(
        scribe.caused(found, version)
    )


@dataclass
class SharedBook:
    """Several write the stream of signals: for each unit the book is what was recorded before its answer.

    Who puts a signal in has seen all that came before it, for the store refuses it otherwise. Who refuses one
    may have missed what others put in since its own last signal: any book from there on counts as right.
    """

    scribe: Scribe
    shelf: Shelf
    is_wanted: Wanted
    book: Book = field(default_factory=Book)
    version: int = 0  # of the stream of signals: up to here it is in the book
    surplus: list[StoredRecord] = field(default_factory=list)  # ours, and in no unit
    _older: list[Book] = field(default_factory=list)

    async def answer(self, unit: Sequence[Output], terms: TermsOf) -> Sequence[Pair]:
        first = await self._recorded_first(unit)
        if first is not None:
            await self._fold_before(first.position)
        best: Sequence[Pair] | None = None
        for book in (self.book, *reversed(self._older)):
            pairs = await self._by(book, unit, terms)
            if best is None or all(pair.is_same for pair in pairs):
                best = pairs
            if first is None or all(pair.is_same for pair in best):
                break
        assert best is not None, "there is always one book"
        if put_in := sum(pair.given.stream == self.scribe.signals and bool(pair.recorded) for pair in best):
            for _ in range(put_in):
                await self._fold_next()
            self._older = []  # of what came before, nothing was missed
        return [pair for pair in best if self.is_wanted(pair.given)]

    async def _recorded_first(self, unit: Sequence[Output]) -> StoredRecord | None:
        found = [await self.shelf.at(self.scribe.stream(output), output.ordinal) for output in unit]
        return min((record for record in found if record), key=lambda record: record.position, default=None)

    async def _fold_before(self, position: int) -> None:
        while (record := await self._next()) and record.position < position:
            self._older = [*self._older[1 - MAX_OLDER :], self.book]
            if self._is_ours(record):
                self.surplus.append(record)
            await self._fold_next()

    async def _next(self) -> StoredRecord | None:
        return await self.shelf.at(self.scribe.signals, self.version + 1)

    async def _fold_next(self) -> None:
        if record := await self._next():
            self.book = book_of_signals.evolve(self.book, codec.decode(record).event)
            self.version = record.version

    def _is_ours(self, record: StoredRecord) -> bool:
        """Whether this part should have put it in: a signal of this version on a market of this part."""
        event, strategy = codec.decode(record).event, self.scribe.strategy
        if not isinstance(event, SignalIssued) or event.strategy_version != strategy.version:
            return False
        stream = Instrument.parse(event.instrument).stream("trades")
        return partition_of(stream, strategy.parts) == self.scribe.part

    async def _by(self, book: Book, unit: Sequence[Output], terms: TermsOf) -> list[Pair]:
        own, caused = _written(self.scribe, entered(unit, book, self.scribe.strategy, terms), self.version)
        return [Pair(event, await self.shelf.at(event.stream, event.version)) for event in (*own, *caused)]


async def writes_alone(store: EventStore, strategy: StrategyDefined, head: int) -> bool:
    """Whether all signals in the strategy's stream up to ``head`` can be of one part of this version."""
    if strategy.parts > 1:
        return False
    stream, version = Scribe(strategy).signals, 0
    while records := await store.read_stream(stream, after=version, limit=_PAGE):
        version = records[-1].version
        for record in records:
            if record.position > head:
                return True
            if record.name == "signal.issued.v1" and not _is_of(record, strategy):
                return False
    return True


def _is_of(record: StoredRecord, strategy: StrategyDefined) -> bool:
    """Whether a signal is of this version; what cannot be read is taken for ours, to be compared."""
    try:
        event = codec.decode(record).event
    except (UnknownEvent, UndecodableEvent):
        return True
    return isinstance(event, SignalIssued) and event.strategy_version == strategy.version
