"""What a verdict is, and what is told beside it: keys, earlier checkpoints, witnesses, what is missing."""

import asyncio
import base64
import importlib
import io
import json
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.verifier import findings, payload
from alphapulse.adapters.verifier.bundle import Asked, verify_bundle
from alphapulse.adapters.verifier.findings import INCOMPLETE, INVALID, VALID, Findings
from alphapulse.adapters.verifier.joining import joined
from alphapulse.adapters.verifier.main import main, verify_file, watchers
from alphapulse.adapters.verifier.note import key_of
from alphapulse.adapters.verifier.report import report_json, report_text
from alphapulse.adapters.verifier.single import verify_proof
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.provenance.anchors import cosign, witness_key
from alphapulse.domain.provenance.leaf import commitment_of
from alphapulse.domain.provenance.notes import parse_note
from alphapulse.domain.provenance.selection import AsOf, Selection
from alphapulse.processes.proving import proof_file
from alphapulse.projections.event_proofs import prove_event
from tests.provenance.forging import (
    Draft,
    Given,
    given_of,
    leaf_of_line,
    packed,
    put,
    rehash,
    repair_manifest,
    value,
)
from tests.provenance.given import STRATEGY, World, bundle_of, sealed_log


@pytest.fixture(scope="module")
def world() -> World:
    return asyncio.run(sealed_log(events=60, seed=5, each=10, rows=3))


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """Bundles that were asked for before."""
    return {}


@pytest.fixture
def make(world: World, made: dict[str, bytes], tmp_path: Path) -> Any:
    def bundle(asked: Selection | None = None, **options: Any) -> Given:
        out, salts = tmp_path / "b.tar.gz", world.seals.seals[1].leaves.salts
        name = f"{asked} {options} {salts.hex()}"
        if name not in made or "withheld" in options:  # two functions may have one name
            out.unlink(missing_ok=True)
            asyncio.run(bundle_of(world, asked or Selection(), out, **options))
            made[name] = out.read_bytes()
        out.write_bytes(made[name])
        return given_of("", out, world.signer, [seal.note for seal in world.seals.seals])

    return bundle


def verdict(data: bytes, asked: Asked) -> Findings:
    return verify_bundle(lambda: io.BytesIO(data), asked)


def honest(given: Given, **asked: Any) -> Findings:
    return verdict(packed(given.members), given.asked._replace(**asked))


def told(found: Findings) -> list[str]:
    return [fault.text for fault in (*found.faults, *found.missing)]


def test_an_honest_bundle_is_valid_and_says_of_what(make: Any, world: World) -> None:
    found = honest(make())
    assert (found.verdict, found.facts["size"], found.facts["events"]) == (
        VALID,
        world.tree.size,
        world.tree.size,
    )
    assert found.facts["key"] == str(world.key)


def test_without_a_key_the_bundles_own_word_is_taken_and_that_is_told(make: Any) -> None:
    found = honest(make(), key=None)
    assert found.verdict == VALID
    assert "nobody said whose key" in report_text(found)
    assert json.loads(report_json(found))["key_was_given"] is False


def test_another_key_is_invalid(make: Any) -> None:
    other = key_of(str(KeySigner("example.org/log", bytes(32)).key))
    found = honest(make(), key=other)
    assert (found.verdict, [f.what for f in found.faults]) == (INVALID, ["key", "checkpoint", None])


@pytest.mark.parametrize("tables", [("csv",), ("parquet",), ("csv", "parquet")])
def test_tables_are_compared_row_by_row(make: Any, tables: tuple[str, ...]) -> None:
    assert honest(make(tables=tables)).verdict == VALID


def test_a_cell_of_parquet_that_was_altered_is_named(make: Any) -> None:
    given = make(tables=("parquet",))
    members = dict(given.members)
    table = pq.read_table(io.BytesIO(members["events.parquet"]))
    actors = table["actor"].to_pylist()
    actors[7] = "mallory"
    at = table.schema.get_field_index("actor")
    made = io.BytesIO()
    pq.write_table(table.set_column(at, "actor", pa.array(actors)), made)
    members["events.parquet"] = made.getvalue()
    repair_manifest(members)
    found = verdict(packed(members), given.asked)
    assert [(f.leaf, f.what) for f in found.faults] == [(7, "actor")]


def test_payloads_that_were_erased_leave_it_valid_but_incomplete(make: Any, world: World) -> None:
    before = world.seals.seals[1]
    salts = bytearray(before.leaves.salts)
    salts[3 * 16 : 4 * 16] = bytes(16)
    world.seals.seals[1] = replace(before, leaves=replace(before.leaves, salts=bytes(salts)))
    try:
        found = honest(make())
    finally:
        world.seals.seals[1] = before
    assert found.verdict == INCOMPLETE
    assert [(f.leaf, f.text) for f in found.missing] == [(13, "its payload was erased")]
    assert "missing: leaf 13: its payload was erased" in report_text(found)


def test_payloads_that_are_withheld_leave_it_valid_but_incomplete(make: Any) -> None:
    found = honest(make(withheld=lambda record, _: record.position == 8))
    assert found.verdict == INCOMPLETE
    assert [(f.leaf, f.text) for f in found.missing] == [(7, "its payload is withheld")]


def test_without_zstd_columns_count_as_not_decoded_and_it_is_valid(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = make()

    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(payload, "_FOUND", [])
    monkeypatch.setattr(importlib, "import_module", missing)
    found = honest(given)
    assert (found.verdict, found.facts["not_decoded"] > 10) == (VALID, True)
    assert "hashed but not decoded: this Python has no zstd" in report_text(found)


@pytest.mark.parametrize("at", range(5))
def test_a_log_that_goes_on_from_a_checkpoint_is_valid_by_its_leaves_alone(make: Any, at: int) -> None:
    given = make()
    found = honest(given, since=given.earlier[at])
    assert found.verdict == VALID


def test_a_bundle_with_gaps_needs_the_proof_that_the_log_goes_on(make: Any) -> None:
    chosen = Selection(positions=(35, 44))
    without = make(chosen)
    assert told(honest(without, since=without.earlier[1])) == [
        "a proof that this log continues the one of 20 leaves that you know"
    ]
    assert honest(make(chosen, since=without.earlier[1]), since=without.earlier[1]).verdict == VALID


def test_a_checkpoint_with_more_leaves_than_the_bundle_is_invalid(make: Any, world: World) -> None:
    given = make(Selection(as_of=AsOf(position=15)))
    found = honest(given, since=given.earlier[-1])
    assert (found.verdict, found.faults[0].what) == (INVALID, "since")


def test_a_checkpoint_of_another_log_is_no_earlier_one(make: Any) -> None:
    given = make()
    other = asyncio.run(sealed_log(events=12, seed=9))
    found = honest(given, since=other.seals.seals[0].note)
    assert "the checkpoint that you hold: not signed by" in told(found)[0]


def test_a_witness_that_was_asked_for_must_have_cosigned(make: Any) -> None:
    given = make()
    witness = KeySigner("witness.example", bytes([3]) * 32)
    key = key_of(str(witness_key(witness.key)))
    assert "not cosigned" in told(honest(given, witnesses=[key]))[0]
    members = dict(given.members)
    note = members["checkpoint"].decode()
    members["checkpoint"] = (note + str(cosign(parse_note(note).text, witness, 1_700_000_000))).encode()
    repair_manifest(members)
    found = verdict(packed(members), given.asked._replace(witnesses=[key]))
    assert (found.verdict, found.said[0]) == (
        VALID,
        "witness.example cosigned it, first at 2023-11-14T22:13:20.000000+00:00",
    )


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Selection(), "leaf 30"),
        (Selection(leaves=(28, 40)), "leaf 30"),
        (Selection(positions=(29, 40)), "leaf 30"),
    ],
)
def test_a_leaf_that_is_missing_of_what_was_asked_for_is_told(make: Any, asked: Selection, says: str) -> None:
    draft = Draft(make(asked))
    at = next(i for i in draft.events if value(draft.lines[i], "leaf") == 30)
    _leave_out(draft, at)
    found = verdict(draft.careful(), draft.given.asked)
    assert (found.verdict, told(found)) == (INCOMPLETE, [says])


def test_a_version_that_is_missing_of_a_stream_is_told(make: Any) -> None:
    stream = f"signals-{STRATEGY}"
    draft = Draft(make(Selection(streams=(stream,))))
    _leave_out(draft, draft.events[1])
    found = verdict(draft.careful(), draft.given.asked)
    assert found.verdict == INCOMPLETE
    assert f"version 2 of {stream}" in told(found)


def test_signals_that_are_missing_of_a_strategy_are_told(make: Any) -> None:
    draft = Draft(make(Selection(strategy=STRATEGY)))
    issued = [i for i in draft.events if value(draft.lines[i], "name").startswith("signal.issued")]
    _leave_out(draft, issued[-1])
    found = verdict(draft.careful(), draft.given.asked)
    assert found.verdict == INCOMPLETE
    assert f"1 of {len(issued)} signals of {STRATEGY}" in told(found)


def test_of_many_faults_the_first_twenty_are_told(make: Any) -> None:
    draft = Draft(make())
    for i in draft.events:
        put(draft.lines[i], "actor", "mallory")
    found = verdict(draft.careful(), draft.given.asked)
    assert [f.leaf for f in found.faults] == list(range(findings.MAX_FAULTS))
    assert found.said[-1] == "stopped after 20 faults"


def test_of_much_that_is_missing_the_first_twenty_are_told_and_all_counted(make: Any, world: World) -> None:
    found = honest(make(withheld=lambda record, _: True))
    assert len(found.missing) == findings.MAX_MISSING
    assert json.loads(report_json(found))["missing_in_all"] >= world.tree.size
    assert "missing: " in report_text(found)
    assert " more\n" in report_text(found)


def test_one_who_hides_a_hole_by_a_wrong_number_of_nodes_is_found(make: Any) -> None:
    draft = Draft(make(Selection(leaves=(10, 20))))
    gap = next(line for line in draft.lines if "gap" in line)
    put(gap, "nodes", value(gap, "nodes")[1:])
    found = verdict(draft.careful(), draft.given.asked)
    assert [f.what for f in found.faults] == ["nodes"]


def test_an_event_that_nobody_asked_for_is_found(make: Any) -> None:
    given = make(Selection(actors=("feeder",)))
    members = dict(given.members)
    manifest = json.loads(members["manifest.json"])
    manifest["filter"] = {"actors": ["alice"]}
    members["manifest.json"] = json.dumps(manifest).encode()
    found = verdict(packed(members), given.asked)
    assert {f.what for f in found.faults} == {"filter"}


@pytest.mark.parametrize("seed", range(25))
def test_garbage_in_any_member_is_invalid_with_a_reason_and_soon(make: Any, seed: int) -> None:
    random = Random(seed)
    given = make(Selection(leaves=(5, 30)), tables=("csv", "parquet"), since=None)
    members = dict(given.members)
    name = random.choice([n for n in members if n not in ("README.txt", "verify.py")])
    filler = random.choice(
        [b"", b"\0" * 5_000, b"[" * 90_000, b'{"a":' * 20_000, b"\xff\xfe{", b"9" * 90_000]
    )
    members[name] = random.choice(
        [filler, filler + b"\n", members[name] + filler + b"x", random.randbytes(999)]
    )
    if name != "manifest.json":
        repair_manifest(members) if not name.startswith("events/") else None
    begun = time.monotonic()
    found = verdict(packed(members), given.asked)
    assert (found.verdict, time.monotonic() - begun < 10) == (INVALID, True)
    assert told(found)[0]


LINES = [
    b"",
    b"null",
    b"5",
    b"{}",
    b'{"gap":[0,1]}',
    b'{"gap":[0,1],"nodes":[]}',
    b'{"gap":[1,0],"nodes":[]}',
    b'{"gap":[0,1e3],"nodes":[]}',
    b'{"gap":[0,4611686018427387904],"nodes":[]}',
    b'{"gap":"","nodes":[]}',
    b'{"gap":[0,1],"nodes":[5]}',
    b'{"gap":[0,1],"nodes":["QQ=="]}',
    b'{"leaf":0}',
    b'{"leaf":0,"leaf":0}',
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_neither_event_nor_gap_is_refused(make: Any, line: bytes) -> None:
    given = make()
    members = dict(given.members)
    members["events/000001.jsonl"] = line + b"\n" + members["events/000001.jsonl"]
    found = verdict(packed(members), given.asked)
    assert found.verdict == INVALID
    assert found.faults[0].leaf == 0


@pytest.mark.parametrize(
    ("name", "new"),
    [
        *(
            ("leaf", "0"),
            ("leaf", None),
            ("position", 1.5),
            ("position", 2**63),
            ("id", "x"),
            ("id", "A" * 36),
        ),
        *(("stream", 5), ("version", True), ("recorded_at", 2**64), ("event_time", 5), ("event_time", "05")),
        *(("event_time", "9" * 19), ("cause", 1), ("trace", 1), ("id_lo", "1"), ("commitment", "QQ==")),
        *(("salt", None), ("state", None), ("hash", "x"), ("withheld", False), ("more", 1)),
    ],
)
def test_a_field_of_another_form_is_refused(make: Any, name: str, new: object) -> None:
    draft = Draft(make())
    line = draft.lines[4]
    line[name] = msgspec.Raw(json.dumps(new).encode())
    found = verdict(draft.careful(), draft.given.asked)
    assert found.verdict == INVALID
    assert found.faults[0].leaf == 4
    assert {found.faults[0].what} <= {name, "state", "columns", "columns or hash", None}


def test_a_payload_of_another_kind_is_hashed_and_told_as_unreadable(make: Any) -> None:
    """Signed by the true key: bytes that are neither JSON nor columns, shown as nothing."""
    draft = Draft(make())
    put(draft.lines[4], "state", base64.b64encode(b"\xa9X\x01binary").decode())
    rehash(draft.lines[4])
    draft.sign(draft.given.signer)
    found = verdict(draft.careful(), draft.given.asked)
    assert (found.verdict, found.facts["unreadable"]) == (VALID, 1)
    assert "1 of a kind that cannot be read here" in report_text(found)


async def test_the_proof_of_one_event_is_verified_too(world: World) -> None:
    made = proof_file(await prove_event(world.store, world.seals, 9), world.key)
    data = msgspec.json.encode(made)
    asked = Asked(key=key_of(str(world.key)))
    assert verify_proof(data, asked).verdict == VALID
    for name, value_ in (
        ("leaf", 7),
        ("hash", "A" * 43 + "="),
        ("proof", []),
        ("checkpoint", "x"),
        ("line", 5),
    ):
        broken = {**json.loads(data), name: value_}
        assert verify_proof(json.dumps(broken).encode(), asked).verdict == INVALID, name
    for field in ("actor", "event", "salt", "state", "commitment", "hash"):
        broken = json.loads(data)
        broken["line"][field] = broken["line"]["commitment" if field != "commitment" else "hash"]
        assert verify_proof(json.dumps(broken).encode(), asked).verdict == INVALID, field
    for garbage in (b"{", b"{}", b"\xff", b"{" * 100_000):
        assert verify_proof(garbage, asked).verdict == INVALID


async def test_a_proof_without_its_event_or_its_payload_is_incomplete(world: World) -> None:
    found = await prove_event(world.store, world.seals, 9)
    data = msgspec.json.encode(proof_file(found, world.key, withheld=True))
    assert told(verify_proof(data, Asked())) == ["its payload is withheld"]
    without = {**json.loads(data), "line": None}
    assert verify_proof(json.dumps(without).encode(), Asked()).verdict == INCOMPLETE


def test_the_command_says_what_the_script_says_and_ends_alike(
    make: Any, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Selection(strategy=STRATEGY))
    bundle, key, since = tmp_path / "b.tar.gz", tmp_path / "key", tmp_path / "since"
    key.write_text(f"{world.key}\n")
    since.write_text(world.seals.seals[-1].note)
    forged = tmp_path / "forged.tar.gz"
    forged.write_bytes(bundle.read_bytes()[:-900])
    for path, words, code in (
        (bundle, ("--key", key, "--since", since), 0),
        (bundle, ("--key", world.key, "--json"), 0),
        (bundle, ("--witness", world.key), 3),
        (forged, (), 1),
        (bundle, ("--key", "nonsense"), 2),
        (tmp_path / "no-such", (), 2),
    ):
        arguments = [str(word) for word in (path, *words)]
        done = CliRunner().invoke(group("alphapulse", HELP, COMMANDS), ["audit", "verify", *arguments])
        assert (done.exit_code, main(arguments)) == (code, code), arguments
        assert done.stdout == capsys.readouterr().out


def test_the_command_prints_the_script() -> None:
    done = CliRunner().invoke(group("alphapulse", HELP, COMMANDS), ["audit", "script"])
    assert (done.exit_code, done.stdout) == (0, joined())


def test_progress_is_told_in_bytes_of_the_file(make: Any, tmp_path: Path) -> None:
    make()
    bundle = tmp_path / "b.tar.gz"
    seen: list[int] = []
    verify_file(str(bundle), Asked(), seen.append)
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= bundle.stat().st_size


def _leave_out(draft: Draft, at: int) -> None:
    """Put a gap where an event was."""
    leaf, node = value(draft.lines[at], "leaf"), value(draft.lines[at], "hash")
    draft.lines[at] = {}
    put(draft.lines[at], "gap", [leaf, leaf + 1])
    put(draft.lines[at], "nodes", [node])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_publisher_signs_the_verifier_comes_to_a_verdict(make: Any, seed: int) -> None:
    """Payloads of strategies, signals and outcomes altered and sealed anew by who has the key."""
    random = Random(seed)
    draft = Draft(make())
    for at in random.sample(list(draft.events), 8):
        line = draft.lines[at]
        state = base64.b64decode(value(line, "state"))
        if state[:1] == b"{":
            odd = json.dumps(_altered(random, json.loads(state))).encode()
            put(line, "state", base64.b64encode(odd).decode())
            put(line, "name", random.choice([value(line, "name"), "signal.issued.v1", "outcome.recorded.v1"]))
            rehash(line)
    draft.sign(draft.given.signer)
    data = draft.careful()
    found = verify_bundle(lambda: io.BytesIO(data), draft.given.asked, watchers())
    assert found.verdict in (VALID, INVALID, INCOMPLETE)


@pytest.mark.parametrize("depth", [200, 900, 3_000, 50_000])
def test_what_is_nested_deeply_is_read_or_refused(make: Any, depth: int) -> None:
    draft = Draft(make(tables=("csv",)))
    line = next(line for line in draft.lines if value(line, "name") == "strategy.defined.v1")
    state = b'{"a":' * depth + b"1" + b"}" * depth
    put(line, "state", base64.b64encode(state).decode())
    put(line, "commitment", commitment_of(base64.b64decode(value(line, "salt")), state))
    put(line, "hash", leaf_of_line(line).hash())
    line["event"] = msgspec.Raw(state)
    draft.sign(draft.given.signer)
    data = draft.careless()
    found = verify_bundle(lambda: io.BytesIO(data), draft.given.asked, watchers())
    assert found.verdict == INVALID  # the manifest is not of these events, at least


def _altered(random: Random, old: Any) -> Any:
    """``old`` with something odd somewhere in it."""
    if isinstance(old, dict) and old and random.random() < 0.8:
        key = random.choice(list(old))
        rest = {name: each for name, each in old.items() if name != key}
        return rest if random.random() < 0.15 else {**old, key: _altered(random, old[key])}
    if isinstance(old, list) and old and random.random() < 0.8:
        at = random.randrange(len(old))
        return [*old[:at], _altered(random, old[at]), *old[at + 1 :]]
    return random.choice([None, True, -1, 1e308, 2**70, "", "x", [], {}, [1], [[]] * 3, "9" * 50, -(2**63)])
