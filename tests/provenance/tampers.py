"""Ways to tamper with a bundle, each found by its name: given chance and an honest bundle, a forged one.

``None`` where this bundle offers no occasion for it.
"""

import base64
import csv
import io
import json
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.domain.provenance.checkpoint import Counts, checkpoint_of
from alphapulse.domain.provenance.notes import parse_note
from tests.provenance.forging import (
    BODY,
    COLUMNS,
    NULL,
    Draft,
    Forged,
    Given,
    Line,
    altered,
    flipped,
    leaf_of_line,
    packed,
    put,
    rehash,
    renumbered,
    repair_manifest,
    value,
)

Tamper = Callable[[Random, Given], Forged | None]
TAMPERS: dict[str, Tamper] = {}

_MAY_BE_NAMED = {
    "commitment": {"commitment", "columns", "columns or hash"},
    "salt": {"salt", "salt or state"},
    "state": {"state", "salt or state", "event"},
    "hash": {"hash", "columns or hash"},
    "event": {"event"},
    "id_lo": {"id_lo", "id_hi", "columns", "columns or hash"},
    "id_hi": {"id_lo", "id_hi", "columns", "columns or hash"},
}


def tamper(function: Tamper) -> Tamper:
    TAMPERS[function.__name__] = function
    return function


def _field(random: Random, draft: Draft) -> tuple[Line, str, int]:
    """An event and one of its fields that is there to be altered."""
    line = draft.lines[random.choice(draft.events)]
    names = [name for name in (*COLUMNS, *BODY) if name in COLUMNS or line[name] != NULL]
    return line, random.choice(names), value(line, "leaf")


def _alter(random: Random, line: Line, name: str) -> None:
    if name == "event":
        _alter_shown(random, line)
    else:
        put(line, name, altered(random, name, value(line, name)))


def _alter_shown(random: Random, line: Line) -> None:
    """A digit or letter of what is shown, so that it is JSON still."""
    was = bytes(line["event"])
    places = [i for i, byte in enumerate(was) if chr(byte).isalnum()]
    while True:
        at = random.choice(places)
        new = was[:at] + random.choice(b"0123456789abcxyz").to_bytes() + was[at + 1 :]
        try:
            json.loads(new)
        except ValueError:
            continue
        if new != was:
            line["event"] = type(line["event"])(new)
            return


@tamper
def alters_a_field(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    line, name, leaf = _field(random, draft)
    _alter(random, line, name)
    data = draft.careful() if random.random() < 0.7 else draft.careless()
    named = _MAY_BE_NAMED.get(name, {name, "columns", "columns or hash", "filter"})
    return Forged(how=name, data=data, asked=given.asked, leaf=frozenset({leaf}), fields=frozenset(named))


@tamper
def alters_a_field_and_hashes_anew(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    line, name, _ = _field(random, draft)
    if name in ("hash", "event", "commitment"):
        return None
    _alter(random, line, name)
    rehash(line)
    return Forged(how=name, data=draft.careful(), asked=given.asked)


@tamper
def dates_an_event_back(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    line = draft.lines[random.choice(draft.events)]
    put(line, "recorded_at", value(line, "recorded_at") - random.randrange(1, 10**10))
    if random.random() < 0.5 and line["event_time"] != NULL:
        put(line, "event_time", str(int(value(line, "event_time")) - random.randrange(1, 10**15)))
    rehash(line)
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def alters_a_node_of_a_gap(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    gaps = [line for line in draft.lines if "gap" in line]
    if not gaps:
        return None
    line = random.choice(gaps)
    nodes = value(line, "nodes")
    at = random.randrange(len(nodes))
    nodes[at] = altered(random, "hash", nodes[at])
    put(line, "nodes", nodes)
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def moves_the_bounds_of_a_gap(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    gaps = [line for line in draft.lines if "gap" in line]
    if not gaps:
        return None
    line = random.choice(gaps)
    bounds = value(line, "gap")
    bounds[random.randrange(2)] += random.choice((-1, 1))
    put(line, "gap", bounds)
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def flips_a_byte_of_the_lines(random: Random, given: Given) -> Forged | None:
    members = dict(given.members)
    name = random.choice([name for name in members if name.startswith("events/")])
    at, bit = random.randrange(len(members[name])), 1 << random.randrange(8)
    data = bytearray(members[name])
    data[at] ^= bit
    members[name] = bytes(data)
    manifest = json.loads(members["manifest.json"])
    if random.random() < 0.5:
        manifest["files"][name]["sha256"] = sha256(data).hexdigest()
        members["manifest.json"] = json.dumps(manifest).encode()
    return Forged(how=f"byte {at}", data=packed(members), asked=given.asked)


@tamper
def flips_a_byte_of_another_member(random: Random, given: Given) -> Forged | None:
    members = dict(given.members)
    name = random.choice(
        [n for n in members if not n.startswith("events/") and n != "manifest.json" and members[n]]
    )
    members[name] = flipped(random, members[name])
    is_checked = name in ("checkpoint", "signals.txt", "consistency.json")
    if is_checked and random.random() < 0.5:
        repair_manifest(members)
    return Forged(how=name, data=packed(members), asked=given.asked, fields=frozenset({name}))


@tamper
def alters_the_manifest(random: Random, given: Given) -> Forged | None:
    members = dict(given.members)
    manifest = json.loads(members["manifest.json"])
    name = random.choice(
        ["format", "kind", "origin", "key", "size", "root", "events", "erased", "withheld", "files"]
    )
    if name == "files":
        of = random.choice(list(manifest["files"]))
        entry = manifest["files"][of]
        which = random.choice(["bytes", "sha256", "gone", "more"])
        if which == "bytes":
            entry["bytes"] += random.choice((-1, 1))
        elif which == "sha256":
            entry["sha256"] = altered(random, "id", entry["sha256"])
        elif which == "gone":
            del manifest["files"][of]
        else:
            manifest["files"][of + "x"] = entry
    elif name == "root":
        manifest[name] = altered(random, "hash", manifest[name])
    else:
        manifest[name] = altered(random, name, manifest[name])
    members["manifest.json"] = json.dumps(manifest).encode()
    return Forged(how=name, data=packed(members), asked=given.asked)


@tamper
def alters_an_anchor(random: Random, given: Given) -> Forged | None:
    if given.witness is None:
        return None
    members = dict(given.members)
    name = random.choice([name for name in members if name.startswith("anchors/")])
    anchor = json.loads(members[name])
    what = random.choice(["size", "time", "data", "note", "proof"])
    if what == "proof":
        anchor[what] = [altered(random, "hash", node) for node in anchor[what]] or ["A" * 43 + "="]
    else:
        anchor[what] = altered(random, {"data": "hash"}.get(what, what), anchor[what])
    members[name] = json.dumps(anchor).encode()
    repair_manifest(members)
    return Forged(how=what, data=packed(members), asked=given.asked)


@tamper
def alters_a_cell_of_the_table(random: Random, given: Given) -> Forged | None:
    if "events.csv" not in given.members:
        return None
    members = dict(given.members)
    rows = list(csv.reader(io.StringIO(members["events.csv"].decode(), newline="")))
    at = random.randrange(1, len(rows))
    cell = random.randrange(len(rows[at]))
    leaf, how = int(rows[at][0]), rows[0][cell]
    action = random.choice(["cell", "drop", "twice", "swap"])
    if action == "cell":
        old = rows[at][cell]
        rows[at][cell] = old[:-1] + ("x" if not old.endswith("x") else "y") if old else "7"
    elif action == "drop":
        del rows[at]
    elif action == "twice":
        rows.insert(at, rows[at])
    elif len(rows) > 2:
        other = at - 1 if at > 1 else at + 1
        rows[at], rows[other] = rows[other], rows[at]
    else:
        return None
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    members["events.csv"] = text.getvalue().encode()
    repair_manifest(members)
    named = frozenset({leaf}) if action == "cell" else frozenset()
    return Forged(how=f"{action} {how}", data=packed(members), asked=given.asked, leaf=named)


@tamper
def drops_an_event(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    at = random.choice(draft.events)
    leaf = value(draft.lines[at], "leaf")
    del draft.lines[at]
    return Forged(how="", data=draft.careful(), asked=given.asked, leaf=frozenset({leaf}))


@tamper
def puts_a_gap_where_an_event_was(random: Random, given: Given) -> Forged | None:
    if json.loads(given.members["manifest.json"])["filter"]:
        return None  # whether more was asked for, nobody can tell
    draft = Draft(given)
    at = random.choice(draft.events)
    leaf = value(draft.lines[at], "leaf")
    gap: Line = {}
    put(gap, "gap", [leaf, leaf + 1])
    put(gap, "nodes", [value(draft.lines[at], "hash")])
    draft.lines[at] = gap
    if not draft.events:
        return None
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def puts_an_event_twice(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    at = random.choice(draft.events)
    draft.lines.insert(random.randrange(len(draft.lines) + 1), dict(draft.lines[at]))
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def inserts_an_event(random: Random, given: Given) -> Forged | None:
    """One that never was, all later leaves moved by one."""
    draft = Draft(given)
    at = random.choice(draft.events)
    made = dict(draft.lines[at])
    put(made, "position", value(made, "position") - (0 if random.random() < 0.3 else 1))
    if random.random() < 0.7:
        rehash(made)
    draft.lines.insert(at, made)
    for line in draft.lines[at + 1 :]:
        if "gap" in line:
            return Forged(how="before a gap", data=draft.careful(), asked=given.asked)
        put(line, "leaf", value(line, "leaf") + 1)
    return Forged(how="at the end", data=draft.careful(), asked=given.asked)


@tamper
def swaps_two_events(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    if len(draft.events) < 2:
        return None
    one, other = random.sample(list(draft.events), 2)
    a, b = draft.lines[one], draft.lines[other]
    if random.random() < 0.5:  # and gives them the numbers of their new places
        for name in ("leaf", "position"):
            a[name], b[name] = b[name], a[name]
        rehash(a)
        rehash(b)
    draft.lines[one], draft.lines[other] = b, a
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def cuts_the_file_off(random: Random, given: Given) -> Forged | None:
    data = packed(given.members)
    return Forged(how="", data=data[: random.randrange(len(data))], asked=given.asked)


@tamper
def cuts_lines_off(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    draft.lines = draft.lines[: random.randrange(len(draft.lines))]
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def leaves_out_a_member(random: Random, given: Given) -> Forged | None:
    members = dict(given.members)
    required = ("manifest.json", "checkpoint", "signals.txt")
    name = random.choice([n for n in members if n in required or n.startswith("events/")])
    del members[name]
    if name != "manifest.json":
        repair_manifest(members)
    return Forged(how=name, data=packed(members), asked=given.asked)


@tamper
def says_that_a_payload_was_withheld(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    line = draft.lines[random.choice(draft.events)]
    if line["state"] == NULL:
        return None
    for name in ("salt", "state", "event"):
        put(line, name, None)
    put(line, random.choice(["withheld", "erased"]), True)
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def signs_with_another_key(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    line = draft.lines[random.choice(draft.events)]
    put(line, "actor", "mallory")
    rehash(line)
    mallory = KeySigner(given.signer.key.name, random.randbytes(32))
    draft.sign(mallory)
    if random.random() < 0.5:
        manifest = json.loads(draft.members["manifest.json"])
        manifest["key"] = str(mallory.key)
        draft.members["manifest.json"] = json.dumps(manifest).encode()
    return Forged(how="", data=draft.careful(), asked=given.asked)


@tamper
def forks_the_log_and_signs_with_the_true_key(random: Random, given: Given) -> Forged | None:
    """Whoever holds an earlier checkpoint finds out: this is what --since is for."""
    if not given.earlier:
        return None
    note = random.choice(list(given.earlier))
    known = checkpoint_of(parse_note(note).text).size
    draft = Draft(given)
    before = [i for i in draft.events if value(draft.lines[i], "leaf") < known]
    if not before:
        return None
    line = draft.lines[random.choice(before)]
    _alter(random, line, random.choice([n for n in COLUMNS if n != "position"]))
    rehash(line)
    draft.sign(given.signer)
    if random.random() < 0.5:
        draft.members.pop("consistency.json", None)
    return Forged(how=f"known: {known}", data=draft.careful(), asked=given.asked._replace(since=note))


@tamper
def cuts_the_last_signals_and_signs_with_the_true_key(random: Random, given: Given) -> Forged | None:
    draft = Draft(given)
    if len(draft.events) != len(draft.lines):
        return None
    signals = [i for i in draft.events if value(draft.lines[i], "name").startswith("signal.issued.")]
    if not signals:
        return None
    cut = signals[-random.randrange(1, len(signals) + 1) :]
    draft.lines = renumbered([line for i, line in enumerate(draft.lines) if i not in cut])
    counts: dict[str, int] = {}
    for line in draft.lines:
        if value(line, "name").startswith("signal.issued."):
            strategy = value(line, "stream").removeprefix("signals-")
            counts[strategy] = counts.get(strategy, 0) + 1
    draft.members.pop("consistency.json", None)
    if random.random() < 0.4:  # forgets that the checkpoint counts them
        draft.sign(given.signer)
        return Forged(how="count kept", data=draft.careful(), asked=given.asked)
    draft.sign(given.signer, Counts(counts))
    note = given.members["checkpoint"].decode()
    return Forged(how="count cut", data=draft.careful(), asked=given.asked._replace(since=note))


@tamper
def rolls_the_log_back(random: Random, given: Given) -> Forged | None:
    """Signs a shorter log with the true key: the last leaves never were."""
    draft = Draft(given)
    if len(draft.events) != len(draft.lines) or len(draft.lines) < 3:
        return None
    draft.lines = draft.lines[: random.randrange(1, len(draft.lines) - 1)]
    draft.members.pop("consistency.json", None)
    draft.sign(given.signer)
    note = given.members["checkpoint"].decode()
    return Forged(how="", data=draft.careful(), asked=given.asked._replace(since=note))


@tamper
def swaps_a_signature(random: Random, given: Given) -> Forged | None:
    """The text of one checkpoint under the signature of another."""
    if not given.earlier:
        return None
    members = dict(given.members)
    note = members["checkpoint"].decode()
    text, _, _ = note.rpartition("\n\n")
    _, _, signature = random.choice(list(given.earlier)).rpartition("\n\n")
    made = f"{text}\n\n{signature}"
    if made == note:
        return None
    members["checkpoint"] = made.encode()
    repair_manifest(members)
    return Forged(how="", data=packed(members), asked=given.asked, fields=frozenset({"checkpoint"}))


def splice(random: Random, given: Given, other: Given) -> Forged | None:
    """An event of another log in the place of one of this."""
    draft, source = Draft(given), Draft(other)
    at = random.choice(draft.events)
    mine, theirs = draft.lines[at], dict(source.lines[random.choice(source.events)])
    leaf: Any = value(mine, "leaf")
    put(theirs, "leaf", leaf)
    if random.random() < 0.5:
        put(theirs, "position", value(mine, "position"))
        put(theirs, "hash", base64.b64encode(leaf_of_line(theirs).hash()).decode())
    if theirs["hash"] == mine["hash"]:
        return None
    draft.lines[at] = theirs
    return Forged(how="", data=draft.careful(), asked=given.asked)
