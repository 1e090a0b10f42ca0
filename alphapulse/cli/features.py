"""``alphapulse features``: define, retire, list and show feature sets; the latest vectors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SetName = Annotated[str, typer.Argument(help="A set, as `alphapulse features list` shows it.")]
Version = Annotated[int | None, typer.Option(min=1, help="Of the set; without it the newest in use.")]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]


def define(
    file: Annotated[
        Path | None, typer.Option(help="A set in JSON or TOML; see the example below.", dir_okay=False)
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Define the set `core`.")] = False,
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Define a feature set, or find the version in use that has the same content.

    alphapulse features define --default

    alphapulse features define --file momentum.toml --owner research

    where momentum.toml says:

    name = "momentum"

    timeframes = ["1m", "1h"]

    features = ["rsi(period=14)", "macd.histogram",
    {name = "day_rsi", rule = "rsi(14)", timeframe = "1d", lag = 1}]

    Rows of all bars that the log has are made at once; every new bar adds one.
    """
    import asyncio

    from alphapulse.cli.console import say
    from alphapulse.processes.defining import core, from_file

    if (file is None) == (not default):
        raise typer.BadParameter("say either --default or --file", param_hint="--file")
    command = core(owner) if file is None else from_file(file, owner=owner)
    done = asyncio.run(_define(command))
    facts = {"name": command.name, "version": done.version, "digest": done.digest, "position": done.position}
    if done.position is None:
        say(f"{command.name} version {done.version} has this content already: nothing to do", facts, as_json)
    else:
        sentence = f"{command.name} version {done.version}, {len(command.features)} features"
        say(f"{sentence}, defined at position {done.position} (digest {done.digest[:12]})", facts, as_json)


async def _define(command: Any) -> Any:
    from alphapulse.processes.defining import define
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store, await _connected(settings) as db:
        return await define(store, db, command)


def retire(
    name: SetName,
    version: Annotated[int, typer.Option(min=1, help="Of the set.")],
    reason: Annotated[str, typer.Option(help="For those who ask later.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make no new rows of a version. Those that are there stay.

    alphapulse features retire core --version 1 --reason "replaced by version 2"
    """
    import asyncio

    from alphapulse.cli.console import say

    position = asyncio.run(_retire(name, version, reason))
    facts = {"name": name, "version": version, "position": position}
    if position is None:
        say(f"{name} version {version} was retired before: nothing to do", facts, as_json)
    else:
        say(f"{name} version {version} is retired from position {position} on", facts, as_json)


async def _retire(name: str, version: int, reason: str) -> int | None:
    from alphapulse.processes.defining import retire
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        return await retire(store, name, version, reason)


def list_(as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List every version of every set.

    alphapulse features list
    """
    import asyncio

    from alphapulse.cli.console import say_json, say_table

    found = asyncio.run(_ask("feature_sets", as_of))
    if as_json:
        for each in found:
            say_json(_facts(each))
        return
    rows = [
        (
            each.defined.name,
            str(each.defined.version),
            _labels(each.defined.timeframes),
            str(len(each.defined.features)),
            each.defined.owner,
            str(each.position),
            _standing(each),
        )
        for each in found
    ]
    say_table(("set", "version", "timeframes", "features", "owner", "defined at", "in use"), rows)


def show(name: SetName, version: Version = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show what a set is made of: rules, parameters, warm-up.

    alphapulse features show core
    """
    import asyncio
    import sys

    from alphapulse.cli.console import say_json, say_table
    from alphapulse.domain.analysis.features import warm_up

    found = asyncio.run(_ask("feature_set", as_of, name, version))
    if as_json:
        say_json(_facts(found))
        return
    defined = found.defined
    warm = {} if found.problem else warm_up(defined)
    rows = []
    for feature in defined.features:
        numbers = ", ".join(f"{key}={value:g}" for key, value in feature.parameters.items())
        first, settled = warm.get(feature.name, ("", ""))
        other = "" if feature.timeframe is None else _labels([feature.timeframe])
        rows.append(
            (
                feature.name,
                f"{feature.rule}({numbers})",
                feature.output,
                other,
                str(feature.lag or ""),
                str(first),
                "never" if settled is None else str(settled),
                str(feature.code_version),
            )
        )
    sys.stdout.write(f"{defined.name} version {defined.version}: rows of {_labels(defined.timeframes)}, ")
    sys.stdout.write(f"{_standing(found)}, defined at position {found.position}\n")
    sys.stdout.write(f"{defined.description}\n" if defined.description else "")
    sys.stdout.write(f"digest {defined.digest}\n")
    say_table(("feature", "rule", "output", "bars of", "lag", "first after", "settled after", "code"), rows)


def latest(
    name: SetName,
    instruments: Annotated[list[str] | None, typer.Argument(help="venue:symbol …; none: all.")] = None,
    timeframe: Annotated[str, typer.Option(help="1m, 5m, 15m, 1h, 4h, 1d or 1w.")] = "1m",
    version: Version = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Print the latest vector of each instrument.

    alphapulse features latest core bitflyer:BTC_JPY --timeframe 1h
    """
    import asyncio

    from alphapulse.cli.console import say_json
    from alphapulse.domain.market.instrument import Instrument
    from alphapulse.domain.market.timeframes import TIMEFRAMES

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    names = [str(Instrument.parse(each)) for each in instruments or ()]
    found, vectors = asyncio.run(_latest(name, version, TIMEFRAMES[timeframe], names, as_of))
    if as_json:
        for vector in vectors.values():
            say_json(_vector(found, timeframe, vector))
    else:
        _show_vectors(found, timeframe, vectors)


async def _latest(
    name: str, version: int | None, timeframe: int, names: Sequence[str], as_of: str | None
) -> Any:
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections import feature_queries as queries
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store, await _connected(settings) as db:
        position = await _position(store, as_of)
        wanted = names or await queries.feature_instruments(db, limit=queries.MAX_INSTRUMENTS)
        return await queries.latest(db, name, version, timeframe, wanted, as_of=position)


async def _ask(query: str, as_of: str | None, *arguments: Any) -> Any:
    """Run a query of feature_queries.py."""
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections import feature_queries
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store, await _connected(settings) as db:
        return await getattr(feature_queries, query)(db, *arguments, as_of=await _position(store, as_of))


async def _position(store: Any, as_of: str | None) -> int | None:
    from alphapulse.cli.candles import position_of

    return None if as_of is None else await position_of(store, as_of)


async def _connected(settings: Any) -> Any:
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info

    return await AsyncConnection.connect(connection_info(settings.database(), role=None), autocommit=True)


def _show_vectors(found: Any, timeframe: str, vectors: Mapping[str, Any]) -> None:
    import sys
    from datetime import UTC, datetime

    from alphapulse.cli.console import say_table

    defined = found.defined
    if not vectors:
        sys.stdout.write(f"no rows of {defined.name} version {defined.version} in {timeframe} yet\n")
        return
    for name, vector in vectors.items():
        start = datetime.fromtimestamp(vector.start * 60, UTC).strftime("%Y-%m-%d %H:%M")
        flags = ", ".join(_flag_names(vector.flags)) or "none"
        sys.stdout.write(f"{name} {timeframe} {start}, known at position {vector.position}; flags: {flags}\n")
        values = [f"{value:.8g}" for value in vector.values]
        say_table(("feature", "value"), list(zip(defined.columns, values, strict=True)))


def _vector(found: Any, timeframe: str, vector: Any) -> dict[str, Any]:
    import math

    values = [None if math.isnan(value) else value for value in vector.values]
    return {
        "set": found.defined.name,
        "version": found.defined.version,
        "instrument": vector.instrument,
        "timeframe": timeframe,
        "start": vector.start * 60_000,
        "known_time": vector.known_time,
        "position": vector.position,
        "first_position": vector.first_position,
        "input_position": vector.input_position,
        "flags": _flag_names(vector.flags),
        "values": dict(zip(found.defined.columns, values, strict=True)),
    }


def _facts(found: Any) -> dict[str, Any]:
    import msgspec

    return {
        **msgspec.to_builtins(found.defined),
        "position": found.position,
        "retired_position": found.retired_position,
        "problem": found.problem,
    }


def _labels(timeframes: Sequence[int]) -> str:
    from alphapulse.domain.market.timeframes import LABELS

    return " ".join(LABELS[t] for t in timeframes)


def _standing(found: Any) -> str:
    if found.retired_position is not None:
        return f"retired at {found.retired_position}"
    return found.problem or "in use"


def _flag_names(flags: int) -> list[str]:
    from alphapulse.domain.analysis.features import FLAG_NAMES

    return [name for bit, name in FLAG_NAMES.items() if flags & bit]
