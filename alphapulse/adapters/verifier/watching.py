"""Who looks at the events of a bundle as they go by, and says at its end what follows from them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from alphapulse.adapters.verifier.anchoring import Anchored
from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event
from alphapulse.adapters.verifier.manifest import Manifest
from alphapulse.adapters.verifier.note import SignedCheckpoint


class Bundle(NamedTuple):
    """What is known once all of it was read."""

    manifest: Manifest
    checkpoint: SignedCheckpoint
    counts: dict[str, int] | None  # signals of each strategy, by the checkpoint
    anchored: list[Anchored]
    evidence: Any  # what evidence.json says, as ``json_of`` gives it; None where there is none
    is_whole: bool  # every leaf of the checkpoint is here


class Watcher(Protocol):
    def begin(self, manifest: Manifest) -> None:
        """What the bundle says of itself, before its first event."""
        ...

    def take(self, event: Event) -> None:
        """The next event, which is as it was sealed if no fault was found."""
        ...

    def end(self, bundle: Bundle, found: Findings) -> None:
        """Say what follows."""
        ...
