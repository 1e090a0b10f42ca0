"""What resolvers are handed: read models, the log, the live topics, and who asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from alphapulse.domain.backtest.counterfactuals import Asked, Counterfactual, Told
from alphapulse.domain.ports import Decode, EventStore
from alphapulse.domain.provenance.export_job import ExportAsked, ExportMade, ExportTold
from alphapulse.domain.provenance.sealing import SealedLog
from alphapulse.graphql.access import Authenticate, Principal
from alphapulse.graphql.downloads import Downloads
from alphapulse.graphql.fanout import Hub
from alphapulse.graphql.jobs import Jobs
from alphapulse.graphql.looks import Looks
from alphapulse.graphql.rate import Rates
from alphapulse.projections.candle_queries import History
from alphapulse.projections.feature_cache import FeatureCache
from alphapulse.projections.notices import ReadNotices

Pool = AsyncConnectionPool[AsyncConnection[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One per process. ``reads`` gives connections that may only read, with a statement timeout."""

    reads: Pool
    store: EventStore
    seals: SealedLog
    decode: Decode
    history: History
    notices: ReadNotices  # of the candles
    feature_notices: ReadNotices
    vectors: FeatureCache
    looks: Looks
    hub: Hub
    counterfactuals: Jobs[Asked, Told, Counterfactual]
    exports: Jobs[ExportAsked, ExportTold, ExportMade] | None  # None: this server makes none
    downloads: Downloads | None
    rates: Rates
    authenticate: Authenticate
    code_versions: Mapping[str, int]  # of the read models as this code would fold them


@dataclass(frozen=True, slots=True)
class Context:
    """One per request or subscription."""

    services: Services
    principal: Principal
