"""kill -9 of the sealer at every moment of its work, and of PostgreSQL under it.

Afterwards the tree in the database is the one over the log, every event once, and each checkpoint that
anybody saw (in the database or in the kept file, at any time) is the only one of its size.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.provenance.kept import KeptCheckpoint
from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.provenance.checkpoint import open_checkpoint
from tests import servers
from tests.adapters.store.events import run_of
from tests.crash.killed_sealer import MOMENTS
from tests.launch import ROOT, environment
from tests.processes.sealing import ORIGIN, SIGNER, assert_whole_tree


@dataclass
class Watched:
    """A log, its kept file, and every root that was ever seen for a size."""

    url: str
    folder: Path
    roots: dict[int, bytes] = field(default_factory=dict)
    streams: int = 0
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def look(self) -> None:
        """Take down the checkpoints there are now: none may contradict an earlier one."""
        with psycopg.connect(self.url) as db:
            notes = [str(note) for (note,) in db.execute("SELECT note FROM log_seals")]
        if (kept := KeptCheckpoint(self.folder, ORIGIN).read()) is not None:
            notes.append(kept)
        for note in notes:
            found = open_checkpoint(note, SIGNER.key, ed25519)
            assert self.roots.setdefault(found.size, found.root) == found.root

    def free_lease(self) -> None:
        """Nobody waits here for the lease of the dead to run out."""
        with psycopg.connect(self.url) as db:
            db.execute("UPDATE leases SET expires_at = now()")

    def sealed(self) -> int:
        with psycopg.connect(self.url) as db:
            [size] = db.execute("SELECT coalesce(max(size), 0) FROM log_seals").fetchone() or [0]
        return int(size)

    async def append(self, count: int) -> None:
        async with PostgresEventStore(self.url) as store:
            self.streams += 1
            await store.append(run_of(f"s-{self.streams}", 1, count))

    async def start(self, moment: str = "never", count: int = 1) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash.killed_sealer"),
            *(self.url, str(self.folder), moment, str(count)),
            cwd=ROOT,
            env=environment(),
        )
        self.processes.append(process)
        return process

    async def stop(self) -> None:
        """Nothing that was started outlives its test."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def finish(self, events: int) -> None:
        """A sealer that is left alone brings the tree to the end of the log; then everything is right."""
        self.free_lease()
        process = await self.start()
        await self.append(1)
        events += 1
        async with asyncio.timeout(60):
            while await asyncio.to_thread(self.sealed) < events:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        self.look()
        assert await asyncio.to_thread(assert_whole_tree, self.url) == events
        kept = KeptCheckpoint(self.folder, ORIGIN).read()
        assert kept
        assert open_checkpoint(kept, SIGNER.key, ed25519).size == events


@pytest.fixture
async def watched(database_url: str, tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(database_url, tmp_path)
    yield watched
    await watched.stop()


async def test_killed_at_any_moment_it_leaves_one_tree(watched: Watched) -> None:
    """Each moment once; from start to start the log grows, so that each has something to seal."""
    events = 0
    async with doomed(watched) as run:
        for moment in MOMENTS:
            await watched.append(17)
            events += 17
            await asyncio.to_thread(watched.free_lease)
            assert await run(moment) == -signal.SIGKILL, moment
            await asyncio.to_thread(watched.look)
    await watched.finish(events)


@asynccontextmanager
async def doomed(watched: Watched) -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    """Gives how a sealer ends that dies at a moment; one after the other, of one process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.crash.killed_sealer"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    given, said = process.stdin, process.stdout

    async def run(moment: str) -> int:
        given.write(f"{watched.url}\t{watched.folder}\t{moment}\t1\n".encode())
        async with asyncio.timeout(60):
            return int(await said.readline())

    try:
        yield run
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with a sealer that has not died
        await process.wait()


async def test_killed_in_the_middle_of_a_commit_it_leaves_all_of_the_seal_or_nothing(
    watched: Watched,
) -> None:
    """The server is held within the commit; the client dies, and the server is let go or ended there."""
    events = 0
    for ends in (False, True):
        await watched.append(20)
        events += 20
        await asyncio.to_thread(watched.free_lease)
        async with held_up(watched.url, "log_nodes") as waiting:
            process = await watched.start()
            backend = await waiting()
            process.kill()
            await process.wait()
            if ends:
                await end_backend(watched.url, backend)
        await gone(watched.url, backend)
        await asyncio.to_thread(watched.look)
        assert await asyncio.to_thread(watched.sealed) == 20
    await watched.finish(events)


async def test_a_successor_waits_for_the_commit_that_the_dead_one_left_under_way(watched: Watched) -> None:
    await watched.append(20)
    async with held_up(watched.url, "log_nodes") as waiting:
        process = await watched.start()
        backend = await waiting()
        process.kill()
        await process.wait()
        # By the clock its lease is over, but its row is locked by the commit: a new holder has to wait.
        successor = await watched.start()
        await asyncio.sleep(1.5)
        assert await asyncio.to_thread(watched.sealed) == 0
    await gone(watched.url, backend)
    await watched.append(3)
    async with asyncio.timeout(60):
        while await asyncio.to_thread(watched.sealed) < 23:
            await asyncio.sleep(0.05)
    successor.send_signal(signal.SIGTERM)
    assert await successor.wait() == 0
    await watched.finish(23)


@asynccontextmanager
async def held_up(url: str, table: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """While it is open, nobody can write to ``table``; gives a wait for whoever tries, and its backend."""
    async with await psycopg.AsyncConnection.connect(url) as holder:
        await holder.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE".encode())

        async def waiting() -> int:
            async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
                while True:
                    cursor = await db.execute(
                        "SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass", (table,)
                    )
                    if row := await cursor.fetchone():
                        return int(row[0])
                    await asyncio.sleep(0.02)

        yield waiting
        await holder.rollback()


async def end_backend(url: str, backend: int) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))


async def gone(url: str, backend: int) -> None:
    """Until that backend has ended: it notices that its client is dead when it has an answer."""
    async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        while await (await db.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (backend,))).fetchone():
            await asyncio.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_rivals_and_servers_killed_again_and_again_leave_one_tree(
    seed: int, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Two sealers that die at random moments of random rounds, PostgreSQL killed in between, under load."""
    chance = random.Random(seed)
    servers.make_template(postgres)
    watched = Watched(postgres.create_database("log", servers.TEMPLATE), tmp_path)
    try:
        await watched.finish(await disturb(watched, postgres, chance))
    finally:
        await watched.stop()


async def disturb(watched: Watched, postgres: PostgresServer, chance: random.Random) -> int:
    """Rounds of load, rivals and kills; how many events were appended."""
    events = 0
    for number in range(12):
        for _ in range(chance.randint(1, 2)):
            await watched.start(chance.choice(MOMENTS), chance.randint(1, 5))
        for _ in range(chance.randint(1, 8)):
            count = chance.choice((1, 20, 300))
            await watched.append(count)
            events += count
            await asyncio.sleep(chance.uniform(0.0, 0.4))
        if number % 4 == 3:
            assert postgres.process
            os.kill(postgres.process.pid, signal.SIGKILL)
            await asyncio.to_thread(postgres.process.wait)
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(postgres.start)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        await watched.stop()
        await asyncio.to_thread(watched.look)
    return events
