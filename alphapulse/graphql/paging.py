"""Pages by key: a cursor names the last row seen and the position of the log that the page stood for.

Pages that follow a cursor look at the log as it was for the first page, so together they are one answer.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import strawberry

from alphapulse.graphql.access import READ, READ_PAGE
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.limits import Size, paged
from alphapulse.graphql.scalars import Position

Node = TypeVar("Node")


@strawberry.type(description="Whether there is more on either side of a page.")
class PageInfo:
    has_next_page: bool = strawberry.field(metadata=READ)
    has_previous_page: bool = strawberry.field(metadata=READ)
    start_cursor: str | None = strawberry.field(metadata=READ)
    end_cursor: str | None = strawberry.field(metadata=READ)


@strawberry.type
class Edge(Generic[Node]):
    cursor: str = strawberry.field(metadata=READ)
    node: Node = strawberry.field(metadata=READ)


@strawberry.type
class Connection(Generic[Node]):
    position: Position = strawberry.field(
        description="What a log cut here would answer. Pages by cursor keep to it.", metadata=READ
    )
    edges: list[Edge[Node]] = strawberry.field(metadata=READ_PAGE)
    page_info: PageInfo = strawberry.field(metadata=READ)

    @strawberry.field(metadata=READ_PAGE)
    def nodes(self) -> list[Node]:
        return [edge.node for edge in self.edges]


@dataclass(frozen=True, slots=True)
class Cursor:
    position: int
    key: tuple[int, ...]

    def __str__(self) -> str:
        text = ",".join(map(str, (self.position, *self.key)))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, width: int) -> "Cursor":
        """The cursor written ``text``, whose key has ``width`` numbers.

        Raises:
            UserError: it is not one of ours, or of another kind of page.
        """
        try:
            raw = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode("ascii")
            position, *key = (int(part) for part in raw.split(","))
        except (ValueError, binascii.Error):
            key, position = [], -1
        if len(key) != width or position < 0 or max(map(abs, (position, *key))) >= 2**63:
            raise UserError(f"cursor {text[:80]!r} was not given out by this kind of page")
        return cls(position, tuple(key))


@dataclass(frozen=True, slots=True)
class Window:
    """Which page is asked for: the ``count`` rows after ``after``, or the last ones before ``before``."""

    count: int
    backward: bool
    after: Cursor | None
    before: Cursor | None

    @property
    def position(self) -> int | None:
        """The position that the cursors stand for.

        Raises:
            UserError: they stand for different ones.
        """
        positions = {cursor.position for cursor in (self.after, self.before) if cursor}
        if len(positions) > 1:
            raise UserError(f"the cursors stand for different positions: {sorted(positions)}")
        return positions.pop() if positions else None


def window(
    *,
    first: int | None,
    last: int | None,
    after: str | None,
    before: str | None,
    width: int,
    cap: int,
    default: int,
) -> Window:
    """
    Raises:
        UserError: both ``first`` and ``last`` are given, one is not within 1 to ``cap``, or a cursor is bad.
    """
    if first is not None and last is not None:
        raise UserError(f"first {first} and last {last}: a page has one direction")
    count = next((n for n in (first, last) if n is not None), default)
    if not 1 <= count <= cap:
        raise UserError(f"{'first' if last is None else 'last'} {count} needs 1 to {cap}")
    return Window(
        count,
        last is not None,
        None if after is None else Cursor.parse(after, width),
        None if before is None else Cursor.parse(before, width),
    )


def page_size(cap: int, default: int) -> Size:
    """The size of a page by ``first`` or ``last``, for its cost."""
    forward, backward = paged("first", cap, default), paged("last", cap, default)
    return lambda arguments: max(forward(arguments), backward(arguments))


def connection(
    page: Window, position: int, keys: Sequence[tuple[int, ...]], nodes: Sequence[Node]
) -> Connection[Node]:
    """The answer: ``nodes`` with their keys, in order, one more than asked for where there is more."""
    more = len(nodes) > page.count
    kept = slice(-page.count, None) if page.backward else slice(page.count)
    cursors = [str(Cursor(position, key)) for key in keys[kept]]
    return Connection(
        position=Position(position),
        edges=[Edge(cursor=cursor, node=node) for cursor, node in zip(cursors, nodes[kept], strict=True)],
        page_info=PageInfo(
            has_next_page=page.before is not None if page.backward else more,
            has_previous_page=more if page.backward else page.after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )
