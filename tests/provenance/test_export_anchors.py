"""What an export adds to its checkpoint: the receiver's earlier one, and what anchors said of others."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.domain.provenance.checkpoint import checkpoint_of, open_checkpoint
from alphapulse.domain.provenance.merkle import verify_consistency
from alphapulse.domain.provenance.notes import parse_note
from alphapulse.domain.provenance.sealing import Receipt
from alphapulse.domain.provenance.selection import AsOf, Selection
from alphapulse.processes import audit_anchors
from alphapulse.processes.audit_anchors import NotOurCheckpoint, Useful
from tests.provenance import reading
from tests.provenance.given import ORIGIN, World, bundle_of, sealed_log

SIGNALS = Selection(streams=("signals-trial",))


@pytest.fixture
def world() -> World:
    return asyncio.run(sealed_log(events=400, seed=3))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundle.tar.gz"


def note_of(world: World, size: int) -> str:
    return next(seal.note for seal in world.seals.seals if seal.size == size)


@pytest.mark.parametrize("size", [50, 250, 400])
async def test_the_log_is_shown_to_go_on_from_the_receivers_checkpoint(
    world: World, out: Path, size: int
) -> None:
    earlier = note_of(world, size)
    made = await bundle_of(world, SIGNALS, out, since=earlier)
    told = json.loads(reading.members(out)["consistency.json"])
    assert told["from"]["note"] == earlier
    proof = [base64.b64decode(found) for found in told["proof"]]
    root = checkpoint_of(parse_note(earlier).text).root
    verify_consistency(size, made.size, root, made.root, proof)
    assert reading.verified(out, world.key, since=earlier).verdict == "VALID"


async def test_a_checkpoint_that_another_key_signed_is_refused(world: World, out: Path) -> None:
    stranger = KeySigner(ORIGIN, bytes(32))
    forged = str(checkpoint_of(parse_note(note_of(world, 50)).text).sign(stranger))
    with pytest.raises(NotOurCheckpoint, match=f"not of {ORIGIN}.*not signed by"):
        await bundle_of(world, SIGNALS, out, since=forged)
    with pytest.raises(NotOurCheckpoint, match="a note is a text"):
        await bundle_of(world, SIGNALS, out, since="hello")


async def test_a_checkpoint_that_is_newer_than_the_export_is_refused(world: World, out: Path) -> None:
    with pytest.raises(NotOurCheckpoint, match="has 250 leaves, and this export ends with 100"):
        await bundle_of(world, Selection(as_of=AsOf(position=120)), out, since=note_of(world, 250))


async def test_a_log_that_did_not_grow_from_the_checkpoint_is_said_to_be_another(
    world: World, out: Path
) -> None:
    """The same key has signed two logs: one of them was told to the receiver."""
    forked = checkpoint_of(parse_note(note_of(world, 250)).text)
    other = type(forked)(origin=forked.origin, size=250, root=bytes(32), extensions=forked.extensions)
    with pytest.raises(NotOurCheckpoint, match="this log did not grow from the earlier checkpoint"):
        await bundle_of(world, SIGNALS, out, since=str(other.sign(world.signer)))


async def test_a_log_that_was_sealed_with_another_key_is_not_exported_under_ours(
    world: World, out: Path
) -> None:
    world.signer = KeySigner(ORIGIN, bytes(32))
    with pytest.raises(NotOurCheckpoint, match="the log was sealed with another key"):
        await bundle_of(world, SIGNALS, out)


async def keep(world: World, *sizes: int, anchor: str = "file", time: int | None = 5) -> None:
    for size in sizes:
        await world.seals.keep(Receipt(size=size, anchor=anchor, kind="file", time=time, data=b"%d" % size))


def anchored(out: Path) -> list[tuple[str, int]]:
    found = [json.loads(c) for name, c in reading.members(out).items() if name.startswith("anchors/")]
    return [(each["anchor"], each["size"]) for each in found]


async def test_of_each_anchor_the_first_checkpoint_that_holds_an_event_is_there(
    world: World, out: Path
) -> None:
    await keep(world, *range(50, 401, 50))
    await keep(world, 200, 400, anchor="other")
    await bundle_of(world, Selection(positions=(120, 130)), out)
    assert anchored(out) == [("file", 150), ("other", 200)]
    await bundle_of(world, Selection(), out, positions=[1, 160, 399])
    assert anchored(out) == [("file", 50), ("file", 200), ("other", 200), ("file", 400), ("other", 400)]


async def test_an_anchors_file_holds_what_it_gave_and_that_the_log_goes_on_from_there(
    world: World, out: Path
) -> None:
    await keep(world, 150)
    made = await bundle_of(world, Selection(positions=(120, 130)), out)
    told = json.loads(reading.members(out)["anchors/0001.json"])
    assert (told["anchor"], told["kind"], told["size"], told["time"]) == ("file", "file", 150, 5)
    assert base64.b64decode(told["data"]) == b"150"
    checkpoint = open_checkpoint(told["note"], world.key, ed25519)
    proof = [base64.b64decode(found) for found in told["proof"]]
    verify_consistency(150, made.size, checkpoint.root, made.root, proof)


async def test_what_an_anchor_gave_before_it_settled_gives_way_to_what_it_gave_then(
    world: World, out: Path
) -> None:
    await keep(world, 150, time=None)
    await bundle_of(world, Selection(positions=(120, 130)), out)
    assert anchored(out) == [("file", 150)]
    await world.seals.keep(Receipt(size=150, anchor="file", kind="file", time=9, data=b"settled"))
    await bundle_of(world, Selection(positions=(120, 130)), out)
    assert [json.loads(reading.members(out)["anchors/0001.json"])["time"]] == [9]
    assert len(anchored(out)) == 1


async def test_anchors_after_the_checkpoint_of_the_export_are_not_there(world: World, out: Path) -> None:
    await keep(world, 400)
    await bundle_of(world, Selection(as_of=AsOf(position=120)), out)
    assert anchored(out) == []


async def test_of_too_many_anchors_some_are_chosen_evenly_and_the_last_is_among_them(
    world: World, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_anchors, "MAX_ANCHORS", 3)
    await keep(world, *range(50, 401, 50))
    await bundle_of(world, Selection(), out)
    assert anchored(out) == [("file", 50), ("file", 250), ("file", 400)]


def test_which_receipts_are_useful_is_told_once_for_leaves_in_a_row() -> None:
    receipts = [Receipt(size=s, anchor="a", kind="file", time=1, data=b"") for s in (10, 20, 30)]
    useful = Useful(receipts)
    assert [[size for _, size in useful.of(leaf)] for leaf in (0, 5, 9, 10, 25, 29, 30, 31)] == [
        *([10], [], [], [20], [30], [], [], [])
    ]
