"""Go's own transparency log (golang.org/x/mod/sumdb) accepts what we make, and refuses it altered.

The program in go/main.go is built from Debian's packages golang-go and golang-golang-x-mod-dev, without a
network; where they are not installed these tests are skipped.
"""

import base64
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.domain.provenance.checkpoint import checkpoint_of, open_checkpoint
from alphapulse.domain.provenance.merkle import Node, cover, inclusion_ranges, node_hash
from alphapulse.domain.provenance.notes import NoteKey, parse_note
from alphapulse.domain.provenance.selection import Selection
from alphapulse.domain.provenance.tiles import tiles_of
from alphapulse.projections.proofs import consistency_proof, inclusion_proof
from tests.provenance.given import World, bundle_of, sealed_log

SOURCE = Path(__file__).parent / "go" / "main.go"
GOPATH = Path("/usr/share/gocode")  # where Debian puts the sources of libraries


class Go:
    def __init__(self, program: Path) -> None:
        self._program = program

    def __call__(self, **asked: Any) -> Mapping[str, Any]:
        done = subprocess.run(
            [self._program], input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True
        )
        told: Mapping[str, Any] = json.loads(done.stdout)
        return told

    def faults(self, **asked: Any) -> Sequence[str]:
        """The names of what it refuses."""
        return [fault.partition(":")[0] for fault in self(**asked)["Faults"]]


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Go:
    if not shutil.which("go"):
        pytest.skip("no Go: apt-get install golang-go golang-golang-x-mod-dev")
    if not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip(f"no golang.org/x/mod under {GOPATH}: apt-get install golang-golang-x-mod-dev")
    folder = tmp_path_factory.mktemp("go")
    environment = {
        **os.environ,
        "GO111MODULE": "off",  # nothing is fetched
        "GOPATH": str(GOPATH),
        "GOFLAGS": "",
        "GOCACHE": str(folder / "cache"),
        "GOPROXY": "off",
    }
    command = ["go", "build", "-o", str(folder / "check"), str(SOURCE)]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return Go(folder / "check")


async def everything(world: World) -> dict[str, Any]:
    """All that Go is to check of ``world``: notes, proofs, tiles and leaves."""
    size = world.tree.size
    leaves = [(await world.seals.leaves(leaf, leaf + 1)).hashes for leaf in range(size)]
    notes = [seal.note for seal in world.seals.seals]
    trees = [checkpoint_of(parse_note(note).text) for note in notes]
    inclusion = [
        {
            "Size": tree.size,
            "Root": text(tree.root),
            "Index": leaf,
            "Leaf": text(leaves[leaf]),
            "Hashes": [text(each) for each in await inclusion_proof(world.seals, leaf, tree.size)],
        }
        for tree in trees
        for leaf in sorted({0, 1, tree.size // 2, tree.size - 1} & set(range(tree.size)))
    ]
    consistency = [
        {
            "Old": old.size,
            "OldRoot": text(old.root),
            "New": new.size,
            "NewRoot": text(new.root),
            "Hashes": [text(each) for each in await consistency_proof(world.seals, old.size, new.size)],
        }
        for old in trees
        for new in trees
        if old.size <= new.size
    ]
    tiles = {}
    for tile in tiles_of(size):
        nodes = await world.seals.nodes(tile.nodes)
        tiles[tile.path] = text(b"".join(nodes[node] for node in tile.nodes))
    return {
        "Key": str(world.key),
        "Notes": notes,
        "Inclusion": inclusion,
        "Consistency": consistency,
        "Tiles": tiles,
        "Leaves": [text(leaf) for leaf in leaves],
    }


async def test_go_accepts_checkpoints_proofs_and_tiles(go: Go) -> None:
    world = await sealed_log(events=600, each=100, rows=2)
    asked = await everything(world)
    assert len(asked["Notes"]) >= 6
    assert world.tree.size > 512, "more than one tile, and tiles above them"
    assert go.faults(**asked) == []


async def test_go_makes_the_same_proofs_from_the_tiles_of_trees_of_many_sizes(go: Go) -> None:
    for size in (1, 2, 3, 70):
        world = await sealed_log(events=size, each=max(size // 2, 1), rows=1)
        assert go.faults(**await everything(world)) == []


async def test_go_refuses_what_was_altered(go: Go) -> None:
    asked = await everything(await sealed_log(events=300, each=150, rows=1))

    def refused(alter: Any) -> Sequence[str]:
        altered = deepcopy(asked)
        alter(altered)
        return go.faults(**altered)

    assert "note 1" in refused(
        lambda a: a["Notes"].__setitem__(1, a["Notes"][1].replace("signals", "signal5"))
    )
    assert "inclusion 2" in refused(lambda a: a["Inclusion"][2]["Hashes"].reverse())
    assert "inclusion 0" in refused(lambda a: a["Inclusion"][0].update(Leaf=a["Leaves"][7]))
    assert "consistency 1" in refused(lambda a: a["Consistency"][1].update(OldRoot=a["Leaves"][7]))
    assert "tiles" in refused(
        lambda a: a["Tiles"].update({"tile/0/000": a["Tiles"]["tile/0/000"][:-8] + "AAAAAAA="})
    )
    assert refused(lambda a: a.update(Key=str(a["Key"]).replace("+", "x+", 1)))[0] == "note 0"


async def test_we_open_what_go_signs(go: Go) -> None:
    told = go(Notes=[])
    checkpoint = open_checkpoint(told["Note"], NoteKey.parse(told["Key"]), ed25519)
    assert (checkpoint.origin, checkpoint.size) == ("go.example/log", 0)


async def test_go_accepts_the_events_of_a_bundle(go: Go, tmp_path: Path) -> None:
    """From a bundle alone, with most of the log left out: the proofs are made of its events and its gaps."""
    world = await sealed_log(events=400, each=130, rows=1)
    await bundle_of(world, Selection(streams=("strategy-trial", "signals-trial")), tmp_path / "bundle.tar.gz")
    note, lines = read_bundle(tmp_path / "bundle.tar.gz")
    tree = checkpoint_of(parse_note(note).text)
    known: dict[Node, bytes] = {}
    for line in lines:
        if "gap" in line:
            known |= zip(cover(*line["gap"]), map(base64.b64decode, line["nodes"]), strict=True)
        else:
            known[Node(0, line["leaf"])] = base64.b64decode(line["hash"])
    inclusion = [
        {
            "Size": tree.size,
            "Root": text(tree.root),
            "Index": line["leaf"],
            "Leaf": line["hash"],
            "Hashes": [
                text(root_from(known, lo, hi)) for lo, hi in inclusion_ranges(line["leaf"], tree.size)
            ],
        }
        for line in lines
        if "gap" not in line
    ]
    assert len(inclusion) > 5
    assert go.faults(Key=str(world.key), Notes=[note], Inclusion=inclusion) == []


def read_bundle(path: Path) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """The note of a bundle, and its lines."""
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        note = files["checkpoint"]
        assert note is not None
        lines = []
        for name in sorted(name for name in files if name.startswith("events/")):
            file = files[name]
            assert file is not None
            lines += [json.loads(line) for line in file]
        return note.read().decode(), lines


def root_from(known: Mapping[Node, bytes], lo: int, hi: int) -> bytes:
    """The root of the leaves ``lo`` to ``hi``, from whichever nodes are known below it."""
    level = (hi - lo - 1).bit_length()
    if hi - lo == 1 << level and Node(level, lo >> level) in known:
        return known[Node(level, lo >> level)]
    half = lo + (1 << (level - 1))
    return node_hash(root_from(known, lo, half), root_from(known, half, hi))


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()
