"""Desks with a learned voter: a version counts from its position on, and one that is no good abstains."""

import msgspec
import pytest

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import Gate, Geometry, StrategyDefined, VoterChoice
from alphapulse.domain.signals.engine import Engine
from alphapulse.processes import learned_models
from alphapulse.processes.decide import contexts_of
from alphapulse.processes.deciding import Job, Seat
from alphapulse.processes.fitting import record_model
from alphapulse.projections.log_source import StoreSource
from tests.domain.signals.engine_world import strategy
from tests.processes.feature_world import World
from tests.processes.learnable_logs import MARKET, NAME, minutes, trained, world_of


@pytest.fixture(autouse=True)
def wired() -> None:
    learned_models.wire()


async def test_a_refit_is_the_next_version_and_counts_from_its_position_on(database_url: str) -> None:
    """One desk that follows the log, and one engine a version: the same votes."""
    half = 1_500
    first, second = minutes(1, half), minutes(1, 2 * half, size=half)[1:]
    chosen = learned_strategy()
    async with world_of(database_url, *first) as world:
        one = await trained(world)
        await world.writer.append(second[:1])
        await world.fold()
        two = await trained(world)
        assert (one[0], two[0]) == (1, 2)
        assert await trained(world) == two, "done again it writes nothing"
        later = minutes(9, 400, first=2 * half)
        await world.writer.append(later)
        outputs = await followed(world, chosen)
    by_model: dict[str, list[DecisionMade]] = {}
    for each in outputs:
        vote = next(vote for vote in each.votes if vote.voter == "learned")
        by_model.setdefault(vote.model, []).append(each)
    assert set(by_model) == {"", f"{NAME}.1", f"{NAME}.2"}
    missing = by_model[""][-1].votes[0]
    assert (missing.direction, missing.score) == (0, 0.0)
    assert missing.reasons == (f"there is no model {NAME} yet",)
    for version in (1, 2):
        votes = [each.votes[0] for each in by_model[f"{NAME}.{version}"]]
        assert any(vote.direction for vote in votes)
        assert all("probability of a rise" in vote.reasons[0] for vote in votes if vote.direction)
    positions = [max(each.position for each in group) for group in by_model.values()]
    assert positions == sorted(positions)


def learned_strategy() -> StrategyDefined:
    return strategy(
        VoterChoice(name="learned", kind="learned.onnx", model=NAME, version=1, parameters={"least": 0.0}),
        VoterChoice(name="move", kind="statistical.momentum", version=1, parameters={"least": 0.1}),
        quorum=0.5,
        min_consensus=0.05,
        geometries=(Geometry(stop_atr=1.5, target_atr=1.5, horizon_bars=12),),
        gate=Gate(threshold=0.5, margin=-1.0),
    )


async def followed(world: World, chosen: StrategyDefined, page: int = 3) -> list[DecisionMade]:
    """Decisions of a desk that reads the log from its beginning in small pages."""
    job = Job(chosen, 0, 0)
    seat = await Seat.taken(world.store, job, contexts_of(chosen))
    source, head, found = StoreSource(world.store), await world.store.head(), []
    while seat.desk.position < head:
        outputs = await seat.take(await source.next(seat.desk.position, limit=page, timeout_s=1))
        found += [output.event for output in outputs if isinstance(output.event, DecisionMade)]
    return found


async def test_a_version_that_is_no_good_makes_its_seat_abstain_with_the_values(database_url: str) -> None:
    """Whoever can write to the log can record nonsense: the strategy goes on, and says so."""
    async with world_of(database_url, *minutes(1, 1_500)) as world:
        _, model = await trained(world)
        later = msgspec.structs.replace(model.trained, known_time=model.trained.known_time + 1)
        broken = msgspec.structs.replace(model, artifact=b"nonsense", trained=later)
        await record_model(world.store, broken)
        await world.writer.append(minutes(9, 400, first=1_500))
        outputs = await followed(world, learned_strategy())
    last = outputs[-1].votes[0]
    assert (last.model, last.direction) == (f"{NAME}.2", 0)
    assert last.reasons[0].startswith(f"refused: {NAME}: 8 bytes that onnxruntime does not take")


async def test_how_the_log_is_cut_changes_no_learned_vote(database_url: str) -> None:
    async with world_of(database_url, *minutes(1, 1_600, size=200)) as world:
        await trained(world)
        await world.writer.append(minutes(9, 500, first=1_600, size=50))
        small, large = (
            await followed(world, learned_strategy(), 1),
            await followed(world, learned_strategy(), 500),
        )
    assert [msgspec.json.encode(each) for each in small] == [msgspec.json.encode(each) for each in large]
    assert any(each.votes[0].direction for each in small)


async def test_rows_that_the_training_knew_get_no_vote(database_url: str) -> None:
    async with world_of(database_url, *minutes(1, 1_600)) as world:
        version, model = await trained(world)
        events = [(n, str(MARKET), event) for n, event in enumerate(minutes(1, 2_400), 1)]
    engine = Engine(learned_strategy(), models={NAME: model}, versions={NAME: version})
    decided = [o.event for o in engine.advance(events) if isinstance(o.event, DecisionMade)]
    assert all(not e.votes[0].direction for e in decided if e.time <= model.trained.known_time)
    assert any(e.votes[0].direction for e in decided if e.time > model.trained.known_time)
