"""A bundle from its first member to its last: each is as the manifest says, and says what was signed."""

from __future__ import annotations

import base64
from typing import BinaryIO, Callable, Sequence

from alphapulse.adapters.verifier.anchoring import (
    Anchored,
    AnchorRefused,
    anchor_in,
    consistency_in,
    facts_of,
)
from alphapulse.adapters.verifier.anchors import check_anchor
from alphapulse.adapters.verifier.archive import Archive, Member
from alphapulse.adapters.verifier.checking import LeafPass
from alphapulse.adapters.verifier.completeness import Completeness
from alphapulse.adapters.verifier.findings import Broken, Enough, Findings
from alphapulse.adapters.verifier.known import (
    Asked,
    check_since,
    check_witnesses,
    chosen_key,
    known_checkpoint,
)
from alphapulse.adapters.verifier.leaf import Event, LineRefused, json_of
from alphapulse.adapters.verifier.manifest import manifest_in
from alphapulse.adapters.verifier.merkle import ProofRefuted
from alphapulse.adapters.verifier.note import NoteRefused, SignedCheckpoint, checkpoint_in, counts_in
from alphapulse.adapters.verifier.tables import compare_csv, compare_parquet
from alphapulse.adapters.verifier.watching import Bundle, Watcher

MAX_EVENTS_A_FILE = 10_000
_MAX_COUNTS_BYTES = 64 << 20
_MAX_EVIDENCE_BYTES = 64 << 20


def verify_bundle(
    opened: Callable[[], BinaryIO],
    asked: Asked,
    watchers: Sequence[Watcher] = (),
    progress: Callable[[int], None] | None = None,
) -> Findings:
    """What is found in the bundle that ``opened`` opens; ``progress`` is told how many bytes were read."""
    found = Findings()
    with opened() as file:
        try:
            _Reading(Archive(file), opened, asked, watchers, found, progress).read()
        except Broken as error:
            _last_fault(found, error)
        except Enough:
            found.say(f"stopped after {len(found.faults)} faults")
    return found


def _last_fault(found: Findings, error: Broken) -> None:
    try:
        found.fault(str(error), None, error.what)
    except Enough:
        found.say(f"stopped after {len(found.faults)} faults")


class _Reading:
    """The state of one verification."""

    def __init__(
        self,
        archive: Archive,
        opened: Callable[[], BinaryIO],
        asked: Asked,
        watchers: Sequence[Watcher],
        found: Findings,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._archive, self._opened, self._asked = archive, opened, asked
        self._watchers, self._found, self._progress = watchers, found, progress
        self._counts: dict[str, int] | None = None
        self._since: SignedCheckpoint | None = None
        self._earlier: SignedCheckpoint | None = None  # in consistency.json
        self._anchored: list[Anchored] = []
        self._evidence: object = None
        self._files = 0

    def read(self) -> None:
        self._manifest = manifest_in(self._expect("manifest.json").text())
        self._key = chosen_key(self._asked, self._manifest.key, self._found) or self._manifest.key
        self._checkpoint = self._signed(self._expect("checkpoint"))
        self._read_counts(self._expect("signals.txt"))
        self._since = known_checkpoint(self._asked, self._key, self._found)
        self._leaves = LeafPass(self._checkpoint.size, self._found, self._since.size if self._since else None)
        self._complete = Completeness(self._manifest, self._found)
        for watcher in self._watchers:
            watcher.begin(self._manifest)
        member = self._archive.member()
        while member is not None and member.name.startswith("events/"):
            self._read_events(member)
            member = self._archive.member()
        self._end_of_events()
        while member is not None:
            self._read_other(member)
            member = self._archive.member()
        for name in self._manifest.files:
            self._found.fault(f"{name} is in the manifest and not in the bundle", None, name)
        self._conclude()

    def _expect(self, name: str) -> Member:
        member = self._archive.member()
        if member is None or member.name != name:
            raise Broken(f"{member.name if member else 'the end'} comes where {name} should")
        return member

    def _signed(self, member: Member) -> SignedCheckpoint:
        manifest = self._manifest
        try:
            checkpoint = checkpoint_in(member.text(), self._key)
        except NoteRefused as error:
            self._found.fault(f"the checkpoint: {error}", None, "checkpoint")
            raise Broken("nothing else can be told without a checkpoint") from None
        said = (manifest.origin, manifest.size, manifest.root)
        if said != (checkpoint.origin, checkpoint.size, checkpoint.root):
            self._found.fault("the manifest says another origin, size or root", None, "manifest.json")
        self._check_file(member)
        return checkpoint

    def _read_counts(self, member: Member) -> None:
        try:
            self._counts = counts_in(member.text(_MAX_COUNTS_BYTES), self._checkpoint)
        except NoteRefused as error:
            self._found.fault(str(error), None, "signals.txt")
        self._check_file(member)

    def _read_events(self, member: Member) -> None:
        self._files += 1
        if member.name != f"events/{self._files:06d}.jsonl":
            raise Broken(f"{member.name} comes where events/{self._files:06d}.jsonl should")
        events = 0
        for raw in member.lines():
            line = self._leaves.take(raw)
            if isinstance(line, Event):
                events += 1
                self._complete.event(line)
                for watcher in self._watchers:
                    watcher.take(line)
            elif line is not None:
                self._complete.gap(line.lo, line.hi)
            if self._progress is not None:
                self._progress(self._archive.bytes_read)
        if events > MAX_EVENTS_A_FILE:
            self._found.fault(
                f"{member.name} has {events} events, over {MAX_EVENTS_A_FILE}", None, member.name
            )
        self._check_file(member)

    def _end_of_events(self) -> None:
        leaves, manifest = self._leaves, self._manifest
        leaves.end(self._checkpoint.root)
        self._complete.end(self._counts if leaves.is_whole else None)
        here = {
            "events": leaves.events,
            "erased": leaves.payloads.erased,
            "withheld": leaves.payloads.withheld,
        }
        for what, count in here.items():
            if count != getattr(manifest, what):
                self._found.fault(
                    f"the manifest says {what}: {getattr(manifest, what)}, here are {count}",
                    None,
                    "manifest.json",
                )
        last, at_the_end = leaves.last_position, leaves.ends_with_event
        if last > manifest.position or (at_the_end and last != manifest.position):
            self._found.fault(
                f"the manifest says that position {manifest.position} is the last, here is {last}",
                None,
                "manifest.json",
            )

    def _read_other(self, member: Member) -> None:
        name, found = member.name, self._found
        if name == "consistency.json":
            self._read_consistency(member)
        elif name.startswith("anchors/"):
            self._read_anchor(member)
        elif name == "events.csv":
            with self._opened() as again:
                compare_csv(member, again, found)
        elif name == "events.parquet":
            with self._opened() as again:
                if not compare_parquet(member, again, found):
                    found.say("events.parquet was not compared: there is no pyarrow here")
        elif name == "evidence.json":
            self._read_evidence(member)
        elif name not in ("verify.py", "README.txt"):
            found.fault(f"nothing is known of a member {name}", None, name)
        self._check_file(member)

    def _read_consistency(self, member: Member) -> None:
        try:
            self._earlier = consistency_in(member.text(), self._key, self._checkpoint)
        except (LineRefused, NoteRefused, ProofRefuted) as error:
            self._found.fault(f"it does not continue the earlier checkpoint: {error}", None, member.name)

    def _read_anchor(self, member: Member) -> None:
        try:
            anchor = anchor_in(member.name, member.text(), self._key, self._checkpoint)
            self._anchored.append(check_anchor(anchor, self._asked.witnesses, self._asked.trusted))
        except AnchorRefused as error:
            self._found.fault(f"the anchor: {error}", None, member.name)

    def _read_evidence(self, member: Member) -> None:
        try:
            self._evidence = json_of(member.text(_MAX_EVIDENCE_BYTES))
        except LineRefused as error:
            self._found.fault(str(error), None, member.name)

    def _check_file(self, member: Member) -> None:
        """Its size and digest are those in the manifest."""
        said = self._manifest.files.pop(member.name, None)
        digest = member.digest()
        if said is None:
            self._found.fault(f"{member.name} is not in the manifest", None, member.name)
        elif said != (member.size, digest):
            self._found.fault(
                f"{member.name} has the SHA-256 {digest}, the manifest says {said[1]}", None, member.name
            )

    def _conclude(self) -> None:
        bundle = Bundle(
            self._manifest,
            self._checkpoint,
            self._counts,
            self._anchored,
            self._evidence,
            self._leaves.gaps == 0,
        )
        check_since(self._since, self._checkpoint, self._shown_root(), self._found)
        check_witnesses(self._asked.witnesses, self._checkpoint, self._anchored, self._found)
        for watcher in self._watchers:
            watcher.end(bundle, self._found)
        self._tell(bundle)

    def _shown_root(self) -> bytes | None:
        """Of as many leaves as the caller's checkpoint has: by the lines, or by the proof in the bundle."""
        earlier = self._earlier
        if self._leaves.remembered is None and earlier is not None and self._since is not None:
            return earlier.root if earlier.size == self._since.size else None
        return self._leaves.remembered

    def _tell(self, bundle: Bundle) -> None:
        leaves, checkpoint = self._leaves, self._checkpoint
        self._found.facts.update(
            kind=bundle.manifest.kind,
            origin=checkpoint.origin,
            key=self._key.text(),
            key_was_given=self._asked.key is not None,
            size=checkpoint.size,
            root=base64.b64encode(checkpoint.root).decode(),
            asked=bundle.manifest.asked,
            events=leaves.events,
            gaps=leaves.gaps,
            erased=leaves.payloads.erased,
            withheld=leaves.payloads.withheld,
            not_decoded=leaves.payloads.not_decoded,
            unreadable=leaves.payloads.unreadable,
            signals=self._complete.signals,
            anchors=facts_of(self._anchored),
        )
