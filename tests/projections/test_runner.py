"""The runner: exactly once, whatever is killed; poison is parked; one holder works, others stand by."""

import asyncio
import json
import types
from collections.abc import Coroutine, Generator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import FencedOut, Page, Recorded
from alphapulse.projections.checkpoint import Checkpoint, RebuildNeeded, live_generation
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.parked import MAX_PARKED, TooManyParked, parked_events
from alphapulse.projections.read_database import PostgresReads
from alphapulse.projections.read_model import Folded
from alphapulse.projections.runner import CHANNEL, MAX_PAYLOAD, Limits, Session, pages, read_notice
from tests import servers
from tests.projections.conftest import SOON, World, make_tally_tables
from tests.projections.tally import MOST_STREAMS, BriefTally, Ignored, Peaks, Tally, TallyOfTwo, codec, raw

both_ways = pytest.mark.parametrize("model", [Tally(), BriefTally()], ids=["steps", "at once"])
TALLY = "SELECT stream, events, total, position FROM tally ORDER BY stream"


@both_ways
async def test_rows_position_and_epoch_are_committed_together(world: World, model: Tally) -> None:
    """After a batch the rows are there, and the checkpoint says so."""
    last = await world.count(1, 2, 3)
    await world.caught_up(model)
    assert await world.rows(TALLY) == [("counts-a-1", 3, 6, last)]
    assert await world.row("SELECT generation, position, epoch, state FROM projections") == (
        1,
        last,
        1,
        "live",
    )


async def test_an_event_arrives_without_waiting_for_the_poll(world: World) -> None:
    """NOTIFY wakes a runner whose poll is far away."""
    patient = Limits(poll_s=30.0)
    async with world.running(world.runner(Tally(), patient)):
        await world.reach(Tally(), await world.count(1))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await world.reach(Tally(), await world.count(2))
        assert loop.time() - began < 5.0


@pytest.mark.parametrize(
    "limits",
    [
        Limits(page_events=1),
        Limits(batch_events=1),
        Limits(batch_bytes=1),
        Limits(page_events=7, batch_events=3),
    ],
)
@both_ways
async def test_batch_sizes_leave_no_trace(world: World, model: Tally, limits: Limits) -> None:
    """Pages and transactions of any size end in the same rows."""
    last = await world.count(*range(10))
    await world.caught_up(model, limits)
    assert await world.rows(TALLY) == [("counts-a-1", 10, 45, last)]


@both_ways
async def test_nothing_is_lost_or_done_twice_when_cancelled_at_any_await(world: World, model: Tally) -> None:
    """A runner is ended at its n-th await, for each n from start to idleness: the rows equal the log."""
    events, passed, n = 0, 0, 0
    while passed < 10:  # idle by then, at the awaits after the work
        n += 1
        events += 1
        head = await world.count(1)
        await asyncio.create_task(cancelled_at(n, world.runner(model).run()))
        held = await world.rows("SELECT position FROM projections WHERE name = 'tally'")
        passed = passed + 1 if held == [(head,)] else 0
        assert n < 500, "the runner never came to its end"
    least = 18 if type(model) is Tally else 10
    assert n > least, f"ended at {n} places only"
    await world.caught_up(model)
    assert await world.rows(TALLY) == [("counts-a-1", events, events, head)]


async def cancelled_at(n: int, work: Coroutine[Any, Any, None]) -> None:
    """``ended_at`` as a coroutine that a task takes; newer Pythons take no generator for one."""
    await ended_at(n, work)


@types.coroutine
def ended_at(n: int, work: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Run ``work`` to its ``n``-th suspension and cancel it there."""
    awaits = work.__await__()
    error: BaseException | None = None
    for _ in range(n):
        waited_for = awaits.throw(error) if error else awaits.send(None)
        error = None
        try:
            yield waited_for
        except BaseException as raised:
            error = raised
    with suppress(asyncio.CancelledError):
        yield awaits.throw(asyncio.CancelledError())
        yield from awaits


@both_ways
async def test_a_lost_connection_is_made_anew_and_nothing_is_lost_or_done_twice(
    world: World, model: Tally
) -> None:
    """The database ends all connections again and again under load."""
    last = 0
    async with world.running(world.runner(model)):
        for _ in range(10):
            last = await world.count(*[1] * 20)
            await world.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await world.reach(model, last)
    assert await world.rows(TALLY) == [("counts-a-1", 200, 200, last)]


@both_ways
async def test_two_runners_at_once_do_the_work_once(world: World, model: Tally) -> None:
    """Started together, restarted in turn: each event counts once."""
    first, second = world.runner(model), world.runner(model)
    last = 0
    for _ in range(3):
        async with world.running(first, second):
            last = await world.count(*[1] * 30)
            await world.reach(model, last)
    async with world.running(first):
        last = await world.count(*[1] * 10)
        async with world.running(second):
            await world.reach(model, last)
    assert await world.rows(TALLY) == [("counts-a-1", 100, 100, last)]


async def test_a_standby_takes_over_at_once_when_the_holder_dies(world: World) -> None:
    """The holder's connection ends: nobody waits for a timeout."""
    slow = Limits(poll_s=0.1, takeover_s=60.0, backoff_s=(0.02, 0.2))
    holder = asyncio.create_task(world.runner(Tally(), slow).run())
    await world.reach(Tally(), await world.count(1))
    async with world.running(world.runner(Tally(), slow)):
        await asyncio.sleep(0.2)
        assert await world.row("SELECT epoch FROM projections") == (1,)
        holder.cancel()
        await world.reach(Tally(), await world.count(1), timeout_s=10)
    assert await world.row("SELECT epoch FROM projections") == (2,)


async def test_a_holder_that_was_not_seen_for_long_is_replaced_although_its_lock_remains(
    world: World,
) -> None:
    """A frozen process keeps its connection and so its lock."""
    await world.caught_up(Tally())
    frozen = await world.connect()
    await frozen.execute("SELECT pg_advisory_lock(hashtextextended('projection tally', 0))")
    async with world.running(world.runner(Tally())):
        await world.reach(Tally(), await world.count(5), timeout_s=SOON.takeover_s + 5)
    await frozen.close()


@both_ways
async def test_a_frozen_runner_that_wakes_up_fails_its_next_commit(world: World, model: Tally) -> None:
    """Another claim was made meanwhile: FencedOut, and not a row of it is written."""
    await world.count(1)
    page = await world.store.read(0)
    async with await world.connect() as frozen, await world.connect() as rival:
        old = await open_session(frozen, model)
        new = await open_session(rival, model)
        with pytest.raises(FencedOut, match="epoch 1"):
            await old.take(page)
        assert await world.rows(TALLY) == []
        await new.take(page)
        with pytest.raises(FencedOut):
            await old.take(page)
    assert await world.rows(TALLY) == [("counts-a-1", 1, 1, page.scanned_to)]


async def test_a_runner_frozen_inside_its_transaction_is_replaced_too(world: World) -> None:
    """The row lock that it holds ends with the time that its transaction may be idle."""
    frozen = asyncio.Event()

    class Freezes(Tally):
        async def write(self, db: AsyncConnection[Any], changes: Any) -> None:
            frozen.set()
            await asyncio.Event().wait()

    last = await world.count(1)
    async with world.running(world.runner(Freezes())):
        await frozen.wait()
        async with world.running(world.runner(Tally())):
            await world.reach(Tally(), last)
    assert await world.rows(TALLY) == [("counts-a-1", 1, 1, last)]


async def test_a_small_batch_is_one_statement_and_a_larger_one_is_not(world: World) -> None:
    """Up to MOST_STREAMS the write is not asked; one more, and it is. The rows are the same."""
    written = list[int]()

    class Counts(BriefTally):
        async def write(self, db: AsyncConnection[Any], changes: Any) -> None:
            written.append(len(changes))
            await super().write(db, changes)

    async with await world.connect() as db:
        session = await open_session(db, Counts())
        for n in range(MOST_STREAMS):
            last = await world.count(1, stream=f"counts-{n}-1")
        await session.take(await world.store.read(0))
        assert written == []
        for n in range(MOST_STREAMS + 1):
            await world.count(2, stream=f"counts-{n}-1")
        await session.take(await world.store.read(last))
        assert written == [MOST_STREAMS + 1]
    totals = await world.rows("SELECT total FROM tally ORDER BY stream")
    assert totals == [(3,)] * MOST_STREAMS + [(2,)]


async def open_session(db: AsyncConnection[Any], model: Tally | Peaks | None = None) -> Session:
    model = model or Tally()
    generation = await live_generation(db, model.name, model.code_version)
    checkpoint = await Checkpoint.claim(db, model.name, generation, live=True)
    return await Session.open(PostgresReads(db), model, codec.decode, checkpoint, notify=True)


@both_ways
async def test_an_event_that_breaks_the_fold_is_parked_and_the_rest_goes_on(
    world: World, model: Tally
) -> None:
    """Tried three times, then kept with its reason; every other event of the batch counts."""
    await world.count(1, 2)
    poison = await world.count(-7)
    last = await world.count(3, 4)
    await world.caught_up(model)
    assert await world.rows(TALLY) == [("counts-a-1", 4, 10, last)]
    async with await world.connect() as db:
        (parked,) = await parked_events(db)
    assert (parked.position, parked.stream, parked.version, parked.name) == (
        poison,
        "counts-a-1",
        3,
        "test.counted.v1",
    )
    assert parked.tries == 3
    assert parked.reason == "ValueError: amount -7 < 0"


@both_ways
async def test_an_event_that_breaks_the_write_is_parked_and_the_rest_goes_on(
    world: World, model: Tally
) -> None:
    """The sum overflows its column at the second large amount; the batch around it is not lost."""
    await world.count(1, 1 << 62)
    poison = await world.count(1 << 62)
    last = await world.count(5)
    await world.caught_up(model)
    assert await world.rows(TALLY) == [("counts-a-1", 3, 6 + (1 << 62), last)]
    async with await world.connect() as db:
        (parked,) = await parked_events(db)
    assert parked.position == poison
    assert "out of range" in parked.reason


@both_ways
async def test_unknown_names_newer_versions_and_broken_payloads_park(world: World, model: Tally) -> None:
    """None of them crashes the runner or is passed over in silence; events of other read models are."""
    newer = await world.append(raw("counts-a-1", world.next_version(), "test.counted.v2", b"{}"))
    alien = await world.append(raw("counts-a-1", world.next_version(), "test.recounted.v1", b"?"))
    broken = await world.append(raw("counts-a-1", world.next_version(), "test.counted.v1", b"{"))
    await world.append(codec.new_event("others-a-1", 1, Ignored("not ours")))
    last = await world.count(5)
    await world.caught_up(model)
    assert await world.rows(TALLY) == [("counts-a-1", 1, 5, last)]
    async with await world.connect() as db:
        parked = await parked_events(db)
    assert [(p.position, p.reason.partition(":")[0]) for p in parked] == [
        (newer, "UnknownEvent"),
        (alien, "UnknownEvent"),
        (broken, "UndecodableEvent"),
    ]


async def test_state_carried_along_is_read_anew_after_poison(world: World) -> None:
    """A batch that failed half-way leaves no trace in what the fold remembers."""

    class Fragile(Peaks):
        def fold(self, state: int, events: Sequence[Recorded]) -> Folded[int, list[tuple[int, str, int]]]:
            if any(event.event.amount == 13 for event in events):
                raise ValueError("13")
            return super().fold(state, events)

    first = await world.count(5)
    await world.count(13)
    second = await world.count(7)
    await world.caught_up(Fragile())
    assert await world.rows("SELECT position, amount FROM peaks ORDER BY 1") == [(first, 5), (second, 7)]


async def test_state_is_carried_from_batch_to_batch(world: World) -> None:
    """What a batch left behind is what the next one begins with."""
    positions = [await world.count(amount) for amount in (5, 3, 7, 6, 8)]
    await world.caught_up(Peaks(), Limits(batch_events=1))
    rows = [(positions[0], 5), (positions[2], 7), (positions[4], 8)]
    assert await world.rows("SELECT position, amount FROM peaks ORDER BY 1") == rows


@both_ways
async def test_a_missing_table_stops_the_runner_and_parks_nothing(world: World, model: Tally) -> None:
    """What every event would meet is not an event's fault."""
    async with await world.connect() as db:
        await db.execute("ALTER TABLE tally RENAME TO elsewhere")
        await world.count(1)
        session = await open_session(db, model)
        with pytest.raises(psycopg.errors.UndefinedTable):
            await session.take(await world.store.read(0))
        assert await parked_events(db) == []


async def test_too_many_parked_events_stop_the_read_model(world: World) -> None:
    """At MAX_PARKED it goes on, one more means that the read model itself is wrong."""
    last = await world.count(-1)
    async with await world.connect() as db:
        session = await open_session(db)
        await db.execute(
            "INSERT INTO parked "
            "(projection, generation, position, stream, version, name, event_id, reason, tries) "
            "SELECT 'tally', 1, 1000000 + n, 's', n, 'n', gen_random_uuid(), 'r', 1 "
            "FROM generate_series(1, %s) n",
            (MAX_PARKED - 1,),
        )
        await session.take(await world.store.read(0))
        assert session.position == last
        await world.count(-1)
        with pytest.raises(TooManyParked, match="amount -1 < 0"):
            await session.take(await world.store.read(last))
        assert session.position == last


async def test_a_read_model_of_another_code_version_is_left_alone(world: World) -> None:
    """Rows of two versions are never mixed: the runner says that a rebuild is needed, and waits."""
    last = await world.count(1)
    await world.caught_up(Tally())
    await world.count(1)
    async with world.running(world.runner(TallyOfTwo())):
        await asyncio.sleep(0.3)
    assert await world.rows(TALLY) == [("counts-a-1", 1, 1, last)]
    async with await world.connect() as db:
        with pytest.raises(RebuildNeeded, match="code version 1, this is version 2"):
            await live_generation(db, "tally", 2)


@both_ways
async def test_readers_are_told_what_changed(world: World, model: Tally) -> None:
    """Each commit of the live generation notifies; previous and position chain without a hole."""
    async with await world.connect() as listener:
        await listener.execute(f"LISTEN {CHANNEL}")
        first = await world.count(1)
        await world.caught_up(model)
        second = await world.count(2, stream="counts-b-1")
        await world.caught_up(model)
        notices = [json.loads(n.payload) async for n in listener.notifies(timeout=5, stop_after=2)]
    assert notices == [
        {"projection": "tally", "previous": 0, "position": first, "touched": {"test:counts-a-1": [0, 0]}},
        {
            "projection": "tally",
            "previous": first,
            "position": second,
            "touched": {"test:counts-b-1": [0, 0]},
        },
    ]


def test_a_notice_that_would_be_too_long_says_that_anything_may_have_changed() -> None:
    """PostgreSQL refuses payloads of 8,000 bytes."""
    many = {f"venue:SYMBOL{n}": (0, 1) for n in range(1_000)}
    notice = read_notice("candles", previous=1, position=2, touched=many)
    assert len(notice) <= MAX_PAYLOAD
    assert json.loads(notice)["touched"] is None


async def test_a_page_without_events_of_ours_moves_the_checkpoint(world: World) -> None:
    """Lag counts what is left to look at, not what was of interest."""
    last = await world.append(codec.new_event("others-a-1", 1, Ignored("not ours")))
    await world.caught_up(Tally())
    assert await world.row("SELECT position FROM projections") == (last,)
    assert await world.rows(TALLY) == []


async def test_a_server_that_stops_and_starts_again_is_waited_for(postgres: PostgresServer) -> None:
    """The whole server is away for a while: the runner goes on by itself."""
    servers.make_template(postgres)
    with servers.fresh_database(postgres) as url:
        make_tally_tables(url)
        async with PostgresEventStore(url) as store:
            world = World(url, store)
            async with world.running(world.runner(Tally())):
                await world.reach(Tally(), await world.count(1))
                await asyncio.to_thread(postgres.stop)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(postgres.start)
                last = await world.count(1)
                await world.reach(Tally(), last)
            assert await world.rows(TALLY) == [("counts-a-1", 2, 2, last)]


async def test_pages_are_bounded_by_bytes_as_well_as_by_events(world: World) -> None:
    """After the first page, as many events are asked for as fit: memory does not grow with their size."""
    asked: list[int] = []

    class Watched(StoreSource):
        async def next(self, after: int, *, limit: int, timeout_s: float) -> Page:
            asked.append(limit)
            return await super().next(after, limit=limit, timeout_s=timeout_s)

    for version in range(1, 5):
        await world.append(codec.new_event("others-a-1", version, Ignored("x" * 100_000)))
    limits = Limits(page_events=50, page_bytes=250_000, poll_s=0.1)
    async with aclosing(pages(Watched(world.store), 0, limits)) as coming:
        assert len((await anext(coming)).records) == 4
        await anext(coming)
    assert asked == [50, 2]


async def test_the_next_page_is_read_ahead_only_while_there_is_more_than_one(world: World) -> None:
    """Near the end of the log it would be cut before the events that come during the fold."""
    for version in range(1, 4):
        await world.append(codec.new_event("others-a-1", version, Ignored("x")))
    limits = Limits(page_events=2, poll_s=0.1)
    async with aclosing(pages(StoreSource(world.store), 0, limits)) as coming:
        assert [r.version for r in (await anext(coming)).records] == [1, 2]  # full: more is being read
        assert [r.version for r in (await anext(coming)).records] == [3]
        await world.append(codec.new_event("others-a-1", 4, Ignored("x")))
        await world.append(codec.new_event("others-a-1", 5, Ignored("x")))
        assert [r.version for r in (await anext(coming)).records] == [4, 5]
