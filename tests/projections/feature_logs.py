"""Logs with trades, venue bars, facts about feeds and feature sets, for the feature read model."""

from collections.abc import Sequence
from typing import Any

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.features import (
    DefineSet,
    Feature,
    RetireSet,
    feature_of,
    feature_set,
    stream_of,
)
from alphapulse.domain.market.columns import BarColumns
from alphapulse.domain.market.events import BarsObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.processes.transact import transact
from alphapulse.projections import generations
from alphapulse.projections.digest import Digest, digest
from alphapulse.projections.features import Features
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import Limits, connection
from tests.projections.candle_logs import store_trades
from tests.projections.conftest import World

SMALL = (
    feature_of("sma(3)"),
    feature_of("ema(4)", name="slow"),
    Feature(name="before", rule="sma", parameters={"period": 3}, lag=2),
    Feature(name="hour", rule="sma", parameters={"period": 2}, timeframe=60, lag=1),
    Feature(name="quarter", rule="ema", parameters={"period": 3}, timeframe=15),
)


def small(
    name: str = "small", timeframes: Sequence[int] = (1, 15), features: Sequence[Feature] = SMALL
) -> DefineSet:
    return DefineSet(name=name, owner="tests", description="", timeframes=timeframes, features=features)


async def define(store: PostgresEventStore, command: DefineSet) -> int:
    """The position of the definition."""
    (recorded,) = await transact(store, feature_set, stream_of(command.name), command)
    return recorded.position


async def retire(store: PostgresEventStore, name: str, version: int) -> int:
    command = RetireSet(name=name, version=version, reason="tests")
    (recorded,) = await transact(store, feature_set, stream_of(name), command)
    return recorded.position


async def supply(
    store: PostgresEventStore, columns: Sequence[BarColumns], *, symbol: str = "V", timeframe: int = 1
) -> int:
    """Bars of a venue, one event for each of ``columns``; the last position."""
    last, instrument = 0, Instrument("venue", symbol)
    stream = f"{instrument.stream('bars')}-{LABELS[timeframe]}"
    version = await store.version(stream)
    for n, each in enumerate(columns, version + 1):
        event = BarsObserved(
            instrument=instrument, timeframe_minutes=timeframe, volume_unit="base", columns=each
        )
        last = (await store.append([codec.new_event(stream, n, event)]))[-1].position
    return last


async def mixed_log(store: PostgresEventStore) -> int:
    """Three instruments; sets that come before, between and after their bars, one retired."""
    await define(store, small("early"))
    await store_trades(store, instruments=2, events=40, rows=40)
    await define(store, small("middle", (5,), (feature_of("ema(3)"), feature_of("sma(5)"))))
    await supply(store, [columns(0, 300), columns(300, 500)])
    await retire(store, "early", 1)
    await supply(store, [columns(500, 700)])
    await store_more(store)
    return await define(store, small("late", (1, 5, 60), SMALL[:4]))


async def store_more(store: PostgresEventStore) -> None:
    """Bars of another timeframe, of which the finer ones come too late."""
    await supply(store, [columns(0, 30, step=60)], symbol="H", timeframe=60)
    await supply(store, [columns(600, 900)], symbol="H")
    await supply(store, [columns(1_800, 2_100)], symbol="H")


def columns(first: int, end: int, *, step: int = 1) -> BarColumns:
    """Bars of ``step`` minutes, from ``first * step`` minutes after a Monday; every 17th is missing."""
    import numpy as np

    number = np.array([n for n in range(first, end) if n % 17], dtype=np.int64)
    price = 10_000 + number * 7919 % 301
    monday = 1_600_041_600 // 60 - 1_600_041_600 // 60 % 10_080 + 4 * 1440
    return BarColumns(
        start=(monday + number * step) * 60_000_000_000,
        open=price,
        high=price + 5,
        low=price - 5,
        close=price + number % 4,
        volume=number * 31 % 977,
        trade_count=number % 5,
        price_exponent=2,
        volume_exponent=3,
    )


async def folded(
    world: World, until: int, *, batch: int = 1_000, parts: int = 1, stops: Sequence[int] = ()
) -> Digest:
    """The digest of a fold of its own up to ``until``; at ``stops`` it begins anew from its tables."""
    model = Features()
    limits = Limits(batch_events=batch, page_events=max(batch, 10))
    async with connection(world.connect) as db:
        scratch = await generations.create(db, model, "scratch")
        try:
            if parts > 1:
                await generations.split(db, scratch, parts)
            for stop in (*stops, until):
                for part in range(parts):
                    async with connection(world.connect) as own:
                        await fold_until(
                            own,
                            model,
                            world.store,
                            codec.decode,
                            scratch,
                            stop,
                            part=(part, parts) if parts > 1 else None,
                            limits=limits,
                        )
            await db.execute(f"SET search_path TO {scratch.schema}, public")
            return await digest(db, model)
        finally:
            await generations.drop(db, scratch)


async def live(world: World) -> Digest:
    async with connection(world.connect) as db:
        return await digest(db, Features())


def runner(world: World, **limits: Any) -> Any:
    from alphapulse.projections.log_source import StoreSource
    from alphapulse.projections.runner import Runner

    return Runner(
        Features(),
        on_postgres(world.connect),
        StoreSource(world.store),
        codec.decode,
        Limits(poll_s=0.1, **limits),
    )
