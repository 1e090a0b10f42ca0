"""One stored event = one message: its subject and headers, and the way back.

Subject ``alphapulse.{category}.{venue}.{symbol…}``: the stream's name split at its first two dashes, each
token percent-encoded, so that no symbol can hold a dot, a wildcard or a space. The headers carry the
whole envelope, the data is the stored payload as it is. docs/following-the-log.md is the reader's side.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, unquote
from uuid import UUID

from alphapulse.domain.ports import Envelope, Message, StoredRecord

ROOT = "alphapulse"
SUBJECTS = f"{ROOT}.>"

POSITION, PREVIOUS, EPOCH = "Log-Position", "Log-Previous-Position", "Log-Epoch"
STREAM, VERSION, NAME, EVENT_ID = "Event-Stream", "Event-Version", "Event-Name", "Event-Id"
RECORDED_AT, EVENT_TIME = "Event-Recorded-At", "Event-Time"
CAUSE_ID, CORRELATION_ID, ACTOR = "Event-Cause-Id", "Event-Correlation-Id", "Event-Actor"
TRACE = "traceparent"  # as W3C writes it
ID_LO, ID_HI = "Trade-Id-Lo", "Trade-Id-Hi"
OMITTED = "Event-Omitted"  # why the payload is not in the message

SUBJECT_CHARACTERS = 400  # a longer one is replaced by its hash: nats-server takes lines of 4,096 bytes
RESERVED_BYTES = 512  # for what the bus adds to our headers
_EMPTY = "%"  # no token may be empty, and no encoded one ends in a lone percent sign
_REMEMBERED = 4096  # streams, names and actors come again and again
_SAFE_VALUE = " !#$&'()*+,/:;<=>?@[]^`{|}~"  # all that prints, save % itself


class ForeignMessage(Exception):
    """The message was not made by a relay of this log: it lacks our headers or they do not parse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message read back. ``record`` is None when the message left the payload out."""

    position: int
    previous: int
    epoch: int
    event_id: UUID
    record: StoredRecord | None


def to_message(record: StoredRecord, *, previous: int, epoch: int, max_bytes: int) -> Message:
    """``record`` for the bus; over ``max_bytes`` the payload stays out and readers go to the store."""
    subject = subject_of(record.stream)
    place = {POSITION: str(record.position), PREVIOUS: str(previous), EPOCH: str(epoch)}
    headers = place | _event_headers(record)
    if _size(subject, headers) + len(record.state) <= max_bytes:
        return Message(subject=subject, headers=headers, data=record.state)
    reason = f"{len(record.state)} bytes of payload make the message longer than {max_bytes}"
    bare = place | {EVENT_ID: str(record.envelope.event_id), OMITTED: reason}
    if _size(subject, headers | bare) <= max_bytes:
        bare = headers | bare
    return Message(subject=subject, headers=bare, data=b"")


def _event_headers(record: StoredRecord) -> dict[str, str]:
    envelope = record.envelope
    optional = {
        EVENT_TIME: envelope.event_time,
        CAUSE_ID: envelope.cause_id,
        CORRELATION_ID: envelope.correlation_id,
        TRACE: None if envelope.trace is None else _quoted(envelope.trace),
        ID_LO: record.id_lo,
        ID_HI: record.id_hi,
    }
    return {
        STREAM: _quoted(record.stream),
        VERSION: str(record.version),
        NAME: _quoted(record.name),
        EVENT_ID: str(envelope.event_id),
        RECORDED_AT: record.recorded_at.isoformat(),
        ACTOR: _quoted(envelope.actor),
    } | {header: str(value) for header, value in optional.items() if value is not None}


def from_message(message: Message) -> Delivery:
    """The way back from ``to_message``.

    Raises:
        ForeignMessage: no relay of this log made it.
    """
    headers = message.headers
    try:
        return Delivery(
            position=int(headers[POSITION]),
            previous=int(headers[PREVIOUS]),
            epoch=int(headers[EPOCH]),
            event_id=UUID(headers[EVENT_ID]),
            record=None if OMITTED in headers else _record(message),
        )
    except (KeyError, ValueError) as error:
        raise ForeignMessage(
            f"message {message.sequence} on {message.subject!r}: {type(error).__name__} {error}"
        ) from error


def place_of(message: Message) -> tuple[int, int]:
    """Only (position, previous position), without reading the rest.

    Raises:
        ForeignMessage: no relay of this log made it.
    """
    try:
        return int(message.headers[POSITION]), int(message.headers[PREVIOUS])
    except (KeyError, ValueError) as error:
        raise ForeignMessage(f"message on {message.subject!r}: {type(error).__name__} {error}") from error


def _record(message: Message) -> StoredRecord:
    headers = message.headers
    trace = headers.get(TRACE)
    return StoredRecord(
        stream=unquote(headers[STREAM]),
        version=int(headers[VERSION]),
        name=unquote(headers[NAME]),
        state=message.data,
        envelope=Envelope(
            event_id=UUID(headers[EVENT_ID]),
            event_time=_int(headers.get(EVENT_TIME)),
            cause_id=_uuid(headers.get(CAUSE_ID)),
            correlation_id=_uuid(headers.get(CORRELATION_ID)),
            actor=unquote(headers[ACTOR]),
            trace=None if trace is None else unquote(trace),
        ),
        id_lo=_int(headers.get(ID_LO)),
        id_hi=_int(headers.get(ID_HI)),
        position=int(headers[POSITION]),
        recorded_at=datetime.fromisoformat(headers[RECORDED_AT]),
    )


@lru_cache(maxsize=_REMEMBERED)
def subject_of(stream: str) -> str:
    """Where the events of ``stream`` are published; different streams never share a subject."""
    subject = ".".join([ROOT, *(_token(part) for part in stream.split("-", 2))])
    if len(subject) <= SUBJECT_CHARACTERS:
        return subject
    category = _token(stream.split("-", 1)[0])[: SUBJECT_CHARACTERS // 4]
    return f"{ROOT}.{category}.%sha256-{sha256(stream.encode()).hexdigest()}"


def stream_of(subject: str) -> str:
    """The stream published at ``subject``, unless its name was so long that the subject holds a hash."""
    return "-".join("" if token == _EMPTY else unquote(token) for token in subject.split(".")[1:])


def _token(part: str) -> str:
    # quote() leaves the dot and the tilde alone; a dot separates tokens, the tilde is harmless.
    return quote(part, safe="").replace(".", "%2E") or _EMPTY


@lru_cache(maxsize=_REMEMBERED)
def _quoted(value: str) -> str:
    """A header value may hold no line break, no leading space and, to be safe, nothing beyond ASCII."""
    quoted = quote(value, safe=_SAFE_VALUE)
    if quoted != quoted.strip(" "):
        quoted = quoted.replace(" ", "%20")
    return quoted


def _size(subject: str, headers: dict[str, str]) -> int:
    return RESERVED_BYTES + len(subject) + sum(len(name) + len(value) + 4 for name, value in headers.items())


def _int(value: str | None) -> int | None:
    return None if value is None else int(value)


def _uuid(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)
