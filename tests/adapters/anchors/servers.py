"""HTTP servers on this machine that play the anchors, as their specifications say, and as they should not."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.domain.provenance.anchors import cosign
from alphapulse.domain.provenance.checkpoint import checkpoint_of
from alphapulse.domain.provenance.merkle import BadProof, verify_consistency
from alphapulse.domain.provenance.notes import BadNote, NoteKey, check, parse_note


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    kind: str = "text/plain"
    raw: bytes | None = None  # sent instead of all this
    hang: bool = False  # say nothing more, keep the connection

    def data(self) -> bytes:
        if self.raw is not None:
            return self.raw
        head = (
            f"HTTP/1.1 {self.status} X\r\nContent-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n"
        )
        return head.encode() + b"\r\n" + self.body


Answering = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[str]:
    """``http://127.0.0.1:port``, where ``answering`` answers one request a connection."""
    open_now: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            reply = await answering(await _request(reader))
            writer.write(reply.data())
            await writer.drain()
            if reply.hang:
                await asyncio.sleep(60)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            open_now.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        server.close()
        await server.wait_closed()


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


def always(reply: Reply) -> Answering:
    async def answering(request: Request) -> Reply:
        return reply

    return answering


@dataclass
class Witness:
    """A witness as C2SP tlog-witness describes it, which trusts ``logs``."""

    signer: KeySigner
    logs: dict[str, NoteKey]
    now: int = 1_700_000_000
    seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)

    async def __call__(self, request: Request) -> Reply:
        assert (request.method, request.path) == ("POST", "/add-checkpoint"), request
        self.requests.append(request.body)
        head, note_text = request.body.decode().split("\n\n", 1)
        old_line, *proof_lines = head.split("\n")
        word, old_text = old_line.split(" ")
        assert word == "old"
        old, proof = int(old_text), [base64.b64decode(line, validate=True) for line in proof_lines]
        note = parse_note(note_text)
        checkpoint = checkpoint_of(note.text)
        if (key := self.logs.get(checkpoint.origin)) is None:
            return Reply(404, b"unknown log\n")
        try:
            check(note, key, ed25519)
        except BadNote:
            return Reply(403)
        if old > checkpoint.size:
            return Reply(400)
        size, root = self.seen.get(checkpoint.origin, (0, b""))
        if old != size:
            return Reply(409, f"{size}\n".encode(), "text/x.tlog.size")
        if size == checkpoint.size and root != checkpoint.root:
            return Reply(409, f"{size}\n".encode(), "text/x.tlog.size")
        try:
            if old:
                verify_consistency(old, checkpoint.size, root, checkpoint.root, proof)
        except BadProof:
            return Reply(422)
        self.seen[checkpoint.origin] = checkpoint.size, checkpoint.root
        return Reply(200, str(cosign(note.text, self.signer, self.now)).encode())


def witness_for(log: NoteKey) -> Witness:
    """One that trusts this log."""
    return Witness(KeySigner("witness.example/w1", os.urandom(32)), {log.name: log})
