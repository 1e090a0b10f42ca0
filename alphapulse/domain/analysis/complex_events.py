"""Complex events: "A, then B within n bars, while C" over outputs of indicators.

An event is data: steps of conditions, each with how many bars after the one before it may come, and a
condition that holds throughout. It matches at bar t when there are bars t1 < t2 < … = t at which the
steps are true, no two neighbours farther apart than allowed, and ``throughout`` is true at every bar from
t1 to t. A match uses its bars up: the next one begins after it. Of several ways to match, each step
takes the latest bar that it can.

Where a value is missing (NaN) a comparison is neither true nor false, and so is ``not`` of it; only what is
true counts. complex_event_text.py has the text form, complex_event_watch.py finds the matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from alphapulse.domain.analysis.columns import Column
from alphapulse.domain.analysis.fields import Field, Floats

MAX_STEPS = 8
MAX_WITHIN = 2_000  # bars
MAX_COMPARISONS = 50

Operand = float | Field | Column

OPERATORS = ("<=", ">=", "==", "!=", "<", ">", "crosses above", "crosses below")


class BadEvent(ValueError):
    """More steps, bars or comparisons than allowed, or values that are not those of its columns."""


@dataclass(frozen=True)
class Comparison:
    """``crosses above``: greater now, and not greater on the bar before; both bars have values."""

    left: Operand
    operator: str
    right: Operand

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise BadEvent(f"{self.operator!r} is none of {', '.join(OPERATORS)}")
        if isinstance(self.left, float) and isinstance(self.right, float):
            raise BadEvent(f"{self}: two numbers, nothing that moves")

    def __str__(self) -> str:
        return f"{text_of(self.left)} {self.operator} {text_of(self.right)}"


@dataclass(frozen=True)
class Not:
    of: "Condition"

    def __str__(self) -> str:
        return f"not {_inside(self.of)}"


@dataclass(frozen=True)
class And:
    parts: tuple["Condition", ...]

    def __str__(self) -> str:
        return " and ".join(map(_inside, self.parts))


@dataclass(frozen=True)
class Or:
    parts: tuple["Condition", ...]

    def __str__(self) -> str:
        return " or ".join(map(_inside, self.parts))


Condition = Comparison | Not | And | Or


@dataclass(frozen=True)
class Step:
    """``within``: at most so many bars after the step before it; 0 for the first one."""

    condition: Condition
    within: int = 0


@dataclass(frozen=True)
class ComplexEvent:
    steps: tuple[Step, ...]
    throughout: Condition | None = None

    def __post_init__(self) -> None:
        """Raises BadEvent when there are too many steps, bars or comparisons."""
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise BadEvent(f"{len(self.steps)} steps: 1 to {MAX_STEPS} are allowed")
        for nth, step in enumerate(self.steps):
            low, high = (1, MAX_WITHIN) if nth else (0, 0)
            if not low <= step.within <= high:
                raise BadEvent(f"step {nth + 1} within {step.within} bars: {low} to {high} are allowed")
        count = sum(len(comparisons(c)) for c in self.conditions)
        if count > MAX_COMPARISONS:
            raise BadEvent(f"{count} comparisons, over {MAX_COMPARISONS}")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        always = () if self.throughout is None else (self.throughout,)
        return (*(step.condition for step in self.steps), *always)

    @cached_property
    def operands(self) -> tuple[Field | Column, ...]:
        """What has to be handed in as values, in this order: fields of the bar and columns, each once."""
        found = [o for c in self.conditions for each in comparisons(c) for o in (each.left, each.right)]
        return tuple(dict.fromkeys(o for o in found if not isinstance(o, float)))

    def __str__(self) -> str:
        first, *later = self.steps
        text = str(first.condition) + "".join(f" then {s.condition} within {s.within} bars" for s in later)
        return text if self.throughout is None else f"{text} while {self.throughout}"


def explain(event: ComplexEvent, match: Sequence[int], values: Floats) -> list[str]:
    """A sentence for each step of ``match``: its bar, its condition and the values that made it true.

    ``values`` (operands, T, slots) reach back to the bar 0 of the counting; the first slot is explained.
    """
    lines = []
    for step, bar in zip(event.steps, match, strict=True):
        named = {o for each in comparisons(step.condition) for o in (each.left, each.right)}
        facts = [f"{_short(o)} = {values[i, bar, 0]:.6g}" for i, o in enumerate(event.operands) if o in named]
        lines.append(f"bar {bar}: {_readable(step.condition, event)} ({', '.join(facts)})")
    if event.throughout is not None:
        lines.append(f"bars {match[0]} to {match[-1]}: {_readable(event.throughout, event)}")
    return lines


def _readable(condition: Condition, event: ComplexEvent) -> str:
    text = str(condition)
    for operand in event.operands:
        text = text.replace(text_of(operand), _short(operand))
    return text


def _short(operand: Field | Column) -> str:
    return operand.short if isinstance(operand, Column) else text_of(operand)


def text_of(operand: Operand) -> str:
    if isinstance(operand, float):
        return f"{operand:.17g}"
    return operand.name.lower() if isinstance(operand, Field) else str(operand)


def _inside(condition: Condition) -> str:
    return f"({condition})" if isinstance(condition, And | Or) else str(condition)


def comparisons(condition: Condition) -> list[Comparison]:
    match condition:
        case Comparison():
            return [condition]
        case Not(of=of):
            return comparisons(of)
        case And(parts=parts) | Or(parts=parts):
            return [found for part in parts for found in comparisons(part)]
