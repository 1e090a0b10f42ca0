"""Feature sets: what can be defined, what is refused, when a version is new."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from alphapulse.domain.analysis.features import (
    MAX_FEATURES,
    MAX_LAG,
    MAX_TEXT,
    MAX_VERSIONS,
    BadFeatureSet,
    DefineSet,
    Feature,
    RetireSet,
    SetDefined,
    SetRetired,
    UnknownFeatureSet,
    decide,
    evolve,
    feature_of,
    feature_set,
    problem_of,
    stream_of,
    warm_up,
)
from alphapulse.domain.analysis.registry import find
from alphapulse.domain.versions import Versions

RSI = Feature(name="rsi", rule="rsi")
COMMAND = DefineSet(name="mine", owner="me", description="", timeframes=(60, 1), features=(RSI,))


def defined(command: DefineSet = COMMAND, state: Versions = Versions()) -> SetDefined:  # noqa: B008
    (event,) = decide(command, state)
    assert isinstance(event, SetDefined)
    return event


def test_a_definition_is_complete() -> None:
    """Defaults, output and code version are written out: they may change one day, the set does not."""
    event = defined()
    (feature,) = event.features
    assert feature.parameters == {"period": 14.0}
    assert (feature.output, feature.code_version) == ("rsi", find("rsi").code_version)
    assert event.timeframes == (1, 60)
    assert event.version == 1


def test_the_same_content_again_is_no_new_version() -> None:
    state = evolve(Versions(), defined())
    assert decide(COMMAND, state) == []
    assert decide(replace(COMMAND, features=(replace_feature(RSI, parameters={"period": 14}),)), state) == []
    assert decide(replace(COMMAND, owner="you", description="other words"), state) == []


def replace_feature(feature: Feature, **changes: Any) -> Feature:
    return msgspec.structs.replace(feature, **changes)


@pytest.mark.parametrize(
    "other",
    [
        replace(COMMAND, timeframes=(1,)),
        replace(COMMAND, features=(replace_feature(RSI, parameters={"period": 15}),)),
        replace(COMMAND, features=(replace_feature(RSI, lag=1),)),
        replace(COMMAND, features=(replace_feature(RSI, name="other"),)),
        replace(COMMAND, features=(replace_feature(RSI, timeframe=60),)),
        replace(COMMAND, features=(RSI, Feature(name="sma", rule="sma"))),
    ],
)
def test_other_content_is_the_next_version(other: DefineSet) -> None:
    first = defined()
    second = defined(other, evolve(Versions(), first))
    assert second.version == 2
    assert second.digest != first.digest


def test_the_digest_covers_the_code_version(monkeypatch: pytest.MonkeyPatch) -> None:
    first = defined()
    known = replace(find("rsi"), code_version=find("rsi").code_version + 1)
    monkeypatch.setitem(registered(), "rsi", known)
    second = defined(COMMAND, evolve(Versions(), first))
    assert second.digest != first.digest
    assert problem_of(second) is None
    assert "define the set again" in str(problem_of(first))


def registered() -> dict[str, Any]:
    from alphapulse.domain.analysis import registry

    return registry._registered


def test_a_set_whose_rule_is_gone_says_so() -> None:
    event = defined()
    gone = msgspec.structs.replace(event, features=(replace_feature(event.features[0], rule="gone"),))
    assert "no indicator is called 'gone'" in str(problem_of(gone))


def test_a_retired_version_comes_back_under_a_new_number() -> None:
    retired = SetRetired(name="mine", version=1, reason="")
    state = feature_set.fold([defined(), retired])
    assert defined(COMMAND, state).version == 2


def test_retiring_twice_changes_nothing_and_unknown_versions_are_refused() -> None:
    state = evolve(Versions(), defined())
    command = RetireSet(name="mine", version=1, reason="old")
    (event,) = decide(command, state)
    assert event == SetRetired(name="mine", version=1, reason="old")
    assert decide(command, evolve(state, event)) == []
    for version in (0, 2):
        with pytest.raises(UnknownFeatureSet, match=f"version {version}: there are 1 versions"):
            decide(RetireSet(name="mine", version=version, reason=""), state)


def with_feature(**changes: Any) -> DefineSet:
    return replace(COMMAND, features=(replace_feature(RSI, **changes),))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (with_feature(rule="rzi"), "no indicator is called 'rzi'"),
        (with_feature(parameters={"length": 3}), "rsi has no length: it takes period"),
        (with_feature(parameters={"period": 0.5}), "period 0.5 needs a whole number"),
        (with_feature(output="upper"), "rsi has no output 'upper': it gives rsi"),
        (with_feature(rule="macd"), "macd has no output '': it gives macd, signal, histogram"),
        (with_feature(timeframe=7), r"timeframe 7 \(minutes\) is none of ours"),
        (with_feature(timeframe=15), r"smaller than that of the rows \(60\)"),
        (with_feature(lag=-1), f"lag -1 is not 0 to {MAX_LAG}"),
        (with_feature(lag=MAX_LAG + 1), f"lag {MAX_LAG + 1} is not"),
        (with_feature(name="Big Name"), "feature 'Big Name' needs"),
        (replace(COMMAND, features=(RSI, RSI)), "more than one feature is called rsi"),
        (replace(COMMAND, features=()), f"0 features, a set has 1 to {MAX_FEATURES}"),
        (replace(COMMAND, features=[RSI] * (MAX_FEATURES + 1)), f"{MAX_FEATURES + 1} features"),
        (replace(COMMAND, timeframes=()), r"timeframes \[\]"),
        (replace(COMMAND, timeframes=(1, 1)), r"timeframes \[1, 1\]"),
        (replace(COMMAND, timeframes=(2,)), r"timeframes \[2\]"),
        (replace(COMMAND, name="Mine!"), "feature set 'Mine!' needs"),
        (replace(COMMAND, description="x" * (MAX_TEXT + 1)), f"description of {MAX_TEXT + 1} characters"),
        (replace(COMMAND, owner="a\0b"), "owner of 3 characters"),
    ],
)
def test_what_can_not_be_defined_is_refused_with_its_values(command: DefineSet, message: str) -> None:
    with pytest.raises(BadFeatureSet, match=message):
        decide(command, Versions())


def test_the_limits_themselves_are_allowed() -> None:
    many = [Feature(name=f"f{n}", rule="rsi", lag=n % (MAX_LAG + 1)) for n in range(MAX_FEATURES)]
    assert len(defined(replace(COMMAND, features=many, description="x" * MAX_TEXT)).features) == MAX_FEATURES
    full = Versions(digests=("x",) * MAX_VERSIONS)
    assert defined(COMMAND, Versions(digests=full.digests[1:])).version == MAX_VERSIONS
    with pytest.raises(BadFeatureSet, match=f"mine has {MAX_VERSIONS} versions"):
        decide(COMMAND, full)


@pytest.mark.parametrize(
    ("text", "name", "rule", "output"),
    [
        ("rsi", "rsi_14", "rsi", ""),
        ("rsi(period=21)", "rsi_21", "rsi", ""),
        ("macd.signal", "macd_12_26_9.signal", "macd", "signal"),
        ("bbands(20,2.5).upper", "bbands_20_2.5.upper", "bbands", "upper"),
        ("psar(acceleration=0.02).direction", "psar_0.02_0.2.direction", "psar", "direction"),
    ],
)
def test_a_feature_can_be_written_in_one_line(text: str, name: str, rule: str, output: str) -> None:
    feature = feature_of(text)
    assert (feature.name, feature.rule, feature.output) == (name, rule, output)
    decide(replace(COMMAND, features=(feature,)), Versions())


@pytest.mark.parametrize("text", ["rsi(", "nothing", "rsi(period=x)", "rsi(1,2,3)"])
def test_a_line_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadFeatureSet):
        feature_of(text)


def test_warm_up_counts_the_lag() -> None:
    features = (Feature(name="a", rule="sma", parameters={"period": 5}), Feature(name="b", rule="obv", lag=2))
    assert warm_up(defined(replace(COMMAND, features=features))) == {"a": (4, 5), "b": (2, None)}


def test_a_stream_is_named_after_its_set() -> None:
    assert stream_of("core-2.x") == "feature-set-core-2.x"
