"""What candles answer, now and as of any position, on a real PostgreSQL with the log in memory."""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import psycopg
import pytest
from psycopg import AsyncConnection

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.market.events import (
    FeedConnected,
    FeedLost,
    GapClosed,
    WatermarkPassed,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import Recorded
from alphapulse.projections import candle_history, candle_queries, instrument_queries
from alphapulse.projections.candle_queries import (
    COLUMN_NAMES,
    Fill,
    History,
    NotYetFolded,
    QueryTooLarge,
    candle_rows,
    changed_candles,
    series,
)
from alphapulse.projections.candles import Candles
from alphapulse.projections.trade_queries import Order
from alphapulse.projections.trade_queries import trades as trades_page
from tests.candle_oracle import MINUTE, TIMEFRAMES
from tests.projections.market_log import BTC, ETH, T0, bars, recorded, trades
from tests.projections.test_candles import TABLES, random_log

NAMES = {"venue": "test", "symbol": "BTC_USD"}
M0 = T0 // MINUTE


@dataclass
class World:
    """A log, the candles folded from it, and where to ask."""

    db: AsyncConnection[Any]
    store: MemoryEventStore
    history: History
    model: Candles

    async def tell(self, *events: Any) -> list[Recorded]:
        """Append ``events`` and fold them."""
        found = []
        for event in events:
            stream = recorded([event])[0].stream
            version = await self.store.version(stream) + 1
            records = await self.store.append([codec.new_event(stream, version, event)])
            found += [codec.decode(r) for r in records]
        await fold(self.db, self.model, found)
        return found

    async def columns(self, timeframe: int = 1, **options: Any) -> dict[str, list[Any]]:
        """A series of BTC, parsed."""
        found = await series(self.db, str(BTC), timeframe, history=self.history, **options)
        return {name: orjson.loads(text) for name, text in found.columns.items()}


async def fold(db: AsyncConnection[Any], model: Candles, log: Sequence[Recorded]) -> None:
    folded = model.fold(await model.load(db), log)
    async with db.transaction():
        await model.write(db, folded.changes)
        await db.execute(
            "INSERT INTO projections (name, generation, code_version, state, schema, position) "
            "VALUES ('candles', 1, 1, 'live', 'public', %s) "
            "ON CONFLICT (name, generation) DO UPDATE SET position = excluded.position",
            (log[-1].position,),
        )


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        store = MemoryEventStore()
        yield World(connection, store, History(store, codec.decode), Candles())


@pytest.fixture
async def cut(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A second set of tables in the same database."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA cut")
        for table in (*TABLES, "projections"):
            await connection.execute(f"CREATE TABLE cut.{table} (LIKE public.{table} INCLUDING ALL)")  # type: ignore[arg-type]
        await connection.execute("SET search_path TO cut")
        yield connection


async def everything(
    db: AsyncConnection[Any],
    history: History,
    as_of: int | None,
    instrument: Instrument,
    timeframes: Sequence[int] = TIMEFRAMES,
) -> dict[str, Any]:
    """Every kind of answer about one instrument."""
    name, found = str(instrument), dict[str, Any]()
    options: dict[str, Any] = {"as_of": as_of, "history": history}
    for timeframe in timeframes:
        found[f"series {timeframe}"] = await series(db, name, timeframe, **options)
        found[f"last {timeframe}"] = await series(db, name, timeframe, last=3, **options)
        found[f"rows {timeframe}"] = await candle_rows(db, name, timeframe, after=M0 + 5, first=7, **options)
        found[f"back {timeframe}"] = await candle_rows(
            db, name, timeframe, before=M0 + 900, last=4, **options
        )
        span = {"start": T0, "end": T0 + 300 * timeframe * MINUTE}
        for fill in Fill:
            found[f"{fill} {timeframe}"] = await series(db, name, timeframe, fill=fill, **span, **options)
        found[f"filled {timeframe}"] = await series(db, name, 60, fill=Fill.PREVIOUS, last=40, **options)
    for order in Order:
        found[f"trades {order}"] = await trades_page(db, history, name, order=order, first=50, as_of=as_of)
        found[f"last trades {order}"] = await trades_page(db, history, name, order=order, last=9, as_of=as_of)
    found["instruments"] = await instrument_queries.instrument_rows(db, as_of=as_of)
    return found


async def compare_as_of(
    world: World, cut: AsyncConnection[Any], log: Sequence[Recorded], timeframes: int
) -> None:
    """Fold ``log`` event by event beside, and ask there and, as of then, where all of it is folded."""
    r = random.Random(len(log))
    for event in log:
        await fold(cut, world.model, [event])
        some = r.sample(TIMEFRAMES, timeframes)
        for instrument in (BTC, ETH):
            then = await everything(cut, world.history, None, instrument, some)
            now = await everything(world.db, world.history, event.position, instrument, some)
            for kind, answer in then.items():
                assert now[kind] == answer, f"{kind} of {instrument} as of {event.position}"


@pytest.mark.parametrize("seed", range(3))
async def test_an_answer_as_of_a_position_is_that_of_a_log_cut_there(
    world: World, cut: AsyncConnection[Any], seed: int
) -> None:
    await compare_as_of(world, cut, await world.tell(*random_log(seed, 18)), timeframes=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", [pytest.param(100, marks=pytest.mark.slice), *range(101, 120)])
async def test_an_answer_as_of_a_position_is_that_of_a_log_cut_there_at_length(
    world: World, cut: AsyncConnection[Any], seed: int
) -> None:
    await compare_as_of(world, cut, await world.tell(*random_log(seed, 60)), timeframes=7)


async def test_before_the_first_event_there_is_nothing(world: World) -> None:
    await world.tell(trades([(0, 1, 1)]))
    found = await everything(world.db, world.history, 0, BTC)
    assert found["series 1"].count == 0
    assert found["instruments"] == (0, [])
    assert found["trades Order.ID"] == (0, [])


async def test_a_bar_of_the_past_counts_revisions_by_minutes_that_stayed_as_they_were(world: World) -> None:
    await world.tell(
        trades([(0, 10, 1)]),
        trades([(20, 10, 1)], first_id=2),
        trades([(1, 11, 1)], first_id=3),  # revises the first five minutes, and is never touched again
        trades([(0.5, 12, 1)], first_id=4),
    )
    for position, revision in ((2, 0), (3, 1), (4, 2)):
        found = await world.columns(5, as_of=position)
        assert found["revision"] == [revision, 0]
    assert (await world.columns(5, as_of=3))["close"] == ["11", "10"]


async def test_a_venue_bar_of_the_past_is_what_the_venue_said_then(world: World) -> None:
    for close in (10, 11, 11, 12):
        await world.tell(bars([(5, 10, 13, 9, close, 1)]))
    for timeframe in (1, 5, 60):
        for position, close, revision in ((1, "10", 0), (2, "11", 1), (3, "11", 1), (4, "12", 2)):
            found = await world.columns(timeframe, as_of=position)
            assert (found["close"], found["revision"]) == ([close], [revision])
            assert found["position"] == [min(position, 2) if position < 4 else 4]


async def test_a_position_ahead_of_the_candles_is_not_yet_folded(world: World) -> None:
    await world.tell(trades([(0, 1, 1)]))
    with pytest.raises(NotYetFolded, match="position 2 was asked for, candles have come to 1"):
        await series(world.db, str(BTC), 1, as_of=2, history=world.history)


async def test_columns_are_exact_and_in_order(world: World) -> None:
    await world.tell(
        trades([(0.1, 100.5, 1.25), (0.9, 101, 0.5, -1), (1.5, 99.25, 2)], price_exponent=2),
        WatermarkPassed(**NAMES, time=T0 + MINUTE),
    )
    assert await world.columns() == {
        "start": [T0 // 10**6, T0 // 10**6 + 60_000],
        "open": ["100.5", "99.25"],
        "high": ["101", "99.25"],
        "low": ["100.5", "99.25"],
        "close": ["101", "99.25"],
        "base_volume": ["1.75", "2"],
        "quote_volume": ["176.125", "198.5"],
        "taker_buy_volume": ["1.25", "2"],
        "vwap": ["100.642857142857142857", "99.25"],
        "trade_count": [2, 1],
        "minutes": [1, 1],
        "revision": [0, 0],
        "position": [1, 1],
        "source": [0, 0],
        "closed": [True, False],
        "state": ["TRADED", "TRADED"],
        "coverage": [1.0, 1.0],
        "filled": [False, False],
    }


async def test_both_ways_to_a_series_write_the_same_text(world: World) -> None:
    await world.tell(*random_log(5, 60))
    for timeframe in TIMEFRAMES:
        fast = await series(world.db, str(BTC), timeframe)
        rows = await candle_rows(world.db, str(BTC), timeframe, first=10_000)
        bars_ = [candle.bar for candle in rows[1]]
        async with candle_queries.snapshot(world.db):
            seen = await candle_queries.view(world.db, str(BTC), None)
            slow = await candle_queries._slow_series(world.db, seen, timeframe, bars_, COLUMN_NAMES, None)
        assert fast == slow


async def test_states_tell_quiet_dead_repaired_and_unwatched_apart(world: World) -> None:
    await world.tell(
        trades([(0, 10, 1)]),  # minute 0 is traded, nobody watches 1
        FeedConnected(**NAMES, time=T0 + 2 * MINUTE),
        trades([(3.5, 11, 1)], first_id=2),
        WatermarkPassed(**NAMES, time=T0 + 5 * MINUTE),
        FeedLost(**NAMES, time=T0 + 6 * MINUTE, reason="silence"),
        FeedConnected(**NAMES, time=T0 + 10 * MINUTE),
        GapClosed(**NAMES, start=T0 + 8 * MINUTE, end=T0 + 10 * MINUTE, back_filled=True),
        trades([(8.5, 12, 1), (10.5, 12, 1)], first_id=3, flags=0),
        trades([(10.7, 13, 1)], first_id=9),
        trades([(3.6, 14, 1)], first_id=20),
        WatermarkPassed(**NAMES, time=T0 + 12 * MINUTE),
    )
    found = await world.columns(start=T0, end=T0 + 12 * MINUTE, fill=Fill.EMPTY)
    assert found["state"] == [
        *("TRADED", "UNKNOWN", "QUIET", "REVISED", "QUIET", "QUIET"),
        *("FEED_DOWN", "FEED_DOWN", "BACK_FILLED", "BACK_FILLED", "TRADED", "QUIET"),
    ]
    assert found["coverage"] == [1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1]
    assert found["filled"] == [False, True, True, False, True, True, True, True, False, True, False, True]
    assert found["open"][1] is None
    assert (await world.columns(60))["state"] == ["FEED_DOWN"]


async def test_coverage_counts_watched_minutes_and_traded_ones_outside_them(world: World) -> None:
    await world.tell(
        trades([(0, 1, 1), (1, 1, 1), (11, 1, 1), (20, 1, 1)]),
        FeedConnected(**NAMES, time=T0 + 10 * MINUTE),
        FeedLost(**NAMES, time=T0 + 15 * MINUTE, reason="reset"),
    )
    # Watched 10-15 (one traded inside), traded 0, 1, 20 outside: 8 of 60 minutes.
    assert (await world.columns(60))["coverage"] == [round(8 / 60, 6)]
    assert (await world.columns(5))["coverage"] == [0.4, 1.0, 0.2]


async def test_a_feed_that_died_unheard_proves_nothing_after_its_last_sign(world: World) -> None:
    await world.tell(
        FeedConnected(**NAMES, time=T0),
        trades([(2, 1, 1)]),
        FeedConnected(**NAMES, time=T0 + 6 * MINUTE),
        WatermarkPassed(**NAMES, time=T0 + 8 * MINUTE),
    )
    found = await world.columns(start=T0, end=T0 + 8 * MINUTE, fill=Fill.EMPTY)
    assert found["state"] == ["QUIET", "QUIET", "TRADED", *["UNKNOWN"] * 3, "QUIET", "QUIET"]


async def test_fill_says_so_and_never_reaches_beyond_the_markets_clock(world: World) -> None:
    await world.tell(trades([(0, 10, 1), (3, 14, 1)]), WatermarkPassed(**NAMES, time=T0 + 5 * MINUTE))
    previous = await world.columns(fill=Fill.PREVIOUS)
    assert previous["close"] == ["10", "10", "10", "14", "14"]
    assert previous["base_volume"] == ["1", "0", "0", "1", "0"]
    assert previous["filled"] == [False, True, True, False, True]
    linear = await world.columns(fill=Fill.LINEAR)
    assert linear["close"] == ["10", "11.33", "12.67", "14", None]
    empty = await world.columns(fill=Fill.EMPTY)
    assert empty["close"] == ["10", None, None, "14", None]
    assert await world.columns() == {
        name: [v for v, hole in zip(column, empty["filled"], strict=True) if not hole]
        for name, column in empty.items()
    }


async def test_fill_takes_its_neighbours_from_outside_the_range(world: World) -> None:
    await world.tell(trades([(0, 10, 1), (4, 14, 1)]))
    span = {"start": T0 + MINUTE, "end": T0 + 3 * MINUTE}
    assert (await world.columns(fill=Fill.PREVIOUS, **span))["open"] == ["10", "10"]
    assert (await world.columns(fill=Fill.LINEAR, **span))["open"] == ["11", "12"]
    assert (await world.columns(fill=Fill.PREVIOUS, last=2))["open"] == ["10", "14"]


async def test_range_and_last_choose_bars_by_their_open_time(world: World) -> None:
    await world.tell(trades([(i, 10 + i, 1) for i in range(10)]))
    assert (await world.columns(start=T0 + 2 * MINUTE, end=T0 + 4 * MINUTE))["open"] == ["12", "13"]
    assert (await world.columns(start=T0 + 1, end=T0 + 3 * MINUTE + 1))["open"] == ["11", "12", "13"]
    assert (await world.columns(last=2))["open"] == ["18", "19"]
    assert (await world.columns(last=2, end=T0 + 5 * MINUTE))["open"] == ["13", "14"]
    assert (await world.columns(5, start=T0 + MINUTE))["open"] == ["15"]
    assert (await world.columns(last=0))["open"] == []


async def test_trades_win_over_venue_bars_and_finer_ones_over_larger(world: World) -> None:
    await world.tell(
        bars([(0, 1, 1, 1, 1, 1), (5, 2, 2, 2, 2, 1), (10, 3, 3, 3, 3, 1)], timeframe=5),
        bars([(5, 7, 7, 7, 7, 1)], timeframe=1),
        trades([(11, 100, 1)]),
    )
    found = await world.columns(5)
    assert (found["open"], found["source"]) == (["1", "7", "100"], [5, 1, 0])
    assert found["state"] == ["VENUE_SUPPLIED", "VENUE_SUPPLIED", "TRADED"]
    assert found["coverage"] == [1, 0.2, 0.2]
    assert found["closed"] == [True, True, False]
    assert (await world.columns(5, last=2))["open"] == ["7", "100"]
    assert found["trade_count"] == [None, None, 1]
    assert found["vwap"] == [None, None, "100"]


async def test_a_range_over_the_limit_is_refused_whole(world: World) -> None:
    await world.tell(trades([(i, 10, 1) for i in range(11)]))
    assert len((await world.columns(limit=11))["open"]) == 11
    with pytest.raises(QueryTooLarge, match="more than 10 bars of 1m"):
        await world.columns(limit=10)
    with pytest.raises(QueryTooLarge, match="11 bars were asked for, the limit is 10"):
        await world.columns(last=11, limit=10)
    with pytest.raises(QueryTooLarge, match="holds 11 bars of 1m, the limit is 10"):
        await world.columns(fill=Fill.EMPTY, limit=10)


async def test_recomputing_too_many_trades_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.tell(trades([(0.001 * i, 10, 1) for i in range(100)]), trades([(0.5, 10, 1)], first_id=500))
    monkeypatch.setattr(candle_history, "MAX_TRADES", 99)
    with pytest.raises(QueryTooLarge, match="100 rows would have to be read again, the limit is 99"):
        await world.columns(as_of=1)
    monkeypatch.setattr(candle_history, "MAX_TRADES", 100)
    assert (await world.columns(as_of=1))["trade_count"] == [100]


@pytest.mark.parametrize(
    "wrong", [{"timeframe": 2}, {"columns": ("open", "nonsense")}, {"last": -1}], ids=lambda w: str(w)
)
async def test_questions_without_sense_are_refused(world: World, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"2|nonsense|-1"):
        await series(world.db, str(BTC), **{"timeframe": 1} | wrong)


async def test_only_the_columns_asked_for_are_made(world: World) -> None:
    await world.tell(trades([(0, 1, 1)]))
    found = await series(world.db, str(BTC), 1, columns=("close", "start"))
    assert found.columns == {"close": '["1"]', "start": f"[{T0 // 10**6}]"}
    assert (found.count, found.first_start, found.last_start, found.position) == (1, M0, M0, 1)


async def test_rows_page_without_repeats_or_holes(world: World) -> None:
    await world.tell(trades([(3 * i, 10, 1) for i in range(20)]))
    forward, after = [], None
    while True:
        _, page = await candle_rows(world.db, str(BTC), 1, after=after, first=7)
        if not page:
            break
        forward += [c.bar.start for c in page]
        after = forward[-1]
    assert forward == [M0 + 3 * i for i in range(20)]
    _, back = await candle_rows(world.db, str(BTC), 1, before=forward[10], last=3)
    assert [c.bar.start for c in back] == forward[7:10]


async def test_changes_are_the_bars_touched_or_ended_since(world: World) -> None:
    await world.tell(trades([(0, 10, 1), (1, 11, 1), (2, 12, 1)]))
    model, log = world.model, await world.tell(trades([(5, 15, 1)], first_id=10))
    touched = model.fold(await model.load(world.db), log).touched
    assert touched == {str(BTC): (M0 + 5, M0 + 5)}
    position, changed = await changed_candles(
        world.db, str(BTC), 1, after_position=1, minutes=(M0 + 2, M0 + 5)
    )
    assert position == 2
    assert [(c.bar.start - M0, c.closed) for c in changed] == [(2, True), (5, False)]
    _, five = await changed_candles(world.db, str(BTC), 5, after_position=1, minutes=(M0 + 2, M0 + 5))
    assert [(c.bar.start - M0, c.closed) for c in five] == [(0, True), (5, False)]
    _, none = await changed_candles(world.db, str(BTC), 1, after_position=2, minutes=(M0, M0 + 5))
    assert none == []
    with pytest.raises(QueryTooLarge, match="over 1 bars"):
        await changed_candles(world.db, str(BTC), 1, after_position=1, minutes=(M0 + 2, M0 + 5), limit=1)


async def test_trades_page_in_either_order_and_direction(world: World) -> None:
    r = random.Random(7)
    everything_: list[tuple[int, int, str]] = []
    ident = 1
    for _ in range(30):  # batches that lie over one another in time, as after a repaired gap
        n, base = r.randrange(1, 6), r.randrange(40)
        event = trades([(base + r.randrange(4), 100 + ident + i, 1) for i in range(n)], first_id=ident)
        everything_ += zip(event.columns.time.tolist(), event.columns.id.tolist(), strict=True)  # type: ignore[arg-type]
        ident += n + r.randrange(3)
        await world.tell(event)
    by_time = sorted(everything_)
    by_id = sorted(everything_, key=lambda t: t[1])
    for order, expected, bound in ((Order.TIME, by_time, lambda t: t), (Order.ID, by_id, lambda t: t[1])):
        for newest in (False, True):
            found: list[Any] = []
            while True:
                options: dict[str, Any] = {"last": 4} if newest else {"first": 4}
                if found:
                    edge = found[0] if newest else found[-1]
                    options["before" if newest else "after"] = bound(edge)
                _, page = await trades_page(world.db, world.history, str(BTC), order=order, **options)
                got = [(t.time, t.id) for t in page]
                found = got + found if newest else found + got
                if not page:
                    break
            assert found == expected


async def test_a_page_of_trades_can_begin_at_a_time(world: World) -> None:
    await world.tell(trades([(0, 1, 1), (1, 2.5, 1), (1, 3, 0.5), (2, 4, 1)]))
    at = T0 + MINUTE
    _, page = await trades_page(world.db, world.history, str(BTC), after=(at, -1), first=2)
    assert [(t.time, t.id, t.price, t.size, t.side) for t in page] == [
        (at, 2, "2.5", "1", 1),
        (at, 3, "3", "0.5", 1),
    ]
    _, page = await trades_page(world.db, world.history, str(BTC), before=(at, -1), last=5)
    assert [t.id for t in page] == [1]


async def test_trades_have_limits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueryTooLarge, match="the limit of a page is 10000"):
        await trades_page(world.db, world.history, str(BTC), first=10_001)
    with pytest.raises(ValueError, match="exactly one"):
        await trades_page(world.db, world.history, str(BTC), first=1, last=1)
    with pytest.raises(ValueError, match="does not fit an order by id"):
        await trades_page(world.db, world.history, str(BTC), order=Order.ID, after=(1, 1), first=1)


async def test_instruments_come_in_pages(world: World) -> None:
    await world.tell(
        *(replace(trades([(0, 1, 1)]), instrument=Instrument("test", f"S{i}")) for i in range(5))
    )
    _, one = await instrument_queries.instrument_rows(world.db, first=3)
    _, two = await instrument_queries.instrument_rows(world.db, first=3, after=one[-1].instrument)
    assert [i.instrument for i in (*one, *two)] == [f"test:S{i}" for i in range(5)]
    _, some = await instrument_queries.instrument_rows(world.db, names=["test:S3", "test:nobody"])
    assert [i.instrument for i in some] == ["test:S3"]
    with pytest.raises(QueryTooLarge, match="limit of a page is 1000"):
        await instrument_queries.instrument_rows(world.db, first=1001)
