"""That something was exported: who took what, out of which tree. Stream ``audit-exports``."""

from collections.abc import Sequence
from typing import Any

import msgspec

from alphapulse.domain.decider import Decider

STREAM = "audit-exports"


class AuditExported(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle was made; whether it was given to anybody, nobody knows. The actor is who asked for it."""

    kind: str  # export or evidence
    asked: dict[str, Any]  # the conditions, as the manifest says them
    events: int
    erased: int  # of them, without their payload
    withheld: int
    size: int  # leaves of the checkpoint in the bundle
    root: bytes  # of it
    manifest: str  # SHA-256, in hexadecimal


def _decide(made: AuditExported, _: None) -> Sequence[AuditExported]:
    return [made]


def _evolve(state: None, _: AuditExported) -> None:
    return state


# Every export is a fact of its own: what tells a repeat is the id of its command.
exports: Decider[AuditExported, None, AuditExported] = Decider(None, _decide, _evolve)
