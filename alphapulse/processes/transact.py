"""Load, fold, decide, append, and again when somebody was faster: how one command changes one stream."""

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar
from uuid import UUID, uuid4, uuid5

from alphapulse.adapters.store.codec import Codec, codec
from alphapulse.domain.decider import Decider
from alphapulse.domain.ports import EventStore, Fence, Recorded, VersionConflict

TRIES = 10
_PAGE = 500

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")


async def transact(
    store: EventStore,
    decider: Decider[C, S, E],
    stream: str,
    command: C,
    *,
    command_id: UUID | None = None,
    cause: Recorded | None = None,
    actor: str = "system",
    trace: str | None = None,
    fence: Fence | None = None,
    tries: int = TRIES,
    codec: Codec = codec,
) -> Sequence[Recorded]:
    """The events that ``command`` caused in ``stream``, now recorded; none when it changes nothing.

    The ids of the events follow from ``command_id``, so the same command sent again finds its events of the
    first time; without one every call is a command of its own. ``cause`` is the event that led to the
    command: its id and correlation go along.

    Raises:
        VersionConflict: others were faster ``tries`` times in a row.
        FencedOut, StoreUnavailable: see EventStore.append.
        UnknownEvent, UndecodableEvent: the stream holds an event that this code cannot read.
        Whatever ``decider.decide`` raises to refuse the command.
    """
    if tries < 1:
        raise ValueError(f"{tries} tries")
    command_id = command_id or uuid4()
    state, version, done = decider.initial, 0, list[Recorded]()
    while True:
        async for recorded in _since(store, stream, version, codec):
            if recorded.envelope.event_id == _event_id(command_id, stream, len(done) + 1):
                done.append(recorded)
            state, version = decider.evolve(state, recorded.event), recorded.version
        if done:
            return done
        new = [
            codec.new_event(
                stream,
                version + ordinal,
                event,
                event_id=_event_id(command_id, stream, ordinal),
                cause_id=cause.envelope.event_id if cause else None,
                correlation_id=correlation_of(cause),
                actor=actor,
                trace=trace,
            )
            for ordinal, event in enumerate(decider.decide(command, state), 1)
        ]
        try:
            return [codec.decode(record) for record in await store.append(new, fence=fence)]
        except VersionConflict:
            tries -= 1
            if not tries:
                raise


async def load(
    store: EventStore, decider: Decider[C, S, E], stream: str, *, codec: Codec = codec
) -> tuple[S, int]:
    """The state of ``stream`` and its last version."""
    state, version = decider.initial, 0
    async for recorded in _since(store, stream, 0, codec):
        state, version = decider.evolve(state, recorded.event), recorded.version
    return state, version


def correlation_of(cause: Recorded | None) -> UUID | None:
    """The first event of the chain that ``cause`` belongs to."""
    return (cause.envelope.correlation_id or cause.envelope.event_id) if cause else None


def _event_id(command_id: UUID, stream: str, ordinal: int) -> UUID:
    return uuid5(command_id, f"{stream}\n{ordinal}")


async def _since(store: EventStore, stream: str, version: int, codec: Codec) -> AsyncIterator[Recorded]:
    """The events of ``stream`` after ``version``, read in pages."""
    while records := await store.read_stream(stream, after=version, limit=_PAGE):
        for record in records:
            yield codec.decode(record)
        version = records[-1].version
