"""``python -m tests.simulation SEEDS FIRST [--trace] [--record]``: run schedules, and say which break.

``make simulate SEEDS=1000 FROM=0`` is the way to call it; ``TRACE=1`` prints what happened, with its SHA-256.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import typer

from tests.simulation import results, schedule
from tests.simulation.results import Sitting
from tests.simulation.shrinking import shrunk

CHUNK = 50
MOST_SHOWN = 5  # broken schedules, in full


@dataclass(frozen=True, slots=True)
class Done:
    seeds: int
    broken: Sequence[int]
    cpu_s: float


def run_chunk(first: int, count: int) -> Done:
    began = time.process_time()
    broken = [seed for seed in range(first, first + count) if schedule.run(seed, tracing=False).violations]
    return Done(count, broken, time.process_time() - began)


def quiet() -> None:
    logging.disable(logging.CRITICAL)


def as_worker() -> None:
    """Ctrl-C is for the one that hands out the work."""
    quiet()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_all(first: int, seeds: int, workers: int) -> Iterator[Done]:
    chunks = [(at, min(CHUNK, first + seeds - at)) for at in range(first, first + seeds, CHUNK)]
    with ProcessPoolExecutor(workers, initializer=as_worker) as pool:
        try:
            yield from pool.map(run_chunk, *zip(*chunks, strict=True))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def show(seed: int, *, trace: bool) -> bool:
    """Print one schedule; whether it breaks."""
    result = schedule.run(seed)
    if trace:
        typer.echo("\n".join(result.trace))
    typer.echo(f"seed {seed}: {result.steps} steps, {result.events} events, trace sha256 {result.digest}")
    if not result.violations:
        return False
    kept = shrunk(result.faults, lambda faults: bool(schedule.run(seed, faults, tracing=False).violations))
    for fault in kept:
        typer.echo(f"    {fault}")
    for violation in schedule.run(seed, kept, tracing=False).violations:
        typer.echo(f"    ! {violation}")
    return True


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seeds", type=int)
    parser.add_argument("first", type=int)
    parser.add_argument("--trace", action="store_true", help="print every step of every schedule")
    parser.add_argument("--record", action="store_true", help=f"add a line to {results.FILE.name}")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    quiet()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would not hear it
    if options.trace:
        seeds = range(options.first, options.first + options.seeds)
        return int(sum(show(seed, trace=True) for seed in seeds) > 0)
    ran = run_many(options.first, options.seeds, options.workers)
    for seed in ran.broken[:MOST_SHOWN]:
        show(seed, trace=False)
    if ran.broken:
        typer.echo(f"broken seeds: {ran.broken}")
    if options.record and ran.seeds:
        results.add(
            Sitting(
                first=options.first,
                schedules=ran.seeds,
                violations=ran.broken,
                cpu_s=round(ran.cpu_s, 1),
                commit=commit(),
            )
        )
        typer.echo(f"{results.seen(results.sittings())} different seeds in all, in {results.FILE.name}")
    return int(bool(ran.broken))


def run_many(first: int, seeds: int, workers: int) -> Done:
    """All of them, or as many from the first on as were done when Ctrl-C came."""
    began, ran = time.monotonic(), Done(0, (), 0.0)
    with suppress(KeyboardInterrupt):
        for chunk in run_all(first, seeds, workers):
            ran = Done(ran.seeds + chunk.seeds, [*ran.broken, *chunk.broken], ran.cpu_s + chunk.cpu_s)
            a_second, a_core = ran.seeds / (time.monotonic() - began), ran.seeds / ran.cpu_s
            told = (
                f"{ran.seeds} of {seeds}, {a_second:.0f}/s, {a_core:.0f}/s a core, {len(ran.broken)} broken"
            )
            typer.echo(f"\r{told} ", nl=False, err=True)
    typer.echo(err=True)
    return ran


def commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
