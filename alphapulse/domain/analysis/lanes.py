"""A number of many slots side by side: arithmetic on LANES of them at once, in vector registers.

The compiler turns a plain loop over slots into vector code where it can prove that nothing overlaps, which it
does anew for each loop, and what a loop adds up it loads and stores at every row of a window. Here sums stay
in registers while the rows go by. Each lane is computed as a lone float64 would be, operation by operation:
the values are the same bits.

A function that works on ``take(ring, row, slot, kind)`` is one text for both: ``ONE`` as its ``kind`` gives a
float64, ``many()`` the LANES slots from ``slot`` on.
"""

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, models, register_model

LANES = 32  # four registers of AVX-512, eight of AVX2: enough sums at once to hide how long each takes
ONE = 0.0

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_ALIGNED = 8  # bytes: a slice begins at any float64


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"lanes{LANES}")


_lanes: Any = _Lanes()
_float: Any = types.float64


@register_model(_Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


def _spread(builder: Any, value: Any) -> Any:
    """``value`` in every lane, if it is one number."""
    if value.type == _VECTOR:
        return value
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, nothing, everywhere)


_PAIRS = ((_lanes, _lanes), (_lanes, _float), (_float, _lanes))
OPERATIONS = (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv"))


def _join(name: str, instruction: str) -> None:
    function: Any = getattr(operator, name)

    class Template(ConcreteTemplate):
        cases: ClassVar = [_lanes(*pair) for pair in _PAIRS]

    infer_global(function)(Template)  # type: ignore[no-untyped-call]
    for pair in _PAIRS:

        @lower_builtin(function, *pair)  # type: ignore[no-untyped-call]
        def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            a, b = (_spread(builder, value) for value in given)
            return getattr(builder, instruction)(a, b)


for _name, _instruction in OPERATIONS:
    _join(_name, _instruction)


def emitted(function: Callable[..., Any]) -> Any:
    """In compiled code, a call of ``function`` becomes the instructions that it gives."""
    return intrinsic(function)


@emitted
def many(typing: Any) -> Any:
    """The ``kind`` of LANES slots."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return ir.Constant(_VECTOR, [0.0] * LANES)

    return _lanes(), generate


def _address(context: Any, builder: Any, array: Any, value: Any, at: Any) -> Any:
    """Of the float64 at the indices ``at`` of a C-contiguous array; none of them below 0."""
    made = context.make_array(array)(context, builder, value)
    place = at[0]
    if len(at) == 2:
        width = builder.extract_value(made.shape, 1)
        place = builder.add(builder.mul(at[0], width), at[1])
    return builder.gep(made.data, [place])


def _loaded(builder: Any, pointer: Any, kind: Any) -> Any:
    if kind == _lanes:
        pointer = builder.bitcast(pointer, _VECTOR.as_pointer())
    found = builder.load(pointer)
    found.align = _ALIGNED
    return found


@emitted
def take(typing: Any, ring: Any, row: Any, slot: Any, kind: Any) -> Any:
    """``ring[row, slot]``, or of LANES slots from there on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        assert OPERATIONS  # so that the cache of machine code knows of them
        return _loaded(builder, _address(context, builder, ring, given[0], given[1:3]), kind)

    return kind(ring, types.intp, types.intp, kind), generate


@emitted
def read(typing: Any, line: Any, at: Any, kind: Any) -> Any:
    """``line[at]``, or LANES of them from there on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _loaded(builder, _address(context, builder, line, given[0], given[1:2]), kind)

    return kind(line, types.intp, kind), generate


@emitted
def put(typing: Any, value: Any, line: Any, at: Any) -> Any:
    """Write ``value`` to ``line[at]``, or its lanes from there on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        pointer = _address(context, builder, line, given[1], given[2:3])
        if value == _lanes:
            pointer = builder.bitcast(pointer, _VECTOR.as_pointer())
        builder.store(given[0], pointer).align = _ALIGNED
        return context.get_dummy_value()

    return types.void(value, line, types.intp), generate


def _kind(*given: Any) -> Any:
    return _lanes if _lanes in given else _float


def _values(context: Any, builder: Any, kind: Any, signature: Any, given: Any) -> list[Any]:
    """All as lanes or all as float64."""
    if kind == _lanes:
        return [_spread(builder, value) for value in given]
    return list(given)


def _choice(x: Any, relation: str, y: Any, first: Any, second: Any) -> Any:
    kind = _kind(x, y, first, second)
    wanted = [_lanes if each == _lanes else _float for each in (x, y, first, second)]

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        a, b, one, other = _values(context, builder, kind, signature, given)
        return builder.select(builder.fcmp_ordered(relation, a, b), one, other)

    return kind(*wanted), generate


@emitted
def where_above(typing: Any, x: Any, y: Any, first: Any, second: Any) -> Any:
    """``first if x > y else second``; both are worked out."""
    return _choice(x, ">", y, first, second)


@emitted
def where_at_least(typing: Any, x: Any, y: Any, first: Any, second: Any) -> Any:
    """``first if x >= y else second``; both are worked out."""
    return _choice(x, ">=", y, first, second)


@emitted
def where_equal(typing: Any, x: Any, y: Any, first: Any, second: Any) -> Any:
    """``first if x == y else second``; both are worked out."""
    return _choice(x, "==", y, first, second)


def _unary(name: str, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = given[0].type
        full = f"{name}.{f'v{LANES}' if x == _lanes else ''}f64"
        wanted = (builder.module, ir.FunctionType(kind, [kind]), full)
        function = get_or_insert_function(*wanted)  # type: ignore[no-untyped-call]
        return builder.call(function, given)

    return x(x), generate


@emitted
def size(typing: Any, x: Any) -> Any:
    """Its absolute value."""
    return _unary("llvm.fabs", x)


@emitted
def root(typing: Any, x: Any) -> Any:
    """Its square root."""
    return _unary("llvm.sqrt", x)
