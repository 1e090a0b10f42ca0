"""The bus on NATS JetStream: one stream, written by whoever knows where it ends.

Transport, never truth: an acknowledgement does not survive a power cut. A window is published without a
wait between its messages. Each demands the sequence and, by a name given for this occasion, the very message
before it, so that the last one's acknowledgement speaks for all and nobody's message can slip in between.
Needs nats-server 2.11 or newer (batched direct get).
"""

import asyncio
import base64
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from nats.aio.msg import Msg

from alphapulse.adapters.bus.connection import Connection, NatsOptions
from alphapulse.adapters.bus.envelope import SUBJECTS
from alphapulse.domain.ports import BusUnavailable, Message, StreamEnd, WrongSequence

log = logging.getLogger(__name__)

EXPECTED_SEQUENCE, EXPECTED_ID, ID = "Nats-Expected-Last-Sequence", "Nats-Expected-Last-Msg-Id", "Nats-Msg-Id"
WRONG_LAST = {10070, 10071}  # message id, sequence
STREAM_NOT_FOUND, NAME_IN_USE, NO_MESSAGE = 10059, 10058, 10037
MAX_READ_BYTES = 4_000_000  # in one answer to a read
LIVE_MESSAGES, LIVE_BYTES = 20_000, 64_000_000  # waiting for a slow listener before the oldest go


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """The stream keeps what fits; older events are in the store. Existing streams are brought to this."""

    name: str = "ALPHAPULSE"
    max_bytes: int = 2 * 1024**3
    max_age_s: float = 0.0  # 0: no limit
    replicas: int = 1
    answer_timeout_s: float = 5.0
    api: str = "$JS.API"  # $JS.{domain}.API in a JetStream domain

    def config(self) -> dict[str, Any]:
        return {
            "subjects": [SUBJECTS],
            "max_bytes": self.max_bytes,
            "max_age": int(self.max_age_s * 1e9),
            "discard": "old",
            "num_replicas": self.replicas,
            "allow_direct": True,
            "duplicate_window": 1_000_000_000,  # ns; no message id comes twice, so nothing need be kept
        }


class JetStreamBus:
    """Connects when first used, and again after a fault at the next call."""

    def __init__(self, nats: NatsOptions, stream: StreamOptions | None = None) -> None:
        self._nats = nats
        self._stream = stream or StreamOptions()
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._max_message_bytes = 1024 * 1024  # until a server says otherwise

    @property
    def max_message_bytes(self) -> int:
        return self._max_message_bytes

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def end(self) -> StreamEnd:
        connection = await self._connected()
        info = await self._ensure_stream(connection)
        state = info["state"]
        if not state["messages"]:
            return StreamEnd(state["last_seq"], None)
        message = await self._last_message(connection)
        # Between the two answers more may have come, and the last message may have been removed.
        sequence = max(state["last_seq"], message.sequence if message else 0)
        return StreamEnd(sequence, message)

    async def publish(self, window: Sequence[Message], *, after: int) -> int:
        assert window, "a window holds at least one message"
        connection = await self._connected()
        future = connection.future()
        occasion = secrets.token_hex(6)
        with connection.answers(future, _settle(future)) as reply:
            for number, message in enumerate(window):
                demands = {ID: f"{occasion}.{number}", EXPECTED_SEQUENCE: str(after + number)}
                if number:
                    demands[EXPECTED_ID] = f"{occasion}.{number - 1}"
                # Without a reply subject the server stays silent, also about a refusal; that breaks the
                # chain, so that the last one is refused as well.
                is_last = number == len(window) - 1
                headers = {**message.headers, **demands}
                await connection.send(
                    message.subject, message.data, reply=reply if is_last else "", headers=headers
                )
            answer = await connection.wait(future, self._stream.answer_timeout_s, window[-1].subject)
        return _acknowledged(answer, after + len(window))

    async def read(self, sequence: int, *, limit: int) -> Sequence[Message]:
        connection = await self._connected()
        future, found = connection.future(), list[Message]()

        def deliver(answer: Msg) -> None:
            if _status(answer) is None:
                found.append(_direct(answer))
            elif not future.done():
                future.set_result(answer)

        question = {"seq": max(sequence, 1), "batch": limit, "max_bytes": MAX_READ_BYTES}
        subject = f"{self._stream.api}.DIRECT.GET.{self._stream.name}"
        with connection.answers(future, deliver) as reply:
            await connection.send(subject, _json(question), reply=reply)
            answer = await connection.wait(future, self._stream.answer_timeout_s, subject)
        if _status(answer) not in {"204", "404"}:
            raise BusUnavailable(f"stream {self._stream.name}: {_status(answer)} {_description(answer)}")
        return found

    @asynccontextmanager
    async def listen(self) -> AsyncIterator["JetStreamLive"]:
        connection = await Connection.open(self._nats)
        try:
            live = JetStreamLive(connection)
            await live.start()
            yield live
        finally:
            await connection.close()

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._connection is None or not self._connection.is_open:
                await self.close()
                self._connection = await Connection.open(self._nats)
                self._max_message_bytes = self._connection.client.max_payload
            return self._connection

    async def _ensure_stream(self, connection: Connection) -> dict[str, Any]:
        """The state of the stream, made or brought to our options where needed."""
        name, wanted = self._stream.name, self._stream.config()
        info = await self._ask(connection, f"STREAM.INFO.{name}", {})
        if _error_code(info) == STREAM_NOT_FOUND:
            # Sequences of a new stream begin above all that an old one can have given, so that neither a
            # frozen relay's window nor a reader's bookmark ever fits by chance.
            fresh = {
                "name": name,
                "storage": "file",
                "retention": "limits",
                "first_seq": time.time_ns() // 1000,
            }
            log.warning("stream %s does not exist: making it", name)
            info = await self._ask(connection, f"STREAM.CREATE.{name}", fresh | wanted)
            if _error_code(info) == NAME_IN_USE:  # a rival was first
                info = await self._ask(connection, f"STREAM.INFO.{name}", {})
        config = _checked(info).get("config", {})
        if any(config.get(key) != value for key, value in wanted.items()):
            info = await self._ask(connection, f"STREAM.UPDATE.{name}", config | wanted)
        return _checked(info)

    async def _last_message(self, connection: Connection) -> Message | None:
        answer = await self._ask(
            connection, f"STREAM.MSG.GET.{self._stream.name}", {"last_by_subj": SUBJECTS}
        )
        if _error_code(answer) == NO_MESSAGE:
            return None
        return _stored(_checked(answer)["message"])

    async def _ask(self, connection: Connection, verb: str, question: Mapping[str, Any]) -> dict[str, Any]:
        subject = f"{self._stream.api}.{verb}"
        answer = await connection.ask(subject, _json(question), timeout_s=self._stream.answer_timeout_s)
        if _status(answer) is not None:
            raise BusUnavailable(
                f"{subject}: {_status(answer)} {_description(answer)}: is JetStream enabled?"
            )
        parsed: dict[str, Any] = json.loads(answer.data)
        return parsed


class JetStreamLive:
    """A plain subscription: it needs no state in the server, and hears a message before it is stored."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[Message] = deque(maxlen=LIVE_MESSAGES)
        self._bytes = 0
        self._arrived = asyncio.Event()
        connection.on_end = self._arrived.set

    async def start(self) -> None:
        client = self._connection.client
        try:
            await client.subscribe(
                SUBJECTS,
                cb=self._on_message,
                pending_msgs_limit=LIVE_MESSAGES,
                pending_bytes_limit=LIVE_BYTES,
            )
            await client.flush(5)  # from the answer on, nothing published is missed
        except Exception as error:
            raise BusUnavailable(f"cannot listen: {type(error).__name__}: {error}") from error

    async def take(self) -> Sequence[Message]:
        while not self._waiting and not self._connection.ended:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._waiting:
            raise BusUnavailable("the connection has ended")
        taken = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return taken

    async def _on_message(self, message: Msg) -> None:
        while self._waiting and self._bytes + len(message.data) > LIVE_BYTES:
            self._bytes -= len(self._waiting.popleft().data)
        self._waiting.append(
            Message(subject=message.subject, headers=_ours(message.headers or {}), data=message.data)
        )
        self._bytes += len(message.data)
        self._arrived.set()


def _settle(future: asyncio.Future[Msg]) -> Callable[[Msg], None]:
    def deliver(answer: Msg) -> None:
        if not future.done():
            future.set_result(answer)

    return deliver


def _acknowledged(answer: Msg, expected: int) -> int:
    """The sequence that the last message of a window got."""
    if _status(answer) is not None:
        raise BusUnavailable(f"no stream took the message: {_status(answer)} {_description(answer)}")
    parsed = json.loads(answer.data)
    if _error_code(parsed) in WRONG_LAST:
        raise WrongSequence(f"message {expected}: {parsed['error']['description']}")
    sequence = int(_checked(parsed)["seq"])
    assert sequence == expected, f"acknowledged as {sequence} what had to be {expected}"
    return sequence


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        error = answer["error"]
        raise BusUnavailable(f"JetStream: {error.get('err_code')} {error.get('description')}")
    return answer


def _error_code(answer: Mapping[str, Any]) -> int | None:
    error: Mapping[str, int] = answer.get("error", {})
    return error.get("err_code")


def _direct(answer: Msg) -> Message:
    headers = answer.headers or {}
    return Message(
        subject=headers["Nats-Subject"],
        headers=_ours(headers),
        data=answer.data,
        sequence=int(headers["Nats-Sequence"]),
    )


def _stored(raw: Mapping[str, Any]) -> Message:
    """A message out of JetStream's JSON."""
    lines = base64.b64decode(raw.get("hdrs", "")).decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return Message(
        subject=raw["subject"],
        headers=_ours({name: value.strip() for name, _, value in pairs}),
        data=base64.b64decode(raw.get("data", "")),
        sequence=raw["seq"],
    )


def _ours(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers without those of NATS itself."""
    return {str(name): value for name, value in headers.items() if not name.startswith("Nats-")}


def _status(answer: Msg) -> str | None:
    return (answer.headers or {}).get("Status")


def _description(answer: Msg) -> str:
    return str((answer.headers or {}).get("Description", ""))


def _json(question: Mapping[str, Any]) -> bytes:
    return json.dumps(question).encode() if question else b""
