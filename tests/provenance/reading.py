"""Reads a bundle as its format says, in a few lines of the standard library and our tree."""

import base64
import csv
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alphapulse.adapters.verifier.bundle import verify_bundle
from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.known import Asked
from alphapulse.adapters.verifier.note import key_of
from alphapulse.domain.provenance.merkle import Frontier, cover
from alphapulse.domain.provenance.notes import NoteKey


def members(path: Path) -> Mapping[str, bytes]:
    """Every member by name, in order."""
    with tarfile.open(path) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]


def manifest(path: Path) -> Any:
    return json.loads(members(path)["manifest.json"])


def lines(path: Path) -> Sequence[Any]:
    """The lines of all event files."""
    found = members(path)
    return [
        json.loads(line) for name in found if name.startswith("events/") for line in found[name].splitlines()
    ]


def events(path: Path) -> Sequence[Any]:
    return [line for line in lines(path) if "gap" not in line]


def leaves(path: Path) -> Sequence[int]:
    return [event["leaf"] for event in events(path)]


def root(path: Path) -> bytes:
    """The root that events and gaps give; fails where they are not one leaf behind the other."""
    tree = Frontier()
    for line in lines(path):
        if "gap" in line:
            lo, hi = line["gap"]
            assert tree.size == lo
            for node, found in zip(cover(lo, hi), line["nodes"], strict=True):
                tree.append(base64.b64decode(found), node.level)
        else:
            assert tree.size == line["leaf"]
            tree.append(base64.b64decode(line["hash"]))
    return tree.root()


def table(path: Path) -> Sequence[Mapping[str, str]]:
    """The rows of ``events.csv``."""
    return list(csv.DictReader(io.StringIO(members(path)["events.csv"].decode(), newline="")))


def verified(path: Path, key: NoteKey, *, since: str | None = None) -> Findings:
    return verify_bundle(lambda: path.open("rb"), Asked(key=key_of(str(key)), since=since))
