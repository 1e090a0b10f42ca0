"""Exports of a sealed log: what is selected, what stands for the rest, and that both give the root."""

import asyncio
import base64
import gzip
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.memory_seals import MemorySeals
from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.leaf import microseconds
from alphapulse.domain.provenance.lines import NotItsLeaf
from alphapulse.domain.provenance.sealing import ERASED
from alphapulse.domain.provenance.selection import AsOf, BadSelection, Selection
from alphapulse.processes.audit_checkpoint import NotSealed
from alphapulse.processes.audit_chosen import NoSuchSignal
from alphapulse.processes.auditing import ExportTooLarge, NothingSelected, export
from tests.provenance import reading
from tests.provenance.given import START, World, bundle_of, sealed_log

Admits = Callable[[StoredRecord], bool]
BUT_FEEDER = Selection(actors=("decider", "alice"))


@pytest.fixture(scope="module")
def world() -> World:
    return asyncio.run(sealed_log(events=400, seed=3))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundle.tar.gz"


async def records_of(world: World) -> list[StoredRecord]:
    return list((await world.store.read(0, limit=10_000)).records)


SELECTIONS: list[tuple[Selection, Admits]] = [
    (Selection(), lambda r: True),
    (Selection(positions=(17, 203)), lambda r: 17 <= r.position <= 203),
    (Selection(positions=(None, 9)), lambda r: r.position <= 9),
    (Selection(leaves=(3, 8)), lambda r: 3 <= r.position - 1 < 8),  # no gaps in memory
    (Selection(leaves=(250, None)), lambda r: r.position - 1 >= 250),
    (Selection(streams=("signals-trial",)), lambda r: r.stream == "signals-trial"),
    (Selection(actors=("decider", "alice")), lambda r: r.envelope.actor in ("decider", "alice")),
    (
        Selection(names=("signal.issued.v1", "strategy.defined.v1")),
        lambda r: r.name in ("signal.issued.v1", "strategy.defined.v1"),
    ),
    (
        Selection(recorded=(1_704_067_230_000_000, 1_704_067_260_000_000)),
        lambda r: 1_704_067_230_000_000 <= microseconds(r.recorded_at) < 1_704_067_260_000_000,
    ),
    (
        Selection(event_time=(START + 10**12, START + 2 * 10**12)),
        lambda r: START + 10**12 <= (r.envelope.event_time or 0) < START + 2 * 10**12,
    ),
    (
        Selection(positions=(50, None), actors=("decider",), names=("outcome.recorded.v1",)),
        lambda r: r.position >= 50 and r.envelope.actor == "decider" and r.name == "outcome.recorded.v1",
    ),
]


@pytest.mark.parametrize(("asked", "admits"), SELECTIONS, ids=lambda v: str(getattr(v, "told", dict)()))
async def test_exactly_what_was_asked_for_is_there_and_with_the_gaps_it_gives_the_root(
    world: World, out: Path, asked: Selection, admits: Admits
) -> None:
    made = await bundle_of(world, asked, out)
    wanted = [record for record in await records_of(world) if admits(record)]
    assert [event["position"] for event in reading.events(out)] == [record.position for record in wanted]
    assert made.events == reading.manifest(out)["events"] == len(wanted) > 0
    assert reading.root(out) == made.root == (await world.seals.sealed()).root  # type: ignore[union-attr]
    assert reading.verified(out, world.key).verdict in ("VALID", "VALID BUT INCOMPLETE")


async def test_every_column_and_the_stored_bytes_come_out_as_they_are_in_the_log(
    world: World, out: Path
) -> None:
    await bundle_of(world, Selection(), out)
    for record, event in zip(await records_of(world), reading.events(out), strict=True):
        e = record.envelope
        assert base64.b64decode(event["state"]) == record.state
        assert event["id"] == str(e.event_id)
        assert [event[n] for n in ("position", "stream", "version", "name", "actor", "trace")] == [
            *(record.position, record.stream, record.version, record.name, e.actor, e.trace)
        ]
        assert event["recorded_at"] == microseconds(record.recorded_at)
        numbers = (e.event_time, record.id_lo, record.id_hi)
        assert [event[n] for n in ("event_time", "id_lo", "id_hi")] == [n and str(n) for n in numbers]
        causes = (e.cause_id, e.correlation_id)
        assert [event[n] for n in ("cause", "correlation")] == [c and str(c) for c in causes]


async def test_random_selections_give_the_root_too(world: World, tmp_path: Path) -> None:
    draw = random.Random(5)
    for n in range(25):
        positions = sorted(draw.sample(range(1, 401), draw.choice([1, 2, 40, 399])))
        out = tmp_path / f"{n}.tar.gz"
        made = await bundle_of(world, Selection(), out, positions=positions)
        assert [event["position"] for event in reading.events(out)] == positions
        assert reading.root(out) == made.root


async def test_the_same_selection_gives_the_same_bytes_whenever_it_is_asked(
    world: World, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.tar.gz", tmp_path / "other-name.tar.gz"
    options: dict[str, Any] = {"tables": ("csv", "parquet")}
    await bundle_of(world, BUT_FEEDER, first, **options)
    await bundle_of(world, BUT_FEEDER, second, **options)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4), "no time in it"
    gzip.decompress(first.read_bytes())


async def test_members_stand_in_their_order_and_the_manifest_says_what_each_is(
    world: World, out: Path
) -> None:
    await bundle_of(world, Selection(), out, tables=("parquet", "csv"), members={"evidence.json": b"{}"})
    names = list(reading.members(out))
    assert names == [
        *("manifest.json", "checkpoint", "signals.txt", "events/000001.jsonl"),
        *("events.csv", "events.parquet", "evidence.json", "verify.py", "README.txt"),
    ]
    assert list(reading.manifest(out)["files"]) == names[1:]


async def test_a_signal_is_there_with_its_decision_its_end_and_what_caused_them(
    world: World, out: Path
) -> None:
    await bundle_of(world, Selection(signal="trial/3"), out)
    found = reading.events(out)
    kinds = [event["name"] for event in found if event["actor"] == "decider"]
    assert kinds == ["decision.made.v1", "signal.issued.v1", "outcome.recorded.v1", "signal.closed.v1"]
    assert {e["event"].get("number", 3) for e in found if e["actor"] == "decider"} == {3}
    ids = {event["id"] for event in found}
    assert all(event["cause"] in ids for event in found if event["cause"]), "each cause is there"
    assert all(event["correlation"] in ids for event in found if event["correlation"])
    assert len(found) == 5, "and nothing else"


async def test_a_decision_names_the_same_events_as_the_number_of_its_signal(
    world: World, tmp_path: Path
) -> None:
    by_number, by_decision = tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"
    await bundle_of(world, Selection(signal="trial/3"), by_number)
    issued = next(e for e in reading.events(by_number) if e["name"] == "signal.issued.v1")
    await bundle_of(world, Selection(signal=issued["event"]["decision"]), by_decision)
    assert reading.leaves(by_decision) == reading.leaves(by_number)


async def test_a_refused_candidate_is_there_with_what_became_of_it(world: World, out: Path) -> None:
    refused = next(
        event
        for record in await records_of(world)
        if getattr(event := codec.decode(record).event, "verdict", "") == "refused"
    )
    await bundle_of(world, Selection(signal=refused.decision), out)
    kinds = [event["name"] for event in reading.events(out)]
    assert kinds[-2:] == ["decision.made.v1", "outcome.recorded.v1"]


@pytest.mark.parametrize(
    "signal", ["trial/9999", "nobody/1", "trial.1/test:BTC_USD/5/7777777", "trial", "a/b"]
)
async def test_a_signal_that_there_is_not_is_refused_by_its_name(
    world: World, out: Path, signal: str
) -> None:
    with pytest.raises(NoSuchSignal, match=signal.rpartition("/")[2]):
        await bundle_of(world, Selection(signal=signal), out)


async def test_a_strategy_is_there_with_all_its_streams_and_no_other_strategys(
    world: World, out: Path
) -> None:
    await bundle_of(world, Selection(strategy="trial"), out)
    streams = {event["stream"] for event in reading.events(out)}
    assert streams == {"strategy-trial", "signals-trial", "decisions-test-BTC_USD-trial.1"}
    with pytest.raises(NothingSelected):
        await bundle_of(world, Selection(strategy="tria"), out)


async def test_as_of_a_position_nothing_later_is_there_and_the_checkpoint_is_the_one_of_then(
    world: World, out: Path
) -> None:
    made = await bundle_of(world, Selection(as_of=AsOf(position=149)), out)
    assert (made.size, made.events) == (100, 100)
    assert reading.manifest(out)["position"] == 100
    at = (await records_of(world))[119].recorded_at
    made = await bundle_of(world, Selection(as_of=AsOf(recorded=microseconds(at))), out)
    assert made.size == 100


async def test_before_the_first_checkpoint_nothing_can_be_proved(world: World, out: Path) -> None:
    with pytest.raises(NotSealed, match="no checkpoint ends at position 49 or before"):
        await bundle_of(world, Selection(as_of=AsOf(position=49)), out)


async def test_nothing_selected_is_said_with_what_was_asked_and_leaves_nothing_behind(
    world: World, out: Path
) -> None:
    with pytest.raises(NothingSelected, match=r"no event up to position \d+ fits .*'actors': \['bob'\]"):
        await bundle_of(world, Selection(actors=("bob",)), out)
    assert not out.with_name(f"{out.name}.partial").exists()
    assert not out.exists()  # noqa: ASYNC240


async def test_an_export_over_its_limit_says_so(world: World, out: Path) -> None:
    with pytest.raises(ExportTooLarge, match="over 1,000 bytes"):
        await bundle_of(world, Selection(), out, max_bytes=1_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"positions": (9, 3)},
        {"leaves": (-1, 3)},
        {"streams": ("",)},
        {"names": ("a",) * 101},
        {"as_of": AsOf()},
        {"as_of": AsOf(position=1, recorded=2)},
        {"signal": ""},
    ],
)
def test_a_selection_that_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSelection):
        Selection(**wrong)


async def test_a_store_that_holds_something_else_than_was_sealed_is_not_exported(out: Path) -> None:
    world = await sealed_log(events=60, seed=9)
    world.store._log[20] = msgspec.structs.replace(world.store._log[20], state=b"{}")
    with pytest.raises(NotItsLeaf, match=r"position 21, .*: its 2 bytes are not those .* leaf 20"):
        await bundle_of(world, Selection(), out)
    world.store._log[20] = msgspec.structs.replace(world.store._log[20], stream="elsewhere")
    with pytest.raises(NotItsLeaf, match="position 21"):
        await bundle_of(world, Selection(), out)


def erase(world: World, position: int) -> None:
    """Delete payload and salt, as shredding does."""
    world.store._log[position - 1] = msgspec.structs.replace(world.store._log[position - 1], state=b"")
    for i, seal in enumerate(world.seals.seals):
        if position in seal.leaves.positions:
            at = 16 * seal.leaves.positions.index(position)
            salts = seal.leaves.salts[:at] + ERASED + seal.leaves.salts[at + 16 :]
            world.seals.seals[i] = replace(seal, leaves=replace(seal.leaves, salts=salts))


async def test_an_erased_payload_leaves_its_leaf_and_every_proof(out: Path) -> None:
    world = await sealed_log(events=60, seed=9)
    erase(world, 33)
    made = await bundle_of(world, Selection(), out)
    assert made.erased == reading.manifest(out)["erased"] == 1
    erased = [event for event in reading.events(out) if event.get("erased")]
    assert [(e["position"], e["state"], e["salt"], e["event"]) for e in erased] == [(33, None, None, None)]
    assert reading.root(out) == made.root
    found = reading.verified(out, world.key)
    assert found.verdict == "VALID BUT INCOMPLETE"


async def test_what_is_withheld_keeps_its_columns_and_hides_its_body(world: World, out: Path) -> None:
    asked = Selection(streams=("signals-trial",), withhold_open=True)
    made = await bundle_of(world, asked, out, withheld=lambda record, _: record.version > 3)
    kept = [event for event in reading.events(out) if event.get("withheld")]
    assert made.withheld == len(kept) == made.events - 3
    assert all(e["state"] is e["salt"] is e["event"] is None and e["commitment"] for e in kept)
    assert reading.root(out) == made.root
    assert reading.verified(out, world.key).verdict == "VALID BUT INCOMPLETE"


async def test_open_signals_are_kept_back_by_the_clock_of_the_checkpoint(world: World, out: Path) -> None:
    """All of this log was decided in 1970 by the venue's clock, and sealed in 2024: nothing is open."""
    made = await bundle_of(world, Selection(strategy="trial", withhold_open=True), out)
    assert made.withheld == 0
    assert reading.manifest(out)["filter"] == {"strategy": "trial", "withhold_open": True}


async def test_the_event_of_an_export_says_who_what_and_out_of_which_tree(out: Path) -> None:
    world = await sealed_log(events=60, seed=9)
    made = await bundle_of(world, Selection(actors=("decider",)), out, actor="bob")
    (record,) = await world.store.read_stream("audit-exports")
    event = codec.decode(record).event
    assert (record.name, record.envelope.actor) == ("audit.exported.v1", "bob")
    assert (event.asked, event.events) == ({"actors": ["decider"]}, made.events)
    assert (event.size, event.root, event.manifest) == (made.size, made.root, made.manifest)


async def test_what_is_not_sealed_yet_is_waited_for_and_then_said(out: Path) -> None:
    world = await sealed_log(events=60, seed=9)
    await bundle_of(world, Selection(), out, actor="bob")  # its own event is not sealed
    last = await world.store.head()
    with pytest.raises(NotSealed, match=rf"position {last} is not sealed after 0 s, .* ends at {last - 1}"):
        await bundle_of(world, Selection(), out, seal_wait_s=0.0)
    made = await bundle_of(world, Selection(actors=("decider",)), out, seal_wait_s=0.0)
    assert made.size == last - 1, "nothing that was asked for is missing in it"
    await world.seal()
    assert (await bundle_of(world, Selection(), out, seal_wait_s=0.0)).size == last


async def test_an_empty_log_says_that_nothing_is_sealed(out: Path) -> None:
    store = MemoryEventStore()
    key = (await sealed_log(events=1)).key
    with pytest.raises(NotSealed, match="nothing is sealed after 0 s"):
        await export(store, MemorySeals(store.leases), Selection(), out, key=key, seal_wait_s=0.0)
