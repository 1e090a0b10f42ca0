"""Brings a parked event back: folds it again and takes it off the list, in one transaction."""

from enum import Enum
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.ports import Decode, EventStore, StoredRecord, UndecodableEvent, UnknownEvent
from alphapulse.projections.checkpoint import Checkpoint, live_generation
from alphapulse.projections.parked import MAX_REASON, ParkedEvent
from alphapulse.projections.read_database import PostgresReads
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.runner import CHANNEL, Poison, Session, blamed, read_notice, reason_of


class OrderMatters(Exception):
    """Folded late, the event would not give what a rebuild gives: rebuild the read model instead."""


class Retried(Enum):
    FOLDED = "folded"
    FOREIGN = "known by now, and not this read model's business"
    GONE = "not parked any more"
    FAILED = "still cannot be folded"


async def retry(
    db: AsyncConnection[Any], model: AnyReadModel, store: EventStore, decode: Decode, parked: ParkedEvent
) -> Retried:
    """Fold ``parked`` into the live generation again.

    The live runner is fenced out for that moment, because what it carries along must be read anew; it
    claims again by itself.

    Raises:
        OrderMatters: the read model does not commute.
        RebuildNeeded: another version of the code folds the live generation.
    """
    record = await _record(store, parked)
    try:
        return await _fold_late(db, model, decode, parked, record)
    except (Poison, UnknownEvent, UndecodableEvent) as error:
        reason = reason_of(error.__cause__ if isinstance(error, Poison) else error)
        await db.execute(
            "UPDATE parked SET tries = tries + 1, reason = %s WHERE id = %s", (reason[:MAX_REASON], parked.id)
        )
        return Retried.FAILED


async def _record(store: EventStore, parked: ParkedEvent) -> StoredRecord:
    page = await store.read(parked.position - 1, until=parked.position, limit=1)
    assert page.records, f"the log has no position {parked.position}, which was parked"
    return page.records[0]


async def _fold_late(
    db: AsyncConnection[Any], model: AnyReadModel, decode: Decode, parked: ParkedEvent, record: StoredRecord
) -> Retried:
    async with db.transaction():
        generation = await live_generation(db, model.name, model.code_version)
        checkpoint = await Checkpoint.claim(db, model.name, generation, live=True)
        taken = await db.execute(
            "DELETE FROM parked WHERE id = %s AND generation = %s", (parked.id, generation)
        )
        session = await Session.open(PostgresReads(db), model, decode, checkpoint, notify=False)
        if not taken.rowcount:
            return Retried.GONE
        if not session.wants(record):
            return Retried.FOREIGN
        event = decode(record)
        if not model.commutes:
            raise OrderMatters(
                f"{model.name} depends on the order of events: `alphapulse projections rebuild {model.name}` "
                f"folds position {parked.position} in its place"
            )
        with blamed():
            folded = model.fold(session.state, [event])
            await model.write(db, folded.changes)
        at = checkpoint.position
        notice = read_notice(model.name, previous=at, position=at, touched=folded.touched)
        await db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, notice))
        return Retried.FOLDED
