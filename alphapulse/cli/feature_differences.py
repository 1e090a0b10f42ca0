"""How a difference between two versions of a set is told."""

from typing import Any


def difference_facts(found: Any) -> dict[str, Any]:
    import dataclasses

    return {
        "equal": found.is_empty,
        "timeframes": [list(t) for t in found.timeframes],
        "definition": [
            {"feature": c.name, "before": c.before, "after": c.after, "fields": list(c.fields)}
            for c in found.definition
        ],
        "values": [{**dataclasses.asdict(v), "share": v.share} for v in found.values],
        "missing": list(found.missing),
    }


def show_difference(before: str, after: str, found: Any) -> None:
    import sys
    from datetime import UTC, datetime

    from alphapulse.cli.console import say_table
    from alphapulse.domain.market.timeframes import LABELS

    if found.is_empty:
        sys.stdout.write(f"{before} and {after} are the same in definition and values\n")
        return
    for change in found.definition:
        if change.before is None or change.after is None:
            sys.stdout.write(f"{change.name}: only in {after if change.before is None else before}\n")
        else:
            parts = (f"{f}: {change.before[f]} -> {change.after[f]}" for f in change.fields)
            sys.stdout.write(f"{change.name}: {'; '.join(parts)}\n")
    rows = []
    for v in found.values:
        where = ""
        if v.first is not None:
            start = datetime.fromtimestamp(v.first[2] * 60, UTC).strftime("%Y-%m-%d %H:%M")
            where = f"{v.first[0]} {LABELS[v.first[1]]} {start}"
        rows.append((v.name, f"{v.rows:,}", f"{v.share:.2%}", f"{v.max_abs:.6g}", f"{v.max_rel:.3g}", where))
    say_table(("feature", "rows", "differ", "most", "relative", "first at"), rows)
    if found.missing != (0, 0):
        sys.stdout.write(
            f"{found.missing[0]:,} rows only in {before}, {found.missing[1]:,} only in {after}\n"
        )
