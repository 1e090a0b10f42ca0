"""How kernels are compiled, and the loops they share: sums and extremes over the last rows of a ring.

No fastmath, so that the order of every sum is the one that is written. All kernels have one signature,
so that a single compiled loop calls those of a plan, one after the other. Inner loops run over slots,
through slices: then the compiler knows that nothing wraps around, and uses vector registers.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import types
from numba.extending import intrinsic

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.lanes import LANES, ONE, many, put, take, where_above
from alphapulse.domain.analysis.machine_code import compiled

F = TypeVar("F", bound=Callable[..., Any])


class View(NamedTuple):
    """Which bars a kernel is to work on: rows ``first`` to ``last`` (excluded) of slots ``lo`` to ``hi``."""

    bars: Floats  # [field, row & mask, slot], a ring
    first: int
    last: int
    lo: int
    hi: int
    mask: int
    seen: Int64s  # [slot]: bars before ``first``
    warm: bool  # every slot has had more bars than the indicator's lookback
    facts: Int64s  # of candles, see fact_words.py
    room: Floats  # [ROOM, bars at once * slots]: for what a kernel puts down while it runs


ROOM = 3


_CUBE = types.Array(types.float64, 3, "C")
_SQUARE = types.Array(types.float64, 2, "C")
_LINE = types.Array(types.float64, 1, "C")
_COUNTS = types.Array(types.int64, 1, "C")
_TABLE = types.Array(types.int64, 2, "C")
_WHOLE = types.int64
_FIELDS = (_CUBE, *(_WHOLE,) * 5, _COUNTS, types.boolean, _TABLE, _SQUARE)
VIEW = types.NamedTuple(_FIELDS, View)  # type: ignore[no-untyped-call]
_ARGUMENTS = (VIEW, _LINE, _CUBE, _SQUARE, _CUBE)  # view, params, lines, carry, out
KERNEL = types.void(*_ARGUMENTS)


@cache
def compiled_kernel(function: Callable[..., None]) -> Any:
    """``function`` in machine code under the signature of all kernels, cached on disk."""
    made: Any = compiled(function, allocates=False)
    made.compile(KERNEL)
    return made


def kernel_address(function: Callable[..., None]) -> int:
    """Where the machine code of ``function`` begins, for as long as the process lives.

    numba's own list of functions would do, but compiles an ``append`` for each of them (a second each),
    and takes 3 µs to hand over at every call.
    """
    (result,) = compiled_kernel(function).overloads.values()
    address: int = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    return address


def _call_kernel(typing: Any, address: Any, view: Any, params: Any, lines: Any, carry: Any, out: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(types.none, _ARGUMENTS)
        function = builder.inttoptr(given[0], kind.as_pointer())
        status, _ = convention.call_function(builder, function, types.none, _ARGUMENTS, given[1:])
        with builder.if_then(status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, *_ARGUMENTS), generate


# In compiled code, call_kernel(address, view, params, lines, carry, out) calls the kernel that begins there.
call_kernel: Any = intrinsic(_call_kernel)


def piece(function: F) -> F:
    """Of what kernels are made: compiled, exact, free of the interpreter's lock."""
    return compiled(function)


def inner_piece(function: F) -> F:
    """A piece that is called for each slot, and allocates nothing."""
    return compiled(function, allocates=False)


@inner_piece
def copy(source: Floats, into: Floats) -> None:
    """``into[:] = source``, which would allocate: numba fears that they overlap."""
    for i in range(into.shape[0]):
        into[i] = source[i]


@inner_piece
def larger(a: float, b: float) -> float:
    """``a`` where one is not a number."""
    return b if b > a else a


@inner_piece
def smaller(a: float, b: float) -> float:
    return b if b < a else a


# What a window comes to: of one slot, or of many side by side, see lanes.py. Sums run from the oldest row.


@inner_piece
def summed(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """Sum of the last ``count`` rows."""
    mask = ring.shape[0] - 1
    total = take(ring, (row - count + 1) & mask, slot, kind)
    for back in range(count - 2, -1, -1):
        total = total + take(ring, (row - back) & mask, slot, kind)
    return total


@inner_piece
def largest(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """The largest of the last ``count`` rows."""
    mask = ring.shape[0] - 1
    found = take(ring, (row - count + 1) & mask, slot, kind)
    for back in range(count - 2, -1, -1):
        x = take(ring, (row - back) & mask, slot, kind)
        found = where_above(x, found, x, found)
    return found


@inner_piece
def smallest(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """The smallest of the last ``count`` rows."""
    mask = ring.shape[0] - 1
    found = take(ring, (row - count + 1) & mask, slot, kind)
    for back in range(count - 2, -1, -1):
        x = take(ring, (row - back) & mask, slot, kind)
        found = where_above(found, x, x, found)
    return found


def over_slots(function: Callable[..., Any]) -> Callable[[Floats, int, int, int, int, Floats], None]:
    """A piece that writes to ``into[i]`` what ``function`` makes of a window of each slot ``lo + i``."""

    def each(ring: Floats, row: int, count: int, lo: int, hi: int, into: Floats) -> None:
        slots = hi - lo
        if slots < LANES:
            for i in range(slots):
                put(function(ring, row, count, lo + i, ONE), into, i)
        else:
            for begin in range(0, slots, LANES):
                i = min(begin, slots - LANES)  # the last few are worked out together with some once more
                put(function(ring, row, count, lo + i, many()), into, i)

    # Machine code is linked by name, and what a cache holds of two functions of one name would be mixed up.
    each.__qualname__ = f"over_slots.{function.__module__}.{function.__qualname__}".replace(".", "_")
    return inner_piece(each)


# (ring, row, count, lo, hi, into): of ``ring[row & mask, lo + i]`` and the rows before it into ``into[i]``.
window_sum, window_max, window_min = over_slots(summed), over_slots(largest), over_slots(smallest)


@piece
def blend(mean: float, x: float, alpha: float, count: int, nth: int, warm: bool) -> float:
    """``mean`` after ``x``, the ``nth`` from 0: exponential, seeded with the mean of the first ``count``.

    Until the seed it is their sum, and before value 0 what it was. ``warm`` says that the seed is there for
    all slots of a loop: the compiler makes that a loop of its own, in vector registers.
    """
    if warm or nth >= count:
        return mean + alpha * (x - mean)
    if nth < 0:
        return mean
    return mean + x if nth < count - 1 else (mean + x) / count


@piece
def exponential(
    x: Floats, alpha: float, count: int, skip: int, view: View, row: int, mean: Floats, into: Floats
) -> None:
    """One step of mean + alpha * (x - mean), seeded with the mean of the first ``count`` values.

    ``x``, ``mean`` (carried along, 0 at first) and ``into`` are slices of the slots of ``view``. The first
    ``skip`` bars of a slot have no ``x``: an average of an average begins when the inner one is there.
    ``into`` is NaN until the seed. Seeding is TA-Lib's.
    """
    for i in range(x.shape[0]):
        nth = view.seen[view.lo + i] + (row - view.first) - skip
        mean[i] = blend(mean[i], x[i], alpha, count, nth, view.warm)
        into[i] = mean[i] if view.warm or nth >= count - 1 else np.nan
