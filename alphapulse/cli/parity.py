"""``alphapulse parity``: derive what was decided again from the log, and compare byte for byte."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer


def parity(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    version: Annotated[int | None, typer.Option(min=1, help="Its version; the newest without it.")] = None,
    days: Annotated[float, typer.Option(min=0, help="How many days before the end are compared.")] = 7.0,
    from_: Annotated[
        str | None, typer.Option("--from", help="Compare from here on instead: ISO 8601, UTC.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Up to here, by the venue's clock; the log's end without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Derive a strategy's decisions, outcomes and signals again from the log, and compare them byte for byte.

    alphapulse parity first --days 7

    The log is replayed from its beginning through the code that decides live, so that what had been learnt is
    the same; nothing is recorded. Exit code 1 where anything differs, is missing, or is there too much. What
    follows from the very end of the log and is not recorded yet is told, and is no difference.
    """
    import asyncio

    from alphapulse.cli.console import say_json
    from alphapulse.processes.extensions import load_voters

    load_voters()
    found = asyncio.run(_compare(strategy, version, days, from_, to, sys.stderr.isatty() and not as_json))
    if as_json:
        say_json(_facts(found))
    else:
        _tell(found)
    if not found.is_identical:
        raise typer.Exit(1)


async def _compare(
    name: str, version: int | None, days: float, from_: str | None, to: str | None, show: bool
) -> Any:
    from alphapulse.cli.feature_bounds import nanoseconds_of
    from alphapulse.cli.progress import counter
    from alphapulse.processes.parity import DAY_NS, Window, jobs_of_version, last_time, parity
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        jobs, head = await jobs_of_version(store, name, version), await store.head()
        last = nanoseconds_of(to) if to else await last_time(store)
        first = nanoseconds_of(from_) if from_ else last - int(days * DAY_NS)
        if first > last:
            raise typer.BadParameter(f"--from {_text(first)} is after {_text(last)}")
        with counter(f"{name}.{jobs[0].strategy.version}", head * len(jobs), show=show) as tell:
            return await parity(store, jobs, Window(first, last), tell, until=head)


def _text(time: int) -> str:
    return datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _facts(found: Any) -> dict[str, Any]:
    import msgspec

    counts = {
        kind: {"compared": each.compared, **msgspec.to_builtins(each)} for kind, each in found.counts.items()
    }
    return {**msgspec.to_builtins(found), "counts": counts, "identical": found.is_identical}


def _tell(found: Any) -> None:
    from alphapulse.cli.console import say_table

    columns = ("compared", "identical", "differing", "missing", "extra", "waiting")
    say_table(
        ("events", *columns[:-1], "not recorded yet"),
        [
            (kind, *(f"{getattr(each, column):,}" for column in columns))
            for kind, each in found.counts.items()
        ],
    )
    for each in found.differences:
        sys.stdout.write(f"{each.stream} version {each.version}, position {each.position}: {each.what}\n")
        for field in each.fields:
            sys.stdout.write(f"    {field.name}: recorded {field.recorded}, derived {field.derived}\n")
    told = len(found.differences)
    if found.differing > told:
        sys.stdout.write(f"... and {found.differing - told:,} more\n")
    span = f"{_text(found.first_time)} to {_text(found.last_time)}, log up to position {found.position:,}"
    verdict = (
        "identical" if found.is_identical else f"{found.differing:,} events are not what follows from the log"
    )
    sys.stdout.write(f"{found.strategy}.{found.version}, {span}: {verdict}\n")
