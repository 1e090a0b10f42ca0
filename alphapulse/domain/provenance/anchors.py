"""Anchors: others who saw a checkpoint and say when, so that nobody needs to believe our clock.

Witnesses speak C2SP tlog-witness (HTTP, add-checkpoint) and sign as C2SP tlog-cosignature says: Ed25519 over

    cosignature/v1
    time <seconds since 1970 UTC>
    <the text of the checkpoint's note>

in a signature line of the note, whose value is the time (8 bytes, big-endian) and the 64 bytes of Ed25519.
A cosignature says: at that time, this was the largest tree of this log that I saw, and it continues every
one that I saw before.
"""

import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from alphapulse.domain.provenance.notes import (
    COSIGNATURE,
    BadNote,
    Ed25519,
    NoteKey,
    Signature,
    Signer,
    parse_signature,
)
from alphapulse.domain.provenance.opentimestamps import BadTimestamp, parse_file
from alphapulse.domain.provenance.sealing import Receipt, Sealed

FILE, WITNESS, RFC3161, OTS = "file", "witness", "rfc3161", "ots"
COSIGNED = (FILE, WITNESS)  # kinds whose receipts hold lines of cosignatures
MAX_PROOF_HASHES = 63  # tlog-witness: no client sends more
MAX_TIME_S = 253_402_300_799  # the last second of the year 9999: what comes after has no date here
MICROSECONDS = 1_000_000
_TIME_BYTES = 8

ProofFrom = Callable[[int], Awaitable[Sequence[bytes]]]


class AnchorFailed(Exception):
    """No answer, or none that may be kept: nothing was kept, and it can be tried again later."""


class Contradicted(Exception):
    """The anchor has seen another history of this log: it was rolled back, or it was forked."""


class Ahead(Contradicted):
    """The anchor has seen ``seen`` leaves of this log, more than it was shown."""

    def __init__(self, anchor: str, seen: int, shown: int) -> None:
        super().__init__(
            f"{anchor} has cosigned {seen} leaves of this log, which now has {shown}: it was rolled back, or "
            "another continues it under the same key"
        )
        self.seen = seen


class Anchor(Protocol):
    @property
    def name(self) -> str:
        """As it is configured."""
        ...

    @property
    def kind(self) -> str: ...

    async def anchor(self, sealed: Sealed, proof_from: ProofFrom) -> Receipt:
        """What the anchor gives for ``sealed``, checked; ``proof_from`` makes consistency proofs to it.

        Raises:
            AnchorFailed: it gave nothing that may be kept.
            Contradicted: it will not, because of what it saw before.
        """
        ...

    async def settle(self, receipt: Receipt) -> Receipt | None:
        """What has become of a ``receipt`` of its own that ``is_settled`` denies; None: no more than it says.

        Raises:
            AnchorFailed: it could not be found out.
        """
        ...


def is_settled(receipt: Receipt) -> bool:
    """Whether nothing more is to come: only a calendar's promise is kept later."""
    try:
        return receipt.kind != OTS or bool(blocks(receipt))
    except BadTimestamp:  # nothing can come of it
        return True


def blocks(receipt: Receipt) -> Sequence[int]:
    """The numbers of the Bitcoin blocks that an OpenTimestamps receipt leads to, lowest first.

    Raises:
        BadTimestamp: it is none.
    """
    digest, timestamp = parse_file(receipt.data)
    return sorted({a.height for _, a in timestamp.attested(digest) if a.height is not None})


def witness_key(key: NoteKey) -> NoteKey:
    """The key under which the holder of ``key`` cosigns."""
    return NoteKey(key.name, COSIGNATURE, key.public)


def cosign(text: str, signer: Signer, time_s: int) -> Signature:
    """The cosignature over the ``text`` of a checkpoint, by a key that is used for nothing else."""
    key = witness_key(signer.key)
    value = time_s.to_bytes(_TIME_BYTES, "big") + signer.sign(_message(text, time_s))
    return Signature(key.name, key.id, value)


def check_cosignature(text: str, signature: Signature, key: NoteKey, ed25519: Ed25519) -> int:
    """When ``key`` cosigned ``text``, in seconds since 1970 UTC by its own clock.

    Raises:
        BadNote: it did not.
    """
    if len(signature.value) != _TIME_BYTES + 64:
        raise BadNote(f"a cosignature of {len(signature.value)} bytes, not {_TIME_BYTES + 64}")
    time_s = int.from_bytes(signature.value[:_TIME_BYTES], "big")
    if not 0 < time_s <= MAX_TIME_S:
        raise BadNote(f"a cosignature of {time_s} seconds since 1970, which is no date")
    if not ed25519(key.public, _message(text, time_s), signature.value[_TIME_BYTES:]):
        raise BadNote(f"the cosignature of {key.name} ({key.id.hex()}) is not over this checkpoint")
    return time_s


def cosigned(lines: str, text: str, key: NoteKey, ed25519: Ed25519) -> tuple[str, int]:
    """Of the ``lines`` that a witness gave, those of ``key``, and the earliest of their times in seconds.

    Lines of other keys are left out, as the specification asks.

    Raises:
        BadNote: there is none, or one is not over ``text``.
    """
    found = [parse_signature(line) for line in lines.splitlines() if line]
    own = [signature for signature in found if signature.is_of(key)]
    if not own:
        names = ", ".join(f"{s.name} ({s.key_id.hex()})" for s in found) or "nobody"
        raise BadNote(f"not cosigned by {key.name} ({key.id.hex()}), but by {names}")
    times = [check_cosignature(text, signature, key, ed25519) for signature in own]
    return "".join(map(str, own)), min(times)


def add_checkpoint(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The request that shows a witness ``note`` after the ``old`` leaves that it has seen.

    Raises:
        ValueError: the proof is longer than a witness reads.
    """
    if len(proof) > MAX_PROOF_HASHES:
        raise ValueError(f"{len(proof)} hashes, where a witness reads at most {MAX_PROOF_HASHES}")
    lines = [f"old {old}", *(base64.b64encode(found).decode() for found in proof), "", note]
    return "\n".join(lines).encode()


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
