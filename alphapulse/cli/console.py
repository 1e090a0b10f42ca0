"""How commands talk: sentences for people, one JSON object for programs."""

import sys
from collections.abc import Sequence
from typing import Any


def say(sentence: str, facts: dict[str, Any], as_json: bool) -> None:
    """Print ``sentence``, or ``facts`` when a program asks."""
    if as_json:
        say_json(facts)
    else:
        sys.stdout.write(f"{sentence}\n")
        sys.stdout.flush()


def say_json(facts: Any) -> None:
    """Print one JSON object on a line of its own, at once."""
    import orjson

    text = orjson.dumps(facts, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` under ``header``; whole on a file or pipe, fitted on a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def complain(sentence: str) -> None:
    """Say on stderr what went wrong."""
    sys.stderr.write(f"alphapulse: {sentence}\n")
    sys.stderr.flush()
