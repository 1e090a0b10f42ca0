"""The text form of complex events.

    event      = condition { "then" condition "within" N "bar[s]" } [ "while" condition ]
    condition  = part { "or" part }          part = unit { "and" unit }
    unit       = "not" unit | "(" condition ")" | comparison
    comparison = operand ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) operand
               | operand "crosses" ( "above" | "below" ) operand
               | operand "is" [ "not" ] name
    operand    = number | open | high | low | close | volume | taker_buy | trades | column

A column is an indicator with its parameters and output: ``rsi(14)``, ``bbands(20,2).upper``. A name stands
for a number: trend_up, trend_down, range, turbulence (of ``regime``), up, down. Example:
``rsi(14) < 30 then close crosses above sma(20) within 5 bars while regime is not turbulence``.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from alphapulse.domain.analysis.columns import Column
from alphapulse.domain.analysis.complex_events import (
    And,
    BadEvent,
    Comparison,
    ComplexEvent,
    Condition,
    Not,
    Operand,
    Or,
    Step,
)
from alphapulse.domain.analysis.fields import Field
from alphapulse.domain.analysis.indicators.regime import NAMES
from alphapulse.domain.analysis.registry import BadParameter

MAX_TEXT = 2_000  # characters
MAX_DEPTH = 20  # of brackets and nots inside each other

CODES = {**{name: code for code, name in NAMES.items()}, "up": 1.0, "down": -1.0}

_FIELDS = {f.name.lower(): f for f in Field if f not in (Field.TIME, Field.TYPICAL, Field.TRUE_RANGE)}
_WORDS = {"then", "within", "bars", "bar", "while", "and", "or", "not", "is", "crosses", "above", "below"}
_TOKEN = re.compile(
    r"(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
    r"|(?P<name>[a-z_][a-z0-9_]*(?:\([^()]*\))?(?:\.[a-z_][a-z0-9_]*)?)"
    r"|(?P<sign><=|>=|==|!=|<|>|\(|\))"
)


class BadText(BadEvent):
    """Not an event: the message shows the place."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, name, word, sign or end
    text: str
    at: int


def parse_event(text: str) -> ComplexEvent:
    """The event that ``text`` says. ``str`` of it is the complete form, and reads as the same event.

    Raises:
        BadText: with the line and a mark under the place.
    """
    if len(text) > MAX_TEXT:
        raise BadText(f"{len(text)} characters, over {MAX_TEXT}")
    parser = _Parser(text)
    try:
        return parser.event()
    except BadText:
        raise
    except BadEvent as error:
        raise BadText(_marked(text, 0, str(error))) from error


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def event(self) -> ComplexEvent:
        steps = [Step(self._condition())]
        while self._take("then"):
            condition = self._condition()
            self._expect("within", "within … bars: how much later it may come")
            steps.append(Step(condition, self._bars()))
        throughout = self._condition() if self._take("while") else None
        if self._peek.kind != "end":
            self._fail("then, while, and, or, or the end")
        return ComplexEvent(tuple(steps), throughout)

    def _bars(self) -> int:
        token = self._peek
        if token.kind != "number" or not token.text.isdigit() or int(token.text) < 1:
            self._fail("a whole number of bars")
        self._next += 1
        if not (self._take("bars") or self._take("bar")):
            self._fail("bars")
        return int(token.text)

    def _condition(self) -> Condition:
        parts = [self._part()]
        while self._take("or"):
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _part(self) -> Condition:
        parts = [self._unit()]
        while self._take("and"):
            parts.append(self._unit())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _unit(self) -> Condition:
        token = self._peek
        if token.text not in ("not", "("):
            return self._comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadText(_marked(self._text, token.at, f"more than {MAX_DEPTH} inside each other"))
        self._next += 1
        found = Not(self._unit()) if token.text == "not" else self._condition()
        if token.text == "(":
            self._expect(")", "a closing bracket")
        self._depth -= 1
        return found

    def _comparison(self) -> Condition:
        at = self._peek.at
        left = self._operand()
        operator = self._peek
        if self._take("is"):
            return Comparison(left, "!=" if self._take("not") else "==", self._code())
        if self._take("crosses"):
            side = self._peek.text
            if not (self._take("above") or self._take("below")):
                self._fail("above or below")
            name = f"crosses {side}"
        elif operator.kind == "sign" and operator.text not in "()":
            self._next += 1
            name = operator.text
        else:
            self._fail("a comparison: < <= > >= == != crosses is")
        try:
            return Comparison(left, name, self._operand())
        except BadText:
            raise
        except BadEvent as error:
            raise BadText(_marked(self._text, at, str(error))) from error

    def _operand(self) -> Operand:
        token = self._peek
        if token.kind == "number":
            self._next += 1
            return float(token.text)
        if token.kind != "name":
            self._fail("a number, a price or an indicator")
        self._next += 1
        if token.text in _FIELDS:
            return _FIELDS[token.text]
        try:
            return Column.parse(token.text)
        except BadParameter as error:
            raise BadText(_marked(self._text, token.at, str(error))) from error

    def _code(self) -> float:
        token = self._peek
        if token.text not in CODES:
            self._fail(f"one of {', '.join(CODES)}")
        self._next += 1
        return CODES[token.text]

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, text: str) -> bool:
        found = self._peek.text == text and self._peek.kind != "end"
        self._next += found
        return found

    def _expect(self, text: str, what: str) -> None:
        if not self._take(text):
            self._fail(what)

    def _fail(self, expected: str) -> NoReturn:
        token = self._peek
        found = "the end" if token.kind == "end" else repr(token.text)
        raise BadText(_marked(self._text, token.at, f"expected {expected}; found {found}"))


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadText(_marked(text, at, f"{text[at]!r} means nothing here"))
        kind = "word" if match.group() in _WORDS else str(match.lastgroup)
        found.append(_Token(kind, match.group(), at))
        at = match.end()
    return [*found, _Token("end", "", len(text))]


def _marked(text: str, at: int, problem: str) -> str:
    """``problem`` with the line of the place and a mark under it."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].partition("\n")[0]
    return f"{problem}\n  {line}\n  {' ' * (at - begin)}^"
