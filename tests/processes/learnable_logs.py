"""Logs of minutes in which the way of the next bars can be learnt, or not, and a feature set over them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.learning.labels import Barriers
from alphapulse.domain.market.columns import BarColumns
from alphapulse.domain.market.events import BarsObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.processes.learning import BoostRecipe, LogisticRecipe
from alphapulse.processes.lessons import Wish
from alphapulse.processes.models import train
from tests.processes.feature_logs import set_of
from tests.processes.feature_world import World
from tests.projections.market_log import MINUTE, T0

MARKET = Instrument("test", "LRN_USD")
RULES = ("rsi(14)", "return(5)", "return(20)", "natr(14)", "adx.plus_di", "adx.minus_di", "sma(20)", "obv")
DEFINED = set_of(*RULES, name="core", timeframes=(1,))
TAUGHT = ("rsi_14", "return_5", "return_20", "natr_14", "adx_14.plus_di", "adx_14.minus_di")


def closes(seed: int, bars: int, *, drift: float) -> np.ndarray[Any, Any]:
    """A walk whose drift, in deviations of a bar, keeps its side for 40 bars or so: the past tells it."""
    rng = np.random.default_rng(seed)
    side = np.where(np.cumsum(rng.random(bars) < 1 / 40) % 2, 1.0, -1.0)
    return 100.0 * np.exp(np.cumsum(1e-3 * (rng.normal(0, 1, bars) + drift * side)))


def minutes(
    seed: int,
    bars: int,
    *,
    drift: float = 0.5,
    first: int = 0,
    size: int = 1_000,
    market: Instrument = MARKET,
) -> list[BarsObserved]:
    """Bars from minute ``first`` after T0 on, ``size`` in an event."""
    close = closes(seed, bars, drift=drift)
    rng = np.random.default_rng(seed + 1)
    opened = np.concatenate([[100.0], close[:-1]])
    wick = close * np.abs(rng.normal(0, 3e-4, (2, bars)))
    high, low = np.maximum(opened, close) + wick[0], np.minimum(opened, close) - wick[1]
    prices = [np.round(x * 10_000).astype(np.int64) for x in (opened, high, low, close)]
    volume = np.round(1_000 * rng.uniform(1, 9, bars)).astype(np.int64)
    start = T0 + (first + np.arange(bars)) * MINUTE
    return [
        BarsObserved(
            instrument=market,
            timeframe_minutes=1,
            volume_unit="base",
            columns=BarColumns(
                start=start[rows], open=prices[0][rows], high=prices[1][rows], low=prices[2][rows],
                close=prices[3][rows], volume=volume[rows],
                trade_count=np.full(len(start[rows]), -1, dtype=np.int64),
                price_exponent=4, volume_exponent=3,
            ),
        )
        for rows in (slice(at, at + size) for at in range(0, bars, size))
    ]  # fmt: skip


BARRIERS = Barriers(atr=1.5, bars=12)
QUICK = BoostRecipe(trees=40, leaves=6, rate=0.1, folds=3, embargo=12, least=20)
CORE = Wish(set="core", version=1, timeframe=1)
NAME = "learnt"


@asynccontextmanager
async def world_of(url: str, *events: Any) -> AsyncIterator[World]:
    async with PostgresEventStore(url) as store:
        made = World(url, store)
        await made.writer.append([DEFINED, *events])
        await made.fold()
        yield made


async def trained(
    world: World, wish: Wish = CORE, recipe: BoostRecipe | LogisticRecipe = QUICK, name: str = NAME
) -> tuple[int, FittedModel]:
    async with await world.connect() as db:
        return await train(world.store, db, wish, BARRIERS, recipe, name)
