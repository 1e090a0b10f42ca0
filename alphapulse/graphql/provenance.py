"""Proofs over the sealed log: checkpoints, that an event is in one, and that one continues another.

Bytes are base64. What to do with them stands in docs/proofs.md; nothing here has to be believed.
"""

import base64
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import strawberry

from alphapulse.domain.provenance.leaf import Leaf
from alphapulse.domain.provenance.notes import parse_note
from alphapulse.domain.provenance.sealing import Receipt, Sealed, SealedLog
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import NotYet
from alphapulse.graphql.context import Context
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.scalars import Long, Position, Time
from alphapulse.projections import event_proofs
from alphapulse.projections.event_proofs import EventProof, NothingThere, NotSealed

MAX_RECEIPTS = 100
MAX_STRATEGIES = 1_000
_HASHES = 64  # the longest proof of a tree that 63 bits can count

Info = strawberry.Info[Context, None]


@strawberry.type(description="What an outside witness gave for a checkpoint.")
class AnchorReceipt:
    anchor: str = strawberry.field(description="As it is configured.", metadata=READ)
    kind: str = strawberry.field(description="Such as rfc3161.", metadata=READ)
    size: Long = strawberry.field(description="Leaves of the checkpoint that it is for.", metadata=READ)
    time: Time | None = strawberry.field(
        description="The anchor's own time, never ours; null while it has not settled.", metadata=READ
    )
    data: str = strawberry.field(description="The receipt itself, base64.", metadata=READ)


@strawberry.type(description="How many signals a strategy has issued.")
class SignalCount:
    strategy: str = strawberry.field(metadata=READ)
    count: Long = strawberry.field(metadata=READ)


@strawberry.type(description="A signed statement of how long the log is and what its tree's root is.")
class Checkpoint:
    log: strawberry.Private[SealedLog]
    sealed: strawberry.Private[Sealed]
    origin: str = strawberry.field(description="The log's name, which is its key's name too.", metadata=READ)
    size: Long = strawberry.field(description="Leaves of the tree: events of the log.", metadata=READ)
    root: str = strawberry.field(description="SHA-256, base64.", metadata=READ)
    position: Position = strawberry.field(description="Of the last event that it holds.", metadata=READ)
    note: str = strawberry.field(
        description="The signed text: a C2SP note, to be kept and compared.", metadata=READ
    )

    @strawberry.field(
        description="How many signals each strategy has issued among these leaves; the note commits to it.",
        metadata={**READ, "size": MAX_STRATEGIES},
    )
    async def signals(self) -> list[SignalCount]:
        counts = (await self.log.counts(self.sealed.size)).of
        return [
            SignalCount(strategy=name, count=Long(counts[name]))
            for name in sorted(counts, key=str.encode)[:MAX_STRATEGIES]
        ]

    @strawberry.field(
        description=f"What anchors gave for this checkpoint, at most {MAX_RECEIPTS}.",
        metadata={**READ, "size": MAX_RECEIPTS},
    )
    async def receipts(self) -> list[AnchorReceipt]:
        found = await self.log.receipts(self.sealed.size, self.sealed.size)
        return [_receipt(each) for each in found[:MAX_RECEIPTS]]


@strawberry.type(description="What a leaf commits to: every column of a stored event, its payload by a hash.")
class LeafData:
    position: Position = strawberry.field(metadata=READ)
    event_id: strawberry.ID = strawberry.field(metadata=READ)
    stream: str = strawberry.field(metadata=READ)
    version: Long = strawberry.field(metadata=READ)
    name: str = strawberry.field(metadata=READ)
    recorded_at: Time = strawberry.field(metadata=READ)
    event_time: Time | None = strawberry.field(metadata=READ)
    cause_id: strawberry.ID | None = strawberry.field(metadata=READ)
    correlation_id: strawberry.ID | None = strawberry.field(metadata=READ)
    actor: str = strawberry.field(metadata=READ)
    trace: str | None = strawberry.field(metadata=READ)
    id_lo: Long | None = strawberry.field(metadata=READ)
    id_hi: Long | None = strawberry.field(metadata=READ)
    commitment: str = strawberry.field(
        description="SHA-256 of the salt and the stored payload, base64.", metadata=READ
    )
    salt: str | None = strawberry.field(
        description="16 bytes, base64: with it the payload can be checked. Null where it was erased.",
        metadata=READ,
    )
    data: str = strawberry.field(
        description="All of it as it is hashed, base64: SHA-256 of a zero byte and this is the leaf's hash.",
        metadata=READ,
    )


@strawberry.type(description="That an event is in the log (RFC 6962, section 2.1.1).")
class InclusionProof:
    leaf: Long = strawberry.field(description="Index of the leaf, from 0, without gaps.", metadata=READ)
    position: Position = strawberry.field(metadata=READ)
    leaf_hash: str = strawberry.field(description="As it was sealed, base64.", metadata=READ)
    event: LeafData | None = strawberry.field(
        description="What the leaf commits to. Null where the store no longer holds it.", metadata=READ
    )
    hashes: list[str] = strawberry.field(
        description="From the leaf up, base64: they lead from its hash to the root of the checkpoint.",
        metadata={**READ, "size": _HASHES},
    )
    checkpoint: Checkpoint = strawberry.field(metadata=READ)


@strawberry.type(description="That a shorter log begins a longer one (RFC 6962, section 2.1.2).")
class ConsistencyProof:
    old_size: Long = strawberry.field(description="Leaves of the shorter one.", metadata=READ)
    hashes: list[str] = strawberry.field(
        description="Base64. With the shorter log's root they lead to both roots.",
        metadata={**READ, "size": _HASHES},
    )
    checkpoint: Checkpoint = strawberry.field(description="Of the longer one.", metadata=READ)


@strawberry.type
class ProvenanceQuery:
    @strawberry.field(
        description="The newest checkpoint, or the first with at least `size` leaves; null where none is.",
        metadata=READ,
    )
    async def checkpoint(self, info: Info, size: Long | None = None) -> Checkpoint | None:
        log = info.context.services.seals
        found = await log.sealed(size=size)
        return None if found is None else checkpoint_of(log, found)

    @strawberry.field(
        description="Proof that an event is in the log: one that is named by its position or its id. Under "
        "the newest checkpoint, or under that of exactly `size` leaves.",
        metadata=READ,
    )
    async def inclusion_proof(
        self,
        info: Info,
        position: Position | None = None,
        event_id: strawberry.ID | None = None,
        size: Long | None = None,
    ) -> InclusionProof:
        services = info.context.services
        async with told():
            place = await _place(info, position, event_id)
            found = await event_proofs.prove_event(services.store, services.seals, place, size=size)
        return _inclusion(services.seals, found)

    @strawberry.field(
        description="Proof that the log of `from` leaves begins that of `to`: a checkpoint's size, without "
        "it the newest's.",
        metadata=READ,
    )
    async def consistency_proof(
        self,
        info: Info,
        old: Annotated[Long, strawberry.argument(name="from")],
        to: Long | None = None,
    ) -> ConsistencyProof:
        log = info.context.services.seals
        async with told():
            found = await event_proofs.prove_growth(log, old, to)
        return ConsistencyProof(
            old_size=Long(found.old),
            hashes=_texts(found.hashes),
            checkpoint=checkpoint_of(log, found.checkpoint),
        )


class told:  # noqa: N801  reads as a phrase: async with told():
    """Turns what cannot be proved into what the client is told."""

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, NotSealed):
            raise NotYet(str(error)) from None
        if isinstance(error, NothingThere):
            raise UserError(str(error)) from None


def checkpoint_of(log: SealedLog, sealed: Sealed) -> Checkpoint:
    return Checkpoint(
        log=log,
        sealed=sealed,
        origin=parse_note(sealed.note).text.partition("\n")[0],
        size=Long(sealed.size),
        root=_text(sealed.root),
        position=Position(sealed.position),
        note=sealed.note,
    )


async def _place(info: Info, position: Position | None, event_id: strawberry.ID | None) -> int:
    """The position that is asked for."""
    if (position is None) == (event_id is None):
        raise UserError(f"position {position} and eventId {event_id}: give one of them")
    if position is not None:
        return position
    try:
        wanted = UUID(event_id)
    except ValueError:
        raise UserError(f"eventId {event_id!r} is no UUID") from None
    async with info.context.services.reads.connection() as db:
        return await event_proofs.position_of_event(db, wanted)


def _inclusion(log: SealedLog, found: EventProof) -> InclusionProof:
    return InclusionProof(
        leaf=Long(found.leaf),
        position=Position(found.position),
        leaf_hash=_text(found.hash),
        event=None if found.event is None else _leaf_data(found.event, found.salt),
        hashes=_texts(found.hashes),
        checkpoint=checkpoint_of(log, found.checkpoint),
    )


def _leaf_data(leaf: Leaf, salt: bytes | None) -> LeafData:
    return LeafData(
        position=Position(leaf.position),
        event_id=strawberry.ID(str(leaf.event_id)),
        stream=leaf.stream,
        version=Long(leaf.version),
        name=leaf.name,
        recorded_at=Time(leaf.recorded_at * 1_000),
        event_time=None if leaf.event_time is None else Time(leaf.event_time),
        cause_id=None if leaf.cause_id is None else strawberry.ID(str(leaf.cause_id)),
        correlation_id=None if leaf.correlation_id is None else strawberry.ID(str(leaf.correlation_id)),
        actor=leaf.actor,
        trace=leaf.trace,
        id_lo=None if leaf.id_lo is None else Long(leaf.id_lo),
        id_hi=None if leaf.id_hi is None else Long(leaf.id_hi),
        commitment=_text(leaf.commitment),
        salt=None if salt is None else _text(salt),
        data=_text(leaf.data()),
    )


def _receipt(found: Receipt) -> AnchorReceipt:
    return AnchorReceipt(
        anchor=found.anchor,
        kind=found.kind,
        size=Long(found.size),
        time=None if found.time is None else Time(found.time * 1_000),
        data=_text(found.data),
    )


def _texts(values: Sequence[bytes]) -> list[str]:
    return [_text(value) for value in values]


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
