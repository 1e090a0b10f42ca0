"""A generated market as a feed into the log: trades, and what the feed says about itself.

Fast: all at once, stamped in the past. Live: each trade at its own moment by the wall clock, batched
only by how long a commit takes, with a watermark every second in which nothing was traded.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alphapulse.adapters.store import codec
from alphapulse.domain.market.columns import MAX_ROWS, TradeColumns
from alphapulse.domain.market.events import (
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.generate import TapeChunk, TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import Clock, EventStore, NewEvent

ROWS_IN_COMMIT = 5 * MAX_ROWS  # about 330 kB
WATERMARK_EVERY_S = 1.0
_LIVE_CHUNK = 256


@dataclass(slots=True)
class Generated:
    """What went into the log so far."""

    instrument: Instrument
    trades: int = 0
    events: int = 0
    time_lo: int | None = None
    time_hi: int | None = None


async def generate_fast(
    store: EventStore,
    instrument: Instrument,
    spec: TapeSpec,
    rng: np.random.Generator,
    *,
    rows: int,
    progress: Callable[[Generated], None] | None = None,
) -> Generated:
    """Append ``rows`` trades as fast as the store takes them, after what the stream holds already.

    Raises:
        VersionConflict: somebody else writes this instrument.
    """
    feed = await _Feed.open(store, instrument)
    spec = feed.after_the_last(spec)
    await feed.connect(spec.start)
    for chunk in tape(spec, rng, rows=rows, chunk_rows=ROWS_IN_COMMIT):
        await feed.observe(chunk)
        if progress is not None:
            progress(feed.done)
    await feed.lose((feed.done.time_hi or spec.start) + spec.time_step, "the generator came to its end")
    return feed.done


async def generate_live(
    store: EventStore,
    instrument: Instrument,
    spec: TapeSpec,
    rng: np.random.Generator,
    clock: Clock,
    stop: asyncio.Event,
    *,
    rows: int | None = None,
    progress: Callable[[Generated], None] | None = None,
) -> Generated:
    """Trade by the wall clock until ``stop`` is set or ``rows`` trades are out."""
    feed = await _Feed.open(store, instrument)
    spec = feed.after_the_last(replace(spec, start=clock.now_ns()))
    await feed.connect(spec.start)
    waiting = _Waiting(tape(spec, rng, rows=rows or 1 << 62, chunk_rows=_LIVE_CHUNK))
    watermark = spec.start
    while not stop.is_set() and waiting.refill():
        now = clock.now_ns()
        due = waiting.take_until(now)
        if due is not None:
            await feed.observe(TapeChunk(due, ()))
            watermark = now
        elif now - watermark >= WATERMARK_EVERY_S * 1e9:
            await feed.pass_watermark(now)
            watermark = now
        if progress is not None:
            progress(feed.done)
        next_time = waiting.next_time()
        if next_time is not None:
            await _sleep(min((next_time - clock.now_ns()) / 1e9, WATERMARK_EVERY_S), stop)
    end = max(clock.now_ns(), (feed.done.time_hi or spec.start) + spec.time_step)
    await feed.lose(end, "the generator was stopped")
    return feed.done


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


class _Waiting:
    """Trades of the tape that are not due yet."""

    def __init__(self, chunks: Iterator[TapeChunk]) -> None:
        self._chunks = chunks
        self._trades: TradeColumns | None = None

    def refill(self) -> bool:
        """Have at least one trade waiting; False at the end of the tape."""
        if self._trades is None or not len(self._trades):
            chunk = next(self._chunks, None)
            self._trades = chunk.trades if chunk else None
        return self._trades is not None

    def take_until(self, now: int) -> TradeColumns | None:
        if self._trades is None:
            return None
        due = int(np.searchsorted(self._trades.time, now, side="right"))
        taken, self._trades = self._trades.take(slice(0, due)), self._trades.take(slice(due, None))
        return taken if due else None

    def next_time(self) -> int | None:
        return int(self._trades.time[0]) if self._trades is not None and len(self._trades) else None


class _Feed:
    """Appends to the streams of one instrument, as the only writer."""

    def __init__(self, store: EventStore, instrument: Instrument) -> None:
        self._store = store
        self._trades, self._feed = instrument.stream("trades"), instrument.stream("feed")
        self._versions: dict[str, int] = {}
        self._last: TradeColumns | None = None
        self._lost: FeedLost | None = None
        self.done = Generated(instrument)

    @classmethod
    async def open(cls, store: EventStore, instrument: Instrument) -> "_Feed":
        feed = cls(store, instrument)
        trades, said = await feed._last_event(feed._trades), await feed._last_event(feed._feed)
        feed._last = trades.columns if trades is not None else None
        feed._lost = said if isinstance(said, FeedLost) else None
        return feed

    async def _last_event(self, stream: str) -> Any:
        version = self._versions[stream] = await self._store.version(stream)
        records = await self._store.read_stream(stream, after=version - 1, limit=1) if version else []
        return codec.decode(records[0]).event if records else None

    def after_the_last(self, spec: TapeSpec) -> TapeSpec:
        """``spec`` with ids, times and price that go on from what the stream holds."""
        if self._last is None:
            return spec
        last = self._last
        later = int(last.time.max()) + 1_000_000_000
        price = float(last.price[-1]) / 10**last.price_exponent
        return replace(spec, first_id=int(last.id[-1]) + 1, start=max(spec.start, later), price=price)

    async def connect(self, time: int) -> None:
        events: list[object] = [FeedConnected(**self._names(), time=time)]
        if self._lost is not None and self._lost.time < time:
            events.append(GapClosed(**self._names(), start=self._lost.time, end=time, back_filled=False))
        await self._append([self._event(self._feed, event) for event in events])

    async def observe(self, chunk: TapeChunk) -> None:
        """Append the trades, and each hole where it belongs between them."""
        events: list[NewEvent] = []
        at = 0
        for start, end in chunk.gaps:
            cut = int(np.searchsorted(chunk.trades.time, start, side="right"))
            events += self._batches(chunk.trades, at, cut)
            events += [
                self._event(self._feed, FeedLost(**self._names(), time=start, reason="a generated hole")),
                self._event(self._feed, FeedConnected(**self._names(), time=end)),
                self._event(self._feed, GapClosed(**self._names(), start=start, end=end, back_filled=False)),
            ]
            at = cut
        events += self._batches(chunk.trades, at, len(chunk.trades))
        await self._append(events)
        done, times = self.done, chunk.trades.time
        done.trades += len(times)
        done.time_lo = int(times[0]) if done.time_lo is None else done.time_lo
        done.time_hi = int(times[-1])

    async def pass_watermark(self, time: int) -> None:
        await self._append([self._event(self._feed, WatermarkPassed(**self._names(), time=time))])

    async def lose(self, time: int, reason: str) -> None:
        events: list[object] = [
            WatermarkPassed(**self._names(), time=time),
            FeedLost(**self._names(), time=time, reason=reason),
        ]
        await self._append([self._event(self._feed, event) for event in events])

    def _names(self) -> dict[str, str]:
        return {"venue": self.done.instrument.venue, "symbol": self.done.instrument.symbol}

    def _batches(self, trades: TradeColumns, start: int, end: int) -> list[NewEvent]:
        return [
            self._event(
                self._trades,
                TradesObserved(
                    instrument=self.done.instrument, columns=trades.take(slice(at, min(at + MAX_ROWS, end)))
                ),
            )
            for at in range(start, end, MAX_ROWS)
        ]

    def _event(self, stream: str, event: object) -> NewEvent:
        self._versions[stream] += 1
        return codec.new_event(stream, self._versions[stream], event, actor="generator")

    async def _append(self, events: list[NewEvent]) -> None:
        await self._store.append(events)
        self.done.events += len(events)
