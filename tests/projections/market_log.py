"""Logs of market events for tests of the candle read model, and the shortest way to fold them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.domain.ports import Envelope, Recorded
from alphapulse.projections.at_once import Part, commit_at_once
from alphapulse.projections.candles import Candles
from tests.candle_oracle import MINUTE

T0 = 1_600_000_000 // 604_800 * 604_800 * 10**9 + 4 * 86_400 * 10**9  # a Monday 00:00 UTC, in ns
BTC = Instrument("test", "BTC_USD")
ETH = Instrument("test", "ETH_USD")


def trades(
    rows: Sequence[tuple[float, float, float]] | Sequence[tuple[float, float, float, int]],
    *,
    first_id: int = 1,
    instrument: Instrument = BTC,
    price_exponent: int = 2,
    size_exponent: int = 4,
    flags: int = 0,
) -> TradesObserved:
    """(minute after T0, price, size[, side]) of each trade; ids count up."""
    n = len(rows)
    return TradesObserved(
        instrument=instrument,
        columns=TradeColumns(
            time=np.array([T0 + round(r[0] * MINUTE) for r in rows], dtype=np.int64),
            price=np.array([round(r[1] * 10**price_exponent) for r in rows], dtype=np.int64),
            size=np.array([round(r[2] * 10**size_exponent) for r in rows], dtype=np.int64),
            side=np.array([r[3] if len(r) > 3 else 1 for r in rows], dtype=np.int8),
            id=np.arange(first_id, first_id + n, dtype=np.int64),
            flags=np.full(n, flags, dtype=np.uint8),
            price_exponent=price_exponent,
            size_exponent=size_exponent,
        ),
    )


def bars(
    rows: Sequence[tuple[int, float, float, float, float, float]],
    *,
    timeframe: int = 1,
    instrument: Instrument = BTC,
    volume_unit: str = "base",
    trade_count: int = -1,
    exponent: int = 2,
) -> BarsObserved:
    """(minute after T0, open, high, low, close, volume) of each bar."""
    scaled = [np.array([round(r[i] * 10**exponent) for r in rows], dtype=np.int64) for i in range(1, 6)]
    return BarsObserved(
        instrument=instrument,
        timeframe_minutes=timeframe,
        volume_unit=volume_unit,
        columns=BarColumns(
            start=np.array([T0 + r[0] * MINUTE for r in rows], dtype=np.int64),
            open=scaled[0],
            high=scaled[1],
            low=scaled[2],
            close=scaled[3],
            volume=scaled[4],
            trade_count=np.full(len(rows), trade_count, dtype=np.int64),
            price_exponent=exponent,
            volume_exponent=exponent,
        ),
    )


def recorded(events: Sequence[Any], *, first_position: int = 1, step: int = 1) -> list[Recorded]:
    """``events`` as the log would hold them; versions count per stream."""
    versions: dict[str, int] = {}
    found = []
    for i, event in enumerate(events):
        if isinstance(event, TradesObserved):
            stream = event.instrument.stream("trades")
        elif isinstance(event, BarsObserved):
            stream = f"{event.instrument.stream('bars')}-{LABELS.get(event.timeframe_minutes)}"
        else:
            stream = Instrument(event.venue, event.symbol).stream("feed")
        versions[stream] = versions.get(stream, 0) + 1
        position = first_position + i * step
        found.append(
            Recorded(
                stream=stream,
                version=versions[stream],
                name="",
                event=event,
                envelope=Envelope(event_id=UUID(int=position)),
                position=position,
                recorded_at=datetime.fromtimestamp(1_700_000_000 + position, UTC),
            )
        )
    return found


async def play(
    db: AsyncConnection[Any],
    log: Sequence[Recorded],
    *,
    batch: int | Sequence[int] = 1000,
    reload: bool = True,
) -> None:
    """Fold ``log`` in transactions of ``batch`` events, or of the sizes it lists.

    Every other one in a single statement, if it is small enough.
    """
    model = Candles()
    state = await model.load(db)
    sizes = [batch] * len(log) if isinstance(batch, int) else list(batch)
    at = 0
    for number, size in enumerate(sizes):
        if at >= len(log):
            break
        folded = model.fold(state, log[at : at + size])
        parts = model.parts(folded.changes) if number % 2 else None
        if parts is None:
            async with db.transaction():
                await model.write(db, folded.changes)
        else:
            assert await commit_at_once(db, Part("SELECT 1", ()), parts, None)
        state = await model.load(db) if reload else folded.state
        at += size


async def rows(db: AsyncConnection[Any], table: str) -> list[dict[str, Any]]:
    """All of ``table``, in the order of its key."""
    key = {"candles": "instrument, timeframe, source, start", "instruments": "instrument"}
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"SELECT * FROM {table} ORDER BY {key.get(table, 'instrument, position')}")  # type: ignore[arg-type]
        return await cursor.fetchall()


async def texts(db: AsyncConnection[Any], table: str) -> list[str]:
    """The same as PostgreSQL prints it: 1.5 and 1.50 differ here."""
    key = {"candles": "instrument, timeframe, source, start", "instruments": "instrument"}
    cursor = await db.execute(
        f"SELECT t::text FROM {table} t ORDER BY {key.get(table, 'instrument, position')}"
    )  # type: ignore[arg-type]
    return [row[0] for row in await cursor.fetchall()]
