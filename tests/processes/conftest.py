"""The world of the tests of features."""

from collections.abc import AsyncIterator

import pytest

from alphapulse.adapters.store.postgres import PostgresEventStore
from tests.processes.feature_logs import DEFINED, random_events
from tests.processes.feature_world import World


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with PostgresEventStore(database_url) as store:
        made = World(database_url, store)
        events = random_events(11, batches=30)
        await made.writer.append([*events[:12], DEFINED, *events[12:]])
        yield made
