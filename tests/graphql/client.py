"""Talks to a real server over loopback: HTTP as bytes, WebSockets with the websockets library."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

PROTOCOL = Subprotocol("graphql-transport-ws")


async def eventually(holds: Callable[[], bool | Awaitable[bool]], within_s: float = 60.0) -> None:
    """Wait until ``holds``, which must be within some seconds."""
    async with asyncio.timeout(within_s):
        while True:
            now = holds()
            if (await now) if isinstance(now, Awaitable) else now:
                return
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Http:
    """One request a connection."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = {
            "Host": f"127.0.0.1:{self.port}",
            "Connection": "close",
            "Content-Length": str(len(body)),
            **self.headers,
            **(headers or {}),
        }
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(20):
            raw = await reader.read()
        writer.close()
        return _answer(raw)

    async def post(self, query: str, variables: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        body = orjson.dumps({"query": query, "variables": variables})
        lines = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.request("POST", "/graphql", body, lines)

    async def data(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The data of an answer without errors."""
        answer = (await self.post(query, variables)).json
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def error(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The only error of an answer."""
        (error,) = (await self.post(query, variables)).json["errors"]
        return error


def _answer(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return Answer(int(first.split()[1]), headers, body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


class Subscriber:
    """A WebSocket that has said hello."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._ids = (str(number) for number in itertools.count(1))

    async def send(self, **message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())

    async def receive(self) -> Any:
        async with asyncio.timeout(10):
            return orjson.loads(await self.socket.recv())

    async def subscribe(self, query: str, variables: Mapping[str, Any] | None = None) -> str:
        operation_id = next(self._ids)
        payload = {"query": query, "variables": variables}
        await self.send(id=operation_id, type="subscribe", payload=payload)
        return operation_id

    async def next(self) -> Any:
        """The data of the next message, which holds no errors."""
        message = await self.receive()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]


@asynccontextmanager
async def connect(port: int, **options: Any) -> AsyncIterator[ClientConnection]:
    """A bare WebSocket to the API."""
    options = {"subprotocols": [PROTOCOL], "proxy": None, **options}
    async with websockets.connect(f"ws://127.0.0.1:{port}/graphql", **options) as socket:
        yield socket


@asynccontextmanager
async def subscriber(
    port: int, payload: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Subscriber]:
    """A WebSocket after ``connection_ack``."""
    async with connect(port, **options) as socket:
        peer = Subscriber(socket)
        await peer.send(type="connection_init", payload=payload)
        assert await peer.receive() == {"type": "connection_ack"}
        yield peer
