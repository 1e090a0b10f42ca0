"""Follow AlphaPulse's log over NATS: every event once, in order, as a line of JSON in a file.

    python follow_log.py nats://127.0.0.1:4222 events.jsonl

Needs nats-py, nothing of AlphaPulse. Kill it, the server or the relay at any moment, or delete the stream:
started again, it goes on behind the last event in the file. Put what you do with an event where the lines
are made; all that matters is that effect and checkpoint become durable together.
docs/following-the-log.md explains headers and guarantees.
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

STREAM, SUBJECTS = "ALPHAPULSE", "alphapulse.>"
BATCH, ANSWER_S, IDLE_S = 500, 5.0, 1.0
FIELDS = {
    "position": "Log-Position",
    "stream": "Event-Stream",
    "version": "Event-Version",
    "name": "Event-Name",
    "event_id": "Event-Id",
    "recorded_at": "Event-Recorded-At",
}


class Hole(Exception):
    """The stream no longer holds what follows our checkpoint: fetch that by GraphQL, then go on."""


@dataclass(frozen=True)
class Checkpoint:
    """``position`` counts the log and is what matters; ``sequence`` only tells where to look for the next."""

    position: int = 0
    epoch: int = 0
    sequence: int = 0
    length: int = 0  # bytes of the output that belong to this checkpoint


class Output:
    """A file of lines with a checkpoint beside it that says how much of the file counts."""

    def __init__(self, path: Path) -> None:
        self.path, self.checkpoint_path = path, path.with_name(path.name + ".checkpoint")
        self.checkpoint = Checkpoint()
        if self.checkpoint_path.exists():
            self.checkpoint = Checkpoint(**json.loads(self.checkpoint_path.read_bytes()))

    def save(self, lines: bytes, at: Checkpoint) -> None:
        """Make ``lines`` durable, then by a rename, all or nothing, the checkpoint that counts them."""
        with self.path.open("ab") as file:
            file.truncate(self.checkpoint.length)  # cuts what an interrupted save left
            _durably(file.fileno(), lines)
            at = replace(at, length=self.checkpoint.length + len(lines))
        temporary = self.checkpoint_path.with_suffix(".new")
        with temporary.open("wb") as file:
            _durably(file.fileno(), json.dumps(asdict(at)).encode())
        temporary.replace(self.checkpoint_path)
        self.checkpoint = at


def _durably(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def line(message: Msg) -> bytes:
    headers = message.headers or {}
    fields = {name: unquote(headers[header]) for name, header in FIELDS.items() if header in headers}
    return json.dumps({**fields, "state": base64.b64encode(message.data).decode()}).encode() + b"\n"


def advance(at: Checkpoint, messages: Sequence[Msg]) -> tuple[Checkpoint, list[Msg]]:
    """The checkpoint behind ``messages``, and those of them that are new to us.

    Raises:
        Hole: events are missing between our position and the next message.
    """
    new: list[Msg] = []
    for message in messages:
        headers = message.headers or {}
        if "Log-Position" not in headers:
            continue  # not from AlphaPulse
        position, previous = int(headers["Log-Position"]), int(headers["Log-Previous-Position"])
        if (epoch := int(headers["Log-Epoch"])) != at.epoch:
            # Another filling of the stream, where sequences mean something else. Look through it from its
            # start; what we have already is passed over by its position.
            return replace(at, epoch=epoch, sequence=0), new
        if position > at.position:
            if previous != at.position:
                raise Hole(f"position {at.position} is followed by {position}, which follows {previous}")
            at = replace(at, position=position)
            new.append(message)
    return replace(at, sequence=int((messages[-1].headers or {})["Nats-Sequence"])), new


async def read(client: Client, sequence: int) -> list[Msg]:
    """Up to BATCH messages from ``sequence`` on; none when the stream ends before it or is not there."""
    inbox, found = client.new_inbox(), list[Msg]()
    answers = await client.subscribe(inbox)
    question = {"seq": sequence, "batch": BATCH, "max_bytes": 4_000_000}
    await client.publish(f"$JS.API.DIRECT.GET.{STREAM}", json.dumps(question).encode(), reply=inbox)
    while "Status" not in ((message := await answers.next_msg(ANSWER_S)).headers or {}):
        found.append(message)
    await answers.unsubscribe()
    return found


async def last_epoch(client: Client) -> int | None:
    """The epoch of the stream's last message; None when there is none."""
    question = json.dumps({"last_by_subj": SUBJECTS}).encode()
    answer = await client.request(f"$JS.API.DIRECT.GET.{STREAM}", question, ANSWER_S)
    return int((answer.headers or {}).get("Log-Epoch", 0)) or None


async def follow(client: Client, output: Output) -> None:
    """Write what comes, until the connection or the stream is lost."""
    news = asyncio.Event()

    async def on_news(_: Msg) -> None:
        news.set()

    await client.subscribe(SUBJECTS, cb=on_news)  # only says that it is time to look
    while True:
        news.clear()
        at = output.checkpoint
        if messages := await read(client, at.sequence + 1):
            at, new = advance(at, messages)
            output.save(b"".join(map(line, new)), at)
        elif await last_epoch(client) not in (None, at.epoch):
            output.save(b"", replace(at, sequence=0))  # the stream was put back to a time before ours
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), IDLE_S)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A connection that ends at the first fault: nats-py's own reconnect would hide it from us."""

    async def quiet(_: Exception) -> None: ...

    client = Client()
    try:
        await client.connect(
            url, error_cb=quiet, allow_reconnect=False, max_reconnect_attempts=1, ping_interval=5
        )
        yield client
    finally:
        await client.close()


async def main(url: str, path: Path) -> None:
    output = Output(path)
    while True:
        try:
            async with connected(url) as client:
                await follow(client, output)
        except (NatsError, OSError, TimeoutError) as error:
            print(f"{type(error).__name__} {error}: trying again", file=sys.stderr)
            await asyncio.sleep(IDLE_S)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
    except Hole as hole:
        sys.exit(f"{hole}. {Hole.__doc__}")
