"""``alphapulse up``: everything on this machine under one supervisor."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alphapulse.processes.stack import Running


def up(
    data_dir: Annotated[Path | None, typer.Option(help="Where data and logs are kept.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the API listens on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Its port; 0: any free one.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that is logged.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when ready.")] = False,
) -> None:
    """Start PostgreSQL and NATS (unless their URLs are set), migrate, run every role, until Ctrl-C."""
    import asyncio
    import dataclasses
    from functools import partial

    from alphapulse.cli.console import say_json
    from alphapulse.processes.stack import run_stack
    from alphapulse.processes.wiring import wanted_roles
    from alphapulse.settings import load

    settings = load(running=False, data_dir=data_dir, host=host, port=port, log_level=log_level)

    def on_ready(running: "Running") -> None:
        shown = dataclasses.replace(
            running,
            database_url=settings.redact(running.database_url),
            nats_url=settings.redact(running.nats_url),
        )
        if as_json:
            say_json({"ready": True, **dataclasses.asdict(shown)})
        else:
            _show(shown)

    asyncio.run(
        run_stack(
            settings,
            wanted_roles(settings),
            say=partial(_say, settings.redact),
            on_ready=on_ready,
            show_all=verbose,
        )
    )


def _say(redact: Callable[[str], str], name: str, message: str, *, problem: bool = False) -> None:
    import datetime

    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    now = datetime.datetime.now().astimezone()
    console.print(f"[dim]{now:%H:%M:%S}[/] [bold]{name:<9}[/]", end=" ")
    console.print(redact(message), style="red" if problem else "", markup=False)


def _show(running: "Running") -> None:
    import shlex
    import shutil

    from rich.console import Console

    from alphapulse.adapters.embedded.postgres import installed_binaries

    psql = "psql" if shutil.which("psql") else str(installed_binaries() / "bin" / "psql")
    console = Console(highlight=False, soft_wrap=True)
    for name, value in {
        "GraphQL": running.graphql,
        "Health": running.health,
        "PostgreSQL": shlex.join([psql, running.database_url]),
        "NATS": running.nats_url,
        "Data": running.data_dir,
        "Logs": running.logs,
    }.items():
        console.print(f"[bold]{name:<12}[/]", end="")
        console.print(value, markup=False)
    console.print("Running. Ctrl-C stops everything.")
