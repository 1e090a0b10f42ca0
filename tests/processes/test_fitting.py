"""Models of hidden states, fitted walk-forward into a real log."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from alphapulse.adapters.store.codec import decode
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import INPUTS
from alphapulse.domain.analysis.hidden_regimes import NO_MODEL, Recipe, score
from alphapulse.domain.analysis.models import MAX_PART_BYTES, BadModel, FittedModel
from alphapulse.domain.analysis.registry import BadParameter
from alphapulse.domain.ports import EventStore
from alphapulse.processes.fitting import (
    Fitting,
    TrainingMissing,
    Unfittable,
    check_usable,
    fit,
    fit_regimes,
    record_model,
    walk_forward,
)
from alphapulse.projections.model_log import TooManyParts, fitted_models

HOUR_NS = 3_600_000_000_000
KINDS = ("regime_gmm", "regime_hmm")


def recipe(kind: str = "regime_gmm", **changes: Any) -> Recipe:
    chosen: dict[str, Any] = {
        "features": ("natr(period=5)",), "window": 300, "every": 150, "starts": 2, "iterations": 15,
    }  # fmt: skip
    return Recipe(**{"kind": kind, **chosen, **changes})


def bars_of(close: Any, reach: Any) -> Bars:
    count = len(close)
    open_ = np.concatenate([close[:1], close[:-1]])
    values = np.ones((INPUTS, count))
    values[0] = 28_401_120 + 60 * np.arange(count)
    values[1:5] = open_, np.maximum(open_, close) + reach, np.minimum(open_, close) - reach, close
    known = (values[0].astype(np.int64) + 60) * 60_000_000_000
    numbers = np.arange(1, count + 1)
    return Bars(
        instrument="a:B", timeframe=60, values=values, known_time=known, position=numbers,
        input_position=numbers, flags=np.zeros(count, np.int64),
    )  # fmt: skip


def planted(count: int = 900, seed: int = 1, jumps: float = 0.01) -> tuple[Any, Bars]:
    """Calm and wild spells, and bars made of them."""
    rng = np.random.default_rng(seed)
    state = np.cumsum(rng.random(count) < jumps) % 2
    size = np.where(state == 1, 0.01, 0.002)
    close = 100 * np.exp(np.cumsum(size * rng.normal(0, 1, count)))
    return state, bars_of(close, size * close * np.abs(rng.normal(0, 0.5, count)))


def numbered(models: list[FittedModel]) -> list[tuple[int, FittedModel]]:
    return list(enumerate(models, 1))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[EventStore]:
    async with PostgresEventStore(database_url) as store:
        yield store


@pytest.mark.parametrize("kind", KINDS)
async def test_each_refit_is_an_event_with_the_range_of_its_data(kind: str, store: EventStore) -> None:
    _, bars = planted()
    reports: list[int] = []
    done = await fit_regimes(store, bars, recipe(kind), "m", progress=lambda f: reports.append(f.done))
    found = await fitted_models(store, decode, "m")
    assert found == done.recorded
    assert reports == [1, 2, 3, 4]
    assert [version for version, _ in found] == [1, 2, 3, 4]
    for nth, (_, model) in enumerate(found):
        first, last = 5 + 150 * nth, 5 + 150 * nth + 299  # natr(5) has its first value at bar 5
        t = model.trained
        assert (t.first_start, t.last_start) == (int(bars.start[first]), int(bars.start[last]))
        assert (t.first_position, t.last_position, t.bars) == (first + 1, last + 1, 300)
        assert t.known_time == int(bars.known_time[last])
        assert (model.kind, model.instrument, model.timeframe) == (kind, "a:B", 60)
        assert model.code_versions == {"natr": 1}
        assert {"scikit-learn", "hmmlearn"} <= set(model.libraries)
        assert model.metrics["bars_used"] == 300


@pytest.mark.parametrize("kind", KINDS)
def test_planted_regimes_are_found_again_out_of_sample(kind: str) -> None:
    state, bars = planted(1_800)
    models = numbered(list(walk_forward(bars, recipe(kind, window=600, every=600, iterations=50), "m")))
    scored = score(models, bars)
    known = scored.version != NO_MODEL
    assert known.sum() == 1_800 - 605
    assert adjusted_rand_score(state[known], scored.state[known]) > 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_in_the_order_of_volatility_in_every_refit(kind: str) -> None:
    _, bars = planted(1_500)
    for model in walk_forward(bars, recipe(kind, states=3, every=600), "m"):
        means = [row[0] for row in model.parameters["means"]]
        assert means == sorted(means)


@pytest.mark.parametrize("expanding", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_after_a_bar_changes_no_model_and_no_probability_up_to_it(kind: str, expanding: bool) -> None:
    _, bars = planted()
    _, other = planted(seed=99, jumps=0.2)
    chosen = recipe(kind, expanding=expanding, starts=1)
    models = list(walk_forward(bars, chosen, "m"))
    expected = score(numbered(models), bars)
    for t in (454, 455):  # the last bar of the second training, and the first after it
        values = bars.values.copy()
        values[1:, t + 1 :] = 3 * other.values[1:, t + 1 :]
        poisoned = with_values(bars, values)
        again = list(walk_forward(poisoned, chosen, "m"))
        early = [m.digest for m in models if m.trained.known_time <= bars.known_time[t]]
        assert [m.digest for m in again][: len(early)] == early
        got = score(numbered(again), poisoned)
        assert got.version[: t + 1].tolist() == expected.version[: t + 1].tolist()
        assert got.probabilities[: t + 1].tobytes() == expected.probabilities[: t + 1].tobytes()
        assert got.probabilities[t + 1 :].tobytes() != expected.probabilities[t + 1 :].tobytes()


def with_values(bars: Bars, values: Any) -> Bars:
    return Bars(
        instrument=bars.instrument, timeframe=bars.timeframe, values=values, known_time=bars.known_time,
        position=bars.position, input_position=bars.input_position, flags=bars.flags,
    )  # fmt: skip


def test_a_bar_is_only_scored_by_what_was_fitted_on_bars_known_before_it() -> None:
    _, bars = planted()
    models = numbered(list(walk_forward(bars, recipe(), "m")))
    scored = score(models, bars)
    cutoffs = {version: model.trained.known_time for version, model in models}
    for version, known_time in zip(scored.version.tolist(), bars.known_time.tolist(), strict=True):
        later = [v for v, cutoff in cutoffs.items() if cutoff < known_time]
        assert version == max(later, default=NO_MODEL)
    assert np.isnan(scored.probabilities[scored.version == NO_MODEL]).all()
    np.testing.assert_allclose(scored.probabilities[scored.version != NO_MODEL].sum(axis=1), 1)


def test_a_bar_known_at_the_very_moment_of_the_cutoff_is_not_scored_by_that_model() -> None:
    _, bars = planted()
    models = numbered(list(walk_forward(bars, recipe(), "m")))
    last = 304  # of the first training
    known = bars.known_time.copy()
    known[last + 1] = known[last]
    shifted = Bars(
        instrument="a:B", timeframe=60, values=bars.values, known_time=known, position=bars.position,
        input_position=bars.input_position, flags=bars.flags,
    )  # fmt: skip
    assert score(models, shifted).version[last : last + 3].tolist() == [NO_MODEL, NO_MODEL, 1]


def test_an_expanding_window_keeps_its_beginning() -> None:
    _, bars = planted()
    ranges = [m.trained for m in walk_forward(bars, recipe(expanding=True), "m")]
    assert {t.first_start for t in ranges} == {int(bars.start[5])}
    assert [t.bars for t in ranges] == [300, 450, 600, 750]


async def test_a_second_run_fits_nothing_again_and_a_later_one_only_what_is_new(store: EventStore) -> None:
    _, bars = planted()
    first = await fit_regimes(store, bars.take(slice(0, 700)), recipe(), "m")
    again = await fit_regimes(store, bars.take(slice(0, 700)), recipe(), "m")
    later = await fit_regimes(store, bars, recipe(), "m")
    assert [v for v, _ in first.recorded] == [1, 2, 3]
    assert (again.recorded, again.done) == ([], 3)
    assert [v for v, _ in later.recorded] == [4]
    assert await store.version("model-m") == 4


async def test_two_fitters_at_once_record_each_refit_once(store: EventStore) -> None:
    _, bars = planted()
    both = await asyncio.gather(*(fit_regimes(store, bars, recipe(), "m") for _ in range(2)))
    assert sorted(version for done in both for version, _ in done.recorded) == [1, 2, 3, 4]
    assert len(await fitted_models(store, decode, "m")) == 4


def test_a_bar_that_became_known_late_holds_later_cutoffs_back() -> None:
    """The training with it in knew more than the next ones without it would: these give no version."""
    _, bars = planted(760)
    known = bars.known_time.copy()
    known[6] = known[500]
    late = Bars(
        instrument="a:B", timeframe=60, values=bars.values, known_time=known, position=bars.position,
        input_position=bars.input_position, flags=bars.flags,
    )  # fmt: skip
    cutoffs = [m.trained.known_time for m in walk_forward(late, recipe(), "m")]
    assert cutoffs == [int(known[500]), int(known[604]), int(known[754])]


def test_the_same_fit_gives_the_same_digests() -> None:
    _, bars = planted(455)
    for kind in KINDS:
        once, twice = (list(walk_forward(bars, recipe(kind), "m")) for _ in range(2))
        assert [m.digest for m in once] == [m.digest for m in twice]


async def test_another_recipe_under_the_name_is_refused_even_if_nothing_is_to_fit(store: EventStore) -> None:
    _, bars = planted(400)
    await fit_regimes(store, bars, recipe(), "m")
    with pytest.raises(BadModel, match=r"m: recipe .*'states': 3.* but version 1 has .*'states': 2"):
        await fit_regimes(store, bars, recipe(states=3), "m")
    with pytest.raises(BadModel, match="m: kind 'regime_hmm', but version 1 has 'regime_gmm'"):
        await fit_regimes(store, bars, recipe("regime_hmm"), "m")
    assert await store.version("model-m") == 1


async def test_a_training_without_a_model_is_skipped_and_told(store: EventStore) -> None:
    _, bars = planted()
    values = bars.values.copy()
    values[1:5, 150:620] = 50.0  # the second and third training, from bar 151, see nothing else
    done = await fit_regimes(store, with_values(bars, values), recipe(features=("true_range",)), "m")
    assert len(done.skipped) == 2
    assert "deviations of the features are [0.0]" in done.skipped[0]
    assert [v for v, _ in done.recorded] == list(range(1, len(done.recorded) + 1))
    assert done.done == done.trainings == len(done.recorded) + len(done.skipped)


def test_a_training_with_too_many_holes_is_refused_with_its_numbers() -> None:
    _, bars = planted()
    rows = np.full((900, 1), np.nan)
    rows[:149] = 1.0
    with pytest.raises(Unfittable, match="m: bars 0 to 300: 149 have all features, 150 are needed"):
        fit(bars, rows, recipe(), "m", slice(0, 300))


async def test_too_few_bars_give_no_model(store: EventStore) -> None:
    _, bars = planted()
    done = await fit_regimes(store, bars.take(slice(0, 304)), recipe(), "m")
    assert (done.trainings, done.recorded) == (0, [])
    assert score([], bars).version.tolist() == [NO_MODEL] * 900


async def test_as_of_knows_the_versions_of_that_position(store: EventStore) -> None:
    _, bars = planted()
    done = await fit_regimes(store, bars, recipe(), "m")
    records = await store.read_stream("model-m")
    for nth, record in enumerate(records, 1):
        assert await fitted_models(store, decode, "m", as_of=record.position) == done.recorded[:nth]
        assert await fitted_models(store, decode, "m", as_of=record.position - 1) == done.recorded[: nth - 1]
    assert await fitted_models(store, decode, "other") == []
    assert await fitted_models(store, decode, "m", most=4) == done.recorded
    with pytest.raises(TooManyParts, match="model-m: over 3 events"):
        await fitted_models(store, decode, "m", most=3)


async def test_a_large_artifact_is_recorded_in_parts_and_read_back_whole(store: EventStore) -> None:
    _, bars = planted()
    [model, *_] = walk_forward(bars, recipe(), "m")
    large = msgspec.structs.replace(model, artifact=bytes(range(250)) * (MAX_PART_BYTES // 100))
    assert len(await record_model(store, large)) == 3
    assert await record_model(store, large) == []
    assert await fitted_models(store, decode, "m") == [(1, large)]
    second = (await store.read_stream("model-m"))[1].position
    assert await fitted_models(store, decode, "m", as_of=second) == []


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_say_the_same_give_a_model_that_can_be_applied_or_none(kind: str) -> None:
    _, bars = planted(455)
    same = ("realized_volatility(10)", "realized_volatility(period=10,bars_per_year=100)")
    models = numbered(list(walk_forward(bars, recipe(kind, features=same), "m")))
    scored = score(models, bars)
    np.testing.assert_allclose(scored.probabilities[scored.version != NO_MODEL].sum(axis=1), 1)


def test_a_model_that_rounding_made_singular_is_none() -> None:
    parameters = {
        "center": [0.0, 0.0], "scale": [1.0, 1.0], "weights": [1.0], "means": [[0.0, 0.0]],
        "covariances": [[[1.0, 1.0], [1.0, 1.0]]],
    }  # fmt: skip
    with pytest.raises(Unfittable, match=r"m: covariances .* are not positive definite"):
        check_usable("regime_gmm", parameters, "m")


def test_what_was_fitted_is_applied_without_the_libraries_of_the_fitting() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('sklearn', 'hmmlearn', 'threadpoolctl')))\n"
        "import alphapulse.domain.analysis.hidden_regimes, alphapulse.projections.model_log\n"
        "import alphapulse.cli.regimes, alphapulse.processes.fitting"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_without_the_libraries_it_says_how_to_get_them(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hmmlearn.hmm", None)  # as if it were not installed
    _, bars = planted()
    with pytest.raises(TrainingMissing, match=r"pip install 'alphapulse\[train\]'"):
        await fit_regimes(store, bars, recipe(), "m")
    assert await store.head() == 0


@pytest.mark.parametrize(("changes", "message"), [
    ({"kind": "svm"}, "'svm' is none of regime_gmm, regime_hmm"),
    ({"states": 9}, "states 9: 1 to 8"),
    ({"window": 49}, "window 49: 50 to 200000"),
    ({"every": 0}, "every 0: 1 to"),
    ({"starts": 51}, "starts 51"),
    ({"features": ()}, r"features \(\): 1 to 16"),
    ({"features": ("natr(5)", "natr(period=5)")}, "different ones are needed"),
    ({"window": 50, "states": 6}, "a window of 50 bars is too short for 6 states"),
])  # fmt: skip
def test_a_recipe_out_of_range_is_refused_with_its_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadModel, match=message):
        recipe(**changes)


def test_a_feature_that_is_none_is_refused() -> None:
    with pytest.raises(BadParameter, match="no indicator is called 'nonsense'"):
        recipe(features=("nonsense",))


def test_progress_counts_what_there_is_to_do() -> None:
    assert [(s.start, s.stop) for s in recipe().trainings(605)] == [(5, 305), (155, 455), (305, 605)]
    assert Fitting(trainings=3).done == 0
