"""``alphapulse parked``: events that a read model could not fold.

``retry`` exits with 1 when some event still cannot be folded.
"""

from typing import Annotated, Any

import typer

Id = Annotated[
    int, typer.Argument(min=1, help="The id of a parked event, as `alphapulse parked list` shows it.")
]
Ids = Annotated[list[int] | None, typer.Argument(min=1, help="Ids, as `alphapulse parked list` shows them.")]
Projection = Annotated[str | None, typer.Option(help="Only those of this read model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
_MOST = 1_000


def list_(
    projection: Projection = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List parked events of the live read models, oldest first."""
    import asyncio

    from alphapulse.cli.console import say, say_json, say_table

    events = asyncio.run(_events(projection, limit))
    if as_json:
        for event in events:
            say_json(_facts(event))
    elif not events:
        say("nothing is parked", {}, False)
    else:
        say_table(
            ("id", "read model", "position", "event", "stream", "version", "tries", "reason"),
            [
                (
                    str(e.id),
                    e.projection,
                    f"{e.position:,}",
                    e.name,
                    e.stream,
                    str(e.version),
                    str(e.tries),
                    e.reason.partition("\n")[0],
                )
                for e in events
            ],
        )


def show(event_id: Id, as_json: AsJson = False) -> None:
    """Show one parked event in full, with the payload that the log holds."""
    import asyncio

    from alphapulse.cli.console import say, say_json

    facts = asyncio.run(_shown(event_id))
    if as_json:
        say_json(facts)
        return
    for name, value in facts.items():
        say(f"{name:>12}  {value}", {}, False)


def retry(
    event_ids: Ids = None,
    all_: Annotated[bool, typer.Option("--all", help="Try every parked event.")] = False,
    projection: Projection = None,
    as_json: AsJson = False,
) -> None:
    """Fold parked events again. A read model that depends on their order is rebuilt instead."""
    import asyncio

    from alphapulse.cli.console import say

    if bool(event_ids) == all_ or (projection and not all_):
        raise typer.BadParameter("give ids, or --all (which --projection narrows)")
    outcomes = asyncio.run(_retried(event_ids, projection, show=not as_json))
    for event_id, outcome in outcomes.items():
        say(f"{event_id}: {outcome.value}", {"id": event_id, "outcome": outcome.name.lower()}, as_json)
    if not outcomes:
        say("nothing is parked", {"outcome": "nothing parked"}, as_json)
    if any(outcome.name == "FAILED" for outcome in outcomes.values()):
        raise typer.Exit(1)


async def _events(projection: str | None, limit: int) -> Any:
    from alphapulse.processes.project import connector
    from alphapulse.projections.parked import parked_events
    from alphapulse.projections.runner import connection
    from alphapulse.settings import load

    async with connection(connector(load().database())) as db:
        return await parked_events(db, projection=projection, limit=limit)


async def _shown(event_id: int) -> dict[str, Any]:
    from alphapulse.processes.project import connector
    from alphapulse.processes.rebuilding import NotParked
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections.parked import parked_event
    from alphapulse.projections.runner import connection
    from alphapulse.settings import load

    settings = load()
    async with connection(connector(settings.database())) as db, event_store(settings) as store:
        event = await parked_event(db, event_id)
        if event is None:
            raise NotParked(f"no parked event {event_id}: see `alphapulse parked list`")
        (record,) = (await store.read(event.position - 1, until=event.position, limit=1)).records
        return {
            **_facts(event),
            "recorded_at": record.recorded_at.isoformat(),
            "bytes": len(record.state),
            "state": _readable(record.state),
        }


async def _retried(event_ids: list[int] | None, projection: str | None, *, show: bool) -> Any:
    import sys

    from alphapulse.cli.progress import position_progress
    from alphapulse.processes.rebuilding import bring_back
    from alphapulse.settings import load

    if not event_ids:
        event_ids = [event.id for event in await _events(projection, _MOST)]
    with position_progress("rebuilding", show=show and sys.stderr.isatty()) as update:
        return await bring_back(
            load().database(), event_ids, report=lambda p: update(p.stage, p.position, p.target)
        )


def _facts(event: Any) -> dict[str, Any]:
    return {
        "id": event.id,
        "projection": event.projection,
        "generation": event.generation,
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "name": event.name,
        "event_id": str(event.event_id),
        "reason": event.reason,
        "tries": event.tries,
        "parked_at": event.parked_at.isoformat(),
    }


def _readable(state: bytes, most: int = 1_000) -> str:
    """JSON as it is, other payloads in hexadecimal; cut at ``most`` characters."""
    try:
        text = state.decode()
    except UnicodeDecodeError:
        text = state.hex()
    if not text.isprintable():
        text = state.hex()
    return text if len(text) <= most else text[:most] + "…"
