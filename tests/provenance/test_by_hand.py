"""The recipe of docs/verifying.md for doing it by hand is run as it stands there."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from alphapulse.processes.proving import proof_file
from alphapulse.projections.event_proofs import prove_event
from tests.provenance.given import World, sealed_log

TOOLS = ("bash", "jq", "xxd", "openssl", "sha256sum", "base64")
DOCUMENT = Path(__file__).parents[2] / "docs/verifying.md"


def recipe() -> str:
    found = re.search(r"```bash\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def by_hand(folder: Path, proof: dict[str, object]) -> subprocess.CompletedProcess[str]:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    (folder / "proof.json").write_bytes(msgspec.json.encode(proof))
    return subprocess.run(["bash", "-c", recipe()], cwd=folder, capture_output=True, text=True, timeout=60)


async def proof_of(world: World, position: int) -> dict[str, object]:
    made = proof_file(await prove_event(world.store, world.seals, position), world.key)
    found: dict[str, object] = msgspec.json.decode(msgspec.json.encode(made))
    return found


@pytest.mark.parametrize("position", [1, 32])
async def test_the_recipe_follows_an_event_up_to_the_signature(position: int, tmp_path: Path) -> None:
    proof = await proof_of(await sealed_log(events=60, rows=3), position)
    done = by_hand(tmp_path, proof)
    assert done.stdout.splitlines() == [
        "commitment: same",
        "leaf: same",
        "root: same",
        "Signature Verified Successfully",
    ], done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("field", "stops"),
    [("salt", "commitment"), ("actor", "leaf"), ("recorded_at", "leaf"), ("cause", "leaf")],
)
async def test_the_recipe_stops_at_what_was_altered(field: str, stops: str, tmp_path: Path) -> None:
    proof = await proof_of(await sealed_log(events=60, rows=3), 30)
    new = {"salt": "A" * 22 + "==", "actor": "somebody else", "recorded_at": 1, "cause": None}[field]
    assert proof["line"][field] != new  # type: ignore[index]
    proof["line"][field] = new  # type: ignore[index]
    done = by_hand(tmp_path, proof)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(f"{stops}: ")
    assert "same" not in done.stdout.splitlines()[-1]
