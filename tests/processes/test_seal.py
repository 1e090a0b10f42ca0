"""The sealer: every event one leaf, in order, and one tree, whatever happens to it or to its database.

Rules that need no real server run on both twins; kills are in tests/crash.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.provenance.kept import KeptCheckpoint, RolledBack
from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.memory_seals import MemorySeals
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.ports import EventStore, Fence, Leases, StoreUnavailable
from alphapulse.domain.provenance.checkpoint import Checkpoint, open_checkpoint
from alphapulse.domain.provenance.notes import BadNote
from alphapulse.domain.provenance.sealing import Seal
from alphapulse.processes.seal import NotOurTree, SealLimits, Seals, load_tree
from tests.adapters.store.events import event, run_of
from tests.launch import ROOT
from tests.processes.sealing import ORIGIN, SIGNER, assert_whole_tree, sealing
from tests.servers import TEMPLATE, make_template


@dataclass
class World:
    store: EventStore
    seals: Seals
    leases: Leases
    folder: Path
    url: str | None = None

    async def sizes(self) -> list[int]:
        found, size = list[int](), 0
        while sealed := await self.seals.sealed(size=size + 1):
            found.append(size := sealed.size)
        return found

    async def check(self, size: int) -> None:
        """The tree has ``size`` leaves, one an event, and is what was kept outside."""
        last = await self.seals.sealed()
        assert last
        assert last.size == size
        page = await self.seals.leaves(0, min(size, 10_000))
        log = await self.store.read(0, limit=10_000)
        assert list(page.positions) == [record.position for record in log.records][:size]
        assert KeptCheckpoint(self.folder, ORIGIN).read() == last.note
        await load_tree(self.seals, SIGNER)
        if self.url:
            assert await asyncio.to_thread(assert_whole_tree, self.url) == size


@asynccontextmanager
async def postgres_world(url: str, folder: Path) -> AsyncIterator[World]:
    async with PostgresEventStore(url) as store, PostgresSeals(url, timeout_s=5) as seals:
        yield World(store, seals, store.leases, folder, url)


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        store = MemoryEventStore()
        yield World(store, MemorySeals(store.leases, store), store.leases, tmp_path)
        return
    async with postgres_world(request.getfixturevalue("database_url"), tmp_path) as world:
        yield world


# -- what is sealed, and when -------------------------------------------------------------------


async def test_every_event_becomes_one_leaf_in_order(world: World) -> None:
    await world.store.append(run_of("trades-a-B", 1, 700))
    await world.store.append(run_of("trades-a-C", 1, 900))
    async with sealing(world.store, world.seals, world.leases, world.folder) as running:
        for version in range(1, 30):
            await world.store.append([event("signals-s", version, name="signal.issued.v1")])
        await running.sealed(1_629)
    await world.check(1_629)
    assert (await world.seals.counts(1_629)).of == {"s": 29}


async def test_a_backlog_is_sealed_in_full_seals_without_waiting(world: World) -> None:
    for stream in range(4):
        await world.store.append(run_of(f"s-{stream}", 1, 1_000))
    slow = SealLimits(interval_s=2.0, poll_s=0.05, lease_s=5.0)
    async with sealing(world.store, world.seals, world.leases, world.folder, slow) as running:
        async with asyncio.timeout(10):
            await running.sealed(4_000)
    assert await world.sizes() == [1_000, 2_000, 3_000, 4_000]


async def test_a_lone_event_is_sealed_at_once_and_the_next_ones_together_when_the_time_is_over(
    world: World,
) -> None:
    slow = SealLimits(interval_s=1.0, poll_s=0.5, lease_s=5.0)
    async with sealing(world.store, world.seals, world.leases, world.folder, slow) as running:
        await running.until(lambda _: True)
        began = asyncio.get_running_loop().time()
        await world.store.append([event("a", 1)])
        await running.sealed(1)
        for version in range(2, 7):
            await world.store.append([event("a", version)])
            await asyncio.sleep(0.02)
        await running.sealed(6)
        assert asyncio.get_running_loop().time() - began >= 1.0
    assert await world.sizes() == [1, 6]


async def test_as_many_events_as_a_seal_holds_do_not_wait_for_the_time(world: World) -> None:
    never = SealLimits(leaves=50, interval_s=60.0, poll_s=0.5, lease_s=150.0)
    async with sealing(world.store, world.seals, world.leases, world.folder, never) as running:
        await world.store.append([event("a", 1)])
        await running.sealed(1)
        await world.store.append(run_of("b", 1, 30))
        await asyncio.sleep(0.1)
        await world.store.append(run_of("c", 1, 30))
        await running.sealed(51)
    assert await world.sizes() == [1, 51]


async def test_a_sealer_goes_on_where_the_last_one_stopped(world: World) -> None:
    for part in range(4):
        await world.store.append(run_of("a", 1 + 100 * part, 100))
        async with sealing(world.store, world.seals, world.leases, world.folder, holder=str(part)) as running:
            await running.sealed(100 * (part + 1))
    await world.check(400)


@pytest.mark.parametrize(
    "limits", [{"leaves": 0}, {"leaves": 1_001}, {"poll_s": 2.0}, {"lease_s": 0.2}], ids=str
)
def test_limits_that_cannot_hold_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"leaves|lease"):
        SealLimits(**limits)  # type: ignore[arg-type]


# -- rivals and faults --------------------------------------------------------------------------


async def test_of_two_sealers_one_works_and_the_other_takes_over(world: World) -> None:
    async with AsyncExitStack() as stack:
        async with sealing(world.store, world.seals, world.leases, world.folder, holder="first") as first:
            await world.store.append([event("a", 1)])
            await first.sealed(1)
            second = await stack.enter_async_context(
                sealing(world.store, world.seals, world.leases, world.folder, holder="second")
            )
            await asyncio.sleep(0.3)
            assert second.reports == []
        await world.store.append([event("a", 2)])
        await second.sealed(2)
    await world.check(2)


async def test_rivals_that_both_believe_to_be_alone_grow_one_tree(world: World) -> None:
    """Each takes the lease from the other, again and again, as clocks gone mad would."""
    async with AsyncExitStack() as stack:
        rivals = [
            await stack.enter_async_context(
                sealing(world.store, world.seals, Grabbed(world.leases), world.folder, holder="same")
            )
            for _ in range(3)
        ]
        for version in range(1, 60):
            await world.store.append(run_of(f"s-{version}", 1, 7))
        async with asyncio.timeout(30):
            while not (last := await world.seals.sealed()) or last.size < 413:
                await asyncio.sleep(0.02)
        assert all(rival.task.done() is False for rival in rivals)
    await world.check(413)


class Grabbed:
    """Leases that anybody may take at any time: all go under the name of one holder."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    async def acquire(self, lease: str, holder: str, duration_s: float) -> Fence | None:
        return await self._leases.acquire(lease, "anybody", duration_s)

    async def renew(self, fence: Fence, duration_s: float) -> bool:
        return await self._leases.renew(fence, duration_s)

    async def release(self, fence: Fence) -> None:
        await self._leases.release(fence)


class Faulty:
    """Seals whose ``append`` goes wrong as its plan says, one word a call: "" where all goes well."""

    def __init__(self, seals: Seals, plan: Sequence[str]) -> None:
        self._seals, self._plan = seals, list(plan)
        self.offered: list[Seal] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._seals, name)

    async def append(self, seal: Seal, *, fence: Fence) -> None:
        self.offered.append(seal)
        fault = self._plan.pop(0) if self._plan else ""
        if fault == "lost before":
            raise StoreUnavailable(fault)
        await self._seals.append(seal, fence=fence)
        if fault == "lost after":
            raise StoreUnavailable(fault)


async def test_a_commit_in_doubt_is_read_again_and_its_seal_signed_once(world: World) -> None:
    faulty = Faulty(world.seals, ["lost before", "lost before", "", "lost after", ""])
    await world.store.append([event("a", 1)])
    async with sealing(world.store, faulty, world.leases, world.folder) as running:  # type: ignore[arg-type]
        await running.sealed(1)
        await world.store.append([event("a", 2)])
        await running.sealed(2)
        await world.store.append([event("a", 3)])
        await running.sealed(3)
    notes: dict[int, set[str]] = {}
    for offered in faulty.offered:
        notes.setdefault(offered.size, set()).add(offered.note)
    assert {size: len(signed) for size, signed in notes.items()} == {1: 1, 2: 1, 3: 1}
    assert [offered.size for offered in faulty.offered] == [1, 1, 1, 2, 3]
    await world.check(3)


async def test_a_holder_that_slept_too_long_seals_nothing_when_it_wakes_up(world: World) -> None:
    asleep, awake = asyncio.Event(), asyncio.Event()

    class Slow(Faulty):
        async def append(self, seal: Seal, *, fence: Fence) -> None:
            if not self.offered:
                self.offered.append(seal)
                asleep.set()
                await awake.wait()
            await super().append(seal, fence=fence)

    await world.store.append(run_of("a", 1, 5))
    slow = Slow(world.seals, [])
    async with sealing(world.store, slow, world.leases, world.folder, holder="old") as old:  # type: ignore[arg-type]
        await asleep.wait()
        async with sealing(world.store, world.seals, world.leases, world.folder, holder="new") as new:
            await world.store.append(run_of("b", 1, 5))
            await new.sealed(10)
            awake.set()
            await old.problem("FencedOut")
    await world.check(10)


async def test_a_store_that_is_away_is_waited_for(tmp_path: Path) -> None:
    away = False

    def fail(_: str) -> None:
        if away:
            raise StoreUnavailable("away")

    store = MemoryEventStore(fail=fail)
    world = World(store, MemorySeals(store.leases, store), store.leases, tmp_path)
    await store.append([event("a", 1)])
    async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
        await running.sealed(1)
        away = True
        await running.problem("StoreUnavailable: away")
        away = False
        await store.append([event("a", 2)])
        await running.sealed(2)
    await world.check(2)


async def test_stopping_does_not_wait_for_events_or_the_lease(world: World) -> None:
    assert await world.leases.acquire("seal", "somebody else", 60)
    async with asyncio.timeout(5):
        async with sealing(world.store, world.seals, world.leases, world.folder):
            await asyncio.sleep(0.1)
    assert await world.seals.sealed() is None


# -- what is kept outside -----------------------------------------------------------------------


async def test_a_full_disk_halts_sealing_until_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed stays; nothing more is sealed while it cannot be kept."""
    real = os.fsync
    full = False

    def fsync(descriptor: int) -> None:
        if full:
            raise OSError(28, "No space left on device")
        real(descriptor)

    await world.store.append([event("a", 1)])
    async with sealing(world.store, world.seals, world.leases, world.folder) as running:
        await running.sealed(1)
        monkeypatch.setattr("alphapulse.adapters.provenance.kept.os.fsync", fsync)
        full = True
        await world.store.append([event("a", 2)])
        await running.problem("No space left on device")
        await world.store.append([event("a", 3)])
        await asyncio.sleep(0.3)
        last = await world.seals.sealed()
        assert last
        assert last.size == 2
        kept = KeptCheckpoint(world.folder, ORIGIN).read()
        assert kept
        assert open_checkpoint(kept, SIGNER.key, ed25519).size == 1
        full = False
        await running.sealed(3)
    await world.check(3)


def test_a_kept_checkpoint_gives_way_to_a_newer_one_only(tmp_path: Path) -> None:
    kept = KeptCheckpoint(tmp_path / "not there yet", ORIGIN)
    assert kept.read() is None
    notes = [_note(size) for size in (0, 5, 9)]
    for note in (*notes, *notes):
        kept.keep(note)
    assert kept.read() == notes[2]
    with pytest.raises(RolledBack, match=f"9 leaves have root {'00' * 32}.*and {'11' * 32}"):
        kept.keep(_note(9, root=b"\x11" * 32))
    assert kept.read() == notes[2]
    assert {path.suffix for path in kept.path.parent.iterdir()} == {".note", ".lock"}


def _note(size: int, root: bytes = bytes(32)) -> str:
    return str(Checkpoint(origin=ORIGIN, size=size, root=root).sign(SIGNER))


async def test_a_checkpoint_that_was_not_kept_any_more_is_kept_at_the_next_start(world: World) -> None:
    await world.store.append(run_of("a", 1, 5))
    async with sealing(world.store, world.seals, world.leases, world.folder) as running:
        await running.sealed(5)
    KeptCheckpoint(world.folder, ORIGIN).path.unlink()
    async with sealing(world.store, world.seals, world.leases, world.folder) as running:
        await running.sealed(5)
    await world.check(5)


@pytest.mark.parametrize("grows", [False, True], ids=["restored", "restored and grown on another branch"])
async def test_a_database_restored_to_an_older_point_is_not_sealed(
    grows: bool, postgres: PostgresServer, tmp_path: Path
) -> None:
    """A copy of the database is what a backup is; in it a rival with another folder may go on."""
    make_template(postgres)
    url = postgres.create_database("log", TEMPLATE)
    async with postgres_world(url, tmp_path) as world:
        await world.store.append(run_of("a", 1, 300))
        async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
            await running.sealed(300)
    with psycopg.connect(postgres.url("postgres")) as db:  # whoever is still hanging up keeps it from us
        db.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'log'")
    backup = postgres.create_database("backup", "log")
    async with postgres_world(url, tmp_path) as world:
        await world.store.append(run_of("b", 1, 7))
        async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
            await running.sealed(307)
    async with postgres_world(backup, tmp_path) as world:
        if grows:
            await world.store.append(run_of("c", 1, 9))
            async with sealing(world.store, world.seals, world.leases, tmp_path / "other") as running:
                await running.sealed(309)
        said = "309 leaves .* does not go on from it" if grows else "300 leaves with root"
        with pytest.raises(RolledBack, match=f"^rolled back: .*307 leaves with root .*{said}"):
            async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
                await running.until(lambda _: False)


async def test_a_tree_that_another_key_signed_is_not_gone_on_with(world: World, tmp_path: Path) -> None:
    await world.store.append(run_of("a", 1, 3))
    async with sealing(world.store, world.seals, world.leases, world.folder) as running:
        await running.sealed(3)
    stranger = KeySigner(ORIGIN, b"s" * 32)
    with pytest.raises(BadNote, match=rf"{ORIGIN} \({stranger.key.id.hex()}\)"):
        async with sealing(world.store, world.seals, world.leases, world.folder, signer=stranger) as running:
            await running.until(lambda _: False)
    elsewhere = KeySigner("example.org/other", b"s" * 32)
    with pytest.raises(NotOurTree, match=rf"not signed by {elsewhere.key.name} .*but by {ORIGIN}"):
        async with sealing(world.store, world.seals, world.leases, world.folder, signer=elsewhere) as running:
            await running.until(lambda _: False)


async def test_a_tree_that_is_not_what_was_signed_stops_with_both_roots(
    database_url: str, tmp_path: Path
) -> None:
    async with postgres_world(database_url, tmp_path) as world:
        await world.store.append(run_of("a", 1, 3))
        async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
            await running.sealed(3)
        last = await world.seals.sealed()
        assert last
        with psycopg.connect(database_url) as db:
            db.execute("ALTER TABLE log_seals DISABLE TRIGGER log_seals_only_grow")
            db.execute("UPDATE log_seals SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1)")
        with pytest.raises(NotOurTree, match=f"3 leaves with root {last.root.hex()}, .* 3 with root"):
            async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
                await running.until(lambda _: False)


async def test_a_tree_with_a_hole_is_not_gone_on_with(database_url: str, tmp_path: Path) -> None:
    async with postgres_world(database_url, tmp_path) as world:
        await world.store.append(run_of("a", 1, 300))
        async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
            await running.sealed(300)
        older = KeptCheckpoint(tmp_path, ORIGIN).read()
        assert older
        await world.store.append(run_of("b", 1, 300))
        async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
            await running.sealed(600)
        with psycopg.connect(database_url) as db:
            db.execute("ALTER TABLE log_nodes DISABLE TRIGGER log_nodes_only_grow")
            db.execute("DELETE FROM log_nodes WHERE number = 0")
        with pytest.raises(NotOurTree, match=r"600 leaves in the database has a hole: .*node 0 of level"):
            async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
                await running.until(lambda _: False)
        KeptCheckpoint(tmp_path, ORIGIN).path.write_text(older)
        with pytest.raises(RolledBack, match=r"does not go on from it .*node 0 of level 8"):
            async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
                await running.until(lambda _: False)


async def test_a_log_begun_anew_as_the_docs_say_is_sealed_from_its_first_event(
    database_url: str, tmp_path: Path
) -> None:
    (statements,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "sealing.md").read_text(), re.DOTALL)
    other = KeySigner("example.org/second", b"2" * 32)
    async with postgres_world(database_url, tmp_path) as world:
        await world.store.append(run_of("a", 1, 300))
        async with sealing(world.store, world.seals, world.leases, tmp_path) as running:
            await running.sealed(300)
        with psycopg.connect(database_url, autocommit=True) as db:
            db.execute(statements)
        async with sealing(world.store, world.seals, world.leases, tmp_path, signer=other) as running:
            await running.sealed(300)
        assert await asyncio.to_thread(assert_whole_tree, database_url, other.key) == 300
        with psycopg.connect(database_url) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("DELETE FROM log_seals")
