"""What anchors gave, by kind."""

from __future__ import annotations

from typing import Sequence

from alphapulse.adapters.verifier.anchoring import NOT_CHECKED, Anchor, Anchored
from alphapulse.adapters.verifier.note import Key


def check_anchor(anchor: Anchor, witnesses: Sequence[Key]) -> Anchored:  # noqa: ARG001
    """What ``anchor`` says of its note, by the keys of ``witnesses`` that the caller trusts.

    Raises:
        AnchorRefused: it is not over this note.
    """
    return Anchored(anchor, NOT_CHECKED, None, f"{anchor.kind} is not known here")
