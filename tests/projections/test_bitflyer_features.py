"""Real trades from the venue's file to rows of the default set, against bars made from the raw file."""

import numpy as np
import pytest

from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.processes.defining import core
from alphapulse.processes.importing import import_trades
from alphapulse.projections.feature_queries import feature_rows, late_count
from alphapulse.projections.features import Features
from alphapulse.projections.known_bars import known_bars
from tests.projections.conftest import World
from tests.projections.feature_logs import define, folded, live, runner
from tests.projections.test_bitflyer_candles import bitflyer, expected_bars


@pytest.mark.parametrize(
    ("day", "symbol"), [(28, "ETH_BTC"), pytest.param(27, "BTC_JPY", marks=pytest.mark.long)]
)
async def test_a_real_day_gives_the_bars_of_its_file_and_the_values_of_their_history(
    world: World, day: int, symbol: str
) -> None:
    path, market = bitflyer(day, symbol), f"bitflyer:{symbol}"
    await define(world.store, core("tests"))
    assert (await import_trades(path, world.store)).refused == 0
    until = await world.store.head()
    async with world.running(runner(world)):
        await world.reach(Features(), until, timeout_s=60)
    expected = expected_bars([path])
    async with await world.connect() as db:
        late = await late_count(db, market)
        for timeframe in LABELS:
            bars = await known_bars(db, market, timeframe)
            of_file = [row for (minutes, _), row in sorted(expected.items()) if minutes == timeframe]
            assert len(bars) == len(of_file) - 1  # the last one has not ended
            got = bars.values[[1, 2, 3, 4, 5, 7]].T
            wanted = np.array([[float(row[i]) for i in (0, 1, 2, 3, 4, 7)] for row in of_file[:-1]])
            wrong = int((got != wanted).any(axis=1).sum()) if len(bars) else 0
            assert wrong <= late
        found, rows = await feature_rows(db, "core", 1, market, 1)
        bars = await known_bars(db, market, 1)
    for i, feature in enumerate(found.defined.features):
        column = [o.name for o in feature.spec.known.outputs].index(feature.output)
        history = compute([feature.spec], bars.values)[column]
        assert rows.values[:, i].tobytes() == history.tobytes(), feature.name
    assert await folded(world, until, batch=37) == await live(world)
