"""``alphapulse log``: where the log ends, how far everything is behind it, and its events."""

from typing import Annotated, Any

import typer

_PAGE = 500


def log(
    after: Annotated[int | None, typer.Option(min=0, help="Events after this position.")] = None,
    tail: Annotated[int | None, typer.Option(min=1, max=10_000, help="The last so many events.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only events of this stream.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as the log grows, until Ctrl-C.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many events; --follow knows no limit.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Show where the log ends and the lag of each read model; with options, events."""
    import asyncio
    from contextlib import suppress

    if after is not None and tail is not None:
        raise typer.BadParameter("--after and --tail exclude each other")
    if after is None and tail is None and stream is None and not follow:
        asyncio.run(_overview(as_json))
        return
    with suppress(KeyboardInterrupt):
        asyncio.run(_events(after, tail, stream, follow, limit, as_json))


async def _overview(as_json: bool) -> None:
    from alphapulse.cli.console import say, say_table
    from alphapulse.processes.project import READ_MODELS, connector
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections import relay_status, seal_status
    from alphapulse.projections.runner import connection
    from alphapulse.projections.status import projection_status
    from alphapulse.settings import load

    settings = load()
    versions = {name: model.code_version for name, model in READ_MODELS.items()}
    async with event_store(settings) as store, connection(connector(settings.database())) as db:
        head = await store.head()
        last = (await store.read(head - 1, limit=1)).records if head else ()
        projections = await projection_status(db, versions)
        relay = await relay_status.read(db)
        sealed = await seal_status.read(db)
    followers = [
        {
            "name": s.name,
            "position": s.position,
            "lag_events": s.lag_events,
            "lag_s": round(s.lag_s, 3),
            "problem": s.problem,
        }
        for s in projections
    ]
    followers.insert(
        0,
        {
            "name": "seal",
            "position": sealed.position,
            "lag_events": sealed.lag_events,
            "lag_s": round(sealed.lag_s, 3),
            "problem": None,
        },
    )
    if relay is not None:
        followers.insert(
            0,
            {
                "name": "relay",
                "position": relay.position,
                "lag_events": relay.lag_events,
                "lag_s": round(relay.lag_s, 3),
                "problem": relay.problem,
            },
        )
    recorded_at = last[0].recorded_at.isoformat() if last else None
    say(
        f"the log ends at position {head:,}" + (f", recorded {recorded_at}" if recorded_at else ""),
        {"head": head, "recorded_at": recorded_at, "followers": followers},
        as_json,
    )
    if followers and not as_json:
        say_table(
            ("follower", "position", "lag", "behind", "problem"),
            [
                (
                    str(f["name"]),
                    f"{f['position'] or 0:,}",
                    f"{f['lag_events']:,}",
                    f"{f['lag_s']:.1f} s",
                    str(f["problem"] or ""),
                )
                for f in followers
            ],
        )


async def _events(
    after: int | None, tail: int | None, stream: str | None, follow: bool, limit: int, as_json: bool
) -> None:
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        position = await _start(store, after, tail, stream, follow)
        left = None if follow else tail or limit
        while left is None or left > 0:
            page = await store.read(
                position, limit=min(_PAGE, left or _PAGE), streams=[stream] if stream else None
            )
            for record in page.records:
                _tell(record, as_json)
            left = left and left - len(page.records)
            if page.scanned_to == position:
                if not follow:
                    return
                await store.changed(position, timeout_s=10.0)
            position = page.scanned_to


async def _start(store: Any, after: int | None, tail: int | None, stream: str | None, follow: bool) -> int:
    """The position after which to begin."""
    if after is not None:
        return after
    if tail is None:
        return int(await store.head()) if follow else 0
    if stream is not None:
        version = await store.version(stream)
        wanted = await store.read_stream(stream, after=max(0, version - tail), limit=1)
        return int(wanted[0].position) - 1 if wanted else 0
    return await _tail_start(store, tail)


async def _tail_start(store: Any, tail: int) -> int:
    """A position with ``tail`` events after it, or 0. Positions have gaps, so the guess may need widening."""
    head = int(await store.head())
    width = tail
    while width < head:
        page = await store.read(head - width, until=head, limit=10_000)
        if len(page.records) >= tail and page.scanned_to >= head:
            return int(page.records[-tail].position) - 1
        if page.scanned_to < head:  # cut by size: count no further back than that
            return head - tail
        width *= 2
    page = await store.read(0, until=head, limit=10_000)
    return int(page.records[-tail].position) - 1 if len(page.records) >= tail else 0


def _tell(record: Any, as_json: bool) -> None:
    from alphapulse.cli.console import say

    envelope = record.envelope
    facts = {
        "position": record.position,
        "recorded_at": record.recorded_at.isoformat(),
        "stream": record.stream,
        "version": record.version,
        "name": record.name,
        "bytes": len(record.state),
        "event_id": str(envelope.event_id),
        "event_time": envelope.event_time,
        "cause_id": envelope.cause_id and str(envelope.cause_id),
        "correlation_id": envelope.correlation_id and str(envelope.correlation_id),
        "actor": envelope.actor,
    }
    say(
        f"{record.position:>10}  {record.recorded_at:%Y-%m-%d %H:%M:%S.%f}  {record.name}  "
        f"{record.stream}@{record.version}  {len(record.state)} bytes",
        facts,
        as_json,
    )
