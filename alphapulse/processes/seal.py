"""Seals the log: gives every event a leaf of the tree, and each second a signed checkpoint.

A lease keeps one sealer at work, and the lease's epoch is checked within each commit; were two at it, the
place behind the last seal is taken once. The tree in the database is the checkpoint of our own work: on
start, after a refusal and after every fault it is read again, and must be what was signed.

What is committed is then kept in a file outside the database, before anything more is sealed.
"""

import asyncio
import logging
import math
import os
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from alphapulse.adapters.provenance.kept import FOLDER, KeptCheckpoint, require_continuation
from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.ports import EventStore, Fence, FencedOut, Leases, StoreUnavailable
from alphapulse.domain.provenance.checkpoint import open_checkpoint
from alphapulse.domain.provenance.leaf import SALT_BYTES, Preimage, preimage_of
from alphapulse.domain.provenance.merkle import Frontier, cover
from alphapulse.domain.provenance.notes import BadNote, Signer
from alphapulse.domain.provenance.sealing import (
    MAX_LEAVES_A_SEAL,
    OutOfPlace,
    Seal,
    SealedLog,
    SealSource,
    SealWriter,
    Tree,
    sealed_next,
)
from alphapulse.processes.leasing import Holding, stoppable

log = logging.getLogger(__name__)

LEASE = "seal"
CHECK_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SealLimits:
    leaves: int = MAX_LEAVES_A_SEAL  # that many events are sealed at once
    interval_s: float = 1.0  # and fewer this long after the last seal
    lease_s: float = 5.0  # after a kill the next one waits so long
    poll_s: float = 0.1  # between looks for events
    backoff_s: tuple[float, float] = (0.05, 5.0)  # first and longest wait after a fault

    def __post_init__(self) -> None:
        if not 1 <= self.leaves <= MAX_LEAVES_A_SEAL:
            raise ValueError(f"a seal has 1 to {MAX_LEAVES_A_SEAL} leaves, not {self.leaves}")
        if self.poll_s > self.lease_s / 3:
            raise ValueError(f"looks every {self.poll_s} s do not keep a lease of {self.lease_s} s")


DEFAULT_LIMITS = SealLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class SealReport:
    """How far the log is sealed; ``problem`` says what keeps us from work."""

    size: int
    position: int
    problem: str | None = None


class NotOurTree(Exception):
    """The tree in the database is not what was signed, or another key signed it: nothing more is sealed."""


class Seals(SealedLog, SealSource, SealWriter, Protocol):
    """Reads and writes."""


Report = Callable[[SealReport], None]


@dataclass(slots=True, kw_only=True)
class Sealer:
    store: EventStore
    seals: Seals
    leases: Leases
    signer: Signer
    kept: KeptCheckpoint
    holder: str  # unique to this process
    report: Report = lambda _: None
    salts: Callable[[int], bytes] = os.urandom
    limits: SealLimits = DEFAULT_LIMITS
    _tree: Tree = field(default_factory=lambda: Tree(Frontier(), 0, {}))
    _pending: tuple[Seal, Tree] | None = None  # signed, and perhaps committed; and the tree after it
    _sealed_at: float = -math.inf
    _was_full: bool = True
    _problem: str = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Seal until ``stop`` is set. Faults of the store, and of the disk of the kept file, are waited out.

        Raises:
            RolledBack: the database does not go on from the kept checkpoint.
            NotOurTree: its tree is not what was signed.
            BadNote: the kept checkpoint is none of our key.
        """
        pause = self.limits.backoff_s[0]
        while not stop.is_set():
            started = _now()
            try:
                await self._work(stop)
            except (StoreUnavailable, FencedOut, OutOfPlace, OSError) as error:
                self._report_problem(error)
                if _now() - started > self.limits.backoff_s[1]:
                    pause = self.limits.backoff_s[0]
                await stoppable(stop, asyncio.sleep(pause * random.uniform(0.5, 1.0)))  # noqa: S311
                pause = min(2 * pause, self.limits.backoff_s[1])

    async def _work(self, stop: asyncio.Event) -> None:
        lease = Holding(leases=self.leases, name=LEASE, holder=self.holder, duration_s=self.limits.lease_s)
        async with lease.held(stop):
            if not stop.is_set():
                await self._begin()
            while not stop.is_set():
                if not await self._seal_next(await lease.renewed()):
                    # Not by notice: a busy log has hundreds a second, and we want to hear of one.
                    await stoppable(stop, asyncio.sleep(self.limits.poll_s))

    async def _begin(self) -> None:
        """Read how far the log is sealed, and see that it is the tree that we know."""
        await require_continuation(self.kept, self.seals, self.signer.key)
        self._tree = await load_tree(self.seals, self.signer)
        if last := await self.seals.sealed():  # it may be that we died before it was kept
            await asyncio.to_thread(self.kept.keep, last.note)
        self._report()

    async def _seal_next(self, fence: Fence) -> bool:
        """Seal what is to be sealed by now, if anything is."""
        if (pending := self._again() or await self._next()) is None:
            return False
        self._pending, self._sealed_at = pending, _now()
        done, after = pending
        await self.seals.append(done, fence=fence)
        self._tree, self._pending = after, None
        await asyncio.to_thread(self.kept.keep, done.note)
        self._report()
        return True

    def _again(self) -> tuple[Seal, Tree] | None:
        """The seal of which nobody knew whether it was committed, now that we know that it was not."""
        pending, self._pending = self._pending, None
        if pending is None:
            return None
        leaves, after = pending[0].leaves, pending[0].after
        return pending if (leaves.first, after) == (self._tree.size, self._tree.position) else None

    async def _next(self) -> tuple[Seal, Tree] | None:
        most = self.limits.leaves
        was_full, self._was_full = self._was_full, False  # then there may be a backlog: no need to ask
        if not was_full and not await self._is_time():
            return None
        events = await self._events(self._tree.position, most)
        if not events or (was_full and len(events) < most and not self._is_due()):
            return None
        self._was_full = len(events) == most
        salts = self.salts(SALT_BYTES * len(events))
        return sealed_next(self._tree, events, salts, self.signer.key.name, self.signer)

    async def _is_time(self) -> bool:
        """Whether there is an event, and the second is over since the last seal, or as many as one holds."""
        waiting = await self.store.head() - self._tree.position
        return waiting >= self.limits.leaves or (waiting > 0 and self._is_due())

    async def _events(self, after: int, most: int) -> Sequence[Preimage]:
        if found := await self.seals.ahead(after, most):
            return found
        return [preimage_of(record) for record in (await self.store.read(after, limit=most)).records]

    def _is_due(self) -> bool:
        return _now() >= self._sealed_at + self.limits.interval_s

    def _report(self) -> None:
        if self._problem:
            log.warning("seal: at work again, behind position %d", self._tree.position)
            self._problem = ""
        self.report(SealReport(size=self._tree.size, position=self._tree.position))

    def _report_problem(self, error: Exception) -> None:
        problem = f"{type(error).__name__}: {error}"
        if problem != self._problem:  # said once, however often it is met again
            log.warning("seal: %s", problem)
        self._problem = problem
        self.report(SealReport(size=self._tree.size, position=self._tree.position, problem=problem))


async def load_tree(seals: SealedLog, signer: Signer) -> Tree:
    """How far the log is sealed: the tree of the newest checkpoint, from its nodes.

    Raises:
        NotOurTree: its root or its counts are not the signed ones, or another key signed.
        StoreUnavailable: see SealedLog.
    """
    last = await seals.sealed()
    if last is None:
        return Tree(Frontier(), 0, {})
    try:
        signed = open_checkpoint(last.note, signer.key, ed25519)
    except BadNote as error:
        raise NotOurTree(f"the checkpoint of {last.size} leaves in the database: {error}") from None
    places = cover(0, last.size)
    try:
        nodes = await seals.nodes(places)
    except KeyError as error:
        raise NotOurTree(f"the tree of {last.size} leaves in the database has a hole: {error}") from None
    frontier = Frontier(last.size, [nodes[place] for place in places])
    if (signed.size, signed.root) != (last.size, frontier.root()):
        raise NotOurTree(
            f"signed are {signed.size} leaves with root {signed.root.hex()}, and the database has "
            f"{last.size} with root {frontier.root().hex()}"
        )
    counts = await seals.counts(last.size)
    if signed.signals_line != counts.line():
        raise NotOurTree(f"signed is {signed.signals_line!r}, and the database counts {counts.line()!r}")
    return Tree(frontier, last.position, counts.of)


async def check_kept(database_url: str, signer: Signer, data_dir: Path) -> None:
    """Demand that the database goes on from what was kept outside of it; see ``require_continuation``."""
    async with PostgresSeals(database_url, readers=1, timeout_s=CHECK_S) as seals:
        await require_continuation(KeptCheckpoint(data_dir / FOLDER, signer.key.name), seals, signer.key)


async def run_seal(database_url: str, signer: Signer, data_dir: Path, stop: asyncio.Event) -> None:
    """The role: a sealer of this log, until ``stop`` is set."""
    holder = f"{socket.gethostname()} {os.getpid()} {uuid4()}"
    kept = KeptCheckpoint(data_dir / FOLDER, signer.key.name)
    async with PostgresEventStore(database_url, readers=2) as store, PostgresSeals(database_url) as seals:
        await Sealer(
            store=store, seals=seals, leases=store.leases, signer=signer, kept=kept, holder=holder
        ).run(stop)


def _now() -> float:
    return asyncio.get_running_loop().time()
