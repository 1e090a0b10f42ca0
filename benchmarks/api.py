"""The API against a plain endpoint on the same table, and how long an event takes to a subscriber.

Each server runs in a process of its own under the same uvicorn; the two are asked in turn. The latency
is that of the whole stack (PostgreSQL and NATS durable, relay, projector, API, each a process) from the
call of ``append`` to the message in a subscriber's hands; its distribution is drawn to docs/.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import orjson
import websockets
from numpy.typing import NDArray
from websockets.typing import Subprotocol

from alphapulse.adapters.database import connection_info, migrate
from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.events import TradesObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import MINUTE_NS

ROOT = Path(__file__).parent.parent
PLOT = ROOT / "docs" / "append-to-subscriber.png"

BARS = 10_000
REQUESTS, ROUNDS, CONNECTIONS = 40, 5, 4
BENCHED = Instrument("bench", "BTC_USD")
COLUMNS = ("start", "open", "high", "low", "close", "base_volume")
QUERY = """query { candles(instrument: "bench:BTC_USD", timeframe: M1, last: 10000) {
  start open high low close baseVolume } }"""

RATE, SECONDS, WARM_UP_S = 1_000, 20, 5  # events a second
MARKETS = 10  # instruments that share the rate
PROTOCOL = Subprotocol("graphql-transport-ws")


def run() -> Iterator[dict[str, Any]]:
    yield from series()
    yield from latency()


# -- a series of candles ------------------------------------------------------------------------------


def series() -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        url = stack.enter_context(_database())
        asyncio.run(_fill(url))
        ours = stack.enter_context(_serving("ours", url))
        plain = stack.enter_context(_serving("plain", url))
        payload = orjson.dumps({"query": QUERY})
        asked = (
            (ours, b"POST", b"/graphql", payload),
            (plain, b"GET", b"/candles?last=10000", b""),
        )
        answers = [asyncio.run(_load(*each, requests=3)) for each in asked]
        _agree(*(body for _, body in answers))
        rates: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for rate, each in zip(rates, asked, strict=True):
                rate.append(asyncio.run(_load(*each, requests=REQUESTS))[0])
        our_rate, their_rate = (median(rate) for rate in rates)
        yield {
            "name": f"candles of {BARS:,} bars, 6 columns",
            "peer": "plain Starlette + psycopg + orjson",
            "ours": our_rate,
            "theirs": their_rate,
            "unit": "requests/s",
            "ratio": our_rate / their_rate,
            "goal": 0.5,
        }


def _agree(ours: bytes, plain: bytes) -> None:
    """Both servers must have answered with the same bars."""
    got = orjson.loads(ours)["data"]["candles"]
    expected = orjson.loads(plain)
    assert len(expected["start"]) == BARS
    assert got["start"] == expected["start"]
    for name in ("open", "high", "low", "close"):
        assert [float(v) for v in got[name]] == [float(v) for v in expected[name]], name


@contextmanager
def _database() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="alphapulse-bench-") as directory:
        Path(directory).chmod(0o755)
        server = PostgresServer(Path(directory) / "postgres")
        server.start()
        try:
            url = server.create_database("bench")
            migrate(url)
            yield url
        finally:
            server.stop()


async def _fill(url: str) -> None:
    """A candle in each of ``BARS`` minutes, of about four trades, folded as in production."""
    from alphapulse.processes.project import from_store, run_project

    async with PostgresEventStore(url) as store:
        position = 0
        for version, columns in enumerate(_tape(4 * BARS), start=1):
            event = TradesObserved(instrument=BENCHED, columns=columns)
            (record,) = await store.append([codec.new_event(BENCHED.stream("trades"), version, event)])
            position = record.position
        stop = asyncio.Event()
        projecting = asyncio.create_task(run_project(url, from_store, stop))
        while await _folded(url) < position:  # noqa: ASYNC110  nobody tells us
            await asyncio.sleep(0.1)
        stop.set()
        await projecting
    import psycopg

    async with await psycopg.AsyncConnection.connect(connection_info(url, role=None), autocommit=True) as db:
        await db.execute("VACUUM ANALYZE candles")


async def _folded(url: str) -> int:
    import psycopg

    from alphapulse.projections.candle_changes import moment

    async with await psycopg.AsyncConnection.connect(connection_info(url, role=None)) as db:
        return (await moment(db)).position


def _tape(count: int) -> Iterator[TradeColumns]:
    rng = np.random.default_rng(7)
    start = 1_700_000_040 * 10**9  # a whole minute
    time_ns = start + np.arange(count, dtype=np.int64) * (MINUTE_NS // 4)
    price = 4_000_000 + np.cumsum(rng.integers(-9, 10, count))
    for first in range(0, count, 10_000):
        rows = slice(first, first + 10_000)
        n = len(time_ns[rows])
        yield TradeColumns(
            time=time_ns[rows],
            price=price[rows],
            size=rng.integers(1, 100_000, n),
            side=rng.choice(np.array([1, -1], dtype=np.int8), n),
            id=np.arange(first + 1, first + 1 + n, dtype=np.int64),
            flags=np.zeros(n, dtype=np.uint8),
            price_exponent=2,
            size_exponent=4,
        )


@contextmanager
def _serving(kind: str, url: str) -> Iterator[int]:
    """One of the two servers in a process of its own; gives its port."""
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.api", kind, url, str(port)], cwd=ROOT)
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, within_s: float = 60) -> None:
    until = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


async def _load(port: int, method: bytes, path: bytes, body: bytes, *, requests: int) -> tuple[float, bytes]:
    """Requests a second over ``CONNECTIONS`` connections that stay open, and the last answer."""
    left = iter(range(requests))
    answers: list[bytes] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        head = (
            b"%s %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        for _ in left:
            writer.write(head % (method, path, len(body)) + body)
            answer_head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b" 200 " in answer_head, answer_head
            length = int(answer_head.partition(b"content-length: ")[2].split()[0])
            answers[:] = [await reader.readexactly(length)]
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return requests / (time.perf_counter() - begun), answers[0]


def _serve_ours(url: str, port: int) -> None:
    from alphapulse.processes.api import ApiOptions, run_api

    async def main() -> None:
        await run_api(url, "127.0.0.1", port, ApiOptions(rate_cost_per_s=0), _stop_on_sigterm())

    _run(main)


def _serve_plain(url: str, port: int) -> None:
    """What somebody would write by hand: rows to columns, columns to JSON."""
    from psycopg_pool import AsyncConnectionPool
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from alphapulse.graphql.limits import Limits
    from alphapulse.processes.serve import listen, serve

    query = """
        SELECT * FROM (
            SELECT (extract(epoch FROM start) * 1000)::bigint AS start, open::text, high::text, low::text,
                close::text, base_volume::text
            FROM candles WHERE instrument = 'bench:BTC_USD' AND timeframe = 1 AND source = 0
            ORDER BY start DESC LIMIT %s
        ) newest ORDER BY start"""

    async def main() -> None:
        pool = AsyncConnectionPool(connection_info(url, role=None), min_size=4, max_size=8, open=False)
        await pool.open()

        async def candles(request: Request) -> Response:
            async with pool.connection() as db:
                rows = await (await db.execute(query, (int(request.query_params["last"]),))).fetchall()
            columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
            return Response(orjson.dumps(columns), media_type="application/json")

        app = Starlette(routes=[Route("/candles", candles)])
        with listen("127.0.0.1", port) as listening:
            await serve(app, listening, Limits(), _stop_on_sigterm())
        await pool.close()

    _run(main)


def _stop_on_sigterm() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def _run(main: Callable[[], Any]) -> None:
    import uvloop

    uvloop.run(main())


# -- from append to subscriber ------------------------------------------------------------------------


def latency() -> Iterator[dict[str, Any]]:
    with _stack() as running:
        found = asyncio.run(_measure(running["database_url"], running["graphql"].replace("http", "ws", 1)))
    _draw(found)
    for kind, times in found.items():
        for percent, goal_ms in ((50, 15), (99, 100)):
            ms = float(np.percentile(times, percent))
            yield {
                "name": f"append to GraphQL subscriber of {kind}, {RATE:,} events/s, p{percent}",
                "peer": "goal",
                "ours": ms,
                "theirs": goal_ms,
                "unit": "ms",
                "ratio": goal_ms / ms,
                "goal": 1.0,
            }


@contextmanager
def _stack() -> Iterator[dict[str, Any]]:
    """``alphapulse up`` on a directory of its own; gives what it prints."""
    with tempfile.TemporaryDirectory(prefix="alphapulse-bench-") as directory:
        Path(directory).chmod(0o755)
        command = [sys.executable, "-m", "alphapulse", "up", "--json", "--port", "0", "--data-dir"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALPHAPULSE_")}
        process = subprocess.Popen(
            [*command, f"{directory}/data"], cwd=ROOT, stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            process.stdout.close()


async def _measure(database_url: str, graphql: str) -> dict[str, NDArray[np.float64]]:
    """Milliseconds from append to message of each event, for subscribers of candles and of the log."""
    sent: dict[int, float] = {}  # by position
    heard: dict[str, list[tuple[int, float]]] = {}
    async with PostgresEventStore(database_url) as store, contextlib.AsyncExitStack() as stack:
        for market in range(MARKETS):
            query = (
                f'subscription {{ candles(instrument: "bench:M{market}", timeframe: M1) '
                "{ previous position candles { start open high low close baseVolume state } } }"
            )
            listener = _listen(graphql, query, "candles")
            heard[f"M{market}"] = await stack.enter_async_context(listener)
        query = "subscription { log { previous position events { position stream name recordedAt } } }"
        heard["log"] = await stack.enter_async_context(_listen(graphql, query, "log"))
        positions = await _append_at_rate(store, sent)
        await asyncio.sleep(2)
    candles = [_waits(sent, positions[f"M{m}"], heard[f"M{m}"]) for m in range(MARKETS)]
    everything = sorted(position for each in positions.values() for position in each)
    return {"candles": np.concatenate(candles), "log": _waits(sent, everything, heard["log"])}


async def _append_at_rate(store: PostgresEventStore, sent: dict[int, float]) -> dict[str, list[int]]:
    """One event of one trade at a time, ``RATE`` a second; the positions of each market past the warm-up."""
    rng = np.random.default_rng(1)
    positions: dict[str, list[int]] = {f"M{m}": [] for m in range(MARKETS)}
    versions = dict.fromkeys(positions, 0)
    under_way: set[asyncio.Task[None]] = set()
    begun = time.perf_counter()

    async def append(name: str, version: int, counted: bool) -> None:
        instrument = Instrument("bench", name)
        event = TradesObserved(instrument=instrument, columns=_trade(rng, version))
        new = codec.new_event(instrument.stream("trades"), version, event)
        at = time.perf_counter()
        (record,) = await store.append([new])
        if counted:
            sent[record.position] = at
            positions[name].append(record.position)

    for number in range(RATE * (WARM_UP_S + SECONDS)):
        due = begun + number / RATE
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        name = f"M{number % MARKETS}"
        versions[name] += 1
        task = asyncio.create_task(append(name, versions[name], number >= RATE * WARM_UP_S))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    took = time.perf_counter() - begun
    assert took < 1.1 * (WARM_UP_S + SECONDS), f"the appender held {RATE} events/s for {took:.1f} s only"
    return {name: sorted(each) for name, each in positions.items()}


def _trade(rng: np.random.Generator, ident: int) -> TradeColumns:
    return TradeColumns(
        time=np.array([time.time_ns()], dtype=np.int64),
        price=np.array([4_000_000 + rng.integers(-100, 100)], dtype=np.int64),
        size=np.array([rng.integers(1, 1000)], dtype=np.int64),
        side=np.array([1], dtype=np.int8),
        id=np.array([ident], dtype=np.int64),
        flags=np.zeros(1, dtype=np.uint8),
        price_exponent=2,
        size_exponent=4,
    )


@asynccontextmanager
async def _listen(graphql: str, query: str, field: str) -> AsyncIterator[list[tuple[int, float]]]:
    """Notes the position and the moment of each message."""
    heard: list[tuple[int, float]] = []
    async with websockets.connect(
        graphql, subprotocols=[PROTOCOL], proxy=None, compression=None, max_queue=None
    ) as socket_:
        await socket_.send('{"type":"connection_init"}')
        await socket_.recv()
        await socket_.send(
            orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}).decode()
        )

        async def note() -> None:
            async for text in socket_:
                at = time.perf_counter()
                message = orjson.loads(text)
                if message["type"] == "next":
                    heard.append((message["payload"]["data"][field]["position"], at))

        noting = asyncio.create_task(note())
        try:
            yield heard
        finally:
            noting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await noting


def _waits(
    sent: dict[int, float], positions: Sequence[int], heard: Sequence[tuple[int, float]]
) -> NDArray[np.float64]:
    """For each position, the ms until a message that reaches it; every one must have been reached."""
    reached = np.array([position for position, _ in heard])
    at = np.array([moment for _, moment in heard])
    first = np.searchsorted(reached, np.array(positions))
    assert first.max() < len(reached), "an event never reached its subscriber"
    begun = np.array([sent[position] for position in positions])
    return np.asarray((at[first] - begun) * 1000, dtype=np.float64)


def _draw(found: dict[str, NDArray[np.float64]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for kind, times in found.items():
        ordered = np.sort(times)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        p50, p99 = np.percentile(ordered, [50, 99])
        axes.plot(ordered, share, label=f"{kind}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    for goal_ms, share_at in ((15, 0.5), (100, 0.99)):
        axes.plot([goal_ms], [share_at], "kx")
        axes.annotate(
            f"goal: p{share_at * 100:.0f} < {goal_ms} ms",
            (goal_ms, share_at),
            (6, -12),
            textcoords="offset points",
        )
    axes.set(
        xscale="log",
        xlabel="from append to the message in the subscriber's hands, ms",
        ylabel="share of events",
        title=f"{RATE:,} events/s in {MARKETS} markets for {SECONDS} s, everything on {os.cpu_count()} cores",
    )
    axes.grid(which="both", alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(PLOT, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    kind, database_url, port = sys.argv[1:]
    {"ours": _serve_ours, "plain": _serve_plain}[kind](database_url, int(port))
