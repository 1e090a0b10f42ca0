"""One pass over the lines of a bundle: every event is what its leaf says, and all leaves make the root.

Nothing is held but the right edge of the tree and what was found, so the number of events does not matter.
"""

from __future__ import annotations

from alphapulse.adapters.verifier.findings import MAX_FAULTS, Fault, Findings
from alphapulse.adapters.verifier.leaf import Event, Gap, LineRefused, event_of, gap_of, json_of
from alphapulse.adapters.verifier.merkle import RightEdge, levels_of_gap
from alphapulse.adapters.verifier.stored import PayloadCheck

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
        self.events = self.gaps = 0
        self.payloads = PayloadCheck(found)

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
        found = self.payloads.leaf_hash(event)
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
