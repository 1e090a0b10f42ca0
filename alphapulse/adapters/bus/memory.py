"""The bus's twin in memory: the same promises, for tests and simulations; nothing outlives it.

``fail`` is asked before and after every effect and may raise BusUnavailable: a fault after a publish is the
acknowledgement that was lost. ``restore`` and ``lose`` do what happens to a JetStream directory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from alphapulse.domain.ports import BusUnavailable, Message, StreamEnd, WrongSequence

LIVE_MESSAGES = 20_000


class MemoryBus:
    def __init__(
        self,
        *,
        max_message_bytes: int = 1024 * 1024,
        max_messages: int = 1_000_000,  # then the oldest go
        fail: Callable[[str], None] = lambda _: None,  # told "before publish", "after publish", "end", "read"
    ) -> None:
        self._messages: deque[Message] = deque(maxlen=max_messages)
        self._sequence = 0
        self._born = 0  # sequences of a new stream begin above all that an old one gave
        self._listeners: set[MemoryLive] = set()
        self._max_message_bytes = max_message_bytes
        self._fail = fail

    @property
    def max_message_bytes(self) -> int:
        return self._max_message_bytes

    async def end(self) -> StreamEnd:
        self._fail("end")
        await asyncio.sleep(0)
        return StreamEnd(self._sequence, self._messages[-1] if self._messages else None)

    async def publish(self, window: Sequence[Message], *, after: int) -> int:
        assert window, "a window holds at least one message"
        self._fail("before publish")
        await asyncio.sleep(0)
        for sequence, message in enumerate(window, after + 1):
            self._put(message, sequence)
            await asyncio.sleep(0)  # a rival's message may come between two of ours
        self._fail("after publish")
        return after + len(window)

    async def read(self, sequence: int, *, limit: int) -> Sequence[Message]:
        self._fail("read")
        await asyncio.sleep(0)
        return [m for m in self._messages if m.sequence >= sequence][:limit]

    @asynccontextmanager
    async def listen(self) -> AsyncIterator["MemoryLive"]:
        self._fail("listen")
        live = MemoryLive()
        self._listeners.add(live)
        try:
            yield live
        finally:
            self._listeners.discard(live)

    def disconnect(self) -> None:
        """End every listener's connection."""
        for live in self._listeners:
            live.end()

    def restore(self, copy: Sequence[Message]) -> None:
        """The stream as it was when ``copy`` was read from it; what came later is gone."""
        self._messages.clear()
        self._messages.extend(copy)
        self._sequence = copy[-1].sequence if copy else self._sequence

    def lose(self) -> None:
        """The stream is gone, and a new one in its place."""
        self._messages.clear()
        self._born = max(self._born, self._sequence) + 1_000_000
        self._sequence = self._born

    def _put(self, message: Message, sequence: int) -> None:
        size = len(message.data) + sum(len(k) + len(v) + 4 for k, v in message.headers.items())
        if size > self._max_message_bytes:
            raise BusUnavailable(f"message of {size} bytes, over {self._max_message_bytes}")
        for live in self._listeners:
            live.put(message)
        if sequence != self._sequence + 1:
            raise WrongSequence(f"message {sequence}: the stream ends at {self._sequence}")
        self._sequence = sequence
        self._messages.append(replace(message, sequence=sequence))


class MemoryLive:
    def __init__(self) -> None:
        self._waiting: deque[Message] = deque(maxlen=LIVE_MESSAGES)
        self._arrived = asyncio.Event()
        self._ended = False

    async def take(self) -> Sequence[Message]:
        while not self._waiting and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._waiting:
            raise BusUnavailable("the connection has ended")
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def put(self, message: Message) -> None:
        self._waiting.append(message)
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()
