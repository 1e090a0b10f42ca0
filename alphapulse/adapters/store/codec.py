"""Events to stored name and bytes, and back: the one place that knows every stored name.

A name is versioned and never changes its meaning: ``market.trades_observed.v1``. To change an event,
register the new version here and an upcaster from the old one; see docs/event-store.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import msgspec

from alphapulse.adapters.store import columnar
from alphapulse.domain.analysis.features import SetDefined, SetRetired
from alphapulse.domain.analysis.models import ModelFitted
from alphapulse.domain.analysis.quality_record import QualityBreached, QualityRecovered
from alphapulse.domain.backtest.trials import TrialRecorded
from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade, ParametersAdapted
from alphapulse.domain.decision.strategy import StrategyDefined, StrategyRetired
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    ImportFinished,
    RowsRefused,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.fundamentals import FundingObserved, HeadlinesObserved, settlement
from alphapulse.domain.ports import Envelope, NewEvent, Recorded, StoredRecord, UndecodableEvent, UnknownEvent
from alphapulse.domain.provenance.exported import AuditExported
from alphapulse.domain.signals.signal import ExitRecommended, OutcomeRecorded, SignalClosed, SignalIssued

_EVENT_IDS = UUID("6f1e6b1c-3a52-5d0e-9d1c-0a5b6f7e8d90")  # namespace of derived ids, chosen once

Upcaster = Callable[[Any], Any]  # pure; JSON events: old object -> new, columnar ones: old bytes -> new


class Encoded(NamedTuple):
    name: str
    state: bytes
    id_lo: int | None = None  # bounds of the venue ids inside
    id_hi: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the events of one type are stored: bytes -> raw (what upcasters see) -> event."""

    type: type
    write: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    build: Callable[[Any], Any]
    ids: Callable[[Any], tuple[int, int] | None] = lambda _: None
    time: Callable[[Any], int | None] = lambda _: None  # ns, the venue's clock


def json_form(type_: type, time: Callable[[Any], int | None] = lambda _: None) -> Form:
    """A frozen msgspec struct, stored as JSON: readable in psql."""
    return Form(
        type=type_,
        write=msgspec.json.encode,
        load=msgspec.json.decode,
        build=lambda raw: msgspec.convert(raw, type_),
        time=time,
    )


class Codec:
    """Reads and writes the events of ``forms``, by stored name.

    ``upcasters`` maps an old name to its successor and the function that turns one raw state into the
    other; they chain, one version at a time.
    """

    def __init__(
        self, forms: Mapping[str, Form], upcasters: Mapping[str, tuple[str, Upcaster]] | None = None
    ) -> None:
        self._forms = dict(forms)
        self._upcasters = dict(upcasters or {})
        self._by_type = {form.type: (name, form) for name, form in forms.items()}
        for old in self._upcasters:
            self._path(old)  # fails now, not on the day such an event is read

    @property
    def names(self) -> Sequence[str]:
        """Every stored name that can be read, old versions too."""
        return sorted({*self._forms, *self._upcasters})

    def encode(self, event: object) -> Encoded:
        """The stored form of ``event``.

        Raises:
            TypeError: its type is not registered.
            ValueError: its content is out of range, such as a batch of over 10,000 rows.
        """
        name, form = self._form_of(event)
        lo_hi = form.ids(event)
        return Encoded(name, form.write(event), *(lo_hi or ()))

    def decode(self, record: StoredRecord) -> Recorded:
        """``record`` with its event.

        Raises:
            UnknownEvent: nothing is registered for its name.
            UndecodableEvent: its state does not fit its name.
        """
        try:
            event = self.read(record.name, record.state)
        except (UnknownEvent, UndecodableEvent) as error:
            error.add_note(f"position {record.position}: version {record.version} of {record.stream}")
            raise
        return Recorded(
            stream=record.stream,
            version=record.version,
            name=record.name,
            event=event,
            envelope=record.envelope,
            position=record.position,
            recorded_at=record.recorded_at,
        )

    def read(self, name: str, state: bytes) -> Any:
        """The event stored as ``state`` under ``name``, brought to its newest version."""
        upcasters, form = self._path(name)
        try:
            raw = form.load(state)
            for upcast in upcasters:
                raw = upcast(raw)
            return form.build(raw)
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise UndecodableEvent(f"{name} of {len(state)} bytes: {error}") from error

    def event_time(self, event: object) -> int | None:
        """When ``event`` happened by the venue's clock, in ns; None for facts of our own."""
        return self._form_of(event)[1].time(event)

    def new_event(
        self,
        stream: str,
        version: int,
        event: object,
        *,
        event_id: UUID | None = None,
        cause_id: UUID | None = None,
        correlation_id: UUID | None = None,
        actor: str = "system",
        trace: str | None = None,
    ) -> NewEvent:
        """``event`` ready to append as ``version`` of ``stream``.

        Without ``event_id`` its id follows from stream, version and content: two writers who say the same
        at the same version are then one. That is right for observations, wrong for decisions.
        """
        encoded = self.encode(event)
        envelope = Envelope(
            event_id=event_id or content_id(stream, version, encoded.state),
            event_time=self.event_time(event),
            cause_id=cause_id,
            correlation_id=correlation_id,
            actor=actor,
            trace=trace,
        )
        return NewEvent(
            stream=stream,
            version=version,
            name=encoded.name,
            state=encoded.state,
            envelope=envelope,
            id_lo=encoded.id_lo,
            id_hi=encoded.id_hi,
        )

    def _form_of(self, event: object) -> tuple[str, Form]:
        found = self._by_type.get(type(event))
        if found is None:
            raise TypeError(f"{type(event).__qualname__} has no stored name: register it in codec.py")
        return found

    def _path(self, name: str) -> tuple[Sequence[Upcaster], Form]:
        """What to apply to a state of ``name``, and the form it then has."""
        steps: list[Upcaster] = []
        current = name
        while (form := self._forms.get(current)) is None:
            if current not in self._upcasters or len(steps) > len(self._upcasters):
                raise UnknownEvent(f"no reader for {name!r}")
            current, upcast = self._upcasters[current]
            steps.append(upcast)
        return steps, form


def content_id(stream: str, version: int, state: bytes) -> UUID:
    """The id that follows from where and what an event is."""
    return uuid5(_EVENT_IDS, f"{stream}\n{version}\n{sha256(state).hexdigest()}")


def _bounds(event: TradesObserved) -> tuple[int, int]:
    ids = event.columns.id
    return int(ids.min()), int(ids.max())


def _settlements(event: FundingObserved) -> tuple[int, int]:
    minutes = settlement(event.columns.time)
    return int(minutes.min()), int(minutes.max())


def _headline_keys(event: HeadlinesObserved) -> tuple[int, int]:
    keys = [headline.key for headline in event.headlines]
    return min(keys), max(keys)


FORMS: Mapping[str, Form] = {
    "market.trades_observed.v1": Form(
        type=TradesObserved,
        write=columnar.encode_trades,
        load=bytes,
        build=columnar.decode_trades,
        ids=_bounds,
        time=lambda e: int(e.columns.time.max()),
    ),
    "market.bars_observed.v1": Form(
        type=BarsObserved,
        write=columnar.encode_bars,
        load=bytes,
        build=columnar.decode_bars,
        time=lambda e: int(e.columns.start.max()),
    ),
    "market.funding_observed.v1": Form(
        type=FundingObserved,
        write=columnar.encode_funding,
        load=bytes,
        build=columnar.decode_funding,
        ids=_settlements,
        time=lambda e: int(e.columns.time.max()),
    ),
    "news.headlines_observed.v1": replace(
        json_form(HeadlinesObserved, lambda e: max(h.time for h in e.headlines)), ids=_headline_keys
    ),
    "feed.connected.v1": json_form(FeedConnected, lambda e: e.time),
    "feed.lost.v1": json_form(FeedLost, lambda e: e.time),
    "feed.gap_closed.v1": json_form(GapClosed, lambda e: e.end),
    "feed.watermark_passed.v1": json_form(WatermarkPassed, lambda e: e.time),
    "market.rows_refused.v1": json_form(RowsRefused),
    "market.import_finished.v1": json_form(ImportFinished, lambda e: e.time_hi),
    "features.quality_breached.v1": json_form(QualityBreached, lambda e: e.clock),
    "features.quality_recovered.v1": json_form(QualityRecovered, lambda e: e.clock),
    "features.set_defined.v1": json_form(SetDefined),
    "features.set_retired.v1": json_form(SetRetired),
    "models.fitted.v1": json_form(ModelFitted, lambda e: e.model.trained.known_time),
    "strategy.defined.v1": json_form(StrategyDefined),
    "strategy.retired.v1": json_form(StrategyRetired),
    "decision.made.v1": json_form(DecisionMade, lambda e: e.time),
    "decision.parameters_adapted.v1": json_form(ParametersAdapted, lambda e: e.time),
    "calibration.fitted.v1": json_form(CalibrationFitted, lambda e: e.known_until),
    "signal.issued.v1": json_form(SignalIssued, lambda e: e.time),
    "signal.exit_recommended.v1": json_form(ExitRecommended, lambda e: e.time),
    "signal.closed.v1": json_form(SignalClosed, lambda e: e.time),
    "outcome.recorded.v1": json_form(OutcomeRecorded, lambda e: e.outcome.closed_at),
    "trial.recorded.v1": json_form(TrialRecorded, lambda e: e.last_time),
    "audit.exported.v1": json_form(AuditExported),
}
UPCASTERS: Mapping[str, tuple[str, Upcaster]] = {}  # no event has changed yet

codec = Codec(FORMS, UPCASTERS)
encode, decode = codec.encode, codec.decode
event_time, new_event = codec.event_time, codec.new_event
