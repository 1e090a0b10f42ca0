"""``alphapulse audit export``: a bundle of what is sealed, for somebody who trusts nobody."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from alphapulse.cli.audit_proof import Key, known_key


def export(
    out: Annotated[Path, typer.Argument(help="The bundle to write, such as audit.tar.gz.")],
    positions: Annotated[
        str | None, typer.Option(metavar="FIRST..LAST", help="Only these positions, both included.")
    ] = None,
    leaves: Annotated[
        str | None, typer.Option(metavar="FIRST..LAST", help="Only these leaves, both included, from 0.")
    ] = None,
    stream: Annotated[list[str] | None, typer.Option(help="Only of this stream; may repeat.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Only of this stored name, such as signal.issued.v1; may repeat.")
    ] = None,
    actor: Annotated[list[str] | None, typer.Option(help="Only what this one recorded; may repeat.")] = None,
    signal: Annotated[
        str | None, typer.Option(help="Only a signal and all that it came from: strategy/number or decision.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Only a strategy: definition, decisions, signals, outcomes, trials.")
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Recorded from here on: ISO 8601, UTC.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Recorded before: ISO 8601, UTC.")] = None,
    event_from: Annotated[
        str | None, typer.Option(help="Happened from here on, by the venue's clock: ISO 8601, UTC.")
    ] = None,
    event_to: Annotated[str | None, typer.Option(help="Happened before, by the venue's clock.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="Out of the last checkpoint by a position, or by a recorded time (ISO 8601, UTC)."),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The receiver's last checkpoint: the bundle proves that the log goes on from it.",
        ),
    ] = None,
    withhold_open: Annotated[
        bool, typer.Option("--withhold-open", help="Keep back what signals say that are still open.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Add the events as CSV.")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="Add the events as Parquet.")] = False,
    key: Key = None,
    by: Annotated[str | None, typer.Option(help="Who asks; goes into the log. By default the user.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, max=3_600, help="Seconds to wait until the newest event is sealed.")
    ] = 15.0,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write what is sealed into one file, with the proof that it was in the log and that nothing was changed.

    alphapulse audit export signals.tar.gz --strategy first --csv

    All conditions hold at once; without any, everything is exported. Whoever receives the file checks it with
    `alphapulse audit verify`, or with the verify.py in it. A command that was killed goes on where it was.
    The export goes into the log as an event.
    """
    import asyncio

    from alphapulse.domain.provenance.selection import Selection

    asked = Selection(
        positions=_span("--positions", positions),
        leaves=_after_last(_span("--leaves", leaves)),
        streams=tuple(stream or ()),
        names=tuple(name or ()),
        actors=tuple(actor or ()),
        signal=signal,
        strategy=strategy,
        recorded=_times(from_, to, 1_000),
        event_time=_times(event_from, event_to, 1),
        as_of=_as_of(as_of),
        withhold_open=withhold_open,
    )
    options = {
        "since": None if since is None else since.read_text(encoding="utf-8"),
        "tables": [kind for kind, is_wanted in (("csv", csv), ("parquet", parquet)) if is_wanted],
        "actor": by or _user(),
        "seal_wait_s": wait,
    }
    out = out.absolute()
    if out.exists() and not force and not out.with_name(f"{out.name}.partial").exists():
        raise FileExistsError(f"{out} is there already: choose another name, or --force")
    made = asyncio.run(_export(asked, out, known_key(key), options, sys.stderr.isatty() and not as_json))
    _tell(made, as_json)


async def _export(asked: Any, out: Path, key: Any, options: dict[str, Any], show: bool) -> Any:
    import time

    from alphapulse.cli.progress import file_progress
    from alphapulse.processes.audit_checkpoint import NotSealed
    from alphapulse.processes.auditing import export as write
    from alphapulse.processes.wiring import event_store, sealed_log
    from alphapulse.settings import load

    settings = load()
    if key is None:
        raise NotSealed(f"there is no key of a log in {settings.data_dir}: give the public one by --key")
    begun = time.monotonic()

    def told(progress: Any) -> None:
        rate = progress.events / max(time.monotonic() - begun, 1e-9)
        tell(f"{progress.events:,} events, {progress.bytes / 1e6:,.0f} MB, {rate:,.0f}/s", progress.ratio)

    async with event_store(settings) as log, sealed_log(settings) as seals:
        with file_progress(out.name, show=show) as tell:
            return await write(log, seals, asked, out, key=key, tell=told, **options)


def _span(option: str, text: str | None) -> tuple[int | None, int | None] | None:
    """``5..9``, ``5..``, ``..9`` or ``5``."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    if not all(part.isascii() and (part.isdigit() or (dots and not part)) for part in (first, last or first)):
        raise typer.BadParameter(f"{text!r} is not FIRST..LAST, such as 100..199", param_hint=option)
    ends = (first, last if dots else first)
    return (int(ends[0]) if ends[0] else None, int(ends[1]) if ends[1] else None)


def _after_last(span: tuple[int | None, int | None] | None) -> tuple[int | None, int | None] | None:
    return None if span is None else (span[0], None if span[1] is None else span[1] + 1)


def _times(first: str | None, last: str | None, unit_ns: int) -> tuple[int | None, int | None] | None:
    from alphapulse.cli.feature_bounds import nanoseconds_of

    if first is None and last is None:
        return None
    lo, hi = (None if text is None else nanoseconds_of(text) // unit_ns for text in (first, last))
    return lo, hi


def _as_of(text: str | None) -> Any:
    from alphapulse.cli.feature_bounds import nanoseconds_of
    from alphapulse.domain.provenance.selection import AsOf

    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return AsOf(position=int(text))
    return AsOf(recorded=nanoseconds_of(text) // 1_000)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "system"


def _tell(made: Any, as_json: bool) -> None:
    from base64 import b64encode

    from alphapulse.cli.console import say

    root = b64encode(made.root).decode()
    kept = [f"{made.erased:,} erased"] * bool(made.erased) + [f"{made.withheld:,} withheld"] * bool(
        made.withheld
    )
    say(
        f"{made.out}: {made.events:,} events{''.join(f', {text}' for text in kept)}, {made.bytes:,} bytes, "
        f"{made.anchors:,} anchors, out of a tree of {made.size:,} leaves with root {root}",
        {
            "out": str(made.out),
            "events": made.events,
            "erased": made.erased,
            "withheld": made.withheld,
            "anchors": made.anchors,
            "bytes": made.bytes,
            "size": made.size,
            "root": root,
            "manifest": made.manifest,
        },
        as_json,
    )
