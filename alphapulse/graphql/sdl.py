"""The text of the schema, and the gate that keeps it from breaking its clients.

``schema.graphql`` is checked in and must say what the code says. ``python -m alphapulse.graphql.sdl FILE``
brings it up to date, and refuses where a client of the old schema could fail; ``--breaking`` overrules.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from graphql import build_schema, find_breaking_changes, lexicographic_sort_schema, print_schema

from alphapulse.graphql.schema import schema


def text() -> str:
    """The schema in its definition language, sorted, so that a change shows where it is."""
    return print_schema(lexicographic_sort_schema(schema._schema)) + "\n"  # noqa: SLF001  see execution.Engine


def breaking(old: str, new: str) -> Sequence[str]:
    """What in ``new`` could make a client of ``old`` fail."""
    return [change.description for change in find_breaking_changes(build_schema(old), build_schema(new))]


def write(file: Path, *, allow_breaking: bool) -> Sequence[str]:
    """Bring ``file`` up to date; return the breaking changes, for which nothing is written unless allowed."""
    found = breaking(file.read_text(), text()) if file.exists() else []
    if allow_breaking or not found:
        file.write_text(text())
    return found


def main(arguments: Sequence[str]) -> int:
    options = {"--breaking"} & set(arguments)
    files = [argument for argument in arguments if argument not in options]
    if len(files) != 1:
        sys.stderr.write("usage: python -m alphapulse.graphql.sdl [--breaking] schema.graphql\n")
        return 2
    found = write(Path(files[0]), allow_breaking=bool(options))
    for change in found:
        sys.stderr.write(f"breaking: {change}\n")
    if found and not options:
        sys.stderr.write("nothing is written; --breaking writes all the same\n")
    return int(bool(found) and not options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
