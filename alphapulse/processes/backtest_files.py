"""What a backtest reads: the log, or files that are brought into a log of their own in memory.

A source is a value that another process can be sent; each opens it for itself.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from alphapulse.adapters.files.formats import BarMapping, TradeMapping
from alphapulse.adapters.files.open import Naming
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.backtest.results import SourceFile
from alphapulse.domain.ports import EventStore
from alphapulse.processes.backtesting import NAMES
from alphapulse.processes.importing import Imported, import_bars, import_trades
from alphapulse.processes.interleaving import interleaved

MAX_REFUSED = 10_000  # rows of a file
MAX_FILES = 1_000
LOG = "log"

TellFile = Callable[[str, float], None]  # the file, and the part of it that was read


class NothingToRead(Exception):
    """No event of a market, funding or news: there is nothing to decide on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A log. ``first`` and ``last``: positions of the first and the last event that a desk looks at."""

    store: EventStore
    name: str
    first: int
    last: int
    files: tuple[SourceFile, ...] = ()


class Source(Protocol):
    def opened(self, tell: TellFile = ...) -> AbstractAsyncContextManager[Opened]:
        """Raises NothingToRead, StoreUnavailable; of files see import_trades."""
        ...


@dataclass(frozen=True, slots=True)
class LogSource:
    """The log of a database, up to position ``upto`` or its present end."""

    database_url: str
    upto: int | None = None

    @asynccontextmanager
    async def opened(self, tell: TellFile = lambda *_: None) -> AsyncIterator[Opened]:  # noqa: ARG002
        async with PostgresEventStore(self.database_url) as store:
            first, last = await bounds(store, await store.head() if self.upto is None else self.upto)
            yield Opened(store, LOG, first, last)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """``timeframe``: minutes of the bars in it; None: it holds trades."""

    path: Path
    timeframe: int | None = None
    file_format: str | TradeMapping | BarMapping = "auto"
    naming: Naming = field(default_factory=Naming)

    async def into(self, store: EventStore, tell: TellFile) -> Imported:
        def progress(_: Imported, ratio: float) -> None:
            tell(self.path.name, ratio)

        if self.timeframe is None:
            assert not isinstance(self.file_format, BarMapping)
            return await import_trades(
                self.path,
                store,
                file_format=self.file_format,
                naming=self.naming,
                max_refused=MAX_REFUSED,
                progress=progress,
            )
        assert not isinstance(self.file_format, TradeMapping)
        return await import_bars(
            self.path,
            store,
            timeframe_minutes=self.timeframe,
            file_format=self.file_format,
            naming=self.naming,
            max_refused=MAX_REFUSED,
            progress=progress,
        )


@dataclass(frozen=True, slots=True)
class FileSource:
    """Files as one log. Several stand in the order of time, cut every ``minutes``: see interleaving.py."""

    files: tuple[File, ...]
    minutes: int = 1  # the shortest timeframe that is decided on, or a part of it

    def __post_init__(self) -> None:
        if not 1 <= len(self.files) <= MAX_FILES:
            raise ValueError(f"{len(self.files)} files: 1 to {MAX_FILES} are read")

    @asynccontextmanager
    async def opened(self, tell: TellFile = lambda *_: None) -> AsyncIterator[Opened]:
        store, read, markets = MemoryEventStore(), list[SourceFile](), set[str]()
        for file in self.files:
            done = await file.into(store, tell)
            markets.update(done.instruments)
            size = file.path.stat().st_size
            read.append(SourceFile(name=file.path.name, sha256=done.sha256, bytes=size, rows=done.accepted))
        if len(markets) > 1:
            imported, store = store, MemoryEventStore()
            await interleaved(imported, store, self.minutes)
        first, last = await bounds(store, await store.head())
        yield Opened(store, ", ".join(file.name for file in read), first, last, tuple(read))


async def bounds(store: EventStore, upto: int) -> tuple[int, int]:
    """Positions of the first and the last event that a desk looks at, up to ``upto``.

    They stay what they are while others write, trials for example.

    Raises:
        NothingToRead: there is none.
    """
    page = await store.read(0, until=upto, limit=1, names=NAMES)
    if not page.records:
        raise NothingToRead(
            f"up to position {upto} the log holds nothing of a market: import something first"
        )
    first, step = page.records[0].position, 64
    after = max(upto - step, 0)
    while not (await store.read(after, until=upto, limit=1, names=NAMES)).records:
        step *= 2
        after = max(upto - step, 0)
    last = first
    while after < upto:
        page = await store.read(after, until=upto, limit=500, names=NAMES)
        last = page.records[-1].position if page.records else last
        after = page.scanned_to
    return first, last
