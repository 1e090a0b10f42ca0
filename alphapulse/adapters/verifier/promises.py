"""OpenTimestamps files: from the digest of a note, operation by operation, to calendars and blocks.

A block's header may stand beside its number, in an attestation of our own. Then its Merkle root and its work
are checked here; that the block is in Bitcoin's chain is for who compares its hash.
"""

from __future__ import annotations

import hashlib
from hashlib import sha256
from typing import Iterator, NamedTuple, Sequence

_OTS_MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94\x01\x08"
_OTS_PENDING = bytes.fromhex("83dfe30d2ef90c8e")
_OTS_BITCOIN = bytes.fromhex("0588960d73d71901")
_OTS_HEADER = sha256(b"alphapulse: header of a bitcoin block").digest()[:8]
_OTS_HASHES = {0x02: "sha1", 0x03: "ripemd160", 0x08: "sha256"}
_MAX_OTS_BYTES = 100_000
_MAX_OTS_DEPTH = 256
_MAX_OTS_MESSAGE = 4_096
LEAST_BLOCK_WORK = 1 << 75  # hashes on average for one block; every block since 2020 took more


class PromiseRefused(Exception):
    """No OpenTimestamps file of this message."""


class Block(NamedTuple):
    """A Bitcoin block that commits to the message."""

    height: int
    root: bytes  # Merkle root of its transactions, as the header holds it
    header: bytes | None


class Promises(NamedTuple):
    calendars: Sequence[str]  # that promised to tell more
    blocks: Sequence[Block]


def promises_of(data: bytes, message: bytes, least_work: int = LEAST_BLOCK_WORK) -> Promises:
    """What the file ``data`` attests of ``message``.

    Raises:
        PromiseRefused: it is of another message, damaged, or holds a header that does not fit.
    """
    if len(data) > _MAX_OTS_BYTES or not data.startswith(_OTS_MAGIC):
        raise PromiseRefused("no file of OpenTimestamps over a SHA-256")
    digest = sha256(message).digest()
    at = len(_OTS_MAGIC)
    if data[at : at + 32] != digest:
        raise PromiseRefused(f"a timestamp of {data[at : at + 32].hex()}, and the note has {digest.hex()}")
    reader = _OtsReader(data, at + 32)
    attested = list(_attested(reader, digest, _MAX_OTS_DEPTH))
    if reader.at != len(data):
        raise PromiseRefused(f"{len(data) - reader.at} bytes behind its end")
    headers = {message: payload for message, tag, payload in attested if tag == _OTS_HEADER}
    for root, header in headers.items():
        _check_header(header, root, least_work)
    blocks = [
        Block(_OtsReader(payload, 0).number(), message, headers.get(message))
        for message, tag, payload in attested
        if tag == _OTS_BITCOIN
    ]
    calendars = [_calendar_in(payload) for _, tag, payload in attested if tag == _OTS_PENDING]
    return Promises(calendars, sorted(blocks, key=lambda block: block.height))


def block_hash(header: bytes) -> str:
    """As explorers write it."""
    return sha256(sha256(header).digest()).digest()[::-1].hex()


def block_time(header: bytes) -> int:
    """Seconds since 1970 UTC, by the miner: true to about two hours."""
    return int.from_bytes(header[68:72], "little")


def _check_header(header: bytes, root: bytes, least_work: int) -> None:
    if len(header) != 80 or header[36:68] != root:
        raise PromiseRefused("the header of a block that does not hold this timestamp")
    exponent, mantissa = header[75], int.from_bytes(header[72:75], "little") & 0x7FFFFF
    target = mantissa << 8 * (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)
    if int(block_hash(header), 16) > target or (1 << 256) // (target + 1) < least_work:
        raise PromiseRefused(f"block {block_hash(header)} did not take the work of a block of Bitcoin")


def _attested(reader: _OtsReader, message: bytes, depth: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Message, tag and payload of each attestation from here on."""
    if not depth:
        raise PromiseRefused(f"more than {_MAX_OTS_DEPTH} operations one behind the other")
    is_last = False
    while not is_last:
        tag = reader.take(1)[0]
        is_last = tag != 0xFF
        if not is_last:
            tag = reader.take(1)[0]
        if tag == 0x00:
            yield message, reader.take(8), reader.varbytes()
        else:
            yield from _attested(reader, _turned(reader, tag, message), depth - 1)


def _turned(reader: _OtsReader, tag: int, message: bytes) -> bytes:
    """What the operation ``tag`` makes of ``message``."""
    if tag == 0xF0:
        found = message + reader.varbytes()
    elif tag == 0xF1:
        found = reader.varbytes() + message
    elif tag == 0xF2:
        found = message[::-1]
    elif tag == 0xF3:
        found = message.hex().encode()
    else:
        try:
            found = hashlib.new(_OTS_HASHES[tag], message).digest()
        except (KeyError, ValueError):
            raise PromiseRefused(f"operation {tag:#04x} cannot be done here") from None
    if len(found) > _MAX_OTS_MESSAGE:
        raise PromiseRefused(f"a message of {len(found)} bytes")
    return found


def _calendar_in(payload: bytes) -> str:
    text = _OtsReader(payload, 0).varbytes().decode("ascii", "replace")
    return text if text.isprintable() else repr(text)


class _OtsReader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        found = self.data[self.at : self.at + count]
        if len(found) != count:
            raise PromiseRefused(f"it breaks off at byte {len(self.data)}")
        self.at += count
        return found

    def number(self) -> int:
        found = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise PromiseRefused(f"a number of more than 5 bytes at byte {self.at}")

    def varbytes(self) -> bytes:
        return self.take(self.number())
