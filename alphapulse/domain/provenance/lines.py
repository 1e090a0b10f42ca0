"""The lines of an export: events that are in it, and gaps for the leaves that are not.

Together they are exactly the leaves of one tree, in order. Whoever reads them with a Frontier, appending a
leaf hash for an event and the nodes of a gap, ends with the root: that is the proof, whatever was selected.

    {"leaf": 5, "position": 17, ..., "hash": base64, "event": decoded or null}
    {"gap": [6, 9], "nodes": [base64 of each node of cover(6, 9)]}

Numbers that may exceed 2**53 are strings of digits; times recorded are µs since 1970 UTC.
"""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.leaf import commitment_of, leaf_of, microseconds
from alphapulse.domain.provenance.merkle import Node, cover
from alphapulse.domain.provenance.sealing import Leaves

_NULL = Raw(b"null")


class EventLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored event, its leaf, and what it says. The body of one ``withheld`` is told later."""

    leaf: int
    position: int
    id: UUID
    stream: str
    version: int
    name: str
    recorded_at: int
    event_time: str | None
    cause: UUID | None
    correlation: UUID | None
    actor: str
    trace: str | None
    id_lo: str | None
    id_hi: str | None
    commitment: bytes
    salt: bytes | None
    state: bytes | None
    hash: bytes
    event: Raw  # JSON; null where the state is not there or cannot be read
    withheld: bool | UnsetType = UNSET
    erased: bool | UnsetType = UNSET


class GapLine(msgspec.Struct, frozen=True, kw_only=True):
    """Leaves ``gap[0]`` to ``gap[1]``, that one not included, and the nodes that stand for them."""

    gap: tuple[int, int]
    nodes: Sequence[bytes]


Line = EventLine | GapLine


class NotItsLeaf(Exception):
    """The store holds something else at this position than was sealed: no honest export of it is possible."""


def event_line(
    record: StoredRecord, leaf: int, leaves: Leaves, *, event: bytes | None, withheld: bool = False
) -> EventLine:
    """The line of ``record``, which is ``leaf``; ``event`` is its decoded form as JSON.

    Raises:
        NotItsLeaf: the stored event is not the one that was sealed.
    """
    salt, commitment = leaves.salt(leaf), leaves.commitment(leaf)
    erased = salt is None or (not record.state and commitment_of(salt, b"") != commitment)
    _check(record, leaf, leaves, None if erased else salt)
    shown = not erased and not withheld
    envelope = record.envelope
    return EventLine(
        leaf=leaf,
        position=record.position,
        id=envelope.event_id,
        stream=record.stream,
        version=record.version,
        name=record.name,
        recorded_at=microseconds(record.recorded_at),
        event_time=_digits(envelope.event_time),
        cause=envelope.cause_id,
        correlation=envelope.correlation_id,
        actor=envelope.actor,
        trace=envelope.trace,
        id_lo=_digits(record.id_lo),
        id_hi=_digits(record.id_hi),
        commitment=commitment,
        salt=salt if shown else None,
        state=record.state if shown else None,
        hash=leaves.hash(leaf),
        event=Raw(event) if shown and event is not None else _NULL,
        withheld=True if withheld and not erased else UNSET,
        erased=True if erased else UNSET,
    )


def gap_line(lo: int, hi: int, nodes: Mapping[Node, bytes]) -> GapLine:
    """What stands for the leaves from ``lo`` to ``hi``: ``nodes`` holds at least ``cover(lo, hi)``."""
    return GapLine(gap=(lo, hi), nodes=[nodes[node] for node in cover(lo, hi)])


def gaps(leaves: Sequence[int], after: int, until: int | None = None) -> Iterator[tuple[int, int]]:
    """What lies between ``leaves``, rising, from leaf ``after`` on and, where given, to ``until``."""
    for leaf in leaves:
        if leaf > after:
            yield after, leaf
        after = leaf + 1
    if until is not None and until > after:
        yield after, until


def _check(record: StoredRecord, leaf: int, leaves: Leaves, salt: bytes | None) -> None:
    commitment = leaves.commitment(leaf)
    where = f"position {record.position}, version {record.version} of {record.stream}"
    if salt is not None and commitment_of(salt, record.state) != commitment:
        raise NotItsLeaf(
            f"{where}: its {len(record.state)} bytes are not those that were sealed as leaf {leaf}"
        )
    if leaf_of(record, commitment).hash() != leaves.hash(leaf):
        raise NotItsLeaf(f"{where}: its columns are not those that were sealed as leaf {leaf}")


def _digits(number: int | None) -> str | None:
    return None if number is None else str(number)
