"""``alphapulse audit sweep``: what is stored, compared with what was sealed."""

import sys
from typing import Annotated, Any

import typer

_SHOWN = 20


def sweep(
    key: Annotated[
        str | None, typer.Option(help="The log's public key, where its private one is kept elsewhere.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Re-hash every stored event and compare it with its leaf, and every root with what was signed.

    Exit code 1 where something differs. Nothing is repaired. The role `sweep` does the same without end, at a
    tenth of the speed; what either finds is in /health.
    """
    import asyncio

    from alphapulse.cli.audit_proof import known_key
    from alphapulse.cli.console import complain
    from alphapulse.cli.progress import counter

    signed_by = known_key(key)
    if signed_by is None:
        complain("signatures are not checked: no key here, and none given by --key")
    with counter("leaves", None, show=sys.stderr.isatty() and not as_json) as tell:
        size, faults, counts = asyncio.run(_swept(signed_by, tell))
    _tell(size, faults, counts, as_json)
    if counts:
        raise typer.Exit(1)


async def _swept(key: Any, tell: Any) -> Any:
    from alphapulse.processes.sweep import sweep_once
    from alphapulse.settings import load

    return await sweep_once(load().database(), key, tell=lambda leaf, _size: tell(leaf))


def _tell(size: int, faults: Any, counts: Any, as_json: bool) -> None:
    from alphapulse.cli.console import say

    found = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(counts.items())) or "nothing differs"
    facts = {
        "leaves": size,
        "faults": [
            {"leaf": f.leaf, "fault": str(f.kind), "position": f.position, "detail": f.detail} for f in faults
        ],
        "counts": {str(kind): count for kind, count in sorted(counts.items())},
    }
    lines = [f"{size:,} leaves: {found}"]
    lines += [f"leaf {fault.leaf:,}: {fault.kind}: {fault.detail}" for fault in faults[:_SHOWN]]
    more = sum(counts.values()) - _SHOWN
    lines += [f"and {more:,} more: --json lists them"] if more > 0 else []
    say("\n".join(lines), facts, as_json)
