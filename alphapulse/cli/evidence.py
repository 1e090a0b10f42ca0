"""``alphapulse evidence``: one file that shows a stranger what a signal was and what became of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from alphapulse.cli.audit_proof import Key, known_key


def evidence(
    signal: Annotated[str, typer.Argument(help="strategy/number, or the id of a decision.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; by default it is named after it.")
    ] = None,
    key: Key = None,
    by: Annotated[str | None, typer.Option(help="Who asks; goes into the log. By default the user.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the evidence of a signal: definition, votes, gate, market and outcome, with all proofs.

    alphapulse evidence first/12 -o signal-12.tar.gz

    Whoever receives the file checks it with `alphapulse audit verify`, or with the verify.py in it: the
    decision's arithmetic and the outcome are derived again from what was sealed.
    """
    import asyncio

    from alphapulse.cli.console import say

    path = (out or Path(f"evidence-{signal.replace('/', '-').replace(':', '-')}.tar.gz")).absolute()
    if path.exists() and not force and not path.with_name(f"{path.name}.partial").exists():
        raise FileExistsError(f"{path} is there already: choose another name, or --force")
    made = asyncio.run(_written(signal, path, known_key(key), by))
    told, exported, market = made.told, made.exported, made.market
    came_out = told["came_out"]
    became = f"{came_out['reason']}, {came_out['net_bps']:+.1f} bps net" if came_out else "still open"
    say(
        f"{path}: signal {told['number'] or 'none'}, decision {told['decision']}: {became}; "
        f"{exported.events:,} events, {len(market.positions):,} of them of the market, "
        f"{exported.anchors:,} anchors, {exported.bytes:,} bytes, out of a tree of {exported.size:,} leaves",
        {
            "out": str(path),
            "strategy": told["strategy"],
            "number": told["number"],
            "decision": told["decision"],
            "came_out": came_out,
            "events": exported.events,
            "market_events": len(market.positions),
            "anchors": exported.anchors,
            "bytes": exported.bytes,
            "size": exported.size,
            "manifest": exported.manifest,
        },
        as_json,
    )


async def _written(signal: str, path: Path, key: Any, by: str | None) -> Any:
    from alphapulse.cli.audit_export import _user
    from alphapulse.processes.audit_checkpoint import NotSealed
    from alphapulse.processes.evidence import evidence as write
    from alphapulse.processes.evidence_features import features_of
    from alphapulse.processes.wiring import event_store, sealed_log
    from alphapulse.settings import load

    settings = load()
    if key is None:
        raise NotSealed(f"there is no key of a log in {settings.data_dir}: give the public one by --key")
    async with event_store(settings) as log, sealed_log(settings) as seals:
        features = features_of(settings.database())
        return await write(log, seals, signal, path, key=key, features=features, actor=by or _user())
