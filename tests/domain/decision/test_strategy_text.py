"""Strategies as files: what may be left out, what is refused, and that the documentation says what is."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alphapulse.domain.decision.strategy import (
    Adaptation,
    Gate,
    Geometry,
    Learning,
    Risk,
    StrategyDefined,
    VoterChoice,
)
from alphapulse.domain.decision.strategy_decider import DefineStrategy, decide, evolve
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.decision.strategy_limits import BadStrategy
from alphapulse.domain.decision.strategy_text import from_content, to_content
from alphapulse.domain.versions import Versions

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "strategies.md"
SMALL: dict[str, Any] = {
    "name": "small",
    "timeframes": ["5m", 60],
    "voters": ["technical.trend"],
    "geometries": [{"stop_atr": 1, "target_atr": 2, "horizon_bars": 10}],
    "quorum": 1,
}


def defined(command: DefineStrategy) -> StrategyDefined:
    (event,) = decide(command, Versions())
    assert isinstance(event, StrategyDefined)
    return event


def test_what_is_left_out_has_its_default() -> None:
    command = from_content(SMALL, owner="me")
    assert command == DefineStrategy(
        name="small",
        owner="me",
        timeframes=(5, 60),
        voters=(VoterChoice(name="technical_trend", kind="technical.trend"),),
        geometries=(Geometry(stop_atr=1, target_atr=2, horizon_bars=10),),
        quorum=1,
    )
    assert from_content({**SMALL, "owner": "you"}, owner="me").owner == "you"


def test_a_strategy_written_out_is_the_same_strategy() -> None:
    event = defined(default_strategy("default"))
    again = from_content(to_content(event), owner="nobody")
    assert decide(again, evolve(Versions(), event)) == []
    assert defined(again) == event


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"leverage": 3}, "leverage"),
        ({"risk": {"fees": 3}}, "risk have no fees: there are fee_bps, "),
        ({"gate": {"treshold": 0.9}}, "gate have no treshold"),
        ({"learning": {"x": 0.9, "a": 1}}, "learning have no a, x"),
        ({"voters": [{"name": "a", "kind": "technical.trend", "version": 2}]}, "voters have no version"),
        ({"geometries": [{"stop": 1}]}, "geometries have no stop"),
        ({"adaptations": [{"name": "a", "when": 1}]}, "adaptations have no when"),
        ({"timeframes": ["7m"]}, "timeframe '7m' is none of 1m, 5m"),
        ({"timeframes": "5m"}, "timeframes"),
        ({"voters": [3]}, "voters"),
        ({"risk": 3}, "risk"),
        ({"gate": {"threshold": "high"}}, r"gate\.threshold"),
    ],
)
def test_what_no_strategy_has_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadStrategy, match=words):
        from_content({**SMALL, **change}, owner="me")


@pytest.mark.parametrize("content", [[], "technical.trend", None, 3])
def test_what_is_no_table_is_refused(content: object) -> None:
    with pytest.raises(BadStrategy, match=f"not {type(content).__name__}"):
        from_content(content, owner="me")


def test_a_field_that_is_needed_is_named() -> None:
    with pytest.raises(BadStrategy, match="geometries"):
        from_content({k: v for k, v in SMALL.items() if k != "geometries"}, owner="me")


def test_the_example_of_the_documentation_can_be_defined() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text(), flags=re.DOTALL)
    event = defined(from_content(tomllib.loads(example), owner="me"))
    assert (event.name, event.timeframes, event.risk.sizing) == ("swing", (15,), "kelly")
    assert [seat.name for seat in event.voters][-1] == "patient"


@pytest.mark.parametrize("type_", [VoterChoice, Geometry, Adaptation, Gate, Learning, Risk, DefineStrategy])
def test_the_documentation_has_every_field_with_its_default(type_: type[msgspec.Struct]) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*)\|", DOCUMENTATION.read_text(), flags=re.MULTILINE))
    joint = " ".join(re.findall(r"^\| (`\w+`(?:, `\w+`)+) \|", DOCUMENTATION.read_text(), flags=re.MULTILINE))
    for field in msgspec.structs.fields(type_):
        if (type_, field.name) == (VoterChoice, "version"):
            continue
        assert field.name in rows or f"`{field.name}`" in joint
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert rows[field.name].replace(",", "").startswith(f"{field.default:g}")
