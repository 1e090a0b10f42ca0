"""Options that several ``alphapulse features`` commands share: which set, which rows."""

from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Set = Annotated[str, typer.Argument(metavar="SET[@VERSION]", help="Without a version the newest in use.")]
Instruments = Annotated[list[str] | None, typer.Option("--instrument", help="venue:symbol; may be repeated.")]
Timeframes = Annotated[list[str] | None, typer.Option("--timeframe", help="1m … 1w; may be repeated.")]
From = Annotated[str | None, typer.Option("--from", help="First bar: a time (ISO 8601, UTC).")]
To = Annotated[str | None, typer.Option("--to", help="Bars that begin before: a time (ISO 8601, UTC).")]
KnownBy = Annotated[
    str | None, typer.Option(help="Only rows that were known at this time of the venue's clock (ISO 8601).")
]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Processes; the result is the same.")]

DIFFERENT = 3  # exit code: done, and something is not as it should be


def label_of(defined: Any) -> str:
    return f"{defined.name}@{defined.version}"


def named(text: str) -> tuple[str, int | None]:
    """``momentum@3`` as name and version."""
    name, at, version = text.partition("@")
    if at and not (version.isascii() and version.isdigit()):
        raise typer.BadParameter(f"{text!r} is not written SET or SET@3")
    return name, int(version) if at else None


def timeframe_of(text: str) -> int:
    from alphapulse.domain.market.timeframes import TIMEFRAMES

    if text not in TIMEFRAMES:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe")
    return TIMEFRAMES[text]


def nanoseconds_of(text: str) -> int:
    from datetime import UTC, datetime, timedelta

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time such as 2026-01-31T12:00:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def minute_of(text: str) -> int:
    """The first minute that begins then or later."""
    return -(-nanoseconds_of(text) // 60_000_000_000)


def bounds_of(
    feature_set: str,
    instrument: list[str] | None,
    timeframe: list[str] | None,
    first: str | None,
    to: str | None,
    known_by: str | None,
    as_of: str | None,
) -> dict[str, Any]:
    """The arguments of ``wanted_rows``, the position still as text."""
    name, version = named(feature_set)
    return {
        "name": name,
        "version": version,
        "as_of": as_of,
        "instruments": instrument,
        "timeframes": None if timeframe is None else [timeframe_of(t) for t in timeframe],
        "first_start": None if first is None else minute_of(first),
        "end_start": None if to is None else minute_of(to),
        "known_by": None if known_by is None else nanoseconds_of(known_by),
    }


async def wanted_of(settings: Any, bounds: dict[str, Any]) -> Any:
    from alphapulse.cli.candles import position_of
    from alphapulse.processes.computing import wanted_rows
    from alphapulse.processes.wiring import event_store

    rest = {key: value for key, value in bounds.items() if key != "as_of"}
    async with event_store(settings) as store:
        as_of = bounds["as_of"]
        until = None if as_of is None else await position_of(store, as_of)
        return await wanted_rows(store, rest.pop("name"), rest.pop("version"), until=until, **rest)
