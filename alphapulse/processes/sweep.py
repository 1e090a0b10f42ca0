"""Re-hashes what the store holds against what was sealed of it, from the first leaf on, again and again.

Each pass goes through the tree as it was when the pass began. It names what it finds and repairs nothing. A
lease keeps one sweep at work; where a pass stopped, the next process goes on.
"""

import asyncio
import logging
import os
import random
import socket
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection

from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.adapters.store.limits import MAX_PAGE_EVENTS
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.ports import EventStore, FencedOut, Leases, StoreUnavailable
from alphapulse.domain.provenance.checkpoint import Checkpoint, open_checkpoint
from alphapulse.domain.provenance.faults import (
    Fault,
    FaultKind,
    TreeCheck,
    all_match,
    node_faults,
    row_faults,
)
from alphapulse.domain.provenance.merkle import Frontier, Node
from alphapulse.domain.provenance.notes import BadNote, NoteKey
from alphapulse.domain.provenance.sealing import Leaves, Sealed, SealedLog, SealSource
from alphapulse.processes.leasing import Holding, stoppable
from alphapulse.processes.project import connector
from alphapulse.projections import sweeps
from alphapulse.projections.proofs import range_nodes
from alphapulse.projections.runner import Connect, connection

log = logging.getLogger(__name__)

LEASE = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLimits:
    leaves: int = 2_000  # looked at in one step, or one seal if that has more
    share: float = 0.1  # of the time is worked, the rest is slept
    rest_s: float = 60.0  # between two passes
    faults: int = 10_000  # recorded in one pass; more are only counted
    lease_s: float = 60.0
    backoff_s: tuple[float, float] = (1.0, 60.0)  # first and longest wait after a fault of the database


DEFAULT_LIMITS = SweepLimits()


class Swept(SealedLog, SealSource, Protocol):
    """The tree and the events, read from where they are kept and not from a memory of it."""


@dataclass(slots=True)
class Pass:
    """One way through the leaves from ``leaf`` to ``size``; make one with ``started``."""

    store: EventStore
    seals: Swept
    key: NoteKey | None  # without it no signature is looked at
    size: int
    leaf: int
    position: int  # of the event before ``leaf``
    tree: TreeCheck
    counts: Counter[FaultKind] = field(default_factory=Counter)

    async def step(self, most: int) -> Sequence[Fault]:
        """Look at the next ``most`` leaves, or a seal if it has more; tell what is wrong with them."""
        seals = await self._next_seals(most)
        leaves = await self.seals.leaves(self.leaf, seals[-1].size) if seals else None
        if leaves and len(leaves) != seals[-1].size - self.leaf:  # which of the seals is it?
            seals = seals[:1]
            leaves = await self.seals.leaves(self.leaf, seals[0].size)
        faults = list(await self._look(seals, leaves)) if leaves else [self._gone(self.size, 0)]
        self.leaf, self.position = (
            (seals[-1].size, seals[-1].position) if seals else (self.size, self.position)
        )
        if self.leaf >= self.size:
            faults += await self._counted()
        self.counts.update(fault.kind for fault in faults)
        return faults

    async def _next_seals(self, most: int) -> Sequence[Sealed]:
        found = await self.seals.checkpoints(self.leaf, limit=most)
        within = [seal for seal in found if seal.size <= min(self.leaf + most, self.size)]
        return within or found[:1]

    async def _look(self, seals: Sequence[Sealed], leaves: Leaves) -> Sequence[Fault]:
        """The faults of rows, leaves, nodes and checkpoints of ``seals``, which follow one another."""
        if len(leaves) != seals[-1].size - self.leaf:
            self.tree.frontier = None
            return [self._gone(seals[-1].size, len(leaves))]
        faults, derived = await self._rows(leaves)
        told, rehashed, first = list[Fault](), set[int](), self.leaf
        for seal in seals:
            signed, problem = self._signed(seal)
            if problem:
                told.append(Fault(seal.size - 1, FaultKind.CHECKPOINT_WRONG, seal.position, problem))
            root = signed.root if signed else seal.root
            hashes = [leaves.hash(leaf) for leaf in range(first, seal.size)]
            wrong, mended = self.tree.grow(hashes, derived, root)
            told += wrong
            rehashed |= mended
            first = seal.size
        kept = [f for f in faults if f.leaf not in rehashed or f.kind is not FaultKind.COLUMNS_CHANGED]
        return [*kept, *told, *await self._nodes()]

    async def _rows(self, leaves: Leaves) -> tuple[Sequence[Fault], Mapping[int, bytes]]:
        """See ``row_faults``; of payloads a page is held at a time, where anything differs at all."""
        if await self._is_whole(leaves):
            return [], {}
        faults, derived = list[Fault](), dict[int, bytes]()
        after, last, leaf = self.position, leaves.positions[-1], leaves.first
        while after < last:
            page = await self.store.read(after, until=last, limit=MAX_PAGE_EVENTS)
            after = page.scanned_to if page.records else last
            end = leaves.first + bisect_right(leaves.positions, after)
            found, hashes = await asyncio.to_thread(row_faults, page.records, leaves.part(leaf, end))
            faults += found
            derived |= hashes
            leaf = end
        return faults, derived

    async def _is_whole(self, leaves: Leaves) -> bool:
        """The usual case, in a fifth of the time: nothing differs."""
        events = await self.seals.ahead(self.position, len(leaves))
        return await asyncio.to_thread(all_match, events, leaves)

    def _signed(self, seal: Sealed) -> tuple[Checkpoint | None, str | None]:
        """The checkpoint that was signed, and what is wrong with it or with what stands beside it."""
        if self.key is None:
            return None, None
        try:
            found = open_checkpoint(seal.note, self.key, ed25519)
        except BadNote as error:
            return None, str(error)
        if (found.size, found.root) == (seal.size, seal.root):
            return found, None
        signed = f"{found.size} leaves with root {found.root.hex()} are signed"
        wrong = f"{signed}, beside it stand {seal.size} with {seal.root.hex()}"
        return (found if found.size == seal.size else None), wrong

    def _gone(self, end: int, there: int) -> Fault:
        detail = f"of leaves {self.leaf} to {end - 1}, which were sealed, {there} are there"
        return Fault(self.leaf, FaultKind.LEAVES_MISSING, None, detail)

    async def _nodes(self) -> Sequence[Fault]:
        wanted, self.tree.nodes = self.tree.nodes, {}
        return node_faults(wanted, await _stored(self.seals, wanted)) if wanted else []

    async def _counted(self) -> Sequence[Fault]:
        """Whether the counts of signals are those that the last checkpoint of this pass commits to."""
        last = await self.seals.sealed(size=self.size)
        signed = self._signed(last)[0] if last else None
        if last is None or signed is None:
            return []
        line = (await self.seals.counts(last.size)).line()
        if line == signed.signals_line:
            return []
        detail = f"{signed.signals_line!r} is signed, the counts that are kept give {line!r}"
        return [Fault(last.size - 1, FaultKind.COUNTS_WRONG, last.position, detail)]


async def started(store: EventStore, seals: Swept, key: NoteKey | None, size: int, leaf: int = 0) -> Pass:
    """A pass through the tree of ``size`` leaves that goes on at ``leaf``, where a seal ended."""
    frontier: Frontier | None = Frontier()
    position = 0
    if leaf:
        before = await seals.sealed(size=leaf)
        position = before.position if before else 0
        frontier = await _frontier(seals, leaf)
        if before is None or frontier is None or (before.size, before.root) != (leaf, frontier.root()):
            frontier = None  # it was told when it was seen
    return Pass(store, seals, key, size, leaf, position, TreeCheck(frontier))


async def sweep_once(
    database_url: str,
    key: NoteKey | None,
    *,
    limits: SweepLimits = DEFAULT_LIMITS,
    tell: Callable[[int, int], None] = lambda _leaf, _size: None,
) -> tuple[int, Sequence[Fault], Mapping[FaultKind, int]]:
    """One pass at full speed: leaves looked at, faults found (at most ``limits.faults``), and how many.

    What is found is recorded; what was recorded and is not found again is forgotten.

    Raises:
        StoreUnavailable: the database did not answer.
    """
    kept = list[Fault]()
    async with (
        PostgresEventStore(database_url, readers=1) as store,
        PostgresSeals(database_url, readers=1) as seals,
        connection(connector(database_url)) as db,
    ):
        begun = await sweeps.now(db)
        last = await seals.sealed()
        work = await started(store, seals, key, last.size if last else 0)
        while work.leaf < work.size:
            found = (await work.step(limits.leaves))[: limits.faults - len(kept)]
            kept += found
            await sweeps.note(db, found)
            tell(work.leaf, work.size)
        await _forget(db, begun)
    return work.size, kept, work.counts


@dataclass(slots=True, kw_only=True)
class Sweeper:
    """Passes without end, one after the other, a little at a time."""

    store: EventStore
    seals: Swept
    leases: Leases
    connect: Connect
    key: Callable[[], NoteKey | None]  # asked at the beginning of each pass
    holder: str
    limits: SweepLimits = DEFAULT_LIMITS

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until ``stop`` is set. Faults of the database are waited out, for as long as it takes."""
        pause = self.limits.backoff_s[0]
        while not stop.is_set():
            begun = _now()
            try:
                await self._work(stop)
            except (StoreUnavailable, FencedOut, psycopg.OperationalError, OSError) as error:
                log.warning("the sweep waits: %s", error)
                if _now() - begun > self.limits.backoff_s[1]:
                    pause = self.limits.backoff_s[0]
                await stoppable(stop, asyncio.sleep(pause * random.uniform(0.5, 1.0)))  # noqa: S311
                pause = min(2 * pause, self.limits.backoff_s[1])

    async def _work(self, stop: asyncio.Event) -> None:
        lease = Holding(leases=self.leases, name=LEASE, holder=self.holder, duration_s=self.limits.lease_s)
        async with lease.held(stop), connection(self.connect) as db:
            while not stop.is_set():
                await self._pass(db, lease, stop)
                await self._rest(lease, self.limits.rest_s, stop)

    async def _pass(self, db: AsyncConnection[Any], lease: Holding, stop: asyncio.Event) -> None:
        sweep = await sweeps.present(db)
        if sweep is None or sweep.leaf >= sweep.size:
            last = await self.seals.sealed()
            if last is None:
                return
            sweep = await sweeps.begin(db, last.size)
        work = await started(self.store, self.seals, self.key(), sweep.size, sweep.leaf)
        recorded = 0
        while work.leaf < work.size and not stop.is_set():
            await lease.renewed()
            begun = _now()
            found = await work.step(self.limits.leaves)
            recorded += await self._note(db, found, recorded)
            await sweeps.reached(db, work.leaf)
            await self._rest(lease, (_now() - begun) * (1 / self.limits.share - 1), stop)
        if work.leaf >= work.size:
            await sweeps.finish(db)
            await _forget(db, sweep.started_at)

    async def _note(self, db: AsyncConnection[Any], found: Sequence[Fault], recorded: int) -> int:
        """Record ``found`` as far as the limit allows, and log what is new; how many were recorded."""
        kept = found[: max(self.limits.faults - recorded, 0)]
        for fault in await sweeps.note(db, kept):
            log.error("leaf %d: %s: %s", fault.leaf, fault.kind, fault.detail)
        if len(kept) < len(found):
            log.error("%d more faults up to leaf %d are not recorded", len(found) - len(kept), found[-1].leaf)
        return len(kept)

    async def _rest(self, lease: Holding, seconds: float, stop: asyncio.Event) -> None:
        """Sleep, and keep the lease meanwhile."""
        until = _now() + seconds
        while (left := until - _now()) > 0 and not stop.is_set():
            await lease.renewed()
            await stoppable(stop, asyncio.sleep(min(left, self.limits.lease_s / 3)))


async def run_sweep(database_url: str, key: Callable[[], NoteKey | None], stop: asyncio.Event) -> None:
    """The role: a sweep over this log, until ``stop`` is set."""
    holder = f"{socket.gethostname()} {os.getpid()} {uuid4()}"
    connect = connector(database_url)
    async with (
        PostgresEventStore(database_url, readers=1) as store,
        PostgresSeals(database_url, readers=1) as seals,
    ):
        sweeper = Sweeper(
            store=store, seals=seals, leases=store.leases, connect=connect, key=key, holder=holder
        )
        await sweeper.run(stop)


async def _forget(db: AsyncConnection[Any], begun: Any) -> None:
    for fault in await sweeps.forget(db, begun):
        log.warning("leaf %d: %s is found no more: %s", fault.leaf, fault.kind, fault.detail)


async def _frontier(seals: SealedLog, size: int) -> Frontier | None:
    """The tree of ``size`` leaves as it is stored; None where it has a hole."""
    try:
        return Frontier(size, await range_nodes(seals, 0, size))
    except KeyError:
        return None


async def _stored(seals: SealedLog, wanted: Mapping[Node, bytes]) -> Mapping[Node, bytes]:
    """Those of ``wanted`` that are there."""
    try:
        return await seals.nodes(wanted)
    except KeyError:
        found = dict[Node, bytes]()
        for node in wanted:
            try:
                found |= await seals.nodes([node])
            except KeyError:
                continue
        return found


def _now() -> float:
    return asyncio.get_running_loop().time()
