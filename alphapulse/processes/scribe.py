"""What a book's entries are as events of the log: their streams, versions and ids, and their bytes.

Who records them, and who derives them again to compare, write the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID, uuid5

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.decision.decisions import CalibrationFitted, calibration_stream
from alphapulse.domain.decision.decisions import stream_of as decisions_stream
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.ports import NewEvent, Recorded
from alphapulse.domain.signals import book as books
from alphapulse.domain.signals.engine_events import Output
from alphapulse.domain.signals.entering import Entered, Entry
from alphapulse.domain.signals.signal import ExitRecommended, SignalClosed, SignalIssued
from alphapulse.domain.signals.signal import stream_of as signals_stream
from alphapulse.processes.transact import correlation_of

_IDS = UUID("c1ab8a52-43f3-5d4f-93f5-4f6f1c1b7a30")  # namespace of the ids of these events, chosen once

Cause = Callable[[int], Recorded | None]  # the market event at a position


def no_cause(_: int) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Scribe:
    """For one part of one strategy version."""

    strategy: StrategyDefined
    part: int = 0
    actor: str = "decider"

    @property
    def signals(self) -> str:
        """The stream of the signals."""
        return signals_stream(self.strategy.name)

    def stream(self, output: Output) -> str:
        """Where ``output`` belongs."""
        name, version = self.strategy.name, self.strategy.version
        if isinstance(output.event, CalibrationFitted):
            return calibration_stream(name, version, self.part)
        return decisions_stream(output.instrument, name, version)

    def own(self, entry: Entry, cause: Cause = no_cause) -> Iterator[NewEvent]:
        """What goes to the stream of the output: nothing for advice."""
        if entry.written is None:
            return
        stream, origin = self.stream(entry.output), cause(entry.output.position)
        yield _checked(
            codec.new_event(
                stream,
                entry.output.ordinal,
                entry.written,
                event_id=_id(stream, entry.output.ordinal),
                cause_id=origin.envelope.event_id if origin else None,
                correlation_id=correlation_of(origin),
                actor=self.actor,
            )
        )

    def caused(self, found: Entered, version: int, cause: Cause = no_cause) -> Iterator[NewEvent]:
        """What goes to the stream of the signals, after ``version``."""
        for entry in (found.entries[i] for i in found.order if found.entries[i].caused):
            origin = _id(self.stream(entry.output), entry.output.ordinal)
            for event in entry.caused:
                version += 1
                yield _checked(
                    codec.new_event(
                        self.signals,
                        version,
                        event,
                        event_id=_id(self.signals, _what(event)),
                        cause_id=origin,
                        correlation_id=correlation_of(cause(entry.output.position)) or origin,
                        actor=self.actor,
                    )
                )


def _id(stream: str, what: object) -> UUID:
    return uuid5(_IDS, f"{stream}\n{what}")


def _what(event: books.Event) -> str:
    """Each happens once to a signal: whoever says it again, under whatever number, says the same."""
    match event:
        case SignalIssued():
            return f"issued\n{event.decision}"
        case ExitRecommended():
            return f"exit\n{event.number}"
        case SignalClosed():
            return f"closed\n{event.decision}"


def _checked(event: NewEvent) -> NewEvent:
    """JSON has no NaN: a number that is none would be null, and the event unreadable for ever.

    Raises:
        UndecodableEvent: so is this one.
    """
    if b"null" in event.state:
        codec.read(event.name, event.state)
    return event
