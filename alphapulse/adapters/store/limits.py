"""What one append may hold, checked before anything is queued; both stores refuse the same."""

from collections.abc import Sequence

from alphapulse.domain.ports import EventTooLarge, NewEvent

MAX_STATE_BYTES = 900_000  # NATS counts headers into its 1 MB: more would stop the relay for ever
MAX_COMMIT_BYTES = 430_000  # of all states, unless there is only one: keeps other writers' p99 near 12 ms
MAX_COMMIT_EVENTS = 1_000
MAX_PAGE_BYTES = 32_000_000
MAX_PAGE_EVENTS = 10_000
MAX_TEXT = 255  # characters of a stream, name, actor or trace: streams and names are index keys
_INT64 = 1 << 63


def check_group(events: Sequence[NewEvent], *, first_version: int = 1) -> int:
    """The bytes of all states of ``events``. The library's own streams may begin at version 0, ours at 1.

    Raises:
        EventTooLarge: one state is over 900 kB, or several together over 430 kB, or there are over 1,000.
        ValueError: a stream, version, id bound or time is out of range; the message says which.
    """
    if len(events) > MAX_COMMIT_EVENTS:
        raise EventTooLarge(f"{len(events)} events, over {MAX_COMMIT_EVENTS} in one append")
    total = 0
    for event in events:
        _check(event, first_version)
        size = len(event.state)
        if size > MAX_STATE_BYTES:
            where = f"version {event.version} of {event.stream}"
            raise EventTooLarge(f"{event.name}, {where}: {size} bytes, over {MAX_STATE_BYTES}")
        total += size
    if total > MAX_COMMIT_BYTES and len(events) > 1:
        raise EventTooLarge(f"{total} bytes in {len(events)} events, over {MAX_COMMIT_BYTES}")
    return total


def check_limit(limit: int) -> None:
    """Raises ValueError unless 1 <= ``limit`` <= 10,000."""
    if not 1 <= limit <= MAX_PAGE_EVENTS:
        raise ValueError(f"a page holds 1 to {MAX_PAGE_EVENTS} events, not {limit}")


def _check(event: NewEvent, first_version: int) -> None:
    envelope = event.envelope
    for text in (event.stream, event.name, envelope.actor, envelope.trace or "-"):
        if not 1 <= len(text) <= MAX_TEXT or "\0" in text:
            raise ValueError(f"stream, name, actor and trace have 1 to {MAX_TEXT} characters: {text!r}")
        text.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    if not first_version <= event.version < _INT64:
        raise ValueError(f"version {event.version} of {event.stream}: versions begin at {first_version}")
    for number in (envelope.event_time, event.id_lo, event.id_hi):
        if number is not None and not -_INT64 <= number < _INT64:
            raise ValueError(f"{number} of {event.stream} does not fit 64 bits")
    lo, hi = event.id_lo, event.id_hi
    if (lo is None) != (hi is None) or (lo is not None and hi is not None and lo > hi):
        raise ValueError(f"ids {lo} to {hi} of {event.stream} bound nothing")
