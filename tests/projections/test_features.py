"""The feature read model: one answer whoever folds it, in whatever pieces, from wherever it goes on."""

from dataclasses import replace

import msgspec
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis import registry
from alphapulse.domain.analysis.features import BadFeatureSet, SetDefined
from alphapulse.domain.analysis.features import feature_set as feature_set_decider
from alphapulse.domain.analysis.registry import find
from alphapulse.domain.versions import Versions
from alphapulse.processes.rebuilding import open_rebuilder
from alphapulse.projections import rebuild
from alphapulse.projections.feature_queries import feature_set, latest
from alphapulse.projections.features import Features
from tests.projections.conftest import World
from tests.projections.feature_logs import columns, folded, live, mixed_log, runner, small, supply


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


async def test_a_set_that_this_code_cannot_make_is_kept_with_the_reason_and_gives_no_rows(
    world: World,
) -> None:
    """Defined under another version of a rule, or one that is gone: neither parked nor made up."""
    (event,) = feature_set_decider.decide(small(), Versions())
    assert isinstance(event, SetDefined)
    other = msgspec.structs.replace(event.features[0], code_version=99)
    old = msgspec.structs.replace(event, name="old", features=(other, *event.features[1:]))
    await world.append(codec.new_event("feature-set-old", 1, old))
    await supply(world.store, [columns(0, 40)])
    head = await world.store.head()
    async with world.running(runner(world)):
        await world.reach(Features(), head)
    assert await world.rows("SELECT * FROM features") == []
    assert await world.rows("SELECT * FROM parked") == []
    async with await world.connect() as db:
        assert "defined with code version 99 of sma" in str((await feature_set(db, "old")).problem)
        with pytest.raises(BadFeatureSet, match="old version 1: sma_3: defined with code version 99"):
            await latest(db, "old", 1, 1, ["venue:V"])


@pytest.mark.long
async def test_rebuilds_in_processes_of_their_own_verify_equal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "PARALLEL_FROM", 10)
    await mixed_log(world.store)
    until = await world.store.head()
    async with world.running(runner(world)):
        await world.reach(Features(), until)
    async with open_rebuilder(world.url, Features(), workers=4) as rebuilder:
        comparison = await rebuilder.verify()
        assert comparison.equal
        assert comparison.position == until


async def test_the_code_version_grows_with_every_indicators(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Features().code_version
    known = replace(find("sma"), code_version=find("sma").code_version + 1)
    monkeypatch.setitem(registry._registered, "sma", known)
    assert Features().code_version == before + 1
