"""A real API on a real PostgreSQL, in the loop of the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.applications import Starlette

from alphapulse.graphql.app import create_app
from alphapulse.graphql.context import Services
from alphapulse.graphql.limits import Limits
from alphapulse.processes.api import open_services
from alphapulse.processes.serve import listen, serve
from tests.graphql.client import Http


@dataclass
class Api:
    port: int
    http: Http
    services: Services
    app: Starlette
    limits: Limits


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
