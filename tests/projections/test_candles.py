"""The candle read model on a real PostgreSQL: rows are a function of the log, whatever the batches."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.ports import Recorded
from alphapulse.projections import candles as candles_module
from alphapulse.projections.candles import DIRECT_MINUTES, Candles
from tests.candle_oracle import MINUTE, TIMEFRAMES, bars_of
from tests.projections.market_log import BTC, ETH, T0, bars, play, recorded, rows, texts, trades


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


TABLES = ("candles", "market_evidence", "instruments", "trade_blocks")


async def snapshot(db: AsyncConnection[Any]) -> dict[str, list[str]]:
    return {table: await texts(db, table) for table in TABLES}


async def clear(db: AsyncConnection[Any]) -> None:
    await db.execute(f"TRUNCATE {', '.join(TABLES)}")  # type: ignore[arg-type]


def random_log(seed: int, events: int = 40) -> list[Any]:
    """Two instruments: trades in and out of order, other exponents, long gaps, feed facts, venue bars."""
    r = random.Random(seed)
    made: list[Any] = []
    clock, ident = 0.0, 1
    for _ in range(events):
        clock += r.choice([0.1, 0.5, 1, 3, 200, 1500])
        kind = r.randrange(12)
        instrument = r.choice([BTC, BTC, ETH])
        at = T0 + round(clock * MINUTE)
        names = {"venue": instrument.venue, "symbol": instrument.symbol}
        if kind == 0:
            made.append(WatermarkPassed(**names, time=at))
        elif kind == 1:
            made.append(FeedConnected(**names, time=at))
        elif kind == 2:
            made.append(FeedLost(**names, time=at, reason="silence"))
        elif kind == 3:
            start = at - round(r.random() * 30) * MINUTE
            made.append(GapClosed(**names, start=start, end=at, back_filled=r.random() < 0.5))
        elif kind == 4:
            timeframe = r.choice([1, 5, 60])
            first = int(clock) // timeframe * timeframe
            price = r.randrange(90, 110)
            made.append(
                bars(
                    [
                        (first + i * timeframe, price, price + 3, price - 2, price + r.randrange(2), 5)
                        for i in range(8)
                    ],
                    timeframe=timeframe,
                    instrument=instrument,
                    volume_unit=r.choice(["base", "quote", "contracts"]),
                    trade_count=r.choice([-1, 4]),
                )
            )
        else:
            n = r.choice([1, 2, 5, 30, 120])
            spread = r.choice([0.5, 3, 100, n])
            late = r.choice([0, 0, 0, 5, 2000])
            made.append(
                trades(
                    [
                        (
                            max(0, clock - late + r.random() * spread),
                            r.randrange(9000, 11000) / 100,
                            r.randrange(1, 100000) / 10000,
                            r.choice([1, -1, 0]),
                        )
                        for _ in range(n)
                    ],
                    first_id=ident,
                    instrument=instrument,
                    price_exponent=r.choice([2, 2, 3]),
                    size_exponent=r.choice([4, 4, 6]),
                    flags=r.choice([0, 0, 1, 2]),
                )
            )
            ident += n
    return made


def oracle(log: Sequence[Recorded], instrument: Any) -> dict[tuple[int, int], dict[str, object]]:
    mine: list[tuple[int, TradeColumns | int]] = []
    for event in log:
        if isinstance(event.event, TradesObserved) and event.event.instrument == instrument:
            mine.append((event.position, event.event.columns))
        elif isinstance(event.event, WatermarkPassed) and event.event.symbol == instrument.symbol:
            mine.append((event.position, event.event.time))
    return bars_of(mine)


def by_key(found: Sequence[dict[str, Any]], instrument: Any) -> dict[tuple[int, int], dict[str, object]]:
    key = ("instrument", "timeframe", "source", "start")
    return {
        (row["timeframe"], int(row["start"].timestamp()) // 60): {
            n: v for n, v in row.items() if n not in key
        }
        for row in found
        if row["instrument"] == str(instrument) and row["source"] == 0
    }


@pytest.mark.parametrize("seed", range(6))
async def test_rows_are_those_of_the_book(db: AsyncConnection[Any], seed: int) -> None:
    log = recorded(random_log(seed))
    await play(db, log, batch=random.Random(seed).choice([1, 3, 1000]), reload=False)
    found = await rows(db, "candles")
    for instrument in (BTC, ETH):
        assert by_key(found, instrument) == oracle(log, instrument)


@pytest.mark.parametrize("seed", range(6))
async def test_rows_do_not_depend_on_batches_restarts_or_the_way_they_take(
    db: AsyncConnection[Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = recorded(random_log(seed, 60))
    await play(db, log, batch=1000)
    whole = await snapshot(db)
    assert len(whole["candles"]) > 100
    r = random.Random(seed)
    for _ in range(3):
        await clear(db)
        monkeypatch.setattr(candles_module, "INLINE_BARS", r.choice([0, 20, 10**6]))
        monkeypatch.setattr(candles_module, "DIRECT_MINUTES", r.choice([1, 64, 10**6]))
        sizes = [r.choice([1, 2, 7, 30]) for _ in log]
        await play(db, log, batch=sizes, reload=r.random() < 0.5)
        assert await snapshot(db) == whole


async def test_carried_state_is_what_load_reads(db: AsyncConnection[Any]) -> None:
    model, log = Candles(), recorded(random_log(3))
    folded = model.fold({}, log)
    async with db.transaction():
        await model.write(db, folded.changes)
    assert await model.load(db) == folded.state


async def test_fold_leaves_the_state_it_was_given_alone() -> None:
    model, log = Candles(), recorded(random_log(4))
    state = model.fold({}, log[:20]).state
    before = dict(state)
    model.fold(state, log[20:])
    assert state == before


async def test_new_minutes_are_copied_and_the_open_bar_is_merged(db: AsyncConnection[Any]) -> None:
    n = DIRECT_MINUTES + 10
    first = trades([(0.2, 100, 1), (1.2, 101, 1)])
    second = trades([(1.5 + i, 102 + i, 1) for i in range(n)], first_id=3)
    log = recorded([first, second])
    folded = Candles().fold(Candles().fold({}, log[:1]).state, log[1:])
    (round_,) = folded.changes.rounds
    assert len(round_.fresh) == 4  # tables of new bars, up to 1h
    assert len(round_.inline[0]) == 7  # the open bar of each timeframe
    await play(db, log, batch=1)
    assert by_key(await rows(db, "candles"), BTC) == oracle(log, BTC)


async def test_exponents_too_far_apart_meet_in_the_database(db: AsyncConnection[Any]) -> None:
    coarse = trades([(0, 9 * 10**17, 1)], price_exponent=0)
    fine = trades([(0.5, 3e-18, 2)], first_id=2, price_exponent=18)
    log = recorded([coarse, fine, trades([(0.7, 7, 1)], first_id=3, price_exponent=0)])
    await play(db, log)
    found = by_key(await rows(db, "candles"), BTC)
    assert found == oracle(log, BTC)
    assert found[1, T0 // MINUTE]["low"] == Decimal("3E-18")


async def test_equal_values_are_equal_text_whatever_their_exponents(db: AsyncConnection[Any]) -> None:
    await play(
        db,
        recorded(
            [
                trades([(0, 1.5, 2.5)], price_exponent=2),
                trades([(0.1, 1.5, 0.5)], first_id=2, size_exponent=8),
            ]
        ),
    )
    cursor = await db.execute(
        "SELECT open::text, close::text, base_volume::text, quote_volume::text FROM candles"
    )
    assert set(await cursor.fetchall()) == {("1.5", "1.5", "3", "4.5")}


MANTISSAS = [0, 1, 10, 9999, 10_000, 12_345_678, 100_000_000, 2**63 - 1, -5, -(2**62)]


@pytest.mark.parametrize("exponent", [0, 1, 3, 4, 5, 8, 18])
async def test_prices_arrive_exactly(db: AsyncConnection[Any], exponent: int) -> None:
    event = trades([(i, 0, 0.0001) for i in range(len(MANTISSAS))], price_exponent=exponent)
    event.columns.price[:] = MANTISSAS
    await play(db, recorded([event]))
    cursor = await db.execute(
        "SELECT open, high, open::text = trim_scale(open)::text, quote_volume FROM candles "
        "WHERE timeframe = 1 ORDER BY start"
    )
    exact = [Decimal(m).scaleb(-exponent) for m in MANTISSAS]
    assert await cursor.fetchall() == [(p, p, True, p * Decimal("0.0001")) for p in exact]


async def test_minutes_count_distinct_traded_minutes(db: AsyncConnection[Any]) -> None:
    log = recorded(
        [
            trades([(0, 1, 1), (0.5, 1, 1), (3, 1, 1)]),
            trades([(3.5, 1, 1), (2, 1, 1), (7, 1, 1)], first_id=10),
            trades([(2.5, 1, 1)], first_id=20),
        ]
    )
    await play(db, log, batch=1)
    found = by_key(await rows(db, "candles"), BTC)
    minute = T0 // MINUTE
    assert [found[t, minute]["minutes"] for t in TIMEFRAMES] == [1, 3, 4, 4, 4, 4, 4]


async def test_instruments_say_what_is_known_of_each(db: AsyncConnection[Any]) -> None:
    await play(
        db,
        recorded(
            [
                trades([(5, 100, 1), (6, 101, 1)], price_exponent=2),
                trades([(1, 100, 1)], first_id=9, price_exponent=3),
                WatermarkPassed(venue="test", symbol="BTC_USD", time=T0 + 8 * MINUTE),
                bars([(0, 1, 1, 1, 1, 1)], timeframe=5),
                FeedConnected(venue="test", symbol="ETH_USD", time=T0),
            ]
        ),
        batch=2,
    )
    btc, eth = await rows(db, "instruments")
    assert btc == {
        "instrument": "test:BTC_USD",
        "venue": "test",
        "symbol": "BTC_USD",
        "price_exponent": 3,
        "size_exponent": 4,
        "trade_count": 3,
        "first_time": T0 + MINUTE,
        "last_time": T0 + 6 * MINUTE,
        "high_water": T0 + 8 * MINUTE,
        "max_time_span": MINUTE,
        "max_id_span": 1,
        "sources": "0,5",
        "position": 4,
    }
    assert (eth["high_water"], eth["trade_count"], eth["sources"], eth["position"]) == (None, 0, "", 5)


async def test_evidence_and_blocks_keep_the_high_water_before_each_event(db: AsyncConnection[Any]) -> None:
    names = {"venue": "test", "symbol": "BTC_USD"}
    await play(
        db,
        recorded(
            [
                FeedConnected(**names, time=T0),
                trades([(4, 1, 1), (2, 1, 1)]),
                FeedLost(**names, time=T0 + 5 * MINUTE, reason="silence"),
                trades([(1, 1, 1)], first_id=7),
                GapClosed(**names, start=T0 + 5 * MINUTE, end=T0 + 6 * MINUTE, back_filled=True),
            ]
        ),
    )
    evidence = [
        (r["kind"], r["start"] - T0, r["end"] and r["end"] - T0, r["high_water"])
        for r in await rows(db, "market_evidence")
    ]
    assert evidence == [
        ("connected", 0, None, 0),
        ("lost", 5 * MINUTE, None, T0 + 4 * MINUTE),
        ("back_filled", 5 * MINUTE, 6 * MINUTE, T0 + 4 * MINUTE),
    ]
    blocks = [
        (
            r["position"],
            r["version"],
            r["rows"],
            r["time_lo"] - T0,
            r["time_hi"] - T0,
            r["id_lo"],
            r["id_hi"],
            r["high_water"],
        )
        for r in await rows(db, "trade_blocks")
    ]
    assert blocks == [
        (2, 1, 2, 2 * MINUTE, 4 * MINUTE, 1, 2, 0),
        (4, 2, 1, MINUTE, MINUTE, 7, 7, T0 + 4 * MINUTE),
    ]


async def test_venue_bars_roll_up_and_a_revised_one_takes_its_old_values_back(
    db: AsyncConnection[Any],
) -> None:
    say = [(i, 10 + i, 12 + i, 9 + i, 11 + i, 1.5) for i in range(6)]
    await play(db, recorded([bars(say, trade_count=3), bars([(1, 11, 50, 10, 12, 2)], trade_count=4)]))
    found = {
        (r["timeframe"], int(r["start"].timestamp()) // 60 - T0 // MINUTE): r
        for r in await rows(db, "candles")
    }
    five = found[5, 0]
    assert (five["source"], five["open"], five["high"], five["low"], five["close"]) == (1, 10, 50, 9, 15)
    assert (five["base_volume"], five["quote_volume"], five["trade_count"], five["minutes"]) == (
        8,
        None,
        16,
        5,
    )
    assert (five["revision"], five["position"]) == (1, 2)
    assert (found[1, 1]["revision"], found[1, 1]["high"], found[1, 0]["revision"]) == (1, 50, 0)
    assert {t for t, _ in found} == set(TIMEFRAMES)
    assert found[10080, 0]["minutes"] == 6


async def test_a_venue_bar_said_again_changes_nothing(db: AsyncConnection[Any]) -> None:
    say = [(0, 10, 12, 9, 11, 1.5), (5, 11, 12, 9, 11, 0.5)]
    await play(db, recorded([bars(say, timeframe=5)]))
    before = await texts(db, "candles")
    await play(db, recorded([bars(say, timeframe=5, exponent=4)], first_position=2))
    assert await texts(db, "candles") == before


async def test_of_a_bar_that_stands_twice_in_one_event_the_last_counts(db: AsyncConnection[Any]) -> None:
    await play(db, recorded([bars([(0, 1, 1, 1, 1, 1), (0, 2, 2, 2, 2, 2)])]))
    assert {r["open"] for r in await rows(db, "candles")} == {Decimal(2)}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (bars([(1, 1, 1, 1, 1, 1)], timeframe=5), "no bar of 5 minutes begins at"),
        (bars([(0, 1, 1, 1, 1, 1)], timeframe=30), "bars of 30 minutes"),
    ],
)
def test_bars_off_the_grid_are_poison(event: BarsObserved, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Candles().fold({}, recorded([event]))


def test_touched_names_the_minutes_a_reader_must_look_at() -> None:
    model, minute = Candles(), T0 // MINUTE
    first = model.fold({}, recorded([trades([(3, 1, 1), (2, 1, 1)])]))
    assert first.touched == {"test:BTC_USD": (minute + 2, minute + 3)}
    # The bar of minute 3 ends when the trade in minute 9 comes: both are news.
    second = model.fold(first.state, recorded([trades([(9, 1, 1)])], first_position=2))
    assert second.touched == {"test:BTC_USD": (minute + 3, minute + 9)}
    late = model.fold(second.state, recorded([trades([(1, 1, 1)])], first_position=3))
    assert late.touched == {"test:BTC_USD": (minute + 1, minute + 1)}


async def test_weeks_begin_on_monday_in_the_table_too(db: AsyncConnection[Any]) -> None:
    await play(db, recorded([trades([(-1, 1, 1), (0, 1, 1)])]))
    cursor = await db.execute("SELECT start FROM candles WHERE timeframe = 10080 ORDER BY start")
    starts = [row[0] for row in await cursor.fetchall()]
    assert [s.isoweekday() for s in starts] == [1, 1]
    assert starts[1] == datetime.fromtimestamp(T0 // 10**9, UTC)


async def test_five_thousand_bars_take_the_same_way(db: AsyncConnection[Any]) -> None:
    log = recorded(
        [
            trades([(i * 2 + 0.1 * j, 100 + i % 7, 1) for i in range(5000)], first_id=j * 5000)
            for j in range(2)
        ]
    )
    await play(db, log, batch=1)
    found = by_key(await rows(db, "candles"), BTC)
    assert found == oracle(log, BTC)
    assert sum(1 for t, _ in found if t == 1) == 5000
