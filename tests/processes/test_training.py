"""Isolation forests: fitted on the past only, recorded with a receipt, applied to what came later."""

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from alphapulse.adapters.forest_onnx import NotTheSame
from alphapulse.adapters.onnx import BadOnnx
from alphapulse.adapters.store.codec import decode
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, TIME, VOLUME, Floats
from alphapulse.domain.analysis.isolation import NO_MODEL, ForestRecipe, Version, feature_rows, score_bars
from alphapulse.domain.analysis.models import MAX_PART_BYTES, BadModel, FittedModel
from alphapulse.domain.analysis.registry import BadParameter
from alphapulse.domain.ports import EventStore
from alphapulse.processes import training
from alphapulse.processes.fitting import TrainingMissing, Unfittable, record_model
from alphapulse.processes.training import fit_isolation_forest, open_forest, versions_of
from alphapulse.projections.model_log import fitted_models
from tests.domain.analysis.series import walk

MINUTE_NS = 60_000_000_000
QUICK = ForestRecipe(trees=25, sample=128, window=1_500)


def bars_of(values: Floats) -> Bars:
    count = values.shape[1]
    numbers = np.arange(1, count + 1)
    return Bars(
        instrument="a:B", timeframe=1, values=values, position=numbers, input_position=numbers,
        known_time=(values[TIME].astype(np.int64) + 1) * MINUTE_NS, flags=np.zeros(count, np.int64),
    )  # fmt: skip


def market(count: int = 2_000, seed: int = 1) -> Bars:
    return bars_of(walk(count, seed))


def planted(count: int = 2_000, start: int = 1_600) -> tuple[Bars, list[int]]:
    """A market in which some bars after ``start`` are out of the ordinary, one way or another."""
    values = walk(count, 3)
    jump, burst, spike, silent = places = [start + 50, start + 120, start + 190, start + 260]
    values[OPEN : CLOSE + 1, jump:] *= 1.08
    values[VOLUME, burst] = 60 * np.median(values[VOLUME])
    values[HIGH, spike] *= 1.06
    values[VOLUME, spike] = 20 * np.median(values[VOLUME])
    values[LOW, silent], values[CLOSE, silent] = values[LOW, silent] * 0.95, values[CLOSE, silent] * 0.951
    return bars_of(values), places


def fitted(bars: Bars, recipe: ForestRecipe = QUICK, **changes: Any) -> FittedModel:
    return fit_isolation_forest(bars, recipe, "forest", **changes)


def test_planted_anomalies_rank_above_all_but_a_few_others() -> None:
    bars, places = planted()
    model = fitted(bars, until=int(bars.known_time[1_600]))
    scored = score_bars([Version(1, model.trained.known_time, open_forest(model))], bars)
    later = scored.score[1_601:]
    rank = {place: int((later > scored.score[place]).sum()) for place in places}
    assert max(rank.values()) < 20, rank  # of 399 bars
    assert np.median(list(rank.values())) < 8, rank
    assert scored.score[places].min() > model.metrics["score_quantile_0.9"]


def test_a_bar_is_judged_only_by_a_forest_that_was_fitted_before_it() -> None:
    bars = market()
    cutoffs = [int(bars.known_time[900]), int(bars.known_time[1_400])]
    models = [(i, fitted(bars, until=cutoff)) for i, cutoff in enumerate(cutoffs, 1)]
    scored = score_bars(versions_of(models), bars)
    assert scored.version.tolist() == [NO_MODEL] * 901 + [1] * 500 + [2] * 599
    assert np.isnan(scored.score[:901]).all()
    assert np.isfinite(scored.score[901:]).all()
    rows = feature_rows(QUICK.names, bars)
    assert np.array_equal(scored.score[1_401:], open_forest(models[1][1]).score(rows[1_401:]))
    assert np.array_equal(
        score_bars(versions_of(models), bars, since=1_000).score[1_000:], scored.score[1_000:]
    )


def test_nothing_that_was_known_after_the_cutoff_reaches_the_fit() -> None:
    bars = market()
    cutoff = int(bars.known_time[1_500])
    noise = bars.values.copy()
    noise[1:, 1_501:] = np.random.default_rng(1).uniform(1, 1e6, (7, 499))
    poisoned = replace(bars, values=noise)
    assert fitted(bars, until=cutoff).digest == fitted(poisoned, until=cutoff).digest
    assert fitted(bars, until=cutoff).digest == fitted(bars.take(slice(0, 1_501))).digest
    assert fitted(bars).digest != fitted(poisoned).digest
    assert fitted(bars, until=cutoff).trained.known_time == cutoff


def test_a_longer_history_gives_the_same_model() -> None:
    """Also where a feature never quite forgets its first bar."""
    bars, short = market(), replace(QUICK, window=500, features=("rsi(14)", "volume_anomaly.score"))
    assert fitted(bars, short).digest == fitted(bars.take(slice(900, None)), short).digest
    assert fitted(bars, short).trained.bars == 500


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    bars = market(800)
    assert fitted(bars) == fitted(bars)
    assert fitted(bars, replace(QUICK, seed=2)).artifact != fitted(bars).artifact


def test_the_receipt_says_what_was_compared() -> None:
    model = fitted(market(800))
    receipt = model.parameters["receipt"]
    assert receipt["rows_compared"] > 2_000  # bars, and the edges of all thresholds
    assert 0 < receipt["worst_difference"] < 2e-6
    assert model.libraries.keys() == {"scikit-learn", "onnx", "onnxruntime", "numpy"}
    assert model.code_versions.keys() == {
        "price_anomaly", "range_anomaly", "volume_anomaly", "volume_confirmation",
    }  # fmt: skip
    assert model.trained.bars == 800
    assert model.metrics["bars_used"] == 699


def test_a_model_whose_artifact_was_changed_is_not_opened() -> None:
    model, other = fitted(market(800)), fitted(market(800), replace(QUICK, seed=2))
    with pytest.raises(NotTheSame, match=r"forest: .* of 48 rows differ"):
        open_forest(msgspec.structs.replace(model, artifact=other.artifact))
    with pytest.raises(BadOnnx, match="onnxruntime does not take"):
        open_forest(msgspec.structs.replace(model, artifact=model.artifact[:1000]))


def test_a_form_that_scores_otherwise_is_never_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = training.forest_to_onnx(
        training._grow(np.random.default_rng(1).normal(size=(300, 5)), QUICK), 5
    )
    monkeypatch.setattr(training, "forest_to_onnx", lambda *_: elsewhere)
    with pytest.raises(NotTheSame, match=r"the worst is row \d+, \["):
        fitted(market(800))


def test_too_few_bars_are_no_training() -> None:
    with pytest.raises(Unfittable, match="forest: 63 of 164 bars have all features, 64 are needed"):
        fitted(market(164))
    assert fitted(market(165)).metrics["bars_used"] == 64


def test_bars_that_lack_a_feature_are_left_out_and_get_no_score() -> None:
    bars = market()
    bars.values[VOLUME, 700] = np.nan
    model = fitted(bars, until=int(bars.known_time[1_000]))
    assert model.metrics["bars_used"] == 1_001 - 101 - 101
    bars.values[VOLUME, 1_500] = np.nan
    scored = score_bars(versions_of([(1, model)]), bars)
    assert np.isnan(scored.score[1_500:1_601]).all()
    assert np.isfinite(scored.score[1_601:]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trees": 0}, "trees 0: 1 to 500"), ({"trees": 501}, "trees 501"), ({"sample": 15}, "sample 15"),
        ({"window": 63}, "window 63"), ({"seed": -1}, "seed -1"),
        ({"sample": 200, "window": 100}, "samples of 200 from a window of 100"),
        ({"features": ()}, "1 to 32 different ones"),
        ({"features": ("volume_anomaly.score", "volume_anomaly(100).score")}, "different ones"),
    ],
)  # fmt: skip
def test_a_recipe_has_limits(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadModel, match=message):
        ForestRecipe(**change)


def test_an_unknown_feature_is_refused() -> None:
    with pytest.raises(BadParameter, match="no indicator is called 'nonsense'"):
        ForestRecipe(features=("nonsense",))


def test_without_the_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(TrainingMissing, match=r"fitting needs scikit-learn and onnx .*alphapulse\[train\]"):
        fitted(market(300))


def test_another_kind_of_model_is_no_forest() -> None:
    other = msgspec.structs.replace(fitted(market(300)), kind="regime_gmm")
    with pytest.raises(BadModel, match="forest is a regime_gmm, no isolation_forest"):
        open_forest(other)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[EventStore]:
    async with PostgresEventStore(database_url) as store:
        yield store


async def test_a_forest_larger_than_an_event_survives_the_log(store: EventStore) -> None:
    large = fitted(market(), replace(QUICK, trees=220, sample=256))
    assert len(large.artifact) > MAX_PART_BYTES
    await record_model(store, large)
    assert await record_model(store, large) == []
    ((version, found),) = await fitted_models(store, decode, "forest")
    assert (version, found) == (1, large)
    bars = market()
    assert np.array_equal(
        score_bars([Version(1, 0, open_forest(found))], bars).score,
        score_bars([Version(1, 0, open_forest(large))], bars).score,
        equal_nan=True,
    )
