"""The words in which candlestick patterns are written down, and their form as plain numbers.

    a, b, c = candles(3)
    pattern("morning_star", …, up(black(a), long(a), modest(b), b.top < a.bottom, white(c), …))

``candles(n)`` are the last n bars, oldest first. Their prices and lengths compare to rules; a shape is a
list of rules that hold together, a pattern one or several shapes. Rules are data: one compiled kernel
judges all patterns, so another pattern costs no compiling.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from alphapulse.domain.analysis import candles as facts
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


class Slack(NamedTuple):
    times: float
    parameter: int  # NOTHING, or a parameter's place: times that too
    length: Operand


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
class Candle:
    """The bar ``back`` bars ago."""

    back: int

    def _price(self, field: Field) -> Amount:
        return Amount(Operand(field, NOTHING, self.back))

    def _length(self, plus: Field, minus: Field) -> Amount:
        return Amount(Operand(plus, minus, self.back))

    @property
    def open(self) -> Amount:
        return self._price(Field.OPEN)

    @property
    def high(self) -> Amount:
        return self._price(Field.HIGH)

    @property
    def low(self) -> Amount:
        return self._price(Field.LOW)

    @property
    def close(self) -> Amount:
        return self._price(Field.CLOSE)

    @property
    def top(self) -> Amount:
        """The body's upper end."""
        return self._price(Field.TOP)

    @property
    def bottom(self) -> Amount:
        return self._price(Field.BOTTOM)

    @property
    def body(self) -> Amount:
        return self._length(Field.TOP, Field.BOTTOM)

    @property
    def range(self) -> Amount:
        return self._length(Field.HIGH, Field.LOW)

    @property
    def upper(self) -> Amount:
        """Shadow."""
        return self._length(Field.HIGH, Field.TOP)

    @property
    def lower(self) -> Amount:
        return self._length(Field.BOTTOM, Field.LOW)

    @property
    def usual_body(self) -> Amount:
        """Mean of the 10 bars before it."""
        return self._price(Field.BODY_MEAN)

    @property
    def usual_range(self) -> Amount:
        return self._price(Field.RANGE_MEAN)

    @property
    def usual_shadows(self) -> Amount:
        return self._price(Field.SHADOW_MEAN)

    @property
    def recent_range(self) -> Amount:
        """Mean of the 5 bars before it."""
        return self._price(Field.NEAR_MEAN)

    @property
    def near(self) -> Amount:
        return 0.2 * self.recent_range

    @property
    def far(self) -> Amount:
        return 0.6 * self.recent_range

    @property
    def hair(self) -> Amount:
        """So little that prices count as equal."""
        return 0.05 * self.recent_range

    @property
    def tiny(self) -> Amount:
        return facts.TINY * self.usual_range


def candles(count: int) -> tuple[Candle, ...]:
    """The last ``count`` bars, oldest first."""
    return tuple(Candle(back) for back in reversed(range(count)))


def white(candle: Candle) -> Fact:
    """close >= open"""
    return Fact(facts.WHITE, candle.back)


def black(candle: Candle) -> Fact:
    """close < open"""
    return Fact(facts.BLACK, candle.back)


def around(candle: Candle) -> Fact:
    """The body reaches at least as far as the last one, at both ends."""
    return Fact(facts.AROUND, candle.back)


def within(candle: Candle) -> Fact:
    """The last body reaches at least as far, at both ends."""
    return Fact(facts.WITHIN, candle.back)


def long(candle: Candle) -> Rule:
    """A body longer than usual."""
    return candle.body > candle.usual_body


def short(candle: Candle) -> Rule:
    return candle.body < candle.usual_body


def modest(candle: Candle) -> Rule:
    """A body not longer than usual."""
    return candle.body <= candle.usual_body


def doji(candle: Candle) -> Rule:
    return candle.body <= candle.tiny


def bare_top(candle: Candle) -> Rule:
    """Hardly an upper shadow."""
    return candle.upper < candle.tiny


def bare_bottom(candle: Candle) -> Rule:
    return candle.lower < candle.tiny


def equal(x: Amount, y: Amount, slack: Amount) -> Rule:
    """y - slack <= x <= y + slack"""
    return Rule(EQUAL, x.base, Amount(y.base, slack.slacks))


def similar(x: Amount, y: Amount, slack: Amount) -> Rule:
    """|x - y| < slack"""
    return Rule(SIMILAR, x.base, Amount(y.base, slack.slacks))


@dataclass(frozen=True)
class Shape:
    """Rules that hold together, and the signal of what fits them. Upside down: fits when mirrored."""

    rules: tuple[Rule | Fact, ...]
    signal: int = 100
    upside_down: bool = False


Rules = Sequence[Rule | Fact]


def up(*rules: Rule | Fact, signal: int = 100) -> tuple[Shape, ...]:
    return (Shape(rules, signal),)


def down(*rules: Rule | Fact, signal: int = -100) -> tuple[Shape, ...]:
    """The mirror image of ``rules``."""
    return (Shape(rules, signal, upside_down=True),)


def both(*rules: Rule | Fact, signal: int = 100) -> tuple[Shape, ...]:
    return (*up(*rules, signal=signal), *down(*rules, signal=-signal))
