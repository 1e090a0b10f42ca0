"""Checkpoints as C2SP tlog-checkpoint defines them: how many leaves the tree has, and its root.

    <origin: which log this is>
    <number of leaves>
    <base64 of the root>
    signals <strategies> <signals> <base64 of SHA-256 over the list of counts>

The last line is ours, allowed as an extension: it commits to how many signals each strategy has issued
among these leaves, so that none can be left out later. The list has a line for each strategy with signals,
``<count> <strategy>``, in the order of the strategies' UTF-8.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from alphapulse.domain.provenance.merkle import HASH_BYTES
from alphapulse.domain.provenance.notes import (
    BadNote,
    Ed25519,
    Note,
    NoteKey,
    Signer,
    check,
    decode_base64,
    is_name,
    parse_note,
    signed,
)

_SIGNALS = "signals "


@dataclass(frozen=True, slots=True)
class Counts:
    """How many signals each strategy has issued."""

    of: Mapping[str, int]

    def text(self) -> str:
        """The list that a checkpoint commits to."""
        return "".join(f"{self.of[name]} {name}\n" for name in sorted(self.of, key=str.encode))

    def line(self) -> str:
        """What the checkpoint says of it."""
        digest = base64.b64encode(sha256(self.text().encode()).digest()).decode()
        return f"{_SIGNALS}{len(self.of)} {sum(self.of.values())} {digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes
    extensions: Sequence[str] = ()

    def text(self) -> str:
        """What is signed."""
        root = base64.b64encode(self.root).decode()
        return "\n".join((self.origin, str(self.size), root, *self.extensions)) + "\n"

    def sign(self, signer: Signer) -> Note:
        return signed(self.text(), signer)

    @property
    def signals_line(self) -> str | None:
        """What it says of signals; None where it says nothing."""
        return next((line for line in self.extensions if line.startswith(_SIGNALS)), None)


def checkpoint_of(text: str) -> Checkpoint:
    """The checkpoint that ``text``, of a note, is.

    Raises:
        BadNote: it is none.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop():
        raise BadNote("a checkpoint has a line for its origin, its size and its root")
    origin, size, root, *extensions = lines
    if not is_name(origin):
        raise BadNote(f"{origin!r} is no name of a log")
    if not size.isascii() or not size.isdigit() or (size != "0" and size[0] == "0"):
        raise BadNote(f"{size!r} is no number of leaves")
    if len(found := decode_base64(root)) != HASH_BYTES:
        raise BadNote(f"a root of {len(found)} bytes, not {HASH_BYTES}")
    if not all(extensions):
        raise BadNote("a checkpoint has no empty lines")
    return Checkpoint(origin=origin, size=int(size), root=found, extensions=tuple(extensions))


def open_checkpoint(note: str, key: NoteKey, ed25519: Ed25519) -> Checkpoint:
    """The checkpoint in a signed note, if ``key`` signed it for the log of its name.

    Raises:
        BadNote: it did not, or this is no checkpoint of that log.
    """
    found = parse_note(note)
    check(found, key, ed25519)
    checkpoint = checkpoint_of(found.text)
    if checkpoint.origin != key.name:
        raise BadNote(f"a checkpoint of {checkpoint.origin}, signed by {key.name}")
    return checkpoint
