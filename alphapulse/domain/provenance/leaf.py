"""What a leaf of the tree commits to: every column of a stored event, its payload by a salted commitment.

Leaf data, in this order, integers big-endian and signed:

    "APL1"                      4 bytes
    position                    8
    event id                    16
    version in the stream       8
    recorded time               8, µs since 1970 UTC
    present                     1: a bit for each of the next five that is there, from the lowest
    event time                  8, ns since 1970 UTC; zero where it is not there, and so on
    cause id                    16
    correlation id              16
    id_lo, id_hi                8 each, one bit for both; the fifth bit is of the trace, below
    commitment                  32: SHA-256 of the salt and the payload as it is stored
    lengths                     4 each, of stream, name, actor, trace in UTF-8
    stream, name, actor, trace  in UTF-8

The salt is 16 random bytes of this event alone. Without it nobody can tell a guessed payload from the leaf;
so once payload and salt are deleted, the proof still holds and says nothing.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import Struct
from typing import TypeAlias
from uuid import UUID

import msgspec

from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.merkle import HASH_BYTES, leaf_hash

SALT_BYTES = 16
_MAGIC = b"APL1"
_LEAF = b"\x00"  # before the data of a leaf in its hash, by RFC 6962
_BEFORE = 1 + 4 + 8 + 16 + 8 + 8 + 1 + 8 + 16 + 16 + 8 + 8  # bytes hashed ahead of the commitment
_ISSUED, _SIGNALS = b"signal.issued.", b"signals-"
_FIXED = Struct(">4sq16sqqBq16s16sqq32sIIII")
_NIL = bytes(16)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Leaf(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored event without its payload."""

    position: int
    event_id: UUID
    stream: str
    version: int
    name: str
    recorded_at: int  # µs since 1970 UTC
    event_time: int | None  # ns since 1970 UTC, the venue's clock
    cause_id: UUID | None
    correlation_id: UUID | None
    actor: str
    trace: str | None
    id_lo: int | None
    id_hi: int | None
    commitment: bytes  # 32 bytes

    def data(self) -> bytes:
        """The bytes whose ``leaf_hash`` stands in the tree."""
        stream, name, actor = self.stream.encode(), self.name.encode(), self.actor.encode()
        trace = b"" if self.trace is None else self.trace.encode()
        present = (
            (self.event_time is not None)
            | (self.cause_id is not None) << 1
            | (self.correlation_id is not None) << 2
            | (self.id_lo is not None) << 3
            | (self.trace is not None) << 4
        )
        fixed = _FIXED.pack(
            _MAGIC,
            self.position,
            self.event_id.bytes,
            self.version,
            self.recorded_at,
            present,
            self.event_time or 0,
            self.cause_id.bytes if self.cause_id else _NIL,
            self.correlation_id.bytes if self.correlation_id else _NIL,
            self.id_lo or 0,
            self.id_hi or 0,
            self.commitment,
            len(stream),
            len(name),
            len(actor),
            len(trace),
        )
        return b"".join((fixed, stream, name, actor, trace))

    def hash(self) -> bytes:
        """The 32 bytes that stand for it in the tree."""
        return leaf_hash(self.data())


def commitment_of(salt: bytes, state: bytes) -> bytes:
    """SHA-256 of ``salt`` and the payload: binds to the payload, tells nothing of it without the salt.

    Raises:
        ValueError: the salt has not its 16 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt of {len(salt)} bytes, not {SALT_BYTES}")
    return sha256(salt + state).digest()


def leaf_of(record: StoredRecord, commitment: bytes) -> Leaf:
    """The leaf of a stored event whose payload has ``commitment``."""
    envelope = record.envelope
    return Leaf(
        position=record.position,
        event_id=envelope.event_id,
        stream=record.stream,
        version=record.version,
        name=record.name,
        recorded_at=microseconds(record.recorded_at),
        event_time=envelope.event_time,
        cause_id=envelope.cause_id,
        correlation_id=envelope.correlation_id,
        actor=envelope.actor,
        trace=envelope.trace,
        id_lo=record.id_lo,
        id_hi=record.id_hi,
        commitment=commitment,
    )


# Position, what is hashed before the commitment and after it, the payload, and the strategy of a signal: a
# leaf without its salt. A plain tuple: there are a hundred thousand a second.
Preimage: TypeAlias = tuple[int, bytes, bytes, bytes, str | None]


def preimage_of(record: StoredRecord) -> Preimage:
    """What the leaf of a stored event will be hashed from, once it has a salt."""
    hashed = _LEAF + leaf_of(record, bytes(HASH_BYTES)).data()
    strategy = strategy_of(record.stream.encode(), record.name.encode())
    rest = hashed[_BEFORE + HASH_BYTES :]
    return record.position, hashed[:_BEFORE], rest, record.state, strategy


def strategy_of(stream: bytes, name: bytes) -> str | None:
    """Whose signal an event of this name in this stream is; None where it issues none."""
    if name.startswith(_ISSUED) and stream.startswith(_SIGNALS):
        return stream.removeprefix(_SIGNALS).decode()
    return None


def microseconds(moment: datetime) -> int:
    """Since 1970 UTC, exactly: the store keeps no finer time."""
    return (moment - _EPOCH) // _MICROSECOND
