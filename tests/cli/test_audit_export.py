"""``alphapulse audit export`` as a command: on a real database, killed, called wrongly."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from alphapulse.adapters.provenance.keys import KeySigner
from tests.launch import command_line, eventually, finished
from tests.provenance import reading
from tests.provenance.given import tell_story
from tests.provenance.in_database import sealed_database


class Log(NamedTuple):
    url: str
    data_dir: Path
    signer: KeySigner
    note: str  # the newest checkpoint

    @property
    def variables(self) -> dict[str, str]:
        return {"ALPHAPULSE_DATABASE_URL": self.url, "ALPHAPULSE_DATA_DIR": str(self.data_dir)}

    def export(self, *words: object) -> Any:
        return finished("audit", "export", *words, **self.variables)


async def fill(url: str, events: int, more: int) -> tuple[KeySigner, str]:
    async with sealed_database(url) as log:
        await tell_story(log.store, events=events)
        if more:
            await log.append(more, stream="many", size=200)
        await log.seal()
        last = await log.seals.sealed()
        assert last is not None
        return log.signer, last.note


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Log:
    return made(database_url, tmp_path, 0)


def made(url: str, folder: Path, more: int) -> Log:
    signer, note = asyncio.run(fill(url, 150, more))
    (folder / "seal.key").write_text(signer.secret() + "\n")
    return Log(url, folder, signer, note)


def test_a_command_writes_a_bundle_that_verifies_and_says_what_is_in_it(log: Log, tmp_path: Path) -> None:
    out, since = tmp_path / "out.tar.gz", tmp_path / "since.note"
    since.write_text(log.note)
    done = log.export(
        out, "--strategy", "trial", "--since", since, "--csv", "--parquet", "--by", "bob", "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["out"] == str(out)
    assert told["events"] == len(reading.events(out)) == len(reading.table(out))
    assert told["bytes"] == out.stat().st_size
    found = reading.verified(out, log.signer.key, since=log.note)
    assert (found.verdict, found.faults) == ("VALID", [])
    script = tmp_path / "verify.py"
    script.write_bytes(reading.members(out)["verify.py"])
    words = [sys.executable, "-I", *map(str, (script, out, "--key", log.signer.key, "--since", since))]
    alone = subprocess.run(words, capture_output=True, text=True)
    assert (alone.returncode, alone.stdout.split("\n")[0]) == (0, "VALID")


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--positions", "a..3"], 2, "is not FIRST..LAST"),
        (["--signal", "trial/99"], 1, "strategy 'trial' has issued no signal 99"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_and_leaves_no_file(
    log: Log, tmp_path: Path, words: list[str], code: int, why: str
) -> None:
    out = tmp_path / "out.tar.gz"
    done = log.export(out, *words)
    assert done.returncode == code
    assert why in " ".join(done.stderr.replace("│", " ").split())
    assert not out.exists()


def test_a_file_that_is_there_is_replaced_only_when_that_is_asked(log: Log, tmp_path: Path) -> None:
    out = tmp_path / "out.tar.gz"
    out.write_text("mine")
    refused = log.export(out, "--stream", "signals-trial")
    assert (refused.returncode, out.read_text()) == (1, "mine")
    assert "is there already: choose another name, or --force" in refused.stderr
    done = log.export(out, "--leaves", "5..9", "--force")
    assert done.stdout.startswith(f"{out}: 5 events, ")
    assert "0 anchors, out of a tree of 1" in done.stdout
    assert len(reading.events(out)) == 5


def test_without_a_key_that_is_said(log: Log, tmp_path: Path) -> None:
    (log.data_dir / "seal.key").unlink()
    done = log.export(tmp_path / "out.tar.gz")
    assert done.returncode == 1
    assert "there is no key of a log in" in done.stderr
    assert not (log.data_dir / "seal.key").exists(), "an export makes none"


@pytest.fixture
def long_log(database_url: str, tmp_path: Path) -> Log:
    return made(database_url, tmp_path, 45_000)


@pytest.mark.long
def test_killed_again_and_again_it_goes_on_and_ends_with_the_same_bytes(
    long_log: Log, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole.tar.gz", tmp_path / "killed.tar.gz"
    words = ("--as-of", "45000", "--csv", "--by", "bob")
    assert long_log.export(whole, *words).returncode == 0
    parts = 0
    for _ in range(3):
        with command_line("audit", "export", killed, *words, as_user=False, **long_log.variables) as process:
            state = killed.with_name("killed.tar.gz.partial") / "state.json"

            def has_more(state: Path = state, before: int = parts) -> bool:
                return state.exists() and len(json.loads(state.read_text())["parts"]) > before

            eventually(has_more)
            time.sleep(0.02)
            process.kill()
            process.wait()
        assert not killed.exists()
        parts = len(json.loads(state.read_text())["parts"])
    assert long_log.export(killed, *words).returncode == 0
    assert killed.read_bytes() == whole.read_bytes()
    assert len([name for name in reading.members(killed) if name.startswith("events/")]) == 5
