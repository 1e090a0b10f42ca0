"""The tree over the leaves, as RFC 9162 section 2.1 defines it, seen by whoever checks."""

from __future__ import annotations

from hashlib import sha256
from typing import Sequence

_NO_LEAVES = sha256(b"").digest()


class ProofRefuted(Exception):
    """A proof does not show what it is for."""


class RightEdge:
    """A tree that grows to the right; of what is complete it keeps one hash for each bit of its size."""

    def __init__(self) -> None:
        self.size = 0
        self._hashes: list[bytes] = []

    def add(self, found: bytes, level: int = 0) -> None:
        """Add a leaf hash, or the hash of a whole subtree of ``2**level`` leaves where one may begin."""
        number, hashes = self.size >> level, self._hashes
        while number & 1:
            found = sha256(b"\x01" + hashes.pop() + found).digest()
            number >>= 1
        hashes.append(found)
        self.size += 1 << level

    def root(self) -> bytes:
        if not self._hashes:
            return _NO_LEAVES
        found = self._hashes[-1]
        for left in self._hashes[-2::-1]:
            found = _parent(left, found)
        return found

    def copy(self) -> RightEdge:
        other = RightEdge()
        other.size, other._hashes = self.size, list(self._hashes)
        return other


def levels_of_gap(lo: int, hi: int) -> list[int]:
    """The levels of the largest subtrees that together are the leaves from ``lo`` up to ``hi``, in order."""
    found = []
    while lo < hi:
        level = (hi - lo).bit_length() - 1
        while lo & ((1 << level) - 1):
            level -= 1
        found.append(level)
        lo += 1 << level
    return found


def check_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """That the tree of ``new`` leaves begins with that of ``old`` ones (section 2.1.4.2).

    Raises:
        ProofRefuted: it is not shown.
    """
    if not 1 <= old <= new:
        raise ProofRefuted(f"no tree of {old} leaves begins one of {new}")
    if old == new:
        if proof or old_root != new_root:
            raise ProofRefuted(f"two trees of {old} leaves with different roots")
        return
    if any(len(each) != 32 for each in (old_root, new_root, *proof)):
        raise ProofRefuted("a hash that has not 32 bytes")
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise ProofRefuted(f"an empty proof from {old} to {new} leaves")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise ProofRefuted(f"too long a proof from {old} to {new} leaves")
        if fn & 1 or fn == sn:
            fr, sr = _parent(c, fr), _parent(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = _parent(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofRefuted(f"too short a proof from {old} to {new} leaves")
    _demand_root(fr, old_root, old)
    _demand_root(sr, new_root, new)


def check_included(leaf: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """That ``leaf`` is in the tree of ``size`` leaves (section 2.1.3.2).

    Raises:
        ProofRefuted: it is not shown.
    """
    if any(len(each) != 32 for each in (leaf_hash, root, *proof)):
        raise ProofRefuted("a hash that has not 32 bytes")
    if not 0 <= leaf < size:
        raise ProofRefuted(f"leaf {leaf} is not in a tree of {size}")
    fn, sn, found = leaf, size - 1, leaf_hash
    for p in proof:
        if sn == 0:
            raise ProofRefuted(f"too long a proof for leaf {leaf} of {size}")
        if fn & 1 or fn == sn:
            found = _parent(p, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = _parent(found, p)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofRefuted(f"too short a proof for leaf {leaf} of {size}")
    _demand_root(found, root, size)


def _parent(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _demand_root(found: bytes, wanted: bytes, size: int) -> None:
    if found != wanted:
        raise ProofRefuted(f"the root of {size} leaves comes out as {found.hex()}, not {wanted.hex()}")
