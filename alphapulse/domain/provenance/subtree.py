"""Proofs about subtrees, as draft-ietf-plants-merkle-tree-certs section 4 defines them.

A subtree is a range of leaves [start, end) that is a tree of its own wherever the log goes on: ``start`` is
a multiple of the smallest power of two that is not below the number of its leaves. The empty range is one
too, at any ``start`` inside the log, and needs no proof: it is how transparency-dev/merkle reads the draft.
"""

from collections.abc import Sequence

from alphapulse.domain.provenance.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    BadProof,
    node_hash,
    verify_inclusion,
)


def is_subtree(start: int, end: int) -> bool:
    """Whether the leaves ``start`` to ``end``, that one not included, are a subtree with leaves."""
    return 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0


def subtree_consistency_ranges(start: int, end: int, size: int) -> Sequence[tuple[int, int]]:
    """What the proof consists of that the subtree [start, end) is of the tree of ``size`` leaves.

    The draft's SUBTREE_PROOF; ``merkle.consistency_ranges`` is the case where ``start`` is 0.

    Raises:
        ValueError: there is no such subtree.
    """
    if not is_subtree(start, end) or end > size:
        raise ValueError(f"leaves {start} to {end} are no subtree of a tree of {size}")
    ranges: list[tuple[int, int]] = []
    lo, hi, is_whole = 0, size, True
    while (max(lo, start), end) != (lo, hi):
        middle = lo + (1 << ((hi - lo - 1).bit_length() - 1))
        if end <= middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            is_whole = is_whole and middle <= start  # else the subtree goes on beyond its first half
            lo = middle
    if not is_whole:
        ranges.append((lo, hi))
    return ranges[::-1]


def verify_subtree_inclusion(
    index: int, start: int, end: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Raises BadProof unless ``proof`` shows the log's leaf ``index`` in the subtree with ``root``."""
    if not is_subtree(start, end) or not start <= index < end:
        raise BadProof(f"leaf {index} is in no subtree from {start} to {end}")
    verify_inclusion(index - start, end - start, leaf, proof, root)


def verify_subtree_consistency(
    start: int, end: int, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raises BadProof unless ``proof`` shows the subtree [start, end) in the tree of ``size`` leaves."""
    if start == end and 0 <= start <= size:
        _check_empty(subtree_root, proof)
        return
    if not is_subtree(start, end) or end > size:
        raise BadProof(f"leaves {start} to {end} are no subtree of a tree of {size}")
    ranges = subtree_consistency_ranges(start, end, size)
    if len(proof) != len(ranges):
        raise BadProof(f"{len(proof)} hashes for a subtree of {size} leaves, where {len(ranges)} belong")
    if proof:
        _check_hashes([subtree_root, root, *proof])
    in_subtree, in_tree = _roots(start, end, subtree_root, list(zip(ranges, proof, strict=True)))
    for found, wanted, what in ((in_subtree, subtree_root, "subtree"), (in_tree, root, "tree")):
        if found != wanted:
            raise BadProof(f"the root of the {what} comes out as {found.hex()}, not {wanted.hex()}")


def _roots(
    start: int, end: int, subtree_root: bytes, proof: Sequence[tuple[tuple[int, int], bytes]]
) -> tuple[bytes, bytes]:
    """The roots of the subtree and of the tree that ``proof`` leads to."""
    lo, first = start, subtree_root
    if proof and proof[0][0][0] >= start and proof[0][0][1] == end:  # it is no single node: this is its last
        ((lo, _), first), *proof = proof
    in_subtree = in_tree = first
    for (begins, ends), sibling in proof:
        if ends == lo:
            in_tree, lo = node_hash(sibling, in_tree), begins
            if begins >= start:
                in_subtree = node_hash(sibling, in_subtree)
        else:
            in_tree = node_hash(in_tree, sibling)
    return in_subtree, in_tree


def _check_empty(subtree_root: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise BadProof(f"{len(proof)} hashes for an empty subtree, where none belongs")
    if subtree_root != EMPTY_ROOT:
        raise BadProof(f"the empty tree's root is {EMPTY_ROOT.hex()}, not {subtree_root.hex()}")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    for found in hashes:
        if len(found) != HASH_BYTES:
            raise BadProof(f"a hash of {len(found)} bytes, not {HASH_BYTES}")
