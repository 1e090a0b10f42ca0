"""What was found, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

from alphapulse.adapters.verifier.findings import EXIT_CODES, Fault, Findings


def report_text(found: Findings) -> str:
    """A few lines: the verdict first."""
    lines = [found.verdict]
    lines += _told_faults("", found.faults)
    lines += _told_faults("missing: ", found.missing)
    if found.missing_in_all > len(found.missing):
        lines.append(f"  missing: {found.missing_in_all - len(found.missing)} more")
    lines += [f"  {name:<9}{text}" for name, text in _told_facts(found.facts)]
    lines += [f"  note     {text}" for text in found.said]
    return "\n".join(lines) + "\n"


def report_json(found: Findings) -> str:
    """One object; its faults and what is missing are the first ones, at most 20 each."""
    told = {
        "verdict": found.verdict,
        "exit_code": EXIT_CODES[found.verdict],
        "faults": [fault._asdict() for fault in found.faults],
        "missing": [{"leaf": fault.leaf, "text": fault.text} for fault in found.missing],
        "missing_in_all": found.missing_in_all,
        "notes": found.said,
        **found.facts,
    }
    return json.dumps(told, indent=1) + "\n"


def _told_faults(before: str, faults: list[Fault]) -> list[str]:
    return [f"  {before}{_place_of(fault)}{fault.text}" for fault in faults]


def _place_of(fault: Fault) -> str:
    places = [] if fault.leaf is None else [f"leaf {fault.leaf}"]
    places += [] if fault.what is None else [fault.what]
    return ", ".join(places) + ": " if places else ""


def _told_facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    if "root" not in facts:
        return []
    told = [("log", f"{facts['origin']}, {facts['size']} leaves, root {facts['root']}")]
    whose = "as it was given" if facts["key_was_given"] else "the bundle's own word: compare it"
    told.append(("key", f"{facts['key']} ({whose})"))
    if "leaf" in facts:
        told.append(("leaf", f"{facts['leaf']} of {facts['size']}"))
    if "asked" in facts:
        told.append(("asked", json.dumps(facts["asked"]) if facts["asked"] else "everything"))
    if "events" in facts:
        told.append(("events", _told_events(facts)))
    told += [
        ("anchor", f"{anchor['anchor']} ({anchor['kind']}), {anchor['state']}: {anchor['text']}")
        for anchor in facts.get("anchors", [])
    ]
    return told


def _told_events(facts: dict[str, Any]) -> str:
    text = f"{facts['events']} of {facts['size']}"
    for name, words in (
        ("erased", "erased"),
        ("withheld", "withheld"),
        ("unreadable", "of a kind that cannot be read here"),
        ("not_decoded", "hashed but not decoded: this Python has no zstd"),
    ):
        text += f", {facts[name]} {words}" if facts[name] else ""
    return text
