"""Feature rows as a Parquet file, with the manifest that makes the same file again.

The manifest says which rows these are (set and digest, code versions, the log up to a position and its last
event, bounds) and which bytes (SHA-256, writer and its version). Rows are a function of the log up to there,
and the file one of the rows: more events, other workers or batch sizes change nothing. See docs/features.md.
"""

import asyncio
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from psycopg import AsyncConnection

import alphapulse
from alphapulse.adapters.files.atomic import AtomicFile, folder_beside, remove_folder, sha256_of
from alphapulse.adapters.files.parquet_features import schema, write_features, writer_settings
from alphapulse.adapters.files.spill import Spill, unspilled
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.row_bytes import RowsDigest, Series, packed, series_of, whole_digest
from alphapulse.domain.ports import EventStore
from alphapulse.processes.compute_workers import compute_from
from alphapulse.processes.computing import Computed, Report, Wanted, wanted_rows
from alphapulse.processes.stored_rows import stored_rows

FORMAT = "alphapulse.features.v1"
MAX_ROWS = 2_000_000_000  # in one file


class BadManifest(ValueError):
    """Not a manifest of an export, or of another kind of file."""


class NotReproduced(Exception):
    """The log or this code does not give the rows, or the file, that the manifest describes."""


class TooManyRows(Exception):
    """The export would be larger than allowed: choose fewer instruments or a shorter range."""


class LogRange(msgspec.Struct, frozen=True, kw_only=True):
    """The log that the rows are a function of: its events up to ``until``; ``last_event`` tells which log."""

    until: int
    last_event: str | None  # id of the event at ``until``; None for an empty log


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Which of those rows are in the file. None: no bound."""

    instruments: tuple[str, ...] | None = None
    timeframes: tuple[int, ...] | None = None  # minutes
    first_start: int | None = None  # minutes since 1970 UTC
    end_start: int | None = None  # excluded
    known_by: int | None = None  # ns, the venue's clock


class SeriesPart(msgspec.Struct, frozen=True, kw_only=True):
    instrument: str
    timeframe: int
    rows: int
    sha256: str  # of the packed rows: domain/analysis/row_bytes.py


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. ``values_digest`` covers the rows, ``sha256`` the bytes of the Parquet file."""

    format: str
    set_name: str
    set_version: int
    set_digest: str
    features: tuple[dict[str, Any], ...]  # name, rule, parameters, code version …
    log: LogRange
    bounds: Bounds
    rows: int
    series: tuple[SeriesPart, ...]
    columns: tuple[tuple[str, str], ...]  # name and Arrow type, in order
    values_digest: str
    sha256: str
    bytes: int
    writer: dict[str, Any]
    code: dict[str, str]
    skipped: tuple[int, ...] = ()  # positions of events that no bar could be made of

    @property
    def parts(self) -> dict[Series, tuple[int, str]]:
        return {(s.instrument, s.timeframe): (s.rows, s.sha256) for s in self.series}


def manifest_path(path: Path) -> Path:
    """Beside the Parquet file: ``x.parquet`` has ``x.manifest.json``."""
    return path.with_suffix(".manifest.json")


def read_manifest(path: Path) -> Manifest:
    """
    Raises:
        BadManifest: it is none.
    """
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise BadManifest(f"{path}: {error}") from None
    if manifest.format != FORMAT:
        raise BadManifest(f"{path}: format {manifest.format!r}, not {FORMAT!r}")
    return manifest


async def wanted_again(store: EventStore, manifest: Manifest) -> Wanted:
    """The rows of ``manifest``, if this log and this code have them.

    Raises:
        NotReproduced: it is another log, or the set's digest is another.
        UnknownFeatureSet, BadFeatureSet: see ``wanted_rows``.
    """
    b = manifest.bounds
    wanted = await wanted_rows(
        store,
        manifest.set_name,
        manifest.set_version,
        until=manifest.log.until,
        instruments=b.instruments,
        timeframes=b.timeframes,
        first_start=b.first_start,
        end_start=b.end_start,
        known_by=b.known_by,
    )
    there = await _log_range(store, manifest.log.until)
    if there != manifest.log:
        raise NotReproduced(
            f"position {manifest.log.until} holds event {there.last_event} in this log, "
            f"{manifest.log.last_event} in that of the manifest"
        )
    if wanted.defined.digest != manifest.set_digest:
        raise NotReproduced(
            f"{manifest.set_name}@{manifest.set_version} has digest {wanted.defined.digest}, "
            f"the manifest {manifest.set_digest}"
        )
    return wanted


async def export(
    database_url: str,
    wanted: Wanted,
    path: Path,
    *,
    workers: int = 1,
    report: Report = lambda _: None,
    max_rows: int = MAX_ROWS,
) -> Manifest:
    """Compute ``wanted`` from the log into ``path`` and its manifest. Both appear whole, or neither.

    Raises:
        TooManyRows: nothing was written.
        OSError: the folder cannot be written to, or its disk is full.
        ComputeFailed and others: see ``compute_from``.
    """
    folder = folder_beside(path)
    try:
        computed = await compute_from(database_url, wanted, workers=workers, folder=folder, report=report)
        async with PostgresEventStore(database_url) as store:
            log = await _log_range(store, wanted.until)
        return await asyncio.to_thread(_written, wanted, log, computed, folder, path, max_rows)
    finally:
        remove_folder(folder)


async def export_rows(
    store: EventStore,
    wanted: Wanted,
    rows: AsyncConnection[Any],
    path: Path,
    *,
    max_rows: int = MAX_ROWS,
) -> Manifest:
    """The same file, its rows taken from the live read model, which must have come as far as ``wanted``.

    Raises:
        NotYetFolded: it has not.
    """
    folder = folder_beside(path)
    try:
        spill, digest = Spill(folder), RowsDigest()
        async for piece in stored_rows(rows, wanted):
            data = packed(piece)
            digest.add_packed(series_of(piece), len(piece), data)
            spill.add(piece, data)
        spill.flush()
        computed = Computed(parts=digest.parts())
        log = await _log_range(store, wanted.until)
        return await asyncio.to_thread(_written, wanted, log, computed, folder, path, max_rows)
    finally:
        remove_folder(folder)


async def reproduce(
    database_url: str,
    manifest: Manifest,
    path: Path,
    *,
    workers: int = 1,
    report: Report = lambda _: None,
) -> Manifest:
    """Export again what ``manifest`` describes into ``path``; returns the manifest of what came out."""
    async with PostgresEventStore(database_url) as store:
        wanted = await wanted_again(store, manifest)
    return await export(database_url, wanted, path, workers=workers, report=report)


def compare(manifest: Manifest, again: Manifest) -> Sequence[str]:
    """What differs, in sentences; none: the file is the same, bit for bit.

    Other bytes for the same rows come from another version of the Parquet writer, and are said to.
    """
    found = []
    if manifest.values_digest != again.values_digest:
        mine, theirs = manifest.parts, again.parts
        parted = sorted(s for s in mine.keys() | theirs.keys() if mine.get(s) != theirs.get(s))
        names = ", ".join(f"{i} {t}m" for i, t in parted[:5])
        found.append(f"the rows of {len(parted)} series differ: {names}")
    if manifest.sha256 != again.sha256:
        was, is_ = manifest.writer["version"], again.writer["version"]
        why = f"; written by pyarrow {was}, now by {is_}" if was != is_ else ""
        found.append(f"the file has SHA-256 {again.sha256}, the manifest says {manifest.sha256}{why}")
    return found


def _written(
    wanted: Wanted, log: LogRange, computed: Computed, folder: Path, path: Path, max_rows: int
) -> Manifest:
    if computed.rows > max_rows:
        raise TooManyRows(f"{computed.rows} rows, over {max_rows}")
    names = wanted.defined.columns
    name = f"{wanted.defined.name}@{wanted.defined.version}"
    metadata = {"alphapulse.set": name, "alphapulse.values_digest": computed.digest}
    with AtomicFile(path) as parquet, AtomicFile(manifest_path(path)) as beside:
        write_features(parquet.temporary, names, _in_order(folder, computed, len(names)), metadata)
        manifest = _manifest(wanted, log, computed, parquet.temporary)
        beside.temporary.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        parquet.commit()
        beside.commit()
    return manifest


def _in_order(folder: Path, computed: Computed, features: int) -> Iterator[FeatureRows]:
    for series in sorted(computed.parts):
        yield from unspilled(folder, series, features)


def _manifest(wanted: Wanted, log: LogRange, computed: Computed, parquet: Path) -> Manifest:
    defined = wanted.defined
    parts = sorted(computed.parts.items())
    return Manifest(
        format=FORMAT,
        set_name=defined.name,
        set_version=defined.version,
        set_digest=defined.digest,
        features=tuple(msgspec.structs.asdict(feature) for feature in defined.features),
        log=log,
        bounds=Bounds(
            instruments=wanted.instruments,
            timeframes=wanted.timeframes,
            first_start=wanted.first_start,
            end_start=wanted.end_start,
            known_by=wanted.known_by,
        ),
        rows=computed.rows,
        series=tuple(
            SeriesPart(instrument=i, timeframe=t, rows=count, sha256=digest)
            for (i, t), (count, digest) in parts
        ),
        columns=tuple((field.name, str(field.type)) for field in schema(defined.columns)),
        values_digest=whole_digest(parts),
        sha256=sha256_of(parquet),
        bytes=parquet.stat().st_size,
        writer=writer_settings(),
        code={"alphapulse": alphapulse.__version__, "python": platform.python_version()},
        skipped=tuple(computed.skipped),
    )


async def _log_range(store: EventStore, until: int) -> LogRange:
    """The last event at or before ``until``, looked for backwards: positions have gaps."""
    reach, last = 1, None
    while last is None and reach < 16 * until:
        last = await _last_event(store, max(0, until - reach), until)
        reach *= 16
    return LogRange(until=until, last_event=last)


async def _last_event(store: EventStore, after: int, until: int) -> str | None:
    last = None
    while after < until:
        page = await store.read(after, until=until)
        last = str(page.records[-1].envelope.event_id) if page.records else last
        if page.scanned_to == after:
            break
        after = page.scanned_to
    return last
