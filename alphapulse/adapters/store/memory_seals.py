"""The twin of ``PostgresSeals``: what is sealed of a log, in memory."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence

from alphapulse.adapters.store.memory import MemoryEventStore, MemoryLeases
from alphapulse.domain.ports import Fence, FencedOut
from alphapulse.domain.provenance.checkpoint import Counts
from alphapulse.domain.provenance.leaf import Preimage, preimage_of
from alphapulse.domain.provenance.merkle import HASH_BYTES, Node, fold, node_hash
from alphapulse.domain.provenance.sealing import (
    MAX_LEAVES_A_PAGE,
    Leaves,
    OutOfPlace,
    Receipt,
    Seal,
    Sealed,
)


class MemorySeals:
    """Reads and writes. With the ``log``, events that it does not hold are refused, as PostgreSQL does."""

    def __init__(self, leases: MemoryLeases, log: MemoryEventStore | None = None) -> None:
        self._leases, self._log = leases, log
        self.seals: list[Seal] = []
        self.kept: list[Receipt] = []

    async def append(self, seal: Seal, *, fence: Fence) -> None:
        if any(done.note == seal.note for done in self.seals):
            return
        if not self._leases.is_held(fence):
            raise FencedOut(f"lease {fence.lease}, epoch {fence.epoch}")
        size, position = (self.seals[-1].size, self.seals[-1].leaves.positions[-1]) if self.seals else (0, 0)
        if (seal.leaves.first, seal.after) != (size, position):
            raise OutOfPlace(f"leaf {seal.leaves.first} after position {seal.after}, not {size}, {position}")
        await self._check_positions(seal)
        self.seals.append(seal)

    async def _check_positions(self, seal: Seal) -> None:
        events, last = list(seal.leaves.positions), seal.leaves.positions[-1]
        if self._log is None:
            return
        page = await self._log.read(seal.after, until=last, limit=MAX_LEAVES_A_PAGE)
        if [record.position for record in page.records] != events:
            raise OutOfPlace(
                f"the log holds {len(page.records)} events after position {seal.after} up to {last}, "
                f"not these {len(events)}"
            )

    async def keep(self, receipt: Receipt) -> None:
        if all(seal.size != receipt.size for seal in self.seals):
            raise KeyError(f"there is no checkpoint of {receipt.size} leaves")
        if all((r.size, r.anchor, r.data) != (receipt.size, receipt.anchor, receipt.data) for r in self.kept):
            self.kept.append(receipt)

    async def ahead(self, after: int, limit: int) -> Sequence[Preimage]:
        records = (await self._log.read(after, limit=limit)).records if self._log else ()
        return [preimage_of(record) for record in records]

    async def sealed(self, *, size: int | None = None) -> Sealed | None:
        found = [seal for seal in self.seals if size is None or seal.size >= size]
        return _sealed(found[-1 if size is None else 0]) if found else None

    async def sealed_by(self, position: int) -> Sealed | None:
        found = [seal for seal in self.seals if seal.leaves.positions[-1] <= position]
        return _sealed(found[-1]) if found else None

    async def checkpoints(self, after: int, *, limit: int) -> Sequence[Sealed]:
        return [_sealed(seal) for seal in self.seals if seal.size > after][:limit]

    async def leaves(self, lo: int, hi: int) -> Leaves:
        if not 0 <= lo <= hi <= lo + MAX_LEAVES_A_PAGE:
            raise ValueError(f"leaves {lo} to {hi}, where {MAX_LEAVES_A_PAGE} are the most")
        return Leaves(
            first=lo,
            positions=self._positions()[lo:hi],
            salts=self._joined("salts", 16, lo, hi),
            commitments=self._joined("commitments", HASH_BYTES, lo, hi),
            hashes=self._joined("hashes", HASH_BYTES, lo, hi),
        )

    async def nodes(self, wanted: Collection[Node]) -> Mapping[Node, bytes]:
        return {node: self._node(node) for node in wanted}

    async def leaf_after(self, position: int) -> int:
        return bisect_right(self._positions(), position)

    async def counts(self, size: int) -> Counts:
        found: dict[str, int] = {}
        for seal in self.seals:
            if seal.size <= size:
                found.update(seal.counts)
        return Counts(found)

    async def receipts(self, lo: int, hi: int) -> Sequence[Receipt]:
        return sorted((r for r in self.kept if lo <= r.size <= hi), key=lambda r: r.size)[:10_000]

    def _positions(self) -> Sequence[int]:
        return [position for seal in self.seals for position in seal.leaves.positions]

    def _joined(self, what: str, width: int, lo: int, hi: int) -> bytes:
        first = bisect_right([seal.leaves.first for seal in self.seals], lo) - 1
        last = bisect_left([seal.leaves.first for seal in self.seals], hi)
        chosen = self.seals[max(first, 0) : last]
        start = chosen[0].leaves.first if chosen else lo
        joined = b"".join(getattr(seal.leaves, what) for seal in chosen)
        return bytes(joined[(lo - start) * width : (hi - start) * width])

    def _node(self, node: Node) -> bytes:
        lo, hi = node.number << node.level, (node.number + 1) << node.level
        hashes = self._joined("hashes", HASH_BYTES, lo, hi)
        level = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        if len(level) != hi - lo:
            raise KeyError(f"node {node.number} of level {node.level} has {len(level)} of its leaves")
        while len(level) > 1:
            level = [node_hash(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
        return fold(level)


def _sealed(seal: Seal) -> Sealed:
    return Sealed(size=seal.size, root=seal.root, note=seal.note, position=seal.leaves.positions[-1])
