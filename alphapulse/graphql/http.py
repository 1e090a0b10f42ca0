"""GraphQL over HTTP: POST with JSON, GET for queries, one request at a time.

A page of another site cannot post here: JSON makes its browser ask first, and nothing answers that.
"""

from starlette.requests import Request
from starlette.responses import Response

from alphapulse.graphql.access import Principal, bearer
from alphapulse.graphql.context import Context, Services
from alphapulse.graphql.documents import Refused
from alphapulse.graphql.errors import RateLimited, Unauthenticated, UserError
from alphapulse.graphql.execution import Engine, encode_errors
from alphapulse.graphql.requests import GraphQLRequest, decode_json, request_of, request_of_url

_MODERN = "application/graphql-response+json"
_PLAIN = "application/json"
_FAILED_LOGIN_COST = 5_000


class TooLarge(UserError):
    code = "TOO_LARGE"
    status = 413


class NotJson(UserError):
    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415


# These say something about the connection, not the document: every client hears them by the status.
_ALWAYS_BY_STATUS = {401, 403, 413, 415, 429, 503, 504}


class HttpEndpoint:
    """Answers ``/graphql``."""

    def __init__(self, engine: Engine, services: Services) -> None:
        self._engine, self._services = engine, services

    async def __call__(self, request: Request) -> Response:
        try:
            return _response(request, 200, await self._answer(request))
        except Refused as refused:
            return _refusal(request, refused)
        except UserError as error:
            return _refusal(request, Refused(error))

    async def _answer(self, request: Request) -> bytes:
        principal = self._principal(request)
        asked = await self._read(request)
        operation = self._engine.prepare(asked.query, asked.variables, asked.operation_name, principal)
        self._services.rates.take(rate_key(principal, address(request)), operation.weight.cost)
        return await self._engine.answer(operation, Context(self._services, principal))

    def _principal(self, request: Request) -> Principal:
        try:
            return self._services.authenticate(bearer(request.headers.get("authorization")))
        except Unauthenticated:
            self._services.rates.take(address(request), _FAILED_LOGIN_COST)
            raise

    async def _read(self, request: Request) -> GraphQLRequest:
        if request.method == "GET":
            return request_of_url(request.query_params)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _PLAIN:
            raise NotJson(f"a POST needs content-type {_PLAIN}, not {kind or 'none'}")
        return request_of(decode_json(await self._body(request)))

    async def _body(self, request: Request) -> bytes:
        limit = self._engine.limits.body_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"the body is over {limit} bytes")
        return bytes(body)


def address(request: Request) -> str:
    """Where the connection comes from; unix sockets have no address."""
    return request.client.host if request.client else "local"


def rate_key(principal: Principal, host: str) -> str:
    return f"{principal.name} at {host}"


def _refusal(request: Request, refused: Refused) -> Response:
    first = refused.errors[0]
    status = first.status if isinstance(first, UserError) else 400
    if status not in _ALWAYS_BY_STATUS and not _wants_modern(request):
        status = 200  # what application/json has always meant: the answer is in the body
    response = _response(request, status, encode_errors(refused.errors))
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if isinstance(first, RateLimited):
        response.headers["retry-after"] = str(int((first.extensions or {})["retryAfterS"]) + 1)
    return response


def _response(request: Request, status: int, body: bytes) -> Response:
    kind = _MODERN if _wants_modern(request) else _PLAIN
    return Response(body, status, media_type=kind, headers={"cache-control": "no-store"})


def _wants_modern(request: Request) -> bool:
    return _MODERN in request.headers.get("accept", "")
