"""How a pattern joins the registry: its shapes become numbers that the one kernel of all patterns reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from alphapulse.domain.analysis import candles as facts
from alphapulse.domain.analysis.fields import Field
from alphapulse.domain.analysis.patterns.judge import RULE, SHAPE, shapes
from alphapulse.domain.analysis.patterns.language import (
    bare_bottom,
    bare_top,
    candles,
    doji,
    long,
    modest,
    short,
)
from alphapulse.domain.analysis.patterns.rules import (
    ABOVE,
    AT_LEAST,
    AT_MOST,
    BELOW,
    DEPTH,
    NOTHING,
    ZERO,
    Amount,
    Fact,
    Factor,
    Operand,
    Rule,
    Shape,
)
from alphapulse.domain.analysis.registry import Kernel, Output, Parameter, everything, indicator

INPUTS = (
    *(Field.OPEN, Field.HIGH, Field.LOW, Field.CLOSE, Field.TOP, Field.BOTTOM),
    *(Field.BODY_MEAN, Field.RANGE_MEAN, Field.NEAR_MEAN, Field.SHADOW_MEAN, Field.FACTS),
)
OUTPUTS = (Output("signal", "flag", low=-200, high=200), Output("strength", "ratio", low=0, high=1))

TALIB = "TA-Lib 0.8"

PENETRATION = Factor(0)


def penetration(default: float) -> Parameter:
    """How deep the last candle closes into the first one's body."""
    return Parameter("penetration", default, 0, 10, whole=False, doc="of the first candle's body")


@dataclass(frozen=True)
class Pattern:
    """What the registry does not say of a pattern."""

    name: str
    bars: int  # how many candles it is made of
    signals: tuple[int, ...]  # that it can give
    neutral: bool  # its signal says that it is there, not where the price goes

    @property
    def direction(self) -> str:
        """bullish, bearish, both, or neutral."""
        if self.neutral:
            return "neutral"
        ways = {signal > 0 for signal in self.signals}
        return "both" if len(ways) == 2 else "bullish" if True in ways else "bearish"


_patterns: dict[str, Pattern] = {}


def patterns() -> Mapping[str, Pattern]:
    """All patterns by name, in alphabetical order."""
    everything()
    return dict(sorted(_patterns.items()))


def pattern(
    name: str,
    title: str,
    *ways: Sequence[Shape],
    lookback: int,
    source: str,
    parameters: Sequence[Parameter] = (),
    neutral: bool = False,
    code_version: int = 1,
) -> None:
    """Join the registry: the pattern is there where one of ``ways`` fits, the first one first.

    ``lookback``: how many bars come before the first that is judged.
    """
    made = tuple(chain.from_iterable(ways))
    bars = 1 + max(_back(rule) for shape in made for rule in shape.rules)
    entry = Pattern(name, bars, tuple(sorted({shape.signal for shape in made})), neutral)
    join(
        entry,
        shapes,
        encode(made),
        title=title,
        lookback=lookback,
        source=source,
        parameters=parameters,
        code_version=code_version,
    )


def join(
    entry: Pattern,
    kernel: Kernel,
    fixed: Sequence[float],
    *,
    title: str,
    lookback: int,
    source: str,
    parameters: Sequence[Parameter] = (),
    code_version: int = 1,
) -> None:
    """Join the registry with a kernel and the numbers that it is told before the parameters."""
    register = indicator(
        name=entry.name,
        title=title,
        kind="pattern",
        inputs=INPUTS,
        parameters=parameters,
        outputs=OUTPUTS,
        lookback=lambda _: lookback,
        window=lambda _: max(lookback, facts.AVERAGED),
        source=source,
        code_version=code_version,
        fixed=fixed,
    )
    register(kernel)
    _patterns[entry.name] = entry


def _back(rule: Rule | Fact) -> int:
    return rule.back if isinstance(rule, Fact) else rule.oldest


def encode(ways: Sequence[Shape]) -> tuple[float, ...]:
    """The numbers that stand for ``ways``, as judge.py reads them. Parameters stand right behind."""
    rules = [[r for r in shape.rules if isinstance(r, Rule)] for shape in ways]
    start = 1 + SHAPE * len(ways)
    parameters = start + RULE * sum(map(len, rules))
    head: list[float] = [len(ways)]
    for shape, mine in zip(ways, rules, strict=True):
        end = start + RULE * len(mine)
        head += [shape.signal, start, end, *_facts(shape)]
        start = end
    body = (
        number
        for shape, mine in zip(ways, rules, strict=True)
        for rule in mine
        for number in _numbers(rule, shape.upside_down, parameters)
    )
    return (*head, *body)


def _numbers(rule: Rule, upside_down: bool, parameters: int) -> Iterator[float]:
    """The RULE numbers of one rule."""
    tolerance = _tolerance(rule)
    sign = -1.0 if upside_down and rule.left.is_price else 1.0
    if upside_down:
        rule = rule.mirrored()
    yield from (rule.relation, sign, *rule.left, *rule.right.base)
    for times, parameter, length in [*rule.right.slacks, (0.0, NOTHING, ZERO), (0.0, NOTHING, ZERO)][:2]:
        yield from (times, NOTHING if parameter == NOTHING else parameters + parameter, *length)
    yield from tolerance


def _tolerance(rule: Rule) -> Operand:
    """The range of the older bar, between prices; ZERO, the lesser of both, between lengths."""
    left, right = rule.left, rule.right.base
    assert right == ZERO or left.is_price == right.is_price, "prices compare to prices, lengths to lengths"
    return Operand(Field.HIGH, Field.LOW, max(left.back, right.back)) if left.is_price else ZERO


def _facts(shape: Shape) -> list[int]:
    """The bits that each of the newest DEPTH candles must show: what the rules imply, and the colours."""
    bits = [0] * DEPTH
    for rule in shape.rules:
        back = rule.back if isinstance(rule, Fact) else rule.newest
        if back < DEPTH:
            bits[back] |= rule.bits if isinstance(rule, Fact) else _IMPLIED.get(_canonical(rule), 0)
    return [facts.mirrored(b) for b in bits] if shape.upside_down else bits


def _canonical(rule: Rule) -> Rule:
    """The same rule of the newest bars, with the lesser side on the right."""
    rule = rule.moved(-rule.newest)
    if rule.relation in (BELOW, AT_MOST) and not rule.right.slacks:
        turned = ABOVE if rule.relation == BELOW else AT_LEAST
        return Rule(turned, rule.right.base, Amount(rule.left))
    return rule


# What a rule implies even of a bar whose open lies outside its range: BitMEX's begin with the last close.
_last, _this = candles(2)
_IMPLIED = {
    _canonical(rule): bits
    for rule, bits in (
        (long(_this), facts.LONG),
        (modest(_this), facts.MODEST),
        (short(_this), facts.SHORT),
        (doji(_this), facts.DOJI),
        (bare_top(_this), facts.UPPER_TINY),
        (bare_bottom(_this), facts.LOWER_TINY),
        (_this.upper > _this.body, facts.UPPER_LONG),
        (_this.lower > _this.body, facts.LOWER_LONG),
        (_this.upper > 2.0 * _this.body, facts.UPPER_LONG),
        (_this.lower > 2.0 * _this.body, facts.LOWER_LONG),
        (_this.upper < 0.5 * _this.usual_shadows, facts.UPPER_SHORT),
        (_this.lower < 0.5 * _this.usual_shadows, facts.LOWER_SHORT),
        (_this.close > _last.close, facts.RISES),
        (_this.close < _last.close, facts.FALLS),
        (_this.bottom > _last.top, facts.BODY_ABOVE | facts.RISES),
        (_this.top < _last.bottom, facts.BODY_BELOW | facts.FALLS),
        (_this.low > _last.high, facts.GAP_UP),
        (_this.high < _last.low, facts.GAP_DOWN),
        (_this.high > _last.high, facts.HIGHER_HIGH),
        (_this.high < _last.high, facts.LOWER_HIGH),
        (_this.low < _last.low, facts.LOWER_LOW),
        (_this.low > _last.low, facts.HIGHER_LOW),
        (_this.open > _last.high, facts.OPENS_ABOVE),
        (_this.open < _last.low, facts.OPENS_BELOW),
        (_this.close > _last.high, facts.CLOSES_ABOVE),
        (_this.close < _last.low, facts.CLOSES_BELOW),
        (_this.range < _last.range, facts.NARROWER),
    )
}
