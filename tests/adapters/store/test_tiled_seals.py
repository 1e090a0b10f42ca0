"""Tiles that are remembered give the nodes of the log, in few queries and bounded memory."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store import tiled_seals
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.memory_seals import MemorySeals
from alphapulse.adapters.store.tiled_seals import TiledSeals
from alphapulse.domain.ports import Envelope, NewEvent
from alphapulse.domain.provenance.merkle import Frontier, Node, verify_consistency, verify_inclusion
from alphapulse.domain.provenance.sealing import Leaves, Tree, grown, seal
from alphapulse.projections.proofs import consistency_proof, inclusion_proof, range_nodes

SIGNER = KeySigner("example.org/log", bytes(32))


class Counted(MemorySeals):
    """Counts what it is asked."""

    asked: Counter[str]

    async def nodes(self, wanted: Collection[Node]) -> Mapping[Node, bytes]:
        self.asked["nodes"] += 1
        return await super().nodes(wanted)

    async def leaves(self, lo: int, hi: int) -> Leaves:
        self.asked["leaves"] += 1
        return await super().leaves(lo, hi)


class Log:
    """A sealed log in memory that grows."""

    def __init__(self) -> None:
        self.store = MemoryEventStore()
        self.seals = Counted(self.store.leases)
        self.seals.asked = Counter()
        self.tree = Tree(Frontier(), 0, {})

    async def grow(self, events: int) -> None:
        version = await self.store.version("facts")
        new = [
            NewEvent(
                stream="facts",
                version=version + n,
                name="a.b.v1",
                state=b"{}",
                envelope=Envelope(event_id=uuid4()),
            )
            for n in range(1, events + 1)
        ]
        for at in range(0, events, 500):
            await self.store.append(new[at : at + 500])
        fence = await self.store.leases.acquire("seal", "test", 60)
        assert fence is not None
        while records := (await self.store.read(self.tree.position, limit=1_000)).records:
            done = seal(self.tree, records, os.urandom(16 * len(records)), "example.org/log", SIGNER)
            await self.seals.append(done, fence=fence)
            self.tree = grown(self.tree, done)


@pytest.mark.parametrize("sizes", [(1, 255, 256, 257, 700), (600,), (255, 512, 513, 1_100)])
async def test_proofs_are_those_of_the_log_while_it_grows(sizes: Sequence[int]) -> None:
    log = Log()
    tiled = TiledSeals(log.seals)
    for size in sizes:
        await log.grow(size - log.tree.size)
        root = log.tree.frontier.root()
        for leaf in {0, size // 3, size - 1}:
            proof = await inclusion_proof(tiled, leaf, size)
            assert proof == await inclusion_proof(log.seals, leaf, size)
            verify_inclusion(leaf, size, (await tiled.leaves(leaf, leaf + 1)).hashes, proof, root)
        for old in {1, (size + 1) // 2, size}:
            proof = await consistency_proof(tiled, old, size)
            begun = Frontier(old, await range_nodes(tiled, 0, old)).root()
            verify_consistency(old, size, begun, root, proof)


async def test_every_node_of_every_level_is_that_of_the_log() -> None:
    log = Log()
    await log.grow(600)
    tiled = TiledSeals(log.seals)
    for level in range(10):
        nodes = [Node(level, number) for number in range(600 >> level)]
        assert await tiled.nodes(nodes) == await log.seals.nodes(nodes)
    assert await tiled.nodes([]) == {}


async def test_a_node_that_is_not_complete_is_told_and_found_once_it_is() -> None:
    log = Log()
    tiled = TiledSeals(log.seals)
    await log.grow(300)
    for node in (Node(0, 300), Node(9, 0), Node(3, 37), Node(8, 1)):
        with pytest.raises(KeyError):
            await tiled.nodes([node])
    await log.grow(300)
    for node in (Node(0, 300), Node(9, 0), Node(3, 37), Node(8, 1)):
        assert await tiled.nodes([node]) == await log.seals.nodes([node])


async def test_what_was_read_once_is_not_read_again() -> None:
    log = Log()
    await log.grow(700)
    tiled = TiledSeals(log.seals)
    for leaf in (0, 300, 699):
        await inclusion_proof(tiled, leaf, 700)
    log.seals.asked.clear()
    for leaf in (1, 2, 255, 256, 300, 511, 699):
        await inclusion_proof(tiled, leaf, 700)
    assert log.seals.asked["leaves"] == 0
    assert log.seals.asked["nodes"] <= 2, "single nodes at the edge, next to another leaf"


async def test_the_oldest_tiles_and_nodes_are_forgotten_at_the_limit(monkeypatch: Any) -> None:
    monkeypatch.setattr(tiled_seals, "MAX_LOW_TILES", 1)
    monkeypatch.setattr(tiled_seals, "MAX_TILES", 1)
    monkeypatch.setattr(tiled_seals, "MAX_NODES", 3)
    log = Log()
    await log.grow(1_100)
    tiled = TiledSeals(log.seals)
    for leaf in range(0, 1_100, 50):
        assert await inclusion_proof(tiled, leaf, 1_100) == await inclusion_proof(log.seals, leaf, 1_100)
        assert len(tiled._low._values) <= 1
        assert len(tiled._edge._values) <= 3
