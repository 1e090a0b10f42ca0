"""What is sealed of the log, in PostgreSQL: a row for each seal, and the nodes of the tiles above the leaves.

All other nodes are computed from those below them, at most seven levels down.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

import psycopg

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store import arrays
from alphapulse.adapters.store.connections import Connections, Reader
from alphapulse.adapters.store.preimages import next_preimages
from alphapulse.domain.ports import Fence, FencedOut
from alphapulse.domain.provenance.checkpoint import Counts
from alphapulse.domain.provenance.leaf import Preimage, microseconds
from alphapulse.domain.provenance.merkle import HASH_BYTES, Node, node_hash
from alphapulse.domain.provenance.sealing import (
    MAX_LEAVES_A_PAGE,
    MAX_LEAVES_A_SEAL,
    TILE_LEVELS,
    Leaves,
    OutOfPlace,
    Receipt,
    Seal,
    Sealed,
)

MAX_RECEIPTS = 10_000
_MAX = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Everything asked for follows an index, also before the first ANALYZE.
_PLANNER = {"enable_seqscan": "off", "enable_bitmapscan": "off"}

_SEALED = "SELECT size, root, note, last_position FROM log_seals"
_NEWEST = f"{_SEALED} ORDER BY size DESC LIMIT 1"
_OF_SIZE = f"{_SEALED} WHERE size >= %s::bigint ORDER BY size LIMIT 1"
_CHECKPOINTS = f"{_SEALED} WHERE size > %s::bigint ORDER BY size LIMIT %s::bigint"
_BY_POSITION = f"{_SEALED} WHERE last_position <= %s::bigint ORDER BY last_position DESC LIMIT 1"
# A seal holds 1,000 leaves at most: that bounds, along the index, where those that touch the range end.
_TOUCHING = f"s.size > w.lo AND s.size < w.hi + {MAX_LEAVES_A_SEAL} AND s.first_leaf < w.hi"
_FROM_TO = "greatest(w.lo - s.first_leaf, 0) AS a, least(w.hi, s.size) - s.first_leaf AS b"
_LEAVES = f"""
SELECT s.positions[c.a + 1 : c.b], substring(s.salts FROM (16 * c.a + 1)::int FOR (16 * (c.b - c.a))::int),
    substring(s.commitments FROM (32 * c.a + 1)::int FOR (32 * (c.b - c.a))::int),
    substring(s.hashes FROM (32 * c.a + 1)::int FOR (32 * (c.b - c.a))::int)
FROM (SELECT %s::bigint AS lo, %s::bigint AS hi) w JOIN log_seals s ON {_TOUCHING}
CROSS JOIN LATERAL (SELECT {_FROM_TO}) c ORDER BY s.size"""
_HASHES = f"""
SELECT s.first_leaf + c.a, substring(s.hashes FROM (32 * c.a + 1)::int FOR (32 * (c.b - c.a))::int)
FROM unnest(%b, %b) w (lo, hi) CROSS JOIN LATERAL (SELECT * FROM log_seals s WHERE {_TOUCHING}) s
CROSS JOIN LATERAL (SELECT {_FROM_TO}) c"""
_NODES = """
SELECT n.level, n.number, n.hash FROM unnest(%b, %b, %b) w (level, lo, hi) CROSS JOIN LATERAL (
    SELECT * FROM log_nodes n WHERE n.level = w.level AND n.number >= w.lo AND n.number < w.hi
) n"""
_LEAF_AFTER = """
SELECT coalesce(
    (SELECT first_leaf + width_bucket(%(position)s::bigint, positions) FROM log_seals
        WHERE last_position > %(position)s::bigint ORDER BY last_position LIMIT 1),
    (SELECT max(size) FROM log_seals), 0)"""
# From one strategy to the next along the index, and of each the last count: not through all of them.
_COUNTS = """
WITH RECURSIVE found (strategy) AS (
    (SELECT strategy FROM log_signal_counts ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT (SELECT c.strategy FROM log_signal_counts c WHERE c.strategy > f.strategy ORDER BY 1 LIMIT 1)
    FROM found f WHERE f.strategy IS NOT NULL
)
SELECT f.strategy, c.count FROM found f CROSS JOIN LATERAL (
    SELECT count FROM log_signal_counts c WHERE c.strategy = f.strategy AND c.size <= %s::bigint
    ORDER BY c.size DESC LIMIT 1
) c"""
_RECEIPTS = f"""
SELECT size, anchor, kind, anchored_at, receipt FROM log_receipts
WHERE size BETWEEN %s::bigint AND %s::bigint ORDER BY size, id LIMIT {MAX_RECEIPTS}"""
_APPEND = (
    "SELECT * FROM seal_append(%b, %b::bigint, %b::bigint, %b::bigint, %b, %b, %b, %b,"
    " %b::smallint[], %b, %b, %b, %b, %b, %b)"
)
_KEEP = "SELECT seal_keep(%s::bigint, %s, %s, %s, %b)"


# Both at once: what a proof wants lies in both, and a second way to the server costs as much as the first.
_HASHES_AND_NODES = f"""
SELECT 0, h.first, h.hashes FROM ({_HASHES}) h (first, hashes)
UNION ALL SELECT n.level, n.number, n.hash FROM ({_NODES}) n"""


class PostgresSeals:
    """SealedLog, SealSource and SealWriter on the log at ``database_url``.

    Use it as an async context manager. ``timeout_s`` bounds every call.
    """

    def __init__(self, database_url: str, *, readers: int = 2, timeout_s: float = 30.0) -> None:
        self._info = connection_info(database_url, statement_timeout_s=timeout_s, settings=_PLANNER)
        self._connections = Connections(self._connect, size=readers, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connections.close()

    async def append(self, seal: Seal, *, fence: Fence) -> None:
        try:
            [[outcome, detail]] = await self._connections.rows(_APPEND, _append_parameters(seal, fence))
        except psycopg.errors.UniqueViolation as error:
            raise OutOfPlace(f"leaf {seal.leaves.first}: {error}") from error
        if outcome == "fenced":
            raise FencedOut(detail)
        if outcome == "conflict":
            raise OutOfPlace(detail)

    async def keep(self, receipt: Receipt) -> None:
        time = None if receipt.time is None else _EPOCH + timedelta(microseconds=receipt.time)
        given = (receipt.size, receipt.anchor, receipt.kind, time, receipt.data)
        try:
            await self._connections.rows(_KEEP, given)
        except psycopg.errors.ForeignKeyViolation:
            raise KeyError(f"there is no checkpoint of {receipt.size} leaves") from None

    async def ahead(self, after: int, limit: int) -> Sequence[Preimage]:
        return await self._connections.run(lambda connection: next_preimages(connection, after, limit))

    async def sealed(self, *, size: int | None = None) -> Sealed | None:
        if size is None:
            return await self._sealed(_NEWEST)
        return await self._sealed(_OF_SIZE, min(size, _MAX))

    async def sealed_by(self, position: int) -> Sealed | None:
        return await self._sealed(_BY_POSITION, min(position, _MAX))

    async def checkpoints(self, after: int, *, limit: int) -> Sequence[Sealed]:
        rows = await self._connections.rows(_CHECKPOINTS, (min(after, _MAX), limit))
        return [Sealed(size=row[0], root=row[1], note=row[2], position=row[3]) for row in rows]

    async def leaves(self, lo: int, hi: int) -> Leaves:
        if not 0 <= lo <= hi <= lo + MAX_LEAVES_A_PAGE:
            raise ValueError(f"leaves {lo} to {hi}, where {MAX_LEAVES_A_PAGE} are the most")
        rows = await self._connections.rows(_LEAVES, (lo, hi)) if hi < _MAX - MAX_LEAVES_A_SEAL else []
        return Leaves(
            first=lo,
            positions=[position for row in rows for position in row[0]],
            salts=b"".join(row[1] for row in rows),
            commitments=b"".join(row[2] for row in rows),
            hashes=b"".join(row[3] for row in rows),
        )

    async def nodes(self, wanted: Collection[Node]) -> Mapping[Node, bytes]:
        below = {node: _below(node) for node in wanted}
        found: dict[Node, bytes] = {}
        for ranges in _portions(_merged(below.values())):
            found |= await self._stored(ranges)
        return {node: _computed(node, span, found) for node, span in below.items()}

    async def leaf_after(self, position: int) -> int:
        return int((await self._connections.rows(_LEAF_AFTER, {"position": min(position, _MAX)}))[0][0])

    async def counts(self, size: int) -> Counts:
        return Counts(dict(await self._connections.rows(_COUNTS, (min(size, _MAX),))))

    async def receipts(self, lo: int, hi: int) -> Sequence[Receipt]:
        rows = await self._connections.rows(_RECEIPTS, (min(lo, _MAX), min(hi, _MAX)))
        return [
            Receipt(size=size, anchor=anchor, kind=kind, time=at and microseconds(at), data=data)
            for size, anchor, kind, at, data in rows
        ]

    async def _sealed(self, query: str, *parameters: int) -> Sealed | None:
        rows = await self._connections.rows(query, parameters)
        return (
            Sealed(size=rows[0][0], root=rows[0][1], note=rows[0][2], position=rows[0][3]) if rows else None
        )

    async def _stored(self, spans: "Sequence[_Span]") -> Mapping[Node, bytes]:
        """The stored hashes in ``spans``; those not there yet are left out."""
        leaves = [span for span in spans if not span.level]
        tiles = [span for span in spans if span.level]
        parameters = (
            arrays.int8s([span.lo for span in leaves]),
            arrays.int8s([span.hi for span in leaves]),
            arrays.int4s([span.level for span in tiles]),
            arrays.int8s([span.lo for span in tiles]),
            arrays.int8s([span.hi for span in tiles]),
        )
        found: dict[Node, bytes] = {}
        for level, number, value in await self._connections.rows(_HASHES_AND_NODES, parameters):
            for at in range(0, len(value), HASH_BYTES):  # leaves come by the seal
                found[Node(level, number + at // HASH_BYTES)] = value[at : at + HASH_BYTES]
        return found

    def _connect(self) -> Reader:
        connection = psycopg.connect(self._info, autocommit=True)
        arrays.register(connection)
        return connection


class _Span(NamedTuple):
    """Nodes ``lo`` to ``hi``, that one not included, of a level that is stored."""

    level: int
    lo: int
    hi: int


def _below(node: Node) -> _Span:
    """What the hash of ``node`` is made of.

    Raises:
        KeyError: no tree in a database is so large.
    """
    if node.level < 0 or node.number < 0 or (node.number + 1) << node.level > _MAX - MAX_LEAVES_A_SEAL:
        raise KeyError(f"there is no node {node.number} of level {node.level}")
    height = node.level % TILE_LEVELS
    return _Span(node.level - height, node.number << height, (node.number + 1) << height)


def _merged(spans: Collection[_Span]) -> Sequence[_Span]:
    """The same nodes in as few spans as possible."""
    merged: list[_Span] = []
    for span in sorted(spans):
        last = merged[-1] if merged else None
        if last and last.level == span.level and span.lo <= last.hi:
            merged[-1] = _Span(last.level, last.lo, max(last.hi, span.hi))
        else:
            merged.append(span)
    return merged


def _portions(spans: Sequence[_Span]) -> Iterator[Sequence[_Span]]:
    """``spans`` cut so that each portion holds at most MAX_LEAVES_A_PAGE nodes."""
    portion, room = list[_Span](), MAX_LEAVES_A_PAGE
    for level, start, end in spans:
        lo = start
        while lo < end:
            hi = min(end, lo + room)
            portion.append(_Span(level, lo, hi))
            room -= hi - lo
            lo = hi
            if not room:
                yield portion
                portion, room = [], MAX_LEAVES_A_PAGE
    if portion:
        yield portion


def _computed(node: Node, span: _Span, stored: Mapping[Node, bytes]) -> bytes:
    hashes = [stored.get(Node(span.level, number)) for number in range(span.lo, span.hi)]
    there = [value for value in hashes if value is not None]
    if len(there) != len(hashes):
        raise KeyError(
            f"node {node.number} of level {node.level} has {len(there)} of its {len(hashes)} parts "
            f"of level {span.level}"
        )
    while len(there) > 1:
        there = [node_hash(a, b) for a, b in zip(there[::2], there[1::2], strict=True)]
    return there[0]


def _append_parameters(seal: Seal, fence: Fence) -> tuple[Any, ...]:
    """The arguments of ``seal_append``."""
    leaves = seal.leaves
    return (
        fence.lease,
        fence.epoch,
        leaves.first,
        seal.after,
        arrays.int8s(leaves.positions),
        leaves.salts,
        leaves.commitments,
        leaves.hashes,
        arrays.int4s([node.level for node, _ in seal.nodes]),
        arrays.int8s([node.number for node, _ in seal.nodes]),
        arrays.byteas([value for _, value in seal.nodes]),
        arrays.texts(list(seal.counts)),
        arrays.int8s(list(seal.counts.values())),
        seal.root,
        seal.note,
    )
