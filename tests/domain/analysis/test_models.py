"""The life of a fitted model: recorded once, in parts where it is large, never mixed with another recipe."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.models import (
    MAX_FEATURES,
    MAX_PARAMETER_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MAX_VERSIONS,
    BadModel,
    FittedModel,
    ModelFitted,
    RecordModel,
    Trained,
    Versions,
    assemble,
    model_decider,
    stream_of,
)

MINUTE = 60_000_000_000
LATER = Trained(
    first_start=0, last_start=18, first_position=1, last_position=5, known_time=20 * MINUTE, bars=9
)
BIG = bytes(range(256)) * 6_000  # 1.5 MB: three parts


def trained(cutoff: int = 10) -> Trained:
    """A model on the 1m bars that start at minutes 0 to ``cutoff`` - 1."""
    return Trained(
        first_start=0, last_start=cutoff - 1, first_position=1, last_position=5,
        known_time=cutoff * MINUTE, bars=cutoff,
    )  # fmt: skip


def model(cutoff: int = 10, **changes: Any) -> FittedModel:
    facts: dict[str, Any] = {
        "name": "m", "kind": "regime_hmm", "instrument": "a:B", "timeframe": 1,
        "features": ("sma(period=20)",), "recipe": {"states": 2}, "trained": trained(cutoff),
        "parameters": {"means": [0.5, 1.5]},
    }  # fmt: skip
    return FittedModel(**{**facts, **changes})


def recorded(*models: FittedModel) -> list[ModelFitted]:
    """The events of recording ``models`` one after the other, each until there is nothing to do."""
    events: list[ModelFitted] = []
    state = Versions()
    for one in models:
        while new := model_decider.decide(RecordModel(one), state):
            events += new
            state = model_decider.fold(new, state)
    return events


def after(*models: FittedModel) -> Versions:
    return model_decider.fold(recorded(*models))


def places(events: Sequence[ModelFitted]) -> list[tuple[int, int, int]]:
    return [(e.version, e.part, e.parts) for e in events]


def test_versions_count_from_one_without_holes() -> None:
    assert places(recorded(model(10), model(20), model(30))) == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]


def test_the_same_model_again_changes_nothing_however_late() -> None:
    assert places(recorded(model(10), model(20), model(10), model(20))) == [(1, 1, 1), (2, 1, 1)]


def test_a_large_artifact_goes_in_parts_and_comes_back_whole() -> None:
    big = model(artifact=BIG)
    events = recorded(big, model(20))
    assert places(events) == [(1, 1, 3), (1, 2, 3), (1, 3, 3), (2, 1, 1)]
    assert [event.model.parameters for event in events[1:3]] == [{}, {}]
    assert list(assemble(events)) == [(1, big), (2, model(20))]


def test_an_artifact_at_the_limit_of_a_part_is_one_part() -> None:
    assert places(recorded(model(artifact=bytes(MAX_PART_BYTES)))) == [(1, 1, 1)]
    assert places(recorded(model(artifact=bytes(MAX_PART_BYTES + 1)))) == [(1, 1, 2), (1, 2, 2)]


def test_a_full_part_fits_the_store() -> None:
    event = recorded(model(artifact=bytes(MAX_PART_BYTES), parameters={"a": "x" * 70_000}))[0]
    assert len(msgspec.json.encode(event)) < 900_000


def test_a_version_whose_fitter_died_is_resumed_where_it_stopped() -> None:
    events = recorded(model(artifact=BIG))
    state = model_decider.fold(events[:2])
    assert model_decider.decide(RecordModel(model(artifact=BIG)), state) == events[2:]


def test_a_version_that_was_never_complete_is_taken_over_by_the_next_model() -> None:
    begun = recorded(model(10, artifact=BIG))[:2]
    state = model_decider.fold(begun)
    taken = model_decider.decide(RecordModel(model(20)), state)
    assert places(taken) == [(1, 1, 1)]
    assert list(assemble([*begun, *taken])) == [(1, model(20))]


def test_a_state_does_not_hold_the_artifacts() -> None:
    state = model_decider.fold(recorded(model(artifact=BIG))[:2])
    assert sum(len(event.model.artifact) for event in state.pending) <= MAX_PART_BYTES


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "regime_gmm"}, {"instrument": "a:C"}, {"timeframe": 2}, {"features": ("ema(period=20)",)},
        {"recipe": {"states": 3}},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_another_recipe_under_the_same_name_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadModel, match=f"m: {next(iter(change))} .* but version 1 has .*another name"):
        model_decider.decide(RecordModel(model(20, **{"trained": LATER, **change})), after(model(10)))


def test_a_model_that_knows_no_more_than_the_last_one_is_refused() -> None:
    with pytest.raises(BadModel, match=r"known by 600000000000, but version 1 already .* 600000000000"):
        model_decider.decide(RecordModel(model(10, seed=2)), after(model(10)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "No"}, "'No': a model's name"),
        ({"name": "a" * 101}, "a model's name has 1 to 100"),
        ({"features": ()}, "0 features, 1 to 200"),
        ({"features": ("x",) * (MAX_FEATURES + 1)}, "201 features"),
        ({"metrics": {"loss": float("nan")}}, "m: metrics.loss: nan is neither"),
        ({"parameters": {"means": [[1.0, float("inf")]]}}, r"parameters.means\[0\]\[1\]: inf is neither"),
        ({"parameters": {"means": (1.0,)}}, r"parameters.means: \(1.0,\) is neither"),
        ({"parameters": {"n": 1 << 63}}, "parameters.n: 9223372036854775808"),
        ({"recipe": {1: 2}}, "recipe: the key 1 is no text"),
        ({"parameters": {"a": "x" * MAX_PARAMETER_BYTES}}, "bytes besides the artifact, over 80000"),
        ({"artifact": bytes(MAX_PARTS * MAX_PART_BYTES + 1)}, "19200001 bytes, over 19200000"),
        ({"timeframe": 0}, "the last bar of 0 minutes"),
        ({"timeframe": 5}, "the last bar of 5 minutes ends at 840000000000, after 600000000000"),
        ({"trained": msgspec.structs.replace(trained(), bars=0)}, "0 bars from 0 to 9"),
        ({"trained": msgspec.structs.replace(trained(), first_start=10)}, "bars from 10 to 9"),
        ({"trained": msgspec.structs.replace(trained(), first_position=6)}, "positions 6 to 5"),
    ],
)
def test_what_is_no_model_is_refused_with_its_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadModel, match=message):
        model_decider.decide(RecordModel(model(**change)), Versions())


def test_there_is_a_most_of_versions() -> None:
    full = Versions({str(n): n for n in range(MAX_VERSIONS)}, model(10))
    with pytest.raises(BadModel, match="has 10000 versions, the most there may be"):
        model_decider.decide(RecordModel(model(20)), full)


def test_parts_that_do_not_make_the_whole_are_noticed() -> None:
    first, second, third = recorded(model(artifact=BIG))
    for damaged in ([first, third], [third], [second, third]):
        with pytest.raises(BadModel, match="1 of 3 parts give"):
            list(assemble(damaged))
    swapped = msgspec.structs.replace(second, model=third.model)
    with pytest.raises(BadModel, match=r"m version 1: 3 of 3 parts give \w{64}, recorded is \w{64}"):
        list(assemble([first, swapped, third]))


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(1 << 63), (1 << 63) - 1)
plain = st.recursive(numbers | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(parameters=st.dictionaries(st.text(max_size=5), plain, max_size=4), seed=st.integers(0, 9))
def test_digest_and_content_survive_the_log(parameters: dict[str, Any], seed: int) -> None:
    one = model(parameters=parameters, seed=seed)
    stored = [msgspec.json.decode(msgspec.json.encode(e), type=ModelFitted) for e in recorded(one)]
    assert list(assemble(stored)) == [(1, one)]
    shuffled = model(parameters=dict(reversed(parameters.items())), seed=seed)
    assert shuffled.digest == one.digest


@given(seeds=st.lists(st.integers(0, 3), min_size=2, max_size=2, unique=True))
def test_another_content_has_another_digest(seeds: list[int]) -> None:
    assert model(seed=seeds[0]).digest != model(seed=seeds[1]).digest


def test_a_stream_is_named_after_its_model() -> None:
    assert stream_of("btc-1h.hmm") == "model-btc-1h.hmm"
