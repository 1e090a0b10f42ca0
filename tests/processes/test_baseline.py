"""Voters trained on a real log: worth what they are, recorded whole or not at all, blind to the future."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.forest_onnx import NotTheSame
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.features import BadFeatureSet, SetRetired, UnknownFeatureSet
from alphapulse.domain.analysis.models import BadModel
from alphapulse.domain.market.instrument import Instrument
from alphapulse.processes import learning
from alphapulse.processes.fitting import TrainingMissing, Unfittable
from alphapulse.processes.learned_models import open_learned
from alphapulse.processes.learning import LogisticRecipe
from alphapulse.processes.lessons import Lessons, Wish, lessons
from alphapulse.processes.models import (
    UnknownModel,
    listed,
    shown,
)
from tests.domain.decision.learned_models import trees
from tests.processes.feature_logs import set_of
from tests.processes.feature_world import World
from tests.processes.learnable_logs import (
    BARRIERS,
    CORE,
    MARKET,
    NAME,
    QUICK,
    TAUGHT,
    minutes,
    trained,
    world_of,
)
from tests.projections.market_log import MINUTE, T0

BARS = 4_000


async def test_what_can_be_learnt_is_and_what_cannot_is_not_claimed(database_url: str) -> None:
    """The same bars with a drift that lasts, and without any."""
    other = Instrument("test", "WLK_USD")
    events = [*minutes(1, BARS), *minutes(2, BARS, drift=0.0, market=other)]
    async with world_of(database_url, *events) as world:
        version, model = await trained(world, replace(CORE, instruments=(str(MARKET),)))
        metrics = model.metrics
        assert version == 1
        assert model.features == TAUGHT, "prices, sums without end and what is scaled by volume teach nothing"
        assert metrics["out_of_fold_log_loss"] < metrics["out_of_fold_base_log_loss"] - 0.02
        assert metrics["out_of_fold_brier"] < metrics["out_of_fold_base_brier"]
        assert metrics["out_of_fold_auc"] > 0.6
        assert metrics["has_skill"] == 1.0
        assert metrics["out_of_fold_skill_low"] > 0
        _, walk = await trained(world, replace(CORE, instruments=(str(other),)), name="walk")
        assert walk.metrics["has_skill"] == 0.0
        assert walk.metrics["out_of_fold_skill_low"] < 0
        assert 0.45 < walk.metrics["out_of_fold_auc"] < 0.55
        _, logistic = await trained(
            world, replace(CORE, instruments=(str(MARKET),)), LogisticRecipe(folds=3), "logistic"
        )
        assert logistic.metrics["has_skill"] == 1.0
        assert logistic.metrics["worst_difference"] < 1e-9
        assert [each.name for each in await listed(world.store)] == [NAME, "logistic", "walk"]


async def test_the_recorded_model_gives_scikit_learns_probabilities(database_url: str) -> None:
    async with world_of(database_url, *minutes(1, BARS)) as world:
        _, model = await trained(world)
        receipt = model.parameters["receipt"]
        taught = await taught_by(world)
    assert receipt["rows_compared"] > len(taught), "the edges of the trees as well"
    assert receipt["worst_difference"] <= 1e-6
    scorer = open_learned(model)
    expected = learning._probabilities(
        learning._boosted(taught.values, taught.rises, QUICK), taught.values[:500]
    )
    found = learning.sigmoid(scorer.score(taught.values[:500]))
    assert np.abs(found - expected).max() <= 1e-6
    together = scorer.score(taught.values[:300])
    assert (
        together.tobytes() == np.concatenate([scorer.score(r[None]) for r in taught.values[:300]]).tobytes()
    )


async def test_nothing_known_after_the_cutoff_reaches_the_model(database_url: str) -> None:
    """A log that ends at the cutoff gives the model that a longer one gives with that cutoff."""
    half = 1_500
    until = T0 + half * MINUTE
    async with world_of(database_url, *minutes(1, half, size=500)) as world:
        ended = learning.train_boosted(await taught_by(world), QUICK, NAME)
        await world.writer.append(minutes(5, 600, first=half, size=300))
        await world.fold()
        cut = await taught_by(world, replace(CORE, until=until))
        assert learning.train_boosted(cut, QUICK, NAME).digest == ended.digest
        assert learning.train_boosted(await taught_by(world), QUICK, NAME).digest != ended.digest
        as_of = await taught_by(world, replace(CORE, as_of=ended.trained.last_position))
        assert learning.train_boosted(as_of, QUICK, NAME).digest == ended.digest
    assert ended.trained.known_time <= until
    assert (cut.label_known <= until).all()
    assert (cut.known < cut.label_known).all()


async def taught_by(world: World, wish: Wish = CORE) -> Lessons:
    async with await world.connect() as db:
        return await lessons(db, wish, BARRIERS)


async def test_what_cannot_be_trained_on_is_refused_with_its_values_and_leaves_nothing(
    database_url: str,
) -> None:
    async with world_of(database_url, *minutes(1, 1_000)) as world:
        head = await world.store.head()

        async def refused(error: type[Exception], message: str, **changes: Any) -> None:
            with pytest.raises(error, match=message):
                await trained(world, replace(CORE, **changes))

        await refused(UnknownFeatureSet, "no feature set 'core' version 7", version=7)
        await refused(UnknownFeatureSet, "no feature set 'mine' at position", set="mine", version=None)
        await refused(BadFeatureSet, "core version 1 has rows of 1m, not of 1h", timeframe=60)
        await refused(BadFeatureSet, r"features \['rsi_14', 'nothing'\]", features=("rsi_14", "nothing"))
        await refused(Unfittable, "0 rows|no row of core", until=T0 + 100 * MINUTE)
        await refused(Unfittable, "no row of core version 1 of 1m on test:NONE", instruments=("test:NONE",))
        await refused(Unfittable, "0 rows .1 to 200000.", window=0)
        with pytest.raises(BadModel, match="a model's name has 1 to 100"):
            await trained(world, name="No Name")
        assert await world.store.head() == head
        await world.writer.append([SetRetired(name="core", version=1, reason="over")])
        await world.fold()
        await refused(BadFeatureSet, "core version 1 was retired at position")
        assert await world.store.streams("model-") == []


async def test_a_name_stands_for_one_recipe(database_url: str) -> None:
    async with world_of(database_url, *minutes(1, 1_500)) as world:
        await trained(world)
        with pytest.raises(BadModel, match=f"{NAME}: recipe .* version 1 has .*: choose another name"):
            await trained(world, recipe=replace(QUICK, trees=41))
        with pytest.raises(BadModel, match="kind 'logistic_votes', but version 1 has 'onnx_votes'"):
            await trained(world, recipe=LogisticRecipe(folds=3))
        assert (await shown(world.store, NAME))[0] == 1
        with pytest.raises(UnknownModel, match="no model 'learnt' version 2: it has 1 versions"):
            await shown(world.store, NAME, 2)


async def test_a_form_with_other_probabilities_is_never_recorded(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "boosted_to_onnx", lambda _model, features: trees(features))
    async with world_of(database_url, *minutes(1, 1_500)) as world:
        with pytest.raises(
            NotTheSame, match=r"learnt: \d+ of \d+ rows differ by over 1e-06; the worst is row"
        ):
            await trained(world)
        assert await world.store.streams("model-") == []


async def test_without_the_libraries_it_says_what_to_install(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    async with PostgresEventStore(database_url) as store:
        with pytest.raises(
            TrainingMissing, match=r"training needs scikit-learn and onnx .*alphapulse\[train\]"
        ):
            await trained(World(database_url, store))


async def test_what_is_missing_everywhere_is_named(database_url: str) -> None:
    """A venue that counts volume in quote currency gives none in base units, and no feature of it."""
    events = [replace(event, volume_unit="quote") for event in minutes(1, 1_000)]
    async with PostgresEventStore(database_url) as store:
        world = World(database_url, store)
        await world.writer.append(
            [set_of("return(5)", "volume_ratio(20)", name="core", timeframes=(1,)), *events]
        )
        await world.fold()
        message = (
            "all of 2 features and a label: volume_ratio_20 is missing in 1,000, return_5 is missing in 5$"
        )
        with pytest.raises(Unfittable, match=message):
            await trained(world)
        _, model = await trained(world, replace(CORE, features=("return_5",)))
    assert model.features == ("return_5",)


async def test_a_feature_that_is_not_looked_at_keeps_no_row_from_teaching(database_url: str) -> None:
    """A long average takes hundreds of bars until it forgets where the log began; a return does not."""
    async with PostgresEventStore(database_url) as store:
        world = World(database_url, store)
        defined = set_of("return(5)", "ema(50)", name="core", timeframes=(1,))
        await world.writer.append([defined, *minutes(1, 900)])
        await world.fold()
        alone = await taught_by(world, replace(CORE, features=("return_5",)))
        both = await taught_by(world, replace(CORE, features=("return_5", "ema_50")))
    assert len(alone) > len(both) > 0
    assert len(alone) > 880
    assert len(both) < 280
