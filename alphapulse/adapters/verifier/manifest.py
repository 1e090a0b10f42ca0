"""The first member of a bundle: what it says of itself, and which files it holds."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from alphapulse.adapters.verifier.findings import Broken
from alphapulse.adapters.verifier.leaf import LineRefused, json_of
from alphapulse.adapters.verifier.note import Key, NoteRefused, hash_in, key_of

BUNDLE_FORMAT = "alphapulse-bundle-1"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ("size", "events", "erased", "withheld", "position")


class Manifest(NamedTuple):
    kind: str
    origin: str
    key: Key
    size: int
    root: bytes
    asked: dict[str, Any]  # the filter
    events: int
    erased: int
    withheld: int
    position: int  # of the last event in the checkpoint
    files: dict[str, tuple[int, str]]  # bytes, SHA-256 in hexadecimal


def manifest_in(text: str) -> Manifest:
    """Raises Broken: it is no manifest of a format that is known here."""
    try:
        found = json_of(text)
        if type(found) is not dict or found.get("format") != BUNDLE_FORMAT:
            raise Broken(f"manifest.json is not of the format {BUNDLE_FORMAT}", "manifest.json")
        if found["kind"] not in ("export", "evidence"):
            raise Broken(f"a bundle of kind {found['kind']!r:.50}")
        for name in _NUMBERS:
            if type(found[name]) is not int or found[name] < 0:
                raise Broken(f"manifest.json: {name} is no number", "manifest.json")
        if type(found["filter"]) is not dict or type(found["origin"]) is not str:
            raise Broken("manifest.json: no origin, or no filter", "manifest.json")
        return Manifest(
            found["kind"],
            found["origin"],
            key_of(str(found["key"])),
            found["size"],
            hash_in(found["root"]),
            found["filter"],
            found["events"],
            found["erased"],
            found["withheld"],
            found["position"],
            {name: _file_of(name, entry) for name, entry in found["files"].items()},
        )
    except KeyError as error:
        raise Broken(f"manifest.json says nothing of {error}", "manifest.json") from None
    except (LineRefused, NoteRefused, AttributeError) as error:
        raise Broken(f"manifest.json: {error}", "manifest.json") from None


def _file_of(name: str, entry: Any) -> tuple[int, str]:
    if type(entry) is not dict or set(entry) != {"bytes", "sha256"}:
        raise Broken(f"manifest.json: {name!r:.100} has neither bytes nor sha256", "manifest.json")
    if type(entry["bytes"]) is not int or type(entry["sha256"]) is not str:
        raise Broken(f"manifest.json: {name!r:.100} has no number of bytes, or no digest", "manifest.json")
    if not _SHA256.fullmatch(entry["sha256"]):
        raise Broken(f"manifest.json: {name!r:.100} has no SHA-256", "manifest.json")
    return entry["bytes"], entry["sha256"]
