"""``alphapulse audit trail`` and ``audit chain``: who did what, and what led to it."""

import sys
from typing import Annotated, Any
from uuid import UUID

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object an entry.")]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]
MAX_SHOWN = 10_000


class NoSuchEvent(Exception):
    """Nothing in the log goes by that name."""


def trail(
    actor: Annotated[str | None, typer.Option(help="Only what this one recorded.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only of this strategy.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Only of this venue:symbol.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Only of this stored name, such as signal.issued.v1; may repeat.")
    ] = None,
    correlation: Annotated[UUID | None, typer.Option(help="Only what began with this event.")] = None,
    since: Annotated[str | None, typer.Option(help="Recorded at or after this time (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before this time (ISO 8601, UTC).")] = None,
    last: Annotated[int, typer.Option(min=1, max=MAX_SHOWN, help="How many, the newest.")] = 20,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """List who did what, the newest first: everything but the market's own trades, bars and watermarks.

    alphapulse audit trail --strategy first --name signal.issued.v1
    """
    from alphapulse.projections.audit_queries import Sought

    sought = Sought(
        actor=actor,
        strategy=strategy,
        instrument=instrument,
        stream=stream,
        names=name,
        correlation_id=correlation,
        since=_microseconds(since, "--since"),
        until=_microseconds(until, "--until"),
    )
    _show(_run(_listed(sought, last, as_of)), as_json)


def chain(
    what: Annotated[str, typer.Argument(help="An event id, a position, or a signal as strategy/number.")],
    as_json: AsJson = False,
) -> None:
    """Walk from an event back to the market by its causes, then on to all that it led to.

    alphapulse audit chain first/3
    """
    back, on = _run(_chain(what))
    if as_json:
        _show([*reversed(back), *on], as_json)
        return
    sys.stdout.write("what led to it, the market first:\n")
    _show(list(reversed(back)), as_json)
    sys.stdout.write("\nwhat it led to:\n" if on else "\nit has led to nothing yet\n")
    if on:
        _show(on, as_json)


def _run(work: Any) -> Any:
    import asyncio

    return asyncio.run(work)


async def _listed(sought: Any, last: int, as_of: str | None) -> Any:
    from alphapulse.cli.candles import position_of
    from alphapulse.projections.audit_queries import trail as ask
    from alphapulse.projections.decision_queries import Page

    async with _open() as (store, db):
        position = None if as_of is None else await position_of(store, as_of)
        _, found = await ask(db, sought, as_of=position, page=Page(limit=last))
    return found


async def _chain(what: str) -> Any:
    from alphapulse.adapters.store.codec import codec
    from alphapulse.projections.audit_queries import causes, effects
    from alphapulse.projections.audit_trail import entry_of

    async with _open() as (store, db):
        event_id = await _event_id(store, db, what)
        back = []
        for position in await causes(db, event_id):
            page = await store.read(position - 1, until=position, limit=1)
            back.append(entry_of(codec.decode(page.records[0])))
        if not back:
            raise NoSuchEvent(f"no event {event_id} in the log")
        return back, await effects(db, event_id)


async def _event_id(store: Any, db: Any, what: str) -> UUID:
    """Of a position, a signal or an id. Raises NoSuchEvent."""
    from alphapulse.projections.audit_queries import Sought
    from alphapulse.projections.audit_queries import trail as ask
    from alphapulse.projections.decision_queries import Page

    if what.isdecimal():
        page = await store.read(int(what) - 1, until=int(what), limit=1)
        if not page.records:
            raise NoSuchEvent(f"no event at position {what}; the log ends at {await store.head()}")
        found: UUID = page.records[0].envelope.event_id
        return found
    strategy, slash, number = what.rpartition("/")
    if slash and number.isdecimal():
        sought = Sought(strategy=strategy, number=int(number), names=["signal.issued.v1"])
        _, entries = await ask(db, sought, page=Page(limit=1))
        if not entries:
            raise NoSuchEvent(f"no signal {number} of {strategy} in the audit trail")
        return UUID(entries[0].event_id)
    try:
        return UUID(what)
    except ValueError:
        raise NoSuchEvent(f"{what!r} is no event id, position or strategy/number") from None


def _open() -> Any:
    """The log, and a connection to the read models."""
    from contextlib import asynccontextmanager

    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    @asynccontextmanager
    async def opened() -> Any:
        settings = load()
        info = connection_info(settings.database(), role=None)
        async with event_store(settings) as store, await AsyncConnection.connect(info, autocommit=True) as db:
            yield store, db

    return opened()


def _microseconds(text: str | None, option: str) -> int | None:
    """Since 1970 UTC. Raises BadParameter: it is no time."""
    from datetime import UTC, datetime

    from alphapulse.domain.provenance.leaf import microseconds

    try:
        moment = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time such as 2026-01-31T12:00:00", param_hint=option
        ) from None
    if moment is None:
        return None
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _show(entries: Any, as_json: bool) -> None:
    from datetime import UTC, datetime

    import msgspec

    from alphapulse.cli.console import say_json, say_table

    if as_json:
        for entry in entries:
            say_json(msgspec.structs.asdict(entry))
        return
    rows = [
        (
            str(entry.position),
            f"{datetime.fromtimestamp(entry.recorded_at / 1e6, UTC):%Y-%m-%d %H:%M:%S}",
            entry.actor,
            entry.name,
            entry.said,
        )
        for entry in entries
    ]
    say_table(("position", "recorded", "by", "what", "said"), rows)
