"""Events that direct a read model: they end a batch, reach every part; long work is not taken for death."""

import asyncio
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, Column, Table, Text

from alphapulse.domain.ports import Recorded, partition_of
from alphapulse.projections import generations
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.read_model import Folded, Scope
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import Limits, connection
from tests.projections.conftest import SOON, World
from tests.projections.tally import Ignored, codec, metadata

batches = Table(
    "batches",
    metadata,
    Column("position", BigInteger, primary_key=True),  # the last one of a batch
    Column("events", Text, nullable=False),  # positions of the batch
    Column("loads", BigInteger, nullable=False),  # how often the state had been read anew before it
)


class Batches:
    """One row a batch, and what its state was. ``pause_s``: how long a write with a directive takes."""

    name = "batches"
    code_version = 1
    names = frozenset({"test.counted.v1", "other.ignored.v1"})
    directives = frozenset({"other.ignored.v1"})
    batch_bytes = 1_000_000
    tables: Sequence[Table] = (batches,)
    partitioned = True
    commutes = False

    def __init__(self, pause_s: float = 0.0, fold_s: float = 0.0) -> None:
        self.pause_s, self.fold_s = pause_s, fold_s
        self.scopes: list[Scope] = []

    async def load(self, db: AsyncConnection[Any]) -> int:
        return await self.load_at(db, Scope(0))

    async def load_at(self, db: AsyncConnection[Any], scope: Scope) -> int:
        self.scopes.append(scope)
        return len(self.scopes)

    def fold(self, state: int, events: Sequence[Recorded]) -> Folded[int, list[tuple[int, str, int]]]:
        if self.fold_s and any(event.name in self.directives for event in events):
            import time

            time.sleep(self.fold_s)
        row = (events[-1].position, ",".join(str(event.position) for event in events), state)
        return Folded(state, [row], {})

    async def write(self, db: AsyncConnection[Any], changes: list[tuple[int, str, int]]) -> None:
        async with db.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO batches VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", changes
            )
        for _ in range(round(self.pause_s / 0.1)):
            await db.execute("SELECT pg_sleep(0.1)")


async def directive(world: World, stream: str) -> int:
    version = world.next_version(stream)
    return await world.append(codec.new_event(stream, version, Ignored(f"{stream} {version}")))


async def test_a_directive_ends_its_batch_and_the_state_is_read_anew(world: World) -> None:
    a = await world.count(1, 2)
    b = await directive(world, "sets-x")
    c = await world.count(3, 4)
    model = Batches()
    await world.caught_up(model)
    rows = await world.rows("SELECT events, loads FROM batches ORDER BY position")
    assert rows == [(f"{a - 1},{a},{b}", 1), (f"{c - 1},{c}", 2)]
    assert [scope.position for scope in model.scopes] == [0, b]


async def test_every_part_gets_the_directives_and_knows_its_part(world: World) -> None:
    streams = [f"counts-a-{n}" for n in range(6)]
    for stream in streams:
        await world.count(1, stream=stream)
    told = await directive(world, "sets-x")
    until = await world.count(2, stream=streams[0])
    model = Batches()
    async with connection(world.connect) as db:
        scratch = await generations.create(db, model, "scratch")
        await generations.split(db, scratch, 3)
        for part in range(3):
            await fold_until(db, model, world.store, codec.decode, scratch, until, part=(part, 3))
    assert {scope.part for scope in model.scopes if scope.position >= told} == {(0, 3), (1, 3), (2, 3)}
    assert Scope(1, (1, 3)).holds(streams[0]) == (partition_of(streams[0], 3) == 1)


async def test_a_source_of_one_part_gives_all_in_order_within_its_limit(world: World) -> None:
    """Pages that are full of one kind do not skip the other."""
    wanted = []
    for n in range(12):
        position = await world.count(n, stream=f"counts-a-{n % 4}")
        wanted += [position] if partition_of(f"counts-a-{n % 4}", 2) == 0 else []
        wanted.append(await directive(world, f"sets-{n % 3}"))
    source = StoreSource(world.store, until=wanted[-1], partition=(0, 2), everywhere=Batches.directives)
    for limit in (1, 3, 100):
        found, after = list[int](), 0
        while after < wanted[-1]:
            page = await source.next(after, limit=limit, timeout_s=0.1)
            found += [record.position for record in page.records]
            after = page.scanned_to
        assert found == wanted


async def test_a_long_write_is_not_taken_for_a_dead_holder(world: World) -> None:
    """The checkpoint's row is locked as long as it takes: standbys look at that before the clock."""
    holder, standby = Batches(pause_s=2.5), Batches()
    limits = Limits(poll_s=0.1, takeover_s=1.0, backoff_s=(0.02, 0.2))
    async with world.running(world.runner(holder, limits)):
        await world.reach(holder, await world.count(1))
        async with world.running(world.runner(standby, limits)):
            (epoch,) = await world.row("SELECT epoch FROM projections WHERE name = 'batches'")
            await world.reach(holder, await directive(world, "sets-x"))
            await world.reach(holder, await world.count(2))
            assert await world.row("SELECT epoch FROM projections WHERE name = 'batches'") == (epoch,)
    assert standby.scopes == []


async def test_a_long_fold_shows_that_it_is_alive(world: World) -> None:
    holder, standby = Batches(fold_s=2.5), Batches()
    limits = Limits(poll_s=0.1, takeover_s=1.0, backoff_s=(0.02, 0.2))
    async with world.running(world.runner(holder, limits)):
        await world.reach(holder, await world.count(1))
        async with world.running(world.runner(standby, limits)):
            await world.reach(holder, await directive(world, "sets-x"))
    assert standby.scopes == []


async def test_a_holder_frozen_inside_a_transaction_is_replaced(world: World) -> None:
    """The server ends its transaction; then the clock says what the lock could not."""
    model = Batches()
    last = await world.count(1)
    await world.caught_up(model)
    frozen = await world.connect()
    await frozen.execute("SET idle_in_transaction_session_timeout TO 1000")
    await frozen.execute("SELECT pg_advisory_lock(hashtextextended('projection ' || 'batches', 0))")
    await frozen.execute("BEGIN")
    await frozen.execute("UPDATE projections SET updated_at = clock_timestamp() WHERE name = 'batches'")
    async with asyncio.timeout(10), world.running(world.runner(model, SOON)):
        await world.reach(model, await world.count(2))
    assert last < await world.store.head()
    await frozen.close()
