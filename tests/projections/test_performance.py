"""``performance`` and ``attribution``: the same rows whoever folds them, and answers as of any position."""

import random
from collections.abc import Sequence
from dataclasses import fields
from math import fsum

import numpy as np
import pytest
from psycopg import sql

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.performance.attribution import DIMENSIONS, NO_PATTERN, shares_of
from alphapulse.domain.performance.equity import equity_of
from alphapulse.domain.performance.trades import Trade, Trades
from alphapulse.domain.signals.idea import DAY_NS
from alphapulse.domain.signals.signal import OutcomeRecorded
from alphapulse.projections import generations
from alphapulse.projections.attribution import Attribution
from alphapulse.projections.attribution_queries import attribution_of
from alphapulse.projections.candle_view import NotYetFolded, QueryTooLarge
from alphapulse.projections.digest import digest, live_digest
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.performance import Performance
from alphapulse.projections.performance_queries import Wanted, market_days, trades_of
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.rebuild import Rebuilder, fold_until
from alphapulse.projections.runner import Limits, Runner
from alphapulse.projections.signals import Signals
from tests.performance_story import mixed, story
from tests.projections.conftest import World

MODELS: Sequence[AnyReadModel] = (Performance(), Attribution())
STRATEGIES = ("trial", "other")


@pytest.fixture(params=MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> AnyReadModel:
    found: AnyReadModel = request.param
    return found


async def tell(world: World, seed: int = 1, count: int = 36) -> int:
    """The last position."""
    events = mixed([story(name, seed, count) for name in STRATEGIES], seed)
    for first in range(0, len(events), 100):
        head = await world.append(*events[first : first + 100])
    return head


async def caught_up(world: World, model: AnyReadModel, *, batch: int = 500, until: int | None = None) -> int:
    """Fold up to ``until``, or to the end."""
    head = until or await world.store.head()
    source = StoreSource(world.store, until=head)
    limits = Limits(poll_s=0.1, page_events=batch, batch_events=batch)
    async with world.running(Runner(model, on_postgres(world.connect), source, codec.decode, limits)):
        await world.reach(model, head)
    return head


async def everything(world: World) -> None:
    for each in (*MODELS, Signals()):
        await caught_up(world, each)


async def test_a_rebuild_equals_the_live_rows_and_takes_their_place(
    world: World, model: AnyReadModel
) -> None:
    await tell(world)
    await caught_up(world, model, batch=13)
    done = await Rebuilder(
        model=model, connect=world.connect, store=world.store, decode=codec.decode
    ).rebuild()
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
        for parts in (2, 3):
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
                schema = sql.Identifier(shadow.schema)
                await reader.execute(sql.SQL("SET search_path TO {}, public").format(schema))
                assert await digest(reader, model) == live, (parts, limits)
            await generations.drop(db, await generations.join(db, shadow, head))


async def test_events_folded_again_or_in_any_order_change_nothing(world: World, model: AnyReadModel) -> None:
    await tell(world)
    await caught_up(world, model)
    page = await world.store.read(0, limit=5_000, names=sorted(model.names))
    events = [codec.decode(record) for record in page.records]
    async with await world.connect() as db:
        _, before = await live_digest(db, model)
        await model.write(db, model.fold(None, events[len(events) // 2 :]).changes)
        assert (await live_digest(db, model))[1] == before
        for table in model.tables:
            await db.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(table.name)))
        random.Random(1).shuffle(events)
        for first in range(0, len(events), 17):
            await model.write(db, model.fold(None, events[first : first + 17]).changes)
        assert (await live_digest(db, model))[1] == before


async def expected(world: World, until: int, wanted: Wanted) -> Trades:
    """From the events, one by one."""
    made, rows = dict[str, DecisionMade](), list[Trade]()
    page = await world.store.read(0, limit=5_000, until=until)
    for recorded in map(codec.decode, page.records):
        match recorded.event:
            case DecisionMade() as e:
                made[e.decision] = e
            case OutcomeRecorded() as e if e.strategy == wanted.strategy:
                rows.append(_trade(made[e.decision], e, recorded.position))
    return Trades.of(row for row in rows if wanted.is_signal in (None, row.number > 0))


def _trade(made: DecisionMade, e: OutcomeRecorded, position: int) -> Trade:
    o = e.outcome
    return Trade(
        decision=e.decision,
        strategy_version=e.strategy_version,
        instrument=e.instrument,
        timeframe=e.timeframe,
        regime=made.regime,
        side=e.side,
        number=e.number,
        opened=made.time,
        closed=o.closed_at,
        confidence=made.claim.confidence,
        size_ratio=made.size_ratio,
        reason=o.reason,
        is_win=bool(o.label),
        worst_win=bool(o.worst_label),
        best_win=bool(o.best_label),
        gross_bps=o.gross_bps,
        net_bps=o.net_bps,
        net_r=o.net_r_multiple,
        worst_bps=e.side * (o.worst_price - made.entry) / made.entry * 1e4,
        best_bps=e.side * (o.best_price - made.entry) / made.entry * 1e4,
        position=position,
    )


def assert_equal(found: Trades, wanted: Trades) -> None:
    for field in fields(Trades):
        mine, other = getattr(found, field.name), getattr(wanted, field.name)
        assert mine.dtype == other.dtype, field.name
        np.testing.assert_array_equal(mine, other, field.name)


@pytest.mark.parametrize("is_signal", [None, True, False])
async def test_trades_as_of_any_position_are_what_the_events_up_to_it_say(
    world: World, is_signal: bool | None
) -> None:
    head = await tell(world)
    await caught_up(world, Performance())
    async with await world.connect() as db:
        for until in (1, head // 3, head // 2, head - 1, head):
            for strategy in STRATEGIES:
                wanted = Wanted(strategy=strategy, is_signal=is_signal)
                position, found = await trades_of(db, wanted, as_of=until)
                assert position == until
                assert_equal(found, await expected(world, until, wanted))
        assert len(found) > 10


async def test_filters_choose_among_trades(world: World) -> None:
    head = await tell(world)
    await caught_up(world, Performance())
    async with await world.connect() as db:
        _, every = await trades_of(db, Wanted(strategy="trial"))
        middle = int(np.median(every.opened))
        chosen = {
            Wanted(strategy="trial", version=2): every.strategy_version == 2,
            Wanted(strategy="trial", instrument="test:M1"): every.instrument == "test:M1",
            Wanted(strategy="trial", timeframe=5): every.timeframe == 5,
            Wanted(strategy="trial", timeframe=1): every.timeframe == 1,
            Wanted(strategy="trial", regime="range"): every.regime == "range",
            Wanted(strategy="trial", side=-1): every.side == -1,
            Wanted(strategy="trial", label="research"): every.side == 0,
            Wanted(strategy="trial", since=middle): every.opened >= middle,
            Wanted(strategy="trial", until=middle): every.opened < middle,
        }
        for wanted, mask in chosen.items():
            position, found = await trades_of(db, wanted)
            assert position == head
            assert_equal(found, every.take(mask))


async def test_more_trades_than_fit_and_a_position_ahead_are_refused(world: World) -> None:
    head = await tell(world)
    await caught_up(world, Performance())
    async with await world.connect() as db:
        _, every = await trades_of(db, Wanted(strategy="trial"))
        assert len((await trades_of(db, Wanted(strategy="trial"), limit=len(every)))[1]) == len(every)
        with pytest.raises(QueryTooLarge, match=f"more than {len(every) - 1}"):
            await trades_of(db, Wanted(strategy="trial"), limit=len(every) - 1)
        with pytest.raises(NotYetFolded, match=f"{head + 1}"):
            await trades_of(db, Wanted(strategy="trial"), as_of=head + 1)


@pytest.mark.parametrize("of", ["signals", "candidates", "refused"])
async def test_the_parts_of_every_dimension_sum_to_the_whole(world: World, of: str) -> None:
    await tell(world)
    await everything(world)
    async with await world.connect() as db:
        _, trades = await trades_of(db, Wanted(strategy="trial"))
        whole = equity_of(trades, of=of, risk_ratio=0.01)
        for by in DIMENSIONS:
            _, found = await attribution_of(db, Wanted(strategy="trial"), by, of=of, draws=0)
            assert found.trades == len(whole.trades) > 7
            assert found.total == pytest.approx(whole.contribution.sum(), abs=1e-12)
            assert fsum(part.contribution for part in found.parts) == pytest.approx(found.total, abs=1e-9)
            assert fsum(part.r for part in found.parts) == pytest.approx(found.total_r, abs=1e-9)
            assert len(found.parts) > 1 or by == "timeframe"
            assert "unattributed" not in {part.key for part in found.parts}


async def test_what_was_refused_does_not_fill_an_answer_about_signals(world: World) -> None:
    await tell(world)
    await everything(world)
    trial = Wanted(strategy="trial")
    async with await world.connect() as db:
        _, signals = await trades_of(db, trial.of("signals"))
        _, refused = await trades_of(db, trial.of("refused"))
        _, every = await trades_of(db, trial.of("candidates"))
        assert_equal(signals, every.signals)
        assert_equal(refused, every.refused)
        _, found = await attribution_of(db, trial, "voter", of="signals", limit=len(signals), draws=0)
        assert found.trades == len(signals)
        with pytest.raises(QueryTooLarge):
            await attribution_of(db, trial, "voter", of="candidates", limit=len(signals), draws=0)


async def test_parts_are_named_as_the_votes_are(world: World) -> None:
    await tell(world)
    await everything(world)
    async with await world.connect() as db:
        keys = {
            by: {
                part.key
                for part in (await attribution_of(db, Wanted(strategy="trial"), by, draws=0))[1].parts
            }
            for by in DIMENSIONS
        }
    assert keys["pattern"] == {"hammer", "takuri", NO_PATTERN}
    assert keys["feature_group"] == {"trend", "patterns", "statistics", "levels", "mine"}
    assert {"trend", "candles", "moves", "mine"} < keys["voter"]
    assert keys["venue"] == {"test", "other"}
    assert keys["timeframe"] == {"5m"}
    assert keys["version"] == {"1", "2"}
    assert keys["hour"] <= {f"{hour:02d}" for hour in range(24)}


async def test_attribution_as_of_a_position_is_that_of_a_log_which_ends_there(world: World) -> None:
    head = await tell(world)
    middle = head * 2 // 3
    async with await world.connect() as db:
        for each in (*MODELS, Signals()):
            await caught_up(world, each, until=middle)
        then = [await attribution_of(db, Wanted(strategy="trial"), by, draws=50) for by in DIMENSIONS]
        await everything(world)
        ask = [
            await attribution_of(db, Wanted(strategy="trial"), by, as_of=middle, draws=50)
            for by in DIMENSIONS
        ]
        assert ask == then
        now = [await attribution_of(db, Wanted(strategy="trial"), by, draws=50) for by in DIMENSIONS]
        assert now != then


async def test_rows_hold_what_the_decision_gives(world: World) -> None:
    await tell(world)
    await caught_up(world, Attribution())
    page = await world.store.read(0, limit=5_000, names=["decision.made.v1"])
    wanted = []
    for recorded in map(codec.decode, page.records):
        shares = shares_of(recorded.event)
        columns = [[getattr(vote, f) for vote in shares] for f in ("voter", "pattern", "share", "without")]
        wanted.append((recorded.position, len(shares) <= 12, *columns))
    assert {row[1] for row in wanted} == {True, False}
    columns_of = "position, is_exact, voters, patterns, shares, without"
    assert await world.rows(f"SELECT {columns_of} FROM vote_shares ORDER BY position") == wanted


async def test_the_market_is_the_mean_of_the_traded_instruments_on_days_that_had_ended(world: World) -> None:
    """Two of them, one with a day missing; the third was not traded."""
    day, row = 20_000, "('{}', 1440, {}, 0, 0, 0, {}, 0, 0, 0, 0, {}, 0, 0, 0)"
    closes = {
        "a:A": {0: 100.0, 1: 110.0, 2: 99.0, 3: 99.0},
        "b:B": {0: 50.0, 2: 100.0, 3: 150.0},
        "c:C": {1: 1.0},
    }
    rows = [
        row.format(name, (day + n) * 1440, close, 10 + n)
        for name in closes
        for n, close in closes[name].items()
    ]
    trades = Trades.of(_traded(name, day + 1, day + 3) for name in ("a:A", "b:B"))
    async with await world.connect() as db:
        await db.execute(sql.SQL("INSERT INTO known_bars VALUES " + ", ".join(rows)))
        await db.execute(
            "INSERT INTO projections (name, generation, code_version, state, schema, position)"
            " VALUES ('features', 1, 1, 'live', 'public', 20)"
        )
        days, returns = await market_days(db, trades, as_of=20) or ((), ())
        assert list(days) == [day + 1, day + 2, day + 3]
        np.testing.assert_allclose(returns, [0.1, -0.1, (0 + 0.5) / 2])
        days, _ = await market_days(db, trades, as_of=12) or ((), ())
        assert list(days) == [day + 1, day + 2]
        assert await market_days(db, trades.take(slice(0))) is None
        with pytest.raises(NotYetFolded, match="21"):
            await market_days(db, trades, as_of=21)


def _traded(instrument: str, opened: int, closed: int) -> Trade:
    return Trade(
        decision=instrument,
        strategy_version=1,
        instrument=instrument,
        timeframe=5,
        regime="range",
        side=1,
        number=1,
        opened=opened * DAY_NS,
        closed=closed * DAY_NS,
        confidence=0.9,
        size_ratio=1.0,
        reason="target",
        is_win=True,
        worst_win=True,
        best_win=True,
        gross_bps=10.0,
        net_bps=1.0,
        net_r=0.1,
    )
