"""Models that somebody brings along: tried on rows of the log, recorded, or refused with the values."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.onnx import BadOnnx
from alphapulse.domain.analysis.features import UnknownFeatureSet
from alphapulse.domain.analysis.models import BadModel, FittedModel
from alphapulse.processes.learned_models import open_learned
from alphapulse.processes.models import (
    Brought,
    register_file,
    shown,
)
from tests.domain.decision.learned_models import dense, trees
from tests.processes.feature_world import World
from tests.processes.learnable_logs import CORE, DEFINED, minutes, world_of
from tests.projections.market_log import T0


def brought(
    path: Path, artifact: bytes, names: Sequence[str] = ("rsi_14", "adx_14.plus_di"), **more: Any
) -> Brought:
    file = path / "mine.onnx"
    file.write_bytes(artifact)
    return Brought(path=file, name="mine", wish=replace(CORE, features=tuple(names)), **more)


async def test_a_model_of_ones_own_votes_after_it_was_tried(database_url: str, tmp_path: Path) -> None:
    async with world_of(database_url, *minutes(1, 1_500)) as world, await world.connect() as db:
        version, model = await register_file(world.store, db, brought(tmp_path, dense()))
        again = await register_file(world.store, db, brought(tmp_path, dense()))
        assert again == (version, model) == (1, await _model(world, "mine"))
    scorer = open_learned(model)
    assert model.recipe["set_digest"] == DEFINED.digest
    rows = np.random.default_rng(1).uniform(0, 100, (257, 2))
    together = scorer.score(rows)
    alone = np.concatenate([scorer.score(row[None]) for row in rows])
    assert together.tobytes() == alone.tobytes(), "whatever a matrix product does for one row and for many"
    assert ((together > 0) & (together < 1)).all()


async def _model(world: World, name: str) -> FittedModel:
    return (await shown(world.store, name))[1]


async def test_a_file_that_does_not_fit_is_refused_with_its_values_and_leaves_nothing(
    database_url: str, tmp_path: Path
) -> None:
    async with world_of(database_url, *minutes(1, 1_000)) as world, await world.connect() as db:

        async def refused(error: type[Exception], message: str, given: Brought) -> None:
            with pytest.raises(error, match=message):
                await register_file(world.store, db, given)

        head = await world.store.head()
        await refused(
            BadOnnx, r"mine: has .*\[None, 3\].* wanted float \[n, 2\]", brought(tmp_path, dense(3))
        )
        await refused(BadOnnx, "mine: 5 bytes that onnxruntime does not take", brought(tmp_path, b"hello"))
        await refused(BadOnnx, "mine: 0 bytes that onnxruntime does not take", brought(tmp_path, b""))
        await refused(
            BadOnnx, r"wanted float \[n, 2\] in and float \[n, 1\] out", brought(tmp_path, trees(2, 2))
        )
        await refused(BadModel, "rows get no probability; the first", brought(tmp_path, trees()))
        await refused(BadModel, "output 'odds' is none of", brought(tmp_path, trees(), output="odds"))
        unknown = brought(tmp_path, dense())
        await refused(UnknownFeatureSet, "version 9", replace(unknown, wish=replace(unknown.wish, version=9)))
        early = replace(unknown.wish, until=T0)
        await refused(BadModel, "mine: the log has no row of core to try it on", replace(unknown, wish=early))
        with pytest.raises(OSError, match="nowhere"):
            await register_file(world.store, db, replace(unknown, path=tmp_path / "nowhere"))
        assert await world.store.head() == head
