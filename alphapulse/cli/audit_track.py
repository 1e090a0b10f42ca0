"""``alphapulse audit track-record``: was each signal committed before its outcome could be known."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer


def track_record(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    last: Annotated[int, typer.Option(min=1, max=100_000, help="How many signals to list, the newest.")] = 20,
    as_of: Annotated[
        str | None,
        typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the margins too: a .png or .svg file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, all signals.")] = False,
) -> None:
    """Show of each signal what became of it, and whether an anchor vouched for it before that could be known.

    alphapulse audit track-record first -o margins.png

    The time of a commitment is an anchor's own; without anchors nothing is shown to be in time. Late is also
    what the log held only after the event that decided it.
    """
    import asyncio

    from alphapulse.cli.console import say_json, say_table

    if output is not None and output.suffix not in (".png", ".svg"):
        raise typer.BadParameter(f"{output} ends in neither .png nor .svg", param_hint="--output")
    found = asyncio.run(_track_record(strategy, as_of))
    if output is not None:
        _draw(found, output)
    if as_json:
        say_json(_facts(found))
        return
    say_table(
        ("number", "market", "side", "decided", "became", "net bps", "committed", "by", "anchor"),
        [_cells(each) for each in found.signals[-last:]],
    )
    sys.stdout.write(summary_of(found) + "\n")


async def _track_record(strategy: str, as_of: str | None) -> Any:
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.cli.candles import position_of
    from alphapulse.cli.signals import check_strategy
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections.timeliness_queries import track_record as ask
    from alphapulse.settings import load

    settings = load()
    info = connection_info(settings.database(), role=None)
    async with event_store(settings) as store, await AsyncConnection.connect(info, autocommit=True) as db:
        await check_strategy(store, strategy)
        position = None if as_of is None else await position_of(store, as_of)
        return await ask(db, store, strategy, as_of=position)


def _cells(each: Any) -> tuple[str, ...]:
    from alphapulse.cli.signals import SIDES, when

    timely = each.timeliness
    return (
        str(each.number),
        each.instrument,
        SIDES[each.side],
        when(each.time),
        each.reason or "open",
        "" if each.net_bps is None else f"{each.net_bps:+.1f}",
        timely.state,
        "" if timely.margin_ns is None else lasting(timely.margin_ns),
        "" if timely.receipt is None else timely.receipt.anchor,
    )


def lasting(nanoseconds: int) -> str:
    """Such as 92.5 s, -3.1 h."""
    seconds = nanoseconds / 1e9
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} s"


def summary_of(found: Any) -> str:
    """One line."""
    from alphapulse.domain.provenance.timeliness import TIMELINESS

    states = ", ".join(
        f"{found.by_state[state]} {state}" for state in TIMELINESS if found.by_state.get(state)
    )
    margins = ""
    if found.least_margin_ns is not None:
        margins = (
            f" (by {lasting(found.least_margin_ns)} at least, {lasting(found.median_margin_ns)} in median)"
        )
    return (
        f"{found.strategy}: {len(found.signals)} signals; the checkpoint of {found.size} leaves counts "
        f"{found.counted}; {found.wins} of {found.decided} decided won; {states or 'nothing yet'}{margins}"
    )


def _facts(found: Any) -> Any:
    return {
        "strategy": found.strategy,
        "position": found.position,
        "size": found.size,
        "counted": found.counted,
        "decided": found.decided,
        "wins": found.wins,
        "by_state": dict(found.by_state),
        "least_margin_ns": found.least_margin_ns,
        "median_margin_ns": found.median_margin_ns,
        "signals": [_fact(each) for each in found.signals],
    }


def _fact(each: Any) -> dict[str, Any]:
    timely = each.timeliness
    names = (
        "number", "version", "decision", "instrument", "timeframe", "side", "time", "position", "horizon_end",
        "leaf", "closed_at", "reason", "net_bps", "is_win",
    )  # fmt: skip
    return {
        **{name: getattr(each, name) for name in names},
        "timeliness": timely.state,
        "knowable": timely.knowable,
        "margin_ns": timely.margin_ns,
        "anchor": timely.receipt and timely.receipt.anchor,
        "anchored_at_us": timely.receipt and timely.receipt.time,
    }


def _draw(found: Any, output: Path) -> None:
    from alphapulse.adapters.files.atomic import AtomicFile
    from alphapulse.adapters.reports.margins import Margin, margins_sheet
    from alphapulse.adapters.reports.style import png_of, svg_of

    margins: Sequence[Margin] = [
        Margin(each.time, each.timeliness.state, each.timeliness.margin_ns) for each in found.signals
    ]
    sheet = margins_sheet(found.strategy, margins)
    with AtomicFile(output) as file:
        file.temporary.write_bytes(svg_of(sheet) if output.suffix == ".svg" else png_of(sheet))
        file.commit()
