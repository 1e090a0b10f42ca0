"""OpenTimestamps proofs (opentimestamps.org): operations from a digest to what stands in a Bitcoin block.

A timestamp is a tree. Each node has a message, which operations turn into those of further nodes, and
attestations say of a node's message when it was there:

    pending    a calendar promises to tell more; its address
    bitcoin    the message is the Merkle root in the header of the block of this height

A detached file ``.ots`` is a magic number, version 1, SHA-256's tag, the digest, and the tree. Numbers are
unsigned LEB128; 0xff before each but the last part of a node; 0x00 before an attestation, which is a tag of 8
bytes and a payload with its length. Facts from python-opentimestamps 0.4.5 (core/timestamp.py, op.py,
notary.py).

Beside a bitcoin attestation we put one of a kind of our own, with the block's header: readers that do not
know it skip it. With it the time can be told, and the work that stands behind it, without asking anybody.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

MAX_BYTES = 100_000  # of a file
MAX_MESSAGE = 4_096
MAX_PAYLOAD = 8_192
MAX_DEPTH = 256
MAX_URI = 1_000
PENDING = bytes.fromhex("83dfe30d2ef90c8e")
BITCOIN = bytes.fromhex("0588960d73d71901")
BLOCK_HEADER = sha256(b"alphapulse: header of a bitcoin block").digest()[:8]
_MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94"
_VERSION = 1
_APPEND, _PREPEND, _REVERSE, _HEXLIFY, _SHA256 = 0xF0, 0xF1, 0xF2, 0xF3, 0x08
_HASHES = {0x02: "sha1", 0x03: "ripemd160", _SHA256: "sha256"}
_KECCAK = 0x67  # known, but no hash of ours
_MORE, _ATTESTATION = 0xFF, 0x00
_URI_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:")


class BadTimestamp(ValueError):
    """Not such a timestamp; says what is wrong and where."""


@dataclass(frozen=True, slots=True, order=True)
class Op:
    tag: int
    argument: bytes = b""

    def __call__(self, message: bytes) -> bytes:
        """What becomes of ``message``.

        Raises:
            BadTimestamp: it becomes longer than messages may be, or we do not know the operation.
        """
        if len(found := self._applied(message)) > MAX_MESSAGE:
            raise BadTimestamp(f"a message of {len(found)} bytes, where {MAX_MESSAGE} are the most")
        return found

    def _applied(self, message: bytes) -> bytes:
        match self.tag:
            case 0xF0:
                return message + self.argument
            case 0xF1:
                return self.argument + message
            case 0xF2:
                return message[::-1]
            case 0xF3:
                return message.hex().encode()
        try:
            return hashlib.new(_HASHES[self.tag], message).digest()  # the format's choice, not ours
        except (KeyError, ValueError):
            raise BadTimestamp(f"operation {self.tag:#04x} cannot be done here") from None


SHA256 = Op(_SHA256)


def append(argument: bytes) -> Op:
    return Op(_APPEND, argument)


@dataclass(frozen=True, slots=True, order=True)
class Attestation:
    tag: bytes
    payload: bytes

    @property
    def uri(self) -> str | None:
        """The calendar, of a pending one.

        Raises:
            BadTimestamp: it is none, or holds letters that no address of a calendar has.
        """
        if self.tag != PENDING:
            return None
        reader = _Reader(self.payload)
        uri = reader.varbytes(MAX_URI).decode("latin-1")
        reader.end()
        if not set(uri) <= _URI_LETTERS or not uri.startswith(("https://", "http://")):
            raise BadTimestamp(f"{uri!r} is no address of a calendar")
        return uri

    @property
    def height(self) -> int | None:
        """The number of the block, of a bitcoin one."""
        if self.tag != BITCOIN:
            return None
        reader = _Reader(self.payload)
        height = reader.number()
        reader.end()
        return height


@dataclass(frozen=True, slots=True)
class Timestamp:
    attestations: Sequence[Attestation] = ()
    branches: Sequence[tuple[Op, "Timestamp"]] = ()

    def attested(self, message: bytes) -> Iterator[tuple[bytes, Attestation]]:
        """Each attestation with the message that it is about, when the tree begins with ``message``."""
        yield from ((message, attestation) for attestation in self.attestations)
        for op, further in self.branches:
            yield from further.attested(op(message))

    def merged(self, other: "Timestamp") -> "Timestamp":
        """What both say."""
        branches = dict(self.branches)
        for op, further in other.branches:
            branches[op] = branches[op].merged(further) if op in branches else further
        return Timestamp(
            sorted({*self.attestations, *other.attestations}),
            sorted(branches.items(), key=lambda branch: branch[0]),
        )

    def upgraded(self, message: bytes, at: bytes, more: "Timestamp") -> "Timestamp":
        """With ``more`` merged in wherever the message is ``at``, when the tree begins with ``message``."""
        branches = [(op, further.upgraded(op(message), at, more)) for op, further in self.branches]
        found = replace(self, branches=branches)
        return found.merged(more) if message == at else found

    def serialized(self) -> bytes:
        parts = [bytes([_ATTESTATION]) + a.tag + _varbytes(a.payload) for a in sorted(self.attestations)] + [
            _op(op) + further.serialized() for op, further in self.branches
        ]
        if not parts:
            raise BadTimestamp("a timestamp that says nothing")
        return b"".join(bytes([_MORE]) + part for part in parts[:-1]) + parts[-1]


def chain(ops: Sequence[Op], end: Timestamp) -> Timestamp:
    """The timestamp that is ``end`` after ``ops``."""
    for op in reversed(ops):
        end = Timestamp(branches=[(op, end)])
    return end


def file_of(digest: bytes, timestamp: Timestamp) -> bytes:
    """The detached file for what has the SHA-256 ``digest``."""
    return _MAGIC + _varint(_VERSION) + bytes([_SHA256]) + digest + timestamp.serialized()


def parse_file(data: bytes) -> tuple[bytes, Timestamp]:
    """The digest and the timestamp of a detached file.

    Raises:
        BadTimestamp: it is none, or not of a SHA-256.
    """
    if len(data) > MAX_BYTES:
        raise BadTimestamp(f"{len(data)} bytes, where {MAX_BYTES} are the most")
    reader = _Reader(data)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise BadTimestamp("it does not begin as a file of OpenTimestamps does")
    if (version := reader.number()) != _VERSION:
        raise BadTimestamp(f"version {version}, where {_VERSION} is known")
    if (tag := reader.byte()) != _SHA256:
        raise BadTimestamp(f"a digest by operation {tag:#04x}, not SHA-256")
    digest = reader.take(32)
    timestamp = _timestamp(reader, MAX_DEPTH)
    reader.end()
    return digest, timestamp


def parse_timestamp(data: bytes) -> Timestamp:
    """What a calendar answers.

    Raises:
        BadTimestamp: it is none.
    """
    if len(data) > MAX_BYTES:
        raise BadTimestamp(f"{len(data)} bytes, where {MAX_BYTES} are the most")
    reader = _Reader(data)
    found = _timestamp(reader, MAX_DEPTH)
    reader.end()
    return found


def _timestamp(reader: "_Reader", depth: int) -> Timestamp:
    if not depth:
        raise BadTimestamp(f"more than {MAX_DEPTH} operations one behind the other")
    attestations, branches = list[Attestation](), list[tuple[Op, Timestamp]]()
    is_last = False
    while not is_last:
        tag = reader.byte()
        is_last = tag != _MORE
        if not is_last:
            tag = reader.byte()
        if tag == _ATTESTATION:
            attestations.append(Attestation(reader.take(8), reader.varbytes(MAX_PAYLOAD)))
        else:
            branches.append((_read_op(reader, tag), _timestamp(reader, depth - 1)))
    return Timestamp(attestations, branches)


def _read_op(reader: "_Reader", tag: int) -> Op:
    if tag in (_APPEND, _PREPEND):
        return Op(tag, reader.varbytes(MAX_MESSAGE, least=1))
    if tag in (_REVERSE, _HEXLIFY, _KECCAK, *_HASHES):
        return Op(tag)
    raise BadTimestamp(f"operation {tag:#04x} at byte {reader.at - 1} is not known")


def _op(op: Op) -> bytes:
    return bytes([op.tag]) + (_varbytes(op.argument) if op.tag in (_APPEND, _PREPEND) else b"")


def _varbytes(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        found = self.data[self.at : self.at + count]
        if len(found) != count:
            raise BadTimestamp(f"it ends at byte {len(self.data)}, where {self.at + count} are needed")
        self.at += count
        return found

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        found = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise BadTimestamp(f"a number of more than 5 bytes at byte {self.at}")

    def varbytes(self, most: int, *, least: int = 0) -> bytes:
        count = self.number()
        if not least <= count <= most:
            raise BadTimestamp(f"{count} bytes at byte {self.at}, where {least} to {most} belong")
        return self.take(count)

    def end(self) -> None:
        if self.at != len(self.data):
            raise BadTimestamp(f"{len(self.data) - self.at} bytes behind its end")
