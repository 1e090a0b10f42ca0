"""``alphapulse features compute``, ``export`` and ``diff``: rows computed from the log."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from alphapulse.cli.feature_bounds import (
    DIFFERENT,
    AsJson,
    AsOf,
    From,
    Instruments,
    KnownBy,
    Set,
    Timeframes,
    To,
    Workers,
    bounds_of,
    label_of,
    wanted_of,
)


def compute(
    feature_set: Set,
    instrument: Instruments = None,
    timeframe: Timeframes = None,
    first: From = None,
    to: To = None,
    known_by: KnownBy = None,
    as_of: AsOf = None,
    workers: Workers = 1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A Parquet file; without it only a summary.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute rows from the log, without the read model: the same values, bit for bit."""
    if output is not None:
        export(feature_set, output, instrument, timeframe, first, to, known_by, as_of, workers, False, None,
               False, as_json)  # fmt: skip
        return
    import asyncio

    from alphapulse.cli.console import say

    wanted = bounds_of(feature_set, instrument, timeframe, first, to, known_by, as_of)
    found = asyncio.run(_compute(wanted, workers, show=not as_json))
    rate = found["bars"] / found["seconds"] if found["seconds"] else 0.0
    say(
        f"{found['rows']:,} rows of {found['set']} from {found['bars']:,} bars in {found['seconds']:.1f} s "
        f"({rate:,.0f} bars/s), digest {found['digest'][:16]}"
        + (f"; {len(found['skipped'])} events could not be folded" if found["skipped"] else ""),
        found,
        as_json,
    )


def export(
    feature_set: Annotated[
        str | None, typer.Argument(metavar="[SET[@VERSION]]", help="Without a version the newest in use.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The Parquet file.")] = None,
    instrument: Instruments = None,
    timeframe: Timeframes = None,
    first: From = None,
    to: To = None,
    known_by: KnownBy = None,
    as_of: AsOf = None,
    workers: Workers = 1,
    from_rows: Annotated[
        bool, typer.Option("--from-rows", help="Take the rows from the read model, not from the log.")
    ] = False,
    from_manifest: Annotated[
        Path | None, typer.Option(help="Export again what this manifest describes.", dir_okay=False)
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="With --from-manifest: say whether the file is the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export rows to Parquet, with a manifest beside it that gives the same file again, bit for bit."""
    import asyncio

    from alphapulse.cli.console import say

    if (feature_set is None) == (from_manifest is None):
        raise typer.BadParameter("say either a set or --from-manifest")
    if from_manifest is not None:
        _export_again(from_manifest, output, verify, workers, as_json)
        return
    if output is None or verify:
        raise typer.BadParameter("a set needs --output; --verify needs --from-manifest")
    assert feature_set is not None
    wanted = bounds_of(feature_set, instrument, timeframe, first, to, known_by, as_of)
    made = asyncio.run(_export(wanted, output, workers, from_rows, show=not as_json))
    say(_exported(made, output), _manifest_facts(made, output), as_json)


def diff(
    before: Annotated[str, typer.Argument(metavar="SET@VERSION")],
    after: Annotated[str, typer.Argument(metavar="SET@VERSION")],
    instrument: Instruments = None,
    timeframe: Timeframes = None,
    first: From = None,
    to: To = None,
    as_of: AsOf = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Compare two versions, in definition and in values over the same bars. Exit code 3: they differ."""
    import asyncio

    from alphapulse.cli.console import say_json
    from alphapulse.cli.feature_differences import difference_facts, show_difference

    bounds = [bounds_of(each, instrument, timeframe, first, to, None, as_of) for each in (before, after)]
    found = asyncio.run(_diff(bounds, workers, show=not as_json))
    if as_json:
        say_json(difference_facts(found))
    else:
        show_difference(before, after, found)
    if not found.is_empty:
        raise typer.Exit(DIFFERENT)


async def _with_progress(
    settings: Any, wanted: Any, times: int, show: bool, work: Callable[[Any], Any]
) -> Any:
    """What ``work`` gives, told how to report events done."""
    from alphapulse.cli.progress import counter
    from alphapulse.processes.compute_workers import events_of

    total = times * await events_of(settings.database(), wanted) if show else None
    done = 0
    with counter("events", total, show=show) as tell:

        def report(events: int) -> None:
            nonlocal done
            done += events
            tell(done)

        return await work(report)


async def _compute(bounds: dict[str, Any], workers: int, *, show: bool) -> dict[str, Any]:
    from alphapulse.processes.compute_workers import compute_from
    from alphapulse.settings import load

    settings = load()
    wanted = await wanted_of(settings, bounds)
    found = await _with_progress(
        settings, wanted, 1, show,
        lambda report: compute_from(settings.database(), wanted, workers=workers, report=report),
    )  # fmt: skip
    return {
        "set": label_of(wanted.defined),
        "position": wanted.until,
        "rows": found.rows,
        "bars": found.bars,
        "digest": found.digest,
        "seconds": round(found.seconds, 3),
        "workers": workers,
        "series": [
            {"instrument": i, "timeframe": t, "rows": count, "sha256": digest}
            for (i, t), (count, digest) in sorted(found.parts.items())
        ],
        "skipped": list(found.skipped),
    }


async def _export(bounds: dict[str, Any], output: Path, workers: int, from_rows: bool, *, show: bool) -> Any:
    from alphapulse.cli.features import _connected
    from alphapulse.processes.exporting import export, export_rows
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    wanted = await wanted_of(settings, bounds)
    if from_rows:
        async with event_store(settings) as store, await _connected(settings) as db:
            return await export_rows(store, wanted, db, output)
    return await _with_progress(
        settings, wanted, 1, show,
        lambda report: export(settings.database(), wanted, output, workers=workers, report=report),
    )  # fmt: skip


def _export_again(path: Path, output: Path | None, verify: bool, workers: int, as_json: bool) -> None:
    import asyncio
    import tempfile

    from alphapulse.cli.console import complain, say
    from alphapulse.processes.exporting import compare, read_manifest, reproduce
    from alphapulse.settings import load

    if output is None and not verify:
        raise typer.BadParameter("--from-manifest needs --output, --verify or both")
    manifest = read_manifest(path)
    settings = load()
    with tempfile.TemporaryDirectory(prefix="alphapulse-export-") as folder:
        target = output or Path(folder) / "again.parquet"
        made = asyncio.run(reproduce(settings.database(), manifest, target, workers=workers))
        problems = compare(manifest, made)
    facts = {**_manifest_facts(made, target), "same": not problems, "problems": list(problems)}
    if not verify:
        say(_exported(made, target), facts, as_json)
        return
    say(
        f"the same file: {made.rows:,} rows, SHA-256 {made.sha256}" if not problems else "not the same file",
        facts,
        as_json,
    )
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(1)


def _exported(made: Any, output: Path) -> str:
    from alphapulse.processes.exporting import manifest_path

    return (
        f"{made.rows:,} rows of {made.set_name}@{made.set_version}, log up to {made.log.until}, in {output} "
        f"({made.bytes:,} bytes, SHA-256 {made.sha256}); manifest {manifest_path(output)}"
    )


def _manifest_facts(made: Any, output: Path) -> dict[str, Any]:
    import msgspec

    return {"file": str(output), **msgspec.to_builtins(made)}


async def _diff(bounds: list[dict[str, Any]], workers: int, *, show: bool) -> Any:
    import tempfile

    from alphapulse.processes.feature_diff import difference
    from alphapulse.settings import load

    settings = load()
    before, after = [await wanted_of(settings, each) for each in bounds]
    with tempfile.TemporaryDirectory(prefix="alphapulse-diff-") as folder:
        return await _with_progress(
            settings, before, 2, show,
            lambda report: difference(
                settings.database(), before, after, Path(folder) / "rows", workers=workers, report=report
            ),
        )  # fmt: skip
