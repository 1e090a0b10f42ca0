"""Compiles the kernels of all indicators at once, side by side, instead of each at its first use.

What was compiled before is found in numba's cache, so doing it twice costs a few seconds.
Processes are started afresh: a fork would inherit the compiler's threads.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

MAX_WORKERS = 64


class CannotCompile(Exception):
    """A kernel that this machine cannot compile; the message names it."""


def kernel_names() -> list[str]:
    """One indicator for each kernel: some share one."""
    from alphapulse.domain.analysis.registry import everything

    kernels: dict[object, str] = {}
    for name, known in everything().items():
        kernels.setdefault(known.kernel, name)
    return list(kernels.values())


def compile_one(name: str) -> str:
    """Compile the kernel of indicator ``name``; return the name.

    Raises:
        CannotCompile: numba refuses it.
    """
    import numpy as np

    from alphapulse.domain.analysis.fields import INPUTS
    from alphapulse.domain.analysis.panel import compute
    from alphapulse.domain.analysis.registry import Spec

    try:
        compute([Spec.of(name)], np.ones((INPUTS, 2)))
    except Exception as error:
        raise CannotCompile(f"{name}: {type(error).__name__}: {error}") from None
    return name


def compile_all(workers: int, tell: Callable[[int], None] = lambda _: None) -> int:
    """How many kernels there are, all of them compiled; ``tell`` hears how many are done.

    Raises:
        CannotCompile: see there.
        ValueError: no such number of workers.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"{workers} workers: 1 to {MAX_WORKERS} are possible")
    names = kernel_names()
    compile_one(names[0])  # what all of them need
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for done, future in enumerate(as_completed([pool.submit(compile_one, n) for n in names]), 1):
            future.result()
            tell(done)
    return len(names)
