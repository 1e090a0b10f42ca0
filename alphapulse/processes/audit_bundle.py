"""Putting a bundle together out of its parts: the manifest says what every other file is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from alphapulse.adapters.provenance.bundles import (
    BundleFile,
    Content,
    Member,
    Packed,
    member,
    member_file,
    packed,
    packed_file,
)
from alphapulse.adapters.provenance.partial import PartDone, Partial
from alphapulse.adapters.provenance.tables import write_csv, write_parquet
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.processes.audit_standing import Standing

FORMAT = "alphapulse-bundle-1"
TABLES: Mapping[str, Callable[[Path, Iterator[bytes]], None]] = {"csv": write_csv, "parquet": write_parquet}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What goes into a bundle besides its events."""

    key: NoteKey
    signals: bytes
    consistency: bytes | None
    anchors: Sequence[tuple[str, bytes]]
    members: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A bundle on disk, and SHA-256 of its manifest in hexadecimal."""

    path: Path
    manifest: str


class _File(NamedTuple):
    said: Member | PartDone
    pieces: Callable[[], Iterator[Packed]]


def write_bundle(work: Partial, standing: Standing, source: Source) -> Made:
    """The bundle, in the folder of its parts."""
    files = list(_files(work, standing, source))
    manifest = _manifest(standing, source, [file.said for file in files])
    path = work.scratch("bundle")
    with path.open("wb") as out:
        bundle = BundleFile(out)
        bundle.add([packed("manifest.json", manifest)])
        for file in files:
            bundle.add(file.pieces())
        bundle.end()
    return Made(path=path, manifest=sha256(manifest).hexdigest())


def _files(work: Partial, standing: Standing, source: Source) -> Iterator[_File]:
    """In the order in which they stand in the archive, after the manifest."""
    yield _plain("checkpoint", standing.sealed.note.encode())
    yield _plain("signals.txt", source.signals)
    for part in standing.parts:
        yield _part(work, part)
    if source.consistency is not None:
        yield _plain("consistency.json", source.consistency)
    for name, content in source.anchors:
        yield _plain(name, content)
    for kind in standing.wanted.tables:
        yield _table(work, standing, kind)
    for name, content in source.members.items():
        yield _plain(name, content)


def _plain(name: str, content: Content) -> _File:
    return _File(member(name, content), lambda: iter([packed(name, content)]))


def _part(work: Partial, part: PartDone) -> _File:
    return _File(part, lambda: iter([work.get(part)]))


def _table(work: Partial, standing: Standing, kind: str) -> _File:
    name = f"events.{kind}"
    path = work.scratch(name)
    TABLES[kind](path, (work.content(part) for part in standing.parts))
    return _File(member_file(name, path), lambda: packed_file(name, path))


def _manifest(standing: Standing, source: Source, files: Sequence[Member | PartDone]) -> bytes:
    reached, sealed = standing.reached, standing.sealed
    said = {
        "format": FORMAT,
        "kind": standing.wanted.kind,
        "origin": source.key.name,
        "key": str(source.key),
        "size": sealed.size,
        "root": sealed.root,
        "filter": standing.wanted.asked.told(),
        "events": reached.events,
        "erased": reached.erased,
        "withheld": reached.withheld,
        "position": sealed.position,
        "files": {file.name: {"bytes": file.bytes, "sha256": file.sha256} for file in files},
    }
    return msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n"
