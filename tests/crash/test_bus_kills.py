"""The log on the bus while relays, followers, nats-server and its whole directory are killed under load.

Two rival relays, an outside client (examples/follow_log.py) and a follower of our own, all real processes and
servers. At the end the stream and both readers hold every event once, in order.
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.adapters.bus.jetstream import JetStreamBus
from alphapulse.adapters.embedded.nats import NatsServer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import BusUnavailable, EventStore, StoredRecord
from alphapulse.processes.follower import Follower
from tests.adapters.store.events import event, run_of
from tests.launch import ROOT, environment
from tests.processes.relaying import assert_exact, caught_up, whole_log

EXAMPLE = ROOT / "examples" / "follow_log.py"


class Process:
    """A command that is killed and started again."""

    def __init__(self, command: list[str], log: Path, **variables: str) -> None:
        self.command, self.log, self.variables = command, log, variables
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=environment() | self.variables, cwd="/"
            )

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def kill_and_start(self) -> None:
        self.kill()
        self.start()


@contextmanager
def processes(
    database_url: str, nats: NatsServer, directory: Path, relays: int = 2
) -> Iterator[dict[str, Process]]:
    relay = [sys.executable, "-m", "alphapulse", "run", "relay"]
    urls = {"ALPHAPULSE_DATABASE_URL": database_url, "ALPHAPULSE_NATS_URL": nats.url}
    client = [sys.executable, str(EXAMPLE), nats.url, str(directory / "events.jsonl")]
    with ExitStack() as stack:
        running = {f"relay {n}": Process(relay, directory / f"relay{n}.log", **urls) for n in range(relays)}
        running["client"] = Process(client, directory / "client.log")
        for process in running.values():
            stack.callback(process.kill)
        yield running


def restart(nats: NatsServer, *, lose: bool = False) -> None:
    """kill -9, and perhaps the loss of the whole JetStream directory."""
    assert nats.process
    nats.process.kill()
    nats.process.wait()
    nats.stop()
    if lose:
        shutil.rmtree(nats.store)
    start_again(nats)


def start_again(nats: NatsServer) -> None:
    port = nats.port
    nats.start()
    assert nats.port == port, "another program took the port meanwhile: nobody would find the server again"


def copy_tree(source: Path, target: Path) -> None:
    """``source`` as it is, owners too: under root the server is another user."""
    shutil.copytree(source, target)
    for original in [source, *source.rglob("*")]:
        owner = original.stat()
        os.chown(target / original.relative_to(source), owner.st_uid, owner.st_gid)


@asynccontextmanager
async def load(store: EventStore) -> AsyncIterator[None]:
    """Appends lone events and bursts until the context is left."""

    async def write() -> None:
        version = 0
        while True:
            version += 1
            await store.append([event("lone-a-B", version, b"%d" % version)])
            if version % 50 == 0:
                await store.append(run_of(f"burst-{version}", 1, 400))
            await asyncio.sleep(0.004)

    writing = asyncio.create_task(write())
    try:
        yield
        assert not writing.done(), writing.exception()
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


@asynccontextmanager
async def collecting(store: EventStore, bus: JetStreamBus) -> AsyncIterator[list[StoredRecord]]:
    found: list[StoredRecord] = []

    async def collect() -> None:
        async with Follower(store, bus) as follower:
            while True:
                after = found[-1].position if found else 0
                found.extend((await follower.next(after, limit=200, timeout_s=1)).records)

    task = asyncio.create_task(collect())
    try:
        yield found
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def lines_of(directory: Path) -> list[tuple[int, str, int, bytes]]:
    """What the outside client has written: position, stream, version, state."""
    path = directory / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [(int(e["position"]), e["stream"], int(e["version"]), b64decode(e["state"])) for e in events]


async def assert_all_hold_the_log(
    store: EventStore, bus: JetStreamBus, directory: Path, found: list[StoredRecord]
) -> None:
    await _caught_up(store, bus)
    log = await whole_log(store)
    async with asyncio.timeout(120):
        while len(found) < len(log) or len(lines_of(directory)) < len(log):
            await asyncio.sleep(0.2)
    await assert_exact(store, bus)
    assert found == list(log)
    assert lines_of(directory) == [(r.position, r.stream, r.version, r.state) for r in log]


async def _caught_up(store: EventStore, bus: JetStreamBus) -> None:
    async with asyncio.timeout(120):
        while True:
            with suppress(BusUnavailable, TimeoutError):
                return await caught_up(store, bus, timeout_s=10)


@pytest.mark.parametrize("seed", [1, 2])
async def test_kills_at_random_lose_nothing_and_repeat_nothing(
    seed: int, database_url: str, nats: NatsServer, open_directory: Path
) -> None:
    chance = random.Random(seed)
    bus = JetStreamBus(NatsOptions(servers=(nats.url,)))
    with processes(database_url, nats, open_directory) as running:
        async with PostgresEventStore(database_url) as store, collecting(store, bus) as found:
            async with load(store):
                for _ in range(12):
                    await asyncio.sleep(chance.uniform(0.1, 1.2))
                    match chance.choice(["relay 0", "relay 1", "client", "client", "nats", "directory"]):
                        case "nats":
                            restart(nats)
                        case "directory":
                            restart(nats, lose=True)
                        case name:
                            running[name].kill_and_start()
            await assert_all_hold_the_log(store, bus, open_directory, found)
    await bus.close()


async def test_a_stream_put_back_to_an_old_copy_is_brought_up_again(
    database_url: str, nats: NatsServer, open_directory: Path
) -> None:
    bus = JetStreamBus(NatsOptions(servers=(nats.url,)))
    copy = open_directory / "copy"
    with processes(database_url, nats, open_directory, relays=1):
        async with PostgresEventStore(database_url) as store, collecting(store, bus) as found:
            async with load(store):
                await asyncio.sleep(2)
                nats.stop()
                copy_tree(nats.store, copy)
                start_again(nats)
                await asyncio.sleep(3)
                restart(nats, lose=True)  # a new epoch, unknown to the copy
                await asyncio.sleep(2)
                nats.stop()
                shutil.rmtree(nats.store)
                copy_tree(copy, nats.store)
                start_again(nats)
                await asyncio.sleep(1)
            await assert_all_hold_the_log(store, bus, open_directory, found)
    await bus.close()


async def test_relay_and_followers_wait_for_a_server_that_is_not_there_at_first(
    database_url: str, nats: NatsServer, open_directory: Path
) -> None:
    bus = JetStreamBus(NatsOptions(servers=(nats.url,)))
    nats.stop()
    with processes(database_url, nats, open_directory, relays=1):
        async with PostgresEventStore(database_url) as store, collecting(store, bus) as found:
            await store.append(run_of("a", 1, 300))
            await asyncio.sleep(3)
            assert len(found) == 300, "the store is enough to follow"
            start_again(nats)
            await assert_all_hold_the_log(store, bus, open_directory, found)
    await bus.close()
