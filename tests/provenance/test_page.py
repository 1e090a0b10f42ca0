"""The page that verifies in a browser: its script in Node over honest and forged bundles, itself in Chromium.

What it says is compared with what the bundles were made from, and with nothing of ours that it is built of.
"""

import base64
import gzip
import io
import json
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.domain.provenance.selection import Selection
from alphapulse.graphql.pages import ASSETS
from alphapulse.processes.auditing import NothingSelected
from alphapulse.processes.proving import proof_file
from alphapulse.projections.event_proofs import prove_event
from tests.graphql.browser import CHROMIUM, browser
from tests.graphql.conftest import Api, api, start_api
from tests.launch import ROOT
from tests.provenance.given import STRATEGY, World, bundle_of, sealed_log

__all__ = ["api", "start_api"]

NODE = shutil.which("node")
in_node = pytest.mark.skipif(
    NODE is None or not (ROOT / "web" / "node_modules" / "@noble").is_dir(),
    reason="no Node, or no packages for the pages: web/build.py fetches them",
)
SELECTIONS: Mapping[str, Selection] = {
    "all": Selection(),
    "stream": Selection(streams=(f"signals-{STRATEGY}",)),
    "strategy": Selection(strategy=STRATEGY),
    "range": Selection(positions=(20, 71)),
    "actor": Selection(actors=("alice",)),
    "name": Selection(names=("decision.made.v1", "market.trades_observed.v1")),
}
Files = dict[str, bytes]


def verdicts(*asked: Mapping[str, str]) -> list[Any]:
    """What the script finds of each file, in one process."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(Path(__file__).with_name("verify_in_node.mjs"))],
        input="".join(json.dumps({"key": "", "since": "", **each}) + "\n" for each in asked),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def unpacked(bundle: Path) -> Files:
    with tarfile.open(bundle) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


def packed(files: Files, out: Path, *, mend: bool = True) -> Path:
    """The files as a bundle again, with the manifest's sizes and hashes mended as a forger would."""
    if mend and "manifest.json" in files:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = {
            name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
            for name, content in files.items()
            if name != "manifest.json"
        }
        files = {**files, "manifest.json": json.dumps(manifest).encode()}
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    out.write_bytes(gzip.compress(whole.getvalue(), 1))
    return out


@in_node
async def test_honest_bundles_are_valid_whatever_was_selected(tmp_path: Path) -> None:
    for size in (1, 2, 63, 200):
        world = await sealed_log(events=size, seed=size)
        files = {name: tmp_path / f"{size}-{name}.tar.gz" for name in SELECTIONS}
        made = {}
        for name, selection in SELECTIONS.items():
            with suppress(NothingSelected):  # in so small a log
                made[name] = await bundle_of(world, selection, files[name])
        assert "all" in made
        found = verdicts(*({"file": str(files[name]), "key": str(world.key)} for name in made))
        for (name, exported), each in zip(made.items(), found, strict=True):
            assert (each["verdict"], each["faults"]) == ("VALID", []), (size, name, each)
            assert each["facts"]["Events here"] == str(exported.events)
            assert each["facts"]["Root"] == exported.root.hex()


@in_node
async def test_it_says_whose_word_the_key_is_and_what_it_could_not_read(tmp_path: Path) -> None:
    world = await sealed_log(events=60)
    bundle = tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(), bundle)
    (own, pinned) = verdicts({"file": str(bundle)}, {"file": str(bundle), "key": str(world.key)})
    assert any("own word" in said for said in own["said"])
    assert not any("own word" in said for said in pinned["said"])
    assert any("compressed" in said for said in pinned["said"])


@in_node
async def test_a_body_that_is_kept_back_is_missing_and_not_wrong(tmp_path: Path) -> None:
    world = await sealed_log(events=80)
    bundle = tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(streams=(f"signals-{STRATEGY}",)), bundle)
    files = unpacked(bundle)
    lines = [json.loads(line) for line in files["events/000001.jsonl"].splitlines()]
    kept = next(line for line in lines if "leaf" in line)
    kept |= {"salt": None, "state": None, "event": None, "withheld": True}
    forged = packed(with_lines(files, lines), tmp_path / "y.tar.gz")
    (found,) = verdicts({"file": str(forged), "key": str(world.key)})
    assert found["verdict"] == "VALID BUT INCOMPLETE"
    assert [(each["leaf"], "withheld" in each["text"]) for each in found["missing"]] == [(kept["leaf"], True)]


def with_lines(files: Files, lines: Sequence[Any]) -> Files:
    written = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    return {**files, "events/000001.jsonl": written.encode()}


COLUMNS = (
    *("position", "version", "recorded_at", "id", "stream", "name", "event_time", "cause", "correlation"),
    *("actor", "trace", "id_lo", "id_hi", "commitment", "salt", "state", "hash", "event"),
)


def changed(column: str, line: Any, r: random.Random) -> Any:
    """Another value of the kind that the column has."""
    value = line[column]
    match column:
        case "position" | "version" | "recorded_at":
            return value + 1
        case "id" | "cause" | "correlation":
            return f"{r.getrandbits(32):08x}{(value or '-0000-4000-8000-000000000000')[-28:]}"
        case "event_time" | "id_lo" | "id_hi":
            return str(int(value or 0) + 1)
        case "commitment" | "salt" | "state" | "hash":
            data = bytearray(base64.b64decode(value))
            data[r.randrange(len(data))] ^= 1 << r.randrange(8)
            return base64.b64encode(data).decode()
        case "event":
            return {"forged": True}
        case _:
            return f"{value or ''}x"


@in_node
async def test_any_changed_column_is_found_at_its_leaf(tmp_path: Path) -> None:
    """State and salt of compressed batches included; their decoded form is what this page cannot read."""
    world = await sealed_log(events=120)
    bundle = tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(positions=(10, 90)), bundle)
    files, r = unpacked(bundle), random.Random(5)
    asked, leaves = [], []
    for column in COLUMNS:
        for _ in range(3):
            lines = [json.loads(line) for line in files["events/000001.jsonl"].splitlines()]
            some = [line for line in lines if "leaf" in line]
            if column == "event":
                some = [line for line in some if "columns" not in line["event"]]
            line = r.choice(some)
            line[column] = changed(column, line, r)
            forged = packed(with_lines(files, lines), tmp_path / f"{len(asked)}.tar.gz")
            asked.append({"file": str(forged), "key": str(world.key)})
            leaves.append((column, line["leaf"]))
    for (column, leaf), found in zip(leaves, verdicts(*asked), strict=True):
        assert found["verdict"] == "INVALID", (column, leaf)
        assert leaf in {fault["leaf"] for fault in found["faults"]}, (column, leaf, found)


def without_an_event(files: Files, lines: list[Any], r: random.Random) -> Files:
    lines.remove(r.choice([line for line in lines if "leaf" in line]))
    return with_lines(files, lines)


def with_one_twice(files: Files, lines: list[Any], r: random.Random) -> Files:
    lines.insert(at := r.randrange(len(lines)), lines[at])
    return with_lines(files, lines)


def in_another_order(files: Files, lines: list[Any], r: random.Random) -> Files:
    at = r.randrange(len(lines) - 1)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return with_lines(files, lines)


def cut_short(files: Files, lines: list[Any], r: random.Random) -> Files:
    return with_lines(files, lines[: -r.randint(1, 5)])


def with_another_node(files: Files, lines: list[Any], r: random.Random) -> Files:
    gap = next(line for line in lines if "gap" in line)
    gap["nodes"][0] = base64.b64encode(r.randbytes(32)).decode()
    return with_lines(files, lines)


def with_fewer_signals(files: Files, lines: list[Any], r: random.Random) -> Files:
    return {**files, "signals.txt": b"1 " + STRATEGY.encode() + b"\n"}


def with_another_root(files: Files, lines: list[Any], r: random.Random) -> Files:
    note = files["checkpoint"].decode().split("\n")
    note[2] = base64.b64encode(r.randbytes(32)).decode()
    return {**files, "checkpoint": "\n".join(note).encode()}


def with_a_file_more(files: Files, lines: list[Any], r: random.Random) -> Files:
    return {**files, "../outside": b"x"}


def without_a_checkpoint(files: Files, lines: list[Any], r: random.Random) -> Files:
    return {name: content for name, content in files.items() if name != "checkpoint"}


def not_json(files: Files, lines: list[Any], r: random.Random) -> Files:
    return {**files, "events/000001.jsonl": files["events/000001.jsonl"][:-40] + b"\n"}


def spliced(files: Files, lines: list[Any], r: random.Random) -> Files:
    """An event whose leaf hash is right, under the hash of another."""
    some = [line for line in lines if "leaf" in line]
    a, b = r.sample(some, 2)
    a["hash"] = b["hash"]
    return with_lines(files, lines)


FORGERIES: Sequence[Callable[[Files, list[Any], random.Random], Files]] = (
    *(without_an_event, with_one_twice, in_another_order, cut_short, with_another_node, with_fewer_signals),
    *(with_another_root, with_a_file_more, without_a_checkpoint, not_json, spliced),
)


@in_node
async def test_whatever_is_dropped_moved_cut_or_spliced_is_found(tmp_path: Path) -> None:
    world = await sealed_log(events=120)
    bundle = tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(positions=(10, 90)), bundle)
    files, r = unpacked(bundle), random.Random(6)
    asked = []
    for forge in FORGERIES:
        lines = [json.loads(line) for line in files["events/000001.jsonl"].splitlines()]
        forged = packed(forge(files, lines, r), tmp_path / f"{forge.__name__}.tar.gz")
        asked.append({"file": str(forged), "key": str(world.key)})
    garbage = {"empty": b"", "noise": r.randbytes(2_000), "half": bundle.read_bytes()[:1_500]}
    for name, content in garbage.items():
        (tmp_path / name).write_bytes(content)
        asked.append({"file": str(tmp_path / name), "key": str(world.key)})
    found = verdicts(*asked)
    names = [*(forge.__name__ for forge in FORGERIES), *garbage]
    assert {name: each["verdict"] for name, each in zip(names, found, strict=True)} == dict.fromkeys(
        names, "INVALID"
    )


@in_node
async def test_another_key_and_a_forked_log_are_refused(tmp_path: Path) -> None:
    """The same events under other salts, signed by the true key: only who holds a checkpoint can tell."""
    world, other = await sealed_log(events=100, seed=1), await sealed_log(events=100, seed=2)
    bundle, forked = tmp_path / "x.tar.gz", tmp_path / "fork.tar.gz"
    await bundle_of(world, Selection(), bundle)
    fork = await _fork(world)
    await bundle_of(fork, Selection(), forked)
    held = unpacked(bundle)["checkpoint"].decode()
    found = verdicts(
        {"file": str(bundle), "key": str(other.key)},
        {"file": str(forked), "key": str(world.key)},
        {"file": str(forked), "key": str(world.key), "since": held},
        {"file": str(bundle), "key": str(world.key), "since": held},
    )
    assert [each["verdict"] for each in found] == ["INVALID", "VALID", "INVALID", "VALID"]
    assert "not signed by" in found[0]["faults"][0]["text"]
    assert "forked" in found[2]["faults"][0]["text"]


async def _fork(world: World) -> World:
    """What the keeper of the log would make who seals it anew."""
    from alphapulse.adapters.store.memory_seals import MemorySeals
    from alphapulse.domain.provenance.merkle import Frontier
    from alphapulse.domain.provenance.sealing import Tree

    signer = KeySigner(world.key.name, world.signer._seed)
    fork = World(
        world.store,
        MemorySeals(world.store.leases),
        signer,
        Tree(Frontier(), 0, {}),
        random.Random(99),
        world.each,
    )
    await fork.seal()
    return fork


@in_node
async def test_a_log_that_grew_continues_an_earlier_checkpoint(tmp_path: Path) -> None:
    world = await sealed_log(events=100)
    earlier = (await world.seals.sealed(size=30)) or pytest.fail("nothing is sealed")
    bundle = tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(actors=("alice",)), bundle, since=earlier.note)
    asked = {"file": str(bundle), "key": str(world.key), "since": earlier.note}
    (found,) = verdicts(asked)
    assert found["verdict"] == "VALID"
    files = unpacked(bundle)
    proof = json.loads(files["consistency.json"])
    proof["proof"] = proof["proof"][:-1]
    mended = packed({**files, "consistency.json": json.dumps(proof).encode()}, tmp_path / "y.tar.gz")
    cut = packed({n: c for n, c in files.items() if n != "consistency.json"}, tmp_path / "z.tar.gz")
    assert [each["verdict"] for each in verdicts({**asked, "file": str(mended)})] == ["INVALID"]
    (found,) = verdicts({**asked, "file": str(cut)})
    assert found["verdict"] == "INVALID"
    assert "nothing shows" in found["faults"][0]["text"]


@in_node
async def test_a_single_proof_is_verified_and_any_change_of_it_is_found(tmp_path: Path) -> None:
    world, r = await sealed_log(events=90), random.Random(8)
    asked, expected = [], []

    def ask(made: Any, verdict: str) -> None:
        file = tmp_path / f"{len(asked)}.json"
        file.write_bytes(msgspec.json.encode(made))
        asked.append({"file": str(file), "key": str(world.key)})
        expected.append(verdict)

    for position in (1, 2, 40, 90):
        found = await prove_event(world.store, world.seals, position)
        ask(proof_file(found, world.key), "VALID")
        ask(proof_file(found, world.key, withheld=True), "VALID BUT INCOMPLETE")
        made = json.loads(msgspec.json.encode(proof_file(found, world.key)))
        for field in ("checkpoint", "leaf", "hash", "proof", "format"):
            value = made[field]
            other: Any = {
                "checkpoint": str(value).replace("signals ", "signals 1"),
                "leaf": made["leaf"] ^ 1,
                "hash": base64.b64encode(r.randbytes(32)).decode(),
                "proof": made["proof"][1:],
                "format": "another",
            }[field]
            ask({**made, field: other}, "INVALID")
        ask({**made, "line": {**made["line"], "actor": "somebody else"}}, "INVALID")
        ask({**made, "line": None}, "VALID BUT INCOMPLETE")
    assert [each["verdict"] for each in verdicts(*asked)] == expected


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.skipif(not (ASSETS / "verify.html").exists(), reason="the assets are not built: web/build.py")
async def test_the_page_verifies_from_a_file_without_any_server(tmp_path: Path) -> None:
    world = await sealed_log(events=80)
    bundle = tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(), bundle)
    files = unpacked(bundle)
    lines = [json.loads(line) for line in files["events/000001.jsonl"].splitlines()]
    lines[7]["actor"] = "somebody else"
    forged = packed(with_lines(files, lines), tmp_path / "y.tar.gz")
    saved = tmp_path / "verify.html"
    shutil.copy(ASSETS / "verify.html", saved)
    async with browser() as page:
        await page.open(saved.as_uri())
        await page.until("document.querySelector('#file')")
        await page.evaluate(f"document.querySelector('#key').value = {json.dumps(str(world.key))}")
        root = (await page.call("DOM.getDocument"))["root"]["nodeId"]
        field = (await page.call("DOM.querySelector", nodeId=root, selector="#file"))["nodeId"]
        for file, verdict in ((bundle, "VALID"), (forged, "INVALID")):
            await page.call("DOM.setFileInputFiles", nodeId=field, files=[str(file)])
            await page.until(f"document.querySelector('#result').dataset.verdict === '{verdict}'")
            await page.until("!document.querySelector('#result').hidden")
        assert await page.evaluate("document.querySelector('#faults').textContent.includes('leaf 7:')")
        assert page.requests == [saved.as_uri()]
        assert page.complaints == []


@pytest.mark.skipif(not (ASSETS / "verify.html").exists(), reason="the assets are not built: web/build.py")
async def test_the_page_is_served_under_a_policy_for_its_own_script_only(api: Api) -> None:
    answer = await api.http.request("GET", "/verify")
    text = answer.body.decode()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert answer.status == 200
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert not re.search(r'(?:src|href)="(?!data:)', text)
