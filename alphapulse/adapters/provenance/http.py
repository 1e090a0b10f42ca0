"""One question and one answer over HTTP/1.1: nothing is followed, nothing kept open, everything has a limit.

Certificates are checked against the system's authorities. No proxy is asked.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from alphapulse.domain.provenance.anchors import AnchorFailed

TIMEOUT_S = 20.0  # from the first look at the name to the last byte
MAX_ANSWER_BYTES = 100_000
_CHUNK_BYTES = 16_384
_AGENT = "alphapulse"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    kind: str  # what Content-Type says; empty where it is not there
    body: bytes

    @property
    def said(self) -> str:
        """The status and the beginning of the body, fit for a message."""
        text = self.body[:200].decode("utf-8", "replace").strip()
        return f"status {self.status}" + (f": {text!r}" if text else "")


async def ask(
    url: str,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    most: int = MAX_ANSWER_BYTES,
) -> Answer:
    """The answer to GET ``url``, or to POST with ``body``, whatever its status.

    Raises:
        AnchorFailed: there is none in time, it is longer than ``most`` bytes, or not whole.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _asked(url, body, headers or {}, most)
    except TimeoutError:
        raise AnchorFailed(f"{url}: no whole answer within {timeout_s:g} s") from None
    except (OSError, ssl.SSLError) as error:
        raise AnchorFailed(f"{url}: {error}") from None
    except h11.ProtocolError as error:
        raise AnchorFailed(f"{url}: not answered as HTTP demands: {error}") from None


async def _asked(url: str, body: bytes | None, headers: Mapping[str, str], most: int) -> Answer:
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if is_secure else 80),
        ssl=ssl.create_default_context() if is_secure else None,
    )
    try:
        connection = h11.Connection(h11.CLIENT)
        writer.write(_question(connection, parts.netloc, parts.path or "/", body, headers))
        await writer.drain()
        return await _answer(connection, reader, url, most)
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def _question(
    connection: h11.Connection, host: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> bytes:
    lines = {"Host": host, "User-Agent": _AGENT, "Connection": "close", **headers}
    if body is not None:
        lines["Content-Length"] = str(len(body))
    request = h11.Request(method="GET" if body is None else "POST", target=path, headers=[*lines.items()])
    parts = [connection.send(request), connection.send(h11.Data(body or b"")) if body else b""]
    return b"".join(part or b"" for part in [*parts, connection.send(h11.EndOfMessage())])


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader, url: str, most: int) -> Answer:
    response, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK_BYTES))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > most:
                raise AnchorFailed(f"{url}: an answer of more than {most} bytes")
        elif isinstance(event, h11.EndOfMessage):
            assert response is not None, "h11 tells the end of an answer after its beginning"
            kinds = [value.decode("latin-1") for name, value in response.headers if name == b"content-type"]
            return Answer(response.status_code, kinds[0] if kinds else "", bytes(body))
        elif isinstance(event, h11.ConnectionClosed):
            raise AnchorFailed(f"{url}: closed without an answer")
