"""Read models: events a second against the library's ProjectionRunner, and full rebuilds of candles.

Both runners drain the same number of events into one row a stream, exactly once, on one PostgreSQL of
our own with fsync on; ours reads its own log, the library's its own. Rates are of one pass each, over
enough events that starting up does not show.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL
from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market.events import FeedConnected, TradesObserved
from alphapulse.domain.market.generate import TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import NewEvent, Recorded
from alphapulse.processes.project import READ_MODELS, connector
from alphapulse.processes.rebuilding import open_rebuilder
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.read_model import Folded
from alphapulse.projections.runner import Runner
from benchmarks.store import server

OUR_EVENTS, THEIR_EVENTS, STREAMS = 50_000, 2_000, 50
REBUILDS = ((20_000_000, 10_000), (10_000_000, 1_000))  # trades, and how many in a batch
GOAL_TRADES_PER_S = 5e6


def run() -> Iterator[dict[str, Any]]:
    with server() as database:
        ours, theirs = asyncio.run(our_runner(database())), library_runner(database())
        yield {
            "name": "events into a read model, exactly once",
            "peer": "eventsourcing's ProjectionRunner",
            "ours": ours,
            "theirs": theirs,
            "unit": "events/s",
            "ratio": ours / theirs,
            "goal": 10.0,
        }
        for trades, batch in REBUILDS:
            rate = asyncio.run(candle_rebuild(database(), trades, batch))
            yield {
                "name": f"full rebuild of all candle timeframes, {batch:,} trades a batch",
                "peer": "our goal of 5M trades/s",
                "ours": rate / 1e6,
                "theirs": GOAL_TRADES_PER_S / 1e6,
                "unit": "M trades/s",
                "ratio": rate / GOAL_TRADES_PER_S,
                "goal": 1.0,
            }


# -- ours -----------------------------------------------------------------------------------------

counts = Table(
    "counts",
    MetaData(),
    Column("stream", Text, primary_key=True),
    Column("events", BigInteger, nullable=False),
)


class Counts:
    """One row a stream: how many events it has."""

    name, code_version = "counts", 1
    names = frozenset({"feed.connected.v1"})
    tables: Sequence[Table] = (counts,)
    partitioned = commutes = True

    async def load(self, _db: AsyncConnection[Any]) -> None:
        return None

    def fold(self, _state: None, events: Sequence[Recorded]) -> Folded[None, Counter[str]]:
        return Folded(None, Counter(e.stream for e in events), {})

    async def write(self, db: AsyncConnection[Any], changes: Counter[str]) -> None:
        await db.execute(
            "INSERT INTO counts AS c SELECT * FROM unnest(%s::text[], %s::bigint[]) "
            "ON CONFLICT (stream) DO UPDATE SET events = c.events + excluded.events",
            (list(changes), list(changes.values())),
        )


async def our_runner(url: str) -> float:
    """Events a second from the log into ``counts``."""
    connect = connector(url)
    async with PostgresEventStore(url) as store, await connect() as db:
        await db.execute("CREATE TABLE counts (stream text PRIMARY KEY, events bigint NOT NULL)")
        fact = FeedConnected(venue="bench", symbol="S", time=1)
        for version in range(1, OUR_EVENTS // STREAMS + 1):
            await store.append([codec.new_event(f"feed-bench-{n}", version, fact) for n in range(STREAMS)])
        runner = Runner(Counts(), on_postgres(connect), StoreSource(store), codec.decode)
        begun = time.perf_counter()
        task = asyncio.create_task(runner.run())
        await reached(db, "counts", await store.head())
        seconds = time.perf_counter() - begun
        task.cancel()
        row = await (await db.execute("SELECT sum(events), count(*) FROM counts")).fetchone()
        assert row == (OUR_EVENTS, STREAMS), row
        return OUR_EVENTS / seconds


async def reached(db: AsyncConnection[Any], name: str, position: int) -> None:
    query = "SELECT 1 FROM projections WHERE name = %s AND position >= %s"
    async with asyncio.timeout(300):
        while True:
            if (await db.execute(query, (name, position))).rowcount:
                return
            await asyncio.sleep(0.005)


async def candle_rebuild(url: str, trades: int, batch: int) -> float:
    """Trades a second from the log to swapped tables, the comparison with nothing live included."""
    async with PostgresEventStore(url) as store:
        instrument, group = Instrument("bench", "BTC_USD"), list[NewEvent]()
        chunks = tape(TapeSpec(), np.random.default_rng(1), rows=trades, chunk_rows=batch)
        for version, chunk in enumerate(chunks, 1):
            observed = TradesObserved(instrument=instrument, columns=chunk.trades)
            group.append(codec.new_event(instrument.stream("trades"), version, observed))
            if sum(len(e.state) for e in group) > 300_000:
                await store.append(group)
                group = []
        if group:
            await store.append(group)
    async with open_rebuilder(url, READ_MODELS["candles"]) as rebuilder:
        begun = time.perf_counter()
        await rebuilder.rebuild()
        seconds = time.perf_counter() - begun
    with psycopg.connect(url) as db:
        row = db.execute("SELECT sum(trade_count) FROM candles WHERE timeframe = 1").fetchone()
        assert row == (trades,), row
    return trades / seconds


# -- theirs ---------------------------------------------------------------------------------------


class Feed(Aggregate):
    @event("Connected")
    def connect(self, time: int) -> None:
        self.time = time


class LibraryCounts(PostgresTrackingRecorder):
    """The library's way: a tracking recorder with a method that changes rows and tracking together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS library_counts (stream text PRIMARY KEY, events bigint NOT NULL)")
        )

    def count(self, stream: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO library_counts AS c VALUES (%s, 1) "
                "ON CONFLICT (stream) DO UPDATE SET events = c.events + 1",
                (stream,),
            )


class LibraryProjection(Projection[LibraryCounts]):
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.count(str(domain_event.originator_id), tracking)


def library_runner(url: str) -> float:
    """Events a second through ProjectionRunner, from its own log."""
    given = conninfo_to_dict(url)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(given["dbname"]),
        "POSTGRES_HOST": parse_qs(urlsplit(url).query)["host"][0],
        "POSTGRES_PORT": "5432",
        "POSTGRES_USER": str(given["user"]),
        "POSTGRES_PASSWORD": "",
        "POSTGRES_SCHEMA": "library",
    }
    with psycopg.connect(url) as db:
        db.execute("CREATE SCHEMA library")
    app = Application(env)
    for _ in range(STREAMS):
        feed = Feed()
        for time_ in range(THEIR_EVENTS // STREAMS - 1):
            feed.connect(time_)
        last = app.save(feed)[-1].notification.id
    app.close()
    with ProjectionRunner(
        application_class=Application, projection_class=LibraryProjection, view_class=LibraryCounts, env=env
    ) as runner:
        begun = time.perf_counter()
        runner.wait(last, timeout=300)
        seconds = time.perf_counter() - begun
    return THEIR_EVENTS / seconds
