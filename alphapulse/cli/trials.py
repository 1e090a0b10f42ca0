"""``alphapulse trials``: what was tried of a strategy, and what the best of it is worth after that."""

import sys
from typing import Annotated, Any

import typer

SHOWN = 20


def trials(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    last: Annotated[int, typer.Option(min=1, max=20_000, help="So many of the newest.")] = SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a trial.")] = False,
) -> None:
    """List what was tried of a strategy in backtests, the newest first, and deflate the best by their number.

    alphapulse trials first
    """
    import asyncio

    from alphapulse.cli.console import say_json, say_table

    found = asyncio.run(_trials(strategy))
    facts = _facts(strategy, found)
    if as_json:
        for position, trial in found.newest[:last]:
            say_json(_trial(position, trial))
        say_json(facts)
        return
    rows = [
        (
            trial.trial[:12],
            trial.kind,
            trial.source,
            f"{trial.trades:,}",
            "" if trial.sharpe is None else f"{trial.sharpe:.4f}",
            _share(trial.figures.get("total_return")),
            str(position),
        )
        for position, trial in found.newest[:last]
    ]
    say_table(("trial", "kind", "on", "signals", "Sharpe a day", "return", "position"), rows)
    sys.stdout.write(_sentence(strategy, found) + "\n")


async def _trials(strategy: str) -> Any:
    from alphapulse.adapters.store.codec import codec
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections.trial_queries import trials_of
    from alphapulse.settings import load

    async with event_store(load()) as store:
        return await trials_of(store, codec.decode, strategy)


def _sentence(strategy: str, found: Any) -> str:
    if not found.count:
        return f"nothing was tried of {strategy}"
    text = f"{found.count:,} configurations of {strategy} were tried"
    if found.best_sharpe is None:
        return f"{text}, none of them has a Sharpe ratio"
    text += f"; the best Sharpe ratio is {found.best_sharpe:.4f} a day, by chance it would be "
    text += f"{found.expected_best:.4f}"
    return text if found.deflated is None else f"{text}: more than that with probability {found.deflated:.1%}"


def _facts(strategy: str, found: Any) -> dict[str, Any]:
    best = found.best
    return {
        "strategy": strategy,
        "trials": found.count,
        "best": None if best is None else best.trial,
        "best_sharpe": found.best_sharpe,
        "expected_best": found.expected_best,
        "deflated": found.deflated,
        "position": found.position,
    }


def _trial(position: int, trial: Any) -> dict[str, Any]:
    import msgspec

    return {"position": position, **msgspec.to_builtins(trial)}


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
