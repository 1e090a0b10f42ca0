"""``alphapulse audit anchors``: what others gave for our checkpoints, and what it proves."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

SHOWN = 20
PROVES = {
    "witness": "a witness saw no other history of this log; by its clock",
    "file": "what changed since, to whoever trusts that folder; by this machine's clock",
    "rfc3161": "it was there at this time, to whoever trusts the authority",
    "ots": "it was there when the block was made, to whoever trusts Bitcoin",
}


def anchors(
    last: Annotated[int, typer.Option(min=1, max=10_000, help="So many of the newest.")] = SHOWN,
    now: Annotated[bool, typer.Option("--now", help="Anchor the newest checkpoint at once.")] = False,
    witness_key: Annotated[
        bool, typer.Option("--witness-key", help="Show the keys of the file witnesses, made now if need be.")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(help="Write the listed receipts into this folder, for other programs.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a receipt.")] = False,
) -> None:
    """List what anchors gave for checkpoints, the newest first, and how far each one is.

    With --now the newest checkpoint is shown to every anchor that is configured (ALPHAPULSE_ANCHORS); exit
    code 1 if one of them does not give a receipt.

    alphapulse audit anchors --now
    """
    import asyncio

    if witness_key:
        _show_keys(as_json)
        return
    failed = asyncio.run(_anchored_now(as_json)) if now else False
    asyncio.run(_list(last, write, as_json))
    if failed:
        raise typer.Exit(1)


def _show_keys(as_json: bool) -> None:
    from alphapulse.cli.console import say
    from alphapulse.processes.wiring import witness_keys
    from alphapulse.settings import load

    keys = witness_keys(load())
    if not keys:
        raise typer.BadParameter("ALPHAPULSE_ANCHORS names no file witness: file:/path/to/its/folder")
    for name, key in keys.items():
        say(f"{name}|{key}", {"anchor": name, "key": str(key)}, as_json)


async def _anchored_now(as_json: bool) -> bool:
    """Anchor, and say what came of it; whether an anchor failed."""
    from alphapulse.cli.console import complain, say
    from alphapulse.processes.wiring import anchored_now
    from alphapulse.settings import load

    outcomes = await anchored_now(load())
    if not outcomes:
        raise typer.BadParameter("ALPHAPULSE_ANCHORS names no anchor: see docs/anchors.md")
    for name, outcome in outcomes.items():
        if isinstance(outcome, Exception):
            complain(f"{name}: {outcome}")
        elif outcome is None:
            say(f"{name}: nothing new", {"anchor": name, "anchored": None}, as_json)
        else:
            say(f"{name}: {outcome.size:,} leaves", {"anchor": name, "anchored": outcome.size}, as_json)
    return any(isinstance(outcome, Exception) for outcome in outcomes.values())


async def _list(last: int, write: Path | None, as_json: bool) -> None:
    from alphapulse.cli.console import say_json, say_table
    from alphapulse.domain.provenance.anchor_names import parse_anchors
    from alphapulse.processes.anchor_files import write_receipts
    from alphapulse.processes.anchor_history import newest_receipts, standings
    from alphapulse.processes.wiring import sealed_log
    from alphapulse.settings import load

    settings = load()
    configured = [str(name) for name in parse_anchors(settings.anchors)]
    async with sealed_log(settings) as seals:
        newest = await seals.sealed()
        receipts = await newest_receipts(seals, last)
        known = await standings(seals, configured)
        files = await write_receipts(seals, receipts, write) if write else []
    if as_json:
        for receipt in receipts:
            say_json(_facts(receipt))
        return
    if receipts:
        say_table(("leaves", "anchor", "time", "what it proves"), [_row(receipt) for receipt in receipts])
    if not configured:
        sys.stdout.write("no anchors are configured: ALPHAPULSE_ANCHORS names them, see docs/anchors.md\n")
    size = newest.size if newest else 0
    for name in configured:
        sys.stdout.write(f"{name}: {_behind(known[name], size)}\n")
    for path in files:
        sys.stdout.write(f"wrote {path}\n")


def _behind(standing: Any, size: int) -> str:
    if not standing.size:
        return f"no receipt, {size:,} leaves behind"
    pending = f", {len(standing.pending)} receipts not settled" if standing.pending else ""
    return f"{size - standing.size:,} leaves behind{pending}"


def _row(receipt: Any) -> tuple[str, ...]:
    facts = _facts(receipt)
    return (f"{receipt.size:,}", receipt.anchor, facts["time"] or facts["state"], facts["proves"])


def _facts(receipt: Any) -> dict[str, Any]:
    import base64
    from datetime import UTC, datetime, timedelta

    from alphapulse.domain.provenance.anchors import is_settled

    state, block = _state(receipt)
    moment = None
    if receipt.time is not None:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=receipt.time)
    return {
        "size": receipt.size,
        "anchor": receipt.anchor,
        "kind": receipt.kind,
        "time": moment and moment.isoformat().replace("+00:00", "Z"),
        "state": state,
        "block": block,
        "proves": PROVES.get(receipt.kind, "") if is_settled(receipt) else "nothing yet",
        "data": base64.b64encode(receipt.data).decode(),
    }


def _state(receipt: Any) -> tuple[str, int | None]:
    """In a word, and the Bitcoin block that it leads to."""
    from alphapulse.domain.provenance.anchors import OTS, blocks
    from alphapulse.domain.provenance.opentimestamps import BadTimestamp

    if receipt.kind != OTS:
        return "settled", None
    try:
        found = blocks(receipt)
    except BadTimestamp as error:
        return f"damaged: {error}", None
    return (f"block {found[0]}", found[0]) if found else ("promised", None)
