"""One instrument's events, read from its own streams side by side with those of other instruments.

A log that was filled market by market holds a year of one before the first minute of the next. Read stream
by stream, all of them come at the same pace, and memory holds a page of each.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import EventStore, StoredRecord

CATEGORIES = ("bars", "feed", "trades")  # of streams that bars are made of
PAGE_BYTES = 64_000  # of one stream, about: some 10,000 trades or bars
MAX_PAGE_EVENTS = 2_000
_FIRST_PAGE = 1  # events, while their size is not known


@dataclass(slots=True)
class _Stream:
    """What is left of one stream up to ``until``."""

    name: str
    until: int
    version: int = 0
    limit: int = _FIRST_PAGE
    waiting: list[StoredRecord] = field(default_factory=list)
    is_done: bool = False

    async def fill(self, store: EventStore) -> None:
        """Have something waiting, if there is more."""
        if self.waiting or self.is_done:
            return
        records = await store.read_stream(self.name, after=self.version, limit=self.limit)
        self.waiting = [record for record in records if record.position <= self.until]
        self.is_done = len(self.waiting) < self.limit
        if records:
            self.version = records[-1].version
            size = sum(len(record.state) for record in records) // len(records)
            self.limit = max(1, min(MAX_PAGE_EVENTS, PAGE_BYTES // max(size, 1)))


@dataclass(slots=True)
class InstrumentLog:
    """The events of ``instrument`` up to a position, in order of the log."""

    instrument: str
    streams: Sequence[_Stream]
    events: int  # in all its streams, about: what was there when it was opened

    @property
    def is_done(self) -> bool:
        return all(stream.is_done and not stream.waiting for stream in self.streams)

    async def pull(self, store: EventStore) -> Sequence[StoredRecord]:
        """The next events; none when there are no more, and only then."""
        await asyncio.gather(*(stream.fill(store) for stream in self.streams))
        # A stream with more to come may still hold anything after what is waiting of it.
        ends = [stream.waiting[-1].position for stream in self.streams if not stream.is_done]
        safe = min(ends, default=None)
        found: list[StoredRecord] = []
        for stream in self.streams:
            count = sum(1 for record in stream.waiting if safe is None or record.position <= safe)
            found += stream.waiting[:count]
            stream.waiting = stream.waiting[count:]
        found.sort(key=lambda record: record.position)
        return found


async def open_logs(
    store: EventStore, until: int, instruments: Sequence[str] | None = None
) -> list[InstrumentLog]:
    """The logs of ``instruments``, by default of all that have trades or bars; those with most events first.

    Raises:
        ValueError: an instrument is not written venue:symbol.
    """
    wanted = None if instruments is None else {str(Instrument.parse(i)) for i in instruments}
    by_instrument: dict[str, list[str]] = {name: [] for name in wanted or ()}
    for category in CATEGORIES:
        for stream in await store.streams(f"{category}-"):
            name = _instrument_of(stream)
            if name and (wanted is None or name in wanted):
                by_instrument.setdefault(name, []).append(stream)
    logs = []
    for name, streams in by_instrument.items():
        events = sum([await store.version(stream) for stream in streams])
        logs.append(InstrumentLog(name, [_Stream(stream, until) for stream in streams], events))
    return sorted(logs, key=lambda log: (-log.events, log.instrument))


def _instrument_of(stream: str) -> str:
    """``venue:symbol`` of a stream such as bars-kraken-BTC_USD-1m; empty where it has no instrument."""
    parts = stream.split("-")
    return f"{parts[1]}:{parts[2]}" if len(parts) >= 3 else ""
