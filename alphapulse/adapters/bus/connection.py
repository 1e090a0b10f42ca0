"""One connection to NATS that ends at the first fault, and questions that end with it.

nats-py's own reconnect is off: it would send what was waiting into a stream that has moved on, and its
consumers do not all come back. Whoever holds a connection opens a new one and looks at the stream again.
"""

import asyncio
import itertools
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from alphapulse.domain.ports import BusUnavailable

log = logging.getLogger(__name__)

WATCH_S = 0.2
CLOSE_S = 1.0
TROUBLE = (nats.errors.Error, OSError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsOptions:
    """How to reach NATS. Credentials may stand in the URLs (percent-encoded) or here."""

    servers: tuple[str, ...]  # nats:// or tls://
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: Path | None = None  # a .creds file
    ca: Path | None = None  # authorities that sign the server's certificate; None: the system's
    cert: Path | None = None
    key: Path | None = None
    name: str = "alphapulse"
    connect_timeout_s: float = 3.0
    ping_interval_s: float = 5.0  # two unanswered pings end the connection

    def __repr__(self) -> str:
        return ",".join(shown_url(url) for url in self.servers)  # no secrets


@asynccontextmanager
async def connected(options: NatsOptions) -> AsyncIterator["Connection"]:
    """A connection, closed with the context.

    Raises:
        BusUnavailable: no server could be reached in time, or it refused us.
    """
    connection = await Connection.open(options)
    try:
        yield connection
    finally:
        await connection.close()


class Connection:
    """Asks questions and hears answers. ``ended`` says that the server is gone: nothing more will come."""

    def __init__(self) -> None:
        self.client = Client()
        self.ended = False
        self.on_end: Callable[[], None] = _nothing
        self._answers: dict[str, Callable[[Msg], None]] = {}
        self._waiting: set[asyncio.Future[Msg]] = set()
        self._numbers = itertools.count(1)
        self._inbox = ""
        self._where = ""
        self._watcher: asyncio.Task[None] | None = None
        self._fault: Exception | None = None  # what nats-py met last; its own exceptions say less

    @classmethod
    async def open(cls, options: NatsOptions) -> "Connection":
        self = cls()
        self._where = repr(options)
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                await self.client.connect(
                    **_arguments(options),
                    error_cb=self._on_error,
                    closed_cb=self._on_closed,
                    disconnected_cb=self._on_closed,
                )
                self._inbox = self.client.new_inbox()
                await self.client.subscribe(f"{self._inbox}.*", cb=self._on_answer)
            self._watcher = asyncio.create_task(self._watch(), name="nats-watch")
        except TROUBLE as error:
            await self.close()
            met = self._fault or error
            raise BusUnavailable(f"cannot connect to {self._where}: {_plain(met)}{_hint(met)}") from error
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Close, in at most CLOSE_S: nats-py waits for ever for a transport whose TLS handshake failed."""
        if self._watcher is not None:
            self._watcher.cancel()
        with suppress(*TROUBLE):
            async with asyncio.timeout(CLOSE_S):
                await self.client.close()
        # A close that nats-py began by itself, at a fault, gives up before this when a last write fails.
        if transport := getattr(self.client, "_transport", None):
            transport.close()
            await asyncio.sleep(0)
        await self._on_closed()

    @property
    def is_open(self) -> bool:
        return self.client.is_connected and not self.ended

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> Msg:
        """The one answer to a question."""
        with self.answers(future := self.future(), _set_result(future)) as reply:
            await self.send(subject, payload, reply=reply)
            return await self.wait(future, timeout_s, subject)

    def future(self) -> "asyncio.Future[Msg]":
        return asyncio.get_running_loop().create_future()

    def answers(self, future: asyncio.Future[Msg], deliver: Callable[[Msg], None]) -> "_Answers":
        """A context with a reply subject whose messages go to ``deliver``; the end fails ``future``."""
        return _Answers(self._answers, self._waiting, self._inbox, str(next(self._numbers)), future, deliver)

    async def send(
        self, subject: str, payload: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        try:
            await self.client.publish(subject, payload, reply=reply, headers=headers)
        except TROUBLE as error:
            raise BusUnavailable(f"cannot publish on {subject}: {_plain(error)}") from error

    async def wait(self, future: "asyncio.Future[Msg]", timeout_s: float, subject: str) -> Msg:
        """What ``future`` brings. Raises BusUnavailable after ``timeout_s`` or when the connection ends."""
        if self.ended:
            raise BusUnavailable(f"the connection to {self._where} has ended")
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            await self._on_closed()  # whatever is wrong, another connection is worth a try
            raise BusUnavailable(f"no answer on {subject} in {timeout_s:g} s") from error

    async def _on_answer(self, message: Msg) -> None:
        deliver = self._answers.get(message.subject.rpartition(".")[2])
        if deliver is not None:
            deliver(message)

    async def _on_error(self, error: Exception) -> None:
        """nats-py reports every fault here; what matters reaches the caller as an exception."""
        self._fault = error
        log.debug("NATS: %s", _plain(error))

    async def _watch(self) -> None:
        """Notice the end also where nats-py says nothing: its reader can stop without a callback."""
        reader = self.client._reading_task  # noqa: SLF001  no public name tells that it lives
        while self.client.is_connected and reader is not None and not reader.done():
            await asyncio.wait([reader], timeout=WATCH_S)
        await self._on_closed()

    async def _on_closed(self) -> None:
        self.ended = True
        self.on_end()
        for future in self._waiting:
            if not future.done():
                future.set_exception(BusUnavailable(f"the connection to {self._where} has ended"))


def _nothing() -> None:
    pass


class _Answers:
    """Registers a reply subject while its context is open."""

    def __init__(
        self,
        answers: dict[str, Callable[[Msg], None]],
        waiting: set[asyncio.Future[Msg]],
        inbox: str,
        number: str,
        future: asyncio.Future[Msg],
        deliver: Callable[[Msg], None],
    ) -> None:
        self._answers, self._waiting, self._number = answers, waiting, number
        self._future, self._deliver = future, deliver
        self._reply = f"{inbox}.{number}"

    def __enter__(self) -> str:
        self._answers[self._number] = self._deliver
        self._waiting.add(self._future)
        return self._reply

    def __exit__(self, *_: object) -> None:
        del self._answers[self._number]
        self._waiting.discard(self._future)
        if self._future.done() and not self._future.cancelled():
            self._future.exception()  # seen, also when nobody came to await it
        self._future.cancel()


def _set_result(future: asyncio.Future[Msg]) -> Callable[[Msg], None]:
    def deliver(message: Msg) -> None:
        if not future.done():
            future.set_result(message)

    return deliver


def _hint(error: BaseException) -> str:
    """A server says why it refuses us and hangs up at once: the reset can overtake what it said."""
    hung_up = isinstance(error, ConnectionResetError | BrokenPipeError | nats.errors.UnexpectedEOF)
    return " (it hung up: are these the right credentials, and does it want TLS?)" if hung_up else ""


def _plain(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _arguments(options: NatsOptions) -> dict[str, Any]:
    user, password, token = options.user, options.password, options.token
    for url in options.servers:
        parts = urlsplit(url)
        if parts.password is not None and user is None:
            user, password = unquote(parts.username or ""), unquote(parts.password)
        elif parts.username is not None and token is None and parts.password is None:
            token = unquote(parts.username)
    return {
        "servers": [_bare_url(url) for url in options.servers],
        "user": user,
        "password": password,
        "token": token,
        "user_credentials": None if options.credentials is None else str(options.credentials),
        "tls": _tls(options),
        "name": options.name,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0.05,
        "connect_timeout": options.connect_timeout_s,
        "ping_interval": options.ping_interval_s,
        "max_outstanding_pings": 2,
    }


def _tls(options: NatsOptions) -> ssl.SSLContext | None:
    wanted = options.ca or options.cert or any(urlsplit(u).scheme in {"tls", "wss"} for u in options.servers)
    if not wanted:
        return None
    context = ssl.create_default_context(cafile=options.ca)
    if options.cert is not None:
        context.load_cert_chain(options.cert, options.key)
    return context


def _bare_url(url: str) -> str:
    """``url`` without its credentials: nats-py would send them as they are written, percent signs and all."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def shown_url(url: str) -> str:
    """``url`` as it may stand in a message: without user, password or token."""
    return _bare_url(url)
