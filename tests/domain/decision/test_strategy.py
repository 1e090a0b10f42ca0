"""Strategies: what can be defined, what is refused with which values, when a version is new."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from alphapulse.domain.analysis.features import Feature
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.analysis.registry import find
from alphapulse.domain.decision import votes
from alphapulse.domain.decision.rules import seen
from alphapulse.domain.decision.strategy import (
    PRODUCTION,
    RESEARCH,
    Adaptation,
    Gate,
    Geometry,
    Learning,
    Risk,
    StrategyDefined,
    StrategyRetired,
    VoterChoice,
    change_of,
)
from alphapulse.domain.decision.strategy_decider import (
    ENGINE_RULES,
    SWINGS,
    DefineStrategy,
    RetireStrategy,
    UnknownStrategy,
    decide,
    evolve,
    problem_of,
    strategy,
    stream_for,
)
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.decision.strategy_limits import (
    MAX_ADAPTATIONS,
    MAX_GEOMETRIES,
    MAX_HORIZON_DAYS,
    MAX_INSTRUMENTS,
    MAX_SEATS,
    MAX_TEXT,
    MAX_VERSIONS,
    BadStrategy,
)
from alphapulse.domain.decision.votes import BadVoter, Kind, View, Vote, Voter
from alphapulse.domain.versions import Versions

NAN = float("nan")


class _Voter:
    inputs: Sequence[Feature] = (seen("rsi(14)"), seen("sma(20)"))
    version = 3

    def vote(self, view: View) -> Vote:
        raise NotImplementedError


def _make(numbers: Mapping[str, float], _: FittedModel | None) -> Voter:
    if numbers["least"] > 1:
        raise BadVoter(f"least {numbers['least']:g} needs a number up to 1")
    return _Voter()


PLAIN = Kind(name="test.plain", title="plain", parameters={"least": 0.5}, make=_make)
FITTED = Kind(name="test.fitted", title="fitted", model="booster", version=7, make=lambda *_: _Voter())


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    votes.kinds()  # the shipped ones are found first
    for kind in (PLAIN, FITTED):
        monkeypatch.setitem(votes._kinds, kind.name, kind)


SEAT = VoterChoice(name="one", kind="test.plain")
GEOMETRY = Geometry(stop_atr=2, target_atr=2, horizon_bars=100)
COMMAND = DefineStrategy(
    name="mine",
    owner="me",
    timeframes=(60, 5),
    voters=(SEAT, VoterChoice(name="two", kind="test.fitted", model="btc")),
    geometries=(GEOMETRY,),
)


def defined(command: DefineStrategy = COMMAND, state: Versions = Versions()) -> StrategyDefined:  # noqa: B008
    (event,) = decide(command, state)
    assert isinstance(event, StrategyDefined)
    return event


def test_a_definition_is_complete() -> None:
    """Parameters, versions of voters and of indicators are written out: they may change later."""
    event = defined()
    assert event.voters[0] == replace(SEAT, parameters={"least": 0.5}, version=3)
    assert event.voters[1].version == 7
    assert event.timeframes == (5, 60)
    assert event.code_versions["rsi"] == find("rsi").code_version
    assert {"atr", "regime", "rsi", "sma", "volume_ratio"} <= set(event.code_versions)
    assert (event.version, event.label) == (1, PRODUCTION)


@pytest.mark.parametrize(
    ("threshold", "label"), [(0.85, PRODUCTION), (0.8499999, RESEARCH), (0.999, PRODUCTION)]
)
def test_a_gate_under_85_percent_is_labelled_research(threshold: float, label: str) -> None:
    assert defined(replace(COMMAND, gate=Gate(threshold=threshold))).label == label


def test_the_same_content_again_is_no_new_version() -> None:
    state = evolve(Versions(), defined())
    assert decide(COMMAND, state) == []
    assert decide(replace(COMMAND, owner="you", description="other words", timeframes=(5, 60)), state) == []
    written_out = (replace(SEAT, parameters={"least": 0.5}), COMMAND.voters[1])
    assert decide(replace(COMMAND, voters=written_out), state) == []


@pytest.mark.parametrize(
    "change",
    [
        {"timeframes": (5,)},
        {"voters": (replace(SEAT, parameters={"least": 0.25}), COMMAND.voters[1])},
        {"voters": (replace(SEAT, name="other"), COMMAND.voters[1])},
        {"voters": (SEAT, replace(COMMAND.voters[1], model="eth"))},
        {"geometries": (replace(GEOMETRY, to_levels=True),)},
        {"instruments": ("kraken:BTC/USD",)},
        {"reference": "kraken:BTC/USD"},
        {"quorum": 1.5},
        {"min_consensus": 0.25},
        {"sharpness": 1.0},
        {"gate": Gate(margin=0.02)},
        {"learning": Learning(half_life=100)},
        {"risk": Risk(fee_bps=4)},
        {"adaptations": (Adaptation(name="calm", volatility="low"),)},
        {"parts": 2},
    ],
)
def test_whatever_decides_makes_another_version(change: dict[str, Any]) -> None:
    first = defined()
    second = defined(replace(COMMAND, **change), evolve(Versions(), first))
    assert (second.version, second.digest != first.digest) == (2, True)


def test_the_digest_covers_the_version_of_a_voter(monkeypatch: pytest.MonkeyPatch) -> None:
    first = defined()
    monkeypatch.setattr(_Voter, "version", 4)
    second = defined(COMMAND, evolve(Versions(), first))
    assert second.digest != first.digest
    assert problem_of(second) is None
    assert "one: defined with version 3 of test.plain, this code has version 4" in str(problem_of(first))


def test_the_digest_covers_the_code_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    from alphapulse.domain.analysis import registry

    first = defined()
    known = find("rsi")
    monkeypatch.setitem(
        registry._registered, "rsi", dataclasses.replace(known, code_version=known.code_version + 1)
    )
    second = defined(COMMAND, evolve(Versions(), first))
    assert second.digest != first.digest
    assert f"code version {known.code_version} of rsi" in str(problem_of(first))


def test_a_strategy_whose_voter_or_indicator_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    event = defined()
    gone = replace(event, code_versions={"gone": 1})
    assert "no indicator is called 'gone'" in str(problem_of(gone))
    monkeypatch.delitem(votes._kinds, "test.fitted")
    assert "no kind of voter is called 'test.fitted'" in str(problem_of(event))


def test_a_retired_version_comes_back_under_a_new_number() -> None:
    state = strategy.fold([defined(), StrategyRetired(name="mine", version=1, reason="")])
    assert defined(COMMAND, state).version == 2


def test_retiring_twice_changes_nothing_and_unknown_versions_are_refused() -> None:
    state = evolve(Versions(), defined())
    command = RetireStrategy(name="mine", version=1, reason="old")
    (event,) = decide(command, state)
    assert event == StrategyRetired(name="mine", version=1, reason="old")
    assert decide(command, evolve(state, event)) == []
    for version in (0, 2):
        with pytest.raises(UnknownStrategy, match=f"version {version}: there are 1 versions"):
            decide(RetireStrategy(name="mine", version=version, reason=""), state)


def seats(count: int) -> tuple[VoterChoice, ...]:
    return tuple(VoterChoice(name=f"v{i}", kind="test.plain") for i in range(count))


def geometries(count: int) -> tuple[Geometry, ...]:
    return tuple(Geometry(stop_atr=1 + i / 10, target_atr=1, horizon_bars=9) for i in range(count))


def adaptations(count: int) -> tuple[Adaptation, ...]:
    return tuple(Adaptation(name=f"a{i}") for i in range(count))


def changing(**change: float) -> tuple[Adaptation, ...]:
    return (Adaptation(name="a", change=change),)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "Mine"}, "strategy 'Mine'"),
    ({"name": "x" * 65}, "strategy 'xxx"),
    ({"owner": "x" * (MAX_TEXT + 1)}, "owner of 2001 characters"),
    ({"description": "\0"}, "description of 1 characters"),
    ({"timeframes": ()}, r"timeframes \[\]"),
    ({"timeframes": (5, 5)}, r"timeframes \[5, 5\]"),
    ({"timeframes": (7,)}, r"timeframes \[7\]"),
    ({"voters": ()}, "0 voters"),
    ({"voters": seats(MAX_SEATS + 1)}, "65 voters: a strategy has 1 to 64"),
    ({"voters": (SEAT, SEAT)}, "more than one voter is called one"),
    ({"voters": (replace(SEAT, name=""), SEAT)}, "voter '' needs a name"),
    ({"voters": (replace(SEAT, name="p", kind="no.such"), SEAT)}, "no kind of voter is called 'no.such'"),
    ({"voters": (replace(SEAT, name="p", parameters={"x": 1}), SEAT)}, "voter p: test.plain has no x"),
    ({"voters": (replace(SEAT, name="p", parameters={"least": 2}), SEAT)}, "least 2 needs a number up to 1"),
    ({"voters": (replace(SEAT, name="p", model="btc"), SEAT)}, "takes no model, it is given 'btc'"),
    ({"voters": (VoterChoice(name="m", kind="test.fitted"), SEAT)}, "needs a model of kind booster"),
    (
        {"voters": (VoterChoice(name="m", kind="test.fitted", model="b", parameters={"x": 1}), SEAT)},
        "test.fitted has no x",
    ),
    ({"quorum": 2.5}, "quorum 2.5 is over the 2 voters"),
    ({"quorum": 0.5}, "quorum 0.5 is not 1 to 64 voters"),
    ({"instruments": ("kraken",)}, "instrument 'kraken' is not venue:symbol"),
    ({"reference": "a:" + "x" * 119}, "instrument 'a:xxx"),
    ({"instruments": ("a:b", "a:b")}, "more than one instrument is called a:b"),
    ({"instruments": tuple(f"a:{i}" for i in range(MAX_INSTRUMENTS + 1))}, "10001 instruments"),
    ({"geometries": ()}, "0 geometries"),
    ({"geometries": geometries(MAX_GEOMETRIES + 1)}, "17 geometries"),
    ({"geometries": (GEOMETRY, GEOMETRY)}, r"geometries\[1\] is there before"),
    ({"geometries": (replace(GEOMETRY, stop_atr=0.09),)}, r"geometries\[0\].stop_atr 0.09 is not 0.1 to 20"),
    ({"geometries": (replace(GEOMETRY, target_atr=20.1),)}, r"target_atr 20.1"),
    ({"geometries": (replace(GEOMETRY, stop_atr=-1.0),)}, r"stop_atr -1.0"),
    ({"geometries": (replace(GEOMETRY, stop_atr=NAN),)}, r"stop_atr nan"),
    ({"geometries": (replace(GEOMETRY, horizon_bars=0),)}, "horizon_bars 0 is not whole, 1 to 5000 bars"),
    ({"geometries": (replace(GEOMETRY, horizon_bars=5_001),)}, "horizon_bars 5001"),
    ({"geometries": (replace(GEOMETRY, horizon_bars=10**9),)}, "horizon_bars 1000000000"),
    (
        {"timeframes": (1440,), "geometries": (replace(GEOMETRY, horizon_bars=401),)},
        "401 bars of 1d are 401.0 days, over 400",
    ),
    ({"min_consensus": 0.0}, "min_consensus 0.0 is not over 0 to 1"),
    ({"sharpness": 20.5}, "sharpness 20.5"),
    ({"parts": 0}, "parts 0 is not whole, 1 to 64"),
    ({"parts": 65}, "parts 65"),
    ({"gate": Gate(threshold=0.5)}, "gate.threshold 0.5 is not over 0.5 to under 1"),
    ({"gate": Gate(threshold=1.0)}, "gate.threshold 1.0"),
    ({"gate": Gate(threshold=NAN)}, "gate.threshold nan"),
    ({"gate": Gate(margin=-0.01)}, "gate.margin -0.01"),
    ({"gate": Gate(breaker_outcomes=29)}, "gate.breaker_outcomes 29"),
    ({"gate": Gate(breaker_outcomes=60, breaker_window=59)}, "breaker_window 59 never holds 60"),
    ({"learning": Learning(half_life=0.5)}, "learning.half_life 0.5"),
    ({"learning": Learning(prior_skill=0.0)}, "learning.prior_skill 0.0"),
    ({"learning": Learning(refit_ratio=0.0)}, "learning.refit_ratio 0.0"),
    ({"learning": Learning(least=300, window=299)}, "learning.window 299 never holds 300"),
    ({"risk": Risk(sizing="all_in")}, "risk.sizing 'all_in' is none of fixed_fractional"),
    ({"risk": Risk(fee_bps=-1)}, "risk.fee_bps -1"),
    ({"risk": Risk(risk_ratio=0.11)}, "risk.risk_ratio 0.11"),
    ({"risk": Risk(kelly_cap=1.01)}, "risk.kelly_cap 1.01"),
    ({"risk": Risk(max_drawdown_ratio=1.0)}, "risk.max_drawdown_ratio 1.0"),
    ({"risk": Risk(max_correlation=-0.1)}, "risk.max_correlation -0.1"),
    ({"risk": Risk(max_open=0)}, "risk.max_open 0"),
    (
        {"risk": Risk(min_size_ratio=0.5, max_size_ratio=0.4)},
        "min_size_ratio 0.5 is over the largest size, 0.4",
    ),
    ({"adaptations": adaptations(MAX_ADAPTATIONS + 1)}, "33 adaptations"),
    ({"adaptations": (Adaptation(name="a"), Adaptation(name="a"))}, "more than one adaptation is called a"),
    ({"adaptations": (Adaptation(name="a", regimes=("up",)),)}, r"regimes \['up'\] are none of trend_down"),
    ({"adaptations": (Adaptation(name="a", volume="huge"),)}, "volume 'huge' is not low or high"),
    ({"adaptations": changing(leverage=2)}, "changes 'leverage': none of stop, target"),
    ({"adaptations": changing(size=11)}, "a: size 11 is not 0.1 to 10"),
    (
        {"adaptations": changing(stop=10.0), "geometries": (replace(GEOMETRY, stop_atr=2.1),)},
        "stop_atr under",
    ),
    ({"adaptations": changing(consensus=-0.2)}, "min_consensus under adaptation a 0.0 is not over 0"),
    (
        {"adaptations": changing(horizon=10.0), "geometries": (replace(GEOMETRY, horizon_bars=501),)},
        "horizon_bars under adaptation a 5010",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_its_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadStrategy, match=message):
        decide(replace(COMMAND, **{"voters": seats(2), **change}), Versions())


@pytest.mark.parametrize(
    "change",
    [
        {"geometries": (replace(GEOMETRY, stop_atr=0.1, target_atr=20, horizon_bars=5_000),)},
        {"timeframes": (1440,), "geometries": (replace(GEOMETRY, horizon_bars=MAX_HORIZON_DAYS),)},
        {"voters": seats(MAX_SEATS), "quorum": 64.0},
        {"parts": 64},
        {"geometries": geometries(MAX_GEOMETRIES)},
        {"adaptations": adaptations(MAX_ADAPTATIONS)},
        {"adaptations": changing(stop=10.0, consensus=0.8), "geometries": (GEOMETRY,)},
    ],
)
def test_what_is_at_a_limit_can_be_defined(change: dict[str, Any]) -> None:
    assert defined(replace(COMMAND, **change)).version == 1


def test_two_seats_of_one_rule_may_be_taken() -> None:
    """Copies of one voter count once when votes are weighed; that is not decided here."""
    assert len(defined(replace(COMMAND, voters=seats(2))).voters) == 2


def test_a_voter_that_looks_at_smaller_bars_than_those_decided_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_Voter, "inputs", (seen("rsi(14)", timeframe=15),))
    with pytest.raises(BadStrategy, match=r"what voter one looks at, on bars of 60 minutes: .*timeframe 15"):
        decide(COMMAND, Versions())
    assert defined(replace(COMMAND, timeframes=(5, 15))).version == 1


def test_a_strategy_has_an_end_of_versions() -> None:
    state = Versions(tuple(str(i) for i in range(MAX_VERSIONS)))
    with pytest.raises(BadStrategy, match="mine has 1000 versions"):
        decide(COMMAND, state)


def test_the_stream_is_named_after_the_strategy() -> None:
    assert stream_for("mine.5m") == "strategy-mine.5m"
    with pytest.raises(BadStrategy):
        stream_for("")


def test_the_default_strategy_can_be_defined_and_run() -> None:
    event = defined(default_strategy("default"))
    assert problem_of(event) is None
    assert event.label == PRODUCTION
    assert len({seat.kind.partition(".")[0] for seat in event.voters}) >= 1
    assert {*ENGINE_RULES, SWINGS} <= set(event.code_versions)


def test_a_definition_comes_back_from_json() -> None:
    event = defined(default_strategy("default"))
    assert msgspec.json.decode(msgspec.json.encode(event), type=StrategyDefined) == event


def test_an_adaptation_that_is_silent_about_something_leaves_it() -> None:
    assert change_of(None) == {"stop": 1.0, "target": 1.0, "horizon": 1.0, "size": 1.0, "consensus": 0.0}
    assert change_of(changing(size=0.5)[0])["size"] == 0.5
