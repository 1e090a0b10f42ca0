"""The event store against COPY of one row a trade and against the library's own PostgreSQL recorder.

Everything is durable (fsync on), in one PostgreSQL of our own, under uvloop as in production. "Encode
included" means that each side starts from the same columns in memory. Each figure is the median of three
rounds, taken in turn.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import psycopg
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from alphapulse.adapters.database import migrate
from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.files.observe import trade_chunks
from alphapulse.adapters.files.open import open_trades
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market.columns import MAX_ROWS, TradeColumns
from alphapulse.domain.market.events import FeedConnected, TradesObserved
from alphapulse.domain.market.generate import TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.normalise import batches as normalised
from alphapulse.domain.market.normalise import judge
from alphapulse.domain.ports import NewEvent

TRADES, BATCH = 1_000_000, 1_000
COMMIT = 107  # batches of the synthetic tape in one commit of ours: 430 kB
ROUNDS = 3
IN_FLIGHT = 512  # batches handed over and not yet heard of: about five commits
WRITERS, SAVES = 32, 60  # concurrent savers, one-event saves each
SMALL_EVENTS = 20_000
PAGE = 500
PASSES = 5  # times that the log is read through
INSTRUMENT = Instrument("synthetic", "BTC_USD")
BITFLYER = "trades/bitflyer/bitflyer.execution.20180122.BTC_JPY.csv.gz"

ROW = np.dtype(  # a row of COPY BINARY: field count, then length and value of each field
    [("fields", ">i2")]
    + [
        part
        for name, kind, size in (
            ("instrument", ">i4", 4),
            ("time", ">i8", 8),
            ("price", ">i8", 8),
            ("size", ">i8", 8),
            ("side", ">i2", 2),
            ("id", ">i8", 8),
        )
        for part in ((f"{name}_length", ">i4"), (name, kind))
    ]
)
TABLE = (
    "CREATE TABLE trades (instrument int, time bigint, price bigint, size bigint, side smallint, id bigint)"
)


def run() -> Iterator[dict[str, Any]]:
    batches = synthetic(TRADES)
    with server() as database:
        yield from appends(database, batches)
        yield from sizes(batches)
        yield from saves(database)
        yield from reads(database, batches)


# -- claims ---------------------------------------------------------------------------------------


def appends(database: Callable[[], str], batches: Sequence[TradeColumns]) -> Iterator[dict[str, Any]]:
    def ours() -> float:
        return uvloop.run(append_all(database(), batches))

    def copy() -> float:
        return copy_all(database(), batches)

    def library() -> float:
        return library_append_all(database(), batches)

    our_s, copy_s, library_s = in_turn(ours, copy, library)
    rate = len(batches) * BATCH / 1e6
    name = f"durable append of trades, {BATCH:,} a batch, encode included"
    yield faster(name, "binary COPY of rows, no index", rate / our_s, rate / copy_s, "M trades/s", 2.5)
    yield faster(
        name, "eventsourcing's recorder, same batches", rate / our_s, rate / library_s, "M trades/s", 3.0
    )


def sizes(batches: Sequence[TradeColumns]) -> Iterator[dict[str, Any]]:
    yield smaller("stored size of a trade, synthetic tape", bytes_a_trade(batches), 6.5)
    if (real := bitflyer()) is not None:
        yield {**smaller("stored size of a trade, bitFlyer", bytes_a_trade(real), 6.8), "goal": None}


def saves(database: Callable[[], str]) -> Iterator[dict[str, Any]]:
    our_s, their_s = in_turn(lambda: uvloop.run(save_all(database())), lambda: library_save_all(database()))
    total = WRITERS * SAVES
    name = f"{WRITERS} concurrent durable saves of one event"
    yield faster(name, "eventsourcing's recorder", total / our_s, total / their_s, "saves/s", 8.0)


def reads(database: Callable[[], str], batches: Sequence[TradeColumns]) -> Iterator[dict[str, Any]]:
    watermark = FeedConnected(venue="synthetic", symbol="BTC_USD", time=1_700_000_000_000_000_000)
    small = [codec.new_event(f"feed-{i}", 1, watermark) for i in range(SMALL_EVENTS)]
    imported = synthetic(3 * TRADES, MAX_ROWS)
    yield read(f"batches of {MAX_ROWS:,} trades", database(), as_events(imported))
    yield {**read(f"batches of {BATCH:,} trades", database(), as_events(batches)), "goal": None}
    yield {**read("small events", database(), small), "goal": None}


def as_events(batches: Sequence[TradeColumns]) -> Sequence[NewEvent]:
    stream = "trades-synthetic-BTC_USD"
    return [codec.new_event(stream, version, observed(b)) for version, b in enumerate(batches, 1)]


def read(kind: str, url: str, events: Sequence[NewEvent]) -> dict[str, Any]:
    uvloop.run(write_all(url, events))
    datastore, recorder = library_recorder(url)
    for first in range(0, len(events), 5):  # its insert hangs for ever from about 0.5 MB on
        recorder.insert_events(
            [StoredEvent(e.stream, e.version, e.name, e.state) for e in events[first : first + 5]]
        )
    our_s, their_s = in_turn(lambda: uvloop.run(read_all(url)), lambda: library_read_all(recorder))
    datastore.close()
    name = f"log read, {kind}"
    count = len(events) * PASSES
    return faster(name, "eventsourcing's recorder", count / our_s, count / their_s, "events/s", 3.0)


# -- ours -----------------------------------------------------------------------------------------


async def append_all(url: str, batches: Sequence[TradeColumns]) -> float:
    """Seconds to encode and append ``batches``, a bounded number of them under way."""
    async with PostgresEventStore(url) as store:
        await store.append([codec.new_event("warm-up", 1, observed(batches[0]))])
        turn = asyncio.Semaphore(IN_FLIGHT)

        async def append(version: int, columns: TradeColumns) -> None:
            try:
                await store.append([codec.new_event("trades-synthetic-BTC_USD", version, observed(columns))])
            finally:
                turn.release()

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for version, columns in enumerate(batches, 1):
                await turn.acquire()
                group.create_task(append(version, columns))
        return time.perf_counter() - begun


async def write_all(url: str, events: Sequence[NewEvent]) -> None:
    async with PostgresEventStore(url) as store:
        for first in range(0, len(events), 1_000):
            await asyncio.gather(*(store.append([e]) for e in events[first : first + 1_000]))


async def save_all(url: str) -> float:
    async with PostgresEventStore(url) as store:
        event = FeedConnected(venue="synthetic", symbol="BTC_USD", time=1)
        await store.append([codec.new_event("warm-up", 1, event)])

        async def save(writer: int) -> None:
            for version in range(1, SAVES + 1):
                await store.append([codec.new_event(f"feed-{writer}", version, event)])

        return await timed(lambda: asyncio.gather(*(save(w) for w in range(WRITERS))))


async def read_all(url: str) -> float:
    async with PostgresEventStore(url) as store:
        head = await store.head()

        async def read() -> None:
            for _ in range(PASSES):
                after = 0
                while after < head:
                    after = (await store.read(after, limit=PAGE)).scanned_to

        return await timed(read)


# -- theirs ---------------------------------------------------------------------------------------


def copy_all(url: str, batches: Sequence[TradeColumns]) -> float:
    """Seconds to COPY every trade as a row of six numbers, committing as many at a time as we do."""
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        begun = time.perf_counter()
        for first in range(0, len(batches), COMMIT):
            with cursor.copy("COPY trades FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
                for columns in batches[first : first + COMMIT]:
                    copy.write(binary_rows(columns))
                copy.write(b"\xff\xff")
        return time.perf_counter() - begun


def binary_rows(columns: TradeColumns) -> bytes:
    rows = np.empty(len(columns), ROW)
    rows["fields"] = 6
    for name in ("instrument", "time", "price", "size", "side", "id"):
        rows[f"{name}_length"] = ROW[name].itemsize
        rows[name] = 1 if name == "instrument" else getattr(columns, name)
    return rows.tobytes()


def library_append_all(url: str, batches: Sequence[TradeColumns]) -> float:
    datastore, recorder = library_recorder(url)
    begun = time.perf_counter()
    for version, columns in enumerate(batches, 1):
        encoded = codec.encode(observed(columns))
        stored = StoredEvent("trades-synthetic-BTC_USD", version, encoded.name, encoded.state)
        recorder.insert_events([stored])
    seconds = time.perf_counter() - begun
    datastore.close()
    return seconds


def library_save_all(url: str) -> float:
    datastore, recorder = library_recorder(url)
    state = codec.encode(FeedConnected(venue="synthetic", symbol="BTC_USD", time=1)).state

    def save(writer: int) -> None:
        for version in range(1, SAVES + 1):
            recorder.insert_events([StoredEvent(f"feed-{writer}", version, "feed.connected.v1", state)])

    with ThreadPoolExecutor(WRITERS) as pool:
        begun = time.perf_counter()
        list(pool.map(save, range(WRITERS)))
        seconds = time.perf_counter() - begun
    datastore.close()
    return seconds


def library_read_all(recorder: PostgresApplicationRecorder) -> float:
    begun = time.perf_counter()
    for _ in range(PASSES):
        start: int | None = None
        while page := recorder.select_notifications(start, PAGE, inclusive_of_start=False):
            start = page[-1].id
    return time.perf_counter() - begun


def library_recorder(url: str) -> tuple[PostgresDatastore, PostgresApplicationRecorder]:
    """The library's recorder as it comes, with its own table, in the database at ``url``."""
    given = conninfo_to_dict(url)
    datastore = PostgresDatastore(
        dbname=str(given["dbname"]),
        host=parse_qs(urlsplit(url).query)["host"][0],
        port="5432",
        user=str(given["user"]),
        password="",
        originator_id_type="text",
    )
    recorder = PostgresApplicationRecorder(datastore, events_table_name="library_events")
    recorder.create_table()
    return datastore, recorder


# -- what is measured, and how --------------------------------------------------------------------


@contextmanager
def server() -> Iterator[Callable[[], str]]:
    """Gives URLs of fresh migrated databases in a durable PostgreSQL."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="alphapulse-bench-"))
        Path(directory).chmod(0o755)  # PostgreSQL runs as another user when we are root
        postgres = PostgresServer(Path(directory) / "postgres")
        postgres.start()
        stack.callback(postgres.stop)
        migrate(postgres.create_database("template_bench"))
        numbers = iter(range(1_000))
        yield lambda: postgres.create_database(f"bench_{next(numbers)}", "template_bench")


def synthetic(trades: int, batch: int = BATCH) -> Sequence[TradeColumns]:
    chunks = tape(TapeSpec(), np.random.default_rng(1), rows=trades, chunk_rows=batch)
    return [chunk.trades for chunk in chunks]


def bitflyer() -> Sequence[TradeColumns] | None:
    """A day of bitFlyer's BTC_JPY in batches of at most 1,000, where the data folder is at hand."""
    path = Path(os.environ.get("ALPHAPULSE_DATA", "../shared/data")) / BITFLYER
    if not path.exists():
        return None
    judged = [judge(raw, "") for raw in trade_chunks(open_trades(path))]
    whole = [columns for verdict in judged for columns, _ in normalised(verdict.accepted)]
    return [c.take(slice(i, i + BATCH)) for c in whole for i in range(0, len(c), BATCH)]


def observed(columns: TradeColumns) -> TradesObserved:
    return TradesObserved(instrument=INSTRUMENT, columns=columns)


def bytes_a_trade(batches: Sequence[TradeColumns]) -> float:
    return sum(len(codec.encode(observed(b)).state) for b in batches) / sum(map(len, batches))


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


def in_turn(*sides: Callable[[], float]) -> list[float]:
    """The median seconds of each side; the sides take turns, so that a busy moment hits all alike."""
    rounds = [[side() for side in sides] for _ in range(ROUNDS)]
    return [median(seconds) for seconds in zip(*rounds, strict=True)]


def faster(name: str, peer: str, ours: float, theirs: float, unit: str, goal: float) -> dict[str, Any]:
    return {
        "name": name,
        "peer": peer,
        "ours": ours,
        "theirs": theirs,
        "unit": unit,
        "ratio": ours / theirs,
        "goal": goal,
    }


def smaller(name: str, ours: float, limit: float) -> dict[str, Any]:
    ratio = {"ours": ours, "theirs": limit, "unit": "bytes/trade", "ratio": limit / ours, "goal": 1.0}
    return {"name": name, "peer": f"our limit of {limit}", **ratio}
