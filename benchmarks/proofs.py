"""Proofs out of the tree, and the sweep that re-hashes the log.

Inclusion proofs of random leaves are made by the product's own path from a PostgreSQL that holds 10,000,000
leaves (random hashes in 10,000 seals, put there directly). pymerkle, the peer, keeps its 100,000 leaves in
memory or in SQLite: a hundredth of ours. Theirs are made and ours are made one after the other, and every
tenth of ours is verified. Size is computed: the longest proof of a tree of 10**9 leaves, with a checkpoint.

The sweep reads 1,000,000 small events, put there directly and sealed 1,000 at a time, at full speed.
"""

import os
import random
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import psycopg
import uvloop
from pymerkle import BaseMerkleTree, InmemoryTree, SqliteTree

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.adapters.store.tiled_seals import TiledSeals
from alphapulse.domain.provenance.checkpoint import Checkpoint, Counts
from alphapulse.domain.provenance.merkle import (
    Frontier,
    inclusion_ranges,
    leaf_hash,
    verify_inclusion,
)
from alphapulse.domain.provenance.sealing import TILE_LEVELS, Tree, sealed_next
from alphapulse.processes.sweep import SweepLimits, sweep_once
from alphapulse.projections.proofs import consistency_proof, inclusion_proof
from benchmarks.store import faster, server

LEAVES = 10_000_000
THEIRS = 100_000
PROOFS = 2_000
SWEPT = 1_000_000
LARGE = 10**9
EACH = 1_000
SIGNER = KeySigner("example.org/log", bytes(32))


def run() -> Iterator[dict[str, Any]]:
    yield size_of_a_proof()
    with server() as database:
        yield from appends()
        yield from proofs(database())
        yield sweep(database())


# -- claims ---------------------------------------------------------------------------------------


def size_of_a_proof() -> dict[str, Any]:
    longest = max(len(inclusion_ranges(index, LARGE)) for index in (0, 1, LARGE // 2, LARGE - 2, LARGE - 1))
    counts = Counts({f"strategy-{n}": 10**6 for n in range(10)}).line()
    checkpoint = Checkpoint(origin=SIGNER.key.name, size=LARGE, root=bytes(32), extensions=(counts,))
    size = 32 * longest + len(str(checkpoint.sign(SIGNER)).encode())
    return _limit(f"inclusion proof among {LARGE:,} leaves, and checkpoint (computed)", size, 1_500, "bytes")


def appends() -> Iterator[dict[str, Any]]:
    entries = [os.urandom(100) for _ in range(THEIRS)]

    def ours() -> float:
        tree = Frontier()
        begun = time.perf_counter()
        for entry in entries:
            tree.append(leaf_hash(entry))
        tree.root()
        return THEIRS / (time.perf_counter() - begun)

    def theirs() -> float:
        tree = InmemoryTree(algorithm="sha256")
        begun = time.perf_counter()
        for entry in entries:
            tree.append_entry(entry)
        tree.get_root()
        return THEIRS / (time.perf_counter() - begun)

    our_rate, their_rate = (max(side() for _ in range(3)) for side in (ours, theirs))
    name = f"append of {THEIRS:,} leaves in memory"
    yield faster(name, "pymerkle in memory", our_rate, their_rate, "leaves/s", 1.0)


def proofs(url: str) -> Iterator[dict[str, Any]]:
    fill_seals(url, LEAVES)
    our_ms = uvloop.run(prove_ours(url))
    grown_ms = uvloop.run(prove_growth(url))
    name = f"inclusion proof among {LEAVES:,} leaves in PostgreSQL, p50"
    yield _limit(name, our_ms["p50"], 1.0, "ms")
    yield {**_limit(f"{name[:-3]}p99", our_ms["p99"], 1.0, "ms"), "goal": None}
    for peer, tree in theirs():
        yield {
            **_limit(name, our_ms["p50"], prove_theirs(tree), "ms"),
            "peer": f"pymerkle {peer}, {THEIRS:,} leaves",
            "goal": None,
        }
    yield {**_limit(f"consistency proof to {LEAVES:,} leaves, p50", grown_ms, 1.0, "ms"), "goal": None}


def sweep(url: str) -> dict[str, Any]:
    fill_events(url, SWEPT)
    uvloop.run(seal_all(url))
    begun = time.perf_counter()
    size, faults, _ = uvloop.run(sweep_once(url, SIGNER.key, limits=SweepLimits()))
    seconds = time.perf_counter() - begun
    assert (size, faults) == (SWEPT, [])
    return _limit(f"sweep of {SWEPT:,} events", seconds, 60.0, "s")


# -- ours -----------------------------------------------------------------------------------------


async def prove_ours(url: str) -> dict[str, float]:
    """ms a proof, with all that a tree of LEAVES leaves needs on the way."""
    draw = random.Random(1)
    took = []
    async with PostgresSeals(url) as stored:
        seals = TiledSeals(stored)
        last = await seals.sealed()
        assert last is not None
        for n in range(PROOFS):
            leaf = draw.randrange(LEAVES)
            begun = time.perf_counter()
            proof = await inclusion_proof(seals, leaf, LEAVES)
            took.append((time.perf_counter() - begun) * 1e3)
            if n % 10 == 0:
                hashes = (await seals.leaves(leaf, leaf + 1)).hashes
                verify_inclusion(leaf, LEAVES, hashes, proof, last.root)
    took.sort()
    return {"p50": median(took), "p99": took[int(len(took) * 0.99)]}


async def prove_growth(url: str) -> float:
    draw = random.Random(2)
    took = []
    async with PostgresSeals(url) as stored:
        seals = TiledSeals(stored)
        for _ in range(PROOFS // 4):
            begun = time.perf_counter()
            await consistency_proof(seals, draw.randrange(1, LEAVES), LEAVES)
            took.append((time.perf_counter() - begun) * 1e3)
    return median(took)


def fill_seals(url: str, leaves: int) -> None:
    """Put a tree over random leaf hashes into the database, past the guards and without a log under it."""
    tree, draw = Frontier(), random.Random(3)
    nodes = list[tuple[int, int, bytes]]()
    with psycopg.connect(url) as db:
        for table in ("log_receipts", "log_seals"):
            db.execute(f"ALTER TABLE {table} SET UNLOGGED")
        with db.cursor().copy(
            "COPY log_seals (size, first_leaf, last_position, positions, salts, commitments, hashes, root,"
            " note) FROM STDIN"
        ) as copy:
            nothing = {width: r"\\x" + "00" * (width * EACH) for width in (16, 32)}
            for first in range(0, leaves, EACH):
                hashes = draw.randbytes(32 * EACH)
                each = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
                for level, number, row in tree.extend(each):
                    if not level % TILE_LEVELS:
                        nodes += [(level, at, value) for at, value in enumerate(row, number)]
                size, root = first + EACH, tree.root()
                note = str(Checkpoint(origin=SIGNER.key.name, size=size, root=root).sign(SIGNER))
                positions = "{" + ",".join(map(str, range(first + 1, size + 1))) + "}"
                hexes = r"\\x" + hashes.hex(), r"\\x" + root.hex(), note.replace("\n", r"\n")
                fields = (str(size), str(first), str(size), positions, nothing[16], nothing[32], *hexes)
                copy.write("\t".join(fields) + "\n")
        with db.cursor().copy("COPY log_nodes FROM STDIN") as copy:
            for level, number, value in nodes:
                copy.write_row((level, number, value))
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE log_seals, log_nodes")


def fill_events(url: str, events: int) -> None:
    """Put small events into the log directly: many streams, every column filled."""
    with psycopg.connect(url) as db:
        db.execute(
            "INSERT INTO stored_events SELECT 'facts-' || n %% 100, n / 100 + 1, 'test.fact_noted.v1',"
            " decode(md5(n::text) || md5((-n)::text) || md5((n + 1)::text), 'hex'), n, gen_random_uuid(),"
            " n * 1000000, timestamptz '2026-01-01' + n * interval '1 millisecond', gen_random_uuid(),"
            " gen_random_uuid(), 'system', NULL, n, n FROM generate_series(1::bigint, %s) n",
            (events,),
        )
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE stored_events")


async def seal_all(url: str) -> None:
    tree = Tree(Frontier(), 0, {})
    async with PostgresEventStore(url) as store, PostgresSeals(url) as seals:
        fence = await store.leases.acquire("seal", "benchmark", 3600)
        assert fence is not None
        while events := await seals.ahead(tree.position, EACH):
            salts = os.urandom(16 * len(events))
            done, tree = sealed_next(tree, events, salts, SIGNER.key.name, SIGNER)
            await seals.append(done, fence=fence)


# -- theirs ---------------------------------------------------------------------------------------


def theirs() -> Iterator[tuple[str, BaseMerkleTree]]:
    entries = [os.urandom(32) for _ in range(THEIRS)]
    yield "in memory", InmemoryTree.init_from_entries(entries, algorithm="sha256")
    sqlite = SqliteTree(":memory:", algorithm="sha256")
    sqlite.append_entries(entries)
    yield "in SQLite (in memory)", sqlite


def prove_theirs(tree: BaseMerkleTree) -> float:
    """ms a proof."""
    draw = random.Random(1)
    took = []
    for _ in range(PROOFS // 4):
        leaf = draw.randrange(1, THEIRS + 1)
        begun = time.perf_counter()
        tree.prove_inclusion(leaf, THEIRS)
        took.append((time.perf_counter() - begun) * 1e3)
    return median(took)


def _limit(name: str, ours: float, limit: float, unit: str) -> dict[str, Any]:
    ratio = {"ours": ours, "theirs": limit, "unit": unit, "ratio": limit / ours, "goal": 1.0}
    return {"name": name, "peer": f"our limit of {limit:g} {unit}", **ratio}
