"""``alphapulse audit anchors`` and the role ``anchor`` on real PostgreSQL, with a file witness."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.provenance.anchor_file import open_witness
from alphapulse.adapters.provenance.keys import ed25519, load_or_create_signer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.provenance.anchors import OTS, cosigned, witness_key
from alphapulse.domain.provenance.merkle import Frontier
from alphapulse.domain.provenance.notes import COSIGNATURE, NoteKey, parse_note
from alphapulse.domain.provenance.sealing import Receipt, Tree, seal
from alphapulse.processes.run import run_roles
from alphapulse.processes.wiring import ROLES, wanted_roles
from alphapulse.settings import SettingsError, load
from tests.adapters.anchors.authorities import make_authority, openssl_verifies
from tests.adapters.anchors.servers import serving
from tests.adapters.store.events import run_of

Run = Callable[..., Result]
ORIGIN = "log.example/cli"


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    (folder := tmp_path / "witness").mkdir()
    return folder


@pytest.fixture
def environment(database_url: str, tmp_path: Path, witness: Path) -> dict[str, str]:
    return {
        "ALPHAPULSE_DATABASE_URL": database_url,
        "ALPHAPULSE_DATA_DIR": str(tmp_path / "data"),
        "ALPHAPULSE_ORIGIN": ORIGIN,
        "ALPHAPULSE_ANCHORS": f"file:{witness}",
        "ALPHAPULSE_ANCHOR_INTERVAL_S": "1",
    }


@pytest.fixture
def alphapulse(environment: dict[str, str]) -> Run:
    def run(*words: object, **more: str) -> Result:
        runner = CliRunner(env={**environment, **more})
        return runner.invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


async def sealed(environment: dict[str, str], count: int, *, stream: str = "s-1") -> None:
    """``count`` events, sealed at once as a log's first."""
    url = environment["ALPHAPULSE_DATABASE_URL"]
    signer = load_or_create_signer(Path(environment["ALPHAPULSE_DATA_DIR"]) / "seal.key", ORIGIN)
    async with PostgresEventStore(url) as store, PostgresSeals(url) as seals:
        await store.append(run_of(stream, 1, count))
        fence = await store.leases.acquire("seal", "test", 60)
        assert fence
        page = await store.read(0, limit=count)
        tree = Tree(Frontier(), 0, {})
        done = seal(tree, page.records, os.urandom(16 * count), ORIGIN, signer)
        await seals.append(done, fence=fence)
        await store.leases.release(fence)


async def test_anchoring_at_once_keeps_a_receipt_that_is_listed_with_what_it_proves(
    alphapulse: Run, environment: dict[str, str], witness: Path
):
    await sealed(environment, 5)
    said = await asyncio.to_thread(alphapulse, "audit", "anchors", "--now")
    assert said.exit_code == 0, said.output
    assert f"file:{witness}: 5 leaves\n" in said.output
    assert "by this machine's clock" in " ".join(said.output.split())
    assert f"file:{witness}: 0 leaves behind" in said.output
    again = await asyncio.to_thread(alphapulse, "audit", "anchors", "--now", "--json")
    told, receipt = map(json.loads, again.output.splitlines())
    assert told == {"anchor": f"file:{witness}", "anchored": None}
    assert (receipt["size"], receipt["kind"], receipt["state"]) == (5, "file", "settled")
    assert receipt["time"].endswith("Z")


async def test_the_key_of_the_witness_is_shown_as_it_can_be_pinned(alphapulse: Run, witness: Path):
    said = await asyncio.to_thread(alphapulse, "audit", "anchors", "--witness-key")
    pinned = said.output.strip()
    assert pinned.startswith(f"file:{witness}|")
    key = NoteKey.parse(pinned.split("|")[1])
    assert key.kind == COSIGNATURE
    again = await asyncio.to_thread(
        alphapulse, "audit", "anchors", "--witness-key", "--json", ALPHAPULSE_ANCHORS=pinned
    )
    assert json.loads(again.output) == {"anchor": f"file:{witness}", "key": str(key)}


async def test_an_anchor_that_fails_is_said_with_exit_code_1_and_the_others_are_kept(
    alphapulse: Run, environment: dict[str, str], witness: Path
):
    await sealed(environment, 5)
    both = f"file:{witness}/none,file:{witness}"
    said = await asyncio.to_thread(alphapulse, "audit", "anchors", "--now", ALPHAPULSE_ANCHORS=both)
    assert said.exit_code == 1
    assert f"alphapulse: file:{witness}/none: {witness}/none is no folder: is it mounted?" in said.output
    assert f"file:{witness}/none: no receipt, 5 leaves behind" in said.output
    assert f"file:{witness}: 0 leaves behind" in said.output


async def test_a_promise_is_listed_as_one(alphapulse: Run, environment: dict[str, str]):
    await sealed(environment, 5)
    async with PostgresSeals(environment["ALPHAPULSE_DATABASE_URL"]) as seals:
        await seals.keep(Receipt(size=5, anchor="ots:https://x", kind=OTS, time=None, data=b"?"))
    said = await asyncio.to_thread(alphapulse, "audit", "anchors", "--json")
    assert json.loads(said.output)["state"].startswith("damaged: it ends at byte 1")


async def test_receipts_are_written_as_other_programs_read_them(
    alphapulse: Run, environment: dict[str, str], tmp_path: Path
):
    await sealed(environment, 5)
    authority = make_authority(tmp_path / "tsa")
    async with serving(authority) as url:
        anchors = f"{environment['ALPHAPULSE_ANCHORS']},rfc3161:{url}/tsr|{authority.roots}"
        words = ("audit", "anchors", "--now", "--write", tmp_path / "out")
        said = await asyncio.to_thread(alphapulse, *words, ALPHAPULSE_ANCHORS=anchors)
    assert said.exit_code == 0, said.output
    written = {
        path.name.partition("-")[2].partition(".")[2] or path.name: path
        for path in (tmp_path / "out").iterdir()
    }
    assert set(written) == {"5.note", "tsr", "cosigned.note"}
    note = written["5.note"].read_bytes()
    assert openssl_verifies(tmp_path, written["tsr"].read_bytes(), note, authority.roots)
    assert written["cosigned.note"].read_bytes().startswith(note)
    assert len(parse_note(written["cosigned.note"].read_text()).signatures) == 2
    again = await asyncio.to_thread(alphapulse, *words[:2], *words[3:])
    assert again.output.count("wrote ") == 3


async def test_without_anchors_it_says_how_to_have_some(alphapulse: Run, environment: dict[str, str]):
    said = await asyncio.to_thread(alphapulse, "audit", "anchors", ALPHAPULSE_ANCHORS="")
    assert (said.exit_code, "ALPHAPULSE_ANCHORS names them" in said.output) == (0, True)
    for word in ("--now", "--witness-key"):
        said = await asyncio.to_thread(alphapulse, "audit", "anchors", word, ALPHAPULSE_ANCHORS="")
        assert said.exit_code == 2


def test_settings_that_cannot_be_are_named_with_their_values(tmp_path: Path):
    for text, reason in (
        ("ftp:x", "ftp:x: 'ftp' is none of file, witness, rfc3161, ots"),
        ("ots:http://a.example", "is not https, and not on this machine"),
        ("witness:https://w.example", "0 options, where the key of the witness belongs"),
    ):
        with pytest.raises(SettingsError, match="ALPHAPULSE_ANCHORS=") as error:
            load({"ALPHAPULSE_ANCHORS": text, "ALPHAPULSE_DATA_DIR": str(tmp_path)})
        assert reason in str(error.value)
    with pytest.raises(SettingsError, match="ALPHAPULSE_ANCHOR_INTERVAL_S='0'"):
        load({"ALPHAPULSE_ANCHOR_INTERVAL_S": "0", "ALPHAPULSE_DATA_DIR": str(tmp_path)})


async def test_the_role_is_idle_without_anchors_and_up_leaves_it_out(environment: dict[str, str]):
    idle = load({**environment, "ALPHAPULSE_ANCHORS": "", "ALPHAPULSE_DATABASE_URL": "postgresql://none/x"})
    assert "anchor" not in wanted_roles(idle)
    assert "anchor" in wanted_roles(load(environment))
    stop = asyncio.Event()
    work = asyncio.create_task(ROLES["anchor"](idle, stop))
    await asyncio.sleep(0.1)
    assert not work.done()
    stop.set()
    await asyncio.wait_for(work, 2)


async def test_sealing_and_anchoring_run_side_by_side_and_go_on_after_a_restart(
    environment: dict[str, str], witness: Path
):
    settings = load(environment)
    url = environment["ALPHAPULSE_DATABASE_URL"]
    roles = {name: ROLES[name] for name in ("seal", "anchor")}
    async with PostgresEventStore(url) as store, PostgresSeals(url) as seals:
        for start, wanted in ((1, 30), (31, 60)):
            stop = asyncio.Event()
            work = asyncio.create_task(run_roles(roles, settings, stop))
            await store.append(run_of("s-1", start, 30))
            async with asyncio.timeout(20):
                while not any(receipt.size == wanted for receipt in await seals.receipts(0, 1000)):
                    await asyncio.sleep(0.1)
                    if work.done():
                        break
            stop.set()
            await asyncio.wait_for(work, 20)
        receipts = await seals.receipts(0, 1000)
        last = await seals.sealed(size=receipts[-1].size)
    assert last is not None
    key = witness_key(open_witness(witness).key)
    lines, time_s = cosigned(receipts[-1].data.decode(), parse_note(last.note).text, key, ed25519)
    assert (receipts[-1].size, receipts[-1].time) == (60, time_s * 1_000_000)
    assert lines
