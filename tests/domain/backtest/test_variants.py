"""What a person writes becomes strategies: every combination once, and nothing that could not be defined."""

from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.backtest.variants import AS_DEFINED, MAX_CONFIGURATIONS, Axis, BadVariant, variants
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy_decider import decide
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.versions import Versions

BASE = cast("StrategyDefined", decide(default_strategy("base", owner="me"), Versions())[0])


def made(*texts: str, without: tuple[str, ...] = (), **how: Any) -> Any:
    return variants(BASE, [Axis.parse(text) for text in texts], without, **how)


def test_without_any_wish_it_is_the_strategy_itself() -> None:
    (only,) = made()
    assert (only.name, only.strategy) == (AS_DEFINED, BASE)


def test_every_combination_is_a_strategy_of_its_own_under_the_name_and_version_of_the_first() -> None:
    found = made("gate.threshold=0.8,0.9", "risk.fee_bps=2,4,8")
    assert [v.name for v in found][:2] == [
        "gate.threshold=0.8, risk.fee_bps=2",
        "gate.threshold=0.8, risk.fee_bps=4",
    ]
    values = [(v.strategy.gate.threshold, v.strategy.risk.fee_bps) for v in found]
    assert values == [(t, f) for t in (0.8, 0.9) for f in (2.0, 4.0, 8.0)]
    assert {(v.strategy.name, v.strategy.version) for v in found} == {("base", 1)}
    assert len({v.strategy.digest for v in found}) == 6
    assert found[0].strategy.label == "research"


def test_a_value_that_the_strategy_has_already_is_the_strategy_itself() -> None:
    found = made("gate.threshold=0.85,0.9")
    assert found[0].strategy is BASE


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("quorum=3", lambda s: s.quorum == 3),
        ("timeframes=1m+15m", lambda s: s.timeframes == (1, 15)),
        ("instruments=bitmex:XBT_USD", lambda s: s.instruments == ("bitmex:XBT_USD",)),
        ("risk.sizing=kelly", lambda s: s.risk.sizing == "kelly"),
        ("risk.max_open=7", lambda s: s.risk.max_open == 7),
        ("geometries.1.stop_atr=2.5", lambda s: s.geometries[1].stop_atr == 2.5),
        ("geometries.0.to_levels=true", lambda s: s.geometries[0].to_levels),
        (
            "voters.technical_alignment.second=240",
            lambda s: {v.name: v for v in s.voters}["technical_alignment"].parameters["second"] == 240,
        ),
        ("adaptations.thin.change.size=0.25", lambda s: s.adaptations[1].change["size"] == 0.25),
    ],
)
def test_a_path_names_a_field_wherever_it_stands(text: str, of: Any) -> None:
    (found,) = made(text)
    assert of(found.strategy), found.strategy


def test_voters_can_be_left_out() -> None:
    (found,) = made(without=("technical_trend", "technical_volume"))
    names = [voter.name for voter in found.strategy.voters]
    assert len(names) == len(BASE.voters) - 2
    assert "technical_trend" not in names
    assert found.name == "without technical_trend, without technical_volume"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gate.threshold", "is not PATH=VALUE"),
        ("gate.threshold=", "is not PATH=VALUE"),
        ("=1", "is not PATH=VALUE"),
        ("gate.threshold=0.8,,0.9", "is not PATH=VALUE"),
        ("gate.threshold=0.8,0.8", "0.8 more than once"),
        ("gate.threshold=0.8,0.80", "are the same configuration"),
        ("gate.treshold=0.8", "gate has no 'treshold': it has breaker_outcomes"),
        ("gates.threshold=0.8", "a strategy has no 'gates': it has adaptations"),
        ("gate.threshold=high", "'high' is not a number"),
        ("gate.threshold=nan", "is not a number to decide by"),
        ("risk.max_open=2.5", "'2.5' is not a whole number"),
        ("gate.threshold=7", "threshold"),
        ("gate=0.8", "gate is no single value"),
        ("gate.threshold.deep=1", "gate.threshold has no 'deep'"),
        ("geometries.9.stop_atr=1", "geometries has no '9': it has 0, 1, 2"),
        ("geometries.-1.stop_atr=1", "geometries has no '-1'"),
        ("geometries.0.to_levels=yes", "is none of true, false"),
        ("voters.nobody.period=1", "voters has no 'nobody'"),
        ("voters.technical_trend.nothing=1", "has no 'nothing'"),
        ("timeframes=2m", "timeframe '2m' is none of"),
        ("name=other", "name decides nothing"),
    ],
)
def test_what_no_strategy_has_is_refused_with_the_values(text: str, says: str) -> None:
    with pytest.raises(BadVariant) as refused:
        made(text)
    assert says in str(refused.value)


def test_a_field_stands_once_and_a_voter_that_is_not_there_cannot_be_left_out() -> None:
    with pytest.raises(BadVariant, match="a field stands twice: quorum, quorum"):
        made("quorum=1", "quorum=2")
    with pytest.raises(BadVariant, match="no voter is called nobody: there are technical_trend"):
        made(without=("nobody",))


def test_a_strategy_that_could_not_be_defined_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadVariant, match="voter"):
        made(without=tuple(voter.name for voter in BASE.voters))


def test_there_is_a_limit_on_configurations_told_before_any_is_made() -> None:
    many = ",".join(str(n / 1_000) for n in range(1, 101))
    with pytest.raises(BadVariant) as refused:
        made(f"gate.margin={many}", f"min_consensus={many}", "quorum=1,2")
    assert f"are 20,000 configurations, at most {MAX_CONFIGURATIONS:,} are tried" in str(refused.value)
    assert len(made("quorum=1,2,3", most=3)) == 3
    with pytest.raises(BadVariant, match="4 configurations, at most 3"):
        made("quorum=1,2,3,4", most=3)


@given(st.text(alphabet=st.characters(exclude_characters=","), max_size=40))
def test_whatever_is_written_is_a_configuration_or_refused(text: str) -> None:
    with suppress(BadVariant):
        assert len(made(text)) == 1
