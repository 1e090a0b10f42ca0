"""One subscription for all listeners of a process: each message comes over the wire, and is parsed, once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from alphapulse.adapters.bus.jetstream import LIVE_BYTES, LIVE_MESSAGES
from alphapulse.domain.ports import Live, Message


class Listens(Protocol):
    """As much of a Bus as a listener needs."""

    def listen(self) -> AbstractAsyncContextManager[Live]: ...


class SharedListening:
    """Gives every listener what one subscription to ``bus`` brings, for as long as anybody listens.

    Where it fails it fails for all of them, and the first to listen again opens it again.
    """

    def __init__(self, bus: Listens) -> None:
        self._bus = bus
        self._taps: set[_Tap] = set()
        self._pumping: asyncio.Task[None] | None = None
        self._live: asyncio.Task[None] | None = None  # the task that pumps, once it hears

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Live]:
        """
        Raises:
            BusUnavailable: the subscription could not be made.
        """
        tap = _Tap()
        self._taps.add(tap)
        if self._pumping is None:
            self._pumping = asyncio.create_task(self._pump(), name="shared subscription")
        try:
            if self._live is None or self._live is not self._pumping:
                await tap.opened()
            yield tap
        finally:
            self._taps.discard(tap)
            if not self._taps:
                await self._stop()

    async def _pump(self) -> None:
        me = asyncio.current_task()
        try:
            async with self._bus.listen() as live:
                if self._pumping is me:
                    self._live = me
                    for tap in self._taps:
                        tap.open()
                while self._pumping is me:
                    messages = await live.take()
                    for tap in self._taps:
                        tap.put(messages)
        except Exception as error:  # every listener raises it
            if self._pumping is me:
                taps, self._taps, self._pumping = self._taps, set(), None
                for tap in taps:
                    tap.end(error)

    async def _stop(self) -> None:
        pumping, self._pumping = self._pumping, None
        while pumping is not None and not pumping.done():
            pumping.cancel()  # again when nats-py swallowed it, as it does here and there
            await asyncio.wait([pumping], timeout=1)


class _Tap:
    """What waits for one listener; beyond the limits the oldest messages go."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque(maxlen=LIVE_MESSAGES)
        self._bytes = 0
        self._is_open = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()

    def open(self) -> None:
        self._is_open = True
        self._changed.set()

    def put(self, messages: Sequence[Message]) -> None:
        for message in messages:
            while self._waiting and self._bytes + len(message.data) > LIVE_BYTES:
                self._bytes -= len(self._waiting.popleft().data)
            self._waiting.append(message)
            self._bytes += len(message.data)
        self._changed.set()

    def end(self, error: Exception) -> None:
        self._error = error
        self._changed.set()

    async def opened(self) -> None:
        await self._until(lambda: self._is_open)

    async def take(self) -> Sequence[Message]:
        await self._until(lambda: bool(self._waiting))
        taken = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return taken

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
