"""Of one event: its payload is what it committed to, and says what is shown of it."""

from __future__ import annotations

from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event, LineRefused, commitment_to, leaf_hash_of, same
from alphapulse.adapters.verifier.payload import NotDecodable, decoded


class PayloadCheck:
    """Counts payloads that are not there, or not read here."""

    def __init__(self, found: Findings) -> None:
        self._found = found
        self.erased = self.withheld = self.not_decoded = self.unreadable = 0

    def leaf_hash(self, event: Event) -> bytes:
        """What stands for ``event`` in the tree, by its columns and its payload.

        Raises:
            LineRefused: it cannot be told.
        """
        found = leaf_hash_of(event, event.commitment)
        if event.absent is None:
            return self._by_payload(event, found)
        self._note_absent(event)
        return found

    def _note_absent(self, event: Event) -> None:
        if event.state is not None or event.salt is not None or event.event is not None:
            raise LineRefused(event.absent, f"it is {event.absent} and there nevertheless")
        if event.absent == "erased":
            self.erased += 1
            self._found.miss("its payload was erased", event.leaf)
        else:
            self.withheld += 1
            self._found.miss("its payload is withheld", event.leaf)

    def _by_payload(self, event: Event, found: bytes) -> bytes:
        """The hash that stands for ``event``: by its commitment, or by its payload where only that fits."""
        if event.state is None or event.salt is None:
            raise LineRefused("state", "its payload or salt is missing, and nothing says why")
        commitment = commitment_to(event.salt, event.state)
        is_shown = self._check_shown(event, event.state)
        if commitment == event.commitment:
            return found
        by_payload = leaf_hash_of(event, commitment)
        if by_payload == event.hash:
            what, text, found = (
                "commitment",
                "its commitment is not to its payload, which fits the hash",
                by_payload,
            )
        else:
            what = "salt or state" if is_shown else "state"
            text = (
                f"its salt and payload have the commitment {commitment.hex()}, not {event.commitment.hex()}"
            )
        self._found.fault(text, event.leaf, what)
        return found

    def _check_shown(self, event: Event, state: bytes) -> bool:
        """Whether the payload says what is shown as decoded, or cannot be read here."""
        try:
            says = decoded(state)
        except NotDecodable:
            self.not_decoded += 1
            return True
        except LineRefused as error:
            self.unreadable += 1
            if event.event is None:
                return True
            self._found.fault(
                f"its payload cannot be read ({error}), and is shown decoded", event.leaf, "event"
            )
            return False
        if same(says, event.event):
            return True
        self._found.fault("what is shown as decoded is not what its payload says", event.leaf, "event")
        return False
