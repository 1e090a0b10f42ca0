"""A bundle with what real anchors gave, verified by the file that comes with it and Python alone."""

import base64
import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from alphapulse.adapters.provenance.anchor_file import FileWitness, open_witness
from alphapulse.adapters.provenance.anchor_ots import OtsAnchor
from alphapulse.adapters.provenance.anchor_rfc3161 import Rfc3161Anchor
from alphapulse.adapters.provenance.anchor_witness import WitnessAnchor
from alphapulse.domain.provenance.anchors import witness_key
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes.anchor_history import standings
from alphapulse.processes.anchoring import Anchoring, anchor_once
from tests.adapters.anchors.authorities import make_authority
from tests.adapters.anchors.calendars import Calendar
from tests.adapters.anchors.servers import serving, witness_for
from tests.provenance import reading
from tests.provenance.given import World, bundle_of, sealed_log


def run_verifier(out: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The verifier that is in the bundle, without anything of ours."""
    script = out.with_name("verify.py")
    script.write_bytes(reading.members(out)["verify.py"])
    command = [sys.executable, "-I", str(script), str(out), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=out.parent)


def verified(out: Path, *words: str) -> tuple[int, Any]:
    """Its exit code and report."""
    done = run_verifier(out, *words, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
async def world() -> World:
    return await sealed_log(events=400, seed=3)


async def test_what_four_anchors_gave_is_verified_with_the_standard_library(
    world: World, tmp_path: Path
) -> None:
    (folder := tmp_path / "witness").mkdir()
    authority, calendar, witness = (
        make_authority(tmp_path / "tsa", "p384", 6),
        Calendar(),
        witness_for(world.key),
    )
    async with serving(authority) as tsa, serving(calendar) as cal, serving(witness) as remote:
        calendar.uri = cal
        anchors = [
            FileWitness(name="file", folder=folder, log=world.key),
            WitnessAnchor(name="witness", url=remote, key=witness_key(witness.signer.key)),
            Rfc3161Anchor(name="tsa", url=tsa, roots=authority.roots),
            OtsAnchor(name="ots", url=cal),
        ]
        gave = await anchor_once(world.seals, anchors)
        assert not [found for found in gave.values() if not hasattr(found, "size")], gave
        out = tmp_path / "promised.tar.gz"
        await bundle_of(world, Selection(), out)
        code, told = verified(out, "--key", str(world.key))
        states = {each["anchor"]: each["state"] for each in told["anchors"]}
        assert (code, told["verdict"]) == (0, "VALID")
        assert states == {
            "file": "not checked",
            "witness": "not checked",
            "tsa": "not checked",
            "ots": "pending",
        }
        calendar.mine()
        standing = (await standings(world.seals, ["ots"]))["ots"]
        await Anchoring(seals=world.seals, anchor=anchors[3], standing=standing)._settle()
    out = tmp_path / "bundle.tar.gz"
    await bundle_of(world, Selection(), out)
    pem = (authority.folder / "tsa.pem").read_bytes()
    certificate = sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).hexdigest()
    code, told = verified(
        out, "--key", str(world.key), "--trust", certificate,
        "--witness", str(witness_key(open_witness(folder).key)), "--witness", str(anchors[1].key),
    )  # fmt: skip
    assert (code, told["verdict"]) == (0, "VALID")
    found = {each["anchor"]: each for each in told["anchors"] if each["state"] != "pending"}
    assert {name: each["state"] for name, each in found.items()} == {
        "file": "checked",
        "witness": "checked",
        "tsa": "checked",
        "ots": "not checked",
    }
    assert found["witness"]["time"] == witness.now * 1_000_000
    assert "in Bitcoin block 800000" in found["ots"]["text"]


@pytest.mark.parametrize("kind", ["witness", "rfc3161", "ots"])
async def test_a_receipt_of_another_checkpoint_makes_the_bundle_invalid(
    world: World, tmp_path: Path, kind: str
) -> None:
    """Back-dating: an old receipt is put beside a checkpoint that it was not given for."""
    authority, calendar, witness = make_authority(tmp_path / "tsa"), Calendar(), witness_for(world.key)
    async with serving(authority) as tsa, serving(calendar) as cal, serving(witness) as remote:
        calendar.uri = cal
        anchor = {
            "witness": WitnessAnchor(name="a", url=remote, key=witness_key(witness.signer.key)),
            "rfc3161": Rfc3161Anchor(name="a", url=tsa),
            "ots": OtsAnchor(name="a", url=cal),
        }[kind]
        first = await world.seals.sealed(size=1)
        newest = await world.seals.sealed()
        assert first is not None
        assert newest is not None

        async def none(old: int) -> list[bytes]:
            return []

        receipt = await anchor.anchor(first, none)
    await world.seals.keep(replace(receipt, size=newest.size))
    out = tmp_path / "bundle.tar.gz"
    await bundle_of(world, Selection(), out)
    code, told = verified(out, "--key", str(world.key), "--witness", str(witness_key(witness.signer.key)))
    assert (code, told["verdict"]) == (1, "INVALID")
    assert "anchors/0001.json" in json.dumps(told["faults"])


async def test_what_is_no_digest_cannot_be_trusted(world: World, tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.gz"
    await bundle_of(world, Selection(), out)
    done = run_verifier(out, "--trust", base64.b64encode(bytes(32)).decode())
    assert (done.returncode, "is no SHA-256 in hexadecimal" in done.stderr) == (2, True)
