"""Commands that seal: a restored database, or a key that does not fit, ends them with one sentence."""

import asyncio
import signal
from pathlib import Path

import psycopg
import pytest

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.provenance.kept import FOLDER, KeptCheckpoint
from alphapulse.adapters.provenance.keys import KeySigner, load_or_create_signer, load_signer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.provenance.checkpoint import Checkpoint
from alphapulse.processes.wiring import SEAL_KEY
from tests.adapters.store.events import event
from tests.launch import command_line, eventually, finished
from tests.servers import fresh_database


def sealed(url: str) -> int:
    with psycopg.connect(url) as db:
        [size] = db.execute("SELECT coalesce(max(size), 0) FROM log_seals").fetchone() or [0]
        return int(size)


async def append(url: str) -> None:
    async with PostgresEventStore(url) as store:
        await store.append([event("s", 1)])


def pretend(data: Path, size: int) -> KeySigner:
    """A key, and a kept checkpoint of a tree that no database here holds."""
    signer = load_or_create_signer(data / SEAL_KEY, "example.org/log")
    note = Checkpoint(origin=signer.key.name, size=size, root=b"r" * 32).sign(signer)
    KeptCheckpoint(data / FOLDER, signer.key.name).keep(str(note))
    return signer


def test_the_role_makes_its_key_once_and_seals_under_its_name(database_url: str, tmp_path: Path) -> None:
    asyncio.run(append(database_url))
    keys = []
    for _ in range(2):
        with command_line(
            *("run", "seal"),
            ALPHAPULSE_DATABASE_URL=database_url,
            ALPHAPULSE_DATA_DIR=str(tmp_path),
            ALPHAPULSE_ORIGIN="example.org/mine",
        ) as process:
            eventually(lambda: sealed(database_url) == 1, 60)
            eventually((tmp_path / SEAL_KEY).exists)
            keys.append(load_signer(tmp_path / SEAL_KEY).key)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert keys[0] == keys[1]
    assert keys[0].name == "example.org/mine"
    assert (tmp_path / SEAL_KEY).stat().st_mode & 0o077 == 0


def test_a_database_behind_the_kept_checkpoint_ends_the_role_with_one_sentence(
    database_url: str, tmp_path: Path
) -> None:
    signer = pretend(tmp_path, 307)
    done = finished("run", "seal", ALPHAPULSE_DATABASE_URL=database_url, ALPHAPULSE_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("alphapulse: rolled back: ")
    assert "307 leaves" in last
    assert "nothing sealed" in last
    assert "Traceback" not in done.stderr
    assert signer.secret() not in done.stderr


def test_up_ends_when_its_database_is_behind_the_kept_checkpoint(open_directory: Path) -> None:
    data = open_directory / "data"
    data.mkdir(mode=0o755)
    pretend(data, 307)
    done = finished("up", "--data-dir", data, "--port", 0)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("alphapulse: rolled back: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("written", "origin", "said"),
    [
        ("PRIVATE+KEY+x+00000000+AAAA", None, "the private key of x is not of Ed25519"),
        ("nonsense", None, "no private key"),
        (None, "example.org/other", "a key of example.org/log, and this log is example.org/other"),
    ],
)
def test_a_key_that_does_not_fit_ends_the_role_with_its_file_and_without_its_secret(
    migrated_postgres: PostgresServer, tmp_path: Path, written: str | None, origin: str | None, said: str
) -> None:
    path = tmp_path / "my.key"
    secret = written or KeySigner("example.org/log", bytes(range(32))).secret()
    path.write_text(secret)
    variables = {"ALPHAPULSE_DATA_DIR": str(tmp_path), "ALPHAPULSE_SEAL_KEY": str(path)}
    if origin:
        variables["ALPHAPULSE_ORIGIN"] = origin
    with fresh_database(migrated_postgres) as url:
        done = finished("run", "seal", ALPHAPULSE_DATABASE_URL=url, **variables)
    assert done.returncode == 1
    assert f"{path}: {said}" in done.stderr.splitlines()[-1]
    assert secret not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_origin_that_is_no_name_is_refused(tmp_path: Path) -> None:
    done = finished("run", "seal", ALPHAPULSE_ORIGIN="not a name")
    assert done.returncode == 1
    assert "ALPHAPULSE_ORIGIN='not a name': is no name of a log" in done.stderr
