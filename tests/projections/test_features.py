"""The feature read model: one answer whoever folds it, in whatever pieces, from wherever it goes on."""

from alphapulse.projections.features import Features
from tests.projections.conftest import World
from tests.projections.feature_logs import folded, live, mixed_log, runner


async def test_batches_parts_and_new_starts_give_the_same_rows(world: World) -> None:
    """And so does the live runner."""
    until = await mixed_log(world.store)
    whole = await folded(world, until)
    assert await folded(world, until, batch=1) == whole
    assert await folded(world, until, batch=7) == whole
    assert await folded(world, until, parts=4) == whole
    assert await folded(world, until, parts=3, stops=[20, 47, 90]) == whole
    assert await folded(world, until, batch=5, stops=range(0, until, 9)) == whole
    async with world.running(runner(world)):
        await world.reach(Features(), until)
    assert await live(world) == whole
    counts = await world.rows(
        "SELECT set_name, timeframe, count(*) FROM features GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert {(name, timeframe) for name, timeframe, _ in counts} == {
        *(("early", 1), ("early", 15), ("middle", 5)),
        *(("late", 1), ("late", 5), ("late", 60)),
    }
