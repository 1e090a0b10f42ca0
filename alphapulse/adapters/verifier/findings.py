"""What a verification has found so far, and the verdict that follows from it."""

from __future__ import annotations

from typing import Any, NamedTuple

MAX_FAULTS = 20  # the first ones; whoever wants more has enough of them
MAX_MISSING = 20

VALID = "VALID"
INVALID = "INVALID"
INCOMPLETE = "VALID BUT INCOMPLETE"
EXIT_CODES = {VALID: 0, INVALID: 1, INCOMPLETE: 3}


class Fault(NamedTuple):
    """Something that is not as it was signed, or missing: of a leaf or of the whole, and of which field."""

    text: str
    leaf: int | None
    what: str | None


class Enough(Exception):
    """So many faults that reading on tells nothing."""


class Broken(Exception):
    """What comes next cannot be read, for a reason that is told; ``what`` is the member where that is."""

    def __init__(self, text: str, what: str | None = None) -> None:
        super().__init__(text)
        self.what = what


class Findings:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.missing: list[Fault] = []
        self.missing_in_all = 0
        self.said: list[str] = []
        self.facts: dict[str, Any] = {}  # goes into what --json prints

    def fault(self, text: str, leaf: int | None = None, what: str | None = None) -> None:
        """Raises Enough."""
        self.faults.append(Fault(text, leaf, what))
        if len(self.faults) >= MAX_FAULTS:
            raise Enough

    def miss(self, text: str, leaf: int | None = None) -> None:
        """Say what is missing: nothing is wrong, but not everything is there."""
        self.missing_in_all += 1
        if len(self.missing) < MAX_MISSING:
            self.missing.append(Fault(text, leaf, None))

    def say(self, text: str) -> None:
        """Tell the reader something that is no fault."""
        self.said.append(text)

    @property
    def verdict(self) -> str:
        if self.faults:
            return INVALID
        return INCOMPLETE if self.missing_in_all else VALID
