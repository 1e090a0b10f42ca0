"""A sealed log that remembers tiles: proofs of a large tree, each in about one query.

What a node is never changes, so what was read once is kept, as much as the limits allow: whole tiles with
all that is computed within them, and single nodes of the tiles at the tree's right edge. Whoever looks for
changes reads past this.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Generic, TypeVar

from alphapulse.domain.provenance.checkpoint import Counts
from alphapulse.domain.provenance.merkle import HASH_BYTES, Node
from alphapulse.domain.provenance.sealing import TILE_LEVELS, Leaves, Receipt, Sealed, SealedLog
from alphapulse.domain.provenance.tiles import TILE_WIDTH, Tile

MAX_LOW_TILES = 128  # of leaves: who asks for proofs one by one seldom comes back to the same; 16 kB each
MAX_TILES = 1_024  # above them
MAX_NODES = 10_000
_K = TypeVar("_K")
_V = TypeVar("_V")


class TiledSeals:
    """``log``, whose nodes are remembered."""

    def __init__(self, log: SealedLog) -> None:
        self._log = log
        self._size = 0  # leaves that are known to be there
        self._low: _Recent[tuple[int, int], Sequence[bytes]] = _Recent(MAX_LOW_TILES)  # by level and number
        self._high: _Recent[tuple[int, int], Sequence[bytes]] = _Recent(MAX_TILES)
        self._edge: _Recent[Node, bytes] = _Recent(MAX_NODES)

    async def nodes(self, wanted: Collection[Node]) -> Mapping[Node, bytes]:
        found, rest = dict[Node, bytes](), list[Node]()
        await self._look_up(wanted)
        for node in wanted:
            level, height = divmod(node.level, TILE_LEVELS)
            number, at = divmod(node.number, TILE_WIDTH >> height)
            if (number + 1) << (TILE_LEVELS * (level + 1)) > self._size:
                rest.append(node)
                continue
            rows = await self._rows(level, number)
            found[node] = rows[height][at * HASH_BYTES : (at + 1) * HASH_BYTES]
        found.update(await self._at_the_edge(rest))
        return found

    async def sealed(self, *, size: int | None = None) -> Sealed | None:
        found = await self._log.sealed(size=size)
        self._size = max(self._size, found.size if found else 0)
        return found

    async def sealed_by(self, position: int) -> Sealed | None:
        return await self._log.sealed_by(position)

    async def checkpoints(self, after: int, *, limit: int) -> Sequence[Sealed]:
        return await self._log.checkpoints(after, limit=limit)

    async def leaves(self, lo: int, hi: int) -> Leaves:
        return await self._log.leaves(lo, hi)

    async def leaf_after(self, position: int) -> int:
        return await self._log.leaf_after(position)

    async def counts(self, size: int) -> Counts:
        return await self._log.counts(size)

    async def receipts(self, lo: int, hi: int) -> Sequence[Receipt]:
        return await self._log.receipts(lo, hi)

    async def _look_up(self, wanted: Collection[Node]) -> None:
        """See whether the tree has grown, where a node may be beyond what is known of it."""
        if any((node.number + 1) << node.level > self._size for node in wanted):
            await self.sealed()

    async def _rows(self, level: int, number: int) -> Sequence[bytes]:
        """The hashes of a whole tile, and those of each level that is computed from them."""
        known = self._high if level else self._low
        if (rows := known.get((level, number))) is None:
            rows = known.put((level, number), list(_computed(await self._read(level, number))))
        return rows

    async def _read(self, level: int, number: int) -> bytes:
        if not level:
            first = number * TILE_WIDTH
            return (await self._log.leaves(first, first + TILE_WIDTH)).hashes
        nodes = Tile(level, number).nodes
        hashes = await self._log.nodes(nodes)
        return b"".join(hashes[node] for node in nodes)

    async def _at_the_edge(self, wanted: Sequence[Node]) -> Mapping[Node, bytes]:
        found = {node: value for node in wanted if (value := self._edge.get(node)) is not None}
        if missing := [node for node in wanted if node not in found]:
            for node, value in (await self._log.nodes(missing)).items():
                found[node] = self._edge.put(node, value)
        return found


class _Recent(Generic[_K, _V]):
    """The ``most`` values used last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K) -> _V | None:
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: _K, value: _V) -> _V:
        self._values[key] = value
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return value


def _computed(row: bytes) -> Iterator[bytes]:
    """The hashes of a tile, and of the seven levels above them, each row one behind the other."""
    yield row
    for _ in range(TILE_LEVELS - 1):
        pairs = range(0, len(row), 2 * HASH_BYTES)
        row = b"".join([sha256(b"\x01" + row[at : at + 2 * HASH_BYTES]).digest() for at in pairs])
        yield row
