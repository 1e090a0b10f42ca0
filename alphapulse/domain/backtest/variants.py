"""Configurations of a search, from what a person writes: ``gate.threshold=0.80,0.85`` and the like.

A path names a field of a strategy as its file has it (docs/strategies.md): ``quorum``, ``gate.threshold``,
``geometries.0.stop_atr``, ``voters.trend.fast``, ``adaptations.thin.change.size``. Every combination is a
strategy of its own, checked as one that is defined.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import msgspec

from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy_decider import decide as define
from alphapulse.domain.decision.strategy_limits import BadStrategy
from alphapulse.domain.decision.strategy_text import from_content, to_content
from alphapulse.domain.versions import Versions

MAX_CONFIGURATIONS = 10_000
AS_DEFINED = "as defined"
_NAMES = ("name", "owner", "description")  # decide nothing


class BadVariant(ValueError):
    """What was asked for is no configuration: the message holds the values."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A field and the values that are tried, as they were written."""

    path: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Of ``PATH=VALUE,VALUE``. Raises BadVariant."""
        path, equals, rest = text.partition("=")
        values = tuple(value.strip() for value in rest.split(","))
        if not equals or not path.strip() or not all(values):
            raise BadVariant(f"{text!r} is not PATH=VALUE,VALUE… such as gate.threshold=0.80,0.85")
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise BadVariant(f"{text!r} holds {', '.join(twice)} more than once")
        return cls(path.strip(), values)


@dataclass(frozen=True, slots=True)
class Variant:
    """``name`` says what was asked for, ``strategy`` is what that comes to."""

    name: str
    strategy: StrategyDefined


def variants(
    base: StrategyDefined,
    axes: Sequence[Axis] = (),
    without: Sequence[str] = (),
    *,
    most: int = MAX_CONFIGURATIONS,
) -> Sequence[Variant]:
    """Every combination of the values of ``axes``, the last changing fastest, less the voters ``without``.

    Raises:
        BadVariant: over ``most``, a field or value that there is not, or one that no strategy can have.
    """
    if len({axis.path for axis in axes}) < len(axes):
        raise BadVariant(f"a field stands twice: {', '.join(axis.path for axis in axes)}")
    count = math.prod(len(axis.values) for axis in axes)
    if count > most:
        by = " x ".join(f"{len(axis.values)} of {axis.path}" for axis in axes)
        raise BadVariant(f"{by} are {count:,} configurations, at most {most:,} are tried")
    content = msgspec.json.encode(_less(to_content(base), without))
    found = [_variant(base, content, axes, values, without) for values in product(*(a.values for a in axes))]
    _check_distinct(found)
    return found


def _variant(
    base: StrategyDefined,
    content: bytes,
    axes: Sequence[Axis],
    values: Sequence[str],
    without: Sequence[str],
) -> Variant:
    words = [f"without {name}" for name in without]
    words += [f"{axis.path}={value}" for axis, value in zip(axes, values, strict=True)]
    changed: dict[str, Any] = msgspec.json.decode(content)
    for axis, value in zip(axes, values, strict=True):
        _set(changed, axis.path, value)
    return Variant(", ".join(words) or AS_DEFINED, _defined(base, changed) if words else base)


def _defined(base: StrategyDefined, content: Mapping[str, Any]) -> StrategyDefined:
    """``content`` under the name and version of ``base``. Raises BadVariant."""
    try:
        (made,) = define(from_content(content, owner=base.owner), Versions())
    except BadStrategy as error:
        raise BadVariant(str(error)) from None
    assert isinstance(made, StrategyDefined)
    return base if made.digest == base.digest else msgspec.structs.replace(made, version=base.version)


def _check_distinct(found: Sequence[Variant]) -> None:
    """Raises BadVariant: the same thing tried twice would count as two trials."""
    seen: dict[str, str] = {}
    for variant in found:
        other = seen.setdefault(variant.strategy.digest, variant.name)
        if other != variant.name:
            raise BadVariant(f"{variant.name!r} and {other!r} are the same configuration")


def _less(content: Mapping[str, Any], without: Sequence[str]) -> Mapping[str, Any]:
    names = [voter["name"] for voter in content["voters"]]
    if unknown := [name for name in without if name not in names]:
        raise BadVariant(f"no voter is called {', '.join(unknown)}: there are {', '.join(names)}")
    return {**content, "voters": [voter for voter in content["voters"] if voter["name"] not in without]}


def _set(content: dict[str, Any], path: str, text: str) -> None:
    """Raises BadVariant."""
    *way, last = _steps(path)
    at: Any = content
    for n, step in enumerate(way):
        at = _inside(at, step, ".".join(way[:n]))
    was = _inside(at, last, ".".join(way))
    at[_key(at, last)] = _value(path, text, was)


def _steps(path: str) -> list[str]:
    steps = path.split(".")
    if steps[0] in _NAMES:
        raise BadVariant(f"{steps[0]} decides nothing: there is no use in trying another")
    return [*steps[:2], "parameters", *steps[2:]] if steps[0] == "voters" and len(steps) == 3 else steps


def _inside(at: Any, step: str, where: str) -> Any:
    try:
        return at[_key(at, step)]
    except (KeyError, IndexError, TypeError, ValueError):
        raise BadVariant(f"{where or 'a strategy'} has no {step!r}: it has {_known(at)}") from None


def _key(at: Any, step: str) -> str | int:
    """Of a table the field; of a list the number, or the place of what has that name."""
    if not isinstance(at, list):
        return step
    names = [each.get("name") for each in at]
    if step in names:
        return names.index(step)
    if int(step) < 0:
        raise IndexError(step)
    return int(step)


def _known(at: Any) -> str:
    if isinstance(at, dict):
        return ", ".join(sorted(at.keys() - _NAMES)) or "no fields"
    if isinstance(at, list):
        return ", ".join(str(each.get("name", n)) for n, each in enumerate(at)) or "none"
    return "no fields"


def _value(path: str, text: str, was: Any) -> Any:
    """``text`` as a value of the kind that ``was`` is. Raises BadVariant."""
    match was:
        case bool():
            return _one_of(path, text, {"true": True, "false": False})
        case int() | float():
            return _number(path, text, type(was))
        case str():
            return text
        case list() if path in ("timeframes", "instruments"):
            return text.split("+")
    raise BadVariant(f"{path} is no single value: name a field in it, of {_known(was)}")


def _one_of(path: str, text: str, known: Mapping[str, Any]) -> Any:
    if text not in known:
        raise BadVariant(f"{path}={text} is none of {', '.join(known)}")
    return known[text]


def _number(path: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(text)
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise BadVariant(f"{path}={text}: {text!r} is not a {what}") from None
    if not math.isfinite(number):
        raise BadVariant(f"{path}={text}: {text!r} is not a number to decide by")
    return number
