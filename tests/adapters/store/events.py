"""Events for the tests of the store: small, and distinct by their id."""

from uuid import UUID, uuid4

from alphapulse.domain.ports import Envelope, NewEvent


def event(
    stream: str,
    version: int,
    state: bytes = b"{}",
    *,
    name: str = "test.happened.v1",
    event_id: UUID | None = None,
    id_lo: int | None = None,
    id_hi: int | None = None,
) -> NewEvent:
    return NewEvent(
        stream=stream,
        version=version,
        name=name,
        state=state,
        envelope=Envelope(event_id=event_id or uuid4()),
        id_lo=id_lo,
        id_hi=id_hi,
    )


def run_of(stream: str, first: int, count: int) -> list[NewEvent]:
    """``count`` events of ``stream`` from version ``first`` on."""
    return [event(stream, version) for version in range(first, first + count)]
