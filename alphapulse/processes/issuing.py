"""What an engine decided into the log: decisions with the signals that they become, in one append.

The engine gives its outputs again after every restart; what is recorded already is compared and passed over.
The number of a signal is taken by appending: who was overtaken loads what is new in the strategy's book,
and answers anew.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.limits import MAX_COMMIT_BYTES, MAX_COMMIT_EVENTS
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.ports import EventStore, Fence, NewEvent, StoredRecord, VersionConflict
from alphapulse.domain.signals.book import Book, book_of_signals
from alphapulse.domain.signals.engine_events import ExitSuggested, Output
from alphapulse.domain.signals.entering import OutOfStep, Terms, TermsOf, as_given, entered, units
from alphapulse.processes.scribe import Cause, Scribe, no_cause

TRIES = 100  # at one append: each time somebody else got a number
_PAGE = 500

Unit = Sequence[Output]


class Diverged(Exception):
    """What is recorded is not what is given: the fold does not repeat. Holds both; stop, and find out why."""

    def __init__(self, stream: str, version: int, recorded: object, given: object) -> None:
        super().__init__(f"version {version} of {stream}: {_difference(recorded, given)}")
        self.stream, self.version, self.recorded, self.given = stream, version, recorded, given


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Events ``appended``, ``signals`` among them, and how many outputs were ``skipped``: recorded before.

    ``position``: of the last event appended; 0 where there was none.
    """

    appended: int = 0
    skipped: int = 0
    signals: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """What one append holds, and what counts after it."""

    units: int
    outputs: int
    events: Sequence[NewEvent]
    signals: int
    book: Book
    version: int


@dataclass(slots=True)
class _Call:
    """How far one call is."""

    left: Sequence[Output]
    tries: int
    result: Result = Result()

    def leave(self, rest: Sequence[Output]) -> None:
        skipped = self.result.skipped + len(self.left) - len(rest)
        self.left, self.result = rest, replace(self.result, skipped=skipped)

    def keep(self, chunk: _Chunk, records: Sequence[StoredRecord], tries: int) -> None:
        self.left, self.tries = self.left[chunk.outputs :], tries
        self.result = replace(
            self.result,
            appended=self.result.appended + len(records),
            signals=self.result.signals + chunk.signals,
            position=records[-1].position if records else self.result.position,
        )


def nothing_known(_: DecisionMade) -> Terms:
    return Terms()


class Issuer:
    """For one part of one strategy version; keeps its book and the ends of its streams from call to call.

    Several may write signals of one strategy at the same time, each for markets of its own.
    """

    def __init__(
        self,
        store: EventStore,
        strategy: StrategyDefined,
        *,
        part: int = 0,
        terms: TermsOf = nothing_known,
        actor: str = "decider",
        tries: int = TRIES,
    ) -> None:
        if tries < 1:
            raise ValueError(f"{tries} tries")
        self._store, self._strategy, self._terms = store, strategy, terms
        self._scribe, self._tries = Scribe(strategy, part, actor), tries
        self._signals = self._scribe.signals
        self._book, self._version = book_of_signals.initial, 0
        self._ends: dict[str, int] = {}  # the last version of each stream, where it is known

    @property
    def book(self) -> Book:
        """As of the last call."""
        return self._book

    async def issue(
        self, outputs: Sequence[Output], *, cause: Cause = no_cause, fence: Fence | None = None
    ) -> Result:
        """Append what of ``outputs``, in the order in which the engine gave them, is not recorded yet.

        Raises:
            Diverged: something else is recorded in its place.
            OutOfStep: the streams end before ``outputs`` begin, or the book has what they have not.
            VersionConflict: others were faster as often as is tried, at one append.
            EventTooLarge: what has to be appended at once is over the store's limits.
            FencedOut, StoreUnavailable: see EventStore.append. Part of it may be recorded: give it again.
        """
        try:
            return await self._issue(outputs, cause, fence)
        except BaseException:
            self._ends.clear()  # who knows what was recorded
            raise

    async def _issue(self, outputs: Sequence[Output], cause: Cause, fence: Fence | None) -> Result:
        call = _Call(outputs, self._tries)
        while call.left:
            is_fresh = not self._ends
            try:
                await self._attempt(call, cause, fence)
            except VersionConflict:
                call.tries -= 1
                if not call.tries:
                    raise
                self._ends.clear()
            except OutOfStep:
                if is_fresh:
                    raise
                self._ends.clear()
        return call.result

    async def _attempt(self, call: _Call, cause: Cause, fence: Fence | None) -> None:
        # The book first: then a signal that it holds has its decision before the ends that are read next.
        # Where nobody else writes it, it is known from the last call; a twin of ours ends in a conflict.
        if self._strategy.parts > 1 or not self._ends:
            await self._load_book()
        call.leave(await self._not_recorded(call.left))
        waiting = list(units(call.left))
        while waiting:
            chunk = self._chunk(waiting, cause)
            records = await self._store.append(chunk.events, fence=fence)
            self._keep(chunk)
            call.keep(chunk, records, self._tries)
            waiting = waiting[chunk.units :]

    # -- what is there already --------------------------------------------------------------------

    async def _not_recorded(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """Those of ``outputs`` that follow the ends of their streams. The others are compared."""
        given: defaultdict[str, dict[int, Output]] = defaultdict(dict)
        rest: list[Output] = []
        for output in outputs:
            stream = self._scribe.stream(output)
            if stream not in self._ends:
                self._ends[stream] = await self._store.version(stream)
            if output.ordinal > self._ends[stream] or isinstance(output.event, ExitSuggested):
                rest.append(output)  # advice has no place of its own: the book knows whether it was given
            else:
                given[stream][output.ordinal] = output
        for stream, known in given.items():
            await self._compare(stream, known)
        self._check_order(rest)
        return rest

    def _check_order(self, outputs: Sequence[Output]) -> None:
        """Raises OutOfStep."""
        ends: dict[str, int] = {}
        for output in outputs:
            if isinstance(output.event, ExitSuggested):
                continue
            stream = self._scribe.stream(output)
            last = ends.get(stream, self._ends[stream])
            if output.ordinal != last + 1:
                raise OutOfStep(f"{stream} has {last} events, the next one given is number {output.ordinal}")
            ends[stream] = output.ordinal

    async def _compare(self, stream: str, given: dict[int, Output]) -> None:
        """Raises Diverged."""
        after, last = min(given) - 1, max(given)
        while after < last:
            records = await self._store.read_stream(stream, after=after, limit=min(_PAGE, last - after))
            for record in records:
                if record.version in given:
                    _check_same(record, given[record.version])
            after = records[-1].version

    async def _load_book(self) -> None:
        while records := await self._store.read_stream(self._signals, after=self._version, limit=_PAGE):
            self._book = book_of_signals.fold((codec.decode(r).event for r in records), self._book)
            self._version = records[-1].version

    # -- what comes next --------------------------------------------------------------------------

    def _chunk(self, waiting: Sequence[Unit], cause: Cause) -> _Chunk:
        """As many units as one append takes; at least one."""
        chunk = _Chunk(units=0, outputs=0, events=[], signals=0, book=self._book, version=self._version)
        size = 0
        for unit in waiting:
            found = entered(unit, chunk.book, self._strategy, self._terms)
            own = [event for entry in found.entries for event in self._scribe.own(entry, cause)]
            caused = list(self._scribe.caused(found, chunk.version, cause))
            size += sum(len(event.state) for event in (*own, *caused))
            events = [*chunk.events, *own, *caused]
            if chunk.units and (size > MAX_COMMIT_BYTES or len(events) > MAX_COMMIT_EVENTS):
                break
            signals = chunk.signals + found.book.next_number - chunk.book.next_number
            version = chunk.version + len(caused)
            chunk = _Chunk(
                units=chunk.units + 1,
                outputs=chunk.outputs + len(unit),
                events=events,
                signals=signals,
                book=found.book,
                version=version,
            )
        return chunk

    def _keep(self, chunk: _Chunk) -> None:
        self._book, self._version = chunk.book, chunk.version
        for event in chunk.events:
            if event.stream != self._signals:
                self._ends[event.stream] = event.version


def _check_same(record: StoredRecord, output: Output) -> None:
    """Raises Diverged."""
    given, recorded = output.event, codec.decode(record).event
    assert not isinstance(given, ExitSuggested)
    if type(recorded) is not type(given) or as_given(recorded, given) != given:
        raise Diverged(record.stream, record.version, recorded, given)


def _difference(recorded: object, given: object) -> str:
    """The fields that differ, with both values."""
    if type(recorded) is not type(given) or not isinstance(recorded, msgspec.Struct):
        return f"recorded is {recorded!r}, given is {given!r}"
    pairs = [(name, getattr(recorded, name), getattr(given, name)) for name in recorded.__struct_fields__]
    return "; ".join(f"{name} recorded {was!r}, given {now!r}" for name, was, now in pairs if was != now)
