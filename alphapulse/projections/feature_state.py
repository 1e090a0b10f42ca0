"""What the making of bars carries along, as the JSON text that ``feature_markets`` keeps. Exact both ways."""

import json
from dataclasses import fields
from operator import attrgetter
from typing import Any

from msgspec.structs import astuple

from alphapulse.domain.analysis.closing import Closing
from alphapulse.domain.analysis.pieces import Piece
from alphapulse.domain.analysis.watching import Watched

_WATCHED = attrgetter(*(field.name for field in fields(Watched)))


def written(state: Closing) -> str:
    """The part of ``state`` that has no column of its own."""
    content = {
        "last": state.last,
        "open": [piece and astuple(piece) for piece in state.open],
        "watched": _WATCHED(state.watched),
    }
    return json.dumps(content, separators=(",", ":"))


def read(high_water: int, late: int, text: str) -> Closing:
    content: dict[str, Any] = json.loads(text)
    first, connected, known, filled = content["watched"]
    return Closing(
        high_water=high_water,
        late=late,
        last=tuple(content["last"]),
        open=tuple(piece and Piece(*piece) for piece in content["open"]),
        watched=Watched(first, connected, _pairs(known), _pairs(filled)),
    )


def _pairs(lists: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in lists)
