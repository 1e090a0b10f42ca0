"""The words in which candlestick patterns are written down, and their form as plain numbers.

    a, b, c = candles(3)
    pattern("morning_star", …, up(black(a), long(a), modest(b), b.top < a.bottom, white(c), …))

``candles(n)`` are the last n bars, oldest first. Their prices and lengths compare to rules; a shape is a
list of rules that hold together, a pattern one or several shapes. Rules are data: one compiled kernel
judges all patterns, so another pattern costs no compiling.
"""

from dataclasses import dataclass

from alphapulse.domain.analysis import candles as facts
from alphapulse.domain.analysis.fields import Field
from alphapulse.domain.analysis.patterns.rules import (
    EQUAL,
    NOTHING,
    SIMILAR,
    Amount,
    Fact,
    Operand,
    Rule,
    Shape,
)


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


def up(*rules: Rule | Fact, signal: int = 100) -> tuple[Shape, ...]:
    return (Shape(rules, signal),)


def down(*rules: Rule | Fact, signal: int = -100) -> tuple[Shape, ...]:
    """The mirror image of ``rules``."""
    return (Shape(rules, signal, upside_down=True),)


def both(*rules: Rule | Fact, signal: int = 100) -> tuple[Shape, ...]:
    return (*up(*rules, signal=signal), *down(*rules, signal=-signal))
