"""The library's own tests on our recorder, and its Application on our log."""

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest import TestCase
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    DataError,
    InfrastructureFactoryError,
    IntegrityError,
    OperationalError,
    StoredEvent,
    Tracking,
)
from eventsourcing.tests import persistence as library

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.recorder import LogFactory, LogRecorder, ParkedEvent, ParkingMapper
from alphapulse.domain.ports import Fence, UnknownEvent
from tests.adapters.store import events as ours
from tests.adapters.store.proxy import proxy_to


class OnOurLog(TestCase):
    """Gives a library test case a recorder on a database of its own."""

    database_url: str
    uuid_ids = True

    @pytest.fixture(autouse=True)
    def _database(self, database_url: str) -> None:
        self.database_url = database_url

    def create_recorder(self) -> LogRecorder:
        recorder = LogRecorder(self.database_url, uuid_ids=self.uuid_ids)
        self.addCleanup(recorder.close)
        return recorder


class TestApplicationRecorder(OnOurLog, library.ApplicationRecorderTestCase[LogRecorder]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(TestApplicationRecorder):
    uuid_ids = False

    def new_originator_id(self) -> str:
        return f"signal-{uuid4()}"


class TestTrackingRecorder(OnOurLog, library.TrackingRecorderTestCase): ...


class TestProcessRecorder(OnOurLog, library.ProcessRecorderTestCase): ...


del OnOurLog


class Dog(Aggregate):
    TOPIC = "dog.v1"

    class Created(Aggregate.Created):
        TOPIC = "dog.registered.v1"
        name: str

    class TrickAdded(Aggregate.Event):
        TOPIC = "dog.trick_added.v1"
        trick: str

    @event(Created)
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event(TrickAdded)
    def add_trick(self, trick: str) -> None:
        self.tricks.append(trick)


class Kennel(Application[UUID]):
    env: ClassVar = {"PERSISTENCE_MODULE": "alphapulse.adapters.store.recorder"}


@pytest.fixture
def recorder(database_url: str) -> Iterator[LogRecorder]:
    recorder = LogRecorder(database_url)
    yield recorder
    recorder.close()


@pytest.fixture
def kennel(database_url: str) -> Iterator[Kennel]:
    with Kennel(env={"DATABASE_URL": database_url}) as app:
        yield app


def stored(version: int, state: bytes = b"{}", originator_id: UUID | str = "a") -> StoredEvent:
    return StoredEvent(originator_id, version, "test.happened.v1", state)


def test_an_application_saves_and_loads(kennel: Kennel) -> None:
    dog = Dog("Fido")
    dog.add_trick("roll over")
    kennel.save(dog)
    copy: Dog = kennel.repository.get(dog.id)
    assert (copy.name, copy.tricks, copy.version) == ("Fido", ["roll over"], 2)
    assert [n.id for n in kennel.notification_log.select(1, 10)] == [1, 2]


def test_two_who_save_the_same_version_conflict(kennel: Kennel) -> None:
    dog = Dog("Fido")
    kennel.save(dog)
    one: Dog = kennel.repository.get(dog.id)
    two: Dog = kennel.repository.get(dog.id)
    one.add_trick("sit")
    two.add_trick("roll over")
    kennel.save(one)
    with pytest.raises(IntegrityError, match="wants version 3 next, not 2"):
        kennel.save(two)


async def test_the_library_and_our_store_share_one_log(database_url: str, kennel: Kennel) -> None:
    async with PostgresEventStore(database_url) as store:
        await store.append([ours.event("feed-kraken-BTC_USD", 1)])
        dog = Dog("Fido")
        cause = uuid4()
        kennel.save(dog, actor="keeper", cause_id=cause, correlation_id=cause, trace="00-x")
        page = await store.read(0)
    assert [(r.position, r.stream, r.name) for r in page.records] == [
        (1, "feed-kraken-BTC_USD", "test.happened.v1"),
        (2, str(dog.id), "dog.registered.v1"),
    ]
    envelope = page.records[1].envelope
    assert (envelope.actor, envelope.cause_id, envelope.correlation_id, envelope.trace) == (
        "keeper",
        cause,
        cause,
        "00-x",
    )
    notifications = kennel.recorder.select_notifications(1, 10)
    assert [n.originator_id for n in notifications] == ["feed-kraken-BTC_USD", dog.id]


def test_an_event_of_newer_code_is_parked_and_not_raised(kennel: Kennel, recorder: LogRecorder) -> None:
    dog = Dog("Fido")
    kennel.save(dog)
    recorder.insert_events([StoredEvent(dog.id, 2, "dog.vaccinated.v9", b"{}")])
    newest = recorder.select_notifications(2, 1)[0]
    parked = kennel.mapper.to_domain_event(newest)
    assert isinstance(parked, ParkedEvent)
    assert (parked.topic, parked.originator_version) == ("dog.vaccinated.v9", 2)
    with pytest.raises(UnknownEvent, match=r"dog.vaccinated.v9, version 2"):
        kennel.repository.get(dog.id)


def test_a_damaged_event_is_parked_with_its_reason(kennel: Kennel) -> None:
    parked = kennel.mapper.to_domain_event(StoredEvent(uuid4(), 1, "dog.registered.v1", b"\xff not json"))
    assert isinstance(parked, ParkedEvent)
    assert "dog.registered.v1" in parked.reason


def test_a_name_in_the_log_never_chooses_what_is_imported(kennel: Kennel) -> None:
    parked = kennel.mapper.to_domain_event(StoredEvent(uuid4(), 1, "os:system", b"{}"))
    assert isinstance(parked, ParkedEvent)
    assert "os:system" in parked.reason


def test_an_event_without_a_versioned_name_is_not_written(kennel: Kennel) -> None:
    class Nameless(Aggregate):
        pass

    with pytest.raises(ValueError, match="is not a versioned stored name"):
        kennel.save(Nameless())
    assert kennel.recorder.max_notification_id() is None


def test_the_mapper_of_the_factory_is_ours_unless_told_otherwise(kennel: Kennel) -> None:
    assert type(kennel.mapper) is ParkingMapper


@pytest.mark.parametrize(
    ("setting", "value"),
    [("POSTGRES_ENABLE_DB_FUNCTIONS", "y"), ("ORIGINATOR_ID_TYPE", "int"), ("DATABASE_URL", "")],
)
def test_settings_that_would_break_the_log_are_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.delenv("ALPHAPULSE_DATABASE_URL", raising=False)
    with pytest.raises(InfrastructureFactoryError, match=setting):
        LogFactory({"DATABASE_URL": database_url, setting: value})


def test_snapshots_are_refused(database_url: str) -> None:
    factory = LogFactory({"DATABASE_URL": database_url})
    with pytest.raises(InfrastructureFactoryError, match="snapshots"):
        factory.aggregate_recorder("snapshots")
    factory.close()


def test_tracking_is_stored_with_its_events_or_not_at_all(recorder: LogRecorder) -> None:
    recorder.insert_events([stored(1)], tracking=Tracking("upstream", 7))
    with pytest.raises(IntegrityError, match="conflict"):
        recorder.insert_events([stored(1, b"other")], tracking=Tracking("upstream", 8))
    assert recorder.max_tracking_id("upstream") == 7
    with pytest.raises(IntegrityError, match="already passed position 7"):
        recorder.insert_events([stored(2)], tracking=Tracking("upstream", 7))
    assert len(recorder.select_events("a")) == 1
    recorder.insert_events([], tracking=Tracking("upstream", 9))
    assert recorder.max_tracking_id("upstream") == 9


def test_an_application_that_lost_its_lease_writes_nothing(recorder: LogRecorder) -> None:
    with pytest.raises(IntegrityError, match="fenced: version 1 of a: lease gone, epoch 3"):
        recorder.insert_events([stored(1)], fence=Fence("gone", 3))
    assert recorder.max_notification_id() is None


def test_what_is_too_large_is_refused(recorder: LogRecorder) -> None:
    with pytest.raises(DataError, match="900001"):
        recorder.insert_events([stored(1, bytes(900_001))])


@pytest.mark.parametrize("tracking", [None, Tracking("upstream", 5)])
async def test_a_lost_reply_is_no_failure(database_url: str, tracking: Tracking | None) -> None:
    async with proxy_to(database_url) as proxy:
        recorder = LogRecorder(proxy.url)
        await asyncio.to_thread(recorder.insert_events, [stored(1)])
        proxy.hides_replies = True
        saving = asyncio.create_task(
            asyncio.to_thread(recorder.insert_events, [stored(2), stored(3)], tracking=tracking)
        )
        await proxy.hidden.wait()
        proxy.hides_replies = False
        proxy.cut()
        assert list(await saving) == [2, 3]
        assert await asyncio.to_thread(recorder.max_notification_id) == 3
        await asyncio.to_thread(recorder.close)


def test_a_database_that_is_gone_is_an_operational_error() -> None:
    recorder = LogRecorder("postgresql://nobody@/nowhere?host=/nonexistent", timeout_s=0.3)
    with pytest.raises(OperationalError):
        recorder.insert_events([stored(1)])
    recorder.close()


def test_a_subscription_survives_the_loss_of_its_connection(recorder: LogRecorder, database_url: str) -> None:
    def kill_listeners(admin: psycopg.Connection[Any]) -> int:
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        )
        row = admin.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    recorder.insert_events([stored(1)])
    with recorder.subscribe(gt=0) as subscription, psycopg.connect(database_url, autocommit=True) as admin:
        assert next(subscription).originator_version == 1
        while kill_listeners(admin) == 0:
            pass
        recorder.insert_events([stored(2)])
        assert next(subscription).originator_version == 2
