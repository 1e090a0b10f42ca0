"""Serves an ASGI application with uvicorn inside a loop that is already running, until told to stop."""

import asyncio
import contextlib
import socket
from asyncio.transports import BaseTransport
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from alphapulse.graphql.limits import Limits

PING_S = 20.0  # a WebSocket peer that answers no ping for so long is gone
GRACE_S = 5  # what requests get to finish when we stop
IDLE_S = 30  # an idle HTTP connection is kept so long
BACKLOG = 1024
HTTP_CONNECTIONS = 512  # beside WebSockets; more are answered 503


class AbortableProtocol(WebSocketsSansIOProtocol):
    """Hands the application a way to drop a peer that takes nothing: ``scope["state"]["abort"]``.

    ASGI knows only the closing handshake, which waits behind what the peer does not take.
    """

    def connection_made(self, transport: BaseTransport) -> None:
        self.app_state = {**self.app_state, "abort": cast("asyncio.Transport", transport).abort}
        super().connection_made(transport)


class EmbeddedServer(uvicorn.Server):
    """uvicorn without signal handlers: whoever runs the loop has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port`` (0: any free one).

    Raises:
        OSError: the port is taken, or the host is not ours.
    """
    family, *_, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        return socket.create_server(cast("Any", address)[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from None


async def serve(app: ASGIApp, on: socket.socket, limits: Limits, stop: asyncio.Event) -> None:
    """Serve ``app`` on the listening socket until ``stop`` is set; peers get GRACE_S to finish."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws=AbortableProtocol,
        ws_max_size=limits.message_bytes,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,  # costs more than it saves on one machine
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # an address in a header is whatever its sender likes
        server_header=False,
        limit_concurrency=limits.connections + HTTP_CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = EmbeddedServer(config)
    serving = asyncio.create_task(server.serve(sockets=[on]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving
