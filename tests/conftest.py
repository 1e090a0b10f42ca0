"""Fixtures that every test may ask for.

- ``database_url``: a migrated database of the test's own; ``empty_database_url``: one without any table.
- ``nats_url``: a nats-server shared by the tests of one worker; its streams are removed after each test.
- ``postgres``, ``nats``: servers of the test's own, to kill and restart as it likes.
- ``open_directory``: a directory that the servers' unprivileged user can enter, should the tests run as root.

Each xdist worker has servers of its own: they start in under a second and nothing needs to be shared.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import nats as nats_client
import pytest

from alphapulse.adapters.embedded.nats import NatsServer
from alphapulse.adapters.embedded.postgres import PostgresServer
from tests import servers

# Kernels compile at their first call: a deadline would fail whichever example comes first.
hypothesis.settings.register_profile("alphapulse", deadline=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "alphapulse"))


# A shell that starts us in the background makes us deaf to Ctrl-C, and every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones come first: begun last, one would keep a worker busy while the others have none left."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    with servers.open_directory() as path:
        yield path


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresServer]:
    with servers.open_directory() as path, servers.running_postgres(path) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(shared_postgres: PostgresServer) -> PostgresServer:
    servers.make_template(shared_postgres)
    return shared_postgres


@pytest.fixture
def database_url(migrated_postgres: PostgresServer) -> Iterator[str]:
    """``postgresql://…`` of a fresh migrated database; ``adapters.database.sqlalchemy_url`` converts it."""
    with servers.fresh_database(migrated_postgres) as url:
        yield url


@pytest.fixture
def empty_database_url(shared_postgres: PostgresServer) -> Iterator[str]:
    with servers.fresh_database(shared_postgres, "template1") as url:
        yield url


@pytest.fixture
def postgres(open_directory: Path) -> Iterator[PostgresServer]:
    """A running server of the test's own. ``servers.make_template`` or ``create_database`` fill it."""
    with servers.running_postgres(open_directory) as server:
        yield server


@pytest.fixture(scope="session")
def shared_nats() -> Iterator[NatsServer]:
    with servers.open_directory() as path, servers.running_nats(path) as server:
        yield server


@pytest.fixture
def nats_url(shared_nats: NatsServer) -> Iterator[str]:
    yield shared_nats.url
    asyncio.run(remove_streams(shared_nats.url))


@pytest.fixture
def nats(open_directory: Path) -> Iterator[NatsServer]:
    """A running server of the test's own."""
    with servers.running_nats(open_directory) as server:
        yield server


async def remove_streams(url: str) -> None:
    connection = await nats_client.connect(url)
    jetstream = connection.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(str(stream.config.name))
    await connection.close()
