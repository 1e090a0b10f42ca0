"""Real trades, from the venue's file to the rows of the candles, against bars made from the raw file.

Nothing of ours touches the expected side: csv, Decimal and the rules of docs/candles.md.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.processes.importing import import_trades
from alphapulse.projections.candles import Candles
from tests.market_data import data_file

FIELDS = (
    *("open", "high", "low", "close", "base_volume", "quote_volume", "taker_buy_volume", "trade_count"),
    *("open_time", "open_id", "close_time", "close_id", "minutes", "flags"),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RECEIVED = 1  # the flag of a trade whose time is that of its receipt


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


def stamp(text: str) -> int:
    """ISO text with an offset to nanoseconds, in whole microseconds and without a float."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1) * 1000


def raw_trades(paths: Sequence[Path]) -> Iterator[tuple[int, int, Decimal, Decimal, str, int]]:
    """(time, id, price, size, side, flags) of each id once."""
    seen: set[int] = set()
    for path in paths:
        with gzip.open(path, "rt", newline="") as file:
            for row in csv.DictReader(file):
                ident = int(row["id"])
                if ident not in seen:
                    seen.add(ident)
                    time = stamp(row["exec_date"] or row["loaded"])
                    flags = 0 if row["exec_date"] else RECEIVED
                    yield time, ident, Decimal(row["price"]), Decimal(row["size"]), row["side"], flags


def bar_open(time: int, minutes: int) -> datetime:
    moment = EPOCH + timedelta(seconds=time // 10**9)
    if minutes == 10_080:
        moment -= timedelta(days=moment.weekday())
    day = moment.replace(hour=0, minute=0, second=0)
    if minutes >= 1440:
        return day
    return day + (moment - day) // timedelta(minutes=minutes) * timedelta(minutes=minutes)


def expected_bars(paths: Sequence[Path]) -> dict[tuple[int, datetime], tuple[object, ...]]:
    groups: dict[tuple[int, datetime], list[tuple[int, int, Decimal, Decimal, str, int]]] = defaultdict(list)
    for trade in raw_trades(paths):
        for minutes in (1, 5, 15, 60, 240, 1440, 10_080):
            groups[minutes, bar_open(trade[0], minutes)].append(trade)
    return {key: bar(sorted(trades)) for key, trades in groups.items()}


def bar(trades: Sequence[tuple[int, int, Decimal, Decimal, str, int]]) -> tuple[object, ...]:
    first, last, prices = trades[0], trades[-1], [t[2] for t in trades]
    flags = RECEIVED if any(t[5] for t in trades) else 0
    return (
        *(first[2], max(prices), min(prices), last[2]),
        sum(t[3] for t in trades),
        sum(t[2] * t[3] for t in trades),
        sum((t[3] for t in trades if t[4] == "BUY"), Decimal(0)),
        *(len(trades), first[0], first[1], last[0], last[1]),
        len({t[0] // (60 * 10**9) for t in trades}),
        flags,
    )


async def bars_in_database(
    db: AsyncConnection[Any], paths: Sequence[Path]
) -> dict[tuple[int, datetime], tuple[object, ...]]:
    """Import ``paths``, fold the log in batches of 50 events, read the rows."""
    store, model = MemoryEventStore(), Candles()
    for path in paths:
        assert (await import_trades(path, store)).refused == 0
    state, after = await model.load(db), 0
    while (page := await store.read(after, limit=50)).records:
        events = [codec.decode(r) for r in page.records if r.name in model.names]
        after = page.scanned_to
        if events:
            folded = model.fold(state, events)
            async with db.transaction():
                await model.write(db, folded.changes)
            state = folded.state
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT * FROM candles")
        return {
            (row["timeframe"], row["start"]): tuple(row[name] for name in FIELDS)
            for row in await cursor.fetchall()
        }


def bitflyer(day: int, symbol: str = "BTC_JPY") -> Path:
    return data_file(f"trades/bitflyer/bitflyer.execution.201801{day}.{symbol}.csv.gz")


async def compare(db: AsyncConnection[Any], paths: Sequence[Path]) -> int:
    found, expected = await bars_in_database(db, paths), expected_bars(paths)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == row, f"{dict(zip(FIELDS, row, strict=True))} expected of {key}"
    return len(found)


async def test_candles_of_a_day_equal_those_made_from_the_raw_file(db: AsyncConnection[Any]) -> None:
    assert await compare(db, [bitflyer(27)]) > 1_500


async def test_candles_of_polls_that_repeat_each_other_equal_those_of_each_id_once(
    db: AsyncConnection[Any],
) -> None:
    assert await compare(db, [bitflyer(28, "ETH_BTC")]) > 1_000


@pytest.mark.long
@pytest.mark.slice
async def test_candles_of_all_days_equal_those_made_from_the_raw_files(db: AsyncConnection[Any]) -> None:
    assert await compare(db, [bitflyer(day) for day in range(21, 29)]) > 14_000


@pytest.mark.long
async def test_days_imported_backwards_end_in_the_same_candles(db: AsyncConnection[Any]) -> None:
    assert await compare(db, [bitflyer(day) for day in (28, 26, 27)]) > 5_000
