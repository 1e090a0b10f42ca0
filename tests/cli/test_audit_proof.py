"""``alphapulse audit key``, ``checkpoint`` and ``proof`` as a person and a program meet them."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.checkpoint import open_checkpoint
from alphapulse.domain.provenance.leaf import commitment_of, leaf_of
from alphapulse.domain.provenance.merkle import verify_inclusion
from alphapulse.domain.provenance.notes import NoteKey
from tests.provenance.in_database import sealed_database

Run = Callable[..., Result]


@pytest.fixture
def alphapulse(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)
    monkeypatch.setenv("ALPHAPULSE_DATA_DIR", str(tmp_path))

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


def made(
    url: str, tmp_path: Path, events: int, alter: str | None = None
) -> tuple[KeySigner, list[StoredRecord]]:
    """A sealed log whose key lies in the data directory."""

    async def go() -> tuple[KeySigner, list[StoredRecord]]:
        async with sealed_database(url) as log:
            records = list(await log.append(events))
            await log.seal(each=100)
            if alter:
                await log.by_hand(alter)
            return log.signer, records

    signer, records = asyncio.run(go())
    (tmp_path / "seal.key").write_text(signer.secret() + "\n")
    return signer, records


def verified(proof: dict[str, Any], key: NoteKey) -> dict[str, Any]:
    """The line of a proof that holds, by the key alone."""
    checkpoint = open_checkpoint(proof["checkpoint"], key, ed25519)
    hashes = [base64.b64decode(each) for each in proof["proof"]]
    leaf = base64.b64decode(proof["hash"])
    verify_inclusion(proof["leaf"], checkpoint.size, leaf, hashes, checkpoint.root)
    line: dict[str, Any] = proof["line"]
    return line


def test_the_key_is_printed_once_it_is_there(alphapulse: Run, database_url: str, tmp_path: Path) -> None:
    missing = alphapulse("audit", "key")
    assert missing.exit_code == 1
    assert "no key here yet" in str(missing.exception)
    assert not (tmp_path / "seal.key").exists(), "asking makes none"
    signer, _ = made(database_url, tmp_path, 1)
    assert alphapulse("audit", "key").stdout == f"{signer.key}\n"
    told = json.loads(alphapulse("audit", "key", "--json").stdout)
    assert told == {"key": str(signer.key), "origin": signer.key.name, "id": signer.key.id.hex()}


def test_a_checkpoint_is_printed_or_written(alphapulse: Run, database_url: str, tmp_path: Path) -> None:
    signer, _ = made(database_url, tmp_path, 250)
    newest = alphapulse("audit", "checkpoint").stdout
    assert open_checkpoint(newest, signer.key, ed25519).size == 250
    alphapulse("audit", "checkpoint", "--size", 200, "-o", tmp_path / "old.note")
    assert open_checkpoint((tmp_path / "old.note").read_text(), signer.key, ed25519).size == 200
    wrong = alphapulse("audit", "checkpoint", "--size", 201)
    assert (wrong.exit_code, str(wrong.exception)) == (
        1,
        "no checkpoint of exactly 201 leaves: the next has 250",
    )


def test_a_proof_holds_for_whoever_has_the_key(alphapulse: Run, database_url: str, tmp_path: Path) -> None:
    signer, records = made(database_url, tmp_path, 250)
    record = records[122]
    for what in (record.position, record.envelope.event_id):
        proof = json.loads(alphapulse("audit", "proof", what, "--json").stdout)
        line = verified(proof, signer.key)
        assert (proof["format"], proof["key"], proof["leaf"]) == ("alphapulse-proof-1", str(signer.key), 122)
        assert base64.b64decode(line["state"]) == record.state
        commitment = commitment_of(base64.b64decode(line["salt"]), record.state)
        assert leaf_of(record, commitment).hash() == base64.b64decode(proof["hash"])


def test_a_person_is_told_what_was_verified(alphapulse: Run, database_url: str, tmp_path: Path) -> None:
    _, records = made(database_url, tmp_path, 3)
    told = alphapulse("audit", "proof", 2).stdout
    assert "leaf 1 of 3 in example.org/log\n" in told
    assert (
        f"event {records[1].envelope.event_id}: test.fact_noted.v1, version 2 of facts, position 2\n" in told
    )
    assert "payload: as it was sealed\n" in told
    assert "verified: the leaf is under this root, which the key of the log signed\n" in told


def test_what_is_withheld_is_not_in_the_proof(alphapulse: Run, database_url: str, tmp_path: Path) -> None:
    signer, _ = made(database_url, tmp_path, 3)
    alphapulse("audit", "proof", 2, "--withhold", "-o", tmp_path / "proof.json")
    line = verified(json.loads((tmp_path / "proof.json").read_text()), signer.key)
    assert (line["withheld"], line["salt"], line["state"], line["event"]) == (True, None, None, None)


def test_a_store_that_was_changed_gives_the_proof_without_the_event(
    alphapulse: Run, database_url: str, tmp_path: Path
) -> None:
    change = "UPDATE stored_events SET state = 'other', actor = 'x' WHERE notification_id IN (2, 3)"
    signer, _ = made(database_url, tmp_path, 5, change)
    assert verified(json.loads(alphapulse("audit", "proof", 2, "--json").stdout), signer.key) is None
    assert "the store no longer holds what was sealed" in alphapulse("audit", "proof", 3).stdout


def test_without_a_key_the_signature_is_said_to_be_unchecked(
    alphapulse: Run, database_url: str, tmp_path: Path
) -> None:
    signer, _ = made(database_url, tmp_path, 3)
    (tmp_path / "seal.key").unlink()
    told = alphapulse("audit", "proof", 2)
    assert "signature is not checked" in told.stderr
    assert "which the key" not in told.stdout
    assert json.loads(alphapulse("audit", "proof", 2, "--json", "--key", signer.key).stdout)["key"] == str(
        signer.key
    )


@pytest.mark.parametrize(
    "alter",
    [
        "UPDATE log_seals SET hashes = overlay(hashes PLACING '\\x00'::bytea FROM 1 FOR 1)",
        "UPDATE log_seals SET root = sha256('x')",
        "UPDATE log_seals SET note = replace(note, 'example', 'exemple')",
    ],
)
def test_no_proof_is_printed_that_does_not_hold(
    alphapulse: Run, database_url: str, tmp_path: Path, alter: str
) -> None:
    made(database_url, tmp_path, 3, alter)
    wrong = alphapulse("audit", "proof", 2)
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert type(wrong.exception).__name__ in {"BadProof", "BadNote"}


def test_another_key_does_not_open_the_checkpoint(alphapulse: Run, database_url: str, tmp_path: Path) -> None:
    made(database_url, tmp_path, 3)
    other = KeySigner("example.org/log", bytes(32)).key
    for words in (("proof", 2), ("checkpoint",)):
        wrong = alphapulse("audit", *words, "--key", other)
        assert (wrong.exit_code, wrong.stdout) == (1, "")
        assert "not signed by example.org/log" in str(wrong.exception)


def test_what_cannot_be_proved_is_told_with_its_values(
    alphapulse: Run, database_url: str, tmp_path: Path
) -> None:
    nothing = alphapulse("audit", "proof", 1)
    assert (nothing.exit_code, str(nothing.exception)) == (1, "nothing is sealed yet")
    made(database_url, tmp_path, 3)
    late = alphapulse("audit", "proof", 4)
    assert "position 4 is not in the checkpoint of 3 leaves" in str(late.exception)
    wrong = alphapulse("audit", "proof", "seven")
    assert wrong.exit_code == 2
    nobody = "00000000-0000-4000-8000-000000000000"
    assert str(alphapulse("audit", "proof", nobody).exception) == f"no event has id {nobody}"


def test_a_sweep_says_that_nothing_differs_or_what(
    alphapulse: Run, database_url: str, tmp_path: Path
) -> None:
    assert alphapulse("audit", "sweep").stdout == "0 leaves: nothing differs\n"
    change = "UPDATE stored_events SET state = '' WHERE notification_id IN (2, 30)"
    made(database_url, tmp_path, 30, change)
    told = alphapulse("audit", "sweep")
    assert told.exit_code == 1
    assert told.stdout.startswith(
        "30 leaves: 2 x payload erased\nleaf 1: payload erased: 0 bytes of position 2"
    )
    facts = json.loads(alphapulse("audit", "sweep", "--json").stdout)
    assert (facts["leaves"], facts["counts"]) == (30, {"payload erased": 2})
    assert [(f["leaf"], f["fault"], f["position"]) for f in facts["faults"]] == [
        (1, "payload erased", 2),
        (29, "payload erased", 30),
    ]


def test_a_sweep_names_the_first_of_many(alphapulse: Run, database_url: str, tmp_path: Path) -> None:
    made(database_url, tmp_path, 50, "UPDATE stored_events SET actor = 'mallory'")
    lines = alphapulse("audit", "sweep").stdout.splitlines()
    assert (lines[0], lines[-1], len(lines)) == (
        "50 leaves: 50 x columns changed",
        "and 30 more: --json lists them",
        22,
    )


def test_an_honest_log_leaves_a_sweep_with_exit_code_0(
    alphapulse: Run, database_url: str, tmp_path: Path
) -> None:
    made(database_url, tmp_path, 250)
    told = alphapulse("audit", "sweep")
    assert (told.exit_code, told.stdout) == (0, "250 leaves: nothing differs\n")
    (tmp_path / "seal.key").unlink()
    assert "signatures are not checked" in alphapulse("audit", "sweep").stderr
