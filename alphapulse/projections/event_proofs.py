"""Proof that an event is in the sealed log, put together from the store and the tree. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from alphapulse.domain.ports import EventStore, StoredRecord
from alphapulse.domain.provenance.leaf import Leaf, leaf_of
from alphapulse.domain.provenance.sealing import Leaves, Sealed, SealedLog
from alphapulse.projections.proofs import consistency_proof, inclusion_proof


class NotSealed(Exception):
    """There is no checkpoint yet that holds what was asked for: ask again a little later."""


class NothingThere(Exception):
    """No event has this position or id, or no checkpoint this number of leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventProof:
    """``hashes`` lead from the leaf's own hash to the root of ``checkpoint``.

    ``record`` is None where the store no longer holds the columns that were sealed. Of its payload nothing
    is said.
    """

    checkpoint: Sealed
    leaf: int
    leaves: Leaves  # this one alone
    hashes: Sequence[bytes]
    record: StoredRecord | None

    @property
    def position(self) -> int:
        return self.leaves.positions[0]

    @property
    def hash(self) -> bytes:
        """Of the leaf, as it was sealed."""
        return self.leaves.hash(self.leaf)

    @property
    def salt(self) -> bytes | None:
        """None where it was deleted."""
        return self.leaves.salt(self.leaf)

    @property
    def event(self) -> Leaf | None:
        """What the leaf commits to; None as ``record`` is."""
        commitment = self.leaves.commitment(self.leaf)
        return None if self.record is None else leaf_of(self.record, commitment)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthProof:
    """``hashes`` show the tree of ``old`` leaves at the beginning of that of ``checkpoint``."""

    old: int
    checkpoint: Sealed
    hashes: Sequence[bytes]


async def checkpoint(log: SealedLog, size: int | None = None) -> Sealed:
    """The newest checkpoint, or that of exactly ``size`` leaves.

    Raises:
        NotSealed: nothing is sealed yet, or not so many leaves.
        NothingThere: no checkpoint has exactly so many leaves; says which come before and after.
    """
    found = await log.sealed(size=size)
    if found is None:
        last = await log.sealed()
        reached = f"the newest checkpoint has {last.size} leaves" if last else "nothing is sealed yet"
        raise NotSealed(reached if size is None else f"no checkpoint of {size} leaves: {reached}")
    if size is not None and found.size != size:
        raise NothingThere(f"no checkpoint of exactly {size} leaves: the next has {found.size}")
    return found


async def prove_event(
    store: EventStore, log: SealedLog, position: int, *, size: int | None = None
) -> EventProof:
    """Proof that the event at ``position`` is in the tree of the newest checkpoint, or of that of ``size``.

    Raises:
        NotSealed: the checkpoint ends before it, or see ``checkpoint``.
        NothingThere: no event has this position, or see ``checkpoint``.
    """
    under = await checkpoint(log, size)
    if position > under.position:
        raise NotSealed(
            f"position {position} is not in the checkpoint of {under.size} leaves, which ends at position"
            f" {under.position}"
        )
    leaf = await log.leaf_after(position - 1)
    leaves = await log.leaves(leaf, leaf + 1)
    if list(leaves.positions) != [position]:
        raise NothingThere(f"no event has position {position}")
    return EventProof(
        checkpoint=under,
        leaf=leaf,
        leaves=leaves,
        hashes=await inclusion_proof(log, leaf, under.size),
        record=await _record(store, leaves, leaf),
    )


async def prove_growth(log: SealedLog, old: int, new: int | None = None) -> GrowthProof:
    """Proof that the log of ``old`` leaves begins that of the newest checkpoint, or of that of ``new``.

    Raises:
        NotSealed: see ``checkpoint``.
        NothingThere: ``old`` is not between 1 and the leaves of the checkpoint; or see ``checkpoint``.
    """
    under = await checkpoint(log, new)
    if not 1 <= old <= under.size:
        raise NothingThere(f"a tree of {old} leaves does not begin the checkpoint of {under.size}")
    return GrowthProof(old=old, checkpoint=under, hashes=await consistency_proof(log, old, under.size))


async def position_of_event(db: AsyncConnection[Any], event_id: UUID) -> int:
    """Raises NothingThere: no event has this id."""
    query = "SELECT notification_id FROM stored_events WHERE event_id = %s"
    row = await (await db.execute(query, (event_id,))).fetchone()
    if row is None:
        raise NothingThere(f"no event has id {event_id}")
    return int(row[0])


async def _record(store: EventStore, leaves: Leaves, leaf: int) -> StoredRecord | None:
    (position,) = leaves.positions
    for record in (await store.read(position - 1, until=position, limit=1)).records:
        if leaf_of(record, leaves.commitment(leaf)).hash() == leaves.hash(leaf):
            return record
    return None
