"""Evidence of a signal convinces a stranger; what was changed, left out or made up is refused, and named."""

import asyncio
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.verifier import payload
from alphapulse.adapters.verifier.bundle import verify_bundle
from alphapulse.adapters.verifier.findings import INCOMPLETE, INVALID, VALID, Findings
from alphapulse.adapters.verifier.main import asked_of, verify_file, watchers
from alphapulse.domain.analysis.models import stream_of as model_stream
from alphapulse.domain.decision.strategy import Gate
from alphapulse.domain.ports import NewEvent, StoredRecord
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes.audit_chosen import NoSuchSignal
from alphapulse.processes.auditing import export
from alphapulse.processes.evidence import Evidence, evidence
from tests import decision_events as given
from tests.domain.signals.engine_world import closes_and_volumes, log, strategy, trade_events
from tests.provenance.decided_world import decided_world, empty_world, signals_of
from tests.provenance.forging import given_of
from tests.provenance.given import World
from tests.provenance.tampers import TAMPERS


@pytest.fixture(scope="module")
def world() -> World:
    return asyncio.run(decided_world())


async def written(world: World, signal: str, out: Path) -> Evidence:
    return await evidence(world.store, world.seals, signal, out, key=world.key)


def verified(out: Path, world: World) -> Findings:
    return verify_file(str(out), asked_of(str(world.key), None, []))


async def test_evidence_of_every_signal_is_valid_and_its_outcome_comes_out_equal(
    world: World, tmp_path: Path
) -> None:
    issued = await signals_of(world.store)
    assert len(issued) >= 20
    reasons, lost = set(), (await a_loss(world))[0]
    for number in {1, len(issued), lost, *range(2, len(issued), 5)}:
        out = tmp_path / f"{number}.tar.gz"
        told = (await written(world, f"world/{number}", out)).told
        found = verified(out, world)
        assert found.verdict == VALID, found
        assert found.facts["evidence"]["outcome"] == "equal"
        assert told["roles"].keys() == {"strategy", "calibration", "decision", "signal", "closed", "outcome"}
        reasons.add(told["came_out"]["reason"])
    assert len(reasons) > 1


async def test_evidence_of_a_refused_candidate_is_found_by_its_decision(world: World, tmp_path: Path) -> None:
    records = (await world.store.read(0, names=["decision.made.v1"])).records
    made = [codec.decode(record).event for record in records]
    refused = next(each for each in made if each.refusals and each.claim.calibration)
    told = (await written(world, refused.decision, tmp_path / "x.tar.gz")).told
    assert told["number"] is None
    assert "signal" not in told["roles"]
    found = verified(tmp_path / "x.tar.gz", world)
    assert (found.verdict, found.facts["evidence"]["outcome"]) == (VALID, "equal")


@pytest.mark.parametrize(
    "named", ["world/999", "ghost/1", "nonsense", "world.1/test:M0/1/1", "world.x/a:b/1/1"]
)
async def test_what_is_not_there_has_no_evidence(world: World, tmp_path: Path, named: str) -> None:
    with pytest.raises(NoSuchSignal, match=r"no signal|no decision|neither"):
        await written(world, named, tmp_path / "x.tar.gz")
    assert not (tmp_path / "x.tar.gz").exists()


async def test_the_script_in_the_bundle_says_the_same(world: World, tmp_path: Path) -> None:
    """Alone, with nothing of ours to import."""
    out = tmp_path / "x.tar.gz"
    await written(world, "world/1", out)
    with tarfile.open(out) as archive:
        archive.extract("verify.py", tmp_path, filter="data")
    command = [sys.executable, "-I", str(tmp_path / "verify.py"), str(out), "--key", str(world.key), "--json"]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, cwd=tmp_path, timeout=60)
    told = json.loads(run.stdout)
    assert (run.returncode, told["verdict"]) == (0, VALID), run
    assert told["evidence"]["outcome"] == "equal"


async def test_a_python_without_zstd_says_that_it_did_not_derive_the_outcome(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(world, "world/1", tmp_path / "x.tar.gz")
    monkeypatch.setattr(payload, "_FOUND", [None])
    found = verified(tmp_path / "x.tar.gz", world)
    assert (found.verdict, found.facts["evidence"]["outcome"]) == (INCOMPLETE, "not recomputed")
    assert any("zstandard" in text for text in found.said)


# ---- what somebody who makes the log, and signs it, might wish to be true


def changed_outcome(event: Any) -> None:
    event["outcome"].update(reason="target", label=1, worst_label=1, best_label=1, net_bps=25.0)


def changed_bps(event: Any) -> None:
    event["outcome"]["net_bps"] += 5.0


def changed_time(event: Any) -> None:
    event["outcome"]["closed_at"] -= 60_000_000_000


def changed_stop(event: Any) -> None:
    event["stop"] -= 0.5 * event["side"]


def changed_confidence(event: Any) -> None:
    event["claim"]["confidence"] = 0.99


def changed_entry(event: Any) -> None:
    event["entry"] += 0.01


FORGERIES: dict[str, tuple[dict[str, Callable[[Any], None]], str]] = {
    "a win": ({"outcome.recorded.v1": changed_outcome}, "reason: recorded 'target'"),
    "a better result": ({"outcome.recorded.v1": changed_bps}, "net_bps: recorded"),
    "an earlier exit": ({"outcome.recorded.v1": changed_time}, "closed_at: recorded"),
    "a wider stop of the signal": ({"signal.issued.v1": changed_stop}, "stop is"),
    "a wider stop": (
        {"signal.issued.v1": changed_stop, "decision.made.v1": changed_stop},
        "the decision does not follow from its numbers: stop",
    ),
    "a surer claim": ({"decision.made.v1": changed_confidence}, "numbers: confidence: recorded"),
    "a better entry": (
        {"signal.issued.v1": changed_entry, "decision.made.v1": changed_entry},
        "no event of the market has the entry",
    ),
}


async def forged(world: World, changes: dict[str, Callable[[Any], None]], decision: str) -> World:
    """The same log, but for what was changed in what belongs to ``decision``; sealed and signed anew."""
    other = empty_world()
    for record in (await world.store.read(0, limit=10_000)).records:
        await other.store.append([altered(record, changes.get(record.name), decision)])
    await other.seal()
    return other


def altered(record: StoredRecord, change: Callable[[Any], None] | None, decision: str) -> NewEvent:
    fields = {name: getattr(record, name) for name in NewEvent.__struct_fields__}
    if change is not None:
        event = msgspec.json.decode(record.state)
        if event["decision"] == decision:
            change(event)
            fields["state"] = msgspec.json.encode(event)
    return NewEvent(**fields)


async def a_loss(world: World) -> tuple[int, str]:
    """Number and decision of a signal that was stopped out."""
    records = (await world.store.read(0, names=["outcome.recorded.v1"])).records
    told = [codec.decode(record).event for record in records]
    lost = next(each for each in told if each.number and not each.outcome.label)
    return lost.number, lost.decision


@pytest.mark.parametrize("wish", FORGERIES)
async def test_what_the_maker_of_the_log_made_up_does_not_follow_from_the_rest(
    world: World, tmp_path: Path, wish: str
) -> None:
    changes, told = FORGERIES[wish]
    number, decision = await a_loss(world)
    other = await forged(world, changes, decision)
    out = tmp_path / "x.tar.gz"
    await written(other, f"world/{number}", out)
    found = verified(out, other)
    assert found.verdict == INVALID
    assert any(told in fault.text for fault in found.faults), found.faults


async def test_a_log_that_is_only_sealed_anew_stays_valid(world: World, tmp_path: Path) -> None:
    """Or the refusals above might be of the copying."""
    number, decision = await a_loss(world)
    other = await forged(world, {}, decision)
    await written(other, f"world/{number}", tmp_path / "x.tar.gz")
    assert verified(tmp_path / "x.tar.gz", other).verdict == VALID


# ---- what somebody who makes the bundle might leave out or mix up


async def other_bundle(
    world: World, found: Evidence, out: Path, *, without: set[int] = frozenset(), told: Any = None
) -> Findings:
    """The evidence with other positions, or with another evidence.json; all proofs are honest."""
    positions = {record.position for record in await of_evidence(world, found)}
    await export(
        world.store,
        world.seals,
        Selection(),
        out,
        key=world.key,
        kind="evidence",
        positions=sorted(positions - without),
        members={"evidence.json": json.dumps(told or dict(found.told)).encode()},
    )
    return verified(out, world)


async def of_evidence(world: World, found: Evidence) -> list[StoredRecord]:
    models = {leaf for model in found.told["models"] for leaf in model["leaves"]}
    leaves = set(found.told["roles"].values()) | set(found.told["exits"]) | models
    sealed = await world.seals.leaves(0, world.tree.size)
    positions = {sealed.positions[leaf] for leaf in leaves} | found.market.positions
    records = (await world.store.read(0, limit=10_000)).records
    return [record for record in records if record.position in positions]


async def with_long_slice(world: World, tmp_path: Path) -> Evidence:
    """Evidence whose slice has events between the first and the last."""
    for each in await signals_of(world.store):
        out = tmp_path / f"long-{each.event.number}.tar.gz"
        found = await written(world, f"world/{each.event.number}", out)
        if len(found.market.positions) >= 3:
            return found
    raise AssertionError("no signal lasted long enough")


@pytest.fixture(scope="module")
def fine_world() -> World:
    """Trades come ten at a time: a signal lives through several events."""
    tapes = {}
    for name, seed in (("M0", 1), ("M1", 2)):
        closes, volumes = closes_and_volumes(seed, 1_200, edge=3e-4)
        tapes[name] = trade_events(name, closes, volumes, seed=seed, size=10)
    easy = strategy(gate=Gate(threshold=0.4, margin=-1.0))
    return asyncio.run(decided_world([event for _, _, event in log(tapes)], each=40, defined=easy))


@pytest.mark.parametrize("which", [0, 1, -2])
async def test_an_event_of_the_market_that_was_left_out_is_missed(
    fine_world: World, tmp_path: Path, which: int
) -> None:
    found = await with_long_slice(fine_world, tmp_path)
    until = found.market.last
    inside = sorted(position for position in found.market.positions if position <= until)
    out = tmp_path / "x.tar.gz"
    assert (await other_bundle(fine_world, found, out)).verdict == VALID
    out.unlink()
    judged = await other_bundle(fine_world, found, out, without={inside[which]})
    assert judged.verdict == INVALID
    assert any(fault.what in ("market", "entry") for fault in judged.faults), judged.faults


async def test_an_event_of_a_role_that_is_not_there_is_missed(world: World, tmp_path: Path) -> None:
    found = await written(world, "world/1", tmp_path / "a.tar.gz")
    sealed = await world.seals.leaves(0, world.tree.size)
    for role, leaf in found.told["roles"].items():
        out = tmp_path / f"{role}.tar.gz"
        judged = await other_bundle(world, found, out, without={sealed.positions[leaf]})
        assert judged.verdict == INVALID
        assert any(fault.what == role for fault in judged.faults), (role, judged.faults)


async def test_the_decision_of_another_signal_is_not_its_own(world: World, tmp_path: Path) -> None:
    one = await written(world, "world/1", tmp_path / "1.tar.gz")
    two = await written(world, "world/2", tmp_path / "2.tar.gz")
    swapped = {**one.told, "roles": {**one.told["roles"], "signal": two.told["roles"]["signal"]}}
    judged = await other_bundle(world, two, tmp_path / "x.tar.gz", told=swapped)
    assert judged.verdict == INVALID


WORDS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "number": (("number",), 7),
    "decision": (("decision",), "other"),
    "claimed": (("claimed", "confidence"), 0.99),
    "came_out": (("came_out", "net_bps"), 99.0),
    "features": (("features", "of_the_decision", "regime"), "none"),
    "market": (("market", "versions", "bars-test-M0-1m"), [1, 99]),
}


@pytest.mark.parametrize("what", WORDS)
async def test_what_the_evidence_says_in_its_own_words_is_what_the_events_say(
    world: World, tmp_path: Path, what: str
) -> None:
    found = await written(world, "world/1", tmp_path / "1.tar.gz")
    told = msgspec.json.decode(msgspec.json.encode(found.told))
    path, value = WORDS[what]
    place = told
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    judged = await other_bundle(world, found, tmp_path / "x.tar.gz", told=told)
    assert judged.verdict == INVALID
    assert f"{what} is not what the events say" in [fault.text for fault in judged.faults]


async def test_random_tampering_with_evidence_is_found(world: World, tmp_path: Path) -> None:
    """Whatever is done to it, those who judge the events neither miss it nor stumble."""
    out = tmp_path / "x.tar.gz"
    await written(world, "world/1", out)
    honest = given_of("evidence", out, world.signer, [seal.note for seal in world.seals.seals])
    kinds = set()
    for number in range(80):
        random = Random(number)
        kind = random.choice(list(TAMPERS))
        forged = TAMPERS[kind](random, honest)
        if forged is not None:
            kinds.add(kind)
            judged = verify_bundle(lambda data=forged.data: io.BytesIO(data), forged.asked, watchers())
            assert judged.verdict != VALID, (number, kind, forged.how)
    assert len(kinds) > 10


async def test_an_open_signal_has_evidence_without_an_outcome(fine_world: World, tmp_path: Path) -> None:
    """Out of a log that ends with the signal."""
    told = (await fine_world.store.read(0, names=["outcome.recorded.v1"])).records
    closed = {codec.decode(record).event.number: record.position for record in told}
    issued = await signals_of(fine_world.store)
    signal = next(each for each in issued if closed.get(each.event.number, each.position) >= each.position)
    other = empty_world()
    for record in (await fine_world.store.read(0, until=signal.position, limit=10_000)).records:
        await other.store.append([altered(record, None, "")])
    await other.seal()
    found = await written(other, f"world/{signal.event.number}", tmp_path / "x.tar.gz")
    assert found.told["came_out"] is None
    judged = verified(tmp_path / "x.tar.gz", other)
    assert (judged.verdict, judged.facts["evidence"]["outcome"]) == (VALID, "open")


# ---- models that voted


async def with_model(world: World, *, after: bool = False) -> tuple[World, str]:
    """The log in which a fitted model voted for signal 1, recorded before its decision or after."""
    signal = (await signals_of(world.store))[0]
    fitted = given.like_sample("models.fitted.v1")
    name, decision = f"{fitted.model.name}.{fitted.version}", signal.event.decision
    other, records = empty_world(), (await world.store.read(0, limit=10_000)).records

    shift = 0 if after else 1  # of all positions, by the model in front

    def voted(event: Any) -> None:
        event["votes"][0]["model"] = name
        event["position"] += shift

    def named(event: Any) -> None:
        event["models"] = [name]
        event["position"] += shift

    def closed(event: Any) -> None:
        event["outcome"]["position"] += shift

    changes = {"decision.made.v1": voted, "signal.issued.v1": named, "outcome.recorded.v1": closed}
    new = [altered(record, changes.get(record.name), decision) for record in records]
    model = codec.new_event(model_stream(fitted.model.name), 1, fitted)
    for event in [*new, model] if after else [model, *new]:
        await other.store.append([event])
    await other.seal()
    return other, fitted.digest


async def test_a_model_that_voted_is_there_with_its_digest(world: World, tmp_path: Path) -> None:
    other, digest = await with_model(world)
    found = await written(other, "world/1", tmp_path / "x.tar.gz")
    (model,) = found.told["models"]
    assert (model["digest"], model["leaves"]) == (digest, [0])
    assert verified(tmp_path / "x.tar.gz", other).verdict == VALID


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"digest": "0" * 64}, "its digest is not 000"),
        ({"leaves": [1]}, "its digest is not"),
        (None, "is not here"),
    ],
)
async def test_another_model_than_voted_is_found(
    world: World, tmp_path: Path, change: dict[str, Any] | None, told: str
) -> None:
    other, _ = await with_model(world)
    found = await written(other, "world/1", tmp_path / "1.tar.gz")
    (model,) = found.told["models"]
    models = [] if change is None else [{**model, **change}]
    judged = await other_bundle(other, found, tmp_path / "x.tar.gz", told={**found.told, "models": models})
    assert judged.verdict == INVALID
    assert any(told in fault.text for fault in judged.faults), judged.faults


async def test_a_model_that_was_recorded_after_the_decision_is_found(world: World, tmp_path: Path) -> None:
    other, _ = await with_model(world, after=True)
    await written(other, "world/1", tmp_path / "x.tar.gz")
    judged = verified(tmp_path / "x.tar.gz", other)
    assert judged.verdict == INVALID
    assert any("is a leaf after the decision" in fault.text for fault in judged.faults)


@pytest.mark.parametrize("told", [{}, [], {"format": "alphapulse-evidence-1"}, {"format": "other"}])
async def test_an_evidence_file_that_says_nothing_sensible_is_refused(
    world: World, tmp_path: Path, told: Any
) -> None:
    found = await written(world, "world/1", tmp_path / "1.tar.gz")
    out = tmp_path / "x.tar.gz"
    await export(
        world.store,
        world.seals,
        Selection(),
        out,
        key=world.key,
        kind="evidence",
        positions=sorted(found.market.positions),
        members={"evidence.json": json.dumps(told).encode()},
    )
    judged = verified(out, world)
    assert judged.verdict == INVALID
    assert judged.faults[0].what == "evidence.json"
