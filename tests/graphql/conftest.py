"""A real API on a real PostgreSQL, in the loop of the test."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.applications import Starlette

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.graphql.app import create_app
from alphapulse.graphql.context import Services
from alphapulse.graphql.limits import Limits
from alphapulse.processes.api import open_services
from alphapulse.processes.project import from_store, run_project
from alphapulse.processes.serve import listen, serve
from alphapulse.projections.candle_changes import moment
from tests.graphql.client import Http, eventually


@dataclass
class Api:
    port: int
    http: Http
    services: Services
    app: Starlette
    limits: Limits

    async def write(self, statement: str, *parameters: Any) -> None:
        """Change the database behind the API's back."""
        async with self.services.reads.connection() as db, db.transaction():
            await db.execute("SET TRANSACTION READ WRITE")
            await db.execute(statement, parameters)  # type: ignore[arg-type]


StartApi = Callable[..., Awaitable[Api]]


@asynccontextmanager
async def running_api(database_url: str, limits: Limits | None = None, **options: Any) -> AsyncIterator[Api]:
    limits = limits or Limits()
    stop = asyncio.Event()
    async with open_services(database_url, limits, **options) as services:
        app = create_app(services, limits)
        with listen("127.0.0.1", 0) as listening:
            port = listening.getsockname()[1]
            serving = asyncio.create_task(serve(app, listening, limits, stop))
            try:
                yield Api(port, Http(port), services, app, limits)
            finally:
                stop.set()
                await serving


@pytest.fixture
async def start_api(database_url: str) -> AsyncIterator[StartApi]:
    """Starts an API on the test's database under the limits and options it is given."""
    async with AsyncExitStack() as stack:

        async def start(limits: Limits | None = None, **options: Any) -> Api:
            return await stack.enter_async_context(running_api(database_url, limits, **options))

        yield start


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    return await start_api()


@dataclass
class Market:
    """An API beside a projector that follows the same log."""

    api: Api

    async def append(self, *events: Any) -> int:
        """Record market events, one commit each; return the last position."""
        store = self.api.services.store
        position = 0
        for event in events:
            stream = _stream(event)
            version = await store.version(stream) + 1
            (record,) = await store.append([codec.new_event(stream, version, event)])
            position = record.position
        return position

    async def folded(self, *events: Any) -> int:
        """Record events and wait until the candles have them; return the last position."""
        position = await self.append(*events)

        async def is_there() -> bool:
            async with self.api.services.reads.connection() as db:
                return (await moment(db)).position >= position

        await eventually(is_there)
        return position


def _stream(event: Any) -> str:
    if isinstance(event, TradesObserved):
        return event.instrument.stream("trades")
    if isinstance(event, BarsObserved):
        return f"{event.instrument.stream('bars')}-{LABELS[event.timeframe_minutes]}"
    return Instrument(event.venue, event.symbol).stream("feed")


@asynccontextmanager
async def projecting(database_url: str) -> AsyncIterator[None]:
    """The role ``project`` without a bus."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_project(database_url, from_store, stop))
    try:
        yield
    finally:
        stop.set()
        await running


@pytest.fixture
async def market(database_url: str, api: Api) -> AsyncIterator[Market]:
    async with projecting(database_url):
        yield Market(api)


@pytest.fixture(autouse=True)
def nothing_failed_unseen(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What recovers by itself must not hide an error: none is logged, unless a test says that one is."""
    yield
    if request.node.get_closest_marker("logs_errors") is None:
        records = [*caplog.get_records("setup"), *caplog.get_records("call")]
        errors = [record.getMessage() for record in records if record.levelno >= logging.ERROR]
        assert errors == []
