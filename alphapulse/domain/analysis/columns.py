"""One output of an indicator, by name: ``rsi(14)``, ``bbands(20,2).upper``, ``regime.adx``."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.panel import Plan, compute
from alphapulse.domain.analysis.registry import BadParameter, Spec


@dataclass(frozen=True, slots=True, order=True)
class Column:
    spec: Spec
    output: int  # which of the indicator's outputs

    @classmethod
    def parse(cls, text: str) -> "Column":
        """Without ``.output`` it is the only one, or the one that bears the indicator's name.

        Raises:
            BadParameter: no such indicator, parameter or output.
        """
        bracket = text.rfind(")")
        head, dot, name = text[bracket + 1 :].strip().partition(".")
        spec = Spec.parse(text[: bracket + 1] + head)
        names = [output.name for output in spec.known.outputs]
        wanted = name.strip() if dot else names[0] if len(names) == 1 else spec.indicator
        if wanted not in names:
            raise BadParameter(f"{text.strip()!r}: {spec.indicator} gives {', '.join(names)}: say which")
        return cls(spec, names.index(wanted))

    def __str__(self) -> str:
        return self.spec.columns[self.output]

    @property
    def short(self) -> str:
        """For people: without the parameters that have their default. It reads as the same column."""
        known, params = self.spec.known, self.spec.params
        pairs = zip(known.parameters, params, strict=True)
        chosen = [f"{p.name}={repr(v).removesuffix('.0')}" for p, v in pairs if v != p.default]
        head = f"{self.spec.indicator}({','.join(chosen)})" if chosen else self.spec.indicator
        return head if len(known.outputs) == 1 else f"{head}.{known.outputs[self.output].name}"


def plan_of(columns: Sequence[Column]) -> Plan:
    """The indicators behind ``columns``, each once, in alphabetical order."""
    return Plan(sorted({column.spec for column in columns}))


def rows_in(plan: Plan, columns: Sequence[Column]) -> list[int]:
    """Which of the plan's outputs each column is."""
    return [plan.columns.index(str(column)) for column in columns]


def column_values(columns: Sequence[Column], bars: Floats) -> Floats:
    """Shape (columns, T) for one slot's ``bars`` of shape (INPUTS, T)."""
    plan = plan_of(columns)
    if not columns:
        return np.empty((0, bars.shape[1]))
    values: Floats = compute(plan.specs, bars)[rows_in(plan, columns)]
    return values
