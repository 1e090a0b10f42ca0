"""GraphQL over a WebSocket, protocol graphql-transport-ws: queries and subscriptions.

Each operation is a task; whatever ends the socket ends them all. A peer that takes nothing for
``send_s`` is cut off. Close codes are those of the protocol, and 4408 for a peer that does not take.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import aclosing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson
from graphql import FieldNode, GraphQLError, OperationType, VariableNode, Visitor, visit
from starlette.websockets import WebSocket, WebSocketDisconnect

from alphapulse.graphql.access import Principal, bearer_of_payload
from alphapulse.graphql.context import Context, Services
from alphapulse.graphql.documents import Operation, Refused
from alphapulse.graphql.errors import Unauthenticated, UserError, explain, formatted
from alphapulse.graphql.execution import Engine, message
from alphapulse.graphql.fanout import Overrun
from alphapulse.graphql.http import rate_key
from alphapulse.graphql.requests import decode_json, request_of

log = logging.getLogger("alphapulse.graphql")

PROTOCOL = "graphql-transport-ws"
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, TIMEOUT = 4400, 4401, 4403, 4408
ALREADY_SUBSCRIBED, TOO_MANY_INITS, TRY_LATER = 4409, 4429, 1013
_REASON_BYTES = 120  # what a close frame holds, less its code


class SlowConsumer(UserError):
    """More came than the queue holds: resume after the position in ``extensions.resumeAfter``."""

    code = "SLOW_CONSUMER"


class TooMany(UserError):
    """The connection has as many subscriptions as it may."""

    code = "TOO_MANY_SUBSCRIPTIONS"


class _Close(Exception):
    """The peer broke the protocol, or may not speak it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WebSocketEndpoint:
    """Answers WebSockets at ``/graphql``. ``allowed_origins`` are pages of other hosts that may connect."""

    def __init__(self, engine: Engine, services: Services, allowed_origins: frozenset[str]) -> None:
        self._engine, self._services, self._allowed = engine, services, allowed_origins
        self.connections: set[Connection] = set()

    async def __call__(self, websocket: WebSocket) -> None:
        if PROTOCOL not in websocket.scope.get("subprotocols", ()):
            await _refuse(websocket, 4406, f"the only subprotocol here is {PROTOCOL}")
        elif not self._same_site(websocket):
            await _refuse(websocket, FORBIDDEN, "pages of another site may not connect")
        elif len(self.connections) >= self._engine.limits.connections:
            await _refuse(websocket, TRY_LATER, f"{len(self.connections)} connections are open; try later")
        else:
            await self._serve(websocket)

    async def _serve(self, websocket: WebSocket) -> None:
        connection = Connection(websocket, self._engine, self._services)
        self.connections.add(connection)
        try:
            await websocket.accept(subprotocol=PROTOCOL)
            await connection.run()
        except WebSocketDisconnect:
            pass
        finally:
            self.connections.discard(connection)
            await connection.end()

    def _same_site(self, websocket: WebSocket) -> bool:
        """Browsers name the page's origin; other programs send none and are not led by a foreign page."""
        origin = websocket.headers.get("origin")
        own = urlsplit(origin).netloc == websocket.headers.get("host") if origin else True
        return own or origin in self._allowed


async def _refuse(websocket: WebSocket, code: int, reason: str) -> None:
    """Accept and close: a refused handshake would tell a browser neither code nor reason."""
    asked = websocket.scope.get("subprotocols", ())
    await websocket.accept(subprotocol=PROTOCOL if PROTOCOL in asked else None)
    await websocket.close(code, reason)


class Connection:
    """One peer: its principal once it has said who it is, and a task for each of its operations."""

    def __init__(self, websocket: WebSocket, engine: Engine, services: Services) -> None:
        self._websocket, self._engine, self._services = websocket, engine, services
        self._principal: Principal | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._host = websocket.client.host if websocket.client else "local"
        self._handlers: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "connection_init": self._init,
            "ping": self._ping,
            "pong": self._pong,
            "subscribe": self._subscribe,
            "complete": self._complete,
        }

    async def run(self) -> None:
        """Serve the peer until it goes or breaks the protocol."""
        try:
            await self._begin()
            while True:
                await self._handle()
        except _Close as close:
            await self._close(close.code, str(close))
        except UserError as error:
            await self._close(BAD_REQUEST, error.message)

    async def end(self) -> None:
        """Stop every operation and wait until each has left its topic."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        init_s = self._engine.limits.init_s
        try:
            async with asyncio.timeout(init_s):
                while self._principal is None:
                    await self._handle()
        except TimeoutError:
            raise _Close(TIMEOUT, f"no connection_init within {init_s:g} s") from None

    async def _handle(self) -> None:
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        message = decode_json(received.get("text") or received.get("bytes") or b"")
        kind = message.get("type") if isinstance(message, dict) else None
        if kind not in self._handlers:
            raise _Close(BAD_REQUEST, f"unknown message type {str(kind)[:40]!r}")
        await self._handlers[kind](message)

    async def _init(self, message: dict[str, Any]) -> None:
        if self._principal is not None:
            raise _Close(TOO_MANY_INITS, "connection_init came twice")
        payload = message.get("payload") or {}
        if not isinstance(payload, dict):
            raise _Close(BAD_REQUEST, "the payload of connection_init needs an object")
        try:
            self._principal = self._services.authenticate(bearer_of_payload(payload))
        except Unauthenticated as error:
            raise _Close(UNAUTHORIZED, error.message) from None
        await self._send('{"type":"connection_ack"}')

    async def _ping(self, _message: dict[str, Any]) -> None:
        await self._send('{"type":"pong"}')

    async def _pong(self, _message: dict[str, Any]) -> None:
        return

    async def _subscribe(self, message: dict[str, Any]) -> None:
        if self._principal is None:
            raise _Close(UNAUTHORIZED, "subscribe came before connection_init")
        operation_id = message.get("id")
        if not isinstance(operation_id, str) or not 0 < len(operation_id) <= 100:
            raise _Close(BAD_REQUEST, "subscribe needs an id of 1 to 100 characters")
        if operation_id in self._tasks:
            raise _Close(ALREADY_SUBSCRIBED, f"subscriber for {operation_id} already exists")
        if len(self._tasks) >= (most := self._engine.limits.subscriptions):
            await self._error(operation_id, TooMany(f"a connection may have {most} operations under way"))
            return
        work = self._operate(operation_id, message.get("payload"), self._principal)
        self._tasks[operation_id] = asyncio.create_task(work)

    async def _complete(self, message: dict[str, Any]) -> None:
        if task := self._tasks.pop(str(message.get("id")), None):
            task.cancel()

    async def _operate(self, operation_id: str, payload: Any, principal: Principal) -> None:
        try:
            await self._run(operation_id, payload, principal)
        except Refused as refused:
            await self._error(operation_id, *refused.errors)
        except Overrun as overrun:
            error = SlowConsumer(str(overrun), resumeAfter=overrun.position)
            await self._error(operation_id, error)
        except UserError as error:
            await self._error(operation_id, error)
        except WebSocketDisconnect:
            pass
        except Exception as error:
            unexpected = GraphQLError("internal error", original_error=error)
            await self._error(operation_id, explain(unexpected))
        finally:
            if self._tasks.get(operation_id) is asyncio.current_task():
                del self._tasks[operation_id]

    async def _run(self, operation_id: str, payload: Any, principal: Principal) -> None:
        asked = request_of(payload)
        operation = self._engine.prepare(asked.query, asked.variables, asked.operation_name, principal)
        self._services.rates.take(rate_key(principal, self._host), operation.weight.cost)
        context = Context(self._services, principal)
        begin = f'{{"id":{orjson.dumps(operation_id).decode()},"type":"next","payload":'
        if operation.type is OperationType.SUBSCRIPTION:
            await self._follow(begin, operation, context)
        else:
            await self._send(f"{begin}{(await self._engine.answer(operation, context)).decode()}}}")
        await self._send(orjson.dumps({"id": operation_id, "type": "complete"}).decode())

    async def _follow(self, begin: str, operation: Operation, context: Context) -> None:
        watch, executor = await self._engine.subscribe(operation, context)
        group = group_of(operation, context.principal)
        member = self._services.hub.member(watch, group, partial(message, executor))
        async with member as joined, aclosing(joined.messages()) as messages:
            async for text in messages:
                await self._send(f"{begin}{text}}}")

    async def _error(self, operation_id: str, *errors: GraphQLError) -> None:
        payload = {"id": operation_id, "type": "error", "payload": formatted(errors)}
        try:
            await self._send(orjson.dumps(payload).decode())
        except WebSocketDisconnect:
            return

    async def _send(self, text: str) -> None:
        """Send, or cut the peer off when it takes nothing for too long."""
        try:
            async with asyncio.timeout(self._engine.limits.send_s):
                await self._websocket.send({"type": "websocket.send", "text": text})
        except TimeoutError:
            log.warning("a peer at %s took nothing for %g s: cut off", self._host, self._engine.limits.send_s)
            self._abort()
            raise WebSocketDisconnect(1006) from None
        except RuntimeError:  # another task of this connection has closed it
            raise WebSocketDisconnect(1006) from None

    def _abort(self) -> None:
        """Drop the connection at once: a closing handshake would wait behind what is not taken."""
        if abort := self._websocket.scope.get("state", {}).get("abort"):
            abort()

    async def _close(self, code: int, reason: str) -> None:
        await self.end()
        short = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        try:
            async with asyncio.timeout(self._engine.limits.send_s):
                await self._websocket.close(code, short)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            self._abort()


def group_of(operation: Operation, principal: Principal) -> Hashable:
    """Whoever has the same group may get the same bytes: document, variables and scopes are equal.

    The variable that only says where to resume is left out: it shapes no message.
    """
    resume = _resume_variable(operation)
    variables = {name: value for name, value in operation.variables.items() if name != resume}
    key = orjson.dumps(variables, option=orjson.OPT_SORT_KEYS)
    return (operation.text, operation.name, key, principal.scopes)


def _resume_variable(operation: Operation) -> str | None:
    """The variable that is the ``after`` of the subscription and nothing else."""
    root = operation.node.selection_set.selections[0]
    for argument in (root.arguments or ()) if isinstance(root, FieldNode) else ():
        if argument.name.value == "after" and isinstance(argument.value, VariableNode):
            name = argument.value.name.value
            return name if _uses(operation, name) == 1 else None
    return None


def _uses(operation: Operation, name: str) -> int:
    class Uses(Visitor):
        count = 0

        def enter_variable(self, node: VariableNode, _key: Any, parent: Any, *_: Any) -> None:
            is_definition = getattr(parent, "kind", "") == "variable_definition"
            self.count += node.name.value == name and not is_definition

    uses = Uses()
    visit(operation.document, uses)
    return uses.count
