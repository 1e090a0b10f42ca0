"""Compiles the kernels of indicators and of deciding at once, side by side, instead of each at its first use.

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


def compile_deciding() -> str:
    """Compile what an engine needs besides, by letting it decide on a short made-up market; return a name.

    Raises:
        CannotCompile: numba refuses something.
    """
    import msgspec
    import numpy as np

    from alphapulse.domain.decision.strategy import StrategyDefined
    from alphapulse.domain.decision.strategy_decider import strategy
    from alphapulse.domain.decision.strategy_defaults import default_strategy
    from alphapulse.domain.market.events import TradesObserved
    from alphapulse.domain.market.generate import TapeSpec, tape
    from alphapulse.domain.market.instrument import Instrument
    from alphapulse.domain.signals.engine import Engine
    from alphapulse.domain.versions import Versions

    (defined,) = strategy.decide(default_strategy("compiling", timeframes=(1,)), Versions())
    assert isinstance(defined, StrategyDefined)
    learning = msgspec.structs.replace(defined.learning, least=20)  # so that it calibrates, too
    eager = msgspec.structs.replace(defined, min_consensus=0.01, quorum=0.5, learning=learning)
    market, spec = Instrument("made", "UP"), TapeSpec(rate_per_s=0.2, step_ratio=1e-4)
    try:
        engine = Engine(eager)
        chunks = tape(spec, np.random.default_rng(1), rows=30_000, chunk_rows=5_000)
        for n, chunk in enumerate(chunks, 1):
            engine.advance([(n, str(market), TradesObserved(instrument=market, columns=chunk.trades))])
    except Exception as error:
        raise CannotCompile(f"deciding: {type(error).__name__}: {error}") from None
    return "deciding"


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
        pool.submit(compile_deciding).result()  # last: it looks at many of them
    return len(names)
