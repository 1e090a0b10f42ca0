"""``alphapulse bench``: run the benchmarks of a checkout."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import alphapulse


def bench(
    only: Annotated[str | None, typer.Option(help="One group, such as store.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write one JSON object a line to this file.")] = None,
) -> None:
    """Measure against the peers. Needs a checkout; `make bench` also installs the peers."""
    root = Path(alphapulse.__file__).parent.parent
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise FileNotFoundError(f"no benchmarks in {root}: they come with a checkout, not with the package")
    command = [sys.executable, "-m", "benchmarks"]
    command += ["--only", only] if only else []
    command += ["--json", str(json.absolute())] if json else []
    raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)  # noqa: S603  our own module
