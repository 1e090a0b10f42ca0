"""``alphapulse strategies``: define, list, show and retire strategies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="A strategy, as `alphapulse strategies list` shows it.")]


def define(
    file: Annotated[
        Path | None, typer.Option(help="A strategy in JSON or TOML; see docs/strategies.md.", dir_okay=False)
    ] = None,
    default: Annotated[str | None, typer.Option(help="Define the default strategy under this name.")] = None,
    timeframe: Annotated[str, typer.Option(help="Of the default: 1m, 5m, 15m, 1h, 4h, 1d or 1w.")] = "5m",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Define a strategy, or find the version in use that has the same content.

    alphapulse strategies define --default first --timeframe 15m

    alphapulse strategies define --file mine.toml --owner research

    From then on the role `decide` (part of `alphapulse up`) decides by it. What it would have decided
    before is not recorded, but it has learnt from it.
    """
    import asyncio

    from alphapulse.cli.console import say
    from alphapulse.domain.decision.strategy_defaults import default_strategy
    from alphapulse.domain.market.timeframes import TIMEFRAMES
    from alphapulse.processes.extensions import load_voters
    from alphapulse.processes.strategies import from_file

    if (file is None) == (default is None):
        raise typer.BadParameter("say either --default or --file", param_hint="--file")
    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    load_voters()
    if file is not None:
        command = from_file(file, owner=owner)
    else:
        assert default is not None
        command = default_strategy(default, owner=owner, timeframes=(TIMEFRAMES[timeframe],))
    done = asyncio.run(_define(command))
    facts = {
        "name": command.name,
        "version": done.version,
        "label": done.label,
        "digest": done.digest,
        "position": done.position,
    }
    what = f"{command.name} version {done.version}"
    if done.position is None:
        say(f"{what} has this content already: nothing to do", facts, as_json)
    else:
        sentence = (
            f"{what} ({done.label}, {len(command.voters)} voters) is defined at position {done.position}"
        )
        say(f"{sentence} (digest {done.digest[:12]})", facts, as_json)


async def _define(command: Any) -> Any:
    from alphapulse.processes.strategies import define
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        return await define(store, command)


def retire(
    name: Name,
    version: Annotated[int, typer.Option(min=1, help="Of the strategy.")],
    reason: Annotated[str, typer.Option(help="For those who ask later.")] = "",
    as_json: AsJson = False,
) -> None:
    """Decide no more by a version. Signals that are open are watched to their end.

    alphapulse strategies retire first --version 1 --reason "replaced by version 2"
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
    from alphapulse.processes.strategies import retire
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        return await retire(store, name, version, reason)


def list_(as_json: AsJson = False) -> None:
    """List every version of every strategy.

    alphapulse strategies list
    """
    import asyncio

    from alphapulse.cli.console import say_json, say_table
    from alphapulse.domain.market.timeframes import LABELS
    from alphapulse.processes.extensions import load_voters

    load_voters()
    found = asyncio.run(_jobs())
    if as_json:
        for job in found:
            say_json(_facts(job))
        return
    rows = [
        (
            job.strategy.name,
            str(job.strategy.version),
            job.strategy.label,
            " ".join(LABELS[t] for t in job.strategy.timeframes),
            str(len(job.strategy.voters)),
            f"{job.strategy.gate.threshold:g}",
            str(job.position),
            _standing(job),
        )
        for job in found
    ]
    say_table(("strategy", "version", "label", "timeframes", "voters", "gate", "defined at", "in use"), rows)


def show(
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, help="Without it the newest.")] = None,
) -> None:
    """Print a version in full, as JSON: what `define --file` takes, with every default filled in.

    alphapulse strategies show first
    """
    import asyncio
    import sys

    import msgspec

    from alphapulse.domain.decision.strategy_decider import UnknownStrategy
    from alphapulse.domain.decision.strategy_text import to_content

    found = [
        job
        for job in asyncio.run(_jobs())
        if job.strategy.name == name and version in (None, job.strategy.version)
    ]
    if not found:
        raise UnknownStrategy(f"no strategy {name!r}" + (f" version {version}" if version else ""))
    text = msgspec.json.format(msgspec.json.encode(to_content(found[-1].strategy)))
    sys.stdout.write(text.decode() + "\n")


async def _jobs() -> Sequence[Any]:
    """One job for each version."""
    from alphapulse.processes.desks import jobs_of
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        return [job for job in await jobs_of(store) if job.part == 0]


def _standing(job: Any) -> str:
    from alphapulse.domain.decision.strategy_decider import problem_of

    if job.retired is not None:
        return f"retired at {job.retired}"
    return problem_of(job.strategy) or "in use"


def _facts(job: Any) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(job.strategy)
    return {**facts, "position": job.position, "retired_position": job.retired}
