"""One event's proof as a file: what the page /verify takes, and whoever writes a verifier of their own.

{"format": "alphapulse-proof-1", "key": the log's public key or null, "checkpoint": the signed note,
 "leaf": 5, "hash": base64 of the leaf's hash, "proof": [base64, from the leaf up],
 "line": the event as a line of a bundle, or null where the store no longer holds it}
"""

from collections.abc import Sequence

import msgspec

from alphapulse.adapters.provenance.decoded import decoded
from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.domain.provenance.checkpoint import Checkpoint, checkpoint_of, open_checkpoint
from alphapulse.domain.provenance.lines import EventLine, NotItsLeaf, event_line
from alphapulse.domain.provenance.merkle import verify_inclusion
from alphapulse.domain.provenance.notes import BadNote, NoteKey, parse_note
from alphapulse.domain.provenance.sealing import Sealed
from alphapulse.projections.event_proofs import EventProof

FORMAT = "alphapulse-proof-1"


class ProofFile(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    key: str | None
    checkpoint: str
    leaf: int
    hash: bytes
    proof: Sequence[bytes]
    line: EventLine | None


def opened(sealed: Sealed, key: NoteKey | None) -> Checkpoint:
    """The checkpoint that ``sealed`` is; its signature counts where a ``key`` is at hand.

    Raises:
        BadNote: ``key`` did not sign it, or it says something else than the database beside it.
    """
    checkpoint = open_checkpoint(sealed.note, key, ed25519) if key else _unsigned(sealed.note)
    if (checkpoint.size, checkpoint.root) != (sealed.size, sealed.root):
        raise BadNote(
            f"the checkpoint says {checkpoint.size} leaves with root {checkpoint.root.hex()}, the database"
            f" beside it {sealed.size} with root {sealed.root.hex()}"
        )
    return checkpoint


def proof_file(found: EventProof, key: NoteKey | None, *, withheld: bool = False) -> ProofFile:
    """``found`` as it is handed on, verified; ``withheld`` keeps payload and salt back.

    Raises:
        BadNote: see ``opened``.
        BadProof: the tree in the database does not lead to the root that was signed.
    """
    checkpoint = opened(found.checkpoint, key)
    verify_inclusion(found.leaf, checkpoint.size, found.hash, found.hashes, checkpoint.root)
    return ProofFile(
        format=FORMAT,
        key=None if key is None else str(key),
        checkpoint=found.checkpoint.note,
        leaf=found.leaf,
        hash=found.hash,
        proof=found.hashes,
        line=_line(found, withheld),
    )


def _line(found: EventProof, withheld: bool) -> EventLine | None:
    """None where the store holds something else than was sealed."""
    if found.record is None:
        return None
    event = decoded(found.record.state)
    try:
        return event_line(found.record, found.leaf, found.leaves, event=event, withheld=withheld)
    except NotItsLeaf:
        return None


def _unsigned(note: str) -> Checkpoint:
    return checkpoint_of(parse_note(note).text)
