"""``alphapulse compile``: machine code of the analysis ahead of its first use."""

from typing import Annotated

import typer


def compile_(
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes; default: one a processor.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compile the kernels of indicators, patterns and decisions now; they are kept on disk.

    Without it each is compiled when it is first asked for, a second or two each. A second time takes seconds.
    """
    import os
    import sys
    import time

    from alphapulse.cli.console import say
    from alphapulse.cli.progress import counter
    from alphapulse.processes.compiling import compile_all, kernel_names

    began = time.monotonic()
    with counter("compiling", len(kernel_names()), show=sys.stderr.isatty() and not as_json) as tell:
        count = compile_all(workers or os.cpu_count() or 1, tell)
    seconds = time.monotonic() - began
    say(
        f"{count} kernels are compiled, after {seconds:.0f} s",
        {"kernels": count, "seconds": seconds},
        as_json,
    )
