"""The Merkle tree over the log, as RFC 6962 section 2.1 and RFC 9162 section 2.1 define it.

A tree is known by its *nodes*: node (level, number) is the root of the 2**level leaves that begin at leaf
number * 2**level, and never changes once they are there. A proof is first planned as ranges of leaves, then
made of the nodes that cover them, so that whoever stores nodes can fetch them all at once:

    nodes = {node: fetch(node) for lo, hi in inclusion_ranges(5, 9) for node in cover(lo, hi)}
    proof = [range_root(lo, hi, nodes) for lo, hi in inclusion_ranges(5, 9)]
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


class Node(NamedTuple):
    """The root of the leaves from ``number << level`` to ``(number + 1) << level``, that one not included."""

    level: int
    number: int


class BadProof(ValueError):
    """The proof does not show what it claims; says which hashes differ, or what is too short or too long."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256 of a zero byte and ``data``: the 32 bytes that stand for a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of a one byte and the hashes of both children."""
    return sha256(b"\x01" + left + right).digest()


def cover(lo: int, hi: int) -> Sequence[Node]:
    """The largest nodes that together hold leaves ``lo`` to ``hi``, that one not included, left to right."""
    _in_order(lo, hi)
    nodes = []
    while lo < hi:
        level = (hi - lo).bit_length() - 1
        if lo:
            level = min(level, (lo & -lo).bit_length() - 1)
        nodes.append(Node(level, lo >> level))
        lo += 1 << level
    return nodes


def range_root(lo: int, hi: int, nodes: Mapping[Node, bytes]) -> bytes:
    """The root of the leaves ``lo`` to ``hi`` as a tree of their own, from the nodes of ``cover(lo, hi)``.

    ``lo`` is where a subtree begins: a multiple of the largest power of two below the number of leaves.
    """
    return fold([nodes[node] for node in cover(lo, hi)])


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over subtrees whose sizes fall from left to right; of nothing, the empty tree's."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def inclusion_ranges(index: int, size: int) -> Sequence[tuple[int, int]]:
    """What the proof that leaf ``index`` is in the tree of ``size`` leaves consists of, from the leaf up.

    RFC 6962 section 2.1.1 (PATH).

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
    ranges: list[tuple[int, int]] = []
    lo, hi = 0, size
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> Sequence[tuple[int, int]]:
    """What the proof that the tree of ``old`` leaves begins the tree of ``new`` ones consists of.

    RFC 6962 section 2.1.2 (PROOF, SUBPROOF); nothing where ``old`` is 0 or ``new``.

    Raises:
        ValueError: ``old`` is more than ``new``.
    """
    _in_order(old, new)
    if old in (0, new):
        return []
    ranges: list[tuple[int, int]] = []
    lo, hi, is_whole = 0, new, True
    while old != hi:
        middle = lo + _split(hi - lo)
        if old <= middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo, is_whole = middle, False
    if not is_whole:
        ranges.append((lo, hi))
    return ranges[::-1]


def nodes_of(ranges: Iterable[tuple[int, int]]) -> Iterator[Node]:
    """All nodes that ``range_root`` wants for ``ranges``."""
    for lo, hi in ranges:
        yield from cover(lo, hi)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises BadProof unless ``proof`` shows the leaf hash ``leaf`` at ``index`` under ``root``.

    RFC 9162 section 2.1.3.2.
    """
    _check_hashes([leaf, root, *proof])
    if not 0 <= index < size:
        raise BadProof(f"leaf {index} is not in a tree of {size} leaves")
    inner = (index ^ (size - 1)).bit_length()
    expected = inner + (index >> inner).bit_count()
    if len(proof) != expected:
        raise BadProof(f"{len(proof)} hashes for leaf {index} of {size}, where {expected} belong")
    found = leaf
    for level, sibling in enumerate(proof):
        is_right = level >= inner or (index >> level) & 1
        found = node_hash(sibling, found) if is_right else node_hash(found, sibling)
    _same(found, root, f"the root of {size} leaves")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises BadProof unless ``proof`` shows that the tree of ``old`` leaves begins that of ``new``.

    RFC 9162 section 2.1.4.2.
    """
    if not 0 <= old <= new:
        raise BadProof(f"a tree of {old} leaves does not begin one of {new}")
    if old == 0:
        raise BadProof("any tree begins with the empty one: that shows nothing")
    if old == new:
        if proof:
            raise BadProof(f"{len(proof)} hashes from {old} to {new} leaves, where none belongs")
        _same(old_root, new_root, f"the root of {old} leaves")
        return
    _check_hashes([old_root, new_root, *proof])
    ranges = consistency_ranges(old, new)
    if len(proof) != len(ranges):
        raise BadProof(f"{len(proof)} hashes from {old} to {new} leaves, where {len(ranges)} belong")
    # The first hash is a subtree that ends where the old tree ends; without it, the old root is that.
    is_whole = old & (old - 1) == 0
    first, rest = (old_root, proof) if is_whole else (proof[0], proof[1:])
    in_old = in_new = first
    lo, hi = _first_range(old)
    for sibling, (start, end) in zip(rest, ranges if is_whole else ranges[1:], strict=True):
        if end == lo:
            in_old, in_new, lo = node_hash(sibling, in_old), node_hash(sibling, in_new), start
        elif start == hi:
            in_new, hi = node_hash(in_new, sibling), end
        else:  # pragma: no cover
            raise AssertionError(f"{start} to {end} does not touch {lo} to {hi}")
    _same(in_old, old_root, f"the root of {old} leaves")
    _same(in_new, new_root, f"the root of {new} leaves")


class Frontier:
    """A tree that grows to the right and remembers only the nodes at its right edge: at most 64 hashes."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """A tree of ``size`` leaves, whose ``cover(0, size)`` has ``hashes``."""
        _check_hashes(hashes)
        if len(hashes) != size.bit_count():
            raise ValueError(f"{len(hashes)} hashes for {size} leaves, where {size.bit_count()} belong")
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> Sequence[bytes]:
        """Of ``cover(0, size)``."""
        return tuple(self._hashes)

    def root(self) -> bytes:
        return fold(self._hashes)

    def append(self, found: bytes, level: int = 0) -> Sequence[tuple[Node, bytes]]:
        """Grow by a node of ``level`` and tell the nodes above it that this has completed, lowest first.

        Raises:
            ValueError: a node of this level cannot begin at leaf ``size``.
        """
        if self.size & ((1 << level) - 1):
            raise ValueError(f"no node of level {level} begins at leaf {self.size}")
        completed = []
        number = self.size >> level
        self.size += 1 << level
        while number & 1:
            found = node_hash(self._hashes.pop(), found)
            level, number = level + 1, number >> 1
            completed.append((Node(level, number), found))
        self._hashes.append(found)
        return completed

    def extend(self, leaves: Sequence[bytes]) -> Sequence[tuple[int, int, Sequence[bytes]]]:
        """Grow by ``leaves`` at once; tell of each level above them the first new number, and the new hashes.

        The same tree as by ``append``, level by level: in a third of the time.
        """
        edge = dict(zip((node.level for node in cover(0, self.size)), self._hashes, strict=True))
        completed: list[tuple[int, int, Sequence[bytes]]] = []
        level, number, row = 0, self.size, list(leaves)
        self.size += len(leaves)
        while row:
            if number & 1:
                row.insert(0, edge.pop(level))
            if len(row) & 1:
                edge[level] = row.pop()
            level, number = level + 1, number >> 1
            row = [sha256(b"\x01" + a + b).digest() for a, b in zip(row[::2], row[1::2], strict=True)]
            if row:
                completed.append((level, number, row.copy()))
        self._hashes = [edge[level] for level in sorted(edge, reverse=True)]
        return completed

    def copy(self) -> "Frontier":
        return Frontier(self.size, self._hashes)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``, which is 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _first_range(old: int) -> tuple[int, int]:
    """The last of the perfect subtrees that make up the tree of ``old`` leaves."""
    return old - (old & -old), old


def _in_order(lo: int, hi: int) -> None:
    if not 0 <= lo <= hi:
        raise ValueError(f"no range of leaves goes from {lo} to {hi}")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    for found in hashes:
        if len(found) != HASH_BYTES:
            raise BadProof(f"a hash of {len(found)} bytes, not {HASH_BYTES}")


def _same(found: bytes, wanted: bytes, what: str) -> None:
    if found != wanted:
        raise BadProof(f"{what} comes out as {found.hex()}, not {wanted.hex()}")
