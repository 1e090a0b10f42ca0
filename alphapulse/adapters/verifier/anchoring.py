"""Anchors in an export: what others said of a checkpoint, and that the bundle's tree continues it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Sequence

from alphapulse.adapters.verifier.leaf import LineRefused, json_of
from alphapulse.adapters.verifier.merkle import ProofRefuted, check_consistent
from alphapulse.adapters.verifier.note import (
    Key,
    NoteRefused,
    SignedCheckpoint,
    bytes_of,
    checkpoint_in,
    hash_in,
)

CHECKED, PENDING, NOT_CHECKED = "checked", "pending", "not checked"


class Anchor(NamedTuple):
    """What ``name`` gave for the signed note of ``size`` leaves; ``time`` is what the bundle says of it."""

    file: str
    name: str
    kind: str
    size: int
    time: int | None  # µs since 1970 UTC
    data: bytes
    note: str


class Anchored(NamedTuple):
    """``time`` is the anchor's own, where it was checked or at least said; ``text`` says by whom and what."""

    anchor: Anchor
    state: str
    time: int | None  # µs since 1970 UTC
    text: str
    witness: Key | None = None  # one that the caller trusts, if it cosigned here


class AnchorRefused(Exception):
    """What stands there is not what the anchor gave for this checkpoint."""


def anchor_in(file: str, text: str, key: Key, checkpoint: SignedCheckpoint) -> Anchor:
    """The anchor, of a checkpoint of the same log that ``checkpoint`` continues.

    Raises:
        AnchorRefused: it is not.
    """
    try:
        found = json_of(text)
        anchor = Anchor(
            file,
            _of(str, found, "anchor"),
            _of(str, found, "kind"),
            _of(int, found, "size"),
            None if found["time"] is None else _of(int, found, "time"),
            bytes_of(_of(str, found, "data")),
            _of(str, found, "note"),
        )
        anchored = checkpoint_in(anchor.note, key)
        proof = [hash_in(node) for node in _of(list, found, "proof")]
        if set(found) != {"anchor", "kind", "size", "time", "data", "note", "proof"}:
            raise AnchorRefused(f"its fields are {', '.join(sorted(found))}")
        if anchored.size != anchor.size:
            raise AnchorRefused(f"it says {anchor.size} leaves, its note {anchored.size}")
        check_consistent(anchored.size, anchored.root, checkpoint.size, checkpoint.root, proof)
    except (LineRefused, NoteRefused, ProofRefuted) as error:
        raise AnchorRefused(str(error)) from None
    return anchor


def consistency_in(text: str, key: Key, checkpoint: SignedCheckpoint) -> SignedCheckpoint:
    """The earlier checkpoint that ``checkpoint`` is shown to continue.

    Raises:
        NoteRefused, ProofRefuted, LineRefused: it is not shown.
    """
    found = json_of(text)
    try:
        earlier = checkpoint_in(_of(str, _of(dict, found, "from"), "note"), key)
        proof = [hash_in(node) for node in _of(list, found, "proof")]
    except AnchorRefused as error:
        raise LineRefused(None, str(error)) from None
    check_consistent(earlier.size, earlier.root, checkpoint.size, checkpoint.root, proof)
    return earlier


def facts_of(anchored: Sequence[Anchored]) -> list[dict[str, Any]]:
    """For --json."""
    return [
        {
            "anchor": a.anchor.name,
            "kind": a.anchor.kind,
            "size": a.anchor.size,
            "state": a.state,
            "time": a.time,
            "text": a.text,
        }
        for a in anchored
    ]


def _of(kind: type[Any], found: Any, what: str) -> Any:
    if type(found) is not dict or type(found.get(what)) is not kind:
        raise AnchorRefused(f"{json.dumps(what)} is missing, or not what it should be")
    return found[what]
