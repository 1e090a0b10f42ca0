"""Run the benchmark groups and print one table; optionally write one JSON object a line.

    python -m benchmarks [--only GROUP ...] [--json FILE]

Each module ``benchmarks/GROUP.py`` with a function ``run()`` yields results as ``measure.Result``
dictionaries: ``name peer ours theirs unit ratio goal``. A ratio above 1 means that we are better.
"""

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import benchmarks

# Which modules make up a group; a module not named here is a group of its own.
GROUPS = {
    "projections": "store",
    "importing": "store",
    "learned": "signals",
    "proofs": "provenance",
    "sealing": "provenance",
    "audit_exports": "provenance",
}


def modules(only: list[str]) -> Iterator[str]:
    for module in pkgutil.iter_modules(benchmarks.__path__):
        name = module.name
        if not name.startswith("_") and (not only or name in only or GROUPS.get(name) in only):
            yield name


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="GROUP", help="run these groups alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one JSON object a line here")
    args = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=150)
    names = list(modules(args.only))
    if not names:
        console.print(f"no benchmark group is named {' '.join(args.only)}", style="red")
        return 2
    results: list[dict[str, Any]] = []
    failed = False
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        if not hasattr(module, "run"):
            continue
        console.print(f"[bold]{name}[/bold] …")
        try:
            for result in module.run():
                results.append({"group": GROUPS.get(name, name), **result})
                console.print(f"  {result['name']}: {shown(result['ours'])} {result['unit']}")
        except Exception:
            console.print_exception()
            failed = True
    console.print(table(results))
    if args.json:
        args.json.write_text("".join(json.dumps(result) + "\n" for result in results))
    return 1 if failed else 0


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def table(results: list[dict[str, Any]]) -> Table:
    out = Table(title=f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}")
    for heading in ("claim", "peer", "ours", "theirs", "unit", "ratio", "goal"):
        out.add_column(heading, justify="left" if heading in ("claim", "peer", "unit") else "right")
    for r in results:
        met = r["goal"] is None or (r["ratio"] is not None and r["ratio"] >= r["goal"])
        out.add_row(
            r["name"],
            r["peer"],
            shown(r["ours"]),
            shown(r["theirs"]),
            r["unit"],
            shown(r["ratio"]),
            shown(r["goal"]),
            style=None if met else "yellow",
        )
    return out


if __name__ == "__main__":
    sys.exit(main())
