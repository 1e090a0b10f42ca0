"""Exports of a log in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.selection import AsOf, Selection
from alphapulse.processes.audit_checkpoint import NotSealed
from alphapulse.processes.audit_chosen import Chosen
from alphapulse.processes.audit_lines import batches
from alphapulse.processes.auditing import Exported, export
from tests.provenance import reading
from tests.provenance.given import bundle_of, sealed_log, tell_story
from tests.provenance.in_database import SealedDatabase, sealed_database


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[SealedDatabase]:
    async with sealed_database(database_url) as log:
        yield log


async def exported(log: SealedDatabase, asked: Selection, out: Path, **options: object) -> Exported:
    return await export(log.store, log.seals, asked, out, key=log.signer.key, **options)  # type: ignore[arg-type]


async def test_a_log_that_two_streams_share_event_by_event_gives_a_gap_an_event(
    log: SealedDatabase, tmp_path: Path
) -> None:
    for _ in range(120):
        await log.append(1, stream="one")
        await log.append(1, stream="two")
    await log.seal(100)
    out = tmp_path / "x.tar.gz"
    made = await exported(log, Selection(streams=("one",)), out)
    assert made.events == 120
    assert [line["gap"] for line in reading.lines(out) if "gap" in line] == [
        [n, n + 1] for n in range(1, 240, 2)
    ]
    assert reading.root(out) == made.root
    assert reading.verified(out, log.signer.key).verdict == "VALID"


async def test_the_story_of_a_strategy_comes_out_of_postgresql_as_out_of_memory(
    log: SealedDatabase, tmp_path: Path
) -> None:
    await tell_story(log.store, events=150, seed=6)
    await log.seal(60)
    world = await sealed_log(events=150, seed=6)
    here, there = tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"
    asks = [Selection(strategy="trial"), Selection(signal="trial/2"), Selection(actors=("feeder",))]
    for asked in [*asks, Selection(positions=(20, 60)), Selection(leaves=(5, 9))]:
        await exported(log, asked, here)
        await bundle_of(world, asked, there)
        columns = ("position", "leaf", "id", "stream", "version", "name", "event_time", "state", "event")
        assert [[e[c] for c in columns] for e in reading.events(here)] == [
            [e[c] for c in columns] for e in reading.events(there)
        ]
        assert reading.verified(here, log.signer.key).verdict in ("VALID", "VALID BUT INCOMPLETE")


async def test_a_payload_deleted_by_hand_is_told_as_erased(log: SealedDatabase, tmp_path: Path) -> None:
    await log.append(30)
    await log.seal(10)
    gone = (await log.store.read(0)).records[14].position
    await log.by_hand("UPDATE stored_events SET state = '' WHERE notification_id = %s", [gone])
    await log.by_hand(
        "UPDATE log_seals SET salts = overlay(salts PLACING decode(repeat('00', 16), 'hex')"
        " FROM 16 * (array_position(positions, %(p)s) - 1) + 1) WHERE %(p)s = ANY (positions)",
        {"p": gone},
    )
    out = tmp_path / "x.tar.gz"
    made = await exported(log, Selection(), out)
    assert (made.events, made.erased) == (30, 1)
    assert [event["position"] for event in reading.events(out) if event.get("erased")] == [gone]
    assert reading.verified(out, log.signer.key).verdict == "VALID BUT INCOMPLETE"


async def test_it_waits_for_the_seal_of_what_was_just_recorded(log: SealedDatabase, tmp_path: Path) -> None:
    await log.append(10)
    await log.seal()
    await log.append(5)
    with pytest.raises(NotSealed, match=r"position \d+ is not sealed after 0\.2 s"):
        await exported(log, Selection(), tmp_path / "x.tar.gz", seal_wait_s=0.2)
    exporting = asyncio.create_task(exported(log, Selection(), tmp_path / "x.tar.gz", seal_wait_s=20.0))
    await asyncio.sleep(0.1)
    await log.seal()
    assert (await exporting).events == 15


async def test_as_of_a_recorded_time_it_is_the_checkpoint_of_then(
    log: SealedDatabase, tmp_path: Path
) -> None:
    await log.append(10)
    await log.seal()
    (last,) = (await log.store.read(await log.store.head() - 1)).records
    await asyncio.sleep(0.01)
    await log.append(10)
    await log.seal()
    moment = int(last.recorded_at.timestamp() * 1e6) + 1
    made = await exported(log, Selection(as_of=AsOf(recorded=moment)), tmp_path / "x.tar.gz")
    assert (made.size, made.events) == (10, 10)


async def test_what_a_page_says_is_decoded_line_by_line_and_not_all_at_once(log: SealedDatabase) -> None:
    """A batch of 10,000 trades is 80 kB in the store and ten times that as text: a page of them, 300 MB."""
    await log.append(100)
    await log.seal()
    looked_at: list[int] = []

    def withheld(record: StoredRecord, _: bytes | None) -> bool:
        looked_at.append(record.position)
        return False

    pages = Chosen(after=0, until=10_000).pages(log.store, 0)
    async for batch in batches(pages, log.seals, leaf=0, size=100, admits=lambda _: True, withheld=withheld):
        for n, _line in enumerate(batch.lines, 1):
            assert len(looked_at) == n
    assert len(looked_at) == 100


async def test_looking_ends_where_the_log_ends(log: SealedDatabase) -> None:
    await log.append(10)
    for chosen in (Chosen(after=0, until=99), Chosen(after=0, until=99, positions=[3, 50, 60])):
        assert sum([len(page.records) async for page in chosen.pages(log.store, 0)]) in (10, 1)
