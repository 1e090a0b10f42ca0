"""The role ``api``: answers GraphQL and says how things are. Reads everything, writes that it exported."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.adapters.store.tiled_seals import TiledSeals
from alphapulse.domain.provenance.export_job import ExportAsked, ExportMade, ExportTold
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.graphql.access import anyone, holder_of
from alphapulse.graphql.app import create_app
from alphapulse.graphql.context import Services
from alphapulse.graphql.fanout import Hub
from alphapulse.graphql.health import Thresholds
from alphapulse.graphql.jobs import JobLimits, Jobs
from alphapulse.graphql.limits import Limits
from alphapulse.graphql.looks import Looks
from alphapulse.graphql.rate import Rates
from alphapulse.processes.audit_export_apart import export_apart
from alphapulse.processes.counterfactual_apart import counterfactual_apart
from alphapulse.processes.export_shelf import ExportShelf
from alphapulse.processes.project import READ_MODELS
from alphapulse.processes.serve import listen, serve
from alphapulse.projections.candle_queries import History
from alphapulse.projections.candles import Candles
from alphapulse.projections.feature_cache import FeatureCache
from alphapulse.projections.features import Features
from alphapulse.projections.notices import ReadNotices

log = logging.getLogger(__name__)

READERS = 8  # connections that answer queries; more requests wait for their turn
WAIT_S = 5.0  # for one of them
JOB_LIMITS = JobLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """Where exports lie until they are fetched, and whose log they are of; the key may not be there yet."""

    shelf: ExportShelf
    key: Callable[[], NoteKey | None]


@asynccontextmanager
async def open_services(
    database_url: str,
    limits: Limits,
    *,
    token: str | None = None,
    job_limits: JobLimits = JOB_LIMITS,
    exports: Exports | None = None,
) -> AsyncIterator[Services]:
    """All that the application needs, open for as long as the context lasts.

    The database may be away: whatever needs it says so until it is back.
    """
    read_only = connection_info(
        database_url, role=None, statement_timeout_s=limits.execution_s, lock_timeout_s=limits.execution_s
    )

    async def connect() -> AsyncConnection[Any]:
        db = await AsyncConnection.connect(read_only, autocommit=True)
        await _set_read_only(db)
        return db

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            PostgresEventStore(database_url, timeout_s=limits.execution_s)
        )
        seals = await stack.enter_async_context(PostgresSeals(database_url, timeout_s=limits.execution_s))
        reads = AsyncConnectionPool(
            read_only,
            min_size=1,
            max_size=READERS,
            timeout=WAIT_S,
            max_waiting=limits.concurrent_requests + limits.waiting_requests,
            kwargs={"autocommit": True},
            configure=_set_read_only,
            open=False,
        )
        await reads.open()
        stack.push_async_callback(reads.close)
        notices, feature_notices = ReadNotices(connect, Candles.name), ReadNotices(connect, Features.name)
        await stack.enter_async_context(_running(notices))
        await stack.enter_async_context(_running(feature_notices))
        if exports is not None:
            await stack.enter_async_context(_running(exports.shelf, "export-shelf"))
        yield Services(
            reads=reads,
            store=store,
            seals=TiledSeals(seals),
            decode=codec.decode,
            history=History(store, codec.decode),
            notices=notices,
            feature_notices=feature_notices,
            vectors=FeatureCache(reads.connection, feature_notices),
            looks=Looks(reads),
            hub=Hub(limits.queue_messages),
            counterfactuals=Jobs(partial(counterfactual_apart, database_url), job_limits),
            exports=None if exports is None else _export_jobs(database_url, exports, job_limits),
            downloads=None if exports is None else exports.shelf,
            rates=Rates(limits.rate_cost_per_s, limits.rate_burst_cost, limits.rate_keys, time.monotonic),
            authenticate=holder_of(token) if token else anyone,
            code_versions={name: model.code_version for name, model in READ_MODELS.items()},
        )


def _export_jobs(
    database_url: str, exports: Exports, limits: JobLimits
) -> Jobs[ExportAsked, ExportTold, ExportMade]:
    return Jobs(partial(export_apart, database_url, exports.shelf, exports.key), limits)


async def _set_read_only(db: AsyncConnection[Any]) -> None:
    await db.execute("SET default_transaction_read_only TO on")


@asynccontextmanager
async def _running(notices: ReadNotices | ExportShelf, name: str = "read-notices") -> AsyncIterator[None]:
    task = asyncio.create_task(notices.run(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """What whoever runs the API decides. ``origins`` are sites whose pages may open WebSockets."""

    token: str | None = None
    origins: frozenset[str] = frozenset()
    rate_cost_per_s: float = Limits().rate_cost_per_s
    max_lag_s: float = Thresholds().lag_s
    anchors: tuple[str, ...] = ()  # that are configured
    anchor_lag_s: float = Thresholds().anchor_lag_s
    exports: Exports | None = None


async def run_api(database_url: str, host: str, port: int, options: ApiOptions, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set.

    Raises:
        OSError: nothing can listen on ``host`` and ``port``.
    """
    limits = Limits(rate_cost_per_s=options.rate_cost_per_s)
    thresholds = Thresholds(
        lag_s=options.max_lag_s, anchors=options.anchors, anchor_lag_s=options.anchor_lag_s
    )
    with listen(host, port) as listening:
        async with open_services(
            database_url, limits, token=options.token, exports=options.exports
        ) as services:
            log.info("the API listens on %s port %d", *listening.getsockname()[:2])
            app = create_app(services, limits, thresholds, allowed_origins=options.origins)
            await serve(app, listening, limits, stop)
