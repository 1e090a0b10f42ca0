"""One pass over the lines of a bundle: every event is what its leaf says, and all leaves make the root.

Nothing is held but the right edge of the tree and what was found, so the number of events does not matter.
"""

from __future__ import annotations

from alphapulse.adapters.verifier.findings import MAX_FAULTS, Fault, Findings
from alphapulse.adapters.verifier.leaf import (
    Event,
    Gap,
    LineRefused,
    commitment_to,
    event_of,
    gap_of,
    json_of,
    leaf_hash_of,
    same,
)
from alphapulse.adapters.verifier.merkle import RightEdge, levels_of_gap
from alphapulse.adapters.verifier.payload import NotDecodable, decoded

_UNSETTLED = "columns or hash"


class LeafPass:
    """Takes the lines of a tree of ``size`` leaves, in order."""

    def __init__(self, size: int, found: Findings, remember: int | None = None) -> None:
        """``remember``: of a tree of so many leaves the root is wanted as well."""
        self._size, self._found = size, found
        self._tree = RightEdge()  # of the hashes that follow from the columns
        self._stated: RightEdge | None = None  # of the hashes as they stand there, once one differs
        self._next = 0  # the leaf that should come
        self.is_whole = True  # so far every line was read, and each leaf in its turn
        self._remember = remember
        self.remembered: bytes | None = None
        self.last_position = 0
        self.ends_with_event = False
        self.events = self.erased = self.withheld = self.gaps = 0
        self.not_decoded = self.unreadable = 0

    def take(self, raw: bytes) -> Event | Gap | None:
        """What the next line is; None where it is nothing that could be read."""
        line = None
        try:
            line = json_of(raw.decode())
            if type(line) is not dict:
                raise LineRefused(None, "a line is an event or a gap")
            return self._gap(gap_of(line)) if "gap" in line else self._event(event_of(line))
        except (LineRefused, UnicodeDecodeError, RecursionError) as error:
            self._refused(line, error)
            return None

    def end(self, root: bytes) -> None:
        """Compare with the root that was signed, once all lines were taken."""
        if self._next != self._size:
            self.is_whole = False
            self._found.fault(
                f"the leaves end at {self._next}, the checkpoint has {self._size}", self._next, "leaf"
            )
        if not self.is_whole:
            return
        if self._stated is not None:
            self._settle(root)
        elif self._tree.root() != root:
            self._found.fault(
                f"the {self._size} leaves have the root {self._tree.root().hex()}, the checkpoint says "
                f"{root.hex()}: an event or a gap is not what was sealed, though each fits its own hash",
                None,
                "root",
            )

    def _event(self, event: Event) -> Event:
        self._place(event.leaf, event.leaf + 1)
        if event.position <= self.last_position:
            self._found.fault(
                f"position {event.position} comes after position {self.last_position}", event.leaf, "position"
            )
        self.last_position = event.position
        self.events += 1
        self.ends_with_event = True
        found = leaf_hash_of(event, event.commitment)
        if event.absent is None:
            found = self._check_payload(event, found)
        else:
            self._note_absent(event)
        if found != event.hash:
            self._found.fault(
                f"its columns have the hash {found.hex()}, not {event.hash.hex()}", event.leaf, _UNSETTLED
            )
            self._stated = self._stated or self._tree.copy()
        self._add(found, event.hash)
        return event

    def _gap(self, gap: Gap) -> Gap:
        self._place(gap.lo, gap.hi)
        self.gaps += 1
        self.ends_with_event = False
        levels = levels_of_gap(gap.lo, gap.hi)
        if len(levels) != len(gap.nodes):
            self.is_whole = False
            self._found.fault(f"a gap of {len(gap.nodes)} nodes, where {len(levels)} belong", gap.lo, "nodes")
        elif self.is_whole:
            for node, level in zip(gap.nodes, levels):
                self._add(node, node, level)
        return gap

    def _add(self, found: bytes, stated: bytes, level: int = 0) -> None:
        if not self.is_whole:
            return
        self._tree.add(found, level)
        if self._stated is not None:
            self._stated.add(stated, level)
        if self._tree.size == self._remember:
            self.remembered = self._tree.root()

    def _place(self, lo: int, hi: int) -> None:
        """Leaves ``lo`` to ``hi`` come next."""
        if hi > self._size:
            self.is_whole = False
            self._found.fault(f"leaf {hi - 1} is beyond the {self._size} of the checkpoint", lo, "leaf")
        if lo > self._next:
            self.is_whole = False
            self._found.fault(f"leaves {self._next} to {lo - 1} are not there", self._next, "leaf")
        elif lo < self._next:
            self.is_whole = False
            self._found.fault(f"leaf {lo} comes where {self._next} should", lo, "leaf")
        self._next = hi

    def _refused(self, line: object, error: Exception) -> None:
        """The line counts as the leaf that it says, or that should come."""
        leaf = line.get("leaf") if type(line) is dict else None
        leaf = leaf if type(leaf) is int else self._next
        self.is_whole, self._next = False, leaf + 1
        what = error.what if isinstance(error, LineRefused) else None
        self._found.fault(f"a line is refused: {error}", leaf, what)

    def _note_absent(self, event: Event) -> None:
        if event.state is not None or event.salt is not None or event.event is not None:
            raise LineRefused(event.absent, f"it is {event.absent} and there nevertheless")
        if event.absent == "erased":
            self.erased += 1
            self._found.miss("its payload was erased", event.leaf)
        else:
            self.withheld += 1
            self._found.miss("its payload is withheld", event.leaf)

    def _check_payload(self, event: Event, found: bytes) -> bytes:
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

    def _settle(self, root: bytes) -> None:
        """Say which of columns and hashes were altered: those that do not lead to ``root``."""
        assert self._stated is not None
        if self._tree.root() == root:
            what, text = "hash", "the tree holds the columns as they stand here"
        elif self._stated.root() == root:
            what, text = "columns", "the tree holds the hash: a column was altered"
        else:
            what, text = _UNSETTLED, "neither leads to the root that was signed"
        faults = self._found.faults
        faults[:] = [
            Fault(f"{fault.text}: {text}", fault.leaf, what) if fault.what == _UNSETTLED else fault
            for fault in faults[:MAX_FAULTS]
        ]
