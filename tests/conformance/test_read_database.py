"""What every database of read models does for a runner: PostgreSQL's and its twin pass the same tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from alphapulse.adapters.database import connection_info
from alphapulse.domain.ports import Envelope, FencedOut, StoredRecord
from alphapulse.projections.checkpoint import Checkpoint, RebuildNeeded
from alphapulse.projections.memory_reads import MemoryReads, MemoryReadServer
from alphapulse.projections.parked import MAX_PARKED, TooManyParked, Unfoldable
from alphapulse.projections.read_database import PostgresReads, ReadDatabase
from alphapulse.projections.read_model import Scope
from alphapulse.projections.runner import UNAVAILABLE
from tests.projections.conftest import make_tally_tables
from tests.projections.tally import BriefTally, Sums

NAME = "tally"


class TallyInMemory(BriefTally):
    """The same read model, for the twin."""

    async def load(self, db: Any) -> None:
        return None

    async def write(self, db: Any, changes: Sums) -> None:
        add(db, changes)

    def parts(self, changes: Sums) -> Any:
        return [lambda rows: add(rows, changes)]


def add(rows: dict[str, Any], changes: Sums) -> None:
    for stream, (count, total, position) in changes.items():
        events, sum_, last = rows.get(stream, (0, 0, 0))
        if sum_ + total >= 1 << 63:
            raise OverflowError("bigint out of range")
        rows[stream] = (events + count, sum_ + total, max(last, position))


@dataclass
class World:
    model: Any
    connect: Callable[[], Awaitable[ReadDatabase]]
    cut: Callable[[Any], Awaitable[None]]  # the connection
    rows: Callable[[], Awaitable[dict[str, Any]]]  # of the read model, as committed
    parked: Callable[[], Awaitable[dict[int, tuple[str, int]]]]  # position: reason, tries

    async def claimed(self, takeover_s: float = 60.0) -> tuple[ReadDatabase, Checkpoint]:
        reads = await self.connect()
        generation = await reads.live_generation(NAME, 1)
        assert await reads.is_free(NAME, generation, takeover_s)
        return reads, await reads.claim(NAME, generation)

    async def position(self) -> int:
        reads = await self.connect()
        return (await reads.claim(NAME, await reads.live_generation(NAME, 1))).position


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield _memory()
        return
    url = request.getfixturevalue("database_url")
    make_tally_tables(url)
    async with AsyncExitStack() as stack:
        yield _postgres(url, stack)


def _memory() -> World:
    server = MemoryReadServer(lambda: datetime.now(UTC))

    async def connect() -> ReadDatabase:
        return server.connect()

    async def cut(reads: MemoryReads) -> None:
        reads.end()

    async def rows() -> dict[str, Any]:
        return dict(server.contents[NAME].rows)

    async def parked() -> dict[int, tuple[str, int]]:
        return dict(server.contents[NAME].parked)

    return World(TallyInMemory(), connect, cut, rows, parked)


def _postgres(url: str, stack: AsyncExitStack) -> World:
    async def open_() -> psycopg.AsyncConnection[Any]:
        db = await psycopg.AsyncConnection.connect(connection_info(url, role=None), autocommit=True)
        stack.push_async_callback(db.close)
        return db

    async def connect() -> ReadDatabase:
        return PostgresReads(await open_())

    async def cut(reads: PostgresReads) -> None:
        await (await open_()).execute("SELECT pg_terminate_backend(%s)", (reads.db.info.backend_pid,))

    async def fetched(query: str) -> Sequence[tuple[Any, ...]]:
        return await (await (await open_()).execute(query)).fetchall()

    async def rows() -> dict[str, Any]:
        return {row[0]: row[1:] for row in await fetched("SELECT * FROM tally")}

    async def parked() -> dict[int, tuple[str, int]]:
        return {row[0]: row[1:] for row in await fetched("SELECT position, reason, tries FROM parked")}

    return World(BriefTally(), connect, cut, rows, parked)


def changes(total: int, position: int) -> Sums:
    return {"counts-a-1": (1, total, position)}


def unfoldable(position: int, reason: str = "why", tries: int = 3) -> Unfoldable:
    record = StoredRecord(
        stream="counts-a-1",
        version=position,
        name="test.counted.v1",
        state=b"{}",
        envelope=Envelope(event_id=UUID(int=position)),
        position=position,
        recorded_at=datetime.now(UTC),
    )
    return Unfoldable(record, reason, tries)


async def commit(world: World, reads: ReadDatabase, at: Checkpoint, to: int, total: int) -> Checkpoint:
    async with reads.transaction():
        moved = await reads.advance(at, to)
        await reads.write(world.model, changes(total, to))
        await reads.notify("{}")
    return moved


async def test_rows_and_position_are_committed_together(world: World) -> None:
    reads, at = await world.claimed()
    assert (at.position, await reads.load(world.model, Scope(0))) == (0, None)
    at = await commit(world, reads, at, 3, 10)
    at = await commit(world, reads, at, 5, 1)
    assert await world.rows() == {"counts-a-1": (2, 11, 5)}
    assert await world.position() == at.position == 5


async def test_a_transaction_left_by_an_exception_leaves_nothing(world: World) -> None:
    reads, at = await world.claimed()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with reads.transaction():
            await reads.advance(at, 3)
            await reads.write(world.model, changes(10, 3))
            await reads.park(at, [unfoldable(2)])
            raise ZeroDivisionError
    assert (await world.rows(), await world.parked()) == ({}, {})
    await commit(world, reads, at, 3, 10)
    assert await world.rows() == {"counts-a-1": (1, 10, 3)}


async def test_nobody_else_sees_what_is_not_committed(world: World) -> None:
    reads, at = await world.claimed()
    async with reads.transaction():
        await reads.advance(at, 3)
        await reads.write(world.model, changes(10, 3))
        assert await world.rows() == {}


async def test_whoever_was_overtaken_writes_nothing(world: World) -> None:
    old, at = await world.claimed()
    new = await world.connect()
    later = await new.claim(NAME, await new.live_generation(NAME, 1))
    assert later.epoch == at.epoch + 1
    with pytest.raises(FencedOut):
        await commit(world, old, at, 3, 10)
    assert not await old.commit_at_once(at, 3, world.model.parts(changes(10, 3)), None)
    assert await world.rows() == {}
    await commit(world, new, later, 3, 10)


async def test_a_position_that_somebody_else_moved_is_not_moved_again(world: World) -> None:
    reads, at = await world.claimed()
    await commit(world, reads, at, 3, 10)
    with pytest.raises(FencedOut):
        await commit(world, reads, at, 3, 10)
    assert await world.rows() == {"counts-a-1": (1, 10, 3)}


async def test_at_once_it_is_all_or_nothing(world: World) -> None:
    reads, at = await world.claimed()
    assert await reads.commit_at_once(at, 3, world.model.parts(changes((1 << 63) - 1, 3)), "{}")
    at = replace(at, position=3)
    assert not await reads.commit_at_once(at, 5, world.model.parts(changes(1, 5)), "{}")
    assert await world.rows() == {"counts-a-1": (1, (1 << 63) - 1, 3)}
    assert await world.position() == 3


async def test_one_works_and_others_see_it_until_its_connection_ends(world: World) -> None:
    first, _ = await world.claimed()
    second = await world.connect()
    generation = await second.live_generation(NAME, 1)
    assert not await second.is_free(NAME, generation, 60)
    await world.cut(first)
    async with asyncio.timeout(10):
        while not await second.is_free(NAME, generation, 60):
            await asyncio.sleep(0.01)


async def test_one_who_is_not_seen_for_long_enough_is_taken_for_dead(world: World) -> None:
    await world.claimed()
    second = await world.connect()
    generation = await second.live_generation(NAME, 1)
    assert not await second.is_free(NAME, generation, 0.3)
    await asyncio.sleep(0.35)
    assert await second.is_free(NAME, generation, 0.3)


async def test_a_lost_connection_undoes_its_transaction_and_says_so(world: World) -> None:
    reads, at = await world.claimed()
    with pytest.raises(UNAVAILABLE):  # noqa: PT012
        async with reads.transaction():
            await reads.advance(at, 3)
            await reads.write(world.model, changes(10, 3))
            await world.cut(reads)
            await asyncio.sleep(0.1)
            await reads.write(world.model, changes(10, 3))
    assert await world.rows() == {}
    with pytest.raises(UNAVAILABLE):
        await reads.live_generation(NAME, 1)


async def test_a_transaction_in_which_the_position_moves_is_work(world: World) -> None:
    reads, at = await world.claimed()
    second = await world.connect()
    generation = await second.live_generation(NAME, 1)
    async with reads.transaction():
        await reads.advance(at, 3)
        await asyncio.sleep(0.05)
        assert not await second.is_free(NAME, generation, 0.01)


async def test_a_holder_that_says_nothing_in_a_transaction_does_not_keep_the_next_one_away(
    world: World,
) -> None:
    frozen, at = await world.claimed()
    await frozen.limit_silence(0.2)
    second = await world.connect()
    generation = await second.live_generation(NAME, 1)
    with pytest.raises(UNAVAILABLE):  # noqa: PT012
        async with frozen.transaction():
            await frozen.advance(at, 3)
            async with asyncio.timeout(10):
                later = await second.claim(NAME, generation)
            await frozen.write(world.model, changes(10, 3))
    assert later.position == 0
    await commit(world, second, later, 3, 10)
    assert await world.rows() == {"counts-a-1": (1, 10, 3)}


async def test_parked_events_are_kept_with_the_checkpoint_and_their_tries_add_up(world: World) -> None:
    reads, at = await world.claimed()
    for to in (3, 4):
        async with reads.transaction():
            at = await reads.advance(at, to)
            await reads.park(at, [unfoldable(2, f"at {to}")])
    assert await world.parked() == {2: ("at 4", 6)}


async def test_too_many_parked_events_are_an_error_and_none_is_kept(world: World) -> None:
    reads, at = await world.claimed()
    with pytest.raises(TooManyParked, match="over 1000"):  # noqa: PT012
        async with reads.transaction():
            await reads.advance(at, 5_000)
            await reads.park(at, [unfoldable(n) for n in range(1, MAX_PARKED + 2)])
    assert await world.parked() == {}
    async with reads.transaction():
        await reads.advance(at, 5_000)
        await reads.park(at, [unfoldable(n) for n in range(1, MAX_PARKED + 1)])
    assert len(await world.parked()) == MAX_PARKED


async def test_another_version_of_the_code_has_to_rebuild(world: World) -> None:
    await world.claimed()
    with pytest.raises(RebuildNeeded):
        await (await world.connect()).live_generation(NAME, 2)
