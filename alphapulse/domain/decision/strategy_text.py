"""Strategies as people write them: the content of a JSON or TOML file, and back. docs/strategies.md has all.

The fields are those of DefineStrategy; timeframes may be called 5m or 1h, a voter may be just its kind.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from alphapulse.domain.decision.strategy import (
    Adaptation,
    Gate,
    Geometry,
    Learning,
    Risk,
    StrategyDefined,
    VoterChoice,
)
from alphapulse.domain.decision.strategy_decider import DefineStrategy
from alphapulse.domain.decision.strategy_limits import BadStrategy
from alphapulse.domain.market.timeframes import LABELS, TIMEFRAMES

_OF_DEFINED = ("version", "label", "code_versions", "digest")  # follow from the rest
_PARTS: Mapping[str, type[msgspec.Struct]] = {
    "voters": VoterChoice,
    "geometries": Geometry,
    "adaptations": Adaptation,
    "gate": Gate,
    "learning": Learning,
    "risk": Risk,
}


def from_content(content: object, *, owner: str) -> DefineStrategy:
    """What ``content`` asks for; ``owner`` where it names none.

    Raises:
        BadStrategy: it does not say what a strategy is; a field that none has is named.
    """
    if not isinstance(content, dict):
        raise BadStrategy(f"a strategy is a table of fields, not {type(content).__name__}")
    given: dict[str, Any] = {"owner": owner, **content}
    if isinstance(given.get("timeframes"), list):
        given["timeframes"] = [_minutes(timeframe) for timeframe in given["timeframes"]]
    if isinstance(given.get("voters"), list):
        given["voters"] = [_seat(voter) for voter in given["voters"]]
    for name, type_ in _PARTS.items():
        for part in _mappings(given.get(name)):
            _check_fields(name, part, type_)
    try:
        return msgspec.convert(given, DefineStrategy)
    except msgspec.ValidationError as error:
        raise BadStrategy(str(error)) from None


def to_content(defined: StrategyDefined) -> Mapping[str, Any]:
    """What ``from_content`` makes ``defined`` of again, everything written out."""
    content = {k: v for k, v in msgspec.to_builtins(defined).items() if k not in _OF_DEFINED}
    content["timeframes"] = [LABELS[minutes] for minutes in defined.timeframes]
    content["voters"] = [{k: v for k, v in seat.items() if k != "version"} for seat in content["voters"]]
    return content


def _minutes(timeframe: object) -> object:
    if not isinstance(timeframe, str):
        return timeframe
    if timeframe not in TIMEFRAMES:
        raise BadStrategy(f"timeframe {timeframe!r} is none of {', '.join(TIMEFRAMES)}")
    return TIMEFRAMES[timeframe]


def _seat(voter: object) -> object:
    """``technical.trend`` alone is a voter called technical_trend, with the defaults."""
    return {"name": voter.replace(".", "_"), "kind": voter} if isinstance(voter, str) else voter


def _mappings(part: object) -> Iterable[Mapping[str, Any]]:
    return [each for each in (part if isinstance(part, list) else [part]) if isinstance(each, dict)]


def _check_fields(name: str, part: Mapping[str, Any], type_: type[msgspec.Struct]) -> None:
    known = [field for field in type_.__struct_fields__ if (name, field) != ("voters", "version")]
    if unknown := sorted(set(part) - set(known)):
        raise BadStrategy(f"{name} have no {', '.join(unknown)}: there are {', '.join(known)}")
