"""The demo's hands: a stack as a child process, and a client of it that knows only its addresses.

Everything goes the way of a stranger's: commands of the command line, GraphQL over HTTP and WebSocket.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alphapulse.adapters.embedded.process import spawn

READY_S = 900.0  # a first start makes a database; crash recovery may take its time
ANSWER_S = 30.0
STOP_S = 60.0
LEVEL_S = 300.0  # for everything to catch up with the log
SUBPROTOCOL = "graphql-transport-ws"


class DemoFailed(Exception):
    """A step of the demo did not do what it should; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running ``alphapulse up`` and where it is."""

    addresses: dict[str, Any]
    data_dir: Path
    pid: int

    @property
    def graphql(self) -> str:
        return str(self.addresses["graphql"])

    def query(self, document: str, **variables: object) -> dict[str, Any]:
        """The data that ``document`` asks for.

        Raises:
            DemoFailed: the API answered with errors.
        """
        body = json.dumps({"query": document, "variables": variables}).encode()
        # S310: the address is our own API's.
        request = urllib.request.Request(self.graphql, body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=ANSWER_S) as response:  # noqa: S310
            answer = json.load(response)
        if answer.get("errors"):
            raise DemoFailed(f"GraphQL answered {answer['errors'][0]['message']} to {document}")
        return dict(answer["data"])

    def environment(self) -> dict[str, str]:
        return os.environ | {"ALPHAPULSE_DATA_DIR": str(self.data_dir)}

    async def command(self, *words: str, on_line: Callable[[Any], None] | None = None) -> list[Any]:
        """Run ``alphapulse WORDS… --json`` against this stack; return the JSON objects that it printed.

        Raises:
            DemoFailed: it ended with another code than 0.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alphapulse", *words, "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment(),
        )
        assert process.stdout
        assert process.stderr
        complaints = asyncio.create_task(process.stderr.read())
        facts = []
        try:
            async for line in process.stdout:
                facts.append(json.loads(line))
                if on_line:
                    on_line(facts[-1])
            if await process.wait() != 0:
                text = (await complaints).decode(errors="replace").strip()
                raise DemoFailed(f"alphapulse {' '.join(words)} ended with {process.returncode}: {text}")
        finally:
            complaints.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        return facts

    async def subscribe(
        self, document: str, **variables: object
    ) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """What the subscription sends, each with the wall time of its arrival in ns.

        Raises:
            DemoFailed: it ends with an error.
        """
        import websockets

        address = self.graphql.replace("http", "ws", 1)
        async with websockets.connect(address, subprotocols=[websockets.Subprotocol(SUBPROTOCOL)]) as socket:
            await socket.send(json.dumps({"type": "connection_init"}))
            payload = {"query": document, "variables": variables}
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
            async for text in socket:
                arrived = time.time_ns()
                message = json.loads(text)
                if message["type"] == "next" and not message["payload"].get("errors"):
                    yield arrived, message["payload"]["data"]
                elif message["type"] == "ping":
                    await socket.send(json.dumps({"type": "pong"}))
                elif message["type"] != "connection_ack":
                    raise DemoFailed(f"the subscription ended with {message}")


@contextlib.contextmanager
def running_stack(data_dir: Path, port: int) -> Iterator[Stack]:
    """``alphapulse up`` on ``data_dir`` as a child; stopped at the end.

    Raises:
        DemoFailed: it does not start.
    """
    options = ["--data-dir", str(data_dir), "--port", str(port), "--json"]
    # In a process group of its own: Ctrl-C is for us, and we stop it in order. If we are killed, it stops.
    process = spawn(
        [sys.executable, "-m", "alphapulse", "up", *options],
        on_parent_death=signal.SIGTERM,
        output=subprocess.PIPE,
        errors=None,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise DemoFailed(f"alphapulse up ended with {process.wait()} before it was ready")
        yield Stack(json.loads(line), data_dir, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def busiest(stack: Stack) -> str:
    """The instrument with the most trades."""
    nodes = stack.query("{ instruments { nodes { id tradeCount } } }")["instruments"]["nodes"]
    return str(max(nodes, key=lambda node: int(node["tradeCount"]))["id"])


def sample_files(folder: Path | None) -> Sequence[Path]:
    """The real trade files in ``folder`` that the demo imports: bitFlyer's days, oldest first."""
    return sorted(folder.glob("trades/bitflyer/*.csv.gz")) if folder else []


PROGRESS = """{
    log { position relay { position lagEvents } projections { name position lagEvents parked } }
}"""


@dataclass(frozen=True, slots=True)
class Level:
    """How far the log has come, and who follows how far behind (in events)."""

    position: int
    relay_lag: int | None
    projection_lag: int
    parked: int

    @property
    def is_level(self) -> bool:
        return self.position > 0 and self.relay_lag == 0 and self.projection_lag == 0


def level(stack: Stack) -> Level:
    log = stack.query(PROGRESS)["log"]
    return Level(
        position=int(log["position"]),
        relay_lag=log["relay"]["lagEvents"] if log["relay"] else None,
        projection_lag=max((p["lagEvents"] for p in log["projections"]), default=0),
        parked=sum(p["parked"] for p in log["projections"]),
    )


async def until_level(stack: Stack, see: Callable[[Level], None]) -> Level:
    """Wait until relay and read models have caught up with the log.

    Raises:
        DemoFailed: they did not in time.
    """
    deadline = time.monotonic() + LEVEL_S
    while True:
        now = await asyncio.to_thread(level, stack)
        see(now)
        if now.is_level:
            return now
        if time.monotonic() > deadline:
            raise DemoFailed(f"not everything has caught up after {LEVEL_S:.0f} s: {now}")
        await asyncio.sleep(0.1)


DECIDERS = "{ log { position deciders { strategy position } } }"


async def until_decided(stack: Stack, strategy: str) -> None:
    """Wait until a version of ``strategy`` has decided on all that is in the log now.

    Raises:
        DemoFailed: it did not in time.
    """
    deadline = time.monotonic() + LEVEL_S
    end = int(stack.query(DECIDERS)["log"]["position"])
    while True:
        deciders = (await asyncio.to_thread(stack.query, DECIDERS))["log"]["deciders"]
        # Versions of an earlier run that are retired have come to their end.
        if any(each["strategy"] == strategy and int(each["position"]) >= end for each in deciders):
            return
        if time.monotonic() > deadline:
            raise DemoFailed(f"{strategy} has not come to position {end} in {LEVEL_S:.0f} s: {deciders}")
        await asyncio.sleep(0.1)


LIVE = "subscription ($after: Position) { log(after: $after) { position events { stream recordedAt } } }"
CANDLES = """subscription ($instrument: String!) {
    candles(instrument: $instrument, timeframe: M1) {
        position candles { start open high low close baseVolume tradeCount state closed }
    }
}"""


@dataclass(slots=True)
class Live:
    """What arrived while a market traded live."""

    updates: list[dict[str, Any]]
    latencies_ms: list[float]  # from the store's stamp of an event to its arrival at a log subscriber


async def watch_live(
    stack: Stack, instrument: str, *, trades: int, rate: float, see: Callable[[dict[str, Any]], None]
) -> Live:
    """Trade ``trades`` live at ``rate`` a second; subscribe to candles and log meanwhile."""
    live = Live([], [])
    after = int(stack.query("{ log { position } }")["log"]["position"])

    async def candles() -> None:
        async for _, data in stack.subscribe(CANDLES, instrument=instrument):
            for candle in data["candles"]["candles"]:
                live.updates.append(candle)
                see(candle)

    async def log() -> None:
        async for arrived, data in stack.subscribe(LIVE, after=after):
            for event in data["log"]["events"]:
                if event["stream"].endswith(instrument.replace(":", "-")):
                    recorded = datetime.fromisoformat(event["recordedAt"]).astimezone(UTC)
                    live.latencies_ms.append(arrived / 1e6 - recorded.timestamp() * 1e3)

    followers = [asyncio.create_task(candles()), asyncio.create_task(log())]
    try:
        await stack.command("generate", instrument, "--rate", str(rate), "--trades", str(trades))
        await asyncio.sleep(0.5)
    finally:
        for follower in followers:
            if not follower.done():
                follower.cancel()
        ended = await asyncio.gather(*followers, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome
    return live
