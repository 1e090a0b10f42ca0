"""The proof of a single event: a file of JSON with its line, its path to the root, and the checkpoint.

{"format": "alphapulse-proof-1", "key": the log's public key or null, "checkpoint": the signed note,
 "leaf": 5, "hash": base64, "proof": [base64, from the leaf up], "line": as in a bundle, or null}
"""

from __future__ import annotations

import base64
from typing import Any

from alphapulse.adapters.verifier.findings import Broken, Findings
from alphapulse.adapters.verifier.known import (
    Asked,
    check_since,
    check_witnesses,
    chosen_key,
    known_checkpoint,
)
from alphapulse.adapters.verifier.leaf import LineRefused, event_of, json_of
from alphapulse.adapters.verifier.merkle import ProofRefuted, check_included
from alphapulse.adapters.verifier.note import (
    Key,
    NoteRefused,
    SignedCheckpoint,
    checkpoint_in,
    hash_in,
    key_of,
)
from alphapulse.adapters.verifier.stored import PayloadCheck

PROOF_FORMAT = "alphapulse-proof-1"
_PROOF_FIELDS = {"format", "key", "checkpoint", "leaf", "hash", "proof", "line"}


def verify_proof(data: bytes, asked: Asked) -> Findings:
    """What is found in a file of one proof."""
    found = Findings()
    try:
        proof = _read_proof(data)
        key = _key_for(proof, asked, found)
        checkpoint = checkpoint_in(proof["checkpoint"], key)
        nodes = [hash_in(node) for node in proof["proof"]]
        check_included(proof["leaf"], checkpoint.size, hash_in(proof["hash"]), nodes, checkpoint.root)
        _check_line(proof, found)
        check_since(known_checkpoint(asked, key, found), checkpoint, None, found)
        check_witnesses(asked.witnesses, checkpoint, (), found)
        _tell_proof(proof, checkpoint, key, asked, found)
    except (Broken, LineRefused, NoteRefused, ProofRefuted) as error:
        found.fault(
            str(error), None, getattr(error, "what", None)
        )  # of a few faults never the last that fits
    return found


def _read_proof(data: bytes) -> dict[str, Any]:
    try:
        proof = json_of(data.decode())
    except UnicodeDecodeError as error:
        raise Broken(f"no proof: {error}") from None
    if type(proof) is not dict or proof.get("format") != PROOF_FORMAT or set(proof) != _PROOF_FIELDS:
        raise Broken(f"neither a bundle nor a proof of the format {PROOF_FORMAT}")
    if (
        type(proof["leaf"]) is not int
        or type(proof["checkpoint"]) is not str
        or type(proof["proof"]) is not list
    ):
        raise Broken("a proof has a leaf, a checkpoint and a list of hashes")
    return proof


def _key_for(proof: dict[str, Any], asked: Asked, found: Findings) -> Key:
    key = chosen_key(asked, None if proof["key"] is None else key_of(str(proof["key"])), found)
    if key is None:
        raise Broken("the proof names no key, and none was given")
    return key


def _check_line(proof: dict[str, Any], found: Findings) -> None:
    """The event is the leaf that was proven."""
    leaf = proof["leaf"]
    if proof["line"] is None:
        found.miss("the event itself is not here: only that something was sealed", leaf)
        return
    if type(proof["line"]) is not dict:
        raise LineRefused("line", "its line is no event")
    event = event_of(proof["line"])
    if event.leaf != leaf:
        found.fault(f"the event says that it is leaf {event.leaf}", leaf, "leaf")
    checked = PayloadCheck(found).leaf_hash(event)
    for hash_ in {base64.b64encode(event.hash).decode(), base64.b64encode(checked).decode()}:
        if hash_ != proof["hash"]:
            found.fault(f"the event has the hash {hash_}, proven is {proof['hash']}", leaf, "columns or hash")


def _tell_proof(
    proof: dict[str, Any], checkpoint: SignedCheckpoint, key: Key, asked: Asked, found: Findings
) -> None:
    found.facts.update(
        kind="proof",
        origin=checkpoint.origin,
        key=key.text(),
        key_was_given=asked.key is not None,
        size=checkpoint.size,
        root=base64.b64encode(checkpoint.root).decode(),
        leaf=proof["leaf"],
    )
