"""Exporting what is sealed: a bundle that a stranger verifies without us.

The checkpoint is chosen first and does not change; then the log is read once up to it, a page at a time, and
written in parts. Killed, it goes on behind its last part and ends with the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

import msgspec

from alphapulse.adapters.provenance.bundles import BundleFile, Member, member, packed
from alphapulse.adapters.provenance.partial import OtherExport, Partial, PartDone
from alphapulse.domain.ports import EventStore
from alphapulse.domain.provenance.lines import EventLine, Line
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.domain.provenance.sealing import Sealed, SealedLog
from alphapulse.domain.provenance.selection import Selection, positions_of
from alphapulse.processes.audit_lines import Withheld, batches, never

FORMAT = "alphapulse-bundle-1"
MAX_EVENTS_A_PART = 10_000
MAX_BYTES_A_PART = 16_000_000


class NothingSelected(Exception):
    """No sealed event fits what was asked for."""


class NotSealed(Exception):
    """There is no checkpoint yet that holds what was asked for."""


class Standing(msgspec.Struct, kw_only=True):
    """How far an export is: all that is needed to go on with it."""

    asked: Selection
    run: UUID  # of this export, however often it is gone on with
    size: int
    root: bytes
    note: str
    position: int  # of the last event in the checkpoint
    leaf: int = 0  # the next that a line is wanted for
    scanned_to: int = 0
    events: int = 0
    erased: int = 0
    withheld: int = 0
    parts: list[PartDone] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """``root`` and ``size`` of the checkpoint; ``sha256`` of the manifest, in hexadecimal."""

    out: Path
    run: UUID
    size: int
    root: bytes
    events: int
    erased: int
    withheld: int
    bytes: int
    sha256: str


async def export(
    log: EventStore,
    seals: SealedLog,
    asked: Selection,
    out: Path,
    *,
    key: NoteKey,
    kind: str = "export",
    members: Mapping[str, bytes] | None = None,
    withheld: Withheld = never,
) -> Exported:
    """Write what is ``asked`` for to ``out``. ``key`` is the log's; ``members`` are added as they are.

    Raises:
        NothingSelected, NotSealed, OtherExport: see there.
        NotItsLeaf: the store holds something that was not sealed so.
    """
    work = Partial(out)
    standing = await _begun(seals, asked, work)
    parts = _Parts(work, standing)
    first, last = positions_of(asked, standing.position)
    async for batch in batches(
        log,
        seals,
        size=standing.size,
        after=max(first, standing.scanned_to),
        until=last,
        leaf=standing.leaf,
        names=asked.names or None,
        streams=asked.streams or None,
        admits=asked.admits,
        withheld=withheld,
    ):
        for line in batch.lines:
            parts.add(line)
    if not standing.events:
        raise NothingSelected(f"no event up to position {standing.position} fits {asked.told()}")
    parts.land()
    return await _finish(seals, standing, work, _head(standing, key, kind), members or {})


async def _begun(seals: SealedLog, asked: Selection, work: Partial) -> Standing:
    held: Standing | None = work.load(Standing)
    if held is None:
        sealed = await _checkpoint(seals)
        work.begin()
        return _new(asked, sealed)
    if held.asked != asked:
        raise OtherExport(f"{work.folder} is of {held.asked.told()}, not of {asked.told()}")
    return held


async def _checkpoint(seals: SealedLog) -> Sealed:
    sealed = await seals.sealed()
    if sealed is None:
        raise NotSealed("nothing is sealed yet: is the role seal running?")
    return sealed


def _new(asked: Selection, sealed: Sealed) -> Standing:
    return Standing(
        asked=asked,
        run=uuid4(),
        size=sealed.size,
        root=sealed.root,
        note=sealed.note,
        position=sealed.position,
    )


class _Parts:
    """Lines on their way to files of at most 10,000 events."""

    def __init__(self, work: Partial, standing: Standing) -> None:
        self._work, self._standing = work, standing
        self._text = bytearray()
        self._events = 0
        self._encoder = msgspec.json.Encoder()

    def add(self, line: Line) -> None:
        """A part ends behind an event, so it is the same wherever reading began."""
        self._text += self._encoder.encode(line)
        self._text += b"\n"
        standing = self._standing
        if not isinstance(line, EventLine):
            standing.leaf = line.gap[1]
            return
        standing.leaf, standing.scanned_to = line.leaf + 1, line.position
        standing.events += 1
        standing.erased += line.erased is True
        standing.withheld += line.withheld is True
        self._events += 1
        if self._events >= MAX_EVENTS_A_PART or len(self._text) >= MAX_BYTES_A_PART:
            self.land()

    def land(self) -> None:
        """Put what is there to disk as a part, and the standing with it."""
        if not self._text:
            return
        name = f"events/{len(self._standing.parts) + 1:06d}.jsonl"
        done = self._work.put(member(name, self._text), packed(name, self._text))
        self._standing.parts.append(done)
        self._work.save(self._standing)
        self._text.clear()
        self._events = 0


def _head(standing: Standing, key: NoteKey, kind: str) -> Mapping[str, object]:
    """The manifest but for its files."""
    return {
        "format": FORMAT,
        "kind": kind,
        "origin": key.name,
        "key": str(key),
        "size": standing.size,
        "root": standing.root,
        "filter": standing.asked.told(),
        "events": standing.events,
        "erased": standing.erased,
        "withheld": standing.withheld,
        "position": standing.position,
    }


async def _finish(
    seals: SealedLog,
    standing: Standing,
    work: Partial,
    head: Mapping[str, object],
    members: Mapping[str, bytes],
) -> Exported:
    before = {
        "checkpoint": standing.note.encode(),
        "signals.txt": (await seals.counts(standing.size)).text().encode(),
    }
    files: Sequence[Member | PartDone] = (
        *(member(name, content) for name, content in before.items()),
        *standing.parts,
        *(member(name, content) for name, content in members.items()),
    )
    said = {file.name: {"bytes": file.bytes, "sha256": file.sha256} for file in files}
    manifest = msgspec.json.format(msgspec.json.encode({**head, "files": said}), indent=1) + b"\n"
    made = work.scratch("bundle")
    with made.open("wb") as file:
        bundle = BundleFile(file)
        bundle.add([packed("manifest.json", manifest)])
        bundle.add(packed(name, content) for name, content in before.items())
        bundle.add(work.get(part) for part in standing.parts)
        bundle.add(packed(name, content) for name, content in members.items())
        bundle.end()
    work.finish(made)
    return Exported(
        out=work.out,
        run=standing.run,
        size=standing.size,
        root=standing.root,
        events=standing.events,
        erased=standing.erased,
        withheld=standing.withheld,
        bytes=work.out.stat().st_size,
        sha256=sha256(manifest).hexdigest(),
    )
