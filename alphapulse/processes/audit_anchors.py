"""What an export adds to its checkpoint: proofs that it goes on from earlier ones.

Of the receipts of anchors those are taken that say something about a selected event: of each anchor the first
checkpoint that holds it. Later ones of the same anchor would say the same, later.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence

import msgspec

from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.domain.provenance.checkpoint import open_checkpoint
from alphapulse.domain.provenance.merkle import BadProof, verify_consistency
from alphapulse.domain.provenance.notes import BadNote, NoteKey
from alphapulse.domain.provenance.sealing import Receipt, Sealed, SealedLog
from alphapulse.projections.proofs import consistency_proof

MAX_ANCHORS = 1_000
Anchored = tuple[str, int]  # an anchor, and the size of a checkpoint that it was shown
_RECEIPTS = 10_000  # at once


class NotOurCheckpoint(Exception):
    """The earlier checkpoint is none of this log, or of no state that this log was in."""


def check_key(sealed: Sealed, key: NoteKey) -> None:
    """Raises NotOurCheckpoint unless ``key`` signed the checkpoint."""
    try:
        open_checkpoint(sealed.note, key, ed25519)
    except BadNote as error:
        raise NotOurCheckpoint(f"the log was sealed with another key than {key}: {error}") from None


async def consistency(seals: SealedLog, since: str, now: Sealed, key: NoteKey) -> bytes:
    """``consistency.json``: that the tree of the note ``since`` begins the tree of ``now``.

    Raises:
        NotOurCheckpoint: our key did not sign it, it is newer than ``now``, or this log is another.
    """
    try:
        before = open_checkpoint(since, key, ed25519)
    except BadNote as error:
        raise NotOurCheckpoint(f"the earlier checkpoint is not of {key}: {error}") from None
    if before.size > now.size:
        raise NotOurCheckpoint(
            f"the earlier checkpoint has {before.size} leaves, and this export ends with {now.size}"
        )
    proof = await consistency_proof(seals, before.size, now.size)
    if before.size:
        try:
            verify_consistency(before.size, now.size, before.root, now.root, proof)
        except BadProof as error:
            raise NotOurCheckpoint(f"this log did not grow from the earlier checkpoint: {error}") from None
    return _json({"from": {"note": since}, "proof": proof})


async def receipts_until(seals: SealedLog, size: int) -> Sequence[Receipt]:
    """Receipts for checkpoints of at most ``size`` leaves; of those settled not what was before."""
    found: dict[tuple[int, str, bytes], Receipt] = {}
    lo = 0
    while page := await seals.receipts(lo, size):
        found.update(((r.size, r.anchor, r.data), r) for r in page)
        if len(page) < _RECEIPTS or page[-1].size == lo:
            break
        lo = page[-1].size
    settled = {(r.size, r.anchor) for r in found.values() if r.time is not None}
    return [r for r in found.values() if r.time is not None or (r.size, r.anchor) not in settled]


class Useful:
    """Which receipts say something of leaves that are told one by one, rising."""

    def __init__(self, receipts: Sequence[Receipt]) -> None:
        self._series: dict[tuple[str, bool], list[int]] = {}
        for receipt in receipts:
            self._series.setdefault((receipt.anchor, receipt.time is not None), []).append(receipt.size)
        for sizes in self._series.values():
            sizes.sort()
        self._known_to = 0  # leaves before this one have the same first checkpoints

    def of(self, leaf: int) -> Collection[Anchored]:
        """The checkpoints that first hold ``leaf``, of each anchor; nothing where they were told already."""
        if leaf < self._known_to or not self._series:
            return ()
        after = [(name, sizes, bisect_right(sizes, leaf)) for (name, _), sizes in self._series.items()]
        first = {(name, sizes[at]) for name, sizes, at in after if at < len(sizes)}
        self._known_to = min((size for _, size in first), default=1 << 63)
        return first


async def anchors(
    seals: SealedLog, receipts: Sequence[Receipt], useful: Collection[Anchored], now: Sealed
) -> Sequence[tuple[str, bytes]]:
    """The members ``anchors/0001.json`` … of the ``useful`` ones; of too many, some evenly chosen."""
    chosen = sorted(
        (r for r in receipts if (r.anchor, r.size) in useful), key=lambda r: (r.size, r.anchor, r.data)
    )
    if len(chosen) > MAX_ANCHORS:  # the last stays: it holds every event
        step = (len(chosen) - 1) / (MAX_ANCHORS - 1)
        chosen = [chosen[round(n * step)] for n in range(MAX_ANCHORS)]
    members = []
    for number, receipt in enumerate(chosen, 1):
        sealed = await seals.sealed(size=receipt.size)
        assert sealed is not None, f"no checkpoint of {receipt.size} leaves"
        told = {
            "anchor": receipt.anchor,
            "kind": receipt.kind,
            "size": receipt.size,
            "time": receipt.time,
            "data": receipt.data,
            "note": sealed.note,
            "proof": await consistency_proof(seals, receipt.size, now.size),
        }
        members.append((f"anchors/{number:04d}.json", _json(told)))
    return members


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
