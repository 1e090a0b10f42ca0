"""What somebody with a bundle in hand, time and wits can make of it: altered copies, as whole as can be.

Lines are held as raw JSON by field, so what is not altered keeps its bytes. A forger is *careful* who brings
sizes and digests of the manifest in order again, and *adaptive* who also recomputes commitment and hash of
what was altered. Only one who holds the log's key can sign a checkpoint anew.
"""

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from alphapulse.adapters.provenance.decoded import decoded
from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.verifier.bundle import Asked, verify_bundle
from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.note import key_of
from alphapulse.domain.provenance.checkpoint import Checkpoint, Counts, checkpoint_of
from alphapulse.domain.provenance.leaf import Leaf, commitment_of
from alphapulse.domain.provenance.merkle import Frontier, cover
from alphapulse.domain.provenance.notes import NoteKey, Signer, parse_note

Line = dict[str, Raw]

COLUMNS = (
    *("position", "id", "stream", "version", "name", "recorded_at", "event_time", "cause", "correlation"),
    *("actor", "trace", "id_lo", "id_hi"),
)
BODY = ("commitment", "salt", "state", "hash", "event")
NULL = Raw(b"null")
BASE64 = ("commitment", "salt", "state", "hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An honest bundle: its members, who signed it, and earlier checkpoints of its log."""

    name: str
    members: Mapping[str, bytes]
    signer: KeySigner
    earlier: Sequence[str] = ()
    witness: NoteKey | None = None  # one that cosigned a checkpoint, and that the receiver trusts

    @property
    def asked(self) -> Asked:
        witnesses = [] if self.witness is None else [key_of(str(self.witness))]
        return Asked(key=key_of(str(self.signer.key)), witnesses=witnesses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """An altered bundle; ``leaf`` and ``fields`` where the verifier is to name them."""

    how: str
    data: bytes
    asked: Asked
    leaf: frozenset[int] = frozenset()
    fields: frozenset[str] = frozenset()


@dataclass(slots=True)
class Draft:
    """Members and lines in the making."""

    given: Given
    members: dict[str, bytes] = field(init=False)
    lines: list[Line] = field(init=False)

    def __post_init__(self) -> None:
        self.members = dict(self.given.members)
        self.lines = lines_of(self.members)

    @property
    def events(self) -> Sequence[int]:
        """Which lines are events."""
        return [i for i, line in enumerate(self.lines) if "gap" not in line]

    def careful(self) -> bytes:
        """The lines in one file, and the manifest as it has to be."""
        self._write_lines()
        repair_manifest(self.members)
        return packed(self.members)

    def careless(self) -> bytes:
        """The manifest as it was."""
        self._write_lines()
        return packed(self.members)

    def _write_lines(self) -> None:
        rest = {name: data for name, data in self.members.items() if not name.startswith("events/")}
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in self.lines)
        self.members = {}
        for name, data in rest.items():
            self.members[name] = data
            if name == "signals.txt":
                self.members["events/000001.jsonl"] = text

    def sign(self, signer: Signer, counts: Counts | None = None, size: int | None = None) -> None:
        """A new checkpoint over what the lines give, under ``signer``."""
        was = checkpoint_of(parse_note(self.members["checkpoint"].decode()).text)
        tree = Frontier()
        for line in self.lines:
            append(tree, line)
        extensions = was.extensions if counts is None else (counts.line(),)
        made = Checkpoint(
            origin=was.origin,
            size=tree.size if size is None else size,
            root=tree.root(),
            extensions=extensions,
        )
        self.members["checkpoint"] = str(made.sign(signer)).encode()
        if counts is not None:
            self.members["signals.txt"] = counts.text().encode()
        manifest = json.loads(self.members["manifest.json"])
        last = [value(self.lines[i], "position") for i in self.events][-1:]
        manifest.update(size=made.size, root=base64.b64encode(made.root).decode())
        if self.lines and "gap" not in self.lines[-1]:
            manifest["position"] = last[0]
        self.members["manifest.json"] = json.dumps(manifest).encode()


def append(tree: Frontier, line: Line) -> None:
    """What ``line`` stands for, by its own word."""
    if "gap" not in line:
        tree.append(base64.b64decode(value(line, "hash")))
        return
    lo, hi = value(line, "gap")
    for node, text in zip(cover(lo, hi), value(line, "nodes"), strict=True):
        tree.append(base64.b64decode(text), node.level)


def given_of(name: str, path: Path, signer: KeySigner, earlier: Sequence[str] = ()) -> Given:
    """The bundle at ``path``, without the script, which is large and only hashed."""
    members = members_of(path.read_bytes())
    members.pop("verify.py", None)
    repair_manifest(members)
    return Given(name=name, members=members, signer=signer, earlier=earlier)


def members_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found: dict[str, bytes] = {}
        for info in archive:
            file = archive.extractfile(info)
            assert file is not None
            found[info.name] = file.read()
    return found


def packed(members: Mapping[str, bytes], *, tar: Callable[[tarfile.TarInfo], None] | None = None) -> bytes:
    """An archive as an export writes it."""
    made = io.BytesIO()
    for name, data in members.items():
        info = tarfile.TarInfo(name)
        info.size = len(data)
        if tar is not None:
            tar(info)
        made.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
    return gzip.compress(made.getvalue() + bytes(1024), compresslevel=0, mtime=0)


def lines_of(members: Mapping[str, bytes]) -> list[Line]:
    text = b"".join(data for name, data in members.items() if name.startswith("events/"))
    decoder = msgspec.json.Decoder(dict[str, Raw])
    return [decoder.decode(line) for line in text.splitlines()]


def value(line: Line, name: str) -> Any:
    return msgspec.json.decode(line[name])


def put(line: Line, name: str, new: object) -> None:
    line[name] = Raw(msgspec.json.encode(new))


def repair_manifest(members: dict[str, bytes]) -> None:
    """Sizes, digests and counts, as they are now."""
    manifest = json.loads(members["manifest.json"])
    events = [line for line in lines_of(members) if "gap" not in line]
    manifest["events"] = len(events)
    for absent in ("erased", "withheld"):
        manifest[absent] = sum(absent in line for line in events)
    manifest["files"] = {
        name: {"bytes": len(data), "sha256": sha256(data).hexdigest()}
        for name, data in members.items()
        if name != "manifest.json"
    }
    members["manifest.json"] = json.dumps(manifest).encode()


def rehash(line: Line) -> None:
    """Commitment and hash as its other fields give them; what it shows decoded, too."""
    if line["state"] != NULL and line["salt"] != NULL:
        state = base64.b64decode(value(line, "state"))
        put(line, "commitment", commitment_of(base64.b64decode(value(line, "salt")), state))
        shown = decoded(state)
        line["event"] = Raw(b"null" if shown is None else shown)
    put(line, "hash", leaf_of_line(line).hash())


def leaf_of_line(line: Line) -> Leaf:
    """Raises ValueError: a column does not fit."""
    plain = {name: value(line, name) for name in COLUMNS}

    def number(name: str) -> int | None:
        return None if plain[name] is None else int(plain[name])

    def uuid(name: str) -> UUID | None:
        return None if plain[name] is None else UUID(plain[name])

    return Leaf(
        position=plain["position"],
        event_id=UUID(plain["id"]),
        stream=plain["stream"],
        version=plain["version"],
        name=plain["name"],
        recorded_at=plain["recorded_at"],
        event_time=number("event_time"),
        cause_id=uuid("cause"),
        correlation_id=uuid("correlation"),
        actor=plain["actor"],
        trace=plain["trace"],
        id_lo=number("id_lo"),
        id_hi=number("id_hi"),
        commitment=base64.b64decode(value(line, "commitment")),
    )


def altered(random: Random, name: str, old: Any) -> Any:
    """Another value that this field may have: a byte, a digit or a letter differs, or it is there or not."""
    if name in BASE64:
        data = bytearray(base64.b64decode(old))
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        return base64.b64encode(data).decode()
    if isinstance(old, int):
        return abs(old ^ 1 << random.randrange(40))
    if old is None:
        made = str(UUID(int=random.getrandbits(128)))
        return {"cause": made, "correlation": made, "trace": "00-aa-bb-01"}.get(name, "12")
    if name in ("cause", "correlation", "id"):
        at = random.choice([i for i, letter in enumerate(old) if letter != "-"])
        return old[:at] + random.choice([d for d in "0123456789abcdef" if d != old[at]]) + old[at + 1 :]
    if name in ("event_time", "id_lo", "id_hi"):
        return str(int(old) ^ 1 << random.randrange(60))
    if random.random() < 0.2:
        return old + random.choice("x /é=")
    at = random.randrange(len(old))
    return old[:at] + random.choice([c for c in "abcxyz-0189é" if c != old[at]]) + old[at + 1 :]


def flipped(random: Random, data: bytes) -> bytes:
    """``data`` with one bit of one byte another."""
    found = bytearray(data)
    found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def verified(forged: Forged) -> Findings:
    return verify_bundle(lambda: io.BytesIO(forged.data), forged.asked)


def renumbered(lines: Sequence[Line]) -> list[Line]:
    """The lines as leaves one behind the other from 0, hashed anew: all of them events."""
    found = []
    for leaf, old in enumerate(lines):
        line = dict(old)
        put(line, "leaf", leaf)
        put(line, "hash", leaf_of_line(line).hash())
        found.append(line)
    return found
