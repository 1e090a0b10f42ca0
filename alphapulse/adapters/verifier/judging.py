"""Those who judge what is in a bundle, beyond that it was sealed: track records, and evidence of a signal.

Standard library only, Python 3.8 and later: this becomes a part of verify.py.
"""

from __future__ import annotations

from alphapulse.adapters.verifier.anchoring import CHECKED
from alphapulse.adapters.verifier.evidence import EvidenceBundle
from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event
from alphapulse.adapters.verifier.manifest import Manifest
from alphapulse.adapters.verifier.track import NOT_ITS_NAME, TrackRecord, Vouched
from alphapulse.adapters.verifier.watching import Bundle

_KIND_OF_EVIDENCE = "evidence"


class TrackWatcher:
    """Signals of all strategies in the bundle: numbers, definitions, and whether they were in time."""

    def __init__(self) -> None:
        self._record = TrackRecord()
        self._unread: list[int] = []

    def begin(self, manifest: Manifest) -> None:
        asked = manifest.asked.get("strategy")
        self._asked = asked if type(asked) is str else None

    def take(self, event: Event) -> None:
        try:
            self._record.see(event)
        except NOT_ITS_NAME:
            self._unread.append(event.leaf)

    def end(self, bundle: Bundle, found: Findings) -> None:
        for leaf in self._unread:
            found.miss("what it says of a strategy or signal cannot be read here", leaf)
        vouched = [
            Vouched(each.anchor.size, each.time, each.anchor.name)
            for each in bundle.anchored
            if each.state == CHECKED and each.time is not None and each.anchor.kind != "file"
        ]
        try:
            self._record.end(found, bundle.counts or {}, vouched, self._asked)
        except NOT_ITS_NAME as error:
            found.miss(f"a track record that could be read here ({type(error).__name__}: {error})")


class EvidenceWatcher:
    """One signal, its decision and its market, in a bundle that was made of them."""

    def __init__(self) -> None:
        self._evidence: EvidenceBundle | None = None
        self._is_too_large = False

    def begin(self, manifest: Manifest) -> None:
        if manifest.kind == _KIND_OF_EVIDENCE:
            self._evidence = EvidenceBundle()

    def take(self, event: Event) -> None:
        if self._evidence is not None and not self._is_too_large:
            self._is_too_large = not self._evidence.see(event)

    def end(self, bundle: Bundle, found: Findings) -> None:
        if self._evidence is None:
            return
        if bundle.evidence is None:
            found.fault("a bundle of evidence without evidence.json", None, "evidence.json")
        elif self._is_too_large:
            found.miss("evidence of so many events is not judged here")
        else:
            try:
                self._evidence.end(found, bundle.evidence)
            except NOT_ITS_NAME as error:
                what = f"{type(error).__name__}: {error}"
                found.fault(f"it, or what it names, is not what it should be: {what}", None, "evidence.json")
