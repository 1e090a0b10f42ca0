"""Rebuilds: equal to live whatever the sizes and workers, resumable, swapped under readers, rolled back."""

import asyncio
import random

import pytest

from alphapulse.domain.ports import FencedOut
from alphapulse.projections import generations
from alphapulse.projections.bisection import NotComparable, bisect
from alphapulse.projections.digest import MAX_DIFFERENCES, digest
from alphapulse.projections.generations import AlreadyRunning, NoSuchGeneration, alone
from alphapulse.projections.parked import parked_events
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.rebuild import Progress, Rebuilder, SwapBlocked, fold_until
from alphapulse.projections.retry import OrderMatters, Retried, retry
from alphapulse.projections.runner import CHANNEL, Limits
from tests.projections.conftest import World
from tests.projections.tally import Peaks, Tally, TallyOfTwo, TallyThatTires, codec, raw

TALLY = "SELECT stream, events, total, position FROM tally ORDER BY stream"
STATES = "SELECT generation, state, schema, code_version FROM projections WHERE name = %s ORDER BY 1"


def rebuilder(world: World, model: AnyReadModel, **options: object) -> Rebuilder:
    return Rebuilder(
        model=model,
        connect=world.connect,
        store=world.store,
        decode=codec.decode,
        **options,  # type: ignore[arg-type]
    )


async def some_events(world: World, seed: int, number: int = 200) -> None:
    """Events of a few streams, some of them poison."""
    r = random.Random(seed)
    for _ in range(number // 20):
        stream = f"counts-{r.choice('abcde')}-1"
        await world.count(*(r.randint(-2, 100) for _ in range(20)), stream=stream)


async def test_a_rebuild_equals_the_live_read_model_and_takes_its_place(world: World) -> None:
    """Same digest, same parked events; the live generation is kept for a rollback."""
    await some_events(world, 1)
    for model in (Tally(), Peaks()):
        await world.caught_up(model)
        outcome = await rebuilder(world, model).rebuild()
        assert outcome.comparison is not None
        assert outcome.comparison.equal
        assert outcome.comparison.parked[0] == outcome.comparison.parked[1]
        assert await world.rows(STATES, model.name) == [
            (1, "retired", f"{model.name}_g1", 1),
            (2, "live", "public", 1),
        ]
    assert await world.row("SELECT count(*) > 0 FROM parked WHERE projection = 'tally'") == (True,)


@pytest.mark.parametrize("seed", range(3))
async def test_digests_agree_whatever_the_batches_and_the_number_of_parts(world: World, seed: int) -> None:
    """One log, many ways through it, one content."""
    r = random.Random(seed)
    await some_events(world, seed)
    head = await world.caught_up(Tally())
    async with await world.connect() as db:
        live = await digest(db, Tally())
        for parts in (1, 2, 5):
            limits = Limits(page_events=r.randint(1, 50), batch_events=r.randint(1, 50))
            shadow = await generations.create(db, Tally(), "scratch")
            await generations.split(db, shadow, parts)
            async with await world.connect() as worker:
                for part in r.sample(range(parts), parts):
                    await fold_until(
                        worker,
                        Tally(),
                        world.store,
                        codec.decode,
                        shadow,
                        head,
                        part=(part, parts),
                        limits=limits,
                    )
                assert await digest(worker, Tally()) == live
            shadow = await generations.join(db, shadow, head)
            await generations.drop(db, shadow)


async def test_a_digest_sees_every_value(world: World) -> None:
    """One changed number, one added row, one lost row: three other digests."""
    await world.count(1, 2)
    await world.caught_up(Tally())
    seen = set()
    async with await world.connect() as db:
        for change in (
            "SELECT 1",
            "UPDATE tally SET total = total + 1",
            "INSERT INTO tally VALUES ('x', 0, 0, 0)",
            "DELETE FROM tally WHERE stream <> 'x'",
            "DELETE FROM tally",
        ):
            await db.execute(change)
            seen.add((await digest(db, Tally())).whole)
    assert len(seen) == 5


async def test_rows_are_hashed_in_code_point_order_and_numbers_by_value(world: World) -> None:
    """Neither the order of inserts nor trailing zeros nor the session's settings leave a trace."""
    from sqlalchemy import Column, DateTime, MetaData, Numeric, Table, Text

    class Priced(Tally):
        name = "priced"
        tables = (
            Table(
                "priced",
                MetaData(),
                Column("key", Text, primary_key=True),
                Column("at", DateTime(timezone=True), primary_key=True),
                Column("price", Numeric),
            ),
        )

    async with await world.connect() as db:
        await generations.make_tables(db, Priced(), "one")
        await generations.make_tables(db, Priced(), "two")
        await db.execute(
            "INSERT INTO one.priced VALUES ('a', '2026-01-01 00:00Z', 1.50), ('B', '2026-01-01 00:00Z', NULL)"
        )
        await db.execute(
            "INSERT INTO two.priced VALUES "
            "('B', '2026-01-01 01:00+01', NULL), ('a', '2026-01-01 00:00Z', 1.5)"
        )
        found = []
        for schema, zone in (("one", "UTC"), ("two", "Asia/Tokyo")):
            await db.execute(
                f"SET search_path TO {schema}; SET timezone TO '{zone}'; SET datestyle TO 'German'"
            )
            found.append(await digest(db, Priced()))
        assert found[0] == found[1]


async def test_a_rebuild_goes_on_where_a_failed_one_stopped(world: World) -> None:
    """What was folded stays folded; nothing is folded twice."""
    await some_events(world, 2)
    await world.caught_up(Tally())

    class Dies(Tally):
        folded = 0

        async def write(self, db, changes) -> None:  # type: ignore[no-untyped-def]
            await super().write(db, changes)
            type(self).folded += 1
            if type(self).folded == 5:
                raise OSError("the power is gone")

    small = Limits(page_events=7)
    with pytest.raises(OSError, match="power"):
        await rebuilder(world, Dies(), limits=small).rebuild()
    (shadow,) = await world.rows("SELECT generation, position FROM projections WHERE state = 'shadow'")
    assert shadow[1] > 0
    seen: list[Progress] = []
    outcome = await rebuilder(world, Tally(), limits=small, report=seen.append).rebuild()
    assert outcome.generation.generation == shadow[0]
    assert outcome.comparison is not None
    assert outcome.comparison.equal
    assert min(p.position for p in seen) > shadow[1]


async def test_the_shadow_of_another_code_version_is_not_gone_on_with(world: World) -> None:
    """Rows of two versions are never mixed."""
    await some_events(world, 3)
    await world.caught_up(Tally())
    await rebuilder(world, TallyOfTwo()).rebuild(swap=False)
    outcome = await rebuilder(world, Tally()).rebuild()
    assert outcome.comparison is not None
    assert outcome.comparison.equal
    assert [row[1] for row in await world.rows(STATES, "tally")] == ["retired", "live"]


async def test_a_new_code_version_says_what_it_changes_and_replaces_the_old(world: World) -> None:
    """Its runner, which waited, goes on with the rebuilt generation."""
    await world.count(1, 2)
    await world.caught_up(Tally())
    async with world.running(world.runner(TallyOfTwo())):
        await world.count(3)
        outcome = await rebuilder(world, TallyOfTwo()).rebuild()
        last = await world.count(4)
        await world.reach(TallyOfTwo(), last)
    assert outcome.comparison is not None
    assert outcome.comparison.differences.total == 1
    assert outcome.comparison.differences.rows[0].fields["total"] == ("3", "6")
    assert await world.rows(TALLY) == [("counts-a-1", 4, 20, last)]


async def test_readers_and_the_live_runner_go_on_during_a_swap(world: World) -> None:
    """No reader meets an error or an empty table; no event is lost or counted twice."""
    await world.count(*[1] * 50)
    stop = asyncio.Event()
    totals: list[int] = []

    async def read() -> None:
        async with await world.connect() as db:
            while not stop.is_set():
                row = await (
                    await db.execute("SELECT total FROM tally WHERE stream = 'counts-a-1'")
                ).fetchone()
                assert row is not None, "a reader saw an empty table"
                totals.append(row[0])
                await asyncio.sleep(0)

    async with world.running(world.runner(Tally())):
        await world.reach(Tally(), await world.store.head())
        readers = [asyncio.create_task(read()) for _ in range(3)]
        for _ in range(4):
            swapping = asyncio.create_task(rebuilder(world, Tally()).rebuild())
            while not swapping.done():
                await world.count(1)
            assert (await swapping).comparison.equal  # type: ignore[union-attr]
        last = await world.store.head()
        await world.reach(Tally(), last)
        stop.set()
        await asyncio.gather(*readers)
    events = await world.row("SELECT count(*) FROM stored_events")
    assert await world.row("SELECT events, total, position FROM tally") == (events[0], events[0], last)
    assert len(totals) > 100
    assert await world.row("SELECT count(*) FROM projections") == (2,)


async def test_a_swap_gives_up_when_a_reader_never_lets_go_and_the_next_rebuild_swaps(world: World) -> None:
    """Nothing has changed for readers meanwhile, and new ones were not kept waiting."""
    last = await world.count(1)
    await world.caught_up(Tally())
    async with await world.connect() as reader, reader.transaction():
        await reader.execute(TALLY)
        with pytest.raises(SwapBlocked, match="not live after 2 tries"):
            await rebuilder(world, Tally(), swap_tries=2).rebuild()
        assert await world.rows(TALLY) == [("counts-a-1", 1, 1, last)]
    outcome = await rebuilder(world, Tally()).rebuild()
    assert (outcome.generation.generation, outcome.swapped) == (2, True)


async def test_readers_are_told_of_a_swap_and_of_nothing_before_it(world: World) -> None:
    """A shadow notifies nobody; after the swap anything may have changed."""
    last = await world.count(1, 2)
    await world.caught_up(Tally())
    async with await world.connect() as listener:
        await listener.execute(f"LISTEN {CHANNEL}")
        await rebuilder(world, Tally()).rebuild()
        notices = [n.payload async for n in listener.notifies(timeout=0.5)]
    assert notices == [f'{{"projection":"tally","previous":{last},"position":{last},"touched":null}}']


async def test_a_rollback_brings_the_retired_generation_up_to_date_and_back(world: World) -> None:
    """Twice rolled back is where one was."""
    await world.count(1, 2)
    await world.caught_up(Tally())
    await rebuilder(world, Tally()).rebuild()
    last = await world.count(3)
    await world.caught_up(Tally())
    assert (await rebuilder(world, Tally()).rollback()).generation == 1
    assert await world.rows(TALLY) == [("counts-a-1", 3, 6, last)]
    assert (await rebuilder(world, Tally()).rollback()).generation == 2
    assert (await rebuilder(world, Tally()).verify()).equal


async def test_a_rollback_to_another_code_version_shows_its_rows_as_they_were(world: World) -> None:
    """Code of that version then brings them up to date."""
    first = await world.count(1)
    await world.caught_up(Tally())
    await rebuilder(world, TallyOfTwo()).rebuild()
    last = await world.count(1)
    await world.caught_up(TallyOfTwo())
    await rebuilder(world, TallyOfTwo()).rollback()
    assert await world.rows(TALLY) == [("counts-a-1", 1, 1, first)]
    await world.caught_up(Tally())
    assert await world.rows(TALLY) == [("counts-a-1", 2, 2, last)]


async def test_without_a_retired_generation_there_is_no_rollback(world: World) -> None:
    await world.caught_up(Tally()) if await world.count(1) else None
    with pytest.raises(NoSuchGeneration, match="no retired generation"):
        await rebuilder(world, Tally()).rollback()


async def test_two_rebuilds_of_one_read_model_exclude_each_other(world: World) -> None:
    async with await world.connect() as db, alone(db, "tally"):
        with pytest.raises(AlreadyRunning, match="tally"):
            await rebuilder(world, Tally()).rebuild()
        await rebuilder(world, Peaks()).rebuild()


async def test_a_worker_that_was_left_behind_is_fenced_out(world: World) -> None:
    """A part that somebody else claimed, or that was joined, takes nothing more from the old worker."""
    head = await world.count(1, 2)
    async with await world.connect() as db, await world.connect() as old:
        shadow = await generations.create(db, Tally(), "scratch")
        await generations.split(db, shadow, 1)

        class Overtaken(Tally):
            async def write(self, db_, changes) -> None:  # type: ignore[no-untyped-def]
                raise AssertionError("wrote although it was overtaken")

            async def load(self, db_) -> None:  # type: ignore[no-untyped-def]
                async with await world.connect() as rival:
                    await fold_until(rival, Tally(), world.store, codec.decode, shadow, head, part=(0, 1))

        with pytest.raises(FencedOut):
            await fold_until(old, Overtaken(), world.store, codec.decode, shadow, head, part=(0, 1))


async def test_a_corrupted_row_is_found_and_named_with_its_field_and_last_event(world: World) -> None:
    """Verify changes nothing, neither the tables nor the generations."""
    await world.count(1, 2, stream="counts-a-1")
    touched = await world.count(3, stream="counts-b-1")
    await world.count(4, stream="counts-c-1")
    await world.caught_up(Tally())
    async with await world.connect() as db:
        await db.execute("UPDATE tally SET total = 99 WHERE stream = 'counts-b-1'")
        await db.execute("DELETE FROM tally WHERE stream = 'counts-c-1'")
        await db.execute("INSERT INTO tally VALUES ('counts-x-1', 1, 1, 2)")
    comparison = await rebuilder(world, Tally()).verify()
    assert not comparison.equal
    wrong, lost, added = comparison.differences.rows
    assert (wrong.key, wrong.fields, wrong.position) == (
        {"stream": "counts-b-1"},
        {"total": ("99", "3")},
        touched,
    )
    assert (lost.key, lost.missing) == ({"stream": "counts-c-1"}, "live")
    assert (added.key, added.missing, added.position) == ({"stream": "counts-x-1"}, "rebuilt", 2)
    assert await world.rows(STATES, "tally") == [(1, "live", "public", 1)]
    assert await world.row("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tally%%'") == (0,)


async def test_many_differences_are_shown_up_to_a_limit_and_counted(world: World) -> None:
    for n in range(MAX_DIFFERENCES + 1):
        await world.count(1, stream=f"counts-{n}-1")
    await world.caught_up(Tally())
    async with await world.connect() as db:
        await db.execute("UPDATE tally SET total = 99")
    found = (await rebuilder(world, Tally()).verify()).differences
    assert (len(found.rows), found.total) == (MAX_DIFFERENCES, MAX_DIFFERENCES + 1)


async def test_a_verification_that_was_killed_leaves_nothing_behind(world: World) -> None:
    await world.count(1)
    await world.caught_up(Tally())
    async with await world.connect() as db:
        await generations.create(db, Tally(), "scratch")
    assert (await rebuilder(world, Tally()).verify()).equal
    assert await world.row("SELECT count(*) FROM projections") == (1,)


@pytest.mark.parametrize("place", [0, 1, 17, 38, 39])
async def test_bisection_finds_the_event_at_which_two_versions_part(world: World, place: int) -> None:
    """Equal before it, different after it."""
    amounts = [1] * 40
    amounts[place] = 1_000_000
    await world.count(*amounts[:10], stream="counts-a-1")
    await world.append(raw("counts-z-1", 1, "test.unknown.v1", b""))
    await world.count(*amounts[10:], stream="counts-b-1")
    parting = await bisect(
        Tally(),
        TallyThatTires(),
        connect=world.connect,
        store=world.store,
        decode=codec.decode,
        until=await world.store.head(),
    )
    assert parting is not None
    assert parting.stream == ("counts-a-1" if place < 10 else "counts-b-1")
    assert parting.version == place + 1 - (place >= 10) * 10
    total = sum(amounts[(place >= 10) * 10 : place + 1])
    assert [row.fields for row in parting.differences.rows] == [{"total": (str(total), str(total - 1))}]
    assert await world.row("SELECT count(*) FROM projections") == (0,)
    assert await world.row("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tally%%'") == (0,)


async def test_versions_that_agree_do_not_part(world: World) -> None:
    await world.count(1, 2, 3)
    until = await world.store.head()
    same = await bisect(
        Tally(), TallyThatTires(), connect=world.connect, store=world.store, decode=codec.decode, until=until
    )
    assert same is None


async def test_versions_with_other_columns_cannot_be_bisected(world: World) -> None:
    class Other(Tally):
        tables = Peaks.tables

    with pytest.raises(NotComparable, match="tally"):
        await bisect(Tally(), Other(), connect=world.connect, store=world.store, decode=codec.decode, until=0)


async def test_a_parked_event_comes_back_when_code_can_fold_it(world: World) -> None:
    """Afterwards the read model equals a rebuild, and its runner goes on."""

    class Corrected(Tally):
        def amount(self, event) -> int:  # type: ignore[no-untyped-def]
            return abs(event.event.amount)

    await world.count(1, -7, 2)
    await world.caught_up(Tally())
    async with world.running(world.runner(Corrected())), await world.connect() as db:
        await asyncio.sleep(0.2)
        (parked,) = await parked_events(db)
        assert await retry(db, Tally(), world.store, codec.decode, parked) is Retried.FAILED
        (parked,) = await parked_events(db)
        assert parked.tries == 4
        assert await retry(db, Corrected(), world.store, codec.decode, parked) is Retried.FOLDED
        assert await retry(db, Corrected(), world.store, codec.decode, parked) is Retried.GONE
        last = await world.count(3)
        await world.reach(Corrected(), last)
    assert await world.rows(TALLY) == [("counts-a-1", 4, 13, last)]
    assert (await rebuilder(world, Corrected()).verify()).equal


async def test_a_read_model_that_depends_on_order_takes_parked_events_back_by_a_rebuild(world: World) -> None:
    """Folded late they would not give what a rebuild gives."""

    class Fragile(Peaks):
        def fold(self, state, events):  # type: ignore[no-untyped-def]
            assert not any(event.event.amount == 9 for event in events)
            return super().fold(state, events)

    await world.count(5, 9, 7)
    await world.caught_up(Fragile())
    async with await world.connect() as db:
        (parked,) = await parked_events(db)
        with pytest.raises(OrderMatters, match="rebuild peaks"):
            await retry(db, Peaks(), world.store, codec.decode, parked)
    await rebuilder(world, Peaks()).rebuild()
    assert await world.rows("SELECT amount FROM peaks ORDER BY position") == [(5,), (9,)]
    assert await world.row(
        "SELECT count(*) FROM parked e JOIN projections p ON p.name = e.projection "
        "AND p.generation = e.generation WHERE state = 'live'"
    ) == (0,)
