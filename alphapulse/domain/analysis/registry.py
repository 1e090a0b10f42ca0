"""What every indicator declares, and where all of them are found.

An indicator is a compiled kernel under a decorator that says what it is called, which parameters it
takes, what it gives in which unit, when its first value comes and how it scales. A new one is a function
in a module of ``indicators`` or ``patterns``: discovery finds it, and the shared contract tests it.

A kernel is a plain function in the part of Python that numba compiles:

    def name(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None

It brings the slots ``view.lo`` to ``view.hi`` (one instrument and timeframe each) up to date with the
rows ``view.first`` to ``view.last`` of their bars, row by row. ``view.bars[field, row & view.mask,
slot]`` is a ring that reaches back ``window`` bars before ``first``; ``view.seen[slot]`` counts the bars
before ``first``. ``params`` are the parameters in their declared order, after the ``fixed`` numbers of
an indicator that shares its kernel with others. ``lines[line, row & view.mask,
slot]`` is a ring of the indicator's own, for what it wants to look back at; ``carry[i, slot]`` what a
recursion carries along, 0 at first. It writes ``out[output, row - view.first, slot]``. Values before the
lookback are made NaN by the caller. With ``view.warm`` every slot has had more bars than the lookback: a
fast loop without seeding may be taken, which must give the same bytes.

Inner loops go over the slots, through slices ``[view.lo : view.hi]``, so that they run in vector
registers; sums over a window run from its oldest row to its newest, always: then no chunking changes a
bit.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from alphapulse.domain.analysis.compiled import View
from alphapulse.domain.analysis.fields import Field, Floats

Kernel = Callable[[View, Floats, Floats, Floats, Floats], None]

MAX_PERIOD = 2_000  # bars: bounds the ring that a slot holds

PACKAGES = ("alphapulse.domain.analysis.indicators", "alphapulse.domain.analysis.patterns")


class BadParameter(ValueError):
    """No such indicator or parameter, or a value outside its range: the message says which are."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number that shapes an indicator. ``whole``: only integers."""

    name: str
    default: float
    low: float
    high: float
    whole: bool = True
    doc: str = ""

    def check(self, value: float, owner: str) -> float:
        if not self.low <= value <= self.high or (self.whole and value != int(value)):
            kind = "a whole number" if self.whole else "a number"
            raise BadParameter(
                f"{owner}: {self.name} {value:g} needs {kind} from {self.low:g} to {self.high:g}"
            )
        return float(value)


def period(default: int, *, name: str = "period", low: int = 2) -> Parameter:
    """A window in bars."""
    return Parameter(name, default, low, MAX_PERIOD)


@dataclass(frozen=True, slots=True)
class Output:
    """One value a bar. Prices times c give the value times c**``prices``; volumes likewise.

    ``low`` and ``high`` bound it, where it has bounds.
    """

    name: str
    unit: str  # price, percent, ratio, bars, base, quote, flag, score, log_return …
    prices: int = 0
    volumes: int = 0
    low: float | None = None
    high: float | None = None


def smoothing_forgets(alpha: float) -> int:
    """Bars until (1 - alpha)**n is below 1e-10: what an exponential average still knows of its start."""
    bars, left = 0, 1.0
    while left > 1e-10:
        left *= 1 - alpha
        bars += 1
    return bars


Params = Sequence[float]
Count = Callable[[Params], int]


@dataclass(frozen=True, slots=True)
class Indicator:
    name: str
    title: str
    kind: str  # trend, momentum, volatility, volume, pattern, signal, regime, anomaly
    inputs: tuple[Field, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    lookback: Callable[[Params], int | tuple[int, ...]]  # bars before the first value, or one an output
    window: Count  # bars that it looks back at, itself excluded
    forgets: Callable[[Params], int | None]  # bars until the start shows below 1e-9; None: never
    carries: Count  # floats a slot
    lines: Count  # rings a slot
    source: str  # where the formula stands
    code_version: int
    kernel: Kernel
    relation: Callable[[Params], str | None]  # why these parameters do not go together; None: they do
    scales: bool  # False: outputs follow no change of units, such as those about round numbers
    fixed: tuple[float, ...]  # what its kernel is told beside the parameters: its rules, where these are data

    def lookbacks(self, params: Params) -> tuple[int, ...]:
        """Bars before the first value of each output."""
        bars = self.lookback(params)
        return bars if isinstance(bars, tuple) else (bars,) * len(self.outputs)


@dataclass(frozen=True, slots=True, order=True)
class Spec:
    """An indicator with its parameters: data, such as ``bbands(period=20,width=2)``."""

    indicator: str
    params: tuple[float, ...]

    @classmethod
    def of(cls, name: str, given: Mapping[str, float] | None = None) -> "Spec":
        """The indicator ``name`` with ``given`` parameters, defaults for the rest.

        Raises:
            BadParameter: there is none of that name, or a value does not fit.
        """
        known = find(name)
        given = dict(given or {})
        values = tuple(p.check(given.pop(p.name, p.default), name) for p in known.parameters)
        if given:
            names = ", ".join(p.name for p in known.parameters) or "no parameters"
            raise BadParameter(f"{name} has no {', '.join(sorted(given))}: it takes {names}")
        if problem := known.relation(values):
            raise BadParameter(f"{name}: {problem}")
        return cls(name, values)

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """``rsi``, ``rsi(period=14)`` or ``rsi(14)``. Raises BadParameter, which holds the text."""
        name, bracket, rest = text.strip().partition("(")
        if bracket and not rest.endswith(")"):
            raise BadParameter(f"{text!r}: a closing bracket is missing")
        given: dict[str, float] = {}
        known = find(name.strip())
        parts = [part for part in rest.removesuffix(")").split(",") if part.strip()]
        for i, part in enumerate(parts):
            key, equals, value = part.partition("=")
            if not equals and i >= len(known.parameters):
                raise BadParameter(f"{text!r}: {name} takes {len(known.parameters) or 'no'} parameters")
            key = key.strip() if equals else known.parameters[i].name
            if key in given:
                raise BadParameter(f"{text!r}: {key} is given twice")
            try:
                given[key] = float(value if equals else part)
            except ValueError:
                raise BadParameter(f"{text!r}: {part.strip()!r} is no number") from None
        return cls.of(known.name, given)

    @property
    def known(self) -> Indicator:
        return find(self.indicator)

    def __str__(self) -> str:
        pairs = zip(self.known.parameters, self.params, strict=True)
        inside = ",".join(f"{p.name}={_shortest(value)}" for p, value in pairs)
        return f"{self.indicator}({inside})" if inside else self.indicator

    @property
    def columns(self) -> tuple[str, ...]:
        """A name for each output: the spec itself, with ``.output`` where there are several."""
        outputs = self.known.outputs
        return (str(self),) if len(outputs) == 1 else tuple(f"{self}.{o.name}" for o in outputs)


def _shortest(value: float) -> str:
    """The fewest digits that read as ``value``."""
    return repr(float(value)).removesuffix(".0")


_registered: dict[str, Indicator] = {}


def indicator(
    *,
    name: str,
    title: str,
    kind: str,
    outputs: Sequence[Output],
    lookback: Callable[[Params], int | tuple[int, ...]],
    source: str,
    inputs: Sequence[Field] = (Field.CLOSE,),
    parameters: Sequence[Parameter] = (),
    window: Count = lambda _: 0,
    forgets: Callable[[Params], int | None] | None = None,
    carries: Count = lambda _: 0,
    lines: Count = lambda _: 0,
    code_version: int = 1,
    relation: Callable[[Params], str | None] = lambda _: None,
    scales: bool = True,
    fixed: Sequence[float] = (),
) -> Callable[[Kernel], Kernel]:
    """Join the registry. Without ``forgets`` the value depends on its window alone, so on no start."""

    def register(kernel: Kernel) -> Kernel:
        assert name not in _registered or _registered[name].kernel.__module__ == kernel.__module__, (
            f"two indicators are called {name}"
        )
        _registered[name] = Indicator(
            name=name,
            title=title,
            kind=kind,
            inputs=tuple(inputs),
            parameters=tuple(parameters),
            outputs=tuple(outputs),
            lookback=lookback,
            window=window,
            forgets=forgets or (lambda params: max(_registered[name].lookbacks(params)) + 1),
            carries=carries,
            lines=lines,
            source=source,
            code_version=code_version,
            kernel=kernel,
            relation=relation,
            scales=scales,
            fixed=tuple(fixed),
        )
        return kernel

    return register


@cache
def _discover() -> None:
    for package in PACKAGES:
        module: Any = importlib.import_module(package)
        for found in pkgutil.iter_modules(module.__path__):
            importlib.import_module(f"{package}.{found.name}")


def everything() -> Mapping[str, Indicator]:
    """All indicators by name, in alphabetical order."""
    _discover()
    return dict(sorted(_registered.items()))


def find(name: str) -> Indicator:
    """The indicator called ``name``. Raises BadParameter."""
    _discover()
    try:
        return _registered[name]
    except KeyError:
        close = [n for n in sorted(_registered) if name.lower() in n or n in name.lower()]
        hint = f"; did you mean {', '.join(close[:5])}?" if close else ""
        raise BadParameter(f"no indicator is called {name!r}{hint}") from None
