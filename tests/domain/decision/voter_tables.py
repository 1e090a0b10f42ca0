"""The tables of docs/voters.md, out of the registry. ``python -m tests.domain.decision.voter_tables`` writes
them anew between their marks; a test compares."""

import re
from pathlib import Path

from alphapulse.domain.decision.votes import Kind
from tests.domain.decision.voter_worlds import all_of_ours, made

PAGE = Path(__file__).parents[3] / "docs" / "voters.md"
_TABLE = re.compile(r"<!-- (\w+): from the registry -->\n(.*?)<!-- end -->", re.DOTALL)
_HEAD = (
    "| Kind | Votes | Numbers: default (range) | Indicators that it looks at |\n| --- | --- | --- | --- |\n"
)


def table(group: str) -> str:
    return _HEAD + "".join(row(kind) for kind in all_of_ours() if kind.name.startswith(f"{group}."))


def row(kind: Kind) -> str:
    takes = kind.make.takes
    numbers = ", ".join(f"`{n}` {x.default:g} ({x.low:g} to {x.high:g})" for n, x in takes.items())
    inputs = "those of its model" if kind.model else ", ".join(looked_at(kind)) or "context"
    return f"| `{kind.name}` | {kind.title} | {numbers or 'none'} | {inputs} |\n"


def looked_at(kind: Kind) -> dict[str, None]:
    return dict.fromkeys(
        f"`{feature.spec}`" + (f" of {feature.timeframe} min" if feature.timeframe else "")
        for feature in made(kind).inputs
    )


def rewritten(page: str) -> str:
    return _TABLE.sub(lambda m: f"<!-- {m[1]}: from the registry -->\n{table(m[1])}<!-- end -->", page)


def groups(page: str) -> list[str]:
    return [found[1] for found in _TABLE.finditer(page)]


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
