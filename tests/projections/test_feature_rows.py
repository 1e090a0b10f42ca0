"""What rows of features say: of which bars, known when, made of what, and under which reserve."""

from typing import Any

import numpy as np
import pytest
from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import AFTER_GAP, SUPPLIED
from alphapulse.domain.analysis.features import (
    NOT_SETTLED,
    OUT_OF_ORDER,
    WARMING,
    BadFeatureSet,
    Feature,
    UnknownFeatureSet,
    feature_of,
)
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from alphapulse.projections.candle_view import NotYetFolded, QueryTooLarge
from alphapulse.projections.feature_queries import (
    MAX_INSTRUMENTS,
    FeatureSet,
    feature_instruments,
    feature_rows,
    feature_set,
    feature_sets,
    late_count,
    latest,
)
from alphapulse.projections.features import Features
from alphapulse.projections.known_bars import known_bars
from tests.projections.conftest import World
from tests.projections.feature_logs import columns, define, retire, runner, small, supply

V = "venue:V"


async def caught_up(world: World) -> AsyncConnection[Any]:
    """Fold everything; a connection to ask."""
    head = await world.store.head()
    async with world.running(runner(world)):
        await world.reach(Features(), head)
    return await world.connect()


async def test_a_set_has_rows_of_bars_before_it_and_after_it_and_none_once_retired(world: World) -> None:
    await supply(world.store, [columns(0, 100)])
    await define(world.store, small())
    await supply(world.store, [columns(100, 200)])
    await retire(world.store, "small", 1)
    await supply(world.store, [columns(200, 300)])
    async with await caught_up(world) as db:
        bars = await known_bars(db, V, 1)
        _, rows = await feature_rows(db, "small", 1, V, 1)
        assert len(bars) == len(columns(0, 300))
        assert rows.start.tolist() == bars.start[: len(columns(0, 200))].tolist()


async def test_values_are_those_of_the_indicator_over_the_known_bars(world: World) -> None:
    """Lagged ones those of bars before, those of a larger timeframe of its last bar that had ended."""
    await supply(world.store, [columns(0, 250), columns(250, 700)])
    await define(world.store, small())
    async with await caught_up(world) as db:
        bars, hours = await known_bars(db, V, 1), await known_bars(db, V, 60)
        found, rows = await feature_rows(db, "small", None, V, 1)
    assert found.defined.columns == ("sma_3", "slow", "before", "hour", "quarter")
    sma = compute([Spec.parse("sma(3)")], bars.values)[0]
    ema = compute([Spec.parse("ema(4)")], bars.values)[0]
    of_hours = compute([Spec.parse("sma(2)")], hours.values)[0]
    same(rows.values[:, 0], sma)
    same(rows.values[:, 1], ema)
    same(rows.values[2:, 2], sma[:-2])
    ends = [int(s) + 60 for s in hours.start]
    known = [sum(end <= int(start) + 1 for end in ends) for start in bars.start]
    same(rows.values[:, 3], np.array([of_hours[n - 2] if n > 1 else np.nan for n in known]))


def same(a: Any, b: Any) -> None:
    assert a.tobytes() == np.ascontiguousarray(b).tobytes()


async def test_a_minute_sees_the_hour_that_ends_with_it(world: World) -> None:
    await supply(world.store, [columns(0, 240)])
    hour = Feature(name="hour", rule="sma", parameters={"period": 2}, timeframe=60)
    await define(world.store, small("one", (1,), (hour,)))
    async with await caught_up(world) as db:
        hours = compute([Spec.parse("sma(2)")], (await known_bars(db, V, 60)).values)[0]
        _, rows = await feature_rows(db, "one", 1, V, 1)
    by_start = dict(zip((rows.start - rows.start[0] + 1).tolist(), rows.values[:, 0].tolist(), strict=True))
    assert np.isnan(by_start[118])
    assert by_start[179] == hours[2]
    assert by_start[178] == hours[1]


async def test_hours_that_were_imported_before_their_minutes_are_not_looked_at(world: World) -> None:
    """The latest hour that is known ends years later: no value is better than one from the future."""
    await supply(world.store, [columns(0, 50, step=60)], timeframe=60)
    await supply(world.store, [columns(60, 120)])
    await supply(world.store, [columns(60 * 60, 60 * 60 + 30)])
    hour = Feature(name="hour", rule="sma", parameters={"period": 2}, timeframe=60)
    await define(world.store, small("one", (1,), (hour,)))
    async with await caught_up(world) as db:
        _, rows = await feature_rows(db, "one", 1, V, 1)
    early = rows.start < rows.start[0] + 1000
    assert (rows.flags[early] & OUT_OF_ORDER != 0).all()
    assert np.isnan(rows.values[early]).all()
    assert (rows.flags[~early] & OUT_OF_ORDER == 0).all()
    assert not np.isnan(rows.values[~early]).any()


async def test_flags_say_warming_settling_and_what_the_windows_met(world: World) -> None:
    await supply(world.store, [columns(0, 60)])
    await define(world.store, small("one", (1,), (feature_of("sma(3)"), feature_of("ema(4)"))))
    async with await caught_up(world) as db:
        _, rows = await feature_rows(db, "one", 1, V, 1)
    forgets = Spec.parse("ema(4)").known.forgets((4.0,))
    assert forgets is not None
    number = np.arange(1, len(rows) + 1)
    assert ((rows.flags & WARMING != 0) == (number <= 3)).all()
    assert ((rows.flags & NOT_SETTLED != 0) == (number <= forgets)).all()
    assert (rows.flags & SUPPLIED != 0).all()
    # Minute 17 is missing: the bar after it says so, and each row whose window of four holds that bar.
    hole = [int(s) for s in rows.start[rows.flags & AFTER_GAP != 0] - rows.start[0] + 1]
    assert hole == [18, 19, 20, 21, 35, 36, 37, 38, 52, 53, 54, 55]


async def test_lineage_spans_the_windows(world: World) -> None:
    positions = [await supply(world.store, [columns(n, n + 1)]) for n in range(1, 10)]
    await define(
        world.store, small("one", (1,), (feature_of("sma(3)"), Feature(name="l", rule="return", lag=2)))
    )
    async with await caught_up(world) as db:
        _, rows = await feature_rows(db, "one", 1, V, 1)
    assert rows.position.tolist() == rows.input_position.tolist() == positions
    assert rows.first_position.tolist() == [positions[max(0, i - 3)] for i in range(9)]


async def test_as_of_knows_neither_later_bars_nor_later_sets(world: World) -> None:
    first = await supply(world.store, [columns(0, 50)])
    defined = await define(world.store, small())
    second = await supply(world.store, [columns(50, 90)])
    retired = await retire(world.store, "small", 1)
    async with await caught_up(world) as db:
        with pytest.raises(UnknownFeatureSet, match=rf"no feature set 'small' version 1 at position {first}"):
            await feature_rows(db, "small", 1, V, 1, as_of=first)
        _, then = await feature_rows(db, "small", 1, V, 1, as_of=defined)
        _, now = await feature_rows(db, "small", 1, V, 1, as_of=second)
        assert (len(then), len(now)) == (len(columns(0, 50)), len(columns(0, 90)))
        assert await feature_sets(db, as_of=first) == []
        assert (await feature_set(db, "small", as_of=second)).in_use
        assert (await feature_set(db, "small")).retired_position == retired
        with pytest.raises(NotYetFolded, match=f"position {retired + 1} was asked for"):
            await latest(db, "small", 1, 1, [V], as_of=retired + 1)


async def test_ranges_last_rows_and_known_time_choose_rows(world: World) -> None:
    await supply(world.store, [columns(0, 100)])
    await define(world.store, small())
    async with await caught_up(world) as db:

        async def starts(**bounds: Any) -> list[int]:
            _, rows = await feature_rows(db, "small", 1, V, 1, **bounds)
            return [int(s) for s in rows.start]

        everything = await starts()
        ns = [s * 60_000_000_000 for s in everything]
        assert await starts(start=ns[3], end=ns[7]) == everything[3:7]
        assert await starts(start=ns[3] - 1, end=ns[7] - 1) == everything[3:7]
        assert await starts(last=4) == everything[-4:]
        assert await starts(last=4, end=ns[7]) == everything[3:7]
        assert await starts(known_by=ns[7] + 60_000_000_000 - 1) == everything[:7]
        assert await starts(limit=len(everything)) == everything
        with pytest.raises(QueryTooLarge, match="more than 5 rows of 1m"):
            await starts(limit=5)
        with pytest.raises(QueryTooLarge, match="the last 6 rows: at most 5"):
            await starts(last=6, limit=5)


async def test_the_latest_vectors_of_many_instruments(world: World) -> None:
    for symbol in "ABC":
        await supply(world.store, [columns(0, 40)], symbol=symbol)
    await define(world.store, small())
    async with await caught_up(world) as db:
        found, vectors = await latest(db, "small", None, 1, ["venue:A", "venue:C", "venue:Z", "venue:A"])
        assert isinstance(found, FeatureSet)
        _, rows = await feature_rows(db, "small", 1, "venue:C", 1, last=1)
        assert sorted(vectors) == ["venue:A", "venue:C"]
        np.testing.assert_array_equal(np.array(vectors["venue:C"].values), rows.values[0])
        assert vectors["venue:C"].start == rows.start[0]
        with pytest.raises(QueryTooLarge, match=f"{MAX_INSTRUMENTS + 1} instruments"):
            await latest(db, "small", 1, 1, ["venue:A"] * (MAX_INSTRUMENTS + 1))
        assert await feature_instruments(db) == ["venue:A", "venue:B", "venue:C"]


async def test_unknown_sets_versions_and_timeframes_are_errors(world: World) -> None:
    await define(world.store, small())
    async with await caught_up(world) as db:
        with pytest.raises(UnknownFeatureSet, match=r"no feature set 'none' at .*features list"):
            await feature_rows(db, "none", None, V, 1)
        with pytest.raises(UnknownFeatureSet, match=r"no feature set 'small' version 2 .* it has version 1"):
            await latest(db, "small", 2, 1, [V])
        with pytest.raises(BadFeatureSet, match="small version 1 has rows of 1m, 15m, not of 4h"):
            await latest(db, "small", 1, 240, [V])
        _, rows = await feature_rows(db, "small", 1, V, 1)
        assert len(rows) == 0
        assert rows.values.shape == (0, 5)


async def test_late_bars_are_counted(world: World) -> None:
    await supply(world.store, [columns(0, 40), columns(30, 50)])
    async with await caught_up(world) as db:
        assert await late_count(db, V) == 9
        assert len(await known_bars(db, V, 1)) == len(columns(0, 50))


async def test_known_bars_answer_as_of_any_position(world: World) -> None:
    first = await supply(world.store, [columns(0, 40)])
    await supply(world.store, [columns(40, 80)])
    async with await caught_up(world) as db:
        bars = await known_bars(db, V, 1)
        assert len(await known_bars(db, V, 1, as_of=first)) == len(columns(0, 40))
        assert (await known_bars(db, V, 1, last=3)).start.tolist() == bars.start[-3:].tolist()
        assert (bars.known_time == (bars.start + 1) * 60_000_000_000).all()
        with pytest.raises(QueryTooLarge, match="more than 10 bars of 1m"):
            await known_bars(db, V, 1, limit=10)
        with pytest.raises(ValueError, match="bars of 7 minutes"):
            await known_bars(db, V, 7)
