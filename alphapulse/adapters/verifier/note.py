"""Signed notes, keys and checkpoints, as C2SP's signed-note, tlog-checkpoint and tlog-cosignature say."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from typing import NamedTuple, Sequence

from alphapulse.adapters.verifier.ed25519 import is_signature

LOG_KEY = 1  # signs the text of a note
WITNESS_KEY = 4  # signs the text and a time
MAX_NOTE_CHARACTERS = 1_000_000
_MAX_NOTE_SIGNATURES = 100
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteRefused(Exception):
    """Not what it should be, or not signed by whom it should be."""


class Key(NamedTuple):
    """A public key: ``<name>+<id in hexadecimal>+<base64 of type and key>``."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.public).digest()[:4]

    def text(self) -> str:
        encoded = base64.b64encode(bytes((self.kind,)) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"


class SignedNote(NamedTuple):
    text: str
    signatures: Sequence[tuple[str, bytes, bytes]]  # name of the key, its id, the signature


class SignedCheckpoint(NamedTuple):
    origin: str
    size: int
    root: bytes
    extensions: Sequence[str]
    note: SignedNote


def bytes_of(text: str) -> bytes:
    """What canonical base64 stands for: one text for the same bytes, no other.

    Raises:
        NoteRefused: it is none.
    """
    try:
        found = binascii.a2b_base64(text)
        if binascii.b2a_base64(found, newline=False).decode() == text:
            return found
    except ValueError:  # an error of base64 is one
        pass
    raise NoteRefused(f"{_shortened(text)} is not base64")


def hash_in(text: object) -> bytes:
    """The 32 bytes that ``text`` is the base64 of.

    Raises:
        NoteRefused: they are not.
    """
    if not isinstance(text, str):
        raise NoteRefused(f"no hash but {_shortened(repr(text))}")
    found = bytes_of(text)
    if len(found) != 32:
        raise NoteRefused(f"a hash of {len(found)} bytes, not 32")
    return found


def key_of(text: str) -> Key:
    """Raises NoteRefused."""
    parts = text.split("+", 2)
    if len(parts) != 3 or not _is_key_name(parts[0]):
        raise NoteRefused(f"{_shortened(text)} is no key: name+id+base64")
    data = bytes_of(parts[2])
    if len(data) != 33 or data[0] not in (LOG_KEY, WITNESS_KEY):
        raise NoteRefused(f"the key of {parts[0]} is of a kind that is not known here")
    key = Key(parts[0], data[0], data[1:])
    if key.id.hex() != parts[1]:
        raise NoteRefused(f"the key of {key.name} has id {key.id.hex()}, not {parts[1]}")
    return key


def note_of(text: str) -> SignedNote:
    """The parts of a note, whose signatures are not checked yet.

    Raises:
        NoteRefused: it is none.
    """
    body, found, tail = text.rpartition("\n\n")
    if len(text) > MAX_NOTE_CHARACTERS or not found or not tail.endswith("\n"):
        raise NoteRefused("no signed note: a text, an empty line, and lines of signatures")
    if re.search(r"[\x00-\x09\x0b-\x1f]", text):
        raise NoteRefused("a note holds no control characters but newlines")
    lines = tail[:-1].split("\n")
    if len(lines) > _MAX_NOTE_SIGNATURES:
        raise NoteRefused(f"{len(lines)} signatures under a note")
    return SignedNote(body + "\n", [_signature_of(line) for line in lines])


def check_signed(note: SignedNote, key: Key) -> None:
    """Raises NoteRefused unless ``key`` signed the note."""
    own = [value for name, key_id, value in note.signatures if (name, key_id) == (key.name, key.id)]
    if not own:
        others = ", ".join(f"{name} ({key_id.hex()})" for name, key_id, _ in note.signatures)
        raise NoteRefused(f"not signed by {key.name} ({key.id.hex()}), but by {others}")
    for value in own:
        if not is_signature(key.public, note.text.encode(), value):
            raise NoteRefused(f"the signature of {key.name} ({key.id.hex()}) is not over this text")


def check_cosigned(note: SignedNote, witness: Key) -> int:
    """When ``witness`` says that it saw this note, in seconds since 1970 UTC; the last time of several.

    Raises:
        NoteRefused: it signed none, or something else.
    """
    own = [value for name, key_id, value in note.signatures if (name, key_id) == (witness.name, witness.id)]
    if not own:
        raise NoteRefused(f"not cosigned by {witness.name} ({witness.id.hex()})")
    times = []
    for value in own:
        time = int.from_bytes(value[:8], "big")
        message = f"cosignature/v1\ntime {time}\n{note.text}"
        if len(value) != 72 or not is_signature(witness.public, message.encode(), value[8:]):
            raise NoteRefused(f"the cosignature of {witness.name} is not over this text")
        times.append(time)
    return max(times)


def checkpoint_in(text: str, key: Key) -> SignedCheckpoint:
    """The checkpoint in a signed note, if ``key`` signed it for the log of its name.

    Raises:
        NoteRefused: it did not, or this is no checkpoint.
    """
    note = note_of(text)
    check_signed(note, key)
    lines = note.text[:-1].split("\n")
    if len(lines) < 3 or not all(lines) or not _NUMBER.fullmatch(lines[1]):
        raise NoteRefused("no checkpoint: origin, number of leaves, root")
    if lines[0] != key.name:
        raise NoteRefused(f"a checkpoint of {_shortened(lines[0])}, signed by {key.name}")
    return SignedCheckpoint(lines[0], int(lines[1]), hash_in(lines[2]), lines[3:], note)


def counts_in(text: str, checkpoint: SignedCheckpoint) -> dict[str, int]:
    """How many signals each strategy has issued, by the list that ``checkpoint`` commits to.

    Raises:
        NoteRefused: it commits to another list, or to none.
    """
    committed = [line.split(" ") for line in checkpoint.extensions if line.startswith("signals ")]
    if len(committed) != 1 or len(committed[0]) != 4:
        raise NoteRefused("the checkpoint does not commit to counts of signals")
    digest = base64.b64encode(sha256(text.encode()).digest()).decode()
    if digest != committed[0][3]:
        raise NoteRefused(f"the list has SHA-256 {digest}, the checkpoint commits to {committed[0][3]}")
    counts: dict[str, int] = {}
    if text and not text.endswith("\n"):
        raise NoteRefused("the list of counts breaks off")
    for line in text.split("\n")[:-1]:
        count, _, strategy = line.partition(" ")
        if not _NUMBER.fullmatch(count) or not strategy or strategy in counts:
            raise NoteRefused(f"{_shortened(line)} is no count of a strategy")
        counts[strategy] = int(count)
    if committed[0][1:3] != [str(len(counts)), str(sum(counts.values()))]:
        raise NoteRefused(
            f"the list has {len(counts)} strategies and {sum(counts.values())} signals, "
            f"the checkpoint says {committed[0][1]} and {committed[0][2]}"
        )
    return counts


def _signature_of(line: str) -> tuple[str, bytes, bytes]:
    words: list[str] = line.split(" ")
    if len(words) != 3 or words[0] != "\u2014" or not _is_key_name(words[1]):
        raise NoteRefused(f"{_shortened(line)} is no line of a signature")
    value = bytes_of(words[2])
    if len(value) < 5:
        raise NoteRefused(f"the signature of {words[1]} has {len(value)} bytes")
    return words[1], value[:4], value[4:]


def _is_key_name(name: str) -> bool:
    return bool(name) and name.isprintable() and "+" not in name and not any(map(str.isspace, name))


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "...")
