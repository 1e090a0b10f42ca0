"""The eventsourcing library on our log: ``PERSISTENCE_MODULE=alphapulse.adapters.store.recorder``.

Its ``Application`` appends through the same ``log_append`` into the same table as everything else, so
one log holds both. DATABASE_URL (or ALPHAPULSE_DATABASE_URL) names the database, which must be migrated;
ORIGINATOR_ID_TYPE is ``uuid`` (the library's default) or ``text``. Event and aggregate classes give their
versioned stored name as ``TOPIC = "account.opened.v1"``.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import psycopg_pool
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DatabaseError,
    DataError,
    InfrastructureFactory,
    InfrastructureFactoryError,
    IntegrityError,
    ListenNotifySubscription,
    Mapper,
    MapperDeserialisationError,
    Notification,
    OperationalError,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.utils import TopicError, strtobool

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store import arrays, statements
from alphapulse.adapters.store.connections import PASSING
from alphapulse.adapters.store.limits import check_group
from alphapulse.adapters.store.postgres import PLANNER
from alphapulse.adapters.store.statements import Outcome
from alphapulse.domain.ports import Envelope, EventTooLarge, Fence, NewEvent, UnknownEvent

_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*\.v[0-9]+")
_CONNECTIONS = 10
_TIMEOUT_S = 30.0
_ROUND_S = 0.1  # how soon a subscription sees that it was stopped
_ROUNDS_A_POLL = 10  # how often it looks for itself, should NOTIFY go quiet

_EVENT = "SELECT originator_id, originator_version, topic, state"
_TRACK = "SELECT log_track(%s, %s)"
_APPEND_AND_TRACK = (
    "SELECT a.*, CASE WHEN row_number() OVER () = 1 THEN log_track(%s, %s, a.outcome = 'stored') END"
    f" FROM ({statements.APPEND}) a"
)


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """What the mapper gives for an event that this code cannot read; policies see it and may pass on."""

    originator_id: UUID | str
    originator_version: int
    topic: str
    state: bytes
    reason: str

    def mutate(self, _aggregate: object) -> object:
        """Raises UnknownEvent: an aggregate without one of its events would be another aggregate."""
        where = f"version {self.originator_version} of {self.originator_id}"
        raise UnknownEvent(f"{self.topic}, {where}: {self.reason}")


class ParkingMapper(Mapper[Any]):
    """Writes versioned names only; hands out a ParkedEvent where the library's own mapper raises."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        stored = super().to_stored_event(domain_event)
        _require_versioned(stored.topic)
        return stored

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        try:
            _require_versioned(stored_event.topic)  # nor does a name from the log choose what to import
            return super().to_domain_event(stored_event)
        except (ValueError, TopicError, MapperDeserialisationError) as error:
            return ParkedEvent(
                stored_event.originator_id,
                stored_event.originator_version,
                stored_event.topic,
                stored_event.state,
                str(error),
            )


class LogRecorder(ProcessRecorder):
    """The library's recorder of events and tracking, over ``log_append``; safe to share among threads.

    Keyword arguments of ``Application.save`` arrive here: cause_id, correlation_id, actor, trace, fence.
    """

    def __init__(self, database_url: str, *, uuid_ids: bool = True, timeout_s: float = _TIMEOUT_S) -> None:
        self._info = connection_info(database_url, statement_timeout_s=timeout_s, settings=PLANNER)
        self._uuid_ids = uuid_ids
        self._timeout_s = timeout_s
        self._pool = psycopg_pool.ConnectionPool(
            self._info,
            min_size=0,
            max_size=_CONNECTIONS,
            open=True,
            timeout=timeout_s,
            kwargs={"autocommit": True},
            configure=arrays.register,
        )

    def close(self) -> None:
        self._pool.close()

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of its own, for a subscription."""
        return psycopg.connect(self._info, autocommit=True)

    # -- events ---------------------------------------------------------------------------------

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        tracking: Tracking | None = None,
        fence: Fence | None = None,
        **kwargs: Any,
    ) -> Sequence[int]:
        """The positions of ``stored_events``, committed together, and with ``tracking`` where given.

        Raises:
            IntegrityError: a version is taken or leaves a hole, the lease is lost, or ``tracking`` is old.
            DataError: the events are too large or out of range.
            OperationalError: there was no answer in time.
        """
        if not stored_events:
            if tracking is not None:
                self.insert_tracking(tracking)
            return []
        events = [self._new_event(e, **kwargs) for e in stored_events]
        try:
            check_group(events, first_version=0)
        except (EventTooLarge, ValueError) as error:
            raise DataError(str(error)) from error
        return self._append(events, fence, tracking)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        query = (
            f"{_EVENT} FROM stored_events WHERE originator_id = %s"
            " AND originator_version > coalesce(%s::bigint, -1)"
            " AND originator_version <= coalesce(%s::bigint, 9223372036854775807)"
            f" ORDER BY originator_version {'DESC' if desc else 'ASC'} LIMIT %s"
        )
        rows = self._rows(query, (str(originator_id), gt, lte, limit))
        return [StoredEvent(self._originator(row[0]), *row[1:]) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = -1 if start is None else start - inclusive_of_start
        query = (
            f"{_EVENT}, notification_id FROM stored_events WHERE notification_id > %s"
            " AND notification_id <= coalesce(%s::bigint, 9223372036854775807)"
            f"{' AND topic = ANY (%s)' if topics else ''} ORDER BY notification_id LIMIT %s"
        )
        rows = self._rows(query, (after, stop, *([list(topics)] if topics else []), limit))
        return [Notification(self._originator(row[0]), *row[1:]) for row in rows]

    def max_notification_id(self) -> int | None:
        [[head]] = self._rows(statements.HEAD)
        return head or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        return LogSubscription(self, gt=gt, topics=topics)

    # -- tracking -------------------------------------------------------------------------------

    def insert_tracking(self, tracking: Tracking) -> None:
        with self._translated(), self._pool.connection() as connection:
            connection.execute(_TRACK, (tracking.application_name, tracking.notification_id))

    def max_tracking_id(self, application_name: str) -> int | None:
        query = "SELECT max(notification_id) FROM notification_tracking WHERE application_name = %s"
        [[last]] = self._rows(query, (application_name,))
        return cast("int | None", last)

    # -- inside ---------------------------------------------------------------------------------

    def _append(
        self, events: Sequence[NewEvent], fence: Fence | None, tracking: Tracking | None
    ) -> Sequence[int]:
        """Send the append until it is known what became of it: after a lost reply, a repeat is success."""
        deadline, attempt = time.monotonic() + self._timeout_s, 0
        while True:
            try:
                outcomes = self._call(events, fence, tracking)
            except psycopg.errors.UniqueViolation as error:
                if attempt and (held := self._held(events)):  # tracking was stored with them
                    return held
                raise IntegrityError(str(error)) from error
            except PASSING as error:
                attempt += 1
                pause = min(0.02 * 2**attempt, 1.0)
                if time.monotonic() + pause > deadline:
                    raise OperationalError(f"no answer in {self._timeout_s} s: {error}") from error
                time.sleep(pause)
            except psycopg.Error as error:
                raise DatabaseError(str(error)) from error
            else:
                return self._positions(outcomes, events, is_first=attempt == 0)

    def _call(
        self, events: Sequence[NewEvent], fence: Fence | None, tracking: Tracking | None
    ) -> Sequence[Outcome]:
        arguments: tuple[Any, ...] = statements.append_parameters([(events, fence)])
        query = statements.APPEND
        if tracking is not None:
            query = _APPEND_AND_TRACK
            arguments = (tracking.application_name, tracking.notification_id, *arguments)
        with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(query, arguments, prepare=True)
            return [Outcome._make(row[:4]) for row in cursor.fetchall()]

    def _positions(
        self, outcomes: Sequence[Outcome], events: Sequence[NewEvent], *, is_first: bool
    ) -> Sequence[int]:
        first = outcomes[0]
        if first.outcome == "stored" or (first.outcome == "repeat" and not is_first):
            return [o.position for o in outcomes if o.position is not None]
        if not is_first and (held := self._held(events)):
            return held
        where = f"version {events[0].version} of {events[0].stream}"
        raise IntegrityError(f"{first.outcome}: {where}: {first.detail or 'it is in the log already'}")

    def _held(self, events: Sequence[NewEvent]) -> Sequence[int]:
        """The positions of exactly these events if the log holds them all, else nothing."""
        records = [
            statements.record(row)
            for event in events
            for row in self._rows(statements.AT_VERSION, (event.stream, event.version))
        ]
        same = len(records) == len(events) and all(map(statements.same_event, events, records))
        return [record.position for record in records] if same else []

    def _rows(self, query: str, parameters: Any = ()) -> Sequence[tuple[Any, ...]]:
        with (
            self._translated(),
            self._pool.connection() as connection,
            connection.cursor(binary=True) as cursor,
        ):
            cursor.execute(query, parameters)
            return cursor.fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """psycopg's errors as the library's."""
        try:
            yield
        except psycopg.IntegrityError as error:
            raise IntegrityError(str(error)) from error
        except PASSING as error:
            raise OperationalError(str(error)) from error
        except psycopg.Error as error:
            raise DatabaseError(str(error)) from error

    def _new_event(
        self,
        stored: StoredEvent,
        *,
        cause_id: UUID | None = None,
        correlation_id: UUID | None = None,
        actor: str = "system",
        trace: str | None = None,
        **_: Any,
    ) -> NewEvent:
        return NewEvent(
            stream=str(stored.originator_id),
            version=stored.originator_version,
            name=stored.topic,
            state=stored.state,
            envelope=Envelope(
                event_id=uuid4(), cause_id=cause_id, correlation_id=correlation_id, actor=actor, trace=trace
            ),
        )

    def _originator(self, stream: str) -> UUID | str:
        """The library compares ids by type as well; other parts of the log have streams that are no UUIDs."""
        if self._uuid_ids:
            try:
                return UUID(stream)
            except ValueError:
                pass
        return stream


class LogSubscription(ListenNotifySubscription[LogRecorder]):
    """Woken by NOTIFY, by a poll, and after every new connection."""

    def __init__(self, recorder: LogRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._listen_thread = Thread(target=self._listen, name="log-subscription")
        self._listen_thread.start()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._listen_thread.join()

    def _listen(self) -> None:
        while not self._has_been_stopped:
            try:
                with self._recorder.connect() as connection:
                    connection.execute(statements.LISTEN)
                    self._follow(connection)
            except PASSING:
                time.sleep(_ROUND_S)

    def _follow(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        rounds = 0
        while not self._has_been_stopped:
            if rounds % _ROUNDS_A_POLL == 0:
                self._has_been_notified.set()
            rounds += 1
            for _ in connection.notifies(timeout=_ROUND_S, stop_after=1):
                self._has_been_notified.set()


class LogFactory(InfrastructureFactory[TrackingRecorder]):
    """What the library's ``Application`` asks for its recorder and mapper."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        if strtobool(self.env.get("POSTGRES_ENABLE_DB_FUNCTIONS") or "no"):
            raise InfrastructureFactoryError(
                "POSTGRES_ENABLE_DB_FUNCTIONS is set: the library's functions drop the lock that keeps"
                " positions in commit order, so that readers lose events. Unset it."
            )
        url = self.env.get("DATABASE_URL") or self.env.get("ALPHAPULSE_DATABASE_URL")
        if not url:
            raise InfrastructureFactoryError("set DATABASE_URL, such as postgresql://user@host/database")
        kind = self.env.get("ORIGINATOR_ID_TYPE") or "uuid"
        if kind not in ("uuid", "text"):
            raise InfrastructureFactoryError(f"ORIGINATOR_ID_TYPE is uuid or text, not {kind!r}")
        self._recorder = LogRecorder(url, uuid_ids=kind == "uuid")

    def mapper(self, transcoder: Any = None, mapper_class: Any = None) -> Mapper[Any]:
        chosen = mapper_class or (None if self.env.get(self.MAPPER_TOPIC) else ParkingMapper)
        return super().mapper(transcoder, chosen)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        if purpose != "events":
            raise InfrastructureFactoryError(f"there are no {purpose} in the log: leave snapshotting off")
        return self._recorder

    def application_recorder(self) -> ApplicationRecorder:
        return self._recorder

    def tracking_recorder(self, tracking_recorder_class: Any = None) -> Any:
        if tracking_recorder_class is not None:
            raise InfrastructureFactoryError("a tracking recorder of one's own has no tables here")
        return self._recorder

    def process_recorder(self) -> ProcessRecorder:
        return self._recorder

    def close(self) -> None:
        self._recorder.close()


def _require_versioned(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a versioned stored name such as account.opened.v1")
