"""``decisions``, ``signals``, ``audit_trail``: the same rows whoever folds them, in whatever pieces."""

import random
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from psycopg import sql

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.decision.decisions import REFUSED
from alphapulse.domain.decision.strategy import StrategyRetired
from alphapulse.domain.decision.strategy import stream_of as strategy_stream
from alphapulse.domain.ports import Envelope, NewEvent
from alphapulse.projections import generations
from alphapulse.projections.audit_trail import Trail
from alphapulse.projections.decision_queries import Page, Wanted, decisions, outcomes, signals, strategies
from alphapulse.projections.decisions import Decisions
from alphapulse.projections.digest import digest, live_digest
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.parked import parked_events
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.rebuild import Rebuilder, fold_until
from alphapulse.projections.retry import OrderMatters, Retried, retry
from alphapulse.projections.runner import Limits, Runner
from alphapulse.projections.signals import Signals
from tests.decision_events import closed, decision, issued, like_sample, outcome, stream_of
from tests.projections.conftest import World

MODELS: Sequence[AnyReadModel] = (Decisions(), Signals(), Trail())
STRATEGIES = ("trial", "other")


@pytest.fixture(params=MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> AnyReadModel:
    found: AnyReadModel = request.param
    return found


def story(strategy: str) -> list[Any]:
    """A strategy from its definition to its end: of 30 decisions two thirds issued, most of them closed."""
    told: list[Any] = [like_sample("strategy.defined.v1", name=strategy, version=1)]
    told.append(like_sample("calibration.fitted.v1", strategy=strategy, strategy_version=1, part=0, number=1))
    for n in range(1, 31):
        market = f"test:M{n % 3}"
        made = decision(
            n,
            strategy=strategy,
            confidence=0.85 + n / 1_000,
            decision=f"{strategy}.1/{market}/5/{n}",
            instrument=market,
            **({"verdict": REFUSED, "refusals": ("low_confidence",)} if n % 3 == 0 else {}),
        )
        number = n - n // 3 if n % 3 else 0
        told.append(made)
        told += [issued(made, number)] if number else []
        became = outcome(made, won=n % 4 != 0, number=number)
        if n % 5 == 0 and number:
            told.append(like_sample("signal.exit_recommended.v1", strategy=strategy, number=number))
        told += [became, *([closed(became)] if number else [])] if n % 7 else []
    adapted = like_sample("decision.parameters_adapted.v1", strategy=strategy, strategy_version=1)
    return [*told, adapted, StrategyRetired(name=strategy, version=1, reason="enough")]


async def tell(world: World, seed: int = 1) -> int:
    """Both stories, mixed; the last position."""
    r = random.Random(seed)
    left = [story(name) for name in STRATEGIES]
    events: list[NewEvent] = []
    while any(left):
        event = r.choice([each for each in left if each]).pop(0)
        stream = strategy_stream(event.name) if isinstance(event, StrategyRetired) else stream_of(event)
        events.append(codec.new_event(stream, world.next_version(stream), event))
    return await world.append(*events)


def runner(world: World, model: AnyReadModel, limits: Limits) -> Runner:
    return Runner(model, on_postgres(world.connect), StoreSource(world.store), codec.decode, limits)


async def caught_up(world: World, model: AnyReadModel, batch: int = 500) -> int:
    head = await world.store.head()
    limits = Limits(poll_s=0.1, page_events=batch, batch_events=batch)
    async with world.running(runner(world, model, limits)):
        await world.reach(model, head)
    return head


def rebuilder(world: World, model: AnyReadModel) -> Rebuilder:
    return Rebuilder(model=model, connect=world.connect, store=world.store, decode=codec.decode)


async def count(world: World, table: str) -> int:
    async with await world.connect() as db:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        row = await (await db.execute(query)).fetchone()
    assert row
    return int(row[0])


async def test_every_event_of_the_story_has_its_row(world: World) -> None:
    await tell(world)
    for model in MODELS:
        await caught_up(world, model, batch=7)
    numbers = {"decisions": 60, "outcomes": 52, "calibrations": 2, "adaptations": 2, "strategies": 2}
    assert {table: await count(world, table) for table in numbers} == numbers
    assert await count(world, "signals") == 40
    assert await world.row("SELECT count(*) FROM signals WHERE closed_position IS NOT NULL") == (34,)
    assert await world.row("SELECT count(*) FROM signals WHERE exit_position IS NOT NULL") == (8,)
    assert await world.row("SELECT count(*) FROM strategies WHERE retired_position IS NOT NULL") == (2,)


async def test_a_rebuild_equals_the_live_rows_and_takes_their_place(
    world: World, model: AnyReadModel
) -> None:
    await tell(world)
    await caught_up(world, model, batch=13)
    done = await rebuilder(world, model).rebuild()
    assert done.comparison is not None
    assert done.comparison.equal
    assert done.swapped


@pytest.mark.parametrize("seed", range(2))
async def test_any_batches_and_parts_give_the_same_rows(world: World, model: AnyReadModel, seed: int) -> None:
    r = random.Random(seed)
    await tell(world, seed)
    head = await caught_up(world, model, batch=1)
    async with await world.connect() as db:
        live = await digest(db, model)
        for parts in (1, 2, 3):
            limits = Limits(page_events=r.randint(1, 50), batch_events=r.randint(1, 50))
            shadow = await generations.create(db, model, "scratch")
            await generations.split(db, shadow, parts)
            for part in r.sample(range(parts), parts):
                async with await world.connect() as worker:
                    await fold_until(
                        worker,
                        model,
                        world.store,
                        codec.decode,
                        shadow,
                        head,
                        part=(part, parts),
                        limits=limits,
                    )
            async with await world.connect() as reader:
                await reader.execute(sql.SQL("SET search_path TO {}, public").format(_schema(shadow)))
                assert await digest(reader, model) == live, (parts, limits)
            shadow = await generations.join(db, shadow, head)
            await generations.drop(db, shadow)


def _schema(generation: Any) -> sql.Identifier:
    return sql.Identifier(generation.schema)


async def test_events_folded_again_change_nothing(world: World, model: AnyReadModel) -> None:
    await tell(world)
    await caught_up(world, model)
    async with await world.connect() as db:
        _, before = await live_digest(db, model)
        page = await world.store.read(0, limit=5_000, names=sorted(model.names))
        events = [codec.decode(record) for record in page.records]
        assert len(events) > 50
        for again in (events[len(events) // 2 :], events):
            async with db.transaction():
                await model.write(db, model.fold(None, again).changes)
        assert (await live_digest(db, model))[1] == before


async def test_what_was_parked_comes_back_when_it_can_be_read(world: World) -> None:
    """Of decisions alone; of signals by a rebuild, for what happened to one later is in its row."""
    made = decision(1)
    stream = stream_of(made)
    new = codec.new_event(stream, world.next_version(stream), made)
    unread = NewEvent(
        stream=stream,
        version=world.next_version(stream),
        name="decision.made.v1",
        state=b'{"not": "a decision"}',
        envelope=Envelope(event_id=uuid4()),
    )
    await world.append(new, unread)
    await tell(world)
    head = await caught_up(world, Decisions())
    async with await world.connect() as db:
        (parked,) = await parked_events(db, projection="decisions")
    assert (parked.position, await count(world, "decisions")) == (2, 61)

    def now_read(record: Any) -> Any:
        """As a newer version of this code might."""
        if record.position == parked.position:
            state = msgspec.json.encode(decision(2, decision="trial.1/test:BTC_USD/5/late"))
            record = msgspec.structs.replace(record, state=state)
        return codec.decode(record)

    async with await world.connect() as db:
        assert await retry(db, Decisions(), world.store, codec.decode, parked) is Retried.FAILED
        assert await retry(db, Decisions(), world.store, now_read, parked) is Retried.FOLDED
    assert await count(world, "decisions") == 62
    assert await world.rows("SELECT 1 FROM parked") == []
    async with await world.connect() as db:
        live = await digest(db, Decisions())
    mended = Rebuilder(model=Decisions(), connect=world.connect, store=world.store, decode=now_read)
    done = await mended.rebuild()
    assert done.comparison is not None
    assert done.comparison.rebuilt == live
    assert head == await world.store.head()


async def test_parked_signals_are_retried_by_a_rebuild_only(world: World) -> None:
    await world.append(
        NewEvent(
            stream="signals-trial",
            version=world.next_version("signals-trial"),
            name="signal.issued.v1",
            state=b"{}",
            envelope=Envelope(event_id=uuid4()),
        )
    )
    await caught_up(world, Signals())
    now_read = issued(decision(1), 1)

    def decode(record: Any) -> Any:
        return codec.decode(msgspec.structs.replace(record, state=msgspec.json.encode(now_read)))

    async with await world.connect() as db:
        (parked,) = await parked_events(db, projection="signals")
        with pytest.raises(OrderMatters, match="alphapulse projections rebuild signals"):
            await retry(db, Signals(), world.store, decode, parked)
    mended = Rebuilder(model=Signals(), connect=world.connect, store=world.store, decode=decode)
    assert (await mended.rebuild()).swapped
    assert await world.row("SELECT strategy, number FROM signals") == ("trial", 1)


async def test_an_answer_as_of_a_position_is_that_of_a_log_which_ends_there(world: World) -> None:
    """Whatever came later: folded to the end, asked for the middle, against folded to the middle."""
    head = await tell(world)
    middle = head * 2 // 3
    async with await world.connect() as db:
        for model in MODELS:
            limits = Limits(poll_s=0.1)
            source = StoreSource(world.store, until=middle)
            async with world.running(Runner(model, on_postgres(world.connect), source, codec.decode, limits)):
                await world.reach(model, middle)
        then = await _answers(db, None)
        for model in MODELS:
            await caught_up(world, model)
        assert await _answers(db, middle) == then
        assert await _answers(db, None) != then


async def _answers(db: Any, as_of: int | None) -> list[Any]:
    every = Page(limit=1_000)
    found: list[Any] = [await strategies(db, as_of=as_of)]
    for name in (None, *STRATEGIES):
        for is_open in (None, True, False):
            wanted = Wanted(strategy=name, is_open=is_open)
            found.append((await signals(db, wanted, as_of=as_of, page=every))[1])
        for query in (decisions, outcomes):
            found.append((await query(db, Wanted(strategy=name), as_of=as_of, page=every))[1])
    return found
