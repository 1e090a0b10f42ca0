"""Logs of lifelike trades for read models of the real kind."""

import numpy as np

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market.events import FeedConnected, FeedLost, TradesObserved
from alphapulse.domain.market.generate import TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import NewEvent


async def store_trades(store: PostgresEventStore, *, instruments: int, events: int, rows: int = 50) -> int:
    """``events`` batches of ``rows`` trades each, in turn for each instrument; returns the last position."""
    tapes = [
        tape(TapeSpec(rate_per_s=0.2), np.random.default_rng(n), rows=events * rows, chunk_rows=rows)
        for n in range(instruments)
    ]
    last = 0
    for version in range(1, events + 1):
        batch: list[NewEvent] = []
        for n, chunks in enumerate(tapes):
            instrument = Instrument("test", f"S{n}")
            observed = TradesObserved(instrument=instrument, columns=next(chunks).trades)
            batch.append(codec.new_event(instrument.stream("trades"), version, observed))
            if version % 10 == 1:
                time = int(observed.columns.time[0])
                fact = (FeedConnected if version % 20 == 1 else _lost)(
                    venue="test", symbol=f"S{n}", time=time
                )
                batch.append(codec.new_event(instrument.stream("feed"), 1 + version // 10, fact))
        last = (await store.append(batch))[-1].position
    return last


def _lost(*, venue: str, symbol: str, time: int) -> FeedLost:
    return FeedLost(venue=venue, symbol=symbol, time=time, reason="test")
