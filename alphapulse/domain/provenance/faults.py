"""What the store holds against what was sealed of it: each difference has a name.

Hashes decide. Where a row and its leaf part, the root that was signed says which of the two was changed.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.leaf import SALT_BYTES, Preimage, commitment_of, leaf_of
from alphapulse.domain.provenance.merkle import Frontier, Node
from alphapulse.domain.provenance.sealing import TILE_LEVELS, Leaves

_MOST_NAMED = 5  # positions in the words of one fault


class FaultKind(StrEnum):
    PAYLOAD_ERASED = "payload erased"  # a hole: no harm to any proof, and nothing left to be read
    SALT_ERASED = "salt erased"  # the payload is there, and nobody can show any more that it is the one
    PAYLOAD_CHANGED = "payload changed"
    COLUMNS_CHANGED = "columns changed"
    ROW_MISSING = "row missing"
    ROW_WITHOUT_LEAF = "row without a leaf"
    COMMITMENT_CHANGED = "commitment changed"
    LEAF_HASH_CHANGED = "leaf hash changed"
    LEAVES_MISSING = "leaves missing"
    ROOT_DIFFERS = "root differs"  # the leaf hashes do not give what was signed
    NODE_WRONG = "node wrong"
    CHECKPOINT_WRONG = "checkpoint wrong"  # its signature, or what stands beside it
    COUNTS_WRONG = "signal counts wrong"


@dataclass(frozen=True, slots=True)
class Fault:
    """``leaf`` is the one it is about, or the first of those; ``detail`` holds the values that differ."""

    leaf: int
    kind: FaultKind
    position: int | None
    detail: str


def all_match(events: Sequence[Preimage], leaves: Leaves) -> bool:
    """Whether ``events``, all of the store in the range of ``leaves``, are what was sealed; tells no faults.

    In a fifth of the time of ``row_faults``.
    """
    if [event[0] for event in events] != list(leaves.positions):
        return False
    salts = leaves.salts
    commitments = [
        sha256(salts[at : at + SALT_BYTES] + event[3]).digest()
        for at, event in zip(range(0, len(salts), SALT_BYTES), events, strict=True)
    ]
    hashes = [
        sha256(before + commitment + after).digest()
        for (_, before, after, _, _), commitment in zip(events, commitments, strict=True)
    ]
    return b"".join(commitments) == leaves.commitments and b"".join(hashes) == leaves.hashes


def row_faults(
    records: Sequence[StoredRecord], leaves: Leaves
) -> tuple[Sequence[Fault], Mapping[int, bytes]]:
    """The faults of rows against their leaves, and the hashes that rows would have given where they differ.

    ``records`` are all of the store between the leaf before ``leaves`` and the last of them.
    """
    held = {record.position: record for record in records}
    faults, derived = list(_unsealed(held, leaves)), dict[int, bytes]()
    for leaf, position in enumerate(leaves.positions, leaves.first):
        if (record := held.get(position)) is None:
            faults.append(
                Fault(leaf, FaultKind.ROW_MISSING, position, f"the log holds no position {position}")
            )
            continue
        found = leaf_of(record, leaves.commitment(leaf)).hash()
        payload = _payload(record, leaf, leaves)
        if found == leaves.hash(leaf):
            faults += [payload] if payload else []
        elif payload and _gives(record, leaf, leaves):
            faults.append(_recommitted(record, leaf, leaves))
        else:
            derived[leaf] = found
            faults.append(_differs(record, leaf, found, leaves.hash(leaf)))
            faults += [payload] if payload else []
    return faults, derived


def _payload(record: StoredRecord, leaf: int, leaves: Leaves) -> Fault | None:
    """What is wrong with the stored payload; None where it is the one that was committed to."""
    salt, size = leaves.salt(leaf), len(record.state)
    if salt is None:
        kind = FaultKind.SALT_ERASED if size else FaultKind.PAYLOAD_ERASED
        return Fault(leaf, kind, record.position, f"no salt, {size} bytes of {_of(record)}")
    if (found := commitment_of(salt, record.state)) == leaves.commitment(leaf):
        return None
    kind = FaultKind.PAYLOAD_CHANGED if size else FaultKind.PAYLOAD_ERASED
    values = f"commitment {found.hex()}, not {leaves.commitment(leaf).hex()}"
    return Fault(leaf, kind, record.position, f"{size} bytes of {_of(record)} with their salt give {values}")


def _gives(record: StoredRecord, leaf: int, leaves: Leaves) -> bool:
    """Whether row and salt are what was sealed, and only the commitment beside the salt is not."""
    salt = leaves.salt(leaf)
    return salt is not None and leaf_of(record, commitment_of(salt, record.state)).hash() == leaves.hash(leaf)


def _recommitted(record: StoredRecord, leaf: int, leaves: Leaves) -> Fault:
    kept = leaves.commitment(leaf).hex()
    detail = f"{kept} is kept; {_of(record)} is as it was sealed"
    return Fault(leaf, FaultKind.COMMITMENT_CHANGED, record.position, detail)


def _differs(record: StoredRecord, leaf: int, found: bytes, sealed: bytes) -> Fault:
    detail = f"{_of(record)} gives the leaf hash {found.hex()}, not {sealed.hex()}"
    return Fault(leaf, FaultKind.COLUMNS_CHANGED, record.position, detail)


def _unsealed(held: Mapping[int, StoredRecord], leaves: Leaves) -> Iterator[Fault]:
    """Rows that have no leaf, told at the leaf that follows them."""
    after: dict[int, list[int]] = {}
    for position in sorted(held.keys() - set(leaves.positions)):
        after.setdefault(leaves.first + bisect_left(leaves.positions, position), []).append(position)
    for leaf, positions in after.items():
        named = ", ".join(map(str, positions[:_MOST_NAMED]))
        more = ", …" if len(positions) > _MOST_NAMED else ""
        detail = f"{len(positions)} rows before leaf {leaf} were never sealed: positions {named}{more}"
        yield Fault(leaf, FaultKind.ROW_WITHOUT_LEAF, positions[0], detail)


def _of(record: StoredRecord) -> str:
    return f"position {record.position}, version {record.version} of {record.stream}"


@dataclass(slots=True)
class TreeCheck:
    """Grows the tree anew, seal by seal, and compares it with what was signed and what is stored.

    Once leaf hashes do not give a signed root, nothing after them can be told: ``frontier`` is None.
    """

    frontier: Frontier | None
    nodes: dict[Node, bytes] = field(default_factory=dict)  # as they should be stored, since the last look

    def grow(
        self, hashes: Sequence[bytes], derived: Mapping[int, bytes], root: bytes
    ) -> tuple[Sequence[Fault], frozenset[int]]:
        """Append the leaves of one seal, whose tree was signed with ``root``.

        ``derived`` are hashes that rows give where they differ from the stored ones. The second answer are
        those leaves whose row was right and whose stored hash was not.
        """
        if self.frontier is None:
            return [], frozenset()
        first = self.frontier.size
        there = {leaf: found for leaf, found in derived.items() if first <= leaf < first + len(hashes)}
        if self._is(hashes, root):
            return [], frozenset()
        if there and self._is([there.get(i, h) for i, h in enumerate(hashes, first)], root):
            return [_rehashed(leaf, hashes[leaf - first], found) for leaf, found in there.items()], frozenset(
                there
            )
        grown = self.frontier.copy()
        grown.extend(hashes)
        self.frontier = None
        given = f"leaves {first} to {grown.size - 1} give {grown.root().hex()}, signed is {root.hex()}"
        detail = f"{given}; roots of what follows were not compared"
        return [Fault(first, FaultKind.ROOT_DIFFERS, None, detail)], frozenset()

    def _is(self, hashes: Sequence[bytes], root: bytes) -> bool:
        """Whether the tree with ``hashes`` has ``root``; if so it is grown by them."""
        assert self.frontier is not None
        grown = self.frontier.copy()
        completed = grown.extend(hashes)
        if grown.root() != root:
            return False
        self.frontier = grown
        for level, first, row in completed:
            if not level % TILE_LEVELS:
                self.nodes.update((Node(level, number), value) for number, value in enumerate(row, first))
        return True


def node_faults(wanted: Mapping[Node, bytes], stored: Mapping[Node, bytes]) -> Sequence[Fault]:
    """The stored nodes that are not as they should be, at the first leaf below each."""
    return [
        Fault(
            node.number << node.level,
            FaultKind.NODE_WRONG,
            None,
            f"node {node.number} of level {node.level} is {_hex(stored.get(node))}, not {value.hex()}",
        )
        for node, value in wanted.items()
        if stored.get(node) != value
    ]


def _rehashed(leaf: int, stored: bytes, found: bytes) -> Fault:
    detail = f"{stored.hex()} is kept; the row gives {found.hex()}, and that gives the signed root"
    return Fault(leaf, FaultKind.LEAF_HASH_CHANGED, None, detail)


def _hex(value: bytes | None) -> str:
    return "missing" if value is None else value.hex()
