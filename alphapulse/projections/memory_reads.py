"""The twin in memory of the database of read models: the same rules, for simulations; nothing outlives it.

A read model's ``load``, ``write`` and ``parts`` get ``Rows`` in place of a connection. Time comes from
``clock``. ``end`` does what a lost connection does, ``restore`` what a power cut does to a server that does
not wait for its disk.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from alphapulse.domain.ports import FencedOut
from alphapulse.projections.checkpoint import Checkpoint, RebuildNeeded
from alphapulse.projections.parked import MAX_PARKED, TooManyParked, Unfoldable
from alphapulse.projections.read_model import AnyReadModel, Scope, load_at

Rows = dict[Any, Any]  # what a read model keeps, by key; the values are never changed in place
Apply = Callable[[Rows], None]  # a part of a batch that is committed at once


@dataclass(slots=True)
class Contents:
    """Of one read model, which has one generation: its row of ``projections``, and all the others."""

    code_version: int
    updated_at: datetime
    position: int = 0
    epoch: int = 0
    rows: Rows = field(default_factory=dict)
    parked: dict[int, tuple[str, int]] = field(default_factory=dict)  # position: reason, tries

    def copy(self) -> "Contents":
        return replace(self, rows=dict(self.rows), parked=dict(self.parked))


class MemoryReadServer:
    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.contents: dict[str, Contents] = {}
        self.notices: list[str] = []
        self._working: dict[str, MemoryReads] = {}  # whose advisory lock it is
        self._moving: dict[str, MemoryReads] = {}  # whose row lock it is
        self._waiting: deque[asyncio.Future[None]] = deque()

    def connect(self) -> "MemoryReads":
        return MemoryReads(self)

    def copy(self) -> Mapping[str, Contents]:
        return {name: contents.copy() for name, contents in self.contents.items()}

    def restore(self, copy: Mapping[str, Contents]) -> None:
        """The database as it was when ``copy`` was taken; whoever was at work lost the connection."""
        self.contents = {name: contents.copy() for name, contents in copy.items()}
        for held in (self._working, self._moving):
            for connection in list(held.values()):
                connection.end()

    def forget(self, connection: "MemoryReads") -> None:
        for held in (self._working, self._moving):
            for name in [name for name, by in held.items() if by is connection]:
                del held[name]
        self.wake()

    def wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def work(self, name: str, connection: "MemoryReads") -> bool:
        return self._working.setdefault(name, connection) is connection

    def is_moving(self, name: str) -> bool:
        return name in self._moving

    async def lock(self, name: str, connection: "MemoryReads") -> None:
        """The row lock of ``name``, waited for as long as its holder may be silent."""
        while (holder := self._moving.get(name, connection)) is not connection:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            silent_until = holder.spoke_at + holder.silence_s
            left_s = silent_until - asyncio.get_running_loop().time()
            await asyncio.wait([waiter], timeout=max(left_s, 0.0))
            if not waiter.done() and holder.spoke_at + holder.silence_s <= silent_until:
                holder.end()
        connection.check()
        self._moving[name] = connection

    def unlock(self, connection: "MemoryReads") -> None:
        for name in [name for name, by in self._moving.items() if by is connection]:
            del self._moving[name]
        self.wake()


@dataclass(slots=True)
class _Open:
    """A transaction: what it wrote, from when its row lock is held."""

    name: str = ""
    contents: Contents | None = None
    notices: list[str] = field(default_factory=list)


class MemoryReads:
    """ReadDatabase over one connection to ``server``."""

    def __init__(self, server: MemoryReadServer) -> None:
        self._server = server
        self._open: _Open | None = None
        self._ended = False
        self.silence_s = 3600.0
        self.spoke_at = 0.0

    def end(self) -> None:
        """The connection is lost: what its transaction wrote is undone, its locks are free."""
        self._ended, self._open = True, None
        self._server.forget(self)

    def check(self) -> None:
        if self._ended:
            raise ConnectionResetError("the connection to the read models is lost")

    async def live_generation(self, name: str, code_version: int) -> int:
        await self._speak()
        live = self._server.contents.setdefault(name, Contents(code_version, self._server.clock()))
        if live.code_version != code_version:
            raise RebuildNeeded(f"{name}: folded by code version {live.code_version}, not {code_version}")
        return 1

    async def is_free(self, name: str, generation: int, takeover_s: float) -> bool:
        await self._speak()
        assert generation == 1, f"{name} has one generation here, not {generation}"
        if self._server.is_moving(name):
            return False
        unseen_since = self._server.clock() - timedelta(seconds=takeover_s)
        return self._server.work(name, self) or self._server.contents[name].updated_at < unseen_since

    async def claim(self, name: str, generation: int) -> Checkpoint:
        await self._speak()
        await self._server.lock(name, self)
        try:
            live = self._server.contents.get(name)
            if live is None:
                raise FencedOut(f"{name} has no generation {generation} any more")
            live.epoch, live.updated_at = live.epoch + 1, self._server.clock()
            return Checkpoint(
                name=name,
                generation=generation,
                part=None,
                schema="public",
                code_version=live.code_version,
                position=live.position,
                epoch=live.epoch,
            )
        finally:
            self._server.unlock(self)

    async def limit_silence(self, limit_s: float) -> None:
        await self._speak()
        self.silence_s = limit_s

    async def load(self, model: AnyReadModel, scope: Scope) -> Any:
        await self._speak()
        return await load_at(model, self._contents(model.name).rows, scope)  # type: ignore[arg-type]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self._speak()
        assert self._open is None, "one transaction at a time"
        self._open = opened = _Open()
        try:
            yield
            await self._speak()
            self._commit(opened)
        finally:
            self._open = None
            self._server.unlock(self)

    async def advance(self, checkpoint: Checkpoint, to: int) -> Checkpoint:
        await self._speak()
        assert to >= checkpoint.position, f"{checkpoint} cannot go back to {to}"
        assert self._open is not None, "inside a transaction"
        await self._server.lock(checkpoint.name, self)
        if self._open.contents is None:
            self._open.name = checkpoint.name
            self._open.contents = self._server.contents[checkpoint.name].copy()
        self._move(self._open.contents, checkpoint, to)
        return replace(checkpoint, position=to)

    async def write(self, model: AnyReadModel, changes: Any) -> None:
        await self._speak()
        await model.write(self._contents(model.name).rows, changes)  # type: ignore[arg-type]

    async def park(self, at: Checkpoint, events: Sequence[Unfoldable]) -> None:
        await self._speak()
        parked = self._contents(at.name).parked
        for event in events:
            _, tries = parked.get(event.position, ("", 0))
            parked[event.position] = (event.reason, tries + event.tries)
        if len(parked) > MAX_PARKED:
            raise TooManyParked(f"{at}: over {MAX_PARKED} events parked, the last: {events[-1].reason}")

    async def notify(self, payload: str) -> None:
        await self._speak()
        assert self._open is not None, "inside a transaction"
        self._open.notices.append(payload)

    async def commit_at_once(
        self, checkpoint: Checkpoint, to: int, parts: Sequence[Apply], payload: str | None
    ) -> bool:
        await self._speak()
        await self._server.lock(checkpoint.name, self)
        try:
            contents = self._server.contents[checkpoint.name].copy()
            self._move(contents, checkpoint, to)
            for part in parts:
                part(contents.rows)
            self._commit(_Open(checkpoint.name, contents, [payload] if payload is not None else []))
        except Exception:  # why is found out step by step
            return False
        finally:
            self._server.unlock(self)
        return True

    def _contents(self, name: str) -> Contents:
        """As this connection sees them."""
        if self._open and self._open.name == name and self._open.contents:
            return self._open.contents
        return self._server.contents[name]

    def _move(self, live: Contents, checkpoint: Checkpoint, to: int) -> None:
        if (live.position, live.epoch) != (checkpoint.position, checkpoint.epoch):
            raise FencedOut(
                f"{checkpoint}: no longer at position {checkpoint.position}, epoch {checkpoint.epoch}"
            )
        live.position, live.updated_at = to, self._server.clock()

    def _commit(self, opened: _Open) -> None:
        if opened.contents is not None:
            self._server.contents[opened.name] = opened.contents
        self._server.notices += opened.notices

    async def _speak(self) -> None:
        self.check()
        self.spoke_at = asyncio.get_running_loop().time()
        await asyncio.sleep(0)  # others run while a real server would be waited for
        self.check()
