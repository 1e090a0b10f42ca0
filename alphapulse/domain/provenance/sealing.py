"""Sealing: the next events of the log become leaves, and a checkpoint says so under a signature.

One seal is one commit: leaves, nodes, counts and checkpoint are there together or not at all, and each
follows the one before it without a gap.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from alphapulse.domain.ports import Fence, StoredRecord
from alphapulse.domain.provenance.checkpoint import Checkpoint, Counts
from alphapulse.domain.provenance.leaf import SALT_BYTES, Preimage, commitment_of, leaf_of, strategy_of
from alphapulse.domain.provenance.merkle import HASH_BYTES, Frontier, Node
from alphapulse.domain.provenance.notes import Signer

MAX_LEAVES_A_SEAL = 1_000
MAX_LEAVES_A_PAGE = 10_000
TILE_LEVELS = 8  # a tile holds 2**8 hashes; what stands in tiles above the leaves has a level of 8, 16, ...
ERASED = bytes(SALT_BYTES)  # stands where a salt was deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """Some leaves in a row; salts, commitments and hashes one behind the other, 16, 32 and 32 bytes each."""

    first: int
    positions: Sequence[int]
    salts: bytes
    commitments: bytes
    hashes: bytes

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, lo: int, hi: int) -> "Leaves":
        """Those from ``lo`` to ``hi``, that one not included."""
        a, b = lo - self.first, hi - self.first
        return Leaves(
            first=lo,
            positions=self.positions[a:b],
            salts=self.salts[a * SALT_BYTES : b * SALT_BYTES],
            commitments=self.commitments[a * HASH_BYTES : b * HASH_BYTES],
            hashes=self.hashes[a * HASH_BYTES : b * HASH_BYTES],
        )

    def salt(self, leaf: int) -> bytes | None:
        """None where it was deleted: the payload can no longer be shown to be the one."""
        at = (leaf - self.first) * SALT_BYTES
        found = self.salts[at : at + SALT_BYTES]
        return None if found == ERASED else found

    def commitment(self, leaf: int) -> bytes:
        return _hash_at(self.commitments, leaf - self.first)

    def hash(self, leaf: int) -> bytes:
        return _hash_at(self.hashes, leaf - self.first)


def _hash_at(joined: bytes, number: int) -> bytes:
    return joined[number * HASH_BYTES : (number + 1) * HASH_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What one act of sealing adds. ``after`` is the last position sealed before it; 0 at the beginning."""

    after: int
    leaves: Leaves
    nodes: Sequence[tuple[Node, bytes]]  # completed by it, of levels 8, 16, ...
    counts: Mapping[str, int]  # of strategies that issued signals among these leaves, with all before them
    root: bytes
    note: str  # the signed checkpoint

    @property
    def size(self) -> int:
        """Leaves of the tree after it."""
        return self.leaves.first + len(self.leaves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A signed checkpoint as it was recorded, and the position of the last event that it holds."""

    size: int
    root: bytes
    note: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an anchor gave for the checkpoint of ``size`` leaves.

    ``time`` is the anchor's own, in µs since 1970 UTC; None while it has not settled.
    """

    size: int
    anchor: str  # as it is configured
    kind: str
    time: int | None
    data: bytes


class SealedLog(Protocol):
    """Reads what was sealed. Every method raises StoreUnavailable when the store does not answer in time."""

    async def sealed(self, *, size: int | None = None) -> Sealed | None:
        """The newest checkpoint, or the first with at least ``size`` leaves; None where there is none."""
        ...

    async def sealed_by(self, position: int) -> Sealed | None:
        """The last checkpoint that holds no event after ``position``."""
        ...

    async def checkpoints(self, after: int, *, limit: int) -> Sequence[Sealed]:
        """The first ``limit`` checkpoints of more than ``after`` leaves, in order of size."""
        ...

    async def leaves(self, lo: int, hi: int) -> Leaves:
        """Leaves ``lo`` to ``hi``, that one not included, of those that are sealed.

        Raises:
            ValueError: these are more than MAX_LEAVES_A_PAGE, or no range.
        """
        ...

    async def nodes(self, wanted: Collection[Node]) -> Mapping[Node, bytes]:
        """The hash of each node.

        Raises:
            KeyError: one is not complete yet; says which.
        """
        ...

    async def leaf_after(self, position: int) -> int:
        """The first leaf whose event is after ``position``; the size of the tree where there is none."""
        ...

    async def counts(self, size: int) -> Counts:
        """What the checkpoint of ``size`` leaves commits to."""
        ...

    async def receipts(self, lo: int, hi: int) -> Sequence[Receipt]:
        """What anchors gave for checkpoints of ``lo`` to ``hi`` leaves, in order of size, at most 10,000."""
        ...


class SealSource(Protocol):
    async def ahead(self, after: int, limit: int) -> Sequence[Preimage]:
        """Of up to ``limit`` events after position ``after``, in order.

        None of them where they are too large for one answer: then they are to be read as records.

        Raises:
            StoreUnavailable: see SealedLog.
        """
        ...


class SealWriter(Protocol):
    async def append(self, seal: Seal, *, fence: Fence) -> None:
        """Commit ``seal`` behind the last one. Doing it twice is doing it once.

        Raises:
            OutOfPlace: it does not follow the last seal, or its positions are not those of the log.
            FencedOut: ``fence`` is no longer held; nothing was written.
            StoreUnavailable: see SealedLog; it may be written.
        """
        ...

    async def keep(self, receipt: Receipt) -> None:
        """Record what an anchor gave. The same again changes nothing.

        Raises:
            KeyError: there is no checkpoint of this size.
        """
        ...


class OutOfPlace(Exception):
    """The seal does not follow what is sealed: read the tree again."""


@dataclass(slots=True)
class Tree:
    """How far the log is sealed, as the one who goes on with it remembers."""

    frontier: Frontier
    position: int  # of the last event
    counts: Mapping[str, int]

    @property
    def size(self) -> int:
        return self.frontier.size


def seal(tree: Tree, records: Sequence[StoredRecord], salts: bytes, origin: str, signer: Signer) -> Seal:
    """The seal over the next ``records``, 1 to MAX_LEAVES_A_SEAL, with 16 random bytes of ``salts`` for each.

    ``tree`` stays as it is: see ``grown``.
    """
    if not 1 <= len(records) <= MAX_LEAVES_A_SEAL or len(salts) != SALT_BYTES * len(records):
        raise ValueError(f"{len(records)} events and {len(salts)} bytes of salts for one seal")
    frontier, nodes, hashes, commitments = tree.frontier.copy(), [], [], []
    for i, record in enumerate(records):
        commitment = commitment_of(salts[i * SALT_BYTES : (i + 1) * SALT_BYTES], record.state)
        leaf = leaf_of(record, commitment).hash()
        commitments.append(commitment)
        hashes.append(leaf)
        nodes += [(node, value) for node, value in frontier.append(leaf) if not node.level % TILE_LEVELS]
    counts = _counted(tree.counts, records)
    checkpoint = Checkpoint(
        origin=origin,
        size=frontier.size,
        root=frontier.root(),
        extensions=(Counts({**tree.counts, **counts}).line(),),
    )
    return Seal(
        after=tree.position,
        leaves=Leaves(
            first=tree.size,
            positions=[record.position for record in records],
            salts=salts,
            commitments=b"".join(commitments),
            hashes=b"".join(hashes),
        ),
        nodes=nodes,
        counts=counts,
        root=checkpoint.root,
        note=str(checkpoint.sign(signer)),
    )


def sealed_next(
    tree: Tree, events: Sequence[Preimage], salts: bytes, origin: str, signer: Signer
) -> tuple[Seal, Tree]:
    """What ``seal`` gives over the same events, and the tree after it, in a fifth of the time."""
    if not 1 <= len(events) <= MAX_LEAVES_A_SEAL or len(salts) != SALT_BYTES * len(events):
        raise ValueError(f"{len(events)} events and {len(salts)} bytes of salts for one seal")
    commitments = [
        sha256(salts[at : at + SALT_BYTES] + event[3]).digest()
        for at, event in zip(range(0, len(salts), SALT_BYTES), events, strict=True)
    ]
    hashes = [
        sha256(before + commitment + after).digest()
        for (_, before, after, _, _), commitment in zip(events, commitments, strict=True)
    ]
    frontier = tree.frontier.copy()
    nodes = [
        (Node(level, number), value)
        for level, first, row in frontier.extend(hashes)
        if not level % TILE_LEVELS
        for number, value in enumerate(row, first)
    ]
    issued = Counter(event[4] for event in events if event[4] is not None)
    counts = {name: tree.counts.get(name, 0) + count for name, count in issued.items()}
    everybody = {**tree.counts, **counts} if counts else tree.counts
    checkpoint = Checkpoint(
        origin=origin, size=frontier.size, root=frontier.root(), extensions=(Counts(everybody).line(),)
    )
    done = Seal(
        after=tree.position,
        leaves=Leaves(
            first=tree.size,
            positions=[event[0] for event in events],
            salts=salts,
            commitments=b"".join(commitments),
            hashes=b"".join(hashes),
        ),
        nodes=nodes,
        counts=counts,
        root=checkpoint.root,
        note=str(checkpoint.sign(signer)),
    )
    return done, Tree(frontier, done.leaves.positions[-1], everybody)


def grown(tree: Tree, done: Seal) -> Tree:
    """``tree`` after a seal that is committed."""
    frontier = tree.frontier.copy()
    frontier.extend([done.leaves.hash(leaf) for leaf in range(done.leaves.first, done.size)])
    return Tree(frontier, done.leaves.positions[-1], {**tree.counts, **done.counts})


def _counted(before: Mapping[str, int], records: Sequence[StoredRecord]) -> Mapping[str, int]:
    """New counts of the strategies with signals among ``records``."""
    issued = Counter(
        strategy
        for record in records
        if (strategy := strategy_of(record.stream.encode(), record.name.encode())) is not None
    )
    return {name: before.get(name, 0) + count for name, count in issued.items()}
