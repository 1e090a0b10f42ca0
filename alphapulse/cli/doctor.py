"""``alphapulse doctor``: what is wrong with this installation, and what to do."""

from pathlib import Path
from typing import Annotated

import typer

SIGNS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


def doctor(
    data_dir: Annotated[Path | None, typer.Option(help="The data directory to examine.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the API would listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Its port.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this installation. Changes nothing; exit code 1 when something must be done."""
    import asyncio
    import dataclasses

    from alphapulse.cli.console import say_json
    from alphapulse.processes import doctor as clinic

    async def examine() -> list[clinic.Finding]:
        findings = []
        async for finding in clinic.examine(data_dir=data_dir, host=host, port=port):
            findings.append(finding)
            if not as_json:
                _show(finding.check, finding.verdict, finding.found, finding.advice)
        return findings

    findings = asyncio.run(examine())
    failed = clinic.failed(findings)
    if as_json:
        say_json({"ok": not failed, "findings": [dataclasses.asdict(finding) for finding in findings]})
    raise typer.Exit(1 if failed else 0)


def _show(check: str, verdict: str, found: str, advice: str) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{SIGNS[verdict]} [bold]{check:<19}[/]", end=" ")
    console.print(found, markup=False)
    if advice:
        console.print(f"{'':<24} -> {advice}", markup=False)
