"""What the domain asks of the world: the log, the bus, the clock.

Positions count the log from 1, in commit order, and have gaps. Versions count one stream from 1,
without gaps. Times named ``*_time`` are integer nanoseconds since 1970 UTC by the venue's clock;
``recorded_at`` is the store's clock and never runs backwards along positions.

Records are msgspec structs: a frozen dataclass takes 20 times as long to make, and the log is read by
the hundred thousand. ``msgspec.structs.replace`` changes one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every event carries besides its payload."""

    event_id: UUID
    event_time: int | None = None  # ns, the venue's clock; None for facts of our own
    cause_id: UUID | None = None  # the event that led to this one
    correlation_id: UUID | None = None  # the first event of that chain
    actor: str = "system"
    trace: str | None = None  # W3C traceparent


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An encoded event that wants to become ``version`` of ``stream``.

    ``id_lo`` and ``id_hi`` bound what identifies the rows inside, for ``overlapping``: the venue ids of
    trades, the start seconds of bars, the row ids of refused rows. Elsewhere they are None.
    """

    stream: str
    version: int
    name: str  # versioned, such as market.trades_observed.v1; never a class path
    state: bytes
    envelope: Envelope
    id_lo: int | None = None
    id_hi: int | None = None


class StoredRecord(NewEvent, frozen=True, kw_only=True, gc=False):
    """An event as the log holds it, payload still encoded."""

    position: int
    recorded_at: datetime


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded event with where and when it was recorded."""

    stream: str
    version: int
    name: str
    event: Any
    envelope: Envelope
    position: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Fence:
    """A lease that must still be held, at this epoch, when the effect commits."""

    lease: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Page:
    """Records in position order; nothing that was asked for is missing up to ``scanned_to``."""

    records: Sequence[StoredRecord]
    scanned_to: int


class VersionConflict(Exception):
    """Another event already holds this version of the stream: load again and decide again."""


class FencedOut(Exception):
    """The lease has moved on to another holder: stop, nothing was written."""


class EventTooLarge(Exception):
    """The encoded event is over the limit: split it."""


class StoreUnavailable(Exception):
    """The store did not answer in time or not at all: try again later. Nothing is known to be written."""


class UnknownEvent(Exception):
    """No reader for this name or version: written by newer code, or damaged. Park it."""


class UndecodableEvent(Exception):
    """The payload does not fit its name: damaged, or wrongly written. Park it."""


class EventStore(Protocol):
    """The one truth. Every method raises StoreUnavailable when the store cannot be reached in time."""

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        """Commit ``events`` together, durably, in this order; return them with their positions.

        A repeat (the same event ids and payloads at the same stream and version) writes nothing and
        returns the positions of the first time, also when the first reply was lost.

        Raises:
            VersionConflict: a version is taken by another event, or leaves a hole in its stream.
            FencedOut: ``fence`` is no longer held.
            EventTooLarge: a payload is over 900 kB, or the whole over 430 kB in more than one event.
        """
        ...

    async def read(
        self,
        after: int,
        *,
        until: int | None = None,
        limit: int = 500,
        names: Sequence[str] | None = None,
        streams: Sequence[str] | None = None,
        partition: tuple[int, int] | None = None,
    ) -> Page:
        """Events with ``after`` < position <= ``until``, oldest first, at most ``limit`` or about 32 MB.

        ``partition=(k, n)`` keeps the streams whose instrument falls in part k of n: see ``partition_key``.
        """
        ...

    async def read_stream(self, stream: str, *, after: int = 0, limit: int = 500) -> Sequence[StoredRecord]:
        """Events of one stream with version > ``after``, oldest first."""
        ...

    async def overlapping(self, stream: str, id_lo: int, id_hi: int) -> Sequence[StoredRecord]:
        """Batches of ``stream`` whose id range meets [id_lo, id_hi], in version order."""
        ...

    async def streams(self, prefix: str) -> Sequence[str]:
        """Every stream that begins with ``prefix``, in order of code points."""
        ...

    async def version(self, stream: str) -> int:
        """The last version of ``stream``; 0 when it is empty."""
        ...

    async def head(self) -> int:
        """The last position of the log; 0 when it is empty."""
        ...

    async def position_at(self, recorded_at: datetime) -> int:
        """The last position recorded at or before ``recorded_at``; 0 when there is none."""
        ...

    async def changed(self, after: int, timeout_s: float) -> None:
        """Return when the log may have grown past ``after``, at the latest after ``timeout_s``."""
        ...


class Leases(Protocol):
    """Who may act alone. Time is the store's; an epoch never comes back."""

    async def acquire(self, lease: str, holder: str, duration_s: float) -> Fence | None:
        """The fence of a new epoch; None while another's lease runs. ``holder`` names one process run."""
        ...

    async def renew(self, fence: Fence, duration_s: float) -> bool:
        """Whether the lease was still held at this epoch; it then runs for ``duration_s`` from now."""
        ...

    async def release(self, fence: Fence) -> None:
        """Give the lease up, if it is still held: the next one need not wait for it to run out."""
        ...


class LogSource(Protocol):
    """A tail of the log, from the store or from the bus with the store behind it."""

    async def next(self, after: int, *, limit: int, timeout_s: float) -> Page:
        """What follows position ``after`` as soon as there is any; an empty page after ``timeout_s``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the bus carries; ``sequence`` is the bus's own number for it, 0 while it has none."""

    subject: str
    headers: Mapping[str, str]
    data: bytes
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """Where the stream ends: the next message gets ``sequence`` + 1. ``message`` is None when it is empty."""

    sequence: int
    message: Message | None


class WrongSequence(Exception):
    """The stream ends elsewhere than the window was to follow: look at its end, part of it may be in."""


class BusUnavailable(Exception):
    """The bus did not answer in time, not at all, or refused: try again later. Anything may be published."""


class Live(Protocol):
    """Messages from now on, as they are published."""

    async def take(self) -> Sequence[Message]:
        """What came since the last call, in order, waiting for at least one message.

        Bounded: when more waits than fits, the oldest messages are gone without a word. A message may come
        that the stream refused; only what it says of the log counts.

        Raises:
            BusUnavailable: nothing more will come; listen anew.
        """
        ...


class Bus(Protocol):
    """A stream of messages, with limited memory. Every method may raise BusUnavailable."""

    async def end(self) -> StreamEnd:
        """The end of the stream, which is made when there is none."""
        ...

    async def publish(self, window: Sequence[Message], *, after: int) -> int:
        """Put ``window`` behind sequence ``after`` and return its last message's sequence.

        Raises:
            WrongSequence: the stream does not end at ``after``.
        """
        ...

    async def read(self, sequence: int, *, limit: int) -> Sequence[Message]:
        """Messages that the stream still holds, from ``sequence`` on, oldest first."""
        ...

    def listen(self) -> AbstractAsyncContextManager[Live]:
        """Every message published while the context is open."""
        ...

    @property
    def max_message_bytes(self) -> int:
        """The largest message, headers included, that the bus takes."""
        ...


class Clock(Protocol):
    def now_ns(self) -> int:
        """Wall time in nanoseconds since 1970 UTC."""
        ...


class Ids(Protocol):
    def new(self) -> UUID: ...


class Scorer(Protocol):
    """A fitted model that gives each row of features a number; what it was made with stays outside."""

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> Sequence[str]:
        """What the columns of a row are, in order."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the model, as hexadecimal: the same digest gives the same scores."""
        ...

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """One number a row of ``rows`` (n, k), whatever the other rows are; NaN where a value is missing.

        Raises:
            ValueError: a row has not one value a feature.
        """
        ...


def partition_key(stream: str) -> str:
    """Two parts after the category: trades-kraken-BTC_USD and bars-kraken-BTC_USD-1m stay together."""
    return "-".join((stream.partition("-")[2] or stream).split("-")[:2])


def partition_of(stream: str, parts: int) -> int:
    """Which of ``parts`` parts ``stream`` falls in, as the log's own ``log_partition`` computes it."""
    return int(sha256(partition_key(stream).encode()).hexdigest()[:8], 16) % parts


Decode = Callable[[StoredRecord], Recorded]  # raises UnknownEvent, UndecodableEvent
