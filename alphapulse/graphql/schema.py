"""The whole schema: one module an area, joined here. ``schema.graphql`` is its text, checked in."""

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from alphapulse.graphql.audit_exports import AuditExportSubscription
from alphapulse.graphql.audit_trail import AuditQuery, AuditSubscription
from alphapulse.graphql.candle_feed import CandleSubscription
from alphapulse.graphql.candles import CandleQuery
from alphapulse.graphql.complex_events import ComplexEventQuery
from alphapulse.graphql.correlation import CorrelationQuery
from alphapulse.graphql.counterfactuals import CounterfactualSubscription
from alphapulse.graphql.decisions import DecisionQuery, DecisionSubscription
from alphapulse.graphql.detections import DetectionQuery, DetectionSubscription
from alphapulse.graphql.features import FeatureQuery, FeatureSubscription
from alphapulse.graphql.indicators import IndicatorQuery
from alphapulse.graphql.instruments import InstrumentQuery
from alphapulse.graphql.levels import LevelQuery
from alphapulse.graphql.log import LogQuery, LogSubscription
from alphapulse.graphql.performance import PerformanceQuery
from alphapulse.graphql.provenance import ProvenanceQuery
from alphapulse.graphql.risk import RiskQuery
from alphapulse.graphql.scalars import SCALARS
from alphapulse.graphql.signals import SignalQuery, SignalSubscription
from alphapulse.graphql.track_record import TrackRecordQuery
from alphapulse.graphql.trades import TradeQuery


@strawberry.type
class Query(
    InstrumentQuery,
    CandleQuery,
    TradeQuery,
    IndicatorQuery,
    DetectionQuery,
    LevelQuery,
    CorrelationQuery,
    ComplexEventQuery,
    FeatureQuery,
    SignalQuery,
    DecisionQuery,
    RiskQuery,
    PerformanceQuery,
    TrackRecordQuery,
    AuditQuery,
    LogQuery,
    ProvenanceQuery,
):
    pass


@strawberry.type
class Subscription(
    CandleSubscription,
    DetectionSubscription,
    FeatureSubscription,
    SignalSubscription,
    DecisionSubscription,
    CounterfactualSubscription,
    AuditSubscription,
    AuditExportSubscription,
    LogSubscription,
):
    pass


class Schema(strawberry.Schema):
    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Nothing: ``errors.explain`` logs what a client may not see, and only that."""


schema = Schema(
    query=Query,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),  # sort_schema would hand enums to resolvers as bare values
)
