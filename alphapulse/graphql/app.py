"""The HTTP application: GraphQL over HTTP and WebSocket, health, the sealed log, pages and their assets."""

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from alphapulse.graphql import export_routes, health, pages, seal_routes
from alphapulse.graphql.context import Services
from alphapulse.graphql.execution import Engine
from alphapulse.graphql.http import HttpEndpoint
from alphapulse.graphql.limits import Limits
from alphapulse.graphql.schema import schema
from alphapulse.graphql.websocket import WebSocketEndpoint

PATH = "/graphql"
DEFAULT_THRESHOLDS = health.Thresholds()


def create_app(
    services: Services,
    limits: Limits,
    thresholds: health.Thresholds = DEFAULT_THRESHOLDS,
    *,
    allowed_origins: frozenset[str] = frozenset(),
) -> Starlette:
    """The application of one process. The caller opens and closes what is in ``services``."""
    engine = Engine(schema, limits)
    http = HttpEndpoint(engine, services)
    websocket = WebSocketEndpoint(engine, services, allowed_origins)
    app = Starlette(
        routes=[
            Route(PATH, http.__call__, methods=["GET", "POST"]),
            WebSocketRoute(PATH, websocket.__call__),
            *health.routes(services, thresholds),
            *seal_routes.routes(services),
            *export_routes.routes(services),
            *pages.routes(),
        ]
    )
    app.state.websocket = websocket
    return app
