"""Lag and health of read models, told from the database alone."""

import asyncio

from alphapulse.projections.status import SILENT_S, projection_status
from tests.projections.conftest import World
from tests.projections.tally import Peaks, Tally


async def test_a_read_model_that_has_everything_has_no_lag_and_no_problem(world: World) -> None:
    last = await world.count(1, 2)
    await world.caught_up(Tally())
    async with await world.connect() as db:
        (status,) = await projection_status(db, {"tally": 1})
    assert (status.name, status.position, status.head) == ("tally", last, last)
    assert (status.lag_events, status.lag_s, status.parked, status.problem) == (0, 0.0, 0, None)


async def test_lag_counts_the_events_left_and_the_age_of_the_oldest_of_them(world: World) -> None:
    await world.count(1)
    await world.caught_up(Tally())
    await world.count(2, 3, 4)
    await asyncio.sleep(0.3)
    await world.count(5)
    async with await world.connect() as db:
        (status,) = await projection_status(db)
    assert status.lag_events == 4
    assert 0.3 <= status.lag_s < 30


async def test_problems_are_named_worst_first(world: World) -> None:
    """Parked events, then a runner that is gone, then code of another version."""
    await world.count(-1)
    await world.caught_up(Tally())
    await world.caught_up(Peaks())
    async with await world.connect() as db:
        peaks, tally = await projection_status(db)
        assert (peaks.problem, tally.problem) == (None, "1 events parked")
        await db.execute(
            "UPDATE projections SET updated_at = now() - make_interval(secs => %s)", (SILENT_S + 5,)
        )
        _, tally = await projection_status(db)
        assert tally.problem == "no runner seen for 15 s"
        _, tally = await projection_status(db, {"tally": 2})
        assert tally.problem == "rebuild needed: folded by code version 1, this is 2"
