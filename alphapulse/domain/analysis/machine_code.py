"""Compiling with a cache on disk that notices when anything changes that went into the machine code.

numba's own cache looks at the file of a function. What the function calls in other files is compiled into
it all the same: after an upgrade of those, or in the middle of developing, it would go on with the old code
and give values that no source has. Here the key holds all that a function reaches.
"""

import hashlib
from collections.abc import Callable
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])

_OURS = __name__.partition(".")[0]
_PLAIN = (int, float, str, bytes, type(None))


def fingerprint(function: FunctionType) -> str:
    """Of the code of ``function``, of every function it reaches, and of the constants they read."""
    digest = hashlib.sha256()
    _add(function, digest, set())
    return digest.hexdigest()


def _add(value: Any, digest: Any, seen: set[CodeType]) -> None:
    value = getattr(value, "py_func", getattr(value, "_defn", value))  # compiled, or what makes such code
    if isinstance(value, _PLAIN):
        digest.update(repr(value).encode())
    elif isinstance(value, tuple):
        for part in value:
            _add(part, digest, seen)
    elif isinstance(value, FunctionType) and value.__code__ not in seen:
        seen.add(value.__code__)
        digest.update(value.__qualname__.encode())  # by which machine code is linked
        _add_code(value.__code__, digest)
        for name, reached in sorted(_reached(value).items()):
            digest.update(name.encode())
            _add(reached, digest, seen)


def _reached(function: FunctionType) -> dict[str, Any]:
    """What the names in ``function`` stand for: globals, attributes of our modules, what it closes over."""
    names, known = _names(function.__code__), function.__globals__
    found = {name: known[name] for name in names if name in known}
    for module in [m for m in found.values() if isinstance(m, ModuleType) and m.__name__.startswith(_OURS)]:
        found |= {name: getattr(module, name) for name in names if hasattr(module, name)}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return found | {name: cell.cell_contents for name, cell in cells}


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(inner) for inner in _inner(code)))


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _add_code(code: CodeType, digest: Any) -> None:
    plain = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    digest.update(repr((code.co_code, plain, code.co_names, code.co_varnames)).encode())
    for inner in _inner(code):
        _add_code(inner, digest)


class _Cache(FunctionCache):
    def __init__(self, function: FunctionType, allocates: bool) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._function, self._allocates = function, allocates

    @cached_property
    def _of(self) -> tuple[str, bool]:
        """Taken at the first call: what is defined further down in a module is not there before."""
        return fingerprint(self._function), self._allocates

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        # Without numba's own hash of what a function closes over, which is another one in each process.
        return (signature, codegen.magic_tuple(), self._of)


def compiled(function: F, *, allocates: bool = True) -> F:
    """``function`` as machine code, made at its first call: exact (no fastmath), and without the GIL.

    One that ``allocates`` nothing does not count the references to an array at each slice and call (_nrt is
    numba's memory runtime), and the compiler refuses what would. Counting took 170 of the 200 ns of a
    function that looks at a few values of a slot.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": allocates}
    dispatcher: Any = njit(**options)(function)
    dispatcher._cache = _Cache(cast("FunctionType", function), allocates)  # noqa: SLF001 - numba has no other way
    made: F = dispatcher
    return made
