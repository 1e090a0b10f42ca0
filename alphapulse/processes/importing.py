"""Bring a file into the log: read, judge, compare with the log, append.

Any number of importers may work on any files at once, each may be killed at any moment, and each may
run again: what the log holds already is recognised by venue id (or file hash and row) under the
version of its stream, so every trade ends up in the log once. A repeat appends nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol
from uuid import UUID, uuid5

import numpy as np

from alphapulse.adapters.files.formats import BarMapping, TradeMapping
from alphapulse.adapters.files.open import Naming, open_bars, open_trades
from alphapulse.adapters.files.reader import UnreadableFile
from alphapulse.adapters.store import codec
from alphapulse.domain.market.events import ImportFinished, RefusedRow, RowsRefused
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.judging import row_ids, segments
from alphapulse.domain.ports import Envelope, EventStore, NewEvent, VersionConflict
from alphapulse.processes.import_kinds import BarKind, Batch, Columns, Kind, Raw, TradeKind

MAX_COMMIT_BYTES = 400_000  # of several events in one commit; the store refuses 430 kB
MAX_COMMIT_EVENTS = 500
MAX_REFUSALS_IN_EVENT = 100
MAX_REFUSAL_BYTES = 250_000  # of raw text in one event
MAX_RETRIES = 1_000  # each one means that another writer of the stream got on
_NAMESPACE = UUID("5d0f0a86-3a44-5c05-9d7d-0d2c6e0b7d51")


@dataclass(slots=True, kw_only=True)
class Imported:
    """What came of one file so far."""

    path: Path
    sha256: str
    format: str
    instruments: list[str] = field(default_factory=list)
    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    time_lo: int | None = None  # ns, of accepted and repeated rows alike: of what was accepted now
    time_hi: int | None = None
    events: int = 0  # appended by this run
    seconds: float = 0.0
    first_refusals: list[RefusedRow] = field(default_factory=list)  # the first ten, to show


class ImportBroken(Exception):
    """The file broke in the middle. What came before is in the log; ``so_far`` says what."""

    def __init__(self, message: str, so_far: Imported) -> None:
        super().__init__(message)
        self.so_far = so_far


class TooManyRefused(Exception):
    """So many rows were refused that the format or the mapping must be wrong. The rest was not read."""


class _Reading(Protocol):
    done_ratio: float


class Importable(Protocol):
    """What an import wants to know of a file besides its rows, which come by the kind."""

    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def reader(self) -> _Reading: ...


Progress = Callable[[Imported, float], None]  # what is done, and the part of the file, 0 to 1


async def import_trades(
    path: Path,
    store: EventStore,
    *,
    file_format: str | TradeMapping = "auto",
    naming: Naming | None = None,
    max_refused: int = 10_000,
    progress: Progress | None = None,
) -> Imported:
    """Import the trades of one file.

    Raises:
        UnreadableFile, Unnamed, ValueError: see open_trades; nothing was appended.
        ImportBroken: the file breaks later on.
        TooManyRefused: more than ``max_refused`` rows were refused.
        StoreUnavailable: run again, it goes on where it stopped.
    """
    file = await asyncio.to_thread(open_trades, path, file_format=file_format, naming=naming)
    return await FileImport(file, TradeKind(file), store, max_refused, progress).run()


async def import_bars(
    path: Path,
    store: EventStore,
    *,
    timeframe_minutes: int,
    file_format: str | BarMapping = "auto",
    naming: Naming | None = None,
    max_refused: int = 10_000,
    progress: Progress | None = None,
) -> Imported:
    """Import bars of one timeframe that a venue supplied; raises as import_trades."""
    file = await asyncio.to_thread(open_bars, path, file_format=file_format, naming=naming)
    return await FileImport(file, BarKind(file, timeframe_minutes), store, max_refused, progress).run()


@dataclass(slots=True)
class _Counts:
    """Of one instrument of the file."""

    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    time_lo: int | None = None
    time_hi: int | None = None


class FileImport(Generic[Raw, Columns]):
    """One run of one import; ``kind`` says what differs between trades, bars and the rest."""

    def __init__(
        self,
        file: Importable,
        kind: Kind[Raw, Columns],
        store: EventStore,
        max_refused: int,
        progress: Progress | None,
    ) -> None:
        self._file, self._store = file, store
        self._kind: Kind[Raw, Columns] = kind
        self._max_refused, self._progress = max_refused, progress
        self._done = Imported(path=file.path, sha256=file.sha256, format=kind.label)
        self._counts: dict[Instrument, _Counts] = {}
        self._last: dict[Instrument, Columns] = {}  # what the stream's exponents are
        self._began = time.monotonic()

    async def run(self) -> Imported:
        try:
            async for raw in _ahead(self._kind.chunks()):
                await self._take(raw)
                self._tell()
        except UnreadableFile as error:
            self._tell()
            raise ImportBroken(
                f"{error}; {self._done.accepted} rows before it are in the log", self._done
            ) from error
        for instrument, counts in self._counts.items():
            await self._finish(instrument, counts)
        self._tell()
        return self._done

    def _tell(self) -> None:
        self._done.seconds = time.monotonic() - self._began
        if self._progress is not None:
            self._progress(self._done, self._file.reader.done_ratio)

    async def _take(self, raw: Raw) -> None:
        verdict = self._kind.judge(raw)
        if self._done.refused + len(verdict.refused) > self._max_refused:
            first = verdict.refused[0]
            raise TooManyRefused(
                f"{self._file.path}: over {self._max_refused} rows refused by row {int(raw.row[-1])}; "
                f"the first of the last chunk is row {first.row}: {first.reason}"
            )
        counts = self._counts.setdefault(raw.instrument, _Counts())
        verdict = await self._append_new(raw.instrument, verdict, counts)
        await self._append_refusals(raw.instrument, verdict.refused)
        counts.rows += len(raw)
        counts.duplicates += verdict.duplicates
        counts.refused += len(verdict.refused)
        self._sum_up()
        self._done.first_refusals += verdict.refused[: 10 - len(self._done.first_refusals)]

    def _sum_up(self) -> None:
        done, all_counts = self._done, list(self._counts.values())
        done.instruments = [str(i) for i in self._counts]
        done.rows, done.accepted = sum(c.rows for c in all_counts), sum(c.accepted for c in all_counts)
        done.duplicates = sum(c.duplicates for c in all_counts)
        done.refused = sum(c.refused for c in all_counts)
        done.time_lo = min((c.time_lo for c in all_counts if c.time_lo is not None), default=None)
        done.time_hi = max((c.time_hi for c in all_counts if c.time_hi is not None), default=None)

    async def _append_new(self, instrument: Instrument, verdict: Any, counts: _Counts) -> Any:
        """Append what is new; return the verdict as it stands against the log."""
        stream = self._kind.stream(instrument)
        for _ in range(MAX_RETRIES):
            # The version first: whatever comes after the look-up then conflicts with our append.
            version = await self._store.version(stream)
            verdict = self._kind.against(verdict, await self._overlapping(stream, verdict.accepted))
            if len(verdict.accepted) == 0:
                return verdict
            last = self._last.get(instrument) or await self._last_columns(stream, version)
            batches = list(self._kind.batches(verdict.accepted, last))
            appended: list[Batch[Columns]] = []
            try:
                for group in self._groups(instrument, stream, version, batches):
                    await self._store.append([event for _, event in group])
                    appended += [batch for batch, _ in group]
                    self._done.events += len(group)
            except VersionConflict:
                verdict = _without(verdict, self._kind, appended)
                continue
            finally:
                self._count(instrument, counts, appended)
            return verdict
        raise VersionConflict(f"{stream}: overtaken {MAX_RETRIES} times in a row")

    def _groups(
        self, instrument: Instrument, stream: str, version: int, batches: Sequence[Batch[Columns]]
    ) -> Iterator[list[tuple[Batch[Columns], NewEvent]]]:
        """The batches as events, as many together as one commit may hold."""
        group: list[tuple[Batch[Columns], NewEvent]] = []
        size = 0
        for batch in batches:
            version += 1
            keys = self._kind.keys(batch.columns)
            event = self._new_event(
                stream,
                version,
                self._kind.event(instrument, batch.columns),
                batch.first_row,
                (int(keys[0]), int(keys[-1])),
            )
            if group and (size + len(event.state) > MAX_COMMIT_BYTES or len(group) == MAX_COMMIT_EVENTS):
                yield group
                group, size = [], 0
            group.append((batch, event))
            size += len(event.state)
        if group:
            yield group

    def _new_event(
        self, stream: str, version: int, event: object, first_row: int, ids: tuple[int, int] | None
    ) -> NewEvent:
        """Under an id that follows from the file and the row: a trade is appended once, so no other
        event can begin with this row."""
        encoded = codec.encode(event)
        lo, hi = ids or (None, None)
        name = f"{stream}\n{self._file.sha256}\n{encoded.name}\n{first_row}{self._kind.salt}"
        envelope = Envelope(
            event_id=uuid5(_NAMESPACE, name), event_time=codec.event_time(event), actor="import"
        )
        return NewEvent(
            stream=stream, version=version, name=encoded.name, state=encoded.state, envelope=envelope,
            id_lo=lo, id_hi=hi,
        )  # fmt: skip

    def _count(self, instrument: Instrument, counts: _Counts, appended: Sequence[Batch[Columns]]) -> None:
        for batch in appended:
            times = self._kind.times(batch.columns)
            lo, hi = int(times.min()), int(times.max())
            counts.accepted += len(batch.columns)
            counts.time_lo = lo if counts.time_lo is None else min(counts.time_lo, lo)
            counts.time_hi = hi if counts.time_hi is None else max(counts.time_hi, hi)
            self._last[instrument] = batch.columns

    async def _overlapping(self, stream: str, accepted: Any) -> list[Columns]:
        keys = self._kind.keys(accepted)
        found: dict[int, Columns] = {}
        for part in segments(keys):
            for record in await self._store.overlapping(
                stream, int(keys[part.start]), int(keys[part.stop - 1])
            ):
                if record.version not in found:
                    found[record.version] = self._kind.columns(codec.decode(record).event)
        return list(found.values())

    async def _last_columns(self, stream: str, version: int) -> Columns | None:
        records = await self._store.read_stream(stream, after=version - 1, limit=1) if version else []
        return self._kind.columns(codec.decode(records[0]).event) if records else None

    async def _append_refusals(self, instrument: Instrument, refused: Sequence[RefusedRow]) -> None:
        """Keep refused rows, those not kept by an earlier run of this file."""
        stream = instrument.stream("refusals")
        waiting = sorted(refused, key=lambda r: r.row)
        for _ in range(MAX_RETRIES):
            if not waiting:
                return
            version = await self._store.version(stream)
            known = await self._known_refusals(stream, waiting)
            waiting = [r for r in waiting if r.row not in known]
            try:
                for rows in _portions(waiting):
                    version += 1
                    await self._store.append([self._refusal_event(stream, version, instrument, rows)])
                    self._done.events += 1
            except VersionConflict:
                continue
            return
        raise VersionConflict(f"{stream}: overtaken {MAX_RETRIES} times in a row")

    async def _known_refusals(self, stream: str, waiting: Sequence[RefusedRow]) -> set[int]:
        lo, hi = self._row_ids(waiting)
        events = [codec.decode(r).event for r in await self._store.overlapping(stream, lo, hi)]
        return {row.row for event in events if event.sha256 == self._file.sha256 for row in event.rows}

    def _row_ids(self, rows: Sequence[RefusedRow]) -> tuple[int, int]:
        ids = row_ids(self._file.sha256, np.array([rows[0].row, rows[-1].row], dtype=np.int64))
        return int(ids[0]), int(ids[1])

    def _refusal_event(
        self, stream: str, version: int, instrument: Instrument, rows: Sequence[RefusedRow]
    ) -> NewEvent:
        event = RowsRefused(
            venue=instrument.venue,
            symbol=instrument.symbol,
            source=self._file.path.name,
            sha256=self._file.sha256,
            rows=tuple(rows),
        )
        return self._new_event(stream, version, event, rows[0].row, self._row_ids(rows))

    async def _finish(self, instrument: Instrument, counts: _Counts) -> None:
        """Say once per file, instrument and format that it was read to its end."""
        stream = f"imports-{self._file.sha256}"
        event = ImportFinished(
            venue=instrument.venue,
            symbol=instrument.symbol,
            source=self._file.path.name,
            sha256=self._file.sha256,
            format=self._kind.label,
            rows=counts.rows,
            accepted=counts.accepted,
            duplicates=counts.duplicates,
            refused=counts.refused,
            time_lo=counts.time_lo,
            time_hi=counts.time_hi,
        )
        for _ in range(MAX_RETRIES):
            version, known = await self._finished(stream)
            if (instrument.venue, instrument.symbol, self._kind.label) in known:
                return
            with suppress(VersionConflict):
                await self._store.append([self._new_event(stream, version + 1, event, version + 1, None)])
                self._done.events += 1
                return
        raise VersionConflict(f"{stream}: overtaken {MAX_RETRIES} times in a row")

    async def _finished(self, stream: str) -> tuple[int, set[tuple[str, str, str]]]:
        version, known = 0, set()
        while records := await self._store.read_stream(stream, after=version):
            events = [codec.decode(r).event for r in records]
            known |= {(e.venue, e.symbol, e.format) for e in events}
            version = records[-1].version
        return version, known


def _without(verdict: Any, kind: Kind[Any, Columns], appended: Sequence[Batch[Columns]]) -> Any:
    """``verdict`` without the rows that are in the log by now through us."""
    if not appended:
        return verdict
    done = np.concatenate([kind.keys(batch.columns) for batch in appended])
    left = verdict.accepted.take(~np.isin(kind.keys(verdict.accepted), done))
    return type(verdict)(accepted=left, duplicates=verdict.duplicates, refused=verdict.refused)


def _portions(rows: Sequence[RefusedRow]) -> Iterator[list[RefusedRow]]:
    portion: list[RefusedRow] = []
    size = 0
    for row in rows:
        if portion and (len(portion) == MAX_REFUSALS_IN_EVENT or size + len(row.raw) > MAX_REFUSAL_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += len(row.raw)
    if portion:
        yield portion


async def _ahead(chunks: Iterator[Raw]) -> AsyncIterator[Raw]:
    """The chunks, the next one being read in a thread while the last one is used. Never more than two."""
    coming = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
    try:
        while (chunk := await coming) is not None:
            coming = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
            yield chunk
    finally:
        # A thread cannot be stopped: wait for its chunk, then close the file it reads.
        await asyncio.wait([coming])
        if not coming.cancelled():
            coming.exception()
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
