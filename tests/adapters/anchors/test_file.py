"""The witness in a folder: it cosigns what continues, refuses what does not, and survives a torn line."""

import asyncio
import fcntl
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from alphapulse.adapters.provenance.anchor_file import KEY_FILE, FileWitness, open_witness
from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.domain.provenance.anchors import AnchorFailed, Contradicted, cosigned, witness_key
from alphapulse.domain.provenance.checkpoint import Checkpoint
from alphapulse.domain.provenance.notes import parse_note
from tests.adapters.anchors.sealed_logs import SealedLog, sealed_log


def witness(folder: Path, log: SealedLog, now: float = 1_700_000_000.9, **more: object) -> FileWitness:
    return FileWitness(name=f"file:{folder}", folder=folder, log=log.signer.key, now=lambda: now, **more)  # type: ignore[arg-type]


def the_file(folder: Path) -> Path:
    (found,) = folder.glob("*.jsonl")
    return found


async def test_what_continues_is_cosigned_under_a_key_of_its_own_with_this_machines_time(tmp_path: Path):
    log = await sealed_log()
    for count, now in ((3, 1_700_000_000.9), (1, 1_700_000_001.0), (500, 1_800_000_000.0)):
        sealed = await log.grow(count)
        receipt = await witness(tmp_path, log, now).anchor(sealed, log.proof_to(sealed))
        assert (receipt.size, receipt.kind, receipt.time) == (sealed.size, "file", int(now) * 1_000_000)
        key = witness_key(open_witness(tmp_path).key)
        assert cosigned(receipt.data.decode(), parse_note(sealed.note).text, key, ed25519)[1] == int(now)
        assert await witness(tmp_path, log).settle(receipt) is None
    assert len(the_file(tmp_path).read_text().splitlines()) == 4  # whose it is, and three checkpoints


async def test_the_same_checkpoint_again_gives_the_same_receipt_and_no_line(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(3)
    first = await witness(tmp_path, log, 5.0).anchor(sealed, log.proof_to(sealed))
    again = await witness(tmp_path, log, 99.0).anchor(sealed, log.proof_to(sealed))
    assert first == again
    assert len(the_file(tmp_path).read_text().splitlines()) == 2


async def test_a_fork_and_a_log_that_was_rolled_back_are_refused(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(5)
    await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    before = the_file(tmp_path).read_bytes()
    fork = await sealed_log(log.signer)
    for count, message in ((4, "which now has 4"), (1, "do not continue"), (4, "our 9 do not continue")):
        sealed = await fork.grow(count)
        with pytest.raises(Contradicted, match=message):
            await witness(tmp_path, log).anchor(sealed, fork.proof_to(sealed))
    assert the_file(tmp_path).read_bytes() == before


async def test_a_checkpoint_of_one_size_and_root_but_another_text_is_cosigned_as_such(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(5)
    await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    other = Checkpoint(origin=log.signer.key.name, size=5, root=sealed.root, extensions=("more",))
    changed = replace(sealed, note=str(other.sign(log.signer)))
    receipt = await witness(tmp_path, log).anchor(changed, log.proof_to(changed))
    key = witness_key(open_witness(tmp_path).key)
    assert cosigned(receipt.data.decode(), parse_note(changed.note).text, key, ed25519)


async def test_another_key_of_the_log_is_refused(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(5)
    await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    new = await sealed_log(KeySigner(log.signer.key.name, os.urandom(32)))
    sealed = await new.grow(5)
    with pytest.raises(AnchorFailed, match="not signed by"):
        await witness(tmp_path, log).anchor(sealed, new.proof_to(sealed))
    with pytest.raises(Contradicted, match="is of the log"):
        await witness(tmp_path, new).anchor(sealed, new.proof_to(sealed))


async def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(1)
    with pytest.raises(AnchorFailed, match="is it mounted"):
        await witness(tmp_path / "usb", log).anchor(sealed, log.proof_to(sealed))
    assert not (tmp_path / "usb").exists()


async def test_a_lost_or_changed_key_is_an_error_and_never_a_new_witness(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(1)
    await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    key = witness_key(open_witness(tmp_path).key)
    assert open_witness(tmp_path, key)
    kept = tmp_path / KEY_FILE
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.unlink()
    with pytest.raises(AnchorFailed, match="no new witness"):
        await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    kept.write_text(KeySigner("witness/other", os.urandom(32)).secret())
    with pytest.raises(AnchorFailed, match="is of the witness"):
        await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    with pytest.raises(AnchorFailed, match=f"not {key.name}"):
        await witness(tmp_path, log, key=key).anchor(sealed, log.proof_to(sealed))
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(AnchorFailed, match="the right disk"):
        await witness(empty, log, key=key).anchor(sealed, log.proof_to(sealed))
    assert not list(empty.iterdir())


async def test_a_line_torn_anywhere_by_a_kill_is_taken_off_and_the_work_goes_on(tmp_path: Path):
    log = await sealed_log()
    first = await log.grow(2)
    await witness(tmp_path, log).anchor(first, log.proof_to(first))
    whole = len(the_file(tmp_path).read_bytes())
    second = await log.grow(2)
    await witness(tmp_path, log).anchor(second, log.proof_to(second))
    data = the_file(tmp_path).read_bytes()
    for cut in (*range(0, len(data), 97), len(data) - 1):
        the_file(tmp_path).write_bytes(data[:cut])
        receipt = await witness(tmp_path, log).anchor(second, log.proof_to(second))
        assert receipt.size == 4
        lines = the_file(tmp_path).read_bytes().splitlines()
        assert len(lines) == 3 if cut >= whole else 2
        assert all(line.startswith(b"{") and line.endswith(b"}") for line in lines)


async def test_a_damaged_line_is_said_and_nothing_is_cosigned(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(2)
    await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    data = bytearray(the_file(tmp_path).read_bytes())
    sealed = await log.grow(2)
    for at in (3, data.index(b"\n") + 3, len(data) - 30):
        damaged = data.copy()
        damaged[at] ^= 4
        the_file(tmp_path).write_bytes(damaged)
        with pytest.raises((AnchorFailed, Contradicted)):
            await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
        assert the_file(tmp_path).read_bytes() == damaged


async def test_a_clock_that_went_back_is_not_signed(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(2)
    await witness(tmp_path, log, 1000.0).anchor(sealed, log.proof_to(sealed))
    sealed = await log.grow(2)
    with pytest.raises(AnchorFailed, match="the clock says 999, and the last checkpoint 1000"):
        await witness(tmp_path, log, 999.0).anchor(sealed, log.proof_to(sealed))


async def test_many_at_once_make_one_line_a_checkpoint_in_order(tmp_path: Path):
    log = await sealed_log()
    sealed = [await log.grow(2) for _ in range(4)]
    done = await asyncio.gather(
        *(witness(tmp_path, log).anchor(each, log.proof_to(each)) for each in sealed * 2),
        return_exceptions=True,
    )
    assert any(not isinstance(each, Exception) for each in done)
    assert all(isinstance(each, AnchorFailed | Contradicted) for each in done if isinstance(each, Exception))
    lines = the_file(tmp_path).read_text().splitlines()[1:]
    sizes = [int(line.split(":")[1].split(",")[0]) for line in lines]
    assert sizes == sorted(set(sizes))


async def test_one_who_is_overtaken_each_time_gives_up_after_three(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(2)
    await witness(tmp_path, log, 1.0).anchor(sealed, log.proof_to(sealed))
    newest, looks = await log.grow(2), 0

    async def overtaken(old: int) -> list[bytes]:
        """Meanwhile another cosigns the same tree, under another text each time."""
        nonlocal looks
        looks += 1
        more = Checkpoint(origin=sealed_origin, size=4, root=newest.root, extensions=(f"look {looks}",))
        rival = replace(newest, note=str(more.sign(log.signer)))
        await witness(tmp_path, log, 1.0).anchor(rival, log.proof_to(rival))
        return list(await log.proof_to(newest)(old))

    sealed_origin = log.signer.key.name
    with pytest.raises(AnchorFailed, match="another wrote there 3 times"):
        await witness(tmp_path, log, 1.0).anchor(newest, overtaken)
    assert looks == 3


async def test_a_held_file_is_waited_for_so_long_and_no_longer(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(2)
    await witness(tmp_path, log).anchor(sealed, log.proof_to(sealed))
    with the_file(tmp_path).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AnchorFailed, match=r"held by another for 0\.1 s"):
            await witness(tmp_path, log, lock_s=0.1).anchor(sealed, log.proof_to(sealed))
