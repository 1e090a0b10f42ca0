"""The rules of candlestick patterns: comparisons of prices and lengths of the last bars, as data.

An ``Amount`` is a price or a length (a body, a shadow, a mean), with multiples of lengths added to it. Two of
them compare to a ``Rule``; rules that hold together are a ``Shape``. language.py has the words for them.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from alphapulse.domain.analysis.fields import Field

NOTHING = -1
DEPTH = 5  # candles, counted from the newest, whose facts are looked at before rules are judged
ABOVE, AT_LEAST, BELOW, AT_MOST, EQUAL, SIMILAR = range(6)  # the relations of a rule
_OPPOSITE = {ABOVE: BELOW, BELOW: ABOVE, AT_LEAST: AT_MOST, AT_MOST: AT_LEAST}
_MIRRORED = {Field.HIGH: Field.LOW, Field.LOW: Field.HIGH, Field.TOP: Field.BOTTOM, Field.BOTTOM: Field.TOP}
_PRICES = {Field.OPEN, Field.CLOSE, *_MIRRORED}


class Operand(NamedTuple):
    """The field ``plus``, less the field ``minus``, of the bar ``back`` bars ago."""

    plus: int
    minus: int
    back: int

    @property
    def is_price(self) -> bool:
        return self.minus == NOTHING and self.plus in _PRICES

    def mirrored(self) -> "Operand":
        """What it is in the picture upside down; of a price also the sign changes."""
        if self.minus == NOTHING:
            return self._replace(plus=_turned(self.plus))
        return self._replace(plus=_turned(self.minus), minus=_turned(self.plus))


def _turned(field: int) -> int:
    return _MIRRORED.get(Field(field), Field(field))


ZERO = Operand(NOTHING, NOTHING, 0)


@dataclass(frozen=True)
class Factor:
    """A parameter of the pattern, by its place: what a length is multiplied by."""

    parameter: int
    times: float = 1.0

    def __mul__(self, length: "Amount") -> "Amount":
        return Amount(ZERO, ((self.times, self.parameter, length.base),))


@dataclass(frozen=True)
class Amount:
    """A price or length, and multiples of lengths added to it. Compares to a rule."""

    base: Operand
    slacks: tuple[tuple[float, int, Operand], ...] = ()

    def __rmul__(self, times: float) -> "Amount":
        return Amount(ZERO, ((times, NOTHING, self.base),))

    def __add__(self, other: "Amount") -> "Amount":
        more = other.slacks if other.base == ZERO else ((1.0, NOTHING, other.base), *other.slacks)
        return replace(self, slacks=self.slacks + more)

    def __sub__(self, other: "Amount") -> "Amount":
        more = (Amount(ZERO) + other).slacks
        return replace(self, slacks=self.slacks + tuple((-k, p, length) for k, p, length in more))

    def __gt__(self, other: "Amount") -> "Rule":
        return Rule.of(ABOVE, self, other)

    def __ge__(self, other: "Amount") -> "Rule":
        return Rule.of(AT_LEAST, self, other)

    def __lt__(self, other: "Amount") -> "Rule":
        return Rule.of(BELOW, self, other)

    def __le__(self, other: "Amount") -> "Rule":
        return Rule.of(AT_MOST, self, other)


@dataclass(frozen=True)
class Rule:
    """``left`` stands in a relation to ``right``; for EQUAL and SIMILAR the slack is what they may differ."""

    relation: int
    left: Operand
    right: Amount

    @classmethod
    def of(cls, relation: int, left: Amount, right: Amount) -> Self:
        if left.slacks:
            left, right, relation = right, left, _OPPOSITE[relation]
        assert not left.slacks, "slacks on both sides"
        assert len(right.slacks) <= 2, "more than two slacks"
        return cls(relation, left.base, right)

    @property
    def newest(self) -> int:
        return min(o.back for o in (self.left, self.right.base) if o != ZERO)

    @property
    def oldest(self) -> int:
        operands = (self.left, self.right.base, *(length for _, _, length in self.right.slacks))
        return max(o.back for o in operands)

    def moved(self, by: int) -> "Rule":
        slacks = tuple((k, p, _moved(length, by)) for k, p, length in self.right.slacks)
        return replace(self, left=_moved(self.left, by), right=Amount(_moved(self.right.base, by), slacks))

    def mirrored(self) -> "Rule":
        slacks = tuple((k, p, length.mirrored()) for k, p, length in self.right.slacks)
        base = self.right.base if self.right.base == ZERO else self.right.base.mirrored()
        return replace(self, left=self.left.mirrored(), right=Amount(base, slacks))


def _moved(operand: Operand, by: int) -> Operand:
    return operand if operand == ZERO else operand._replace(back=operand.back + by)


@dataclass(frozen=True)
class Fact:
    """A comparison that is there as bits already, and has no margin."""

    bits: int
    back: int


@dataclass(frozen=True)
class Shape:
    """Rules that hold together, and the signal of what fits them. Upside down: fits when mirrored."""

    rules: tuple[Rule | Fact, ...]
    signal: int = 100
    upside_down: bool = False
