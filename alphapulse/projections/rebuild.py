"""Builds a read model anew beside the live one, compares the two, swaps them, or takes a swap back.

A build goes on where a killed one stopped: its position stands in ``projections``, that of each part
in ``projection_parts``. Several processes may fold a part of the streams each. Nothing is notified
until the swap. What is compared stands at one position: the live side is a snapshot, so its runner
goes on meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel, sql

from alphapulse.domain.ports import Decode, EventStore
from alphapulse.projections import generations
from alphapulse.projections.checkpoint import Checkpoint, ensure_live
from alphapulse.projections.digest import Differences, Digest, differences, digest
from alphapulse.projections.generations import Generation, alone
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.parked import parked_count
from alphapulse.projections.read_database import PostgresReads
from alphapulse.projections.read_model import AnyReadModel, directives_of
from alphapulse.projections.runner import DEFAULT_LIMITS, Connect, Limits, Session, connection, pages

MAX_PARTS = 64
PARALLEL_FROM = 1_000  # positions; a shorter way is not worth the start of processes
SWAP_TRIES = 100
PROGRESS_S = 0.25
PATIENT = "SET LOCAL idle_in_transaction_session_timeout TO 0"  # open while others work


class SwapBlocked(Exception):
    """Queries held the tables all the time. The generation is ready: the next rebuild only has to swap."""


@dataclass(frozen=True, slots=True)
class Progress:
    stage: str  # building, comparing, swapping
    position: int
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Live against rebuilt, both at ``position``. ``parked`` counts (live, rebuilt)."""

    position: int
    live: Digest
    rebuilt: Digest
    differences: Differences
    parked: tuple[int, int]

    @property
    def equal(self) -> bool:
        return self.live.whole == self.rebuilt.whole


@dataclass(frozen=True, slots=True)
class Outcome:
    """``comparison`` is None when the live generation was already behind what had been built."""

    generation: Generation
    comparison: Comparison | None
    swapped: bool


# Brings every part of a generation to a position, in processes of their own; resumable.
RunParts = Callable[[Generation, int], Awaitable[None]]
Report = Callable[[Progress], None]


async def fold_until(
    db: AsyncConnection[Any],
    model: AnyReadModel,
    store: EventStore,
    decode: Decode,
    generation: Generation,
    until: int,
    *,
    part: tuple[int, int] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    report: Callable[[int], None] = lambda _: None,
) -> None:
    """Bring a generation (or ``part=(k, n)`` of it) to position ``until``, silently.

    Raises:
        FencedOut: somebody else claimed it meanwhile.
    """
    checkpoint = await Checkpoint.claim(db, model.name, generation.generation, part=part and part[0])
    if checkpoint.position >= until:
        return
    session = await Session.open(
        PostgresReads(db), model, decode, checkpoint, notify=False, limits=limits, part=part
    )
    source = StoreSource(store, until=until, partition=part, everywhere=directives_of(model))
    async with aclosing(pages(source, session.position, limits)) as coming:
        async for page in coming:
            if page.scanned_to > session.position:
                await session.take(page)
                report(session.position)
            if session.position >= until:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilder:
    """Rebuild, verify and roll back one read model. One at a time, see ``alone``."""

    model: AnyReadModel
    connect: Connect
    store: EventStore
    decode: Decode
    run_parts: RunParts | None = None  # None: in this process, in one piece
    parts: int = 1
    limits: Limits = DEFAULT_LIMITS
    swap_tries: int = SWAP_TRIES
    report: Report = field(default=lambda _: None)

    async def rebuild(self, *, swap: bool = True) -> Outcome:
        """Build the next generation up to the end of the log, compare it, and let readers see it.

        Raises:
            AlreadyRunning: another rebuild of this read model is at work.
            SwapBlocked: readers hold the tables.
        """
        async with self._alone() as db:
            shadow = await self._resumed(db) or await generations.create(db, self.model, "shadow")
            live = await generations.newest(db, self.model.name, "live")
            shadow = await self._advance(db, shadow, live.position)
            comparison = await self._compared(db, shadow)
            if swap:
                shadow = await self._advance(db, shadow, await self.store.head())
                shadow = await self._swapped(db, shadow)
            return Outcome(shadow, comparison, swap)

    async def verify(self) -> Comparison:
        """Build the read model anew up to where the live one stands and compare; changes nothing.

        Raises:
            AlreadyRunning: another rebuild of this read model is at work.
        """
        async with self._alone() as db:
            scratch = await generations.create(db, self.model, "scratch")
            try:
                live = await generations.newest(db, self.model.name, "live")
                scratch = await self._advance(db, scratch, live.position)
                comparison = await self._compared(db, scratch)
            finally:
                await generations.drop(db, scratch)
            assert comparison is not None, f"{scratch} went past {live}"
            return comparison

    async def rollback(self) -> Generation:
        """Let readers see the retired generation again; the live one is retired in its place.

        When this code made the retired generation it is brought up to the live one first; else readers
        see it as it was, and code of its version brings it further.

        Raises:
            NoSuchGeneration: nothing is retired.
            AlreadyRunning: a rebuild of this read model is at work.
        """
        async with self._alone() as db:
            retired = await generations.newest(db, self.model.name, "retired")
            return await self._swapped(db, retired)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[AsyncConnection[Any]]:
        async with connection(self.connect) as db, alone(db, self.model.name):
            await ensure_live(db, self.model.name, self.model.code_version)
            for left in await generations.generations(db, self.model.name, state="scratch"):
                await generations.drop(db, left)  # of a run that was killed
            yield db

    async def _resumed(self, db: AsyncConnection[Any]) -> Generation | None:
        """The shadow that an earlier run left, if this code began it; others are dropped."""
        kept = None
        for shadow in await generations.generations(db, self.model.name, state="shadow"):
            if kept is None and shadow.code_version == self.model.code_version:
                kept = shadow
            else:
                await generations.drop(db, shadow)
        return kept

    async def _advance(self, db: AsyncConnection[Any], shadow: Generation, target: int) -> Generation:
        """Bring ``shadow`` to ``target``, or as far as one of its parts already is."""
        reached = await generations.part_positions(db, shadow)
        far = target - shadow.position > PARALLEL_FROM
        if not reached and self.parts > 1 and self.run_parts and self.model.partitioned and far:
            await generations.split(db, shadow, self.parts)
            reached = await generations.part_positions(db, shadow)
        if reached:
            target = max(target, *reached)
            await self._advance_parts(db, shadow, target)
            return await generations.join(db, shadow, target)
        if target > shadow.position:
            await self._fold(shadow, target)
        return await generations.refreshed(db, shadow)

    async def _advance_parts(self, db: AsyncConnection[Any], shadow: Generation, target: int) -> None:
        if self.run_parts is None:
            parts = len(await generations.part_positions(db, shadow))
            for part in range(parts):
                await self._fold(shadow, target, part=(part, parts))
            return
        running = asyncio.ensure_future(self.run_parts(shadow, target))
        try:
            while not running.done():
                reached = await generations.part_positions(db, shadow)
                self.report(Progress("building", sum(reached) // len(reached), target))
                await asyncio.wait([running], timeout=PROGRESS_S)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def _fold(self, shadow: Generation, target: int, *, part: tuple[int, int] | None = None) -> None:
        def report(position: int) -> None:
            self.report(Progress("building", position, target))

        async with connection(self.connect) as db:
            await fold_until(
                db,
                self.model,
                self.store,
                self.decode,
                shadow,
                target,
                part=part,
                limits=self.limits,
                report=report,
            )

    async def _compared(self, db: AsyncConnection[Any], shadow: Generation) -> Comparison | None:
        """Compare ``shadow`` with a snapshot of the live generation, once it stands at the same position.

        None when it is past that already: what was built cannot go back.
        """
        name = self.model.name
        async with connection(self.connect) as snapshot, connection(self.connect) as rebuilt:
            await snapshot.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            async with snapshot.transaction():
                live = await generations.newest(snapshot, name, "live")
                await snapshot.execute(f"SET LOCAL search_path TO public; {PATIENT}")
                if shadow.position > live.position:
                    return None
                shadow = await self._advance(db, shadow, live.position)
                self.report(Progress("comparing", live.position, live.position))
                await rebuilt.execute(
                    sql.SQL("SET search_path TO {}, public").format(sql.Identifier(shadow.schema))
                )
                live_digest, rebuilt_digest = await asyncio.gather(
                    digest(snapshot, self.model), digest(rebuilt, self.model)
                )
                same = live_digest.whole == rebuilt_digest.whole
                return Comparison(
                    position=live.position,
                    live=live_digest,
                    rebuilt=rebuilt_digest,
                    differences=Differences((), 0)
                    if same
                    else await differences(snapshot, rebuilt, self.model),
                    parked=(
                        await parked_count(snapshot, name, live.generation),
                        await parked_count(rebuilt, name, shadow.generation),
                    ),
                )

    async def _swapped(self, db: AsyncConnection[Any], coming: Generation) -> Generation:
        """Swap ``coming`` with the live generation, as soon as readers let us.

        Raises:
            SwapBlocked: they did not in ``swap_tries`` tries.
        """
        await self._analyze(db, coming)
        for _ in range(self.swap_tries):
            try:
                return await self._try_swap(db, coming)
            except psycopg.errors.LockNotAvailable as error:
                blocked = error
            await asyncio.sleep(0.1)
        raise SwapBlocked(f"{coming} is ready, but not live after {self.swap_tries} tries: {blocked}")

    async def _try_swap(self, db: AsyncConnection[Any], coming: Generation) -> Generation:
        own = coming.code_version == self.model.code_version
        live = await generations.newest(db, self.model.name, "live")
        if own:  # most of the way while readers still get fresh rows, the rest while the live one stands
            coming = await self._advance(db, coming, live.position)
        async with db.transaction():
            await db.execute(PATIENT)
            live = await generations.hold_live(db, self.model.name)
            self.report(Progress("swapping", live.position, live.position))
            if own and coming.position < live.position:
                await self._fold(coming, live.position)
                coming = await generations.refreshed(db, coming)
            return await generations.swap(db, self.model, coming)

    async def _analyze(self, db: AsyncConnection[Any], generation: Generation) -> None:
        """Let the planner know the new tables before the first query meets them."""
        for table in self.model.tables:
            await db.execute(
                sql.SQL("ANALYZE {}.{}").format(sql.Identifier(generation.schema), sql.Identifier(table.name))
            )
