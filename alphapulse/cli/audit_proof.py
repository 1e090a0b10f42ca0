"""``alphapulse audit key``, ``audit checkpoint`` and ``audit proof``: what others check the log by."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", dir_okay=False, help="Write to this file, not to the terminal.")
]
Size = Annotated[
    int | None, typer.Option(min=0, help="Of the checkpoint with so many leaves; else of the newest.")
]
Key = Annotated[
    str | None, typer.Option(help="The log's public key, where its private one is kept elsewhere.")
]


class NoKey(Exception):
    """The key of the log is not on this machine."""


def key(as_json: AsJson = False) -> None:
    """Print the public key of this log, for publishing: whoever has it can check every checkpoint."""
    from alphapulse.cli.console import say

    found = _own_key()
    if found is None:
        raise NoKey("no key here yet: the role `seal` (or `alphapulse up`) makes one when it first runs")
    say(str(found), {"key": str(found), "origin": found.name, "id": found.id.hex()}, as_json)


def checkpoint(size: Size = None, out: Out = None, key: Key = None) -> None:
    """Print a signed checkpoint: how long the log is, and the root of its tree. Keep it to compare later.

    alphapulse audit checkpoint -o today.note
    """
    import asyncio

    _write(asyncio.run(_checkpoint(size, known_key(key))), out)


def proof(
    what: Annotated[str, typer.Argument(help="The position of an event, or its id.")],
    size: Size = None,
    key: Key = None,
    withhold: Annotated[
        bool, typer.Option("--withhold", help="Keep back what the event says: prove only that it is there.")
    ] = False,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Prove that an event is in the log. The proof is verified before it is printed.

    alphapulse audit proof 1234 --json -o proof.json
    """
    import asyncio
    from uuid import UUID

    import msgspec

    if not (what.isascii() and what.isdecimal()):
        try:
            UUID(what)
        except ValueError:
            raise typer.BadParameter(f"{what!r} is no position and no event id") from None
    made = asyncio.run(_proof(what, size, known_key(key), withhold))
    if made.key is None:
        from alphapulse.cli.console import complain

        complain("the checkpoint's signature is not checked: no key here, and none given by --key")
    text = msgspec.json.encode(made).decode() + "\n"
    _write(text if as_json or out else _told(made), out)


async def _checkpoint(size: int | None, key: Any) -> str:
    from alphapulse.processes.proving import opened
    from alphapulse.processes.wiring import sealed_log
    from alphapulse.projections.event_proofs import checkpoint
    from alphapulse.settings import load

    async with sealed_log(load()) as seals:
        found = await checkpoint(seals, size)
    opened(found, key)
    return found.note


async def _proof(what: str, size: int | None, key: Any, withhold: bool) -> Any:
    from alphapulse.processes.proving import proof_file
    from alphapulse.processes.wiring import event_store, sealed_log
    from alphapulse.projections.event_proofs import prove_event
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store, sealed_log(settings) as seals:
        position = int(what) if what.isdecimal() else await _position(settings, what)
        found = await prove_event(store, seals, position, size=size)
    return proof_file(found, key, withheld=withhold)


async def _position(settings: Any, event_id: str) -> int:
    from uuid import UUID

    from alphapulse.processes.project import connector
    from alphapulse.projections.event_proofs import position_of_event
    from alphapulse.projections.runner import connection

    async with connection(connector(settings.database())) as db:
        return await position_of_event(db, UUID(event_id))


def _told(made: Any) -> str:
    """A proof for people: which event, where it is, and what it leads to."""
    from alphapulse.domain.provenance.checkpoint import checkpoint_of
    from alphapulse.domain.provenance.notes import parse_note

    under = checkpoint_of(parse_note(made.checkpoint).text)
    signed = "" if made.key is None else ", which the key of the log signed"
    lines = [
        f"leaf {made.leaf:,} of {under.size:,} in {under.origin}",
        *_event(made.line),
        f"hash of the leaf   {made.hash.hex()}",
        *(f"{'' if i else 'on the way up':<19}{each.hex()}" for i, each in enumerate(made.proof)),
        f"root               {under.root.hex()}",
        f"verified: the leaf is under this root{signed}",
        "",
        made.checkpoint.rstrip(),
    ]
    return "\n".join(lines) + "\n"


def _event(line: Any) -> list[str]:
    if line is None:
        return ["the store no longer holds what was sealed: see `alphapulse audit sweep`"]
    body = "erased" if line.erased is True else "withheld" if line.withheld is True else "as it was sealed"
    return [
        f"event {line.id}: {line.name}, version {line.version} of {line.stream}, position {line.position:,}",
        f"payload: {body}",
    ]


def _own_key() -> Any:
    from alphapulse.processes.wiring import public_key
    from alphapulse.settings import load

    return public_key(load())


def known_key(key: str | None) -> Any:
    """The key that is given, else the one on this machine; None without either."""
    from alphapulse.domain.provenance.notes import NoteKey

    return _own_key() if key is None else NoteKey.parse(key)


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
