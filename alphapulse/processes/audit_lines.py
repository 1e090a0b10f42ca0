"""Reads the log for an export: the selected events with their leaves, and the nodes of all between them."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from alphapulse.adapters.provenance.decoded import decoded
from alphapulse.domain.ports import Page, StoredRecord
from alphapulse.domain.provenance.lines import EventLine, Line, NotItsLeaf, event_line, gap_line, gaps
from alphapulse.domain.provenance.merkle import Node, cover
from alphapulse.domain.provenance.sealing import MAX_LEAVES_A_PAGE, Leaves, SealedLog

Withheld = Callable[[StoredRecord, bytes | None], bool]  # of the record and its decoded form
Admits = Callable[[StoredRecord], bool]

_LEAST_LEAVES = 64
_NODES_AT_ONCE = 4_000


class Batch(NamedTuple):
    """Lines in a row, made as they are taken; with them everything up to position ``scanned_to`` is told."""

    lines: Iterable[Line]
    scanned_to: int


class Place(NamedTuple):
    record: StoredRecord
    leaf: int
    leaves: Leaves


def never(record: StoredRecord, event: bytes | None) -> bool:  # noqa: ARG001  a rule's
    return False


class LeafWindow:
    """The leaves of records that are asked for in order of positions: far apart few at a time, close many."""

    def __init__(self, seals: SealedLog, size: int) -> None:
        self._seals, self._size = seals, size
        self._held: Mapping[int, int] = {}
        self._leaves: Leaves | None = None
        self._width = _LEAST_LEAVES

    async def place(self, record: StoredRecord) -> Place:
        """Raises NotItsLeaf: the position was never sealed, though later ones were."""
        if record.position not in self._held:
            await self._move(record)
        assert self._leaves is not None
        return Place(record, self._held[record.position], self._leaves)

    async def _move(self, record: StoredRecord) -> None:
        first = await self._seals.leaf_after(record.position - 1)
        follows = self._leaves is not None and first <= self._leaves.first + 2 * len(self._leaves)
        self._width = min(self._width * 4, MAX_LEAVES_A_PAGE) if follows else _LEAST_LEAVES
        self._leaves = await self._seals.leaves(first, min(first + self._width, self._size))
        self._held = {position: first + i for i, position in enumerate(self._leaves.positions)}
        if record.position not in self._held:
            raise NotItsLeaf(f"position {record.position} of {record.stream} is in the log, and has no leaf")


async def nodes_between(seals: SealedLog, between: Sequence[tuple[int, int]]) -> Mapping[Node, bytes]:
    """The hashes of what covers these ranges of leaves."""
    wanted = [node for lo, hi in between for node in cover(lo, hi)]
    found: dict[Node, bytes] = {}
    for at in range(0, len(wanted), _NODES_AT_ONCE):
        found.update(await seals.nodes(wanted[at : at + _NODES_AT_ONCE]))
    return found


async def batches(
    pages: AsyncIterator[Page],
    seals: SealedLog,
    *,
    leaf: int,
    size: int,
    admits: Admits,
    withheld: Withheld = never,
) -> AsyncIterator[Batch]:
    """The lines from ``leaf`` to ``size``: the events of ``pages`` that are admitted, and gaps.

    Raises:
        NotItsLeaf: the store holds something that was not sealed so.
    """
    window, scanned_to = LeafWindow(seals, size), 0
    async for page in pages:
        places = [await window.place(record) for record in page.records if admits(record)]
        between = list(gaps([place.leaf for place in places], leaf))
        nodes = await nodes_between(seals, between)
        scanned_to = page.scanned_to
        yield Batch(_joined(places, between, nodes, withheld), scanned_to)
        leaf = places[-1].leaf + 1 if places else leaf
    if leaf < size:
        yield Batch([gap_line(leaf, size, await nodes_between(seals, [(leaf, size)]))], scanned_to)


def _joined(
    places: Sequence[Place],
    between: Sequence[tuple[int, int]],
    nodes: Mapping[Node, bytes],
    withheld: Withheld,
) -> Iterator[Line]:
    before = {hi: lo for lo, hi in between}
    for place in places:
        if place.leaf in before:
            yield gap_line(before[place.leaf], place.leaf, nodes)
        yield _event(place, withheld)


def _event(place: Place, withheld: Withheld) -> EventLine:
    record, leaf, leaves = place
    event = decoded(record.state)
    return event_line(record, leaf, leaves, event=event, withheld=withheld(record, event))
