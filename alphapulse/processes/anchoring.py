"""Shows the newest checkpoint to anchors, each by itself, and keeps what they give.

Sealing never waits for this, nor one anchor for another. A lease keeps one process at it; were two at it,
anchors would be asked twice, which does no harm. Receipts are the only checkpoint of our own work: on start
the newest of each anchor is looked for.
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from alphapulse.adapters.provenance.anchor_file import FileWitness
from alphapulse.adapters.provenance.anchor_ots import OtsAnchor
from alphapulse.adapters.provenance.anchor_rfc3161 import Rfc3161Anchor
from alphapulse.adapters.provenance.anchor_witness import WitnessAnchor
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.ports import FencedOut, Leases, StoreUnavailable
from alphapulse.domain.provenance.anchor_names import AnchorName
from alphapulse.domain.provenance.anchors import Ahead, Anchor, AnchorFailed, Contradicted, ProofFrom
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.domain.provenance.sealing import Receipt, Sealed, SealedLog, SealWriter
from alphapulse.processes.anchor_history import Standing, standings
from alphapulse.processes.leasing import Holding, stoppable
from alphapulse.projections.proofs import consistency_proof

log = logging.getLogger(__name__)

LEASE = "anchor"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorLimits:
    interval_s: float = 300.0  # between two checkpoints shown to one anchor
    timeout_s: float = 60.0  # for one checkpoint, with every question that it takes
    tries: int = 3  # for one checkpoint, and failures at settling; then the interval is waited for
    settle_s: float = 600.0  # between two looks at what has not settled
    settled_at_once: int = 20  # of one anchor, in one look
    pending: int = 1_000  # of one anchor; beyond, the oldest are left as they are
    lease_s: float = 15.0
    poll_s: float = 2.0  # between two looks at how far the log is sealed
    backoff_s: tuple[float, float] = (1.0, 30.0)  # first and longest wait after a fault


DEFAULT_LIMITS = AnchorLimits()


class Seals(SealedLog, SealWriter, Protocol):
    """Reads and writes."""


LogKey = Callable[[], NoteKey]


def anchor_of(name: AnchorName, log_key: LogKey) -> Anchor:
    """The anchor that is configured so; ``log_key`` is asked only where the anchor checks our signature."""
    match name.kind:
        case "file":
            return FileWitness(name=str(name), folder=Path(name.target), log=log_key(), key=name.key)
        case "witness":
            assert name.key is not None, "parse_anchors demands it"
            return WitnessAnchor(name=str(name), url=name.target, key=name.key)
        case "rfc3161":
            roots = Path(name.roots) if name.roots else None
            return Rfc3161Anchor(name=str(name), url=name.target, roots=roots)
        case kind:
            assert kind == "ots", f"parse_anchors knows no {kind}"
            return OtsAnchor(name=str(name), url=name.target, calendars=name.calendars, headers=name.headers)


@dataclass(slots=True, kw_only=True)
class Anchoring:
    """One anchor at work."""

    seals: Seals
    anchor: Anchor
    standing: Standing
    limits: AnchorLimits = DEFAULT_LIMITS
    problem: str = ""
    _anchored_at: float = field(default=float("-inf"))
    _settled_at: float = field(default=float("-inf"))

    async def follow(self) -> None:
        """Anchor and settle until cancelled; what the anchor does wrong is logged and tried again.

        Raises:
            StoreUnavailable: see SealedLog.
        """
        while True:
            if _now() >= self._anchored_at + self.limits.interval_s:
                await self._show_newest()
            if _now() >= self._settled_at + self.limits.settle_s:
                await self._settle()
            await asyncio.sleep(self.limits.poll_s)

    async def once(self) -> Receipt | None:
        """Show the newest checkpoint now; None where there is none, or the anchor has a receipt for it.

        Raises:
            AnchorFailed, Contradicted: see Anchor.
            StoreUnavailable: see SealedLog.
        """
        newest = await self.seals.sealed()
        if newest is None or newest.size <= self.standing.size:
            return None
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                receipt = await self.anchor.anchor(newest, _proof_to(self.seals, newest))
        except TimeoutError:
            raise AnchorFailed(f"no receipt within {self.limits.timeout_s:g} s") from None
        except Ahead as error:
            if (grown := await self.seals.sealed()) and grown.size >= error.seen:
                raise AnchorFailed(f"was shown {error.seen} leaves by another of ours just now") from None
            raise
        await self.seals.keep(receipt)
        self.standing.add(receipt)
        return receipt

    async def _show_newest(self) -> None:
        pause = self.limits.backoff_s[0]
        for tried in range(1, self.limits.tries + 1):
            try:
                if await self.once() is None:
                    return  # nothing new: soon looked again
                self._work_again()
                break
            except StoreUnavailable:
                raise
            except AnchorFailed as error:
                await self._report(error)
            except Exception as error:  # also Contradicted; a fault of ours here must not stop other anchors
                await self._report(error)
                break
            if tried < self.limits.tries:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(2 * pause, self.limits.backoff_s[1])
        self._anchored_at = _now()

    async def _settle(self) -> None:
        """Ask about some of what has not settled; not much longer where several fail."""
        self._settled_at, failures = _now(), 0
        self._forget_oldest()
        for receipt in self.standing.next_pending(self.limits.settled_at_once):
            if failures == self.limits.tries:
                return
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    settled = await self.anchor.settle(receipt)
            except StoreUnavailable:
                raise
            except Exception as error:
                failures += 1
                is_ours = not isinstance(error, AnchorFailed | TimeoutError)
                told = (self.anchor.name, receipt.size, error)
                log.warning(
                    "anchor %s, %d leaves do not settle: %s", *told, exc_info=error if is_ours else None
                )
                continue
            if settled is not None:
                await self.seals.keep(settled)
                self.standing.settle(receipt, settled)
                log.info("anchor %s: %d leaves have settled", self.anchor.name, settled.size)

    def _forget_oldest(self) -> None:
        if (many := len(self.standing.pending) - self.limits.pending) > 0:
            log.warning(
                "anchor %s: %d receipts have not settled; the oldest %d are not asked about until a restart",
                self.anchor.name,
                len(self.standing.pending),
                many,
            )
            del self.standing.pending[:many]

    def _work_again(self) -> None:
        if self.problem:
            log.warning(
                "anchor %s: at work again, %d leaves are anchored", self.anchor.name, self.standing.size
            )
        self.problem = ""

    async def _report(self, error: Exception) -> None:
        """Say what is wrong and how far the anchor is behind: once, however often it is met again."""
        problem = f"{type(error).__name__}: {error}"
        if problem != self.problem:
            newest = await self.seals.sealed()
            behind = (newest.size if newest else 0) - self.standing.size
            is_expected = isinstance(error, AnchorFailed | Contradicted)
            log.log(
                logging.WARNING if isinstance(error, AnchorFailed) else logging.ERROR,
                "anchor %s, %d leaves behind: %s",
                self.anchor.name,
                behind,
                error if is_expected else problem,
                exc_info=None if is_expected else error,
            )
        self.problem = problem


async def anchor_all(
    seals: Seals,
    leases: Leases,
    anchors: Sequence[Anchor],
    stop: asyncio.Event,
    limits: AnchorLimits = DEFAULT_LIMITS,
) -> None:
    """Keep ``anchors`` at work until ``stop`` is set. Faults of the store are waited out."""
    pause, problem = limits.backoff_s[0], ""
    holder = f"{socket.gethostname()} {os.getpid()} {uuid4()}"
    while not stop.is_set():
        started = _now()
        try:
            await _held(seals, leases, anchors, stop, limits, holder)
        except* (StoreUnavailable, FencedOut) as group:
            found = str(group.exceptions[0])
            if found != problem:
                log.warning("anchoring waits: %s", found)
            problem = found
        pause = limits.backoff_s[0] if _now() - started > limits.backoff_s[1] else pause
        if not stop.is_set():
            await stoppable(stop, asyncio.sleep(pause * random.uniform(0.5, 1.0)))  # noqa: S311
            pause = min(2 * pause, limits.backoff_s[1])


async def _held(
    seals: Seals,
    leases: Leases,
    anchors: Sequence[Anchor],
    stop: asyncio.Event,
    limits: AnchorLimits,
    holder: str,
) -> None:
    lease = Holding(leases=leases, name=LEASE, holder=holder, duration_s=limits.lease_s)
    async with lease.held(stop), asyncio.TaskGroup() as tasks:
        if stop.is_set():
            return
        works = await _works(seals, anchors, limits)
        at_work = [tasks.create_task(work.follow()) for work in works]
        while not stop.is_set():
            await lease.renewed()
            await stoppable(stop, asyncio.sleep(limits.lease_s / 6))
        for task in at_work:  # an answer that comes no more is asked for again after the next start
            task.cancel()


async def _works(seals: Seals, anchors: Sequence[Anchor], limits: AnchorLimits) -> Sequence[Anchoring]:
    known = await standings(seals, [anchor.name for anchor in anchors], most_pending=limits.pending)
    return [
        Anchoring(seals=seals, anchor=anchor, standing=known[anchor.name], limits=limits)
        for anchor in anchors
    ]


async def anchor_once(
    seals: Seals, anchors: Sequence[Anchor], limits: AnchorLimits = DEFAULT_LIMITS
) -> Mapping[str, Receipt | Exception | None]:
    """What each anchor gives for the newest checkpoint right now: see ``Anchoring.once``, or what it raised.

    Raises:
        StoreUnavailable: see SealedLog.
    """
    works = await _works(seals, anchors, limits)
    outcomes = await asyncio.gather(*(work.once() for work in works), return_exceptions=True)
    found: dict[str, Receipt | Exception | None] = {}
    for anchor, outcome in zip(anchors, outcomes, strict=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, AnchorFailed | Contradicted):
            raise outcome
        found[anchor.name] = outcome
    return found


async def run_anchor(
    database_url: str,
    names: Sequence[AnchorName],
    log_key: LogKey,
    interval_s: float,
    stop: asyncio.Event,
) -> None:
    """The role: ``names`` at work until ``stop`` is set."""
    anchors = [anchor_of(name, log_key) for name in names]
    limits = AnchorLimits(interval_s=interval_s, settle_s=max(600.0, interval_s))
    async with PostgresEventStore(database_url, readers=1) as store, PostgresSeals(database_url) as seals:
        await anchor_all(seals, store.leases, anchors, stop, limits)


def _proof_to(seals: SealedLog, sealed: Sealed) -> ProofFrom:
    async def proof_from(old: int) -> Sequence[bytes]:
        return await consistency_proof(seals, old, sealed.size)

    return proof_from


def _now() -> float:
    return asyncio.get_running_loop().time()
