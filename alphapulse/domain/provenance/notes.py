"""Signed notes as C2SP signed-note defines them: a text, and lines that say who signed it.

    <text, which ends with a newline>
    <empty line>
    — <key name> <base64 of the key id's 4 bytes and the signature>

Keys travel as ``<name>+<key id in hexadecimal>+<base64 of the type and the public key>``; Go's
golang.org/x/mod/sumdb/note reads and writes the same. The arithmetic of signatures is handed in.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

ED25519 = 1  # the type of a key that signs the text
COSIGNATURE = 4  # the type of a witness's key, which signs the text and a time
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
_DASH = "\u2014 "


class BadNote(ValueError):
    """Not a signed note, or not signed by whom it should be; says what is wrong."""


class Signer(Protocol):
    """Holds a private key."""

    @property
    def key(self) -> "NoteKey":
        """The public half."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 (RFC 8032) over ``message``."""
        ...


class Ed25519(Protocol):
    def __call__(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` (64 bytes) over ``message`` is of ``public`` (32 bytes)."""
        ...


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key under a name: who it is for readers, and the first word of its signature lines."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise BadNote(f"{self.name!r} is no name of a key: no spaces, no plus sign, not empty")
        if len(self.public) != 32:
            raise BadNote(f"a public key of {len(self.public)} bytes, not 32")

    @property
    def id(self) -> bytes:
        """4 bytes: the first of SHA-256 over name, newline, type and public key."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encode(bytes([self.kind]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "NoteKey":
        """Raises BadNote: it is no key, or its id is not of this name and key."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise BadNote(f"{text!r} is no key: name+id+base64")
        name, key_id, data = parts[0], parts[1], decode_base64(parts[2])
        if len(data) != 33 or data[0] not in (ED25519, COSIGNATURE):
            raise BadNote(f"the key of {name} is neither of Ed25519 nor a witness's: {len(data)} bytes")
        key = cls(name, data[0], data[1:])
        if key.id.hex() != key_id.lower():
            raise BadNote(f"the key of {name} has id {key.id.hex()}, not {key_id}")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {_encode(self.key_id + self.value)}\n"

    def is_of(self, key: NoteKey) -> bool:
        return self.name == key.name and self.key_id == key.id


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    signatures: Sequence[Signature]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


def is_name(name: str) -> bool:
    """Whether a key may be called so."""
    return bool(re.fullmatch(r"[^\s+]+", name)) and name.isprintable()


def parse_note(text: str) -> Note:
    """The parts of a note; whether its signatures are true is for ``check``.

    Raises:
        BadNote: it is none.
    """
    if len(text) > MAX_NOTE_BYTES:
        raise BadNote(f"a note of {len(text)} characters, where {MAX_NOTE_BYTES} are the most")
    if any(ord(letter) < 32 and letter != "\n" for letter in text):
        raise BadNote("a note holds no control characters but newlines")
    body, found, tail = text.rpartition("\n\n")
    if not found or not tail.endswith("\n"):
        raise BadNote("a note is a text, an empty line, and lines of signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise BadNote(f"{len(lines)} signatures, where {MAX_SIGNATURES} are the most")
    return Note(body + "\n", [parse_signature(line) for line in lines])


def parse_signature(line: str) -> Signature:
    """Raises BadNote: ``line`` is no line of a signature."""
    name, _, data = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not is_name(name):
        raise BadNote(f"{line!r} is no line of a signature")
    value = decode_base64(data)
    if len(value) < 5:
        raise BadNote(f"the signature of {name} has {len(value)} bytes")
    return Signature(name, value[:4], value[4:])


def signed(text: str, signer: Signer) -> Note:
    """``text`` under one signature."""
    if not text.endswith("\n"):
        raise BadNote("the text of a note ends with a newline")
    return Note(text, [Signature(signer.key.name, signer.key.id, signer.sign(text.encode()))])


def check(note: Note, key: NoteKey, ed25519: Ed25519) -> None:
    """Raises BadNote unless ``key`` signed the note."""
    own = [signature for signature in note.signatures if signature.is_of(key)]
    if not own:
        names = ", ".join(f"{s.name} ({s.key_id.hex()})" for s in note.signatures)
        raise BadNote(f"not signed by {key.name} ({key.id.hex()}), but by {names}")
    for signature in own:
        if not ed25519(key.public, note.text.encode(), signature.value):
            raise BadNote(f"the signature of {key.name} ({key.id.hex()}) is not over this text")


def decode_base64(text: str) -> bytes:
    """Standard base64 with its padding, and nothing else: each value has one text only.

    Raises:
        BadNote: it is not.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadNote(f"{text!r} is not base64: {error}") from None
    if _encode(data) != text:  # the last letter may carry bits that mean nothing
        raise BadNote(f"{text!r} is not base64 as it is written: {_encode(data)!r}")
    return data


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
