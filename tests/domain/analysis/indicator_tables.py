"""The tables of docs/indicators.md, out of the registry. ``python -m tests.domain.analysis.indicator_tables``
writes them anew between their marks; a test compares."""

import re
from pathlib import Path

from alphapulse.domain.analysis.registry import Indicator, Output, Spec, everything

PAGE = Path(__file__).parents[3] / "docs" / "indicators.md"
_TABLE = re.compile(r"<!-- (\w+): from the registry -->\n(.*?)<!-- end -->", re.DOTALL)
_HEAD = "| With its defaults | What | Gives | First value, forgets its start |\n| --- | --- | --- | --- |\n"


def table(kind: str) -> str:
    return _HEAD + "".join(row(known) for known in everything().values() if known.kind == kind)


def row(known: Indicator) -> str:
    spec = Spec.of(known.name)
    what = f"{known.title}: {known.source}".replace("|", "\\|")
    gives = ", ".join(output(o) for o in known.outputs)
    return f"| `{spec}` | {what} | {gives} | {first(known, spec)}, {forgets(known, spec)} |\n"


def output(given: Output) -> str:
    bounds = "" if given.low is given.high is None else f", {_end(given.low)} to {_end(given.high)}"
    return f"`{given.name}` ({given.unit}{bounds})"


def _end(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


def first(known: Indicator, spec: Spec) -> str:
    """Which bar has the first value, counted from 1; one a lookback where the outputs differ."""
    return " / ".join(str(bars + 1) for bars in dict.fromkeys(known.lookbacks(spec.params)))


def forgets(known: Indicator, spec: Spec) -> str:
    bars = known.forgets(spec.params)
    return "never" if bars is None else str(bars)


def rewritten(page: str) -> str:
    return _TABLE.sub(lambda m: f"<!-- {m[1]}: from the registry -->\n{table(m[1])}<!-- end -->", page)


def kinds(page: str) -> list[str]:
    return [found[1] for found in _TABLE.finditer(page)]


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
