"""How a comparison of two generations reads: a verdict, then the rows that differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from alphapulse.cli.console import say, say_json
from alphapulse.projections.digest import RowDifference
from alphapulse.projections.rebuild import Comparison


def tell_comparison(
    name: str, comparison: Comparison | None, events: Mapping[int, str], as_json: bool
) -> None:
    if comparison is None:
        say(
            f"{name}: not compared, the live rows are behind what was built",
            {"name": name, "compared": False},
            as_json,
        )
        return
    found = comparison.differences
    facts = {
        "name": name,
        "compared": True,
        "position": comparison.position,
        "equal": comparison.equal,
        "live": comparison.live.whole,
        "rebuilt": comparison.rebuilt.whole,
        "differing_rows": found.total,
        "parked_live": comparison.parked[0],
        "parked_rebuilt": comparison.parked[1],
    }
    equal = f"equal, digest {comparison.live.whole}"
    verdict = equal if comparison.equal else f"{found.total:,} rows differ"
    say(f"{name} at position {comparison.position}, live against rebuilt: {verdict}", facts, as_json)
    for row in found.rows:
        if as_json:
            say_json(row_facts(row, events))
        else:
            tell_row(row, events, sides=("live", "rebuilt"))
    if found.total > len(found.rows) and not as_json:
        say(f"  … and {found.total - len(found.rows):,} more rows", {}, False)
    if comparison.parked[0] != comparison.parked[1] and not as_json:
        say("  parked events: {} live, {} rebuilt".format(*comparison.parked), {}, False)


def tell_row(row: RowDifference, events: Mapping[int, str], *, sides: Sequence[str]) -> None:
    key = ", ".join(f"{k}={v}" for k, v in row.key.items())
    touched = f"; last touched by position {row.position}" if row.position else ""
    event = f" ({events[row.position]})" if row.position and row.position in events else ""
    missing = row.missing and sides[row.missing == "rebuilt"]
    what = (
        f"missing in {missing}"
        if missing
        else ", ".join(f"{field}: {sides[0]} {a}, {sides[1]} {b}" for field, (a, b) in row.fields.items())
    )
    say(f"  {row.table} {key}: {what}{touched}{event}", {}, False)


def row_facts(row: RowDifference, events: Mapping[int, str]) -> dict[str, Any]:
    return {
        "table": row.table,
        "key": row.key,
        "missing": row.missing,
        "fields": {field: {"live": a, "rebuilt": b} for field, (a, b) in row.fields.items()},
        "position": row.position,
        "event": events.get(row.position or 0),
    }
