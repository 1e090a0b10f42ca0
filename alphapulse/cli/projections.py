"""``alphapulse projections``: how read models stand, and their rebuilds.

Exit code 1 when a verification finds differences.
"""

from typing import Annotated, Any

import typer

Name = Annotated[str, typer.Argument(help="A read model, as `alphapulse projections list` shows it.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=64, help="Processes that fold; default: half of the processors.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def list_(as_json: AsJson = False) -> None:
    """List every generation of every read model: position, lag, parked events, problems."""
    import asyncio

    from alphapulse.cli.console import say_json, say_table

    rows = asyncio.run(_list())
    if as_json:
        for row in rows:
            say_json(row)
        return
    say_table(
        ("read model", "generation", "state", "code", "position", "lag", "behind", "parked", "problem"),
        [
            (
                row["name"],
                str(row["generation"]),
                row["state"],
                str(row["code_version"]),
                f"{row['position']:,}",
                "" if row["lag_events"] is None else f"{row['lag_events']:,}",
                "" if row["lag_s"] is None else f"{row['lag_s']:.1f} s",
                "" if row["parked"] is None else str(row["parked"]),
                row["problem"] or "",
            )
            for row in rows
        ],
    )


def rebuild(
    name: Name,
    verify_only: Annotated[
        bool, typer.Option("--verify", help="Compare a rebuild with the live rows; change nothing.")
    ] = False,
    no_swap: Annotated[
        bool, typer.Option("--no-swap", help="Build and compare; the next rebuild goes on from there.")
    ] = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Build a read model anew from the log beside the live one, compare them, and swap."""
    import asyncio

    if verify_only:
        verify(name, workers, as_json)
        return
    from alphapulse.cli.comparisons import tell_comparison
    from alphapulse.cli.console import say

    outcome, events = asyncio.run(_rebuild(name, workers, not no_swap, show=not as_json))
    tell_comparison(name, outcome.comparison, events, as_json)
    generation = outcome.generation.generation
    done = "is live; the one before is kept for a rollback" if outcome.swapped else "is built, not swapped"
    say(
        f"{name}: generation {generation} {done}",
        {"name": name, "generation": generation, "swapped": outcome.swapped},
        as_json,
    )


def verify(name: Name, workers: Workers = None, as_json: AsJson = False) -> None:
    """Compare the live rows with a rebuild of them; say equal, or which rows and fields differ."""
    import asyncio

    from alphapulse.cli.comparisons import tell_comparison

    comparison, events = asyncio.run(_verify(name, workers, show=not as_json))
    tell_comparison(name, comparison, events, as_json)
    if not comparison.equal:
        raise typer.Exit(1)


def rollback(name: Name, as_json: AsJson = False) -> None:
    """Let readers see the generation before the last swap again; rolling back twice undoes it."""
    import asyncio

    from alphapulse.cli.console import say

    live = asyncio.run(_rollback(name, show=not as_json))
    say(
        f"{name}: generation {live.generation} (code version {live.code_version}) is live "
        f"at position {live.position}",
        {
            "name": name,
            "generation": live.generation,
            "code_version": live.code_version,
            "position": live.position,
        },
        as_json,
    )


def bisect(
    name: Name,
    against: Annotated[
        str, typer.Option(help="The other version of the read model: package.module:Class or :object.")
    ],
    until: Annotated[int | None, typer.Option(min=1, help="Look no further than this position.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the event at which two versions of a read model part."""
    import asyncio

    from alphapulse.cli.comparisons import row_facts, tell_row
    from alphapulse.cli.console import say, say_json

    parting = asyncio.run(_bisect(name, against, until, show=not as_json))
    if parting is None:
        say(f"{name}: both versions agree", {"name": name, "parting": None}, as_json)
        return
    facts = {
        "name": name,
        "parting": {
            "position": parting.position,
            "stream": parting.stream,
            "version": parting.version,
            "event": parting.name,
        },
    }
    say(
        f"{name}: the versions agree up to position {parting.position - 1} and part at {parting.position}: "
        f"{parting.name}, version {parting.version} of {parting.stream}",
        facts,
        as_json,
    )
    for row in parting.differences.rows:
        if as_json:
            say_json(row_facts(row, {}))
        else:
            tell_row(row, {}, sides=("this", "other"))


def digest(name: Name, as_json: AsJson = False) -> None:
    """Print the content hash of the live rows at their position."""
    import asyncio

    from alphapulse.cli.console import say

    position, found = asyncio.run(_digest(name))
    say(
        f"{name} at position {position}: {found.whole}",
        {"name": name, "position": position, "digest": found.whole, "tables": dict(found.tables)},
        as_json,
    )


async def _list() -> list[dict[str, Any]]:
    from alphapulse.processes.project import READ_MODELS, connector
    from alphapulse.projections.generations import generations
    from alphapulse.projections.runner import connection
    from alphapulse.projections.status import projection_status
    from alphapulse.settings import load

    versions = {name: model.code_version for name, model in READ_MODELS.items()}
    async with connection(connector(load().database())) as db:
        live = {status.name: status for status in await projection_status(db, versions)}
        rows = []
        for name in sorted(live.keys() | versions.keys()):
            for found in await generations(db, name):
                status = live[name] if found.state == "live" else None
                rows.append(
                    {
                        "name": name,
                        "generation": found.generation,
                        "state": found.state,
                        "code_version": found.code_version,
                        "schema": found.schema,
                        "position": found.position,
                        "lag_events": status and status.lag_events,
                        "lag_s": status and round(status.lag_s, 3),
                        "parked": status and status.parked,
                        "problem": status and status.problem,
                    }
                )
        return rows


async def _rebuild(name: str, workers: int | None, swap: bool, *, show: bool) -> Any:
    async with _rebuilder(name, workers, show=show) as rebuilder:
        outcome = await rebuilder.rebuild(swap=swap)
        return outcome, await _events(rebuilder.store, outcome.comparison)


async def _verify(name: str, workers: int | None, *, show: bool) -> Any:
    async with _rebuilder(name, workers, show=show) as rebuilder:
        comparison = await rebuilder.verify()
        return comparison, await _events(rebuilder.store, comparison)


async def _rollback(name: str, *, show: bool) -> Any:
    async with _rebuilder(name, 1, show=show) as rebuilder:
        return await rebuilder.rollback()


async def _bisect(name: str, against: str, until: int | None, *, show: bool) -> Any:
    import sys

    from alphapulse.adapters.store.codec import codec
    from alphapulse.cli.progress import position_progress
    from alphapulse.projections.bisection import bisect as find

    other = _imported(against)
    async with _rebuilder(name, 1, show=False) as rebuilder:
        head = await rebuilder.store.head()
        with position_progress("bisecting", show=show and sys.stderr.isatty()) as update:
            return await find(
                rebuilder.model,
                other,
                connect=rebuilder.connect,
                store=rebuilder.store,
                decode=codec.decode,
                until=min(until or head, head),
                report=lambda lo, hi: update(f"between {lo:,} and {hi:,}", head - (hi - lo), head),
            )


async def _digest(name: str) -> Any:
    from alphapulse.processes.project import connector
    from alphapulse.processes.rebuilding import read_model
    from alphapulse.projections.digest import live_digest
    from alphapulse.projections.runner import connection
    from alphapulse.settings import load

    async with connection(connector(load().database())) as db:
        return await live_digest(db, read_model(name))


def _rebuilder(name: str, workers: int | None, *, show: bool) -> Any:
    import os
    import sys
    from contextlib import asynccontextmanager

    from alphapulse.cli.progress import position_progress
    from alphapulse.processes.rebuilding import open_rebuilder, read_model
    from alphapulse.settings import load

    @asynccontextmanager
    async def opened() -> Any:
        # A folding process keeps its database process busy, too.
        several = workers or max(1, (os.cpu_count() or 1) // 2)
        model = read_model(name)
        with position_progress(name, show=show and sys.stderr.isatty()) as update:
            async with open_rebuilder(
                load().database(),
                model,
                workers=several,
                report=lambda p: update(p.stage, p.position, p.target),
            ) as rebuilder:
                yield rebuilder

    return opened()


async def _events(store: Any, comparison: Any) -> dict[int, str]:
    """What the last event that touched each differing row was."""
    if comparison is None:
        return {}
    told: dict[int, str] = {}
    for position in {row.position for row in comparison.differences.rows if row.position}:
        for record in (await store.read(position - 1, until=position, limit=1)).records:
            told[position] = f"{record.name}, version {record.version} of {record.stream}"
    return told


def _imported(path: str) -> Any:
    """The read model at ``package.module:attribute``; a class is instantiated."""
    import importlib

    module, colon, attribute = path.partition(":")
    if not colon:
        raise typer.BadParameter(f"{path!r} is not package.module:Class", param_hint="--against")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise typer.BadParameter(f"{path!r}: {error}", param_hint="--against") from error
    return found() if isinstance(found, type) else found
