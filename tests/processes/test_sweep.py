"""The sweep names each difference between the store and what was sealed of it, and repairs none."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.adapters.verifier.main import asked_of, verify_file
from alphapulse.domain.provenance.checkpoint import open_checkpoint
from alphapulse.domain.provenance.faults import Fault, FaultKind
from alphapulse.domain.provenance.merkle import verify_consistency, verify_inclusion
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes.auditing import export
from alphapulse.processes.project import connector
from alphapulse.processes.sweep import LEASE, Sweeper, SweepLimits, started, sweep_once
from alphapulse.projections import sweeps
from alphapulse.projections.event_proofs import prove_event, prove_growth
from alphapulse.projections.runner import connection
from tests.graphql.client import eventually
from tests.provenance.in_database import SealedDatabase, sealed_database

EVENTS = 700
FAST = SweepLimits(leaves=150, share=1.0, rest_s=0.05)


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[SealedDatabase]:
    """A log of 700 events in seven seals: two whole tiles and nodes above them."""
    async with sealed_database(database_url) as log:
        await log.append(EVENTS)
        await log.append(3, stream="signals-breakout", name="signal.issued.v1")
        await log.seal(each=100)
        yield log


async def swept(log: SealedDatabase, limits: SweepLimits = FAST) -> Sequence[Fault]:
    size, faults, counts = await sweep_once(log.url, log.signer.key, limits=limits)
    assert size == log.tree.size
    assert sum(counts.values()) >= len(faults)
    return faults


async def named(log: SealedDatabase, limits: SweepLimits = FAST) -> Sequence[tuple[int, str]]:
    return [(fault.leaf, str(fault.kind)) for fault in await swept(log, limits)]


async def recorded(log: SealedDatabase) -> Sequence[tuple[int, str]]:
    async with connection(connector(log.url)) as db:
        return [(found.fault.leaf, str(found.fault.kind)) for found in await sweeps.faults(db)]


def bytes_at(table: str, column: str, first: int, width: int, leaf: int) -> str:
    """SQL that overwrites what a seal holds of ``leaf``."""
    where = f"{leaf % 100 * width + 1}"
    value = f"decode(repeat('{first:02x}', {width}), 'hex')"
    return (
        f"UPDATE {table} SET {column} = overlay({column} PLACING {value} FROM {where})"
        f" WHERE first_leaf = {leaf // 100 * 100}"
    )


async def test_an_honest_log_has_no_faults_whatever_the_steps(log: SealedDatabase) -> None:
    for leaves in (1, 100, 101, 250, 10_000):
        assert await named(log, SweepLimits(leaves=leaves)) == []
    assert await recorded(log) == []


async def test_an_empty_log_has_nothing_to_sweep(database_url: str) -> None:
    assert await sweep_once(database_url, None) == (0, [], {})


# Leaf n of this log is position n + 1, version n + 1 of its stream.
CHANGES: Mapping[str, tuple[str, Sequence[tuple[int, str]]]] = {
    "payload": (
        "UPDATE stored_events SET state = state || '\\x00' WHERE notification_id = 6",
        [(5, "payload changed")],
    ),
    "one bit of a payload": (
        "UPDATE stored_events SET state = set_bit(state, 3, 1 - get_bit(state, 3)) WHERE notification_id = 6",
        [(5, "payload changed")],
    ),
    "payload erased, salt left": (
        "UPDATE stored_events SET state = '' WHERE notification_id = 6",
        [(5, "payload erased")],
    ),
    "salt erased, payload left": (bytes_at("log_seals", "salts", 0, 16, 5), [(5, "salt erased")]),
    "salt": (bytes_at("log_seals", "salts", 1, 16, 205), [(205, "payload changed")]),
    "commitment": (bytes_at("log_seals", "commitments", 1, 32, 205), [(205, "commitment changed")]),
    "leaf hash": (bytes_at("log_seals", "hashes", 1, 32, 305), [(305, "leaf hash changed")]),
    "row missing": ("DELETE FROM stored_events WHERE notification_id = 700", [(699, "row missing")]),
    "last row missing": (
        "DELETE FROM stored_events WHERE notification_id = 703",
        [(702, "row missing")],
    ),
    "root": (
        "UPDATE log_seals SET root = sha256('x') WHERE size = 400",
        [(399, "checkpoint wrong")],
    ),
    "note of another key": (
        "UPDATE log_seals SET note = replace(note, 'log', 'lug') WHERE size = 400",
        [(399, "checkpoint wrong")],
    ),
    "node": ("UPDATE log_nodes SET hash = sha256('x') WHERE number = 1", [(256, "node wrong")]),
    "node missing": ("DELETE FROM log_nodes WHERE number = 1", [(256, "node wrong")]),
    "counts": ("UPDATE log_signal_counts SET count = 2", [(702, "signal counts wrong")]),
    "seal missing": ("DELETE FROM log_seals WHERE size = 400", [(300, "leaves missing")]),
}
COLUMNS = {
    "originator_id": "'other'",
    "originator_version": "100000",
    "topic": "'other.name.v1'",
    "event_id": "gen_random_uuid()",
    "event_time": "coalesce(event_time, 0) + 1",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "cause_id": "gen_random_uuid()",
    "correlation_id": "gen_random_uuid()",
    "actor": "'mallory'",
    "trace": "'01-other'",
    "id_hi": "id_hi + 1",
}


async def test_each_change_is_found_and_named(log: SealedDatabase) -> None:
    await _to(log.url, "CREATE TABLE kept_events AS TABLE stored_events")
    for table in ("log_seals", "log_nodes", "log_signal_counts"):
        await _to(log.url, f"CREATE TABLE kept_{table} AS TABLE {table}")
    for what, (statement, wanted) in CHANGES.items():
        await log.by_hand(statement)
        assert (what, await named(log)) == (what, wanted)
        assert await recorded(log) == wanted, "and what was found before is forgotten"
        await _restore(log)
    assert await named(log) == []


async def test_a_change_of_any_column_is_found(log: SealedDatabase) -> None:
    for at, (column, value) in enumerate(COLUMNS.items()):
        position = await _position_with(log, column, 60 * at)
        await log.by_hand(f"UPDATE stored_events SET {column} = {value} WHERE notification_id = {position}")
    faults = await swept(log)
    assert {fault.kind for fault in faults} == {FaultKind.COLUMNS_CHANGED}
    assert len(faults) == len(COLUMNS)


async def test_another_position_is_a_row_missing_and_one_without_a_leaf(log: SealedDatabase) -> None:
    await log.by_hand("SELECT nextval('log_positions')")
    await log.append(1)
    await log.seal()
    await log.by_hand("UPDATE stored_events SET notification_id = 704 WHERE notification_id = 702")
    assert await named(log) == [(703, "row without a leaf"), (701, "row missing")]


async def test_rows_that_were_never_sealed_are_named_with_their_positions(log: SealedDatabase) -> None:
    await log.by_hand("SELECT nextval('log_positions') FROM generate_series(1, 7)")
    await log.append(1)
    await log.seal()
    await log.by_hand(
        "INSERT INTO stored_events SELECT 'forged', n, topic, state, 703 + n, gen_random_uuid(), event_time,"
        " recorded_at, cause_id, correlation_id, actor, trace, id_lo, id_hi"
        " FROM stored_events, generate_series(1, 7) n WHERE notification_id = 1"
    )
    (fault,) = await swept(log)
    assert (fault.leaf, fault.kind, fault.position) == (703, FaultKind.ROW_WITHOUT_LEAF, 704)
    assert fault.detail == "7 rows before leaf 703 were never sealed: positions 704, 705, 706, 707, 708, …"


async def test_a_tree_that_does_not_give_what_was_signed_is_named_once(log: SealedDatabase) -> None:
    """Row and leaf hash changed together: neither gives the signed root."""
    await log.by_hand("UPDATE stored_events SET actor = 'mallory' WHERE notification_id = 250")
    await log.by_hand(bytes_at("log_seals", "hashes", 7, 32, 249))
    assert await named(log) == [(249, "columns changed"), (200, "root differs")]


async def test_without_the_key_all_but_signatures_is_looked_at(log: SealedDatabase) -> None:
    await log.by_hand("UPDATE log_seals SET note = replace(note, 'log', 'lug') WHERE size = 400")
    await log.by_hand("UPDATE stored_events SET actor = 'mallory' WHERE notification_id = 250")
    _, faults, _ = await sweep_once(log.url, None, limits=FAST)
    assert [(fault.leaf, fault.kind) for fault in faults] == [(249, FaultKind.COLUMNS_CHANGED)]


async def test_a_log_signed_anew_by_another_key_is_named_at_each_checkpoint(log: SealedDatabase) -> None:
    other = KeySigner(log.signer.key.name, bytes(32))
    _, faults, counts = await sweep_once(log.url, other.key, limits=FAST)
    assert counts == {FaultKind.CHECKPOINT_WRONG: 8}
    assert "not signed by" in faults[0].detail


async def test_more_faults_than_the_limit_are_counted_and_not_recorded(log: SealedDatabase) -> None:
    await log.by_hand("UPDATE stored_events SET actor = 'mallory' WHERE notification_id <= 500")
    limits = SweepLimits(leaves=100, faults=150)
    _, faults, counts = await sweep_once(log.url, log.signer.key, limits=limits)
    assert (len(faults), len(await recorded(log)), counts) == (150, 150, {FaultKind.COLUMNS_CHANGED: 500})


async def test_nothing_that_is_wrong_is_repaired(log: SealedDatabase) -> None:
    await log.by_hand("UPDATE stored_events SET actor = 'mallory' WHERE notification_id = 250")
    assert await named(log) == await named(log) == [(249, "columns changed")]


async def test_an_erased_payload_is_a_hole_that_no_proof_minds(log: SealedDatabase, tmp_path: Path) -> None:
    """Payload and salt deleted by hand: what was given out before holds, and so does what is made now."""
    key = log.signer.key
    before = [await prove_event(log.store, log.seals, position) for position in (1, 151, 703)]
    await export(log.store, log.seals, Selection(), tmp_path / "before.tar.gz", key=key)
    await log.by_hand("UPDATE stored_events SET state = '' WHERE notification_id = 151")
    await log.by_hand(bytes_at("log_seals", "salts", 0, 16, 150))
    (fault,) = await swept(log)
    assert (fault.leaf, fault.kind, fault.position) == (150, FaultKind.PAYLOAD_ERASED, 151)
    await log.append(100)
    await log.seal()
    growth = await prove_growth(log.seals, before[0].checkpoint.size)
    now = open_checkpoint(growth.checkpoint.note, key, ed25519)
    for old in before:
        then = open_checkpoint(old.checkpoint.note, key, ed25519)
        verify_inclusion(old.leaf, then.size, old.hash, old.hashes, then.root)
        verify_consistency(then.size, now.size, then.root, now.root, growth.hashes)
        new = await prove_event(log.store, log.seals, old.position)
        assert new.hash == old.hash
        assert new.event is not None, "the columns are there"
        verify_inclusion(new.leaf, now.size, new.hash, new.hashes, now.root)
    asked = asked_of(str(key), None, [])
    assert verify_file(str(tmp_path / "before.tar.gz"), asked).verdict == "VALID"
    await export(log.store, log.seals, Selection(), tmp_path / "after.tar.gz", key=key)
    after = verify_file(str(tmp_path / "after.tar.gz"), asked)
    assert after.verdict == "VALID BUT INCOMPLETE"


# -- the role -------------------------------------------------------------------------------------


def sweeper(log: SealedDatabase, limits: SweepLimits = FAST, holder: str = "one") -> Sweeper:
    return Sweeper(
        store=log.store,
        seals=log.seals,
        leases=log.store.leases,
        connect=connector(log.url),
        key=lambda: log.signer.key,
        holder=holder,
        limits=limits,
    )


async def status(log: SealedDatabase) -> sweeps.SweepStatus | None:
    async with connection(connector(log.url)) as db:
        return await sweeps.status(db)


async def passes(log: SealedDatabase) -> int:
    found = await status(log)
    return found.sweep.passes if found else 0


class Running:
    """A sweeper at work for as long as the context lasts."""

    def __init__(self, work: Sweeper) -> None:
        self._work, self._stop = work, asyncio.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._work.run(self._stop))

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.wait_for(self._task, 20)


async def test_passes_follow_each_other_and_find_what_comes_to_be_wrong(log: SealedDatabase) -> None:
    async with Running(sweeper(log)):
        await _until(log, lambda found: found.sweep.passes >= 1)
        assert await recorded(log) == []
        await log.by_hand("UPDATE stored_events SET actor = 'mallory' WHERE notification_id = 250")
        await _until(log, lambda found: found.faults == {FaultKind.COLUMNS_CHANGED: 1})
        await log.append(50)
        await log.seal()
        await _until(log, lambda found: found.sweep.size == 753)
    found = await status(log)
    assert found is not None
    assert found.sweep.finished_at is not None


async def test_what_is_whole_again_is_forgotten_after_a_whole_pass(log: SealedDatabase) -> None:
    await log.by_hand("UPDATE stored_events SET actor = actor || 'x' WHERE notification_id = 250")
    async with Running(sweeper(log)):
        await _until(log, lambda found: bool(found.faults))
        await log.by_hand("UPDATE stored_events SET actor = left(actor, -1) WHERE notification_id = 250")
        await _until(log, lambda found: not found.faults)


async def test_a_pass_goes_on_where_another_process_stopped(log: SealedDatabase) -> None:
    """What was behind it is not looked at again before the next pass; what lies ahead is."""
    async with connection(connector(log.url)) as db:
        await sweeps.begin(db, 703)
        await sweeps.reached(db, 300)
    for position in (100, 500):
        await log.by_hand(f"UPDATE stored_events SET actor = 'mallory' WHERE notification_id = {position}")
    slow = SweepLimits(leaves=150, share=1.0, rest_s=3600)
    async with Running(sweeper(log, slow)):
        await _until(log, lambda found: found.sweep.passes == 1)
    assert await recorded(log) == [(499, "columns changed")]


async def test_a_pass_that_goes_on_compares_roots_too(log: SealedDatabase) -> None:
    work = await started(log.store, log.seals, log.signer.key, 703, 300)
    assert work.tree.frontier is not None
    await log.by_hand("UPDATE log_nodes SET hash = sha256('x') WHERE number = 1")
    later = await started(log.store, log.seals, log.signer.key, 703, 600)
    assert later.tree.frontier is None, "a tree that is wrong already is not compared on"


async def test_one_sweep_is_at_work(log: SealedDatabase) -> None:
    fence = await log.store.leases.acquire(LEASE, "another", 3600)
    assert fence is not None
    async with Running(sweeper(log, SweepLimits(leaves=150, lease_s=0.4))):
        await asyncio.sleep(1)
        assert await status(log) is None
        await log.store.leases.release(fence)
        await _until(log, lambda found: found.sweep.passes == 1)


async def test_the_pace_is_a_share_of_the_time(log: SealedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the time is worked: steps of any length leave three times as long asleep."""
    limits = SweepLimits(leaves=100, share=0.25, rest_s=3600)
    begun = asyncio.get_running_loop().time()
    worked = 0.0
    rest = Sweeper._rest

    async def noted(self: Sweeper, lease: Any, seconds: float, stop: asyncio.Event) -> None:
        nonlocal worked
        if seconds < 3600:
            worked += seconds / 3
        await rest(self, lease, seconds, stop)

    monkeypatch.setattr(Sweeper, "_rest", noted)
    async with Running(sweeper(log, limits)):
        await _until(log, lambda found: found.sweep.passes == 1)
        took = asyncio.get_running_loop().time() - begun
    assert worked > 0
    assert took > 3 * worked


async def test_while_the_database_is_away_the_sweep_waits(
    log: SealedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alphapulse.domain.ports import StoreUnavailable

    failures = iter(range(2))
    checkpoints = log.seals.checkpoints

    async def flaky(after: int, *, limit: int) -> Any:
        if next(failures, None) is not None:
            raise StoreUnavailable("gone")
        return await checkpoints(after, limit=limit)

    monkeypatch.setattr(log.seals, "checkpoints", flaky)
    limits = SweepLimits(leaves=150, share=1.0, rest_s=3600, backoff_s=(0.01, 0.05))
    async with Running(sweeper(log, limits)):
        await _until(log, lambda found: found.sweep.passes == 1)
    assert next(failures, None) is None


async def test_a_sweep_outlives_its_connections(log: SealedDatabase) -> None:
    limits = SweepLimits(leaves=150, share=1.0, rest_s=0.05, backoff_s=(0.01, 0.05))
    async with Running(sweeper(log, limits)):
        await _until(log, lambda found: found.sweep.passes >= 1)
        await _to(
            log.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        done = await passes(log)
        await _until(log, lambda found: found.sweep.passes >= done + 2)
    assert await recorded(log) == []


async def _until(log: SealedDatabase, holds: Any) -> None:
    async def now() -> bool:
        found = await status(log)
        return found is not None and holds(found)

    await eventually(now)


async def _to(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute(statement)  # type: ignore[arg-type]


async def _restore(log: SealedDatabase) -> None:
    await log.by_hand("DELETE FROM stored_events")
    await log.by_hand("INSERT INTO stored_events SELECT * FROM kept_events")
    for table in ("log_seals", "log_nodes", "log_signal_counts"):
        await log.by_hand(f"DELETE FROM {table}")
        await log.by_hand(f"INSERT INTO {table} SELECT * FROM kept_{table}")


async def _position_with(log: SealedDatabase, column: str, after: int) -> int:
    """The first position after ``after`` where ``column`` holds a value that can be changed."""
    async with await psycopg.AsyncConnection.connect(log.url) as db:
        where = f"notification_id > %s AND {column} IS NOT NULL"
        query = f"SELECT min(notification_id) FROM stored_events WHERE {where}"
        row = await (await db.execute(query, (after,))).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])
